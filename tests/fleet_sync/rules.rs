//! What must never happen on the way, read off what was committed; and what hub and boxes disagree on.

use super::hub::Hub;
use super::member::Member;
use coracle::model::fleet::{Phase, Position};
use coracle::model::service::{SchedulingStrategy, ServiceStatus};
use coracle::model::{ContainerInstanceId, Service, Task, TaskId, TaskStatus};
use coracle::plan::{Change, fleet::events::KEPT};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(crate) struct Rules {
    boxes: BTreeMap<usize, OfBox>,
    /// Positions of the hub's documents.
    documents: BTreeMap<ContainerInstanceId, Position>,
    /// Tasks that have stopped, as the hub knows.
    ended: BTreeSet<TaskId>,
    /// Tasks that the hub has forgotten, since they stopped long ago.
    forgotten: BTreeSet<TaskId>,
    /// Boxes' events that were dropped before the hub had them.
    dropped: u64,
    /// The hub was restored: it may have forgotten what it knew.
    pub(crate) restored: bool,
}

#[derive(Debug, Default)]
struct OfBox {
    position: Position,
    applied: Position,
    ended: BTreeSet<TaskId>,
    forgotten: BTreeSet<TaskId>,
    /// Tasks of a membership that is over.
    before: BTreeSet<TaskId>,
    /// The event that comes next, by log.
    next: BTreeMap<String, u64>,
    log: String,
    generations: BTreeMap<TaskId, u64>,
}

