//! How the task ended, as an exit code, as JSON and in a sentence.

use super::super::client::Task;
use super::NOT_STARTED;
use serde_json::{Value, json};

/// What was seen of the task.
#[derive(Debug)]
pub(super) struct Outcome {
    essential: Vec<String>,
    last: Task,
    /// The first essential container that was seen to have ended.
    first: Option<String>,
    given_up: Option<u8>,
}

impl Outcome {
    /// Of a task whose `essential` containers are these.
    pub(super) fn new(essential: Vec<String>) -> Self {
        Self { essential, last: Task::default(), first: None, given_up: None }
    }

    /// Of a task that never was.
    pub(super) fn refused(reason: &str) -> Self {
        let last = Task {
            last_status: "STOPPED".to_owned(),
            stop_code: Some("TaskFailedToStart".to_owned()),
            stopped_reason: Some(reason.to_owned()),
            ..Task::default()
        };
        Self { last, ..Self::new(Vec::new()) }
    }

    /// The task has come so far.
    pub(super) fn observe(&mut self, task: Task) {
        if self.first.is_none() {
            let ended = |name: &&String| {
                let mut containers = task.containers.iter();
                containers
                    .any(|container| container.name == **name && container.last_status == "STOPPED")
            };
            self.first = self.essential.iter().find(ended).cloned();
        }
        self.last = task;
    }

    /// Nobody waits for it any longer, by signal `number`.
    pub(super) fn give_up(&mut self, number: u8) {
        self.given_up = Some(number);
    }

    /// The exit code of `coracle run`.
    pub(super) fn code(&self) -> u8 {
        if let Some(number) = self.given_up {
            return 128 + number;
        }
        self.exit_code()
            .map_or(NOT_STARTED, |code| u8::try_from(code & 0xff).unwrap_or(NOT_STARTED))
    }

    /// The exit code of the container that counts.
    fn exit_code(&self) -> Option<i32> {
        if !self.last.is_stopped() || self.last.stop_code.as_deref() == Some("TaskFailedToStart") {
            return None;
        }
        let first = self.first.as_deref()?;
        self.last.containers.iter().find(|container| container.name == first)?.exit_code
    }

    /// What is to be said on stderr; nothing when the exit code of the container says it all.
    pub(super) fn complaint(&self) -> Option<String> {
        let id = self.last.id();
        if self.given_up.is_some() {
            return Some(format!("task {id} is still being stopped"));
        }
        if !self.last.is_stopped() {
            return Some(format!("the agent ended before task {id} had stopped"));
        }
        if self.exit_code().is_some() {
            let out_of_memory = self.last.containers.iter().find(|container| {
                container.reason.as_deref().is_some_and(|why| why.starts_with("OutOfMemory"))
            })?;
            return Some(format!(
                "container {}: {}",
                out_of_memory.name,
                out_of_memory.reason.as_deref().unwrap_or_default()
            ));
        }
        let mut text =
            self.last.stopped_reason.clone().unwrap_or_else(|| "it did not run".to_owned());
        for container in &self.last.containers {
            // ECS often says the same for the task and its container.
            if let Some(reason) = container.reason.as_deref().filter(|why| !text.contains(why)) {
                text.push_str("; container ");
                text.push_str(&container.name);
                text.push_str(": ");
                text.push_str(reason);
            }
        }
        Some(text)
    }

    /// For `--output json`.
    pub(super) fn json(&self) -> Value {
        let containers: Vec<Value> = self
            .last
            .containers
            .iter()
            .map(|container| {
                json!({
                    "name": container.name,
                    "exitCode": container.exit_code,
                    "reason": container.reason,
                })
            })
            .collect();
        json!({
            "taskArn": Some(&self.last.task_arn).filter(|arn| !arn.is_empty()),
            "lastStatus": self.last.last_status,
            "stopCode": self.last.stop_code,
            "stoppedReason": self.last.stopped_reason,
            "containers": containers,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(status: &str, code: Option<&str>, containers: &Value) -> Task {
        serde_json::from_value(json!({
            "taskArn": "arn:aws:ecs:local:000000000000:task/default/0123456789abcdef",
            "lastStatus": status,
            "stopCode": code,
            "stoppedReason": code.map(|_| "why"),
            "containers": containers,
        }))
        .unwrap()
    }

    fn container(name: &str, status: &str, exit_code: Option<i32>) -> Value {
        json!({ "name": name, "lastStatus": status, "exitCode": exit_code })
    }

    const EXITED: Option<&str> = Some("EssentialContainerExited");

    #[test]
    fn the_first_essential_container_that_ended_gives_the_code() {
        let mut outcome = Outcome::new(vec!["a".into(), "b".into()]);
        let side = container("side", "STOPPED", Some(9));
        let seen = |a: Value, b: Value| json!([a, b, side]);
        outcome.observe(task(
            "RUNNING",
            None,
            &seen(container("a", "RUNNING", None), container("b", "RUNNING", None)),
        ));
        outcome.observe(task(
            "DEACTIVATING",
            None,
            &seen(container("a", "RUNNING", None), container("b", "STOPPED", Some(3))),
        ));
        outcome.observe(task(
            "STOPPED",
            EXITED,
            &seen(container("a", "STOPPED", Some(137)), container("b", "STOPPED", Some(3))),
        ));
        assert_eq!(outcome.code(), 3);
        assert_eq!(outcome.complaint(), None);
        assert_eq!(outcome.json()["containers"][0]["exitCode"], 137);
    }

    #[test]
    fn a_task_that_failed_to_start_is_125_and_says_why() {
        let mut outcome = Outcome::new(vec!["a".into()]);
        let failed = json!([{ "name": "a", "lastStatus": "STOPPED", "reason": "CannotPullContainerError: no" }]);
        outcome.observe(task("STOPPED", Some("TaskFailedToStart"), &failed));
        assert_eq!(outcome.code(), 125);
        assert_eq!(outcome.complaint().unwrap(), "why; container a: CannotPullContainerError: no");
        assert_eq!(Outcome::refused("RESOURCE:MEMORY").code(), 125);
        assert_eq!(Outcome::refused("x").json()["taskArn"], Value::Null);
    }

    #[test]
    fn out_of_memory_is_told_beside_the_code() {
        let mut outcome = Outcome::new(vec!["a".into()]);
        let killed = json!([{
            "name": "a", "lastStatus": "STOPPED", "exitCode": 137,
            "reason": "OutOfMemoryError: Container killed due to memory usage",
        }]);
        outcome.observe(task("STOPPED", EXITED, &killed));
        assert_eq!(outcome.code(), 137);
        assert!(outcome.complaint().unwrap().contains("OutOfMemoryError"));
    }

    #[test]
    fn giving_up_and_a_lost_agent_are_told() {
        let mut outcome = Outcome::new(vec!["a".into()]);
        outcome.observe(task("RUNNING", None, &json!([])));
        assert_eq!(outcome.code(), 125);
        assert!(outcome.complaint().unwrap().contains("agent ended"));
        outcome.give_up(2);
        assert_eq!(outcome.code(), 130);
    }
}
