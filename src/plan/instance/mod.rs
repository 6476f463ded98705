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
//! * `retention`: what is forgotten, and when.
//!
//! It does not place tasks (that is [`super::command`]) and does not know how a container is run.

mod dependencies;
pub(crate) mod health;
mod life_cycle;
mod restart;
mod retention;
mod start;
mod stop;

use super::action::ContainerRun;
use super::{ActionKey, Ids, Plan, Reason, World};
use crate::model::{Container, Task, Timestamp};
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
}

impl Round<'_> {
    fn in_flight(&self, key: &ActionKey) -> bool {
        self.world.observed.in_flight.contains(key)
    }
}

/// What to do next for the tasks of `world.settings.this_instance`.
#[must_use]
pub fn plan(world: &World, now: Timestamp, ids: &mut Ids) -> Plan {
    let mut round =
        Round { world, now, ids, plan: Plan::default(), pulls: BTreeSet::new(), waits: Vec::new() };
    if let Some(this) = &world.settings.this_instance {
        for assignment in world.assignments.values() {
            if &assignment.container_instance != this {
                continue;
            }
            // `check` reports an assignment without its definition; nothing can be done for it here.
            if let Some(definition) = world.task_definitions.get(&assignment.task_definition) {
                life_cycle::advance(&mut round, assignment, definition);
            }
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

/// The run that a container is in, when it is in one.
fn run_of(task: &Task, container: &Container) -> Option<ContainerRun> {
    Some(ContainerRun {
        task: task.id.clone(),
        generation: task.generation,
        container: container.name.clone(),
        runtime_id: container.runtime_id.clone()?,
    })
}
