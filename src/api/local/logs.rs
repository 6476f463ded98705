//! The output of a task's containers.
//!
//! Without `follow` the lines that are kept, in the order they were written over all containers. With it, the lines of
//! each container as they come, until the task is STOPPED and all is sent.

use super::lines::{Gone, Sender};
use super::query::Query;
use super::{Answer, Api, LocalError, find_task, is_over, lines};
use crate::api::server::told_to_stop;
use crate::engine::Handle;
use crate::model::{ContainerName, TaskId, Timestamp};
use crate::runtime::logs::{Beginning, LogDirectory, LogError, LogLine, LogReader};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// `GET logs`.
pub(super) fn answer(api: &Api, query: &Query) -> Answer {
    query.only(&["task", "container", "follow", "tail"])?;
    let task = query.get("task").ok_or_else(|| LocalError::bad("the parameter task is missing"))?;
    let follow = match query.get("follow") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(LocalError::bad("the parameter follow is true or false")),
    };
    let beginning = match query.get("tail") {
        None => Beginning::Start,
        Some(number) => Beginning::Tail(
            number
                .parse()
                .map_err(|_| LocalError::bad("the parameter tail is a number of lines"))?,
        ),
    };
    let (task, mut containers) = api.engine.read(|world| {
        let id = find_task(world, task)?;
        let names: Vec<ContainerName> = world
            .tasks
            .get(&id)
            .map(|t| t.containers.iter().map(|c| c.name.clone()).collect())
            .unwrap_or_default();
        Ok((id, names))
    })?;
    if let Some(wanted) = query.get("container") {
        let known: Vec<String> = containers.iter().map(ToString::to_string).collect();
        containers.retain(|name| name.as_str() == wanted);
        if containers.is_empty() {
            return Err(LocalError::missing(format!(
                "the task has no container {wanted:?}; it has {}",
                known.join(", ")
            )));
        }
    }
    let (sender, response) = lines::answer();
    let logs = api.engine.logs();
    if follow {
        let engine = api.engine.clone();
        let stopping = told_to_stop(api.stopping.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = follow_all(&engine, &logs, &task, containers, beginning, &sender) => {}
                () = stopping => {}
                () = sender.gone() => {}
            }
        });
    } else {
        tokio::task::spawn_blocking(move || {
            // A client that went away needs no more lines.
            if let Ok(Err(error)) = send_kept(&logs, &task, &containers, beginning, &sender) {
                let _ = sender.send_blocking(&failed(&error));
            }
        });
    }
    Ok(response)
}

fn shown(container: &ContainerName, line: &LogLine) -> Value {
    json!({ "container": container, "stream": line.stream, "time": line.time, "log": line.log })
}

fn failed(error: &LogError) -> Value {
    json!({ "error": format!("cannot read the log: {error}") })
}

/// One container's log and its next line.
struct Head<'a> {
    container: &'a ContainerName,
    reader: LogReader,
    at: Timestamp,
    line: LogLine,
}

/// Sends what is kept of the logs, merged by time.
fn send_kept(
    logs: &LogDirectory,
    task: &TaskId,
    containers: &[ContainerName],
    beginning: Beginning,
    sender: &Sender,
) -> Result<Result<(), LogError>, Gone> {
    let mut heads = Vec::new();
    for container in containers {
        match logs.open(task, container, beginning).and_then(|reader| next(container, reader)) {
            Ok(head) => heads.extend(head),
            Err(error) => return Ok(Err(error)),
        }
    }
    while let Some(first) = (0..heads.len()).min_by_key(|i| heads[*i].at) {
        let Head { container, reader, line, .. } = heads.remove(first);
        sender.send_blocking(&shown(container, &line))?;
        match next(container, reader) {
            Ok(None) => {}
            // In its old place, so that lines of one moment stay in the order of the containers.
            Ok(Some(head)) => heads.insert(first, head),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(()))
}

fn next(container: &ContainerName, mut reader: LogReader) -> Result<Option<Head<'_>>, LogError> {
    let line = reader.read()?;
    Ok(line.map(|line| Head { container, reader, at: line.at().unwrap_or_default(), line }))
}

/// Sends the lines of all `containers` as they come.
async fn follow_all(
    engine: &Handle,
    logs: &LogDirectory,
    task: &TaskId,
    containers: Vec<ContainerName>,
    beginning: Beginning,
    sender: &Sender,
) {
    let mut following = JoinSet::new();
    for container in containers {
        let (engine, logs) = (engine.clone(), logs.clone());
        let (task, sender) = (task.clone(), sender.clone());
        following.spawn(async move {
            if let Err(error) = follow(&engine, &logs, &task, &container, beginning, &sender).await
            {
                let _ = sender.send(&failed(&error)).await;
            }
        });
    }
    while following.join_next().await.is_some() {}
}

async fn follow(
    engine: &Handle,
    logs: &LogDirectory,
    task: &TaskId,
    container: &ContainerName,
    beginning: Beginning,
    sender: &Sender,
) -> Result<(), LogError> {
    let mut follower = logs.follow(task, container, beginning)?;
    let over = engine.wait_until(|world| is_over(world.tasks.get(task)));
    let mut over = std::pin::pin!(over);
    loop {
        tokio::select! {
            biased;
            line = follower.line() => {
                if sender.send(&shown(container, &line?)).await.is_err() {
                    return Ok(());
                }
            }
            // Over, or the engine is: in both cases nothing more is written that could be waited for.
            _ = &mut over => break,
        }
    }
    while let Some(line) = follower.ready()? {
        if sender.send(&shown(container, &line)).await.is_err() {
            break;
        }
    }
    Ok(())
}
