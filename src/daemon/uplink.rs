//! A box and its hub: starts what keeps the box in its fleet, and leads the hub's connections to the local API.

use crate::api::ByteStream;
use crate::config::{Config, FleetSettings, MqttVersion};
use crate::engine::Handle;
use crate::fleet::device::{self, LinkSettings};
use crate::fleet::link::Version;
use crate::model::fleet::LinkStatus;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Connections of the hub that wait to be served.
const WAITING: usize = 8;

/// The way to the hub, whether the box is a member now or becomes one.
pub(super) struct Uplink {
    /// The hub's connections, for the API.
    pub(super) from_hub: mpsc::Receiver<Box<dyn ByteStream>>,
    /// How the link is.
    pub(super) status: watch::Receiver<LinkStatus>,
    task: JoinHandle<()>,
}

impl Uplink {
    /// Starts it; it waits for a membership by itself.
    pub(super) fn start(engine: Handle, config: &Config) -> Self {
        let (streams, from_hub) = mpsc::channel::<Box<dyn ByteStream>>(WAITING);
        let (status_in, status) = watch::channel(LinkStatus::default());
        let parts = device::Parts {
            engine,
            state_dir: config.state_dir.clone(),
            link: settings(&config.fleet),
            accept: Arc::new(move |stream| streams.try_send(Box::new(stream)).is_ok()),
            status: status_in,
        };
        Self { from_hub, status, task: tokio::spawn(device::keep(parts)) }
    }
}

impl Drop for Uplink {
    /// Breaks the connection off: the broker says that the box is gone.
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn settings(fleet: &FleetSettings) -> LinkSettings {
    LinkSettings {
        keep_alive: fleet.keep_alive,
        version: match fleet.mqtt_version {
            MqttVersion::Auto => Version::Auto,
            MqttVersion::V5 => Version::V5,
            MqttVersion::V311 => Version::V311,
        },
        credentials: fleet.broker_credentials.clone(),
        authorities: fleet.broker_ca.clone(),
    }
}
