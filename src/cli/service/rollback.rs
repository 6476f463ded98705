//! `coracle service rollback`.

use super::super::client::Client;
use super::super::output;
use super::{Target, definition_of, text, wait};
use anyhow::{Result, bail};
use serde_json::{Value, json};

/// Go back to what a service ran before: stops a deployment in progress, or undoes the last one
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    target: Target,
    /// Wait until the service is steady
    #[arg(long)]
    wait: bool,
}

impl Arguments {
    pub(super) async fn run(self) -> Result<()> {
        let (cluster, name) = self.target.names();
        let client = self.target.connection.client();
        let service = client.service(&cluster, &name).await?;
        let deployments = deployments(&client, &cluster, &name).await?;
        let on_its_way = |d: &&Value| matches!(text(&d["status"]), "PENDING" | "IN_PROGRESS");
        let (operation, input) = if let Some(deployment) = deployments.iter().find(on_its_way) {
            let arn = &deployment["serviceDeploymentArn"];
            (
                "StopServiceDeployment",
                json!({ "serviceDeploymentArn": arn, "stopType": "ROLLBACK" }),
            )
        } else {
            let before = before(&client, &service, &deployments).await?;
            let input = json!({ "cluster": cluster, "service": name, "taskDefinition": before });
            ("UpdateService", input)
        };
        let answer = client.ecs(operation, &input).await?;
        if self.wait {
            // What it goes back to is what it is steady on.
            let now = client.service(&cluster, &name).await?;
            let target =
                super::super::manifest::Applied { task_definition: None, ..wait::of(&now) };
            wait::until_steady(&client, &target).await?;
        }
        if self.target.format.is_json() {
            return output::json(&answer);
        }
        let now = client.service(&cluster, &name).await?;
        output::line(&format!("{cluster}/{name} {}", definition_of(&now)))
    }
}

/// The deployments of a service, newest first, in full.
async fn deployments(client: &Client, cluster: &str, name: &str) -> Result<Vec<Value>> {
    /// As many as DescribeServiceDeployments takes.
    const LIMIT: usize = 20;
    let input = json!({ "cluster": cluster, "service": name });
    let briefs = client.ecs_pages("ListServiceDeployments", input, "serviceDeployments").await?;
    let mut all = Vec::new();
    for some in briefs.chunks(LIMIT) {
        let arns: Vec<&Value> = some.iter().map(|brief| &brief["serviceDeploymentArn"]).collect();
        let input = json!({ "serviceDeploymentArns": arns });
        let mut answer = client.ecs("DescribeServiceDeployments", &input).await?;
        if let Value::Array(some) = answer["serviceDeployments"].take() {
            all.extend(some);
        }
    }
    let created = |deployment: &Value| deployment["createdAt"].as_f64().unwrap_or_default();
    all.sort_by(|a, b| created(b).total_cmp(&created(a)));
    Ok(all)
}

/// The task definition that ran before the one that runs.
async fn before(client: &Client, service: &Value, deployments: &[Value]) -> Result<String> {
    let now = text(&service["taskDefinition"]);
    for deployment in deployments {
        let sources = deployment["sourceServiceRevisions"].as_array().cloned().unwrap_or_default();
        let arns: Vec<&Value> = sources.iter().map(|source| &source["arn"]).collect();
        if arns.is_empty() {
            continue;
        }
        let input = json!({ "serviceRevisionArns": arns });
        let answer = client.ecs("DescribeServiceRevisions", &input).await?;
        let revisions = answer["serviceRevisions"].as_array().cloned().unwrap_or_default();
        let other = |revision: &&Value| {
            let definition = text(&revision["taskDefinition"]);
            !definition.is_empty() && definition != now
        };
        if let Some(revision) = revisions.iter().find(other) {
            return Ok(text(&revision["taskDefinition"]).to_owned());
        }
    }
    let (cluster, name) = super::names_of(service);
    bail!(
        "{cluster}/{name} has run nothing but {}: `coracle service deploy --task-definition` rolls another out",
        definition_of(service)
    )
}
