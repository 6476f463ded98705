//! `coracle service rm`.

use super::super::output;
use super::{Target, text};
use anyhow::{Result, bail};
use serde_json::{Value, json};

/// Delete a service
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    target: Target,
    /// Also when it is not scaled to 0: its tasks stop
    #[arg(long)]
    force: bool,
    /// Wait until its tasks have stopped
    #[arg(long)]
    wait: bool,
}

impl Arguments {
    pub(super) async fn run(self) -> Result<()> {
        let (cluster, name) = self.target.names();
        let client = self.target.connection.client();
        let input = json!({ "cluster": cluster, "service": name, "force": self.force });
        let mut answer = client.ecs("DeleteService", &input).await?;
        if self.wait && text(&answer["service"]["status"]) != "INACTIVE" {
            let mut changes = client.watch_service(&cluster, &name).await?;
            while let Some(service) = changes.next::<Value>().await? {
                answer["service"] = service;
            }
            if text(&answer["service"]["status"]) != "INACTIVE" {
                bail!("the agent ended before the tasks of {cluster}/{name} had stopped");
            }
        }
        if self.target.format.is_json() {
            return output::json(&answer);
        }
        output::line(&format!("{cluster}/{name}"))
    }
}
