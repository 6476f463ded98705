//! `GetTaskProtection` and `UpdateTaskProtection`.

use crate::api::error::ApiError;
use crate::api::{identifiers, input, render};
use crate::engine::Handle;
use crate::model::{ClusterName, Failure, Task, TaskId, Timestamp};
use crate::plan::command::{ProtectionAsker, protectable};
use crate::plan::{Command, Reply, World};
use crate::sys;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// How many tasks GetTaskProtection may name.
const PAGE: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Update {
    cluster: Option<String>,
    tasks: Vec<String>,
    protection_enabled: bool,
    expires_in_minutes: Option<i64>,
}

#[derive(Deserialize)]
struct Get {
    cluster: Option<String>,
    #[serde(default)]
    tasks: Vec<String>,
}

/// `UpdateTaskProtection`.
pub(crate) async fn update(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: Update = input::read(input)?;
    let cluster = engine.read(|w| identifiers::active_cluster(w, input.cluster.as_deref()))?;
    let (tasks, mut missing) = named(engine, &cluster, &input.tasks)?;
    if tasks.is_empty() && !missing.is_empty() {
        return Ok(json!({ "protectedTasks": [], "failures": missing }));
    }
    let command = Command::UpdateTaskProtection {
        cluster: cluster.clone(),
        tasks,
        protected: input.protection_enabled,
        expires_in_minutes: input.expires_in_minutes,
        asked_by: ProtectionAsker::Caller,
    };
    let Reply::Protection { tasks, failures } = engine.submit(command).await? else {
        return Err(render::unexpected_reply());
    };
    missing.extend(failures);
    Ok(engine.read(|world| shown(world, &tasks, &missing)))
}

/// `GetTaskProtection`: of the tasks that are named, or of all of the cluster's services.
pub(crate) fn get(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: Get = input::read(input)?;
    if input.tasks.len() > PAGE {
        return Err(ApiError::invalid("Tasks cannot have more than 100 elements."));
    }
    let cluster = engine.read(|w| identifiers::active_cluster(w, input.cluster.as_deref()))?;
    let (tasks, mut failures) = named(engine, &cluster, &input.tasks)?;
    Ok(engine.read(|world| {
        let by = ProtectionAsker::Caller;
        if input.tasks.is_empty() {
            let services = world.index.tasks_of_service.iter();
            let of_cluster = services.filter(|(service, _)| service.cluster == cluster);
            let can_be = |id: &&TaskId| protectable(world, &cluster, id, by).is_ok();
            let all: Vec<TaskId> =
                of_cluster.flat_map(|(_, tasks)| tasks).filter(can_be).cloned().collect();
            return shown(world, &all, &[]);
        }
        let mut found = Vec::new();
        for task in tasks {
            match protectable(world, &cluster, &task, by) {
                Ok(_) => found.push(task),
                Err(failure) => failures.push(failure),
            }
        }
        shown(world, &found, &failures)
    }))
}

/// The ids that are named; those of other clusters are missing in this one.
fn named(
    engine: &Handle,
    cluster: &ClusterName,
    texts: &[String],
) -> Result<(Vec<TaskId>, Vec<Failure>), ApiError> {
    let scope = engine.settings().scope;
    let (mut tasks, mut missing) = (Vec::new(), Vec::new());
    for text in texts {
        match identifiers::task(text)? {
            (Some(other), id) if other != *cluster => {
                missing.push(Failure::missing(scope.task(&other, &id)));
            }
            (_, id) => tasks.push(id),
        }
    }
    Ok((tasks, missing))
}

fn shown(world: &World, tasks: &[TaskId], failures: &[Failure]) -> Value {
    let now = sys::now();
    let tasks: Vec<Value> = tasks
        .iter()
        .filter_map(|id| world.tasks.get(id))
        .map(|task| one(&world.settings.scope.task(&task.cluster, &task.id), task, now))
        .collect();
    json!({ "protectedTasks": tasks, "failures": failures })
}

fn one(arn: &str, task: &Task, now: Timestamp) -> Value {
    let until = task.protection(now);
    let mut object = Map::new();
    object.insert("taskArn".into(), json!(arn));
    object.insert("protectionEnabled".into(), json!(until.is_some()));
    render::put(&mut object, "expirationDate", until);
    Value::Object(object)
}
