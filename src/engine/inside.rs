//! Looking into running containers. It changes nothing that is planned, so it goes past the writer.

use super::{Handle, NoBox};
use crate::model::{ContainerName, ContainerStatus, TaskId};
use crate::plan::World;
use crate::plan::action::ContainerRun;
use crate::runtime::{ExecCommand, Process, RuntimeError, Session, SessionError, Usage};

/// The run of a task's container, if its process runs.
#[must_use]
pub fn running(world: &World, task: &TaskId, container: &ContainerName) -> Option<ContainerRun> {
    let task = world.tasks.get(task)?;
    let found = task.container(container)?;
    if found.last_status != ContainerStatus::Running {
        return None;
    }
    Some(ContainerRun {
        task: task.id.clone(),
        generation: task.generation,
        container: found.name.clone(),
        runtime_id: found.runtime_id.clone()?,
    })
}

impl From<NoBox> for RuntimeError {
    fn from(why: NoBox) -> Self {
        Self::Elsewhere(why.to_string())
    }
}

impl From<NoBox> for SessionError {
    fn from(why: NoBox) -> Self {
        Self::Runtime(why.into())
    }
}

impl Handle {
    /// What a container uses now; zeroes when it does not run.
    ///
    /// # Errors
    /// When the program is shutting down.
    pub async fn usage(&self, run: &ContainerRun) -> Result<Usage, RuntimeError> {
        self.runtime()?.usage(run).await
    }

    /// The processes of a container; none when it does not run.
    ///
    /// # Errors
    /// When the program is shutting down.
    pub async fn processes(&self, run: &ContainerRun) -> Result<Vec<Process>, RuntimeError> {
        self.runtime()?.processes(run).await
    }

    /// Starts a command in a running container.
    ///
    /// # Errors
    /// When it cannot be started; nothing of it is left then.
    pub async fn exec(
        &self,
        run: &ContainerRun,
        command: ExecCommand,
    ) -> Result<Session, SessionError> {
        self.runtime()?.exec(run, command).await
    }

    /// Attaches to a running container that is interactive or on a terminal.
    ///
    /// # Errors
    /// When it does not run, or is neither.
    pub async fn attach(&self, run: &ContainerRun) -> Result<Session, SessionError> {
        self.runtime()?.attach(run).await
    }
}
