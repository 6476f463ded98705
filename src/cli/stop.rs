//! `coracle stop`: ends tasks and waits until they are over.

use super::Connection;
use super::client::{Client, Task};
use super::output::{self, Format};
use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Stop tasks and wait until they have stopped
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The tasks: their ids, the first 6 or more characters of them, or ARNs
    #[arg(required = true, value_name = "TASK")]
    tasks: Vec<String>,
    /// Why; shown as the task's stoppedReason
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Do not wait until they have stopped
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

impl Arguments {
    pub(super) async fn run(self) -> Result<()> {
        let client = self.connection.client();
        // All of them are named before any is stopped: a slip in the second name stops nothing.
        let mut found = Vec::new();
        for name in &self.tasks {
            found.push(client.find_task(name).await?);
        }
        let mut last = Vec::new();
        for task in &found {
            last.push(request(&client, task, self.reason.as_deref()).await?);
        }
        if !self.no_wait {
            for (task, last) in found.iter().zip(&mut last) {
                *last = wait(&client, task.id()).await?;
            }
        }
        if self.format.is_json() {
            return output::json(&json!({ "tasks": last }));
        }
        for task in &found {
            output::line(task.id())?;
        }
        Ok(())
    }
}

/// Asks for the end of `task`; the task as it is then.
pub(super) async fn request(client: &Client, task: &Task, reason: Option<&str>) -> Result<Value> {
    let mut input = json!({ "cluster": task.cluster_arn, "task": task.task_arn });
    if let Some(reason) = reason {
        input["reason"] = reason.into();
    }
    let mut answer = client.ecs("StopTask", &input).await?;
    Ok(answer["task"].take())
}

/// Waits until the task is STOPPED; the task as it is then.
async fn wait(client: &Client, id: &str) -> Result<Value> {
    let mut lines = client.watch(id).await?;
    let mut last = None;
    while let Some(task) = lines.next::<Value>().await? {
        last = Some(task);
    }
    last.filter(|task| task["lastStatus"] == "STOPPED")
        .context("the agent ended before the task had stopped: see `coracle ps --all`")
}
