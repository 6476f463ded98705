//! The simulation: the ECS API over boxes that are made up.
//!
//! It needs no privilege: it opens a store, two sockets, and nothing else.

use super::super::{asked_to_stop, daily, private_dir, watchdog, worker_threads};
use super::{SIMULATION, refuse_others};
use crate::api::{self, Listeners};
use crate::auth::{Keys, Secrets};
use crate::config::{HubConfig, HubOverrides, read_faults};
use crate::engine::{self, Ground, Handle, Parts};
use crate::plan::simulate::FaultPlan;
use crate::store::{self, Store};
use crate::telemetry;
use anyhow::Context;
use std::process::ExitCode;
use std::sync::Arc;

/// Serves a simulation until SIGTERM or SIGINT.
///
/// # Errors
/// When the configuration or the state does not allow it to start.
pub(super) fn run(flags: &HubOverrides) -> anyhow::Result<ExitCode> {
    let config = HubConfig::load(flags)?;
    telemetry::init(config.log.clone()).context("cannot start logging")?;
    worker_threads()?.block_on(async {
        let (handle, listeners, keys) = start(&config).await?;
        let stop = asked_to_stop();
        let listen = listeners.address().unwrap_or(config.listen);
        // A service manager is optional; without one there is nobody to tell.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        tokio::spawn(watchdog::feed(handle.clone()));
        tracing::info!(%listen, state = %config.state_dir.display(), "the simulation answers; signatures are not checked");
        let parts = api::Parts {
            engine: handle.clone(),
            listeners,
            keys,
            metadata: None,
            boxes: None,
            gate: None,
            documents: None,
            from_hub: None,
        };
        api::serve(parts, stop).await?;
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        daily::keep_one(&handle).await;
        Ok(ExitCode::SUCCESS)
    })
}

async fn start(config: &HubConfig) -> anyhow::Result<(Handle, Listeners, Arc<Keys>)> {
    let faults = match &config.faults {
        Some(path) => read_faults(path)?,
        None => FaultPlan::default(),
    };
    for dir in [&config.state_dir, &config.run_dir] {
        private_dir(dir)?;
    }
    // Nobody depends on a simulation after a power cut, and many wait for it.
    let options = store::Options { flushes: false, ..store::Options::default() };
    let store = Store::open(&config.store_dir(), options)?;
    mark(&store, config)?;
    let listeners = Listeners::bind(config.listen, &config.socket(), None).await?;
    let keys = Arc::new(Keys::open(&config.state_dir)?);
    let handle = engine::start(Parts {
        secrets: Secrets::new(&config.state_dir, store.clone()),
        store,
        settings: config.simulation(),
        ground: Ground::Simulated(faults),
    })?;
    Ok((handle, listeners, keys))
}

/// Makes the store a simulation's.
fn mark(store: &Store, config: &HubConfig) -> anyhow::Result<()> {
    refuse_others(store, SIMULATION, &config.state_dir)?;
    if store.get_meta(SIMULATION)?.is_none() {
        store.put_meta(SIMULATION, &serde_json::json!({ "since": crate::sys::now() }))?;
    }
    Ok(())
}
