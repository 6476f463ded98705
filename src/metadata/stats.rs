//! What containers use, as Docker's stats tell it.
//!
//! A share of the CPU needs two readings. The earlier one is that of the last time somebody asked; the first answer has
//! none, and nothing is read while nobody asks.

use super::Metadata;
use super::answer::{self, Answer};
use super::caller::Asker;
use super::describe::docker_name;
use crate::engine;
use crate::model::{Container, RuntimeId, Task, TaskId};
use crate::plan::action::ContainerRun;
use crate::runtime::Usage;
use hyper::StatusCode;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// From this many readings on, those of runs that have ended are forgotten.
const KEPT: usize = 128;

/// The last reading of each run that was asked for.
#[derive(Debug, Default)]
pub(super) struct Readings(BTreeMap<RuntimeId, Usage>);

/// A running container, and what it is called.
struct Subject {
    run: ContainerRun,
    name: String,
}

impl Metadata {
    /// What the container of `asker` uses.
    pub(super) async fn stats(&self, asker: &Asker) -> Answer {
        let subject = self.engine.read(|world| {
            let task = world.tasks.get(&asker.task)?;
            let container = task.container(&asker.container)?;
            let run = engine::running(world, &task.id, &container.name)?;
            Some(Subject { run, name: docker_name(task, container) })
        });
        let Some(subject) = subject else {
            let message = "V4 container stats handler: unable to get stats: it does not run";
            return answer::json(StatusCode::NOT_FOUND, &json!(message));
        };
        match self.reading(&subject).await {
            Some(stats) => answer::json(StatusCode::OK, &stats),
            None => unreadable(),
        }
    }

    /// What the containers of `task` use, by their ids; null for those that do not run.
    pub(super) async fn task_stats(&self, task: &TaskId) -> Answer {
        let subjects: Vec<(String, Option<Subject>)> = self.engine.read(|world| {
            let Some(task) = world.tasks.get(task) else { return Vec::new() };
            let of = |task: &Task, container: &Container| {
                let run = engine::running(world, &task.id, &container.name)?;
                Some(Subject { run, name: docker_name(task, container) })
            };
            let with_id = task.containers.iter().filter_map(|container| {
                Some((container.runtime_id.as_ref()?.to_string(), of(task, container)))
            });
            with_id.collect()
        });
        let mut all = Map::new();
        for (id, subject) in subjects {
            let stats = match subject {
                Some(subject) => self.reading(&subject).await,
                None => None,
            };
            all.insert(id, stats.unwrap_or(Value::Null));
        }
        answer::json(StatusCode::OK, &Value::Object(all))
    }

    async fn reading(&self, subject: &Subject) -> Option<Value> {
        let now = self.engine.usage(&subject.run).await.ok()?;
        let id = &subject.run.runtime_id;
        let before = self.remember(id, &now);
        let mut stats = now.docker(id.as_str(), &subject.name, before.as_ref());
        if let Some(rates) = before.and_then(|before| rates(&now, &before)) {
            stats["network_rate_stats"] = rates;
        }
        Some(stats)
    }

    /// Keeps a reading, and gives the one before.
    fn remember(&self, run: &RuntimeId, now: &Usage) -> Option<Usage> {
        let mut readings = self.readings.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if readings.0.len() >= KEPT && !readings.0.contains_key(run) {
            self.engine.read(|world| {
                let running = &world.observed.running;
                readings.0.retain(|run, _| running.contains(run));
            });
        }
        readings.0.insert(run.clone(), now.clone())
    }
}

fn unreadable() -> Answer {
    answer::json(StatusCode::INTERNAL_SERVER_ERROR, &json!("failed to get stats"))
}

/// Bytes a second over all interfaces.
fn rates(now: &Usage, before: &Usage) -> Option<Value> {
    let seconds = now.at.since(before.at).as_secs_f64();
    if seconds <= 0.0 || now.network.is_empty() {
        return None;
    }
    let total = |usage: &Usage| {
        let all = usage.network.values();
        all.fold((0, 0), |(rx, tx), i| (rx + i.received.bytes, tx + i.sent.bytes))
    };
    let (now, before) = (total(now), total(before));
    #[expect(clippy::cast_precision_loss, reason = "a rate is no account")]
    let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
    Some(json!({
        "rx_bytes_per_sec": rate(now.0, before.0),
        "tx_bytes_per_sec": rate(now.1, before.1),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;
    use crate::runtime::NetworkUsage;

    #[test]
    fn rates_need_two_readings_of_a_network() {
        let reading = |at: i64, received: u64| {
            let mut usage = NetworkUsage::default();
            usage.received.bytes = received;
            let network = [("eth0".to_owned(), usage)].into();
            Usage { at: Timestamp::from_secs(at), network, ..Usage::default() }
        };
        let both = rates(&reading(12, 700), &reading(10, 100)).unwrap();
        assert_eq!(both, json!({ "rx_bytes_per_sec": 300.0, "tx_bytes_per_sec": 0.0 }));
        assert_eq!(rates(&reading(10, 700), &reading(10, 100)), None);
        assert_eq!(rates(&Usage { at: Timestamp(9), ..Usage::default() }, &Usage::default()), None);
    }
}
