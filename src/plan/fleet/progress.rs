//! How far a box is with its newest document.
//!
//! ```text
//! SEEN ──► APPLYING ──► APPLIED
//!              └──► FAILED (reason) ──► APPLIED, if it comes about after all
//! ```
//!
//! It is applied when every task runs, serves or has ended as it says, and nothing else runs. It failed when a task
//! could not be started, or when one of a service has ended early `FAILURES` times in a row.

use crate::model::fleet::{Applied, Membership, Phase, Progress, Report, VERSION};
use crate::model::{
    Assignment, DesiredStatus, StopCode, Task, TaskId, TaskStatus, Timestamp, Wanted,
};
use crate::plan::health::{Serves, serves};
use crate::plan::{Change, Plan, World};

/// So many early ends in a row are a failure.
const FAILURES: u32 = 3;

/// Where one assignment is.
enum State {
    Done,
    Waits,
    Failed(String),
}

/// Moves the phase on, and ends assignments that the newest document does not name and that have no tasks any more.
#[must_use]
pub fn plan(world: &World, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let Some(membership) = &world.membership else { return plan };
    let mut state = State::Done;
    for assignment in world.assignments_on(&membership.device) {
        let named = membership.assignments.contains(&assignment.id);
        let live = world.live(&assignment.id).next().is_some();
        if !named && !live && assignment.count() == 0 && assignment.service().is_some() {
            plan.changes.push(Change::DeleteAssignment(assignment.id.clone()));
            continue;
        }
        if membership.progress.phase == Phase::Applied {
            continue;
        }
        match (of(world, assignment, now, &mut plan), &state) {
            (State::Done, _) | (_, State::Failed(_)) => {}
            (State::Waits, _) => state = State::Waits,
            (failed, _) => state = failed,
        }
    }
    if let Some(progress) = next(world, membership, state) {
        plan.changes
            .push(Change::PutMembership(Box::new(Membership { progress, ..membership.clone() })));
    }
    plan
}

fn next(world: &World, membership: &Membership, state: State) -> Option<Progress> {
    let old = &membership.progress;
    let hash = old.hash.clone()?;
    // What is unsupported is not what is here; nothing is said of what was found before the box was looked at.
    if matches!(old.phase, Phase::Unsupported) || !world.observed.scanned {
        return None;
    }
    let applied = Applied { position: old.position, hash };
    let is_applied = old.applied.as_ref() == Some(&applied);
    let (phase, reason, applied) = match (old.phase, state) {
        (Phase::Applied, _) if is_applied => return None,
        (Phase::Applied, _) | (_, State::Done) => (Phase::Applied, None, Some(applied)),
        (_, State::Failed(reason)) => (Phase::Failed, Some(reason), old.applied.clone()),
        (Phase::Failed, State::Waits) => return None,
        (_, State::Waits) => (Phase::Applying, None, old.applied.clone()),
    };
    let next = Progress { phase, reason, applied, ..old.clone() };
    (&next != old).then_some(next)
}

fn of(world: &World, assignment: &Assignment, now: Timestamp, plan: &mut Plan) -> State {
    let wanted = match &assignment.wanted {
        Wanted::Task(wanted) => {
            let task = TaskId::new(assignment.id.as_str()).ok();
            let Some(task) = task.and_then(|id| world.tasks.get(&id)) else { return State::Waits };
            return match (wanted.desired_status, task.last_status) {
                (_, TaskStatus::Stopped) => ended(task),
                (DesiredStatus::Running, TaskStatus::Running) => State::Done,
                _ => State::Waits,
            };
        }
        Wanted::Service(wanted) => wanted,
    };
    let (mut serving, mut others) = (0_u32, 0_u32);
    for task in world.live(&assignment.id) {
        let failures = task.service.as_ref().map_or(0, |service| service.failures_before);
        if failures >= FAILURES {
            let why = last_failure(world, assignment);
            let of = &wanted.service;
            return State::Failed(format!("service {of}: {failures} tasks ended early: {why}"));
        }
        match serves(world, task, now) {
            Serves::Yes if task.desired_status == DesiredStatus::Running => serving += 1,
            // Without a health check RUNNING is enough, unless others before it ended early.
            Serves::NotYet(Some(_)) if failures == 0 => serving += 1,
            Serves::NotYet(until) => {
                others += 1;
                if let Some(until) = until {
                    plan.wake(until);
                }
            }
            _ => others += 1,
        }
    }
    if serving == wanted.count && others == 0 { State::Done } else { State::Waits }
}

/// A standalone task that has ended did what was wanted, unless it never ran.
fn ended(task: &Task) -> State {
    if task.stop_code == Some(StopCode::TaskFailedToStart) {
        let why = task.stopped_reason.as_deref().unwrap_or("it did not start");
        return State::Failed(format!("task {}: {why}", task.id));
    }
    State::Done
}

fn last_failure(world: &World, assignment: &Assignment) -> String {
    let stopped = world.index.stopped.iter().rev().filter_map(|(_, id)| world.tasks.get(id));
    let mut failed = stopped.filter(|task| task.assignment() == assignment.id);
    let reason = failed.next().and_then(|task| {
        let container = task.containers.iter().find_map(|c| c.reason.clone());
        container.or_else(|| task.stopped_reason.clone())
    });
    reason.unwrap_or_else(|| "no reason was recorded".to_owned())
}

/// The report of the box as it is now.
#[must_use]
pub fn report(world: &World, session: &str, seq: u64) -> Option<Report> {
    let membership = world.membership.as_ref()?;
    let tasks = world.live_tasks().map(|task| (task.id.clone(), task.version)).collect();
    Some(Report {
        v: VERSION,
        session: session.to_owned(),
        seq,
        progress: membership.progress.clone(),
        tasks,
        events: crate::model::fleet::EventRange {
            log: membership.events.clone(),
            first: world.events.start,
            next: world.events.end,
        },
        missing: std::collections::BTreeSet::new(),
        refused: std::collections::BTreeMap::new(),
        hub_key: None,
    })
}
