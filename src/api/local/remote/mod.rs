//! What is asked of a hub and only a box can answer: it is passed on to the box, whose answer is passed back.
//!
//! ```text
//!  coracle logs ──► hub's socket ──► here ══ a connection of api::Boxes ══► the box: http ─► local
//! ```
//!
//! The hub finds the task in its own records, so a beginning of an id means the same everywhere; the box is asked for the
//! whole id. One task is asked of one box (`one`); a family's logs and the stats of all of several (`several`).
//!
//! What a box answers its hub is a short list, [`is_for_hubs`]: what looks, `exec`, and the removal of images, which takes
//! nothing from a task. What a box is to run comes to it in signed documents only.

mod one;
mod reason;
mod several;
mod stream;

pub(super) use reason::ask as ask_reason;

use super::query::Query;
use super::{Answer, Api, LocalError, PREFIX, find_task, logs, query, shorten};
use crate::api::Boxes;
use crate::engine::NoBox;
use crate::model::{ContainerInstanceId, TaskId};
use crate::plan::World;
use hyper::Method;
use hyper::body::Bytes;
use hyper::http::request::Parts;
use std::sync::Arc;
use std::time::Duration;

/// How long a box may take to begin with an answer. What it says comes at once, or it is not there.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same where it has to go through all of its images first: an SD card takes its time over many small files. That it
/// is there all the while is seen by its connection.
const PATIENCE_WITH_DISK: Duration = Duration::from_mins(15);

/// Whether a box answers this to its hub.
pub(super) fn is_for_hubs(method: &Method, path: &str) -> bool {
    let Some(path) = path.strip_prefix(PREFIX) else { return false };
    let parts: Vec<&str> = path.split('/').collect();
    match *method {
        Method::GET => matches!(
            parts.as_slice(),
            ["version" | "logs" | "stats" | "images" | "why"]
                | ["images", "inspect" | "history" | "space"]
                | ["tasks", _, "stats" | "top" | "watch"]
        ),
        Method::POST => {
            matches!(parts.as_slice(), ["tasks", _, "exec"] | ["images", "remove" | "prune"])
        }
        _ => false,
    }
}

/// A request as the box gets it.
#[derive(Debug)]
struct Passed {
    /// The box.
    to: ContainerInstanceId,
    method: Method,
    /// With its query.
    path: String,
    body: Bytes,
    /// How long it may take to begin with an answer.
    patience: Duration,
}

impl Passed {
    fn get(to: ContainerInstanceId, path: &str, query: &Query) -> Self {
        let mut path = format!("{PREFIX}{path}");
        let query = query.encode();
        if !query.is_empty() {
            path.push('?');
            path.push_str(&query);
        }
        Self { to, method: Method::GET, path, body: Bytes::new(), patience: PATIENCE }
    }

    fn post(to: ContainerInstanceId, path: &str, body: Vec<u8>) -> Self {
        let path = format!("{PREFIX}{path}");
        Self { to, method: Method::POST, path, body: body.into(), patience: PATIENCE }
    }

    /// The box has to read or change much of its disk for it.
    fn with_disk(self) -> Self {
        Self { patience: PATIENCE_WITH_DISK, ..self }
    }
}

