//! `coracle leave`: ends this box's membership of a fleet.

use super::join::{Place, ask};
use super::output::{self, Format};
use anyhow::Result;
use std::process::ExitCode;

/// End the membership of this box: what it ran for its fleet stops, and it stands alone again
///
/// The hub is told if it can be reached; else it keeps the box in its records until it is deregistered there.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    format: Format,
}

impl Arguments {
    pub(super) fn run(self) -> Result<ExitCode> {
        let answer = ask(self.place, None)?;
        if self.format.is_json() {
            output::json(&answer)?;
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(warning) = answer["warning"].as_str() {
            output::complain("warning", warning);
        }
        let hub = answer["hub"].as_str().unwrap_or("its fleet");
        let tasks = answer["tasks"].as_str().unwrap_or("stop");
        output::line(&format!("this box left {hub}; what it ran: {tasks}"))?;
        Ok(ExitCode::SUCCESS)
    }
}
