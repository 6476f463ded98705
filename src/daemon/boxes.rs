//! The hub's way to the local API of its boxes, and the box's door for its hub: tunnels on one side, `api` on the other,
//! which do not know each other.

use crate::api::{Boxes, ByteStream, Connecting, Unreachable};
use crate::auth::fleet::SealingKey;
use crate::engine::Handle;
use crate::fleet::command::Address;
use crate::fleet::hub::Hub;
use crate::fleet::tunnel::{Peer, TunnelStream};
use crate::model::fleet::Device;
use crate::model::{ContainerInstanceId, Timestamp};
use crate::runtime::logs::LogDirectory;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Connections that wait for the server; each is taken at once.
const WAITING: usize = 8;

/// Opens the key that hub and box share, or tells why that cannot be.
pub(super) type OpenKey = dyn Fn(&Device) -> Result<SealingKey, String> + Send + Sync;

/// All boxes of this hub.
pub(super) struct Reach {
    engine: Handle,
    hub: Hub,
    state_dir: PathBuf,
    key: Arc<OpenKey>,
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reach").field("hub", &self.hub).finish_non_exhaustive()
    }
}

impl Reach {
    /// The boxes in the records of `engine`, through the tunnels of `hub`. `key` blocks.
    pub(super) fn new(engine: Handle, hub: Hub, state_dir: PathBuf, key: Arc<OpenKey>) -> Self {
        Self { engine, hub, state_dir, key }
    }

    /// The box as it is connected now.
    fn device(&self, instance: &ContainerInstanceId) -> Result<(Device, String), Unreachable> {
        self.engine.read(|world| {
            let none =
                || Unreachable(format!("container instance {instance} is no box of this hub"));
            let device = world.devices.get(instance).ok_or_else(none)?;
            if device.revoked_at.is_some() {
                return Err(Unreachable(format!("container instance {instance} was deregistered")));
            }
            match &device.session {
                Some(session) if device.connected => Ok((device.clone(), session.clone())),
                // Its session is forgotten with the connection; one that never came is away since it joined.
                _ => Err(Unreachable(format!(
                    "container instance {instance} is not connected since {}",
                    shown(device.connected_changed_at)
                ))),
            }
        })
    }
}

/// A time as people read it.
fn shown(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_second(at.0.div_euclid(1000));
    at.map_or_else(|_| "some time".to_owned(), |at| at.to_string())
}

impl Boxes for Reach {
    fn connect(&self, instance: &ContainerInstanceId) -> Connecting<'_> {
        let found = self.device(instance);
        Box::pin(async move {
            let (device, session) = found?;
            let address =
                Address { cluster: device.cluster.clone(), device: device.id.clone(), session };
            let open = Arc::clone(&self.key);
            let key = tokio::task::spawn_blocking(move || open(&device))
                .await
                .map_err(|error| Unreachable(error.to_string()))?
                .map_err(Unreachable)?;
            let opened = self.hub.tunnels().open(&Peer { address, key }).await;
            let stream = opened.map_err(|error| Unreachable(error.to_string()))?;
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        })
    }

    fn away_since(&self, instance: &ContainerInstanceId) -> Option<Timestamp> {
        self.engine.read(|world| {
            let device = world.devices.get(instance);
            device.is_none_or(|d| !d.connected).then(|| {
                device.map_or_else(Timestamp::default, |device| device.connected_changed_at)
            })
        })
    }

    fn logs(&self, instance: &ContainerInstanceId) -> LogDirectory {
        LogDirectory::of_box(&self.state_dir, instance)
    }

    fn refused(&self) -> BTreeMap<&'static str, u64> {
        self.hub.refused()
    }
}

/// The box's door: what accepts tunnels, and where the server gets them from.
pub(super) fn door()
-> (impl Fn(TunnelStream) -> bool + Clone + Send + Sync, mpsc::Receiver<Box<dyn ByteStream>>) {
    let (inside, outside) = mpsc::channel::<Box<dyn ByteStream>>(WAITING);
    (move |stream| inside.try_send(Box::new(stream)).is_ok(), outside)
}
