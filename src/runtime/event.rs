//! What the runtime tells the engine: events, unasked, and what a scan found.

use super::network::FoundNetwork;
use super::protocol::{Report, RunState};
use crate::model::{ContainerName, Generation, RuntimeId, TaskId, Timestamp};
use crate::plan::action::ContainerRun;

/// What the runtime reports unasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A container's process ended.
    Exited {
        /// Which run.
        run: ContainerRun,
        /// How; 128 + n for signal n. None when nobody could tell.
        exit_code: Option<i32>,
        /// Whether the kernel killed something in it for want of memory.
        out_of_memory: bool,
        /// When.
        at: Timestamp,
    },
    /// The task's shim is gone though it should not be; its containers have been killed.
    ShimLost {
        /// The task.
        task: TaskId,
        /// Of the task.
        generation: Generation,
        /// What is known.
        reason: String,
    },
}

/// A task that a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The task.
    pub task: TaskId,
    /// The generation it was started with.
    pub generation: Generation,
    /// Without a shim nothing of it runs any more.
    pub shim_alive: bool,
    /// Its containers, as far as something is known of them.
    pub containers: Vec<FoundContainer>,
    /// Its network namespaces; none without a shim.
    pub networks: Vec<FoundNetwork>,
    /// Whether file systems of its containers are on the disk.
    pub has_files: bool,
}

/// A container that a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundContainer {
    /// The container.
    pub container: ContainerName,
    /// Its latest run.
    pub runtime_id: RuntimeId,
    /// What the run is at.
    pub state: RunState,
}

impl From<Report> for FoundContainer {
    fn from(report: Report) -> Self {
        let Report { container, runtime_id, state } = report;
        Self { container, runtime_id, state }
    }
}
