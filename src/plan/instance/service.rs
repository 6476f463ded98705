//! The tasks of a service on one box: minted, replaced and chosen to stop here, online or not.
//!
//! ```text
//! assignment (count) ──too few──► a new task PENDING ──not before its back-off is over, and when there is room──► started
//!                    ──too many─► the one that is missed least: one that does not serve, newest; never a protected one
//!  a task that ended by itself, or is UNHEALTHY ──► stops, and another takes its place in the same round
//! ```
//!
//! Tasks of an older deployment are not too many before the images of the newer one are here: see `handover`.
//!
//! A replacement waits 1 s, 2 s, 4 s … up to [`LONGEST_WAIT`] when those before it ended early, one after the other; after one
//! that ran for [`RAN_WELL`] it does not wait. What a stopping task still holds (ports, memory) its replacement waits for.

use super::life_cycle::{self, Origin};
use super::{Round, consistency, handover};
use crate::model::{
    Assignment, ContainerStatus, DeploymentId, DesiredStatus, HealthStatus, ServiceMembership,
    ServiceTasks, StopCode, StopRequest, Task, TaskDefinition, TaskId, TaskStatus, Timestamp,
};
use crate::plan::health::{Serves, serves};
use crate::plan::{Ids, Reason, World};
use std::time::Duration;

/// A task that ran this long did not fail early.
pub(crate) const RAN_WELL: Duration = Duration::from_mins(1);

/// The longest wait between two tasks that end early.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// Brings the tasks of a service's assignment as far as they can be brought in this round.
pub(super) fn advance(
    round: &mut Round,
    assignment: &Assignment,
    wanted: &ServiceTasks,
    definition: &TaskDefinition,
) {
    let world = round.world;
    let stops = stops(world, assignment, wanted, round.now);
    let mut kept = 0;
    let mut failures = Vec::new();
    for task in world.live(&assignment.id) {
        let origin = Origin {
            assignment,
            stop: stops.iter().find(|(id, _)| *id == &task.id).map(|(_, stop)| stop),
        };
        let after = life_cycle::advance(round, &origin, definition, task);
        if after.desired_status == DesiredStatus::Running {
            kept += 1;
        } else if fell(task, &after) {
            failures.push(failures_in_a_row(&after));
        }
    }
    if kept > wanted.count {
        // Only protection keeps them.
        let protected = world.live(&assignment.id).filter_map(|task| task.protection(round.now));
        protected.min().into_iter().for_each(|until| round.plan.wake(until));
    }
    let count = if world.observed.stopping { 0 } else { wanted.count };
    for _ in kept..count {
        mint(round, assignment, wanted, definition, failures.pop().unwrap_or(0));
    }
}

/// True for a task that ended in this round without having been asked to, or was ended because it was unhealthy.
fn fell(before: &Task, after: &Task) -> bool {
    after.service.as_ref().is_some_and(|s| s.failed)
        && before.service.as_ref().is_some_and(|s| !s.failed)
}

/// How many tasks have now ended early, one after the other.
pub(crate) fn failures_in_a_row(task: &Task) -> u32 {
    let before = task.service.as_ref().map_or(0, |service| service.failures_before);
    let ended = task.stopping_at.unwrap_or(task.created_at);
    let ran = task.runs_since().map_or(Duration::ZERO, |started| ended.since(started));
    if ran >= RAN_WELL { 0 } else { before.saturating_add(1) }
}

/// How long the next task waits.
pub(crate) fn wait(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        n => Duration::from_secs(1 << (n - 1).min(16)).min(LONGEST_WAIT),
    }
}

/// The tasks of the assignment that are to stop, and why.
pub(crate) fn stops<'a>(
    world: &'a World,
    assignment: &'a Assignment,
    wanted: &'a ServiceTasks,
    now: Timestamp,
) -> Vec<(&'a TaskId, StopRequest)> {
    let mut stops = Vec::new();
    let mut running = Vec::new();
    for task in world.live(&assignment.id) {
        if task.desired_status != DesiredStatus::Running {
            continue;
        }
        if world.observed.stopping {
            let reason = "The agent is stopping.".to_owned();
            stops.push((&task.id, StopRequest { code: StopCode::UserInitiated, reason }));
        } else if let Some(stop) = wanted.stops.get(&task.id) {
            stops.push((&task.id, stop.clone()));
        } else {
            running.push(task);
        }
    }
    let count = usize::try_from(wanted.count).unwrap_or(usize::MAX);
    let surplus = running.len().saturating_sub(count);
    let surplus = match surplus {
        0 => 0,
        surplus => surplus.saturating_sub(handover::kept(world, assignment, wanted)),
    };
    for task in victims(world, &running, surplus, now) {
        stops.push((&task.id, scaling(&wanted.deployment)));
    }
    stops
}

