//! What is meant by the name that `coracle logs` is given.

use super::super::client::{Client, Error, Selection, Task};
use super::super::output;
use crate::model::ids::is_name;
use serde_json::json;

/// A task, or the tasks of a family.
#[derive(Debug)]
pub(super) enum Target {
    Task(Box<Task>),
    /// `FAMILY` or `FAMILY:REVISION`
    Family(String),
}

/// What `name` means. A task's whole id comes first, then a family, then the beginning of an id.
pub(super) async fn find(client: &Client, name: &str) -> Result<Target, Error> {
    let is_task_arn = name.contains(":task/");
    let plain = output::id_of(name);
    let tasks = client.tasks(&Selection { cluster: None, stopped: true }).await?;
    for task in &tasks {
        let task: Task = serde_json::from_value(task.clone()).map_err(Error::Shape)?;
        if task.id() == plain {
            return Ok(Target::Task(Box::new(task)));
        }
        let definition = output::id_of(&task.task_definition_arn);
        let family = definition.split(':').next().unwrap_or(definition);
        if !is_task_arn && (definition == plain || family == plain) {
            return Ok(Target::Family(plain.to_owned()));
        }
    }
    // One of which no task has run yet.
    if !is_task_arn && is_name(plain.split(':').next().unwrap_or(plain)) {
        let input = json!({ "taskDefinition": plain });
        match client.ecs("DescribeTaskDefinition", &input).await {
            Ok(_) => return Ok(Target::Family(plain.to_owned())),
            Err(error) if error.is_exception("ClientException") => {}
            Err(error) => return Err(error),
        }
    }
    client.find_task(name).await.map(|task| Target::Task(Box::new(task)))
}
