//! Tasks as DescribeTasks shows them, and finding them by what people type.

use super::super::output;
use super::{Client, Error};
use crate::model::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// As many as DescribeTasks takes.
const DESCRIBE_LIMIT: usize = 100;
/// A prefix of an id is taken from so many characters on, as the agent does.
const PREFIX_LENGTH: usize = 6;

/// What the commands look at in a task.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_field_names, reason = "the names of the ECS API")]
pub(in crate::cli) struct Task {
    pub(in crate::cli) task_arn: String,
    pub(in crate::cli) cluster_arn: String,
    pub(in crate::cli) task_definition_arn: String,
    pub(in crate::cli) last_status: String,
    pub(in crate::cli) desired_status: String,
    pub(in crate::cli) health_status: Option<String>,
    pub(in crate::cli) stop_code: Option<String>,
    pub(in crate::cli) stopped_reason: Option<String>,
    pub(in crate::cli) created_at: Option<Timestamp>,
    pub(in crate::cli) containers: Vec<Container>,
}

/// What the commands look at in a container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::cli) struct Container {
    pub(in crate::cli) name: String,
    pub(in crate::cli) last_status: String,
    pub(in crate::cli) exit_code: Option<i32>,
    pub(in crate::cli) reason: Option<String>,
}

impl Task {
    pub(in crate::cli) fn id(&self) -> &str {
        output::id_of(&self.task_arn)
    }

    pub(in crate::cli) fn is_stopped(&self) -> bool {
        self.last_status == "STOPPED"
    }
}

/// Which tasks to list.
#[derive(Debug, Clone, Default)]
pub(in crate::cli) struct Selection {
    /// Only of this cluster; of all without one.
    pub(in crate::cli) cluster: Option<String>,
    /// Those that have stopped or shall, too.
    pub(in crate::cli) stopped: bool,
}

impl Client {
    /// The tasks of `selection` as DescribeTasks shows them, cluster by cluster.
    pub(in crate::cli) async fn tasks(&self, selection: &Selection) -> Result<Vec<Value>, Error> {
        let clusters = match &selection.cluster {
            Some(cluster) => vec![json!(cluster)],
            None => self.ecs_pages("ListClusters", json!({}), "clusterArns").await?,
        };
        let wanted: &[&str] =
            if selection.stopped { &["RUNNING", "STOPPED"] } else { &["RUNNING"] };
        let mut tasks = Vec::new();
        for cluster in clusters {
            let mut arns = Vec::new();
            for status in wanted {
                let input = json!({ "cluster": cluster, "desiredStatus": status });
                arns.extend(self.ecs_pages("ListTasks", input, "taskArns").await?);
            }
            // One that is told to stop meanwhile is in both lists.
            let mut seen = BTreeSet::new();
            arns.retain(|arn| seen.insert(arn.as_str().map(str::to_owned)));
            for some in arns.chunks(DESCRIBE_LIMIT) {
                let input = json!({ "cluster": cluster, "tasks": some, "include": ["TAGS"] });
                let mut answer = self.ecs("DescribeTasks", &input).await?;
                if let Some(Value::Array(more)) = answer.get_mut("tasks").map(Value::take) {
                    tasks.extend(more);
                }
            }
        }
        Ok(tasks)
    }

    /// The one task that `name` means: its ARN, its id, or the beginning of its id.
    pub(in crate::cli) async fn find_task(&self, name: &str) -> Result<Task, Error> {
        let prefix = output::id_of(name);
        if prefix.len() < PREFIX_LENGTH {
            return Err(Error::Refused(format!(
                "{name:?} is too short for a task id: give at least {PREFIX_LENGTH} characters"
            )));
        }
        let mut found: Option<Task> = None;
        for task in self.tasks(&Selection { cluster: None, stopped: true }).await? {
            let task: Task = serde_json::from_value(task).map_err(Error::Shape)?;
            if task.id() == prefix {
                return Ok(task);
            }
            if task.id().starts_with(prefix) {
                if let Some(other) = &found {
                    return Err(Error::Refused(format!(
                        "{name:?} may be {} or {}: give more characters",
                        other.id(),
                        task.id()
                    )));
                }
                found = Some(task);
            }
        }
        found.ok_or_else(|| {
            Error::Refused(format!("there is no task {name:?}: `coracle ps --all` lists them"))
        })
    }
}
