//! What the shell is told to do. Every action is idempotent and names the generation it belongs to.

use super::connection::Connection;
use crate::model::task_definition::{ContainerDefinition, MountPoint, Volume};
use crate::model::{ClusterName, ContainerName, Generation, ImageDigest, RuntimeId, TaskId};
use std::time::Duration;

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Bring the image to this box; answered by `ImageReady` or `ImageFailed`.
    Pull {
        /// The image as the definition names it.
        image: String,
        /// The secret with the registry login, as the definition names it.
        credentials: Option<String>,
        /// Use the local one when the registry cannot be reached.
        fall_back_to_cached: bool,
    },
    /// Start a container (and the task's shim before it); answered by `Started` or `StartFailed`.
    Start(Box<StartContainer>),
    /// Send the image's stop signal, SIGTERM unless it names another; answered by `Signalled`.
    Stop(ContainerRun),
    /// Send SIGKILL; answered by `Signalled`.
    Kill(ContainerRun),
    /// Run a health check's command inside a running container; answered by `Probed`.
    Probe {
        /// In which run.
        run: ContainerRun,
        /// Program and arguments.
        command: Vec<String>,
        /// The command is killed after this.
        timeout: Duration,
    },
    /// Remove what the task has on the box: shim, cgroup, mounts, directories (logs stay); answered by `Released`.
    Release {
        /// The task.
        task: TaskId,
        /// Of the task.
        generation: Generation,
    },
    /// Remove the logs and exit records of a task that is forgotten; answered by `Forgotten`.
    Forget {
        /// The task.
        task: TaskId,
    },
}

/// One run of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRun {
    /// The task.
    pub task: TaskId,
    /// Of the task.
    pub generation: Generation,
    /// The container.
    pub container: ContainerName,
    /// The run.
    pub runtime_id: RuntimeId,
}

/// All that is needed to start a container; overrides are merged in already.
#[derive(Debug, Clone, PartialEq)]
pub struct StartContainer {
    /// Which run.
    pub run: ContainerRun,
    /// The task's cluster.
    pub cluster: ClusterName,
    /// [`crate::model::Task::long_name`] of the container.
    pub long_name: String,
    /// The image to run.
    pub image_digest: ImageDigest,
    /// The effective definition.
    pub definition: ContainerDefinition,
    /// The task's volumes.
    pub volumes: Vec<Volume>,
    /// What `volumesFrom` comes to: mount points of other containers.
    pub inherited_mounts: Vec<MountPoint>,
    /// `networkMode`, with its default.
    pub network_mode: String,
    /// What that means for this container.
    pub connection: Connection,
    /// IAM role of the task, by name or ARN.
    pub task_role: Option<String>,
    /// `launchType` of the task.
    pub launch_type: String,
    /// `pidMode`.
    pub pid_mode: Option<String>,
    /// `ipcMode`.
    pub ipc_mode: Option<String>,
    /// CPU units of the task, a hard limit over all its containers.
    pub task_cpu: Option<u32>,
    /// MiB of the task, a hard limit over all its containers.
    pub task_memory: Option<u32>,
    /// CPU shares of all containers of the task together, at least 2.
    pub task_cpu_shares: u32,
    /// A run of the same container was here before: what it wrote into its root file system stays.
    pub restart: bool,
}

/// Tells actions in flight apart; `Forget` comes last, where it is looked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are those of the actions")]
pub enum ActionKey {
    Pull(String, Option<String>),
    Start(TaskId, ContainerName),
    Stop(TaskId, ContainerName),
    Kill(TaskId, ContainerName),
    Probe(TaskId, ContainerName),
    Release(TaskId),
    Forget(TaskId),
}

impl Action {
    /// The key under which this action is in flight.
    #[must_use]
    pub fn key(&self) -> ActionKey {
        match self {
            Self::Pull { image, credentials, .. } => {
                ActionKey::Pull(image.clone(), credentials.clone())
            }
            Self::Start(start) => {
                ActionKey::Start(start.run.task.clone(), start.run.container.clone())
            }
            Self::Stop(run) => ActionKey::Stop(run.task.clone(), run.container.clone()),
            Self::Kill(run) => ActionKey::Kill(run.task.clone(), run.container.clone()),
            Self::Probe { run, .. } => ActionKey::Probe(run.task.clone(), run.container.clone()),
            Self::Release { task, .. } => ActionKey::Release(task.clone()),
            Self::Forget { task } => ActionKey::Forget(task.clone()),
        }
    }
}
