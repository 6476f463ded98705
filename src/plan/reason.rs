//! Why something was decided, as data; rendered for events, `stoppedReason`, logs and `coracle why`.

use crate::model::{ContainerName, TaskId, TaskStatus};
use std::fmt;

/// A reason.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the rendered text says it")]
pub enum Reason {
    TaskBecame { task: TaskId, status: TaskStatus },
    TaskStops { task: TaskId, why: String },
    ContainerWaits { task: TaskId, container: ContainerName, on: ContainerName, condition: String },
    StopTimedOut { task: TaskId, container: ContainerName },
    TaskResumes { task: TaskId },
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
        }
    }
}
