//! The end of the scan: what the records call running and nobody found, is not.
//!
//! After a reboot, a task that should run starts over as a new generation; its containers that had finished stay
//! finished. Without a reboot something killed the shim, and the task stops with that as its reason.

use super::Outcome;
use super::observe::shim_lost;
use crate::model::{
    Attachment, Container, ContainerStatus, DesiredStatus, HealthStatus, Task, TaskStatus,
    Timestamp,
};
use crate::plan::{Change, Reason, World};

/// Settles every task of this box with the outcome of the scan.
pub(super) fn scanned(world: &mut World, rebooted: bool, now: Timestamp) -> Outcome {
    world.observed.scanned = true;
    let mut outcome = Outcome::nothing();
    for task in world.live_tasks() {
        let id = &task.id;
        if Some(&task.container_instance) != world.settings.this_instance.as_ref() {
            continue;
        }
        let found = |c: &Container| {
            c.runtime_id.as_ref().is_some_and(|id| world.observed.running.contains(id))
        };
        let lost = |c: &Container| c.last_status == ContainerStatus::Running && !found(c);
        let wanted = task.desired_status == DesiredStatus::Running;
        let cut_off = |c: &Container| {
            c.last_status != ContainerStatus::Stopped && c.runtime_id.is_some() && !found(c)
        };
        if rebooted && wanted && !task.containers.iter().any(found) {
            if task.containers.iter().any(cut_off) {
                outcome.changes.push(Change::PutTask(Box::new(starts_over(task))));
                outcome.reasons.push(Reason::TaskResumes { task: id.clone() });
            }
        } else if task.containers.iter().any(lost) {
            let why = if rebooted {
                "the box restarted while the task was stopping"
            } else {
                "it was not there when the agent started"
            };
            let task = shim_lost(task, why, now, &lost);
            outcome.changes.push(Change::PutTask(Box::new(task)));
        }
    }
    outcome
}

/// The next generation of a task: everything that had not finished is to be started again.
fn starts_over(task: &Task) -> Task {
    let mut task = task.clone();
    task.generation = task.generation.next();
    task.version += 1;
    task.last_status = TaskStatus::Pending;
    task.started_at = None;
    task.health_status = HealthStatus::Unknown;
    task.attachments.iter_mut().for_each(Attachment::forget_addresses);
    for container in &mut task.containers {
        container.network_bindings.clear();
        container.network_interfaces.clear();
        if container.last_status != ContainerStatus::Stopped {
            container.last_status = ContainerStatus::Pending;
            container.runtime_id = None;
            container.started_at = None;
            container.start_timeout_from = None;
            container.exit_code = None;
            container.reason = None;
            container.early_exits = 0;
            container.restart_at = None;
            container.stop_requested_at = None;
            container.health_status = HealthStatus::Unknown;
        }
    }
    task
}
