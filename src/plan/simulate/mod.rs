//! Boxes that are made up: the instance planner runs their tasks, and what a shell would see is made up here.
//!
//! ```text
//! assignment on the agenda ──► instance planner ──► Start, Stop, Kill, Release, Forget
//!            ▲                                              │ answered at once, or when the fault plan says
//!            └────────── Started, Exited, Probed, … ◄───────┘
//! ```
//!
//! So a made-up box behaves as a real one does, in its order of starts, its restarts, its back-off, its choice of tasks to
//! stop; only nothing takes time unless [`faults`](FaultPlan) or a docker label say so. Images are always there. A
//! container that is asked to stop ends with code 143, one that is killed with 137. A health check passes with the start.
//!
//! Only what changed is looked at: the assignments on [`World::agenda`], those whose time has come, and the events that
//! are due. What is to happen later (a run that ends by itself) is not stored: it follows from the records and the
//! fault plan, and [`resume`] finds it again.
//!
//! * `faults`: what befalls which container; `span`: its lengths of time;
//! * `shell`: answers for the box; `network`: its addresses and ports; `queue`: what is to happen when.
//!
//! Current limitations: a rule for the first so many starts counts from zero again after a restart, and does not concern
//! what ran before; the network between boxes is not made up, nor is a box that goes away.

mod faults;
mod network;
mod queue;
mod shell;
mod span;

pub use faults::{FaultPlan, Rule, RuleError};
pub use span::{Span, SpanError};

pub(crate) use faults::check_labels;
pub(crate) use network::digest;

use super::command::{CommandError, Outcome, Reply};
use super::{ActionKey, Change, Ids, Plan, World, instance};
use crate::model::{
    AssignmentId, ContainerInstanceId, ContainerName, DesiredStatus, RuntimeId, TaskId, Timestamp,
};
use faults::Fault;
use network::Networks;
use queue::{Key, Queue};
use std::collections::{BTreeMap, BTreeSet};

/// Plans of one assignment in one round; a task is there after four or five, so more is a fault of the planner.
const STEPS: usize = 64;

/// What is made up and not stored.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Simulation {
    faults: FaultPlan,
    /// How many starts each rule was given to.
    used: Vec<u32>,
    /// Runs that something befalls, and what is still to happen to them.
    runs: BTreeMap<RuntimeId, Fate>,
    /// Starts that take their time.
    starting: BTreeMap<(TaskId, ContainerName), Option<Key>>,
    queue: Queue,
    networks: Networks,
}

/// What befalls a run.
#[derive(Debug, Default, Clone, PartialEq)]
struct Fate {
    fault: Fault,
    /// Its events in the queue.
    events: Vec<Key>,
}

/// Makes `world` that of a simulation whose tasks meet these faults.
pub fn begin(world: &mut World, faults: FaultPlan) {
    world.observed.simulation = Simulation { faults, ..Simulation::default() };
    resume(world);
}

/// Finds again what is to happen later, from the records: after a start, and when a round was taken back.
pub fn resume(world: &mut World) {
    let Simulation { faults, used, .. } = std::mem::take(&mut world.observed.simulation);
    let mut simulation = Simulation { faults, used, ..Simulation::default() };
    let observed = &mut world.observed;
    observed.scanned = true;
    observed.in_flight.clear();
    observed.running.clear();
    observed.signals.clear();
    observed.health.clear();
    shell::find_again(world, &mut simulation);
    world.observed.simulation = simulation;
}

/// Replaces the fault plan; what runs already keeps what befalls it.
pub(super) fn set_faults(world: &mut World, faults: FaultPlan) -> Result<Outcome, CommandError> {
    if !world.settings.simulated {
        let message = "Only a simulation has faults: this is a box with tasks of its own.";
        return Err(CommandError::Client(message.to_owned()));
    }
    let simulation = &mut world.observed.simulation;
    simulation.used.clear();
    simulation.faults = faults;
    Ok(Outcome { changes: Vec::new(), reply: Reply::Done, reasons: Vec::new() })
}

/// Lets happen what is due at `now`, until there is nothing left to do. The changes are applied to `world` already.
#[must_use]
pub fn plan(world: &mut World, now: Timestamp, ids: &mut Ids) -> Plan {
    let simulation = std::mem::take(&mut world.observed.simulation);
    let mut round =
        Round { world, simulation, now, ids, plan: Plan::default(), roomier: BTreeSet::new() };
    round.events();
    round.assignments();
    round.tidy();
    let Round { simulation, mut plan, .. } = round;
    if let Some(at) = simulation.queue.next() {
        plan.wake(at);
    }
    plan.changes = last_of_each(plan.changes);
    world.observed.simulation = simulation;
    plan
}

impl Simulation {
    /// The run is over: nothing befalls it any more.
    fn forget(&mut self, run: &RuntimeId) {
        for key in self.runs.remove(run).into_iter().flat_map(|fate| fate.events) {
            self.queue.remove(key);
        }
    }
}

