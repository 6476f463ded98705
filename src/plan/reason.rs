//! Why something was decided, as data; rendered for events, `stoppedReason`, logs and `coracle why`.

use crate::model::{ContainerName, TaskId, TaskStatus};
use std::fmt;
use std::time::Duration;

/// A reason.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the rendered text says it")]
pub enum Reason {
    TaskBecame { task: TaskId, status: TaskStatus },
    TaskStops { task: TaskId, why: String },
    ContainerWaits { task: TaskId, container: ContainerName, on: ContainerName, condition: String },
    StopTimedOut { task: TaskId, container: ContainerName },
    TaskResumes { task: TaskId },
    ServiceEvent { message: String },
    TaskWaits { task: TaskId, why: String },
    TaskBacksOff { task: TaskId, failures: u32, wait: Duration },
    ContainerRestarts { task: TaskId, container: ContainerName, restart: Restart },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TaskBecame { task, status } => write!(f, "task {task} is {}", status.as_str()),
            Self::TaskStops { task, why } => write!(f, "task {task} stops: {why}"),
            Self::ContainerWaits { task, container, on, condition } => {
                write!(f, "container {container} of task {task} waits for {on} ({condition})")
            }
            Self::StopTimedOut { task, container } => {
                write!(f, "container {container} of task {task} did not stop in time and is killed")
            }
            Self::TaskResumes { task } => {
                write!(f, "task {task} starts over: the box restarted while it should run")
            }
            Self::ServiceEvent { message } => f.write_str(message),
            Self::TaskWaits { task, why } => write!(f, "task {task} waits for room: {why}"),
            Self::TaskBacksOff { task, failures, wait } => write!(
                f,
                "task {task} waits {} s: {failures} before it ended early, one after the other",
                wait.as_secs()
            ),
            Self::ContainerRestarts { task, container, restart } => {
                write!(f, "container {container} of task {task} {restart}")
            }
        }
    }
}

/// A container that ended and is to be started again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the rendered text says it")]
pub struct Restart {
    pub exit_code: Option<i32>,
    pub why: Option<String>,
    pub ran: Duration,
    pub wait: Duration,
    pub count: u32,
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.exit_code {
            Some(code) => write!(f, "exited with code {code}")?,
            None => write!(f, "ended")?,
        }
        write!(f, " after {} s", self.ran.as_secs())?;
        if let Some(why) = &self.why {
            write!(f, " ({why})")?;
        }
        match self.wait.as_secs() {
            0 => write!(f, "; restart {} follows at once", self.count),
            wait => write!(f, "; backing off, restart {} follows in {wait} s", self.count),
        }
    }
}
