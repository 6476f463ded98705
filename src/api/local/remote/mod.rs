//! What is asked of a hub and only a box can answer: it is passed on to the box, whose answer is passed back.
//!
//! ```text
//!  coracle logs ──► hub's socket ──► here ══ a connection of api::Boxes ══► the box: http ─► local
//! ```
//!
//! The hub finds the task in its own records, so a beginning of an id means the same everywhere; the box is asked for the
//! whole id. One task is asked of one box (`one`); a family's logs and the stats of all of several (`several`).
//!
//! What a box answers its hub is a short list, [`is_for_hubs`]: what looks, and `exec`. What changes a box comes to it in
//! signed documents only.

mod one;
mod reason;
mod several;
mod stream;

pub(super) use reason::ask as ask_reason;

use super::query::Query;
use super::{Answer, Api, LocalError, PREFIX, find_task, query, shorten};
use crate::api::Boxes;
use crate::engine::NoBox;
use crate::model::{ContainerInstanceId, TaskId};
use crate::plan::World;
use hyper::Method;
use hyper::body::Bytes;
use hyper::http::request::Parts;
use std::sync::Arc;

/// Whether a box answers this to its hub.
pub(super) fn is_for_hubs(method: &Method, path: &str) -> bool {
    let Some(path) = path.strip_prefix(PREFIX) else { return false };
    let parts: Vec<&str> = path.split('/').collect();
    match *method {
        Method::GET => matches!(
            parts.as_slice(),
            ["version" | "logs" | "stats" | "images" | "why"]
                | ["tasks", _, "stats" | "top" | "watch"]
        ),
        Method::POST => matches!(parts.as_slice(), ["tasks", _, "exec"]),
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
}

impl Passed {
    fn get(to: ContainerInstanceId, path: &str, query: &Query) -> Self {
        let mut path = format!("{PREFIX}{path}");
        let query = query.encode();
        if !query.is_empty() {
            path.push('?');
            path.push_str(&query);
        }
        Self { to, method: Method::GET, path, body: Bytes::new() }
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
            let path = format!("{PREFIX}tasks/{task}/exec");
            let passed = Passed { to, method: Method::POST, path, body: bytes.into() };
            one::session(api, boxes, head, passed).await
        }
        (&Method::GET, ["logs"]) => match (query.get("task"), query.get("family")) {
            (Some(task), None) => {
                let (task, to) = find(api, task)?;
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
            Some(_) => on_instance(api, boxes, "stats", query).await,
        },
        (&Method::GET, ["images"]) if query.get("instance").is_some() => {
            on_instance(api, boxes, "images", query).await
        }
        (&Method::GET, ["images"]) => Err(LocalError::bad(
            "this is a hub, which has no images: name a container instance with the parameter instance",
        )),
        _ => Err(NoBox.into()),
    }
}

/// What a box tells of itself.
async fn on_instance(api: &Arc<Api>, boxes: &Arc<dyn Boxes>, path: &str, query: &Query) -> Answer {
    query.only(&["instance"])?;
    let text = query.get("instance").unwrap_or_default();
    let to = api.engine.read(|world| find_instance(world, text))?;
    one::pass(api, boxes, Passed::get(to, path, &Query::default())).await
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
