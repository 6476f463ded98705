//! A hub: the control plane of a fleet, without a box of its own. Or a [`simulation`] of one.
//!
//! ```text
//!  store ─► keys, authority ─► engine (Ground::Fleet) ─► broker ─► sync ─► API
//!                                   │ commits               ▲         └─ what boxes are to run, and what they say
//!                                   └──── roster ───────────┘  who may take part
//! ```
//!
//! It needs no privilege. It ends in the opposite order: no more requests, then the broker, whose last word to the boxes
//! is that the hub is gone; they go on alone.

mod addresses;
mod backup;
mod fleet;
mod roster;
mod simulation;

pub(super) use backup::write as write_backup;
mod sync;

use crate::config::{HubConfig, HubOverrides};
use crate::store::Store;
use std::path::Path;
use std::process::ExitCode;

/// The key under which a simulation's store is marked, so that nobody else takes it for its own.
const SIMULATION: &str = "simulation";
/// The same of a hub's.
const FLEET: &str = "hub";

/// The marks, with what a store that has one belongs to.
const MARKS: [(&str, &str); 3] = [
    (super::INSTANCE_ID, "an agent"),
    (SIMULATION, "a simulation (coracle hub --simulate)"),
    (FLEET, "a hub (coracle hub)"),
];

/// Runs a hub until SIGTERM or SIGINT.
///
/// # Errors
/// When the configuration, the state or the broker does not allow it to start.
pub fn hub(flags: &HubOverrides, simulate: bool) -> anyhow::Result<ExitCode> {
    if simulate { simulation::run(flags) } else { fleet::run(flags) }
}

/// Writes a backup of a hub that does not run into a new file.
///
/// # Errors
/// When it runs, or the file cannot be written.
pub fn backup(flags: &HubOverrides, file: &Path) -> anyhow::Result<serde_json::Value> {
    backup::of_stopped(&HubConfig::load(flags)?, file)
}

/// Makes the state directory of a hub out of a backup.
///
/// # Errors
/// When a hub is in it, or the file is no backup.
pub fn restore(flags: &HubOverrides, file: &Path) -> anyhow::Result<serde_json::Value> {
    backup::restore(&HubConfig::load(flags)?, file)
}

/// A store that something else than `mark` has used stays that one's.
pub(super) fn refuse_others(store: &Store, mark: &str, state_dir: &Path) -> anyhow::Result<()> {
    for (other, owner) in MARKS {
        if other != mark && store.get_meta(other)?.is_some() {
            anyhow::bail!(
                "the state in {} is that of {owner}; use another --state-dir",
                state_dir.display()
            );
        }
    }
    Ok(())
}
