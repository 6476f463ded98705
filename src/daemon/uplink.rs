//! A box and its hub: starts what keeps the box in its fleet, and leads the hub's connections to the local API.

use super::boxes;
use crate::api::FromHub;
use crate::config::{Config, FleetSettings, ForwardLogs, MqttVersion};
use crate::engine::Handle;
use crate::fleet::device::{self, LinkSettings, logs};
use crate::fleet::link::Version;
use crate::model::fleet::LinkStatus;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The way to the hub, for as long as it is held.
pub(super) struct Uplink(JoinHandle<()>);

impl Uplink {
    /// Starts it, and tells what the API is to have of it. It waits for a membership by itself.
    pub(super) fn start(engine: Handle, config: &Config) -> (Self, FromHub) {
        let (accept, streams) = boxes::door();
        let (status_in, status) = watch::channel(LinkStatus::default());
        let parts = device::Parts {
            engine,
            state_dir: config.state_dir.clone(),
            link: settings(&config.fleet),
            logs: forwarding(&config.fleet),
            accept: Arc::new(accept),
            status: status_in,
        };
        (Self(tokio::spawn(device::keep(parts))), FromHub { streams, status })
    }
}

impl Drop for Uplink {
    /// Breaks the connection off, so that the broker says that the box is gone.
    fn drop(&mut self) {
        self.0.abort();
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

fn forwarding(fleet: &FleetSettings) -> logs::Settings {
    let which = match fleet.forward_logs {
        ForwardLogs::Off => logs::Which::Off,
        ForwardLogs::Labelled => logs::Which::Labelled,
        ForwardLogs::All => logs::Which::All,
    };
    logs::Settings { which, rate: fleet.forward_logs_rate }
}
