//! The instance planner: from assignments to tasks to containers, on one box.
//!
//! ```text
//! assignment ──► task PENDING ── images, dependsOn, Start ──► RUNNING ── StopTask, essential exit, failure ──┐
//!                                                                                                            ▼
//!                                STOPPED ◄── Released ── DEPROVISIONING ◄── all ended ── STOPPING: Stop, Kill in order
//! ```
//!
//! One pass over the assignments; stopped tasks have none and cost nothing. A task goes as far as it can in one round,
//! so that with the image at hand the first plan after RunTask holds its Start. Until the scan is done
//! (`observed.scanned`) tasks are recorded but nothing is started or stopped: who knows what runs.
//!
//! * `life_cycle`: what becomes of a task;
//! * `start`, `stop`: its containers; `dependencies`: their order; `health`: their checks; `restart`: their
//!   return;
//! * `service`: tasks of services, their replacement and choice; `handover`: from one deployment to the next;
//! * [`images`]: which images the box cannot do without;
//! * `retention`: what is forgotten, and when.
//!
//! It does not place tasks (that is [`super::command`]) and does not know how a container is run.

pub(crate) mod consistency;
pub(crate) mod dependencies;
mod handover;
pub(crate) mod health;
pub mod images;
pub(crate) mod life_cycle;
mod restart;
mod retention;
pub(crate) mod service;
mod start;
mod stop;

use super::action::ContainerRun;
use super::placement::{Needs, Room};
use super::{ActionKey, Change, Ids, Plan, Reason, World};
use crate::model::{
    Assignment, AssignmentId, Container, Task, TaskDefinition, TaskId, TaskStatus, Timestamp,
    Wanted,
};
use std::collections::BTreeSet;

/// One round of planning.
struct Round<'a> {
    world: &'a World,
    now: Timestamp,
    ids: &'a mut Ids,
    plan: Plan,
    /// Images asked for in this round.
    pulls: BTreeSet<ActionKey>,
    /// What the containers of the task at hand wait for.
    waits: Vec<Reason>,
    /// Begun in this round.
    begun: Vec<Needs>,
}

impl<'a> Round<'a> {
    fn new(world: &'a World, now: Timestamp, ids: &'a mut Ids) -> Self {
        Self {
            world,
            now,
            ids,
            plan: Plan::default(),
            pulls: BTreeSet::new(),
            waits: Vec::new(),
            begun: Vec::new(),
        }
    }
}

impl Round<'_> {
    fn in_flight(&self, key: &ActionKey) -> bool {
        self.world.observed.in_flight.contains(key)
    }

    /// As [`lacks_room`], counting what begins in this round. When nothing is lacking, the task has it from now on.
    fn lacks_room(&mut self, task: &Task, definition: &TaskDefinition) -> Option<String> {
        let lack = lacks_room(self.world, task, definition, &self.begun);
        if lack.is_none()
            && let Some(assignment) = self.world.assignments.get(&task.assignment())
        {
            self.begun.push(Needs::of_assignment(definition, assignment));
        }
        lack
    }
}

/// What its box lacks for a task of a service that has not begun: what others still hold, those in `begun` too.
pub(crate) fn lacks_room(
    world: &World,
    task: &Task,
    definition: &TaskDefinition,
    begun: &[Needs],
) -> Option<String> {
    let assignment = world.assignments.get(&task.assignment())?;
    let instance = world.container_instances.get(&task.container_instance)?;
    let needs = Needs::of_assignment(definition, assignment);
    let mut room = Room::empty(instance);
    for other in world.assignments_on(&instance.id) {
        let Some(definition) = world.task_definitions.get(&other.task_definition) else { continue };
        let tasks = match &other.wanted {
            // It was given its room when it was placed, and waits for nobody, begun or not.
            Wanted::Task(_) => 1,
            Wanted::Service(_) => {
                let holds = |other: &&Task| other.id != task.id && has_begun(other);
                world.live(&other.id).filter(holds).count()
            }
        };
        let tasks = u32::try_from(tasks).unwrap_or(u32::MAX);
        room.take(&Needs::of_assignment(definition, other), tasks);
    }
    for needs in begun {
        room.take(needs, 1);
    }
    let missing = room.lacks(&needs)?;
    Some(format!("{}: {missing}", missing.reason()))
}

/// Whether a task has something of its box.
pub(crate) fn has_begun(task: &Task) -> bool {
    task.last_status > TaskStatus::Pending
        || task.containers.iter().any(|c| c.runtime_id.is_some() || c.restart_count > 0)
}

/// What to do next for the tasks of `world.settings.this_instance`.
#[must_use]
pub fn plan(world: &World, now: Timestamp, ids: &mut Ids) -> Plan {
    let mut round = Round::new(world, now, ids);
    if let Some(this) = &world.settings.this_instance {
        for assignment in world.assignments_on(this) {
            carry_out(&mut round, assignment);
        }
        if world.observed.scanned {
            retention::stopped_tasks(&mut round);
            retention::orphans(&mut round);
        }
    }
    retention::task_definitions(&mut round);
    retention::client_tokens(&mut round);
    round.plan
}

/// What to do next for the tasks of one assignment, whichever box it is on.
#[must_use]
pub(crate) fn plan_assignment(
    world: &World,
    id: &AssignmentId,
    now: Timestamp,
    ids: &mut Ids,
) -> Plan {
    let mut round = Round::new(world, now, ids);
    if let Some(assignment) = world.assignments.get(id) {
        carry_out(&mut round, assignment);
    }
    round.plan
}

/// What to forget, of whichever box.
#[must_use]
pub(crate) fn tidy(world: &World, now: Timestamp, ids: &mut Ids) -> Plan {
    let mut round = Round::new(world, now, ids);
    retention::stopped_tasks(&mut round);
    retention::task_definitions(&mut round);
    retention::client_tokens(&mut round);
    round.plan
}

fn carry_out(round: &mut Round, assignment: &Assignment) {
    // `check` reports an assignment without its definition; nothing can be done for it here.
    let Some(definition) = round.world.task_definitions.get(&assignment.task_definition) else {
        return;
    };
    match &assignment.wanted {
        Wanted::Task(wanted) => {
            let Ok(id) = TaskId::new(assignment.id.as_str()) else { return };
            let stop = wanted.stop.as_ref();
            life_cycle::advance_standalone(round, assignment, &id, stop, definition);
        }
        Wanted::Service(wanted) => {
            service::advance(round, assignment, wanted, definition);
            if is_left_behind(round.world, assignment) {
                round.plan.changes.push(Change::DeleteAssignment(assignment.id.clone()));
            }
        }
    }
}

/// True for what is left of a service of the fleet that this box has left, once its tasks are gone: no planner knows it.
fn is_left_behind(world: &World, assignment: &Assignment) -> bool {
    let known = assignment.service_key().is_some_and(|key| world.services.contains_key(&key));
    !known
        && world.membership.is_none()
        && assignment.count() == 0
        && world.live(&assignment.id).next().is_none()
}

/// The run that a container is in, when it is in one.
fn run_of(task: &Task, container: &Container) -> Option<ContainerRun> {
    Some(ContainerRun {
        task: task.id.clone(),
        generation: task.generation,
        container: container.name.clone(),
        runtime_id: container.runtime_id.clone()?,
    })
}
