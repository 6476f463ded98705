//! `StopTask`.

use super::{CommandError, Outcome, Reply};
use crate::model::{
    AssignmentId, ClusterName, DesiredStatus, StopCode, StopRequest, Task, TaskId, Wanted,
};
use crate::plan::{Change, World};

/// What ECS shows when the caller gave no reason.
const NO_REASON: &str = "Task stopped by user";

/// How many characters a reason may have.
const REASON_AT_MOST: usize = 1024;

/// Wants the task stopped; of a task that stops or has stopped nothing changes.
pub(super) fn stop(
    world: &World,
    cluster: &ClusterName,
    id: &TaskId,
    reason: Option<String>,
) -> Result<Outcome, CommandError> {
    super::cluster::active(world, cluster)?;
    let not_found =
        || CommandError::InvalidParameter("The referenced task was not found.".to_owned());
    let task = world.tasks.get(id);
    let assignment = task.map_or_else(|| AssignmentId::of_task(id), Task::assignment);
    let Some(assignment) = world.assignments.get(&assignment) else {
        // Stopped already, or never heard of.
        return match task {
            Some(task) if &task.cluster == cluster => Ok(Outcome::nothing()),
            _ => Err(not_found()),
        };
    };
    if &assignment.cluster != cluster {
        return Err(not_found());
    }
    let reason = reason.filter(|reason| !reason.is_empty());
    if reason.as_ref().is_some_and(|reason| reason.chars().count() > REASON_AT_MOST) {
        return Err(CommandError::InvalidParameter(format!(
            "reason can have at most {REASON_AT_MOST} characters."
        )));
    }
    let stops_already = assignment.stop_request(id).is_some()
        || task.is_some_and(|task| task.desired_status == DesiredStatus::Stopped);
    if stops_already {
        return Ok(Outcome::nothing());
    }
    let stop = StopRequest {
        code: StopCode::UserInitiated,
        reason: reason.unwrap_or_else(|| NO_REASON.to_owned()),
    };
    let mut assignment = assignment.clone();
    assignment.generation = assignment.generation.next();
    match &mut assignment.wanted {
        Wanted::Service(tasks) => {
            tasks.stops.insert(id.clone(), stop);
        }
        Wanted::Task(task) => {
            task.desired_status = DesiredStatus::Stopped;
            task.stop = Some(stop);
        }
    }
    Ok(Outcome::with(vec![Change::PutAssignment(Box::new(assignment))], Reply::Done))
}