/// What a task is told that its service has no more use for.
pub(crate) fn scaling(deployment: &DeploymentId) -> StopRequest {
    let reason = format!("Scaling activity initiated by (deployment ecs-svc/{deployment})");
    StopRequest { code: StopCode::ServiceSchedulerInitiated, reason }
}

/// The tasks to do without first: at most `n`, none that is protected.
pub(crate) fn victims<'a>(
    world: &World,
    tasks: &[&'a Task],
    n: usize,
    now: Timestamp,
) -> Vec<&'a Task> {
    let mut candidates: Vec<&Task> =
        tasks.iter().copied().filter(|task| task.protection(now).is_none()).collect();
    let missed_least = |task: &&Task| {
        let serves = match serves(world, task, now) {
            Serves::No => 0,
            Serves::NotYet(_) => 1,
            Serves::Yes => 2,
        };
        let runs = task.last_status == TaskStatus::Running;
        (serves, runs, std::cmp::Reverse(task.created_at), task.id.clone())
    };
    candidates.sort_by_key(missed_least);
    candidates.truncate(n);
    candidates
}

/// Why an unhealthy task is to stop, once its grace period is over; wakes for its end.
pub(super) fn unhealthy(
    round: &mut Round,
    task: &Task,
    assignment: &Assignment,
) -> Option<StopRequest> {
    let wanted = assignment.service()?;
    if task.health_status != HealthStatus::Unhealthy || task.last_status != TaskStatus::Running {
        return None;
    }
    let grace = u64::from(wanted.health_check_grace_period_seconds.unwrap_or(0));
    let (started, grace) = (task.runs_since()?, Duration::from_secs(grace));
    let until = started.plus(grace);
    // A start further in the future than the period is long is of a clock that has been set back since.
    if !grace.is_zero() && until > round.now && started.since(round.now) <= grace {
        round.plan.wake(until);
        return None;
    }
    let reason =
        format!("(service {}) (task {}) failed container health checks.", wanted.service, task.id);
    Some(StopRequest { code: StopCode::ServiceSchedulerInitiated, reason })
}

/// One more task of the assignment, of which nothing has begun.
pub(crate) fn new_task(
    ids: &mut Ids,
    assignment: &Assignment,
    wanted: &ServiceTasks,
    definition: &TaskDefinition,
    failures: u32,
    now: Timestamp,
) -> Task {
    let id = ids.task();
    let mut task = life_cycle::new_task(ids, id, assignment, definition);
    let wait = wait(failures);
    task.created_at = now;
    task.service = Some(ServiceMembership {
        assignment: assignment.id.clone(),
        name: wanted.service.clone(),
        deployment: wanted.deployment.clone(),
        failures_before: failures,
        not_before: (!wait.is_zero()).then(|| now.plus(wait)),
        failed: false,
    });
    task
}

fn mint(
    round: &mut Round,
    assignment: &Assignment,
    wanted: &ServiceTasks,
    definition: &TaskDefinition,
    failures: u32,
) {
    let mut task = new_task(round.ids, assignment, wanted, definition, failures, round.now);
    consistency::settle(round.world, assignment, wanted, definition, &mut task);
    let wait = wait(failures);
    if !wait.is_zero() {
        let task = task.id.clone();
        round.plan.reasons.push(Reason::TaskBacksOff { task, failures, wait });
    }
    let origin = Origin { assignment, stop: None };
    life_cycle::begin(round, &origin, definition, task);
}

/// Whether a task that has not begun has to wait: for its back-off, or for what others still hold.
pub(super) fn waits(round: &mut Round, task: &mut Task, definition: &TaskDefinition) -> bool {
    let begun = task.containers.iter().any(|c| {
        c.runtime_id.is_some() || c.restart_count > 0 || c.last_status != ContainerStatus::Pending
    });
    let Some(service) = task.service.as_mut().filter(|_| !begun) else { return false };
    if let Some(until) = service.not_before {
        // A time far away is of a clock that has been set back since.
        let until = until.min(round.now.plus(LONGEST_WAIT));
        service.not_before = Some(until);
        if until > round.now {
            round.plan.wake(until);
            return true;
        }
    }
    if let Some(why) = round.lacks_room(task, definition) {
        handover::fetch_ahead(round, task, definition);
        round.waits.push(Reason::TaskWaits { task: task.id.clone(), why });
        return true;
    }
    false
}
