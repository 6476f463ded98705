//! A request that several boxes answer.

use super::{Passed, name, one, stream};
use crate::api::local::lines::{self, Sender};
use crate::api::local::logs;
use crate::api::local::query::Query;
use crate::api::local::{Answer, LocalError, whole};
use crate::api::server::told_to_stop;
use crate::api::{Api, Boxes};
use crate::engine::Handle;
use crate::model::{ContainerInstanceId, Task, TaskStatus};
use hyper::StatusCode;
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use tokio::task::JoinSet;

/// As many boxes are asked at once.
const BOXES: usize = 32;

/// The boxes with tasks that `wanted` is true of.
fn boxes_of(engine: &Handle, wanted: impl Fn(&Task) -> bool) -> BTreeSet<ContainerInstanceId> {
    engine.read(|world| {
        let tasks = world.tasks.values().filter(|task| wanted(task));
        tasks.map(|task| task.container_instance.clone()).collect()
    })
}

fn too_many(count: usize) -> LocalError {
    LocalError::bad(format!(
        "this would ask {count} boxes at once, and {BOXES} is the most: name tasks"
    ))
}

/// `GET stats`: what running containers use, of all boxes; those that cannot be asked are listed with the reason.
pub(super) async fn stats(api: &Arc<Api>, boxes: &Arc<dyn Boxes>) -> Answer {
    let asked = boxes_of(&api.engine, |task| task.last_status != TaskStatus::Stopped);
    if asked.len() > BOXES {
        return Err(too_many(asked.len()));
    }
    let mut answers = JoinSet::new();
    for to in asked {
        let boxes = Arc::clone(boxes);
        answers.spawn(async move {
            let passed = Passed::get(to.clone(), "stats", &Query::default());
            (to, one::get(&boxes, passed).await)
        });
    }
    let (mut containers, mut unreachable) = (Vec::new(), Vec::new());
    while let Some(answered) = answers.join_next().await {
        match answered {
            Ok((_, Ok(mut answer))) => {
                if let Value::Array(more) = answer["containers"].take() {
                    containers.extend(more);
                }
            }
            Ok((to, Err(error))) => {
                unreachable.push(json!({ "containerInstance": to, "error": error.message }));
            }
            Err(error) => {
                return Err(LocalError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()));
            }
        }
    }
    // In an order that stays, whoever answered first.
    containers.sort_by(|a: &Value, b| {
        let key = |v: &Value| [&v["task"], &v["name"]].map(|t| t.as_str().map(str::to_owned));
        key(a).cmp(&key(b))
    });
    let mut content = json!({ "containers": containers });
    if !unreachable.is_empty() {
        content["unreachable"] = Value::Array(unreachable);
    }
    Ok(whole(&content))
}

/// `GET logs?family=…`: without `follow` merged by time, with it as the lines come.
pub(super) fn logs(api: &Arc<Api>, boxes: &Arc<dyn Boxes>, query: &Query) -> Answer {
    let of_family = logs::family(query)?;
    let asked = boxes_of(&api.engine, &of_family);
    if asked.len() > BOXES {
        return Err(too_many(asked.len()));
    }
    let (sender, answer) = lines::answer();
    let stopping = told_to_stop(api.stopping.clone());
    let follow = query.get("follow") == Some("true");
    let (engine, boxes, query) = (api.engine.clone(), Arc::clone(boxes), query.clone());
    tokio::spawn(async move {
        let gone = sender.clone();
        let relay = async {
            if follow {
                followed(&engine, &boxes, &query, of_family, &sender).await;
            } else {
                merged(&boxes, &query, asked, &sender).await;
            }
        };
        tokio::select! {
            () = relay => {}
            () = gone.gone() => {}
            () = stopping => {}
        }
    });
    Ok(answer)
}

async fn open(
    boxes: &Arc<dyn Boxes>,
    to: &ContainerInstanceId,
    query: &Query,
) -> Result<stream::Lines, Bytes> {
    match one::begin(boxes, Passed::get(to.clone(), "logs", query), false).await {
        Ok(response) if stream::is_lines(&response) => {
            Ok(stream::Lines::new(to, response.into_body()))
        }
        Ok(_) => Err(stream::failure(&format!("{} answers without lines", name(to)))),
        Err(error) => Err(stream::failure(&error.message)),
    }
}

/// Sends the lines of each box as they come, of boxes that get such tasks meanwhile as well, without an end.
async fn followed(
    engine: &Handle,
    boxes: &Arc<dyn Boxes>,
    query: &Query,
    of_family: impl Fn(&Task) -> bool,
    sender: &Sender,
) {
    let mut commits = engine.watch();
    let mut known = BTreeSet::new();
    let mut following = JoinSet::new();
    loop {
        commits.mark_unchanged();
        for to in boxes_of(engine, &of_family) {
            if known.len() >= BOXES || !known.insert(to.clone()) {
                continue;
            }
            let (boxes, query, sender) = (Arc::clone(boxes), query.clone(), sender.clone());
            following.spawn(async move {
                let mut lines = match open(&boxes, &to, &query).await {
                    Ok(lines) => lines,
                    Err(failure) => {
                        // Gone is noticed by whoever relays.
                        let _ = sender.pass(failure).await;
                        return;
                    }
                };
                while let Some(line) = lines.next().await {
                    if sender.pass(line).await.is_err() {
                        return;
                    }
                }
            });
        }
        tokio::select! {
            changed = commits.changed() => if changed.is_err() { return },
            Some(_) = following.join_next() => {}
        }
    }
}

/// A box and what has come of its lines.
#[derive(Debug)]
struct Head {
    lines: stream::Lines,
    ready: VecDeque<(String, Bytes)>,
}

impl Head {
    /// Reads until a line is ready; false at the end.
    async fn fill(&mut self) -> bool {
        #[derive(Deserialize)]
        struct Line {
            #[serde(default)]
            time: String,
        }
        while self.ready.is_empty() {
            let Some(bytes) = self.lines.next().await else { return false };
            let mut rest = bytes;
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line = rest.split_to(end + 1);
                // What has no time, an error, comes first.
                let time = serde_json::from_slice::<Line>(&line).map(|l| l.time);
                self.ready.push_back((time.unwrap_or_default(), line));
            }
        }
        true
    }
}

/// Sends what is kept, in the order it was written over all boxes.
async fn merged(
    boxes: &Arc<dyn Boxes>,
    query: &Query,
    asked: BTreeSet<ContainerInstanceId>,
    sender: &Sender,
) {
    let mut heads = Vec::new();
    for to in asked {
        match open(boxes, &to, query).await {
            Ok(lines) => heads.push(Head { lines, ready: VecDeque::new() }),
            Err(failure) => {
                if sender.pass(failure).await.is_err() {
                    return;
                }
            }
        }
    }
    loop {
        let mut at = 0;
        while at < heads.len() {
            if heads[at].fill().await {
                at += 1;
            } else {
                heads.remove(at);
            }
        }
        let time = |head: &Head| head.ready.front().map(|(time, _)| time.clone());
        let Some(first) = (0..heads.len()).min_by_key(|at| time(&heads[*at])) else { return };
        let Some((_, line)) = heads[first].ready.pop_front() else { return };
        if sender.pass(line).await.is_err() {
            return;
        }
    }
}
