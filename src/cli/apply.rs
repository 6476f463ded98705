//! `coracle apply`: makes the box what files declare.

use super::Connection;
use super::manifest::{Files, Step, show};
use super::output::{self, Format};
use super::service::wait;
use anyhow::{Result, bail};
use serde_json::json;
use std::process::ExitCode;

/// Make clusters, task definitions and services what files declare
///
/// Files are JSON or YAML, with one object or many: what register-task-definition, create-service and create-cluster of
/// the AWS CLI take with --cli-input-json, what it prints, and what `coracle export` writes. Applied again they change
/// nothing. All of them are checked before anything is changed.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    files: Files,
    /// Delete the services that were applied under the same --name and are declared no more
    #[arg(long, requires = "name")]
    prune: bool,
    /// Wait until the services are steady; fail when a deployment fails
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    /// Only print what would change
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

impl Arguments {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let client = self.connection.client();
        let request = self.files.request(self.prune, self.dry_run)?;
        let answer = client.apply(&request).await?;
        for warning in &answer.warnings {
            output::complain("warning", warning);
        }
        if self.format.is_json() {
            output::json(&json!({ "steps": answer.steps }))?;
        } else {
            for step in answer.steps.iter().map(Step::of) {
                let step = step?;
                if self.dry_run {
                    show(&step)?;
                } else {
                    output::line(&format!("{:<9} {}", step.done(), step.object))?;
                }
            }
        }
        if !self.wait {
            return Ok(ExitCode::SUCCESS);
        }
        let mut failed = Vec::new();
        for step in answer.steps.iter().map(Step::of) {
            let step = step?;
            if let Some(service) = step.service()
                && let Err(error) = wait::until_steady(&client, &service).await
            {
                output::complain("error", &output::sentence(&error));
                failed.push(step.object);
            }
        }
        if failed.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        bail!("{} did not become what is declared", failed.join(", "))
    }
}
