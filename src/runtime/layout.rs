//! Where the runtime keeps things.
//!
//! ```text
//! STATE/tasks/<task>/task.json               generation; written once, before the shim
//! STATE/tasks/<task>/<container>.exit        exit record of the container's latest run
//! STATE/tasks/<task>/<container>/{upper,work} writable layer
//! STATE/tasks/<task>/volumes.d/<volume>      scratch volumes
//! STATE/logs/<task>/<container>.log          output
//! RUN/tasks/<task>/shim.sock                 the shim's socket
//! RUN/tasks/<task>/<container>/              launch.json, config.json, mount point, generated /etc files
//! ```
//!
//! Names of containers and volumes hold no dots, so the names with dots cannot clash with them.

use crate::model::{ContainerName, TaskId};
use std::path::{Path, PathBuf};

/// The two roots.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Layout {
    pub(crate) state_dir: PathBuf,
    pub(crate) run_dir: PathBuf,
}

impl Layout {
    pub(crate) fn state_tasks(&self) -> PathBuf {
        self.state_dir.join("tasks")
    }

    pub(crate) fn task_state(&self, task: &TaskId) -> PathBuf {
        self.state_tasks().join(task.as_str())
    }

    pub(crate) fn task_file(&self, task: &TaskId) -> PathBuf {
        self.task_state(task).join("task.json")
    }

    pub(crate) fn exit_record(&self, task: &TaskId, container: &ContainerName) -> PathBuf {
        self.task_state(task).join(format!("{container}.exit"))
    }

    pub(crate) fn container_state(&self, task: &TaskId, container: &ContainerName) -> PathBuf {
        self.task_state(task).join(container.as_str())
    }

    pub(crate) fn scratch_volume(&self, task: &TaskId, volume: &str) -> PathBuf {
        self.task_state(task).join("volumes.d").join(volume)
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.state_dir.join("logs")
    }

    pub(crate) fn task_logs(&self, task: &TaskId) -> PathBuf {
        self.logs().join(task.as_str())
    }

    pub(crate) fn log_file(&self, task: &TaskId, container: &ContainerName) -> PathBuf {
        self.task_logs(task).join(format!("{container}.log"))
    }

    pub(crate) fn run_tasks(&self) -> PathBuf {
        self.run_dir.join("tasks")
    }

    pub(crate) fn task_run(&self, task: &TaskId) -> PathBuf {
        self.run_tasks().join(task.as_str())
    }

    pub(crate) fn container_run(&self, task: &TaskId, container: &ContainerName) -> PathBuf {
        self.task_run(task).join(container.as_str())
    }

    pub(crate) fn launch_file(&self, task: &TaskId, container: &ContainerName) -> PathBuf {
        self.container_run(task, container).join("launch.json")
    }
}

/// The name of the shim's socket in the task's run directory.
pub(crate) const SOCKET: &str = "shim.sock";

/// Removes a directory and all in it; that there is none is fine.
pub(crate) fn remove_tree(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a file; that there is none is fine.
pub(crate) fn remove_file(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
