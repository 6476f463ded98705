//! `SubmitTaskStateChange` and `SubmitContainerStateChange`: what an agent reports of a task.
//!
//! Of tasks on instances without a box such a report is the truth: whoever sends it plays the agent, and the planner
//! goes on from there as it would on a box. Of tasks on a box it changes nothing, because the box observes these itself.

use super::{CommandError, Outcome, Reply};
use crate::model::{
    AssignmentId, ClusterName, Container, ContainerName, ContainerStatus, DesiredStatus,
    NetworkBinding, StopCode, Task, TaskId, TaskStatus, Timestamp,
};
use crate::plan::action::ActionKey;
use crate::plan::{Change, World};

/// What ECS says of a task that ended without saying why.
const ESSENTIAL_EXITED: &str = "Essential container in task exited";
/// The longest reason that is kept.
const REASON_AT_MOST: usize = 1024;

/// What an agent reports.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "as in the ECS API")]
pub struct StateChange {
    pub cluster: ClusterName,
    pub task: TaskId,
    /// Of the task as a whole.
    pub status: Option<ReportedStatus>,
    pub reason: Option<String>,
    pub containers: Vec<ContainerStateChange>,
    pub pull_started_at: Option<Timestamp>,
    pub pull_stopped_at: Option<Timestamp>,
    pub execution_stopped_at: Option<Timestamp>,
}

/// What an agent reports of a container.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "as in the ECS API")]
pub struct ContainerStateChange {
    pub name: ContainerName,
    pub status: Option<ReportedStatus>,
    pub exit_code: Option<i32>,
    pub reason: Option<String>,
    pub network_bindings: Vec<NetworkBinding>,
}

/// The states that an agent reports, as far as they make a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportedStatus {
    /// Images are pulled, containers are made: all that comes before RUNNING.
    Pending,
    /// It runs.
    Running,
    /// It ended.
    Stopped,
}

/// Takes a report.
pub(super) fn submit(
    world: &mut World,
    report: &StateChange,
    now: Timestamp,
) -> Result<Outcome, CommandError> {
    super::cluster::active(world, &report.cluster)?;
    let known = world.tasks.get(&report.task).filter(|task| task.cluster == report.cluster);
    let Some(stored) = known else {
        let assignment = world.assignments.get(&AssignmentId::of_task(&report.task));
        if assignment.is_some_and(|a| a.cluster == report.cluster) {
            // Accepted a moment ago: it is PENDING, whatever is said of it.
            return Ok(Outcome::nothing());
        }
        return Err(CommandError::InvalidParameter(
            "The referenced task was not found.".to_owned(),
        ));
    };
    for change in &report.containers {
        if stored.container(&change.name).is_none() {
            return Err(CommandError::InvalidParameter(format!(
                "The task has no container called {}.",
                change.name
            )));
        }
    }
    let instance = world.container_instances.get(&stored.container_instance);
    if instance.is_none_or(|i| !i.simulated) || stored.last_status == TaskStatus::Stopped {
        return Ok(Outcome::nothing());
    }
    let before = stored.clone();
    let mut task = before.clone();
    for change in &report.containers {
        if let Some(container) = task.containers.iter_mut().find(|c| c.name == change.name) {
            report_container(container, change, now);
        }
    }
    if let Some(status) = report.status {
        for container in &mut task.containers {
            let change = ContainerStateChange {
                name: container.name.clone(),
                status: Some(status),
                exit_code: None,
                reason: None,
                network_bindings: Vec::new(),
            };
            report_container(container, &change, now);
        }
    }
    task.pull_started_at = report.pull_started_at.or(task.pull_started_at);
    task.pull_stopped_at = report.pull_stopped_at.or(task.pull_stopped_at);
    task.execution_stopped_at = report.execution_stopped_at.or(task.execution_stopped_at);
    if report.status == Some(ReportedStatus::Stopped)
        && task.desired_status == DesiredStatus::Running
    {
        let ran =
            task.started_at.is_some() || task.containers.iter().any(|c| c.started_at.is_some());
        task.desired_status = DesiredStatus::Stopped;
        task.stopping_at = Some(now);
        task.stop_code = Some(if ran {
            StopCode::EssentialContainerExited
        } else {
            StopCode::TaskFailedToStart
        });
        task.stopped_reason =
            Some(text(report.reason.as_ref()).unwrap_or_else(|| ESSENTIAL_EXITED.to_owned()));
    }
    if task == before {
        return Ok(Outcome::nothing());
    }
    observe(world, &before, &task);
    task.version += 1;
    Ok(Outcome::with(vec![Change::PutTask(Box::new(task))], Reply::Done))
}

/// A reason, if there is one, of a length that is kept.
fn text(reason: Option<&String>) -> Option<String> {
    let reason = reason.filter(|reason| !reason.is_empty())?;
    Some(reason.chars().take(REASON_AT_MOST).collect())
}

/// A container goes on; never back. One that nobody has begun to start cannot run yet.
fn report_container(container: &mut Container, change: &ContainerStateChange, now: Timestamp) {
    let begun = container.runtime_id.is_some() && container.image_digest.is_some();
    match (container.last_status, change.status) {
        (ContainerStatus::Pending, Some(ReportedStatus::Running)) if begun => {
            container.last_status = ContainerStatus::Running;
            container.started_at = Some(now);
            container.restart_at = None;
            container.exit_code = None;
        }
        (ContainerStatus::Pending, Some(ReportedStatus::Stopped)) => {
            container.last_status = ContainerStatus::Stopped;
            container.finished_at = Some(now);
            container.restart_at = None;
            // With an exit code it did run, if only for a moment.
            if begun && change.exit_code.is_some() {
                container.started_at = Some(now);
                container.exit_code = change.exit_code;
            }
        }
        (ContainerStatus::Running, Some(ReportedStatus::Stopped)) => {
            container.last_status = ContainerStatus::Stopped;
            container.finished_at = Some(now);
            container.exit_code = change.exit_code;
        }
        (_, _) => {}
    }
    if let Some(reason) = text(change.reason.as_ref()) {
        container.reason = Some(reason);
    }
    if !change.network_bindings.is_empty() && container.last_status == ContainerStatus::Running {
        container.network_bindings.clone_from(&change.network_bindings);
    }
}

/// What was observed goes with what was reported.
fn observe(world: &mut World, before: &Task, after: &Task) {
    let observed = &mut world.observed;
    for (old, new) in before.containers.iter().zip(&after.containers) {
        let Some(run) = new.runtime_id.as_ref().filter(|_| old.last_status != new.last_status)
        else {
            continue;
        };
        observed.in_flight.remove(&ActionKey::Start(after.id.clone(), new.name.clone()));
        if new.last_status == ContainerStatus::Running {
            observed.running.insert(run.clone());
        } else {
            observed.running.remove(run);
            observed.signals.remove(run);
            observed.health.remove(run);
        }
    }
}
