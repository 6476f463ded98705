//! Why the runtime could not do what it was asked to.

use super::preflight::PreflightError;
use crate::model::TaskId;
use std::io;
use std::path::PathBuf;

/// Why the runtime could not do something.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The box lacks something.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// A file or directory.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A control group.
    #[error(transparent)]
    Cgroup(#[from] super::cgroup::CgroupError),
    /// The program cannot be protected from what runs in containers.
    #[error("cannot seal the program {path}: {source}")]
    Seal {
        /// The program.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The shim.
    #[error("task {task}: {reason}")]
    Shim {
        /// The task.
        task: TaskId,
        /// What it said, or what became of it.
        reason: String,
    },
    /// The container is on no box that is reached from here.
    #[error("{0}")]
    Elsewhere(String),
    /// The runtime of the program is going down.
    #[error("the program is shutting down")]
    ShuttingDown,
}

/// Why a container was not started, in ECS's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// It could not be made.
    #[error("CannotCreateContainerError: {0}")]
    CannotCreate(String),
    /// It was made, its process could not be run.
    #[error("CannotStartContainerError: {0}")]
    CannotStart(String),
    /// What it needs of the box could not be set up.
    #[error("ResourceInitializationError: {0}")]
    ResourceInitialization(String),
}