/// Answers what the hub itself cannot.
pub(super) async fn answer(
    api: &Arc<Api>,
    head: Parts,
    parts: &[&str],
    query: &Query,
    bytes: Vec<u8>,
) -> Answer {
    let boxes = api.boxes.as_ref().ok_or(NoBox)?;
    match (&head.method, parts) {
        (&Method::GET, ["tasks", id, what @ ("stats" | "top")]) => {
            query.only(if *what == "top" { &["container"] } else { &[] })?;
            let (task, to) = find(api, &query::decode(id)?)?;
            let path = format!("tasks/{task}/{what}");
            one::pass(api, boxes, Passed::get(to, &path, query)).await
        }
        (&Method::POST, ["tasks", id, "exec"]) => {
            query.only(&[])?;
            let (task, to) = find(api, &query::decode(id)?)?;
            let passed = Passed::post(to, &format!("tasks/{task}/exec"), bytes);
            one::session(api, boxes, head, passed).await
        }
        (&Method::GET, ["logs"]) if query.get("stored").is_some() => match query.get("stored") {
            Some("true") => logs::answer_stored(api, boxes, query),
            _ => Err(LocalError::bad("the parameter stored is true, or not there")),
        },
        (&Method::GET, ["logs"]) => match (query.get("task"), query.get("family")) {
            (Some(task), None) => {
                let (task, to) = find(api, task)?;
                if let Some(since) = boxes.away_since(&to)
                    && query.get("follow") != Some("true")
                {
                    if logs::is_stored(boxes, &to, &task) {
                        return logs::answer_stored(api, boxes, query);
                    }
                    return Err(logs::nothing_of(&to, since));
                }
                let query = query.clone().with("task", task.as_str());
                one::pass(api, boxes, Passed::get(to, "logs", &query)).await
            }
            (None, Some(_)) => several::logs(api, boxes, query),
            (None, None) => Err(LocalError::bad("the parameter task is missing")),
            (Some(_), Some(_)) => Err(LocalError::bad("give task or family, not both")),
        },
        (&Method::GET, ["stats"]) => match query.get("instance") {
            None => {
                query.only(&[])?;
                several::stats(api, boxes).await
            }
            Some(_) => on_instance(api, boxes, "stats", &[], query).await,
        },
        (&Method::GET, ["images"]) if query.get("instance").is_some() => {
            on_instance(api, boxes, "images", &[], query).await
        }
        (&Method::GET, ["images", what @ ("inspect" | "history" | "space")])
            if query.get("instance").is_some() =>
        {
            let more: &[&str] = if *what == "space" { &[] } else { &["image"] };
            on_instance(api, boxes, &format!("images/{what}"), more, query).await
        }
        (&Method::POST, ["images", what @ ("remove" | "prune")])
            if query.get("instance").is_some() =>
        {
            query.only(&["instance"])?;
            let to = instance(api, query)?;
            let passed = Passed::post(to, &format!("images/{what}"), bytes).with_disk();
            one::pass(api, boxes, passed).await
        }
        (&Method::GET, ["images", ..]) | (_, ["images", "remove" | "prune"]) => {
            Err(LocalError::bad(
                "this is a hub, which has no images: name a box with --instance; `coracle node ls` lists them",
            ))
        }
        _ => Err(NoBox.into()),
    }
}

/// What a box tells of itself, asked with the parameters `more`.
async fn on_instance(
    api: &Arc<Api>,
    boxes: &Arc<dyn Boxes>,
    path: &str,
    more: &[&str],
    query: &Query,
) -> Answer {
    let known: Vec<&str> = more.iter().copied().chain(["instance"]).collect();
    query.only(&known)?;
    let to = instance(api, query)?;
    let passed = more.iter().fold(Query::default(), |passed, name| match query.get(name) {
        Some(value) => passed.with(name, value),
        None => passed,
    });
    let passed = Passed::get(to, path, &passed);
    // It looks at every file of every layer.
    let passed = if path == "images/space" { passed.with_disk() } else { passed };
    one::pass(api, boxes, passed).await
}

/// The box that `instance` of a query means.
fn instance(api: &Api, query: &Query) -> Result<ContainerInstanceId, LocalError> {
    let text = query.get("instance").unwrap_or_default();
    api.engine.read(|world| find_instance(world, text))
}

/// The task that `text` means, and its box.
fn find(api: &Api, text: &str) -> Result<(TaskId, ContainerInstanceId), LocalError> {
    api.engine.read(|world| {
        let id = find_task(world, text)?;
        let task = world.tasks.get(&id);
        let task = task.ok_or_else(|| LocalError::missing(format!("there is no task {id}")))?;
        Ok((id, task.container_instance.clone()))
    })
}

/// The container instance that `text` means: its id, the beginning of it, or its ARN.
fn find_instance(world: &World, text: &str) -> Result<ContainerInstanceId, LocalError> {
    let wanted = text.rsplit('/').next().unwrap_or(text);
    let missing =
        || LocalError::missing(format!("there is no container instance {}", shorten(text)));
    let first = ContainerInstanceId::new(wanted).map_err(|_| missing())?;
    // Ids that begin with the text follow it in order.
    let mut found = world
        .container_instances
        .range(first..)
        .map(|(id, _)| id)
        .take_while(|id| id.as_str().starts_with(wanted));
    match (found.next(), found.next()) {
        (None, _) => Err(missing()),
        (Some(id), next) if id.as_str() == wanted || next.is_none() => Ok(id.clone()),
        (Some(_), _) => Err(LocalError::bad(format!(
            "more than one container instance begins with {wanted}: give more of the id"
        ))),
    }
}

/// How a box is called in a message.
fn name(to: &ContainerInstanceId) -> String {
    format!("container instance {to}")
}

#[cfg(test)]
mod tests;
