//! The hub of real boxes.

use super::super::gate::HubGate;
use super::super::{asked_to_stop, daily, host, introduce, private_dir, watchdog, worker_threads};
use super::{FLEET, addresses, backup, refuse_others, roster, sync};
use crate::api::{self, Listeners};
use crate::auth::fleet::{HubTrust, PrivateKey, Subject};
use crate::auth::{Keys, Secrets};
use crate::config::{HubConfig, HubOverrides, program_search_path};
use crate::engine::{self, Ground, Handle, Parts};
use crate::fleet::broker::{self, Broker};
use crate::fleet::hub::Hub;
use crate::fleet::join::{self, Registrar};
use crate::fleet::rotation::Rotation;
use crate::model::ClusterName;
use crate::plan::Command;
use crate::plan::command::CreateCluster;
use crate::store::{self, Store};
use crate::{sys, telemetry};
use anyhow::Context;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// What mosquitto may take of the machine's memory: a quarter of it, between these.
const MEMORY_AT_LEAST: u64 = 64 << 20;
const MEMORY_AT_MOST: u64 = 2 << 30;

/// Serves a fleet until SIGTERM or SIGINT.
///
/// # Errors
/// When the configuration, the state or the broker does not allow it to start.
pub(super) fn run(flags: &HubOverrides) -> anyhow::Result<ExitCode> {
    let config = HubConfig::load(flags)?;
    telemetry::init(config.log.clone()).context("cannot start logging")?;
    worker_threads()?.block_on(async {
        // Whoever asks from here on is heard, however long the start takes.
        let stop = asked_to_stop();
        let fleet = Fleet::start(&config).await?;
        let Fleet { handle, listeners, keys, broker, desk, rotation, store, hub } = fleet;
        let listen = listeners.address().unwrap_or(config.listen);
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        tokio::spawn(watchdog::feed(handle.clone()));
        let mqtt = broker.as_ref().map_or_else(
            || config.broker.as_ref().map(|broker| broker.url.clone()).unwrap_or_default(),
            |broker| broker.address().to_string(),
        );
        tracing::info!(%listen, mqtt, state = %config.state_dir.display(), "the hub answers");
        let parts = api::Parts {
            engine: handle.clone(),
            listeners,
            keys,
            metadata: None,
            boxes: Some(Arc::new(sync::reach(&config, &handle, &hub, &desk))),
            gate: Some(Arc::new(HubGate {
                desk,
                rotation,
                store,
                state_dir: config.state_dir.clone(),
            })),
            documents: Some(Arc::new(sync::Shelf(hub.clone()))),
            from_hub: None,
        };
        let served = api::serve(parts, stop).await;
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        hub.close().await;
        if let Some(broker) = broker {
            broker.stop().await;
        }
        served?;
        daily::keep_one(&handle).await;
        Ok(ExitCode::SUCCESS)
    })
}

/// A hub with its servers bound, not yet served.
struct Fleet {
    handle: Handle,
    listeners: Listeners,
    keys: Arc<Keys>,
    /// None: one that runs elsewhere.
    broker: Option<Broker>,
    /// Where boxes join.
    desk: Arc<Registrar>,
    /// Of the key that it signs with.
    rotation: Rotation,
    store: Store,
    /// What keeps them in step.
    hub: Hub,
}

impl Fleet {
    async fn start(config: &HubConfig) -> anyhow::Result<Self> {
        for dir in [&config.state_dir, &config.run_dir] {
            private_dir(dir)?;
        }
        // The store's lock guards the state, the socket guards the run directory: both are ours before a broker that
        // another hub has left is looked for.
        let store = Store::open(&config.store_dir(), store::Options::default())?;
        refuse_others(&store, FLEET, &config.state_dir)?;
        if store.get_meta(FLEET)?.is_none() {
            store.put_meta(FLEET, &serde_json::json!({ "since": sys::now() }))?;
        }
        let listeners = Listeners::bind(config.listen, &config.socket(), None).await?;
        let keys = Arc::new(Keys::open(&config.state_dir)?);
        let trust = Arc::new(HubTrust::open(&config.state_dir, sys::now())?);
        let epoch = backup::epoch(&store)?;
        let handle = engine::start(Parts {
            secrets: Secrets::new(&config.state_dir, store.clone()),
            store: store.clone(),
            settings: config.settings(epoch),
            ground: Ground::Fleet,
        })?;
        // The one that boxes join unless told otherwise.
        let default = CreateCluster::named(ClusterName::default_cluster());
        introduce(&handle, Command::CreateCluster(Box::new(default))).await?;
        let broker = match config.broker {
            Some(_) => None,
            None => Some(own_broker(config, &handle, &trust).await?),
        };
        let desk = Arc::new(Registrar::new(
            handle.clone(),
            trust.clone(),
            told_of_broker(config, broker.as_ref(), &trust)?,
            config.certificate_lifetime,
        ));
        let hub = sync::start(config, &handle, &store, &trust, &desk, broker.as_ref())?;
        let rotation = Rotation::new(handle.clone(), trust);
        tokio::spawn(rotation.clone().keep());
        Ok(Self { handle, listeners, keys, broker, desk, rotation, store, hub })
    }
}

/// What boxes that join are told of the broker.
fn told_of_broker(
    config: &HubConfig,
    own: Option<&Broker>,
    trust: &HubTrust,
) -> anyhow::Result<join::Broker> {
    if let (None, Some(remote)) = (own, &config.broker) {
        let read = |path: &Path| {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let authorities = remote.ca.as_deref().map(read).transpose()?;
        return Ok(join::Broker {
            urls: vec![remote.url.clone()],
            port: 0,
            authorities,
            own: None,
        });
    }
    Ok(join::Broker {
        urls: config.mqtt_advertise.iter().map(|host| format!("mqtts://{host}")).collect(),
        port: own.map_or(config.mqtt_listen.port(), |broker| broker.address().port()),
        authorities: Some(trust.authority.certificate().pem()),
        own: own.cloned(),
    })
}

/// Brings up mosquitto, and keeps its roster.
async fn own_broker(
    config: &HubConfig,
    handle: &Handle,
    trust: &Arc<HubTrust>,
) -> anyhow::Result<Broker> {
    let key = PrivateKey::generate();
    let names = addresses::of_the_broker(config);
    tracing::debug!(?names, "the broker's certificate");
    let certificate = trust.authority.issue(&Subject::Broker(names), key.public(), sys::now());
    let signer = Arc::clone(trust);
    let revocation_list = move |serials: &BTreeSet<String>| {
        signer.authority.revocation_list(serials.iter().map(String::as_str), sys::now())
    };
    let tls = broker::Tls {
        authority: trust.authority.certificate().pem(),
        certificate: certificate.pem(),
        key: key.pem(),
        revocation_list: Arc::new(revocation_list),
    };
    let settings = broker::Settings {
        listen: config.mqtt_listen,
        run_dir: config.run_dir.join("broker"),
        data_dir: config.state_dir.join("broker"),
        tls,
        search_path: program_search_path(),
        memory: (host::memory().unwrap_or_default() / 4).clamp(MEMORY_AT_LEAST, MEMORY_AT_MOST),
    };
    let (roster, told) = handle.read(roster::of);
    let broker = Broker::start(settings, roster).await?;
    tokio::spawn(roster::keep(handle.clone(), broker.clone(), told));
    Ok(broker)
}