impl Rules {
    /// What a box committed.
    pub(crate) fn of_box(&mut self, member: &mut Member, hub: &Hub) -> Result<(), String> {
        let this = self.boxes.entry(member.at).or_default();
        while let Some(change) = member.core.news.pop_front() {
            match change {
                Change::PutMembership(membership) => {
                    let position = membership.progress.position;
                    let applied = membership.progress.applied.map(|a| a.position);
                    let applied = applied.unwrap_or_default();
                    if position < this.position || applied < this.applied || applied > position {
                        let (was, id) = (this.position, &member.id);
                        return Err(format!("I1: box {id} went from {was} to {position}"));
                    }
                    (this.position, this.applied) = (position, applied);
                    this.log = membership.events;
                }
                Change::DeleteMembership => {
                    (this.position, this.applied) = (Position::default(), Position::default());
                    this.log.clear();
                    this.before.extend(member.core.committed.tasks.keys().cloned());
                }
                Change::PutTask(task) => {
                    let generation = this.generations.entry(task.id.clone()).or_default();
                    if task.generation.0 < *generation {
                        return Err(format!("I1: the generation of task {} went back", task.id));
                    }
                    *generation = task.generation.0;
                    if task.last_status == TaskStatus::Stopped {
                        this.ended.insert(task.id);
                    } else if this.ended.contains(&task.id) {
                        return Err(format!("the stopped task {} came back", task.id));
                    }
                }
                Change::DeleteTask(id) => drop(this.forgotten.insert(id)),
                Change::PutEvent(event) if !this.log.is_empty() => {
                    let next = this.next.entry(this.log.clone()).or_insert(event.offset);
                    if event.offset != *next {
                        return Err(format!("I4: event {} comes after {}", event.offset, *next));
                    }
                    *next += 1;
                }
                Change::DeleteEvent(offset) if !this.log.is_empty() => {
                    let end = this.next.get(&this.log).copied().unwrap_or(0);
                    let device = hub.core.committed.devices.get(&member.id);
                    let taken = device.and_then(|device| device.events.as_ref());
                    let has = taken.is_some_and(|t| t.log == this.log && t.next > offset);
                    if has || self.restored {
                        continue;
                    }
                    if offset + KEPT >= end {
                        return Err(format!("I4: event {offset} is gone and the hub has it not"));
                    }
                    self.dropped += 1;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What the hub committed.
    pub(crate) fn of_hub(&mut self, hub: &mut Hub) -> Result<(), String> {
        while let Some(change) = hub.core.news.pop_front() {
            match change {
                Change::PutDevice(device) => {
                    let position = self.documents.entry(device.id.clone()).or_default();
                    if device.position < *position && !self.restored {
                        let new = device.position;
                        return Err(format!("I1: {} is sent {new} after {position}", device.id));
                    }
                    *position = device.position;
                    if let Some(taken) = &device.events
                        && taken.missed > self.dropped
                        && !self.restored
                    {
                        let (missed, dropped) = (taken.missed, self.dropped);
                        return Err(format!("I4: {missed} events missed, {dropped} were dropped"));
                    }
                }
                Change::PutTask(task) => {
                    if task.last_status == TaskStatus::Stopped {
                        self.ended.insert(task.id);
                    } else if self.ended.contains(&task.id) {
                        return Err(format!("task {} came back at the hub", task.id));
                    }
                }
                Change::DeleteTask(id) => drop(self.forgotten.insert(id)),
                _ => {}
            }
        }
        Ok(())
    }

    /// The hub was restored from a backup.
    pub(crate) fn restored(&mut self) {
        self.restored = true;
        self.ended.clear();
        self.forgotten.clear();
    }

    /// What a box that is of the fleet and its hub do not agree on.
    pub(crate) fn differences(&self, member: &Member, hub: &Hub, said: &mut Vec<String>) {
        let id = &member.id;
        let Some(device) = hub.core.committed.devices.get(id) else { return };
        if device.revoked_at.is_some() {
            return;
        }
        let Some(membership) = &member.core.committed.membership else { return };
        let progress = &membership.progress;
        if progress.position != device.position || progress.hash != device.hash {
            said.push(format!("I2: {id} is at {}, not {}", progress.position, device.position));
        }
        if device.reported != *progress {
            said.push(format!("I2: {id} has not reported {progress:?}"));
        }
        let applied = progress.applied.as_ref().map(|applied| applied.position);
        match progress.phase {
            Phase::Applied if applied == Some(device.position) => {}
            Phase::Failed if progress.reason.is_some() => {}
            phase => said.push(format!("I2: {id} is {phase:?} of {applied:?}")),
        }
        if !device.connected {
            said.push(format!("I2: {id} counts as away"));
        }
        let (here, there) = (&member.core.committed.tasks, &hub.core.committed.tasks);
        let of_box = &self.boxes[&member.at];
        for (task, here) in here.iter().filter(|(_, task)| task.container_instance == *id) {
            match there.get(task) {
                Some(there) if same(here, there) => {}
                Some(there) => said.push(format!("I2: {} and {}", short(here), short(there))),
                None if here.last_status == TaskStatus::Stopped && self.may_lack(of_box, task) => {}
                None => said.push(format!("I2: the hub does not know {}", short(here))),
            }
        }
        for (task, there) in there.iter().filter(|(_, task)| task.container_instance == *id) {
            let stopped = there.last_status == TaskStatus::Stopped;
            if !here.contains_key(task) && !(stopped || of_box.forgotten.contains(task)) {
                said.push(format!("I2: {id} does not know {}", short(there)));
            }
        }
    }

    /// Whether the hub need not know of a task that has stopped.
    fn may_lack(&self, of_box: &OfBox, task: &TaskId) -> bool {
        self.restored || self.forgotten.contains(task) || of_box.before.contains(task)
    }
}

fn same(here: &Task, there: &Task) -> bool {
    // What counts as over at the hub, since its box was deregistered, may have ended otherwise.
    let stopped = |task: &Task| task.last_status == TaskStatus::Stopped;
    (stopped(here) && stopped(there))
        || (here.last_status == there.last_status
            && here.desired_status == there.desired_status
            && here.version == there.version
            && here.generation == there.generation
            && here.containers == there.containers)
}

fn short(task: &Task) -> String {
    format!(
        "{} of {} {:?} version {}",
        task.id, task.task_definition, task.last_status, task.version
    )
}

/// Services that are not what they are to be, though there is room.
pub(crate) fn unfinished(hub: &Hub, said: &mut Vec<String>) {
    let world = &hub.core.committed;
    let takes = world.container_instances.values().filter(|i| i.is_registered() && !i.draining);
    let takes = takes.count();
    for service in world.services.values() {
        let tasks = world.assignments_of(&service.key).flat_map(|a| world.live(&a.id));
        let running = tasks.filter(|task| task.last_status == TaskStatus::Running).count();
        let wanted = wanted(service, takes);
        // With nowhere to go, tasks stay where they are.
        let moves = service.status == ServiceStatus::Active && takes > 0;
        let ends = service.status != ServiceStatus::Active;
        if ((moves || ends) && running != wanted) || (moves && service.deployments.len() != 1) {
            let (name, deployments) = (&service.key.name, service.deployments.len());
            said.push(format!("{name} has {running} of {wanted}, {deployments} deployments"));
        }
    }
}

fn wanted(service: &Service, takes: usize) -> usize {
    match (service.status, service.scheduling_strategy) {
        (ServiceStatus::Active, SchedulingStrategy::Daemon) => takes,
        (ServiceStatus::Active, _) if takes > 0 => usize::try_from(service.desired_count).unwrap(),
        _ => 0,
    }
}
