//! What containers use, and their processes.

use super::{Answer, Api, LocalError, exec, find_task, whole};
use crate::engine;
use crate::model::{ContainerName, TaskId};
use crate::plan::World;
use crate::plan::action::ContainerRun;
use crate::runtime::{Process, RuntimeError};
use hyper::StatusCode;
use serde_json::{Value, json};

/// `GET stats` and `GET tasks/ID/stats`: one reading per running container, in the form of Docker's.
pub(super) async fn stats(api: &Api, task: Option<&str>) -> Answer {
    let runs = api.engine.read(|world| match task {
        Some(task) => find_task(world, task).map(|id| of_task(world, &id)),
        None => Ok(world.tasks.keys().flat_map(|id| of_task(world, id)).collect()),
    })?;
    let mut containers = Vec::new();
    for run in runs {
        let usage = api.engine.usage(&run).await.map_err(|e| failed(&e))?;
        let mut reading = usage.docker(run.runtime_id.as_str(), run.container.as_str(), None);
        reading["task"] = json!(run.task);
        containers.push(reading);
    }
    Ok(whole(&json!({ "containers": containers })))
}

/// `GET tasks/ID/top`: the processes of a task's running containers, or of one of them.
pub(super) async fn top(api: &Api, task: &str, container: Option<&str>) -> Answer {
    let runs = api.engine.read(|world| {
        let task = find_task(world, task)?;
        match container {
            None => Ok(of_task(world, &task)),
            wanted => {
                let container = exec::choose(world, &task, wanted)?;
                exec::running(world, &task, &container).map(|run| vec![run])
            }
        }
    })?;
    let mut containers = Vec::new();
    for run in runs {
        let processes = api.engine.processes(&run).await.map_err(|e| failed(&e))?;
        let processes: Vec<Value> = processes.iter().map(shown).collect();
        containers.push(json!({ "name": run.container, "processes": processes }));
    }
    Ok(whole(&json!({ "containers": containers })))
}

fn of_task(world: &World, task: &TaskId) -> Vec<ContainerRun> {
    let containers = world.tasks.get(task).map(|t| t.containers.as_slice()).unwrap_or_default();
    let names: Vec<&ContainerName> = containers.iter().map(|c| &c.name).collect();
    names.into_iter().filter_map(|name| engine::running(world, task, name)).collect()
}

fn shown(process: &Process) -> Value {
    json!({
        "pid": process.pid,
        "containerPid": process.container_pid,
        "uid": process.uid,
        "user": process.user,
        "cpuMillis": u64::try_from(process.cpu.as_millis()).unwrap_or(u64::MAX),
        "residentBytes": process.resident,
        "command": process.command,
    })
}

fn failed(error: &RuntimeError) -> LocalError {
    LocalError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}
