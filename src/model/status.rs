//! The life cycles of tasks and containers, as ECS names them.
//!
//! ```text
//! task       PROVISIONING → PENDING → ACTIVATING → RUNNING → DEACTIVATING → STOPPING → DEPROVISIONING → STOPPED
//! container  PENDING → RUNNING → STOPPED
//! ```
//!
//! A status only ever moves to the right; steps may be skipped. [`TaskStatus::may_become`] is the guard.

use serde::{Deserialize, Serialize};

/// A task's `lastStatus`. The order of the variants is the order of the life cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskStatus {
    /// Resources that must exist before any container are being made.
    Provisioning,
    /// Waiting for the box: images, the start of containers.
    Pending,
    /// Containers run; something must still happen before the task counts as running.
    Activating,
    /// All containers that should have started have.
    Running,
    /// Steps before the containers are told to stop.
    Deactivating,
    /// Containers are being stopped.
    Stopping,
    /// All containers have stopped; resources are being removed.
    Deprovisioning,
    /// Over.
    Stopped,
}

impl TaskStatus {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "PROVISIONING",
            Self::Pending => "PENDING",
            Self::Activating => "ACTIVATING",
            Self::Running => "RUNNING",
            Self::Deactivating => "DEACTIVATING",
            Self::Stopping => "STOPPING",
            Self::Deprovisioning => "DEPROVISIONING",
            Self::Stopped => "STOPPED",
        }
    }

    /// True when the life cycle allows going from `self` to `next`: never back.
    ///
    /// After a reboot of the box a task that should run starts over from PENDING; that is not a transition but a
    /// new generation of the task.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        next >= self
    }
}

/// What is wanted of a task: `desiredStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DesiredStatus {
    /// It should run.
    Running,
    /// It should stop, or has.
    Stopped,
}

impl DesiredStatus {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
        }
    }
}

/// A container's `lastStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ContainerStatus {
    /// Not started yet.
    Pending,
    /// Its process runs.
    Running,
    /// Its process ended, or it will never be started.
    Stopped,
}

impl ContainerStatus {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
        }
    }
}

/// `healthStatus` of a container or task.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum HealthStatus {
    /// The health check passed.
    Healthy,
    /// It failed as often as it may.
    Unhealthy,
    /// No health check, or no verdict yet.
    #[default]
    Unknown,
}

impl HealthStatus {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "HEALTHY",
            Self::Unhealthy => "UNHEALTHY",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// Why a task stopped, for programs (ECS `TaskStopCode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StopCode {
    /// It never came to run.
    TaskFailedToStart,
    /// An essential container ended.
    EssentialContainerExited,
    /// Somebody called StopTask.
    UserInitiated,
    /// A service replaced or removed it.
    ServiceSchedulerInitiated,
    /// Spot capacity ended; never used here.
    SpotInterruption,
    /// The container instance went away.
    TerminationNotice,
}

impl StopCode {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TaskFailedToStart => "TaskFailedToStart",
            Self::EssentialContainerExited => "EssentialContainerExited",
            Self::UserInitiated => "UserInitiated",
            Self::ServiceSchedulerInitiated => "ServiceSchedulerInitiated",
            Self::SpotInterruption => "SpotInterruption",
            Self::TerminationNotice => "TerminationNotice",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::DeserializeOwned;

    /// The name on the wire is the name in the store.
    fn one_name<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
        status: &T,
        name: &str,
    ) {
        let json = serde_json::to_value(status).unwrap();
        assert_eq!(json, name);
        assert_eq!(serde_json::from_value::<T>(json).unwrap(), *status);
    }

    #[test]
    fn a_task_never_goes_back() {
        let all = [
            TaskStatus::Provisioning,
            TaskStatus::Pending,
            TaskStatus::Activating,
            TaskStatus::Running,
            TaskStatus::Deactivating,
            TaskStatus::Stopping,
            TaskStatus::Deprovisioning,
            TaskStatus::Stopped,
        ];
        for (from, status) in all.iter().enumerate() {
            one_name(status, status.as_str());
            for (to, next) in all.iter().enumerate() {
                assert_eq!(status.may_become(*next), to >= from, "{status:?} {next:?}");
            }
        }
    }
}
