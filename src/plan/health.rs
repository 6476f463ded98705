//! Whether a task does its work: what roll-outs count, and what the box gives up last.

use super::instance::health::check;
use super::world::World;
use crate::model::{DesiredStatus, HealthStatus, Task, TaskDefinition, TaskStatus, Timestamp};

/// Whether a task serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Serves {
    /// It is RUNNING, and HEALTHY or, without a health check, has been RUNNING for a while.
    Yes,
    /// It is RUNNING, and nothing is known against it: it will serve, from then on where time alone decides.
    NotYet(Option<Timestamp>),
    /// Not now.
    No,
}

/// Whether `task` serves at `now`. Without a health check a task serves once it ran for `settings.steady_after`: one that
/// ends a moment after its start never did.
pub(crate) fn serves(world: &World, task: &Task, now: Timestamp) -> Serves {
    if task.desired_status != DesiredStatus::Running || task.last_status != TaskStatus::Running {
        return Serves::No;
    }
    match task.health_status {
        HealthStatus::Healthy => return Serves::Yes,
        HealthStatus::Unhealthy => return Serves::No,
        HealthStatus::Unknown => {}
    }
    if world.task_definitions.get(&task.task_definition).is_some_and(is_checked) {
        return Serves::NotYet(None);
    }
    let Some(started) = task.runs_since() else { return Serves::No };
    let steady_after = world.settings.steady_after;
    let from = started.plus(steady_after);
    // A start in the future is of a clock that has been set back since; one in the near future, of one that drifts.
    let set_back = started.since(now) > steady_after;
    if from <= now || set_back { Serves::Yes } else { Serves::NotYet(Some(from)) }
}

/// Whether the health of tasks of the definition is ever known.
fn is_checked(definition: &TaskDefinition) -> bool {
    definition.containers().iter().any(|c| c.is_essential() && check(c).is_some())
}
