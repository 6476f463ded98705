//! What a hub stores of the logs of its boxes: shown for boxes that are away, and when it is asked for.

use super::super::query::Query;
use super::super::{Answer, Api, LocalError, lines};
use super::{Source, kept, read, sources};
use crate::api::Boxes;
use crate::model::{ContainerInstanceId, TaskId, Timestamp};
use crate::runtime::logs::LogDirectory;
use hyper::StatusCode;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Containers that are named in a note.
const NAMED: usize = 8;

/// Where the logs of a task are stored.
struct Store {
    instance: ContainerInstanceId,
    logs: LogDirectory,
}

/// Whether something of a task is stored here.
pub(in crate::api::local) fn is_stored(
    boxes: &Arc<dyn Boxes>,
    instance: &ContainerInstanceId,
    task: &TaskId,
) -> bool {
    boxes.logs(instance).containers(task).is_ok_and(|count| count > 0)
}

/// `GET logs?stored=true` of a hub.
pub(in crate::api::local) fn answer(api: &Api, boxes: &Arc<dyn Boxes>, query: &Query) -> Answer {
    let (wanted, follow) = read(api, query, &["stored"])?;
    if follow {
        return Err(LocalError::bad(
            "stored logs are not followed: leave out either stored or follow",
        ));
    }
    let sources = sources(api, &wanted)?;
    let stores: BTreeMap<TaskId, Store> = api.engine.read(|world| {
        let instance = |task: &TaskId| Some(world.tasks.get(task)?.container_instance.clone());
        let of = |source: &Source| {
            let instance = instance(&source.task)?;
            let logs = boxes.logs(&instance);
            Some((source.task.clone(), Store { instance, logs }))
        };
        sources.iter().filter_map(of).collect()
    });
    let (sender, response) = lines::answer();
    let boxes = Arc::clone(boxes);
    tokio::task::spawn_blocking(move || {
        let mut found: BTreeMap<ContainerInstanceId, Vec<String>> = BTreeMap::new();
        let mut missing: Vec<ContainerInstanceId> = Vec::new();
        for source in &sources {
            let Some(store) = stores.get(&source.task) else { continue };
            match store.logs.told(&source.task, &source.container) {
                Some((told, at)) => {
                    let at = at.map_or_else(String::new, |at| format!(", {}", shown(at)));
                    let text = format!("{} to byte {}{at}", source.container, told.to);
                    found.entry(store.instance.clone()).or_default().push(text);
                }
                None if !missing.contains(&store.instance) => missing.push(store.instance.clone()),
                None => {}
            }
        }
        let nowhere = LogDirectory::new("/nonexistent".as_ref());
        let place = move |source: &Source| {
            stores.get(&source.task).map_or_else(|| nowhere.clone(), |store| store.logs.clone())
        };
        // A client that went away needs no more lines.
        if kept::send(&place, &wanted, sources, &sender).is_err() {
            return;
        }
        let state = |instance: &ContainerInstanceId| match boxes.away_since(instance) {
            Some(since) => format!("is away since {}", shown(since)),
            None => "is connected, and has the rest".to_owned(),
        };
        for (instance, mut parts) in found {
            missing.retain(|other| *other != instance);
            let more = parts.len().saturating_sub(NAMED);
            parts.truncate(NAMED);
            let more = if more > 0 { format!(", and {more} more") } else { String::new() };
            let note = format!(
                "stored by the hub: {}{more}; container instance {instance} {}",
                parts.join("; "),
                state(&instance)
            );
            if sender.send_blocking(&json!({ "note": note })).is_err() {
                return;
            }
        }
        for instance in missing {
            if sender
                .send_blocking(&json!({ "error": nothing(&instance, &state(&instance)) }))
                .is_err()
            {
                return;
            }
        }
    });
    Ok(response)
}

/// What is said when nothing is stored and the box is not there.
fn nothing(instance: &ContainerInstanceId, state: &str) -> String {
    format!(
        "the hub stores no logs of this from container instance {instance}, which {state}: a box forwards those of containers with the docker label coracle.forward-logs=true, or as forward_logs in its agent.toml says"
    )
}

/// The same for a task whose box is away.
pub(in crate::api::local) fn nothing_of(
    instance: &ContainerInstanceId,
    since: Timestamp,
) -> LocalError {
    let state = format!("is not connected since {}", shown(since));
    LocalError::new(StatusCode::SERVICE_UNAVAILABLE, nothing(instance, &state))
}

fn shown(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.millis())
        .map_or_else(|_| "some time".to_owned(), |at| at.to_string())
}
