//! `coracle diff`: what `coracle apply` would change.

use super::Connection;
use super::manifest::{Files, Step, show};
use super::output::{self, Format};
use anyhow::Result;
use serde_json::json;
use std::process::ExitCode;

/// Show what `coracle apply` would change
///
/// The exit code is 0 when nothing would, 1 when something would, 2 when it cannot be told.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    files: Files,
    /// Also show the services that `coracle apply --prune` would delete
    #[arg(long, requires = "name")]
    prune: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

impl Arguments {
    pub(super) async fn run(self) -> Result<ExitCode> {
        match self.differs().await {
            Ok(false) => Ok(ExitCode::SUCCESS),
            Ok(true) => Ok(ExitCode::from(1)),
            Err(error) if output::is_closed_pipe(&error) => Err(error),
            Err(error) => {
                output::complain("error", &output::sentence(&error));
                Ok(ExitCode::from(2))
            }
        }
    }

    async fn differs(&self) -> Result<bool> {
        let answer = self.connection.client().apply(&self.files.request(self.prune, true)?).await?;
        for warning in &answer.warnings {
            output::complain("warning", warning);
        }
        let steps = answer.steps.iter().map(Step::of).collect::<Result<Vec<_>>>()?;
        if self.format.is_json() {
            output::json(&json!({ "steps": answer.steps }))?;
        } else {
            for step in steps.iter().filter(|step| step.changes()) {
                show(step)?;
            }
        }
        Ok(steps.iter().any(Step::changes))
    }
}