/// One round of a simulation.
struct Round<'a> {
    world: &'a mut World,
    simulation: Simulation,
    now: Timestamp,
    ids: &'a mut Ids,
    plan: Plan,
    /// Boxes on which a task gave back what it had.
    roomier: BTreeSet<ContainerInstanceId>,
}

impl Round<'_> {
    /// What was to happen by now, happens.
    fn events(&mut self) {
        while let Some((at, event)) = self.simulation.queue.pop(self.now) {
            self.happens(event, at);
        }
    }

    /// Looks at the assignments that changed or whose time has come, and at those that what they do concerns.
    fn assignments(&mut self) {
        let mut looked_at = 0;
        while let Some(id) = self.next_assignment() {
            self.bring_on(&id);
            looked_at += 1;
            // Each brings on others only by a stop, and stops end.
            debug_assert!(looked_at < 10_000_000, "the assignments of a simulation never settle");
        }
    }

    fn next_assignment(&mut self) -> Option<AssignmentId> {
        let due = self.simulation.queue.pop_assignment(self.now);
        due.or_else(|| self.world.agenda.assignments().first().cloned())
    }

    /// Brings an assignment as far as it comes.
    fn bring_on(&mut self, id: &AssignmentId) {
        if self.is_away(id) {
            // It hears of it when it is connected again: that touches all that is on it.
            self.world.agenda.settle_assignment(id);
            return;
        }
        let on = self.world.assignments.get(id).map(|a| a.container_instance.clone());
        for _ in 0..STEPS {
            self.cancel_starts(id);
            let plan = instance::plan_assignment(self.world, id, self.now, self.ids);
            self.simulation.queue.look_again(id, plan.wake_at);
            if plan.is_quiet() {
                break;
            }
            self.world.apply_plan(&plan);
            self.plan.changes.extend(plan.changes);
            self.plan.reasons.extend(plan.reasons);
            for action in plan.actions {
                self.answer(action);
            }
        }
        self.world.agenda.settle_assignment(id);
        // What was given room and never began gives it back without a word.
        self.roomier.extend(on.filter(|_| !self.world.assignments.contains_key(id)));
        while let Some(instance) = self.roomier.pop_first() {
            self.touch_waiting(&instance);
        }
    }

    /// Whether the assignment's box is one of a fleet that is not connected.
    fn is_away(&self, id: &AssignmentId) -> bool {
        let on = self.world.assignments.get(id).map(|a| &a.container_instance);
        let device = on.and_then(|on| self.world.devices.get(on));
        device.is_some_and(|device| !device.connected)
    }

    /// What waits for room on a box that has some now is looked at again.
    fn touch_waiting(&mut self, instance: &ContainerInstanceId) {
        let waits = |id: &AssignmentId| self.world.live(id).any(|task| !instance::has_begun(task));
        let waiting: Vec<AssignmentId> = self
            .world
            .assignments_on(instance)
            .map(|assignment| assignment.id.clone())
            .filter(waits)
            .collect();
        for id in &waiting {
            self.world.agenda.touch_assignment(id);
        }
    }

    /// A start that takes its time is given up when the task is to stop.
    fn cancel_starts(&mut self, id: &AssignmentId) {
        if self.simulation.starting.is_empty() {
            return;
        }
        for task in self.world.index.live.get(id).into_iter().flatten() {
            let Some(record) = self.world.tasks.get(task) else { continue };
            if record.desired_status != DesiredStatus::Stopped {
                continue;
            }
            for container in &record.containers {
                let key = (task.clone(), container.name.clone());
                let Some(event) = self.simulation.starting.remove(&key) else { continue };
                if let Some(event) = event {
                    self.simulation.queue.remove(event);
                }
                self.world.observed.in_flight.remove(&ActionKey::Start(key.0, key.1));
            }
        }
    }

    /// Forgets what was kept for long enough.
    fn tidy(&mut self) {
        loop {
            let plan = instance::tidy(self.world, self.now, self.ids);
            if plan.is_quiet() {
                if let Some(at) = plan.wake_at {
                    self.plan.wake(at);
                }
                return;
            }
            self.world.apply_plan(&plan);
            self.plan.changes.extend(plan.changes);
            self.plan.reasons.extend(plan.reasons);
            for action in plan.actions {
                self.answer(action);
            }
        }
    }
}

/// Of several changes of one task or assignment only the last is to be written.
fn last_of_each(changes: Vec<Change>) -> Vec<Change> {
    let mut seen = BTreeSet::new();
    let mut kept: Vec<Change> = Vec::with_capacity(changes.len());
    for change in changes.into_iter().rev() {
        let row = match &change {
            Change::PutTask(task) => Some((true, task.id.to_string())),
            Change::DeleteTask(id) => Some((true, id.to_string())),
            Change::PutAssignment(assignment) => Some((false, assignment.id.to_string())),
            Change::DeleteAssignment(id) => Some((false, id.to_string())),
            _ => None,
        };
        if row.is_none_or(|row| seen.insert(row)) {
            kept.push(change);
        }
    }
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests;
