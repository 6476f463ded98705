//! `coracle service scale`.

use super::super::output;
use super::{Target, wait};
use anyhow::Result;
use serde_json::json;

/// Change how many tasks a service keeps
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    target: Target,
    /// How many
    #[arg(value_name = "COUNT")]
    count: u32,
    /// Wait until so many run
    #[arg(long)]
    wait: bool,
}

impl Arguments {
    pub(super) async fn run(self) -> Result<()> {
        let (cluster, name) = self.target.names();
        let input = json!({ "cluster": cluster, "service": name, "desiredCount": self.count });
        let client = self.target.connection.client();
        let answer = client.ecs("UpdateService", &input).await?;
        if self.wait {
            wait::until_steady(&client, &wait::of(&answer["service"])).await?;
        }
        if self.target.format.is_json() {
            return output::json(&answer);
        }
        output::line(&format!("{cluster}/{name}"))
    }
}
