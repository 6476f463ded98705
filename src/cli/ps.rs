//! `coracle ps`: the tasks of this agent.

use super::Connection;
use super::client::{Container, Selection, Task};
use super::output::{self, Format};
use crate::sys;
use anyhow::Result;
use serde_json::json;

/// List tasks
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Show stopped tasks, too
    #[arg(short, long)]
    all: bool,
    /// Only the tasks of this cluster
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

impl Arguments {
    pub(super) async fn run(self) -> Result<()> {
        let selection = Selection { cluster: self.cluster, stopped: self.all };
        let mut tasks = self.connection.client().tasks(&selection).await?;
        // Newest first. Seconds with a fraction compare as floats.
        let created = |task: &serde_json::Value| task["createdAt"].as_f64().unwrap_or_default();
        tasks.sort_by(|a, b| created(b).total_cmp(&created(a)));
        if self.format.is_json() {
            return output::json(&json!({ "tasks": tasks }));
        }
        let now = sys::now();
        let mut rows = Vec::new();
        for task in tasks {
            let task: Task = serde_json::from_value(task)?;
            rows.push(vec![
                output::short(task.id()).to_owned(),
                output::id_of(&task.cluster_arn).to_owned(),
                output::id_of(&task.task_definition_arn).to_owned(),
                status(&task),
                task.containers.iter().map(state).collect::<Vec<_>>().join(", "),
                task.created_at.map(|at| output::age(now, at)).unwrap_or_default(),
                task.stopped_reason.clone().unwrap_or_default(),
            ]);
        }
        let header = ["TASK", "CLUSTER", "DEFINITION", "STATUS", "CONTAINERS", "AGE", "REASON"];
        output::table(&header, rows)
    }
}

/// `RUNNING`; `PENDING → STOPPED` when something else is wanted; with the health when there is a verdict.
fn status(task: &Task) -> String {
    let mut text = task.last_status.clone();
    if !task.is_stopped() && task.desired_status == "STOPPED" {
        text.push_str(" → STOPPED");
    }
    if let Some(health @ ("HEALTHY" | "UNHEALTHY")) = task.health_status.as_deref() {
        text.push_str(", ");
        text.push_str(&health.to_lowercase());
    }
    text
}

/// `web running`, `job exited 3`.
fn state(container: &Container) -> String {
    let Container { name, last_status, exit_code, .. } = container;
    match (last_status.as_str(), exit_code) {
        ("STOPPED", Some(code)) => format!("{name} exited {code}"),
        (status, _) => format!("{name} {}", status.to_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_shows_where_it_goes_and_how_it_feels() {
        let mut task = Task { last_status: "RUNNING".into(), ..Task::default() };
        assert_eq!(status(&task), "RUNNING");
        task.health_status = Some("UNKNOWN".into());
        task.desired_status = "STOPPED".into();
        assert_eq!(status(&task), "RUNNING → STOPPED");
        task.health_status = Some("UNHEALTHY".into());
        assert_eq!(status(&task), "RUNNING → STOPPED, unhealthy");
        task.last_status = "STOPPED".into();
        assert_eq!(status(&task), "STOPPED, unhealthy");
    }

    #[test]
    fn a_container_shows_its_exit_code() {
        let mut container =
            Container { name: "web".into(), last_status: "RUNNING".into(), ..Container::default() };
        assert_eq!(state(&container), "web running");
        container.last_status = "STOPPED".into();
        assert_eq!(state(&container), "web stopped");
        container.exit_code = Some(3);
        assert_eq!(state(&container), "web exited 3");
    }
}
