//! `coracle service deploy`.

use super::super::output;
use super::{Target, definition_of, wait};
use anyhow::{Result, bail};
use serde_json::json;

/// Roll a task definition out: the newest revision of the family that runs, or another
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    target: Target,
    /// FAMILY for its newest revision, FAMILY:REVISION, or an ARN
    #[arg(long, value_name = "DEFINITION")]
    task_definition: Option<String>,
    /// Start all tasks anew even if the service is to run the same as before
    #[arg(long)]
    force: bool,
    /// Wait until the service is steady; fail when the deployment fails
    #[arg(long)]
    wait: bool,
}

impl Arguments {
    pub(super) async fn run(self) -> Result<()> {
        let (cluster, name) = self.target.names();
        let client = self.target.connection.client();
        let before = client.service(&cluster, &name).await?;
        let runs = definition_of(&before);
        let family = runs.rsplit_once(':').map_or(runs, |(family, _)| family);
        let wanted = match &self.task_definition {
            Some(wanted) => wanted.clone(),
            // To start the same anew is not to start something else.
            None if self.force => runs.to_owned(),
            None => family.to_owned(),
        };
        let input = json!({ "taskDefinition": wanted });
        let described = client.ecs("DescribeTaskDefinition", &input).await?;
        let revision = &described["taskDefinition"]["taskDefinitionArn"];
        let revision = output::id_of(revision.as_str().unwrap_or_default());
        if revision == runs && !self.force {
            bail!("{cluster}/{name} is on {runs} already: --force starts its tasks anew");
        }
        let input = json!({
            "cluster": cluster, "service": name, "taskDefinition": wanted,
            "forceNewDeployment": self.force,
        });
        let answer = client.ecs("UpdateService", &input).await?;
        if self.wait {
            wait::until_steady(&client, &wait::of(&answer["service"])).await?;
        }
        if self.target.format.is_json() {
            return output::json(&answer);
        }
        output::line(&format!("{cluster}/{name} {}", definition_of(&answer["service"])))
    }
}
