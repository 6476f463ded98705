//! The hub's share of a round: which boxes are to be sent something new, and what of the records is over.

use super::content::{self, Bodies};
use crate::model::fleet::Device;
use crate::model::{ContainerInstanceId, StopCode, Task, TaskId, TaskStatus, Timestamp, Wanted};
use crate::plan::{Action, Change, Command, Ids, Observation, Plan, World, command, instance};
use std::time::Duration;

/// A box that was not heard of for this long is not connected, whatever the broker says. It reports once a minute.
pub const SILENCE: Duration = Duration::from_mins(4);

/// Decides what is new for boxes. The changes are applied to `world` already.
#[must_use]
pub fn plan(world: &mut World, now: Timestamp, ids: &mut Ids) -> Plan {
    let mut plan = Plan::default();
    let mut bodies = Bodies::new();
    let begun = begun(world, ids);
    for change in &begun {
        world.apply(change);
    }
    plan.changes.extend(begun);
    for id in world.agenda.take_devices() {
        let changes = device(world, &id, now, &mut bodies);
        for change in &changes {
            world.apply(change);
        }
        plan.changes.extend(changes);
    }
    // What was just written is nothing new.
    let _ = world.agenda.take_devices();
    for id in world.agenda.assignments().clone() {
        world.agenda.settle_assignment(&id);
    }
    let silent = silent(world, now, &mut plan);
    for change in &silent {
        world.apply(change);
    }
    let _ = world.agenda.take_devices();
    plan.changes.extend(silent);
    tidy(world, now, ids, &mut plan);
    plan
}

/// The records of standalone tasks that were placed just now: their boxes know nothing of them yet.
fn begun(world: &World, ids: &mut Ids) -> Vec<Change> {
    let mut changes = Vec::new();
    for id in world.agenda.assignments() {
        let Some(assignment) = world.assignments.get(id) else { continue };
        let (Wanted::Task(_), Ok(task)) = (&assignment.wanted, TaskId::new(id.as_str())) else {
            continue;
        };
        let definition = world.task_definitions.get(&assignment.task_definition);
        let Some(definition) = definition.filter(|_| !world.tasks.contains_key(&task)) else {
            continue;
        };
        let mut task = instance::life_cycle::new_task(ids, task, assignment, definition);
        task.version = 1;
        changes.push(Change::PutTask(Box::new(task)));
    }
    changes
}

/// What changes of one box.
fn device(
    world: &World,
    id: &ContainerInstanceId,
    now: Timestamp,
    bodies: &mut Bodies,
) -> Vec<Change> {
    let Some(device) = world.devices.get(id) else { return Vec::new() };
    if device.revoked_at.is_some() {
        return abandoned(world, id, now);
    }
    let gone = world.container_instances.get(id).is_none_or(|instance| !instance.is_registered());
    if gone {
        let mut changes = abandoned(world, id, now);
        changes.push(Change::PutDevice(Box::new(Device {
            revoked_at: Some(now),
            connected: false,
            connected_changed_at: now,
            ..device.clone()
        })));
        return changes;
    }
    let content = content::of(world, id, bodies);
    let hash = content::hash(&content);
    if device.hash.as_ref() == Some(&hash) && device.position.epoch >= world.settings.epoch {
        return Vec::new();
    }
    vec![Change::PutDevice(Box::new(Device {
        position: device.position.next(world.settings.epoch),
        prev_hash: device.hash.clone(),
        hash: Some(hash),
        ..device.clone()
    }))]
}

/// Nobody will say what becomes of the tasks of a box that is refused or begins anew: they count as stopped.
pub(super) fn abandoned(world: &World, id: &ContainerInstanceId, now: Timestamp) -> Vec<Change> {
    let mut changes = Vec::new();
    for assignment in world.assignments_on(id) {
        for task in world.live(&assignment.id) {
            let stop = assignment.stop_request(&task.id);
            let reason = stop.map_or("The container instance is gone.", |stop| &stop.reason);
            changes.push(Change::PutTask(Box::new(lost(task, reason, now))));
        }
        if let Wanted::Task(_) = assignment.wanted {
            changes.push(Change::DeleteAssignment(assignment.id.clone()));
        }
    }
    changes
}

/// The task as it is recorded when its box no longer tells of it.
pub(super) fn lost(task: &Task, reason: &str, now: Timestamp) -> Task {
    let mut task = task.clone();
    task.last_status = TaskStatus::Stopped;
    task.desired_status = crate::model::DesiredStatus::Stopped;
    task.stopping_at = task.stopping_at.or(Some(now));
    task.execution_stopped_at = task.execution_stopped_at.or(Some(now));
    task.stopped_at = Some(now);
    task.stop_code = task.stop_code.or(Some(StopCode::TerminationNotice));
    task.stopped_reason.get_or_insert_with(|| reason.to_owned());
    for container in &mut task.containers {
        container.last_status = crate::model::ContainerStatus::Stopped;
        container.finished_at = container.finished_at.or(Some(now));
    }
    task.version += 1;
    task
}

/// Boxes that say nothing are not connected; wakes for the next that may fall silent.
fn silent(world: &mut World, now: Timestamp, plan: &mut Plan) -> Vec<Change> {
    let World { devices, observed, .. } = world;
    // Whoever was heard of since falls silent later than that: most rounds need no look at thousands of boxes.
    if let Some(at) = observed.silent_at.filter(|at| *at > now && *at <= now.plus(SILENCE)) {
        plan.wake(at);
        return Vec::new();
    }
    let (mut changes, mut next) = (Vec::new(), None::<Timestamp>);
    for device in devices.values() {
        if !device.connected {
            // Since a time to come: the clock was set back while the hub was down.
            if device.connected_changed_at > now {
                let device = Device { connected_changed_at: now, ..device.clone() };
                changes.push(Change::PutDevice(Box::new(device)));
            }
            continue;
        }
        // After a start nobody was heard of yet: they have their time to say something.
        let heard = observed.heard.get(&device.id).copied();
        let heard = heard.unwrap_or_else(|| {
            observed.heard.insert(device.id.clone(), now);
            now
        });
        let until = heard.min(now).plus(SILENCE);
        if until > now {
            next = Some(next.map_or(until, |next| next.min(until)));
            continue;
        }
        changes.push(Change::PutDevice(Box::new(Device {
            connected: false,
            connected_changed_at: now,
            ..device.clone()
        })));
    }
    observed.silent_at = next;
    if let Some(at) = next {
        plan.wake(at);
    }
    changes
}

/// Forgets what was kept for long enough: there is nothing on a hub to clean up first.
fn tidy(world: &mut World, now: Timestamp, ids: &mut Ids, plan: &mut Plan) {
    loop {
        let tidied = instance::tidy(world, now, ids);
        if tidied.is_quiet() {
            if let Some(at) = tidied.wake_at {
                plan.wake(at);
            }
            return;
        }
        world.apply_plan(&tidied);
        plan.changes.extend(tidied.changes);
        plan.reasons.extend(tidied.reasons);
        for action in tidied.actions {
            let Action::Forget { task } = action else { continue };
            let forgotten = Command::Observe(Observation::Forgotten { task });
            if let Ok(outcome) = command::apply(world, forgotten, now, ids) {
                outcome.changes.iter().for_each(|change| world.apply(change));
                plan.changes.extend(outcome.changes);
            }
        }
    }
}
