//! Starts the loop that keeps boxes and records in step, and what others need of it.

use super::super::boxes::Reach;
use crate::api::Documents;
use crate::auth::fleet::{HubTrust, PrivateKey, Subject};
use crate::config::{HubConfig, RemoteBroker};
use crate::engine::Handle;
use crate::fleet::broker::Broker;
use crate::fleet::hub::{self, Hub};
use crate::fleet::join::Registrar;
use crate::fleet::link::{self, BrokerUrl, Credentials, Tls};
use crate::model::fleet::Device;
use crate::runtime::logs::LogDefaults;
use crate::store::Store;
use crate::sys;
use anyhow::{Context, bail};
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// The key under which the store counts the starts of a hub: the series of its commands.
const STARTS: &str = "starts";
/// The longest wait between two attempts to reach the hub's own broker, and another one.
const NEAR: Duration = Duration::from_secs(1);
const FAR: Duration = Duration::from_secs(20);
/// Silence after which the hub asks whether the broker is there.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Starts it. `own` is the broker that the hub brought up, if it did.
pub(super) fn start(
    config: &HubConfig,
    engine: &Handle,
    store: &Store,
    trust: &Arc<HubTrust>,
    desk: &Arc<Registrar>,
    own: Option<&Broker>,
) -> anyhow::Result<Hub> {
    let series = store.get_meta(STARTS)?.and_then(|starts| starts.as_u64()).unwrap_or_default() + 1;
    store.put_meta(STARTS, &series.into())?;
    let broker = match (own, &config.broker) {
        (Some(own), _) => near(own),
        (None, Some(remote)) => far(remote, trust)?,
        (None, None) => bail!("there is no broker"),
    };
    let (engine, trust, desk) = (engine.clone(), Arc::clone(trust), Arc::clone(desk));
    let logs = hub::LogSettings {
        state_dir: config.state_dir.clone(),
        bounds: LogDefaults {
            max_size: config.container_log.max_size,
            max_file: config.container_log.max_file,
            max_age: config.container_log.max_age.as_secs(),
            max_total: config.container_log.max_total,
        },
        of_box: config.container_log_max_total_of_box,
    };
    Ok(Hub::start(hub::Parts { engine, trust, desk, broker, series, logs }))
}

/// Through the door of the hub's own broker.
fn near(broker: &Broker) -> link::Settings {
    let door = broker.door();
    let credentials = Credentials { user: door.user.to_owned(), password: door.password.clone() };
    link::Settings {
        credentials: Some(credentials),
        keep_alive: KEEP_ALIVE,
        back_off_cap: NEAR,
        ..link::Settings::new(BrokerUrl::Unix(door.socket.clone()), hub::CLIENT)
    }
}

/// To a broker that runs elsewhere: with the hub's certificate, and with user and password if there are some.
fn far(remote: &RemoteBroker, trust: &HubTrust) -> anyhow::Result<link::Settings> {
    let url: BrokerUrl = remote.url.parse()?;
    let read = |path: &std::path::Path| {
        std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let credentials = match &remote.credentials {
        None => None,
        Some(path) => {
            let line = Zeroizing::new(read(path)?);
            let line = line.trim_ascii();
            let at = line.iter().position(|byte| *byte == b':');
            let at = at.with_context(|| format!("{} is not USER:PASSWORD", path.display()))?;
            let user = std::str::from_utf8(&line[..at])
                .with_context(|| format!("the user in {} is not UTF-8", path.display()))?;
            let password = std::str::from_utf8(&line[at + 1..])
                .with_context(|| format!("the password in {} is not UTF-8", path.display()))?;
            let password = Zeroizing::new(password.to_owned());
            Some(Credentials { user: user.to_owned(), password })
        }
    };
    let key = PrivateKey::generate();
    let certificate = trust.authority.issue(&Subject::Hub, key.public(), sys::now());
    let key = Zeroizing::new(key.pem().as_bytes().to_vec());
    let tls = Tls {
        authorities: remote.ca.as_deref().map(read).transpose()?,
        identity: Some((certificate.pem().into_bytes(), key)),
    };
    Ok(link::Settings {
        credentials,
        tls,
        keep_alive: KEEP_ALIVE,
        back_off_cap: FAR,
        ..link::Settings::new(url, hub::CLIENT)
    })
}

/// The way to the boxes, for the API.
pub(super) fn reach(
    config: &HubConfig,
    engine: &Handle,
    hub: &Hub,
    desk: &Arc<Registrar>,
) -> Reach {
    let desk = Arc::clone(desk);
    let key = move |device: &Device| {
        desk.sealing_key(device).ok_or_else(|| {
            format!("the key that the hub shares with container instance {} cannot be opened: is keys/fleet.key another one?", device.id)
        })
    };
    Reach::new(engine.clone(), hub.clone(), config.state_dir.clone(), Arc::new(key))
}

/// Documents that boxes fetch, for the API.
#[derive(Debug)]
pub(super) struct Shelf(pub(super) Hub);

impl Documents for Shelf {
    fn sealed(&self, sha256: &str) -> Option<Arc<[u8]>> {
        self.0.document(sha256)
    }
}
