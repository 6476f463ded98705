//! `coracle reset`: stops all that runs on a box whose agent does not, and removes what it left.

use super::join::Place;
use super::output::{self, Format};
use crate::daemon::{Ended, Extent, reset};
use anyhow::Result;
use serde_json::json;
use std::process::ExitCode;

/// Stop all tasks of this box, whose agent must not run, and remove what they have in the kernel
///
/// Tasks end as their definitions say, and after two minutes with SIGKILL. Control groups, links, addresses, firewall
/// rules and the run directory are gone then. The state stays, and services come back with the next agent, unless
/// --purge is given. Doing it again is safe.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Remove the state as well: services, definitions, images, volumes with their data, logs, secrets, keys, the
    /// membership of a fleet. The configuration stays
    #[arg(long)]
    purge: bool,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    format: Format,
}

impl Arguments {
    pub(super) fn run(self) -> Result<ExitCode> {
        let config = self.place.config()?;
        let extent = if self.purge { Extent::Everything } else { Extent::Tasks };
        let ended = match reset(&config, extent)? {
            Ended::Stopped => "stopped",
            Ended::Killed => "killed",
        };
        let state = config.state_dir.display().to_string();
        if self.format.is_json() {
            output::json(&json!({ "tasks": ended, "state": state, "purged": self.purge }))?;
            return Ok(ExitCode::SUCCESS);
        }
        let rest = if self.purge { "removed" } else { "kept" };
        output::line(&format!("tasks {ended}; the state in {state} is {rest}"))?;
        Ok(ExitCode::SUCCESS)
    }
}
