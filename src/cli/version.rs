//! `coracle version`: this program's version, and the agent's when one answers.

use super::output::{self, Format};
use super::{Connection, client};
use anyhow::Result;
use serde_json::json;

/// Show the version of this program and of the agent
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

impl Arguments {
    pub(super) async fn run(self) -> Result<()> {
        let agent = match self.connection.client().version().await {
            Ok(version) => Some(version),
            // It says so on a machine without an agent, too.
            Err(client::Error::NoAgent { .. } | client::Error::Forbidden { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let client = env!("CARGO_PKG_VERSION");
        if self.format.is_json() {
            return output::json(&json!({ "client": client, "agent": agent }));
        }
        output::line(&format!("coracle {client}"))?;
        output::line(&format!("agent   {}", agent.as_deref().unwrap_or("none answers")))
    }
}
