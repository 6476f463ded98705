//! Why a task, a service or a box is as it is: the chain of reasons from what is wanted to what is there, out of the records.
//!
//! ```text
//! service: wanted ─► deployments ─► boxes: counts ─► tasks ─► containers
//!                        └─ what is on no box: what each box lacks      └─ what each waits for
//! ```
//!
//! Nothing is decided here: the questions that the planners ask are asked again, and the answers are put into words. It
//! looks at records only, so the store of an agent that is down answers as well.

mod boxes;
mod find;
mod instance;
mod service;
mod task;

pub use find::{FindError, find};

use super::World;
use crate::model::{ContainerInstanceId, ServiceKey, TaskId, Timestamp};
use serde::Serialize;
use std::time::Duration;

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// One task.
    Task(TaskId),
    /// One service.
    Service(ServiceKey),
    /// One box.
    Instance(ContainerInstanceId),
}

/// Something that is so, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// In words.
    pub text: String,
    /// The reasons, the most telling first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<Finding>,
}

impl Finding {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), because: Vec::new() }
    }

    fn because(text: impl Into<String>, because: Vec<Self>) -> Self {
        Self { text: text.into(), because }
    }

    /// As lines, each reason further to the right than what it explains.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        self.write(0, &mut lines);
        lines
    }

    fn write(&self, depth: usize, lines: &mut Vec<String>) {
        lines.push(format!("{}{}", "  ".repeat(depth), self.text));
        for reason in &self.because {
            reason.write(depth + 1, lines);
        }
    }
}

/// Why `subject` is as it is at `now`; none when there is no such thing.
#[must_use]
pub fn explain(world: &World, now: Timestamp, subject: &Subject) -> Option<Finding> {
    match subject {
        Subject::Task(id) => Some(task::explain(world, now, world.tasks.get(id)?)),
        Subject::Service(key) => Some(service::explain(world, now, world.services.get(key)?)),
        Subject::Instance(id) => {
            Some(instance::explain(world, now, world.container_instances.get(id)?))
        }
    }
}

/// How a box is called.
fn box_name(world: &World, id: &ContainerInstanceId) -> String {
    if world.settings.this_instance.as_ref() == Some(id) {
        "this box".to_owned()
    } else {
        format!("container instance {id}")
    }
}

/// `1 task`, `2 tasks`.
fn tasks(count: impl Into<u64>) -> String {
    match count.into() {
        1 => "1 task".to_owned(),
        n => format!("{n} tasks"),
    }
}

/// The number of a collection.
fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// `for 3 min`: how long something has been so.
fn lasting(now: Timestamp, since: Option<Timestamp>) -> String {
    since.map(|since| format!(" for {}", span(now.since(since)))).unwrap_or_default()
}

/// ` 3 min ago`.
fn ago(now: Timestamp, at: Option<Timestamp>) -> String {
    at.map(|at| format!(" {} ago", span(now.since(at)))).unwrap_or_default()
}

/// A length of time in its largest unit.
pub(in crate::plan) fn span(time: Duration) -> String {
    match time.as_secs() {
        0 => "a moment".to_owned(),
        seconds @ 1..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests;
