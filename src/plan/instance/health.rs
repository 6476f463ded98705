//! Health checks of containers: when to ask, and what the answers mean.
//!
//! ```text
//! UNKNOWN ──passed──► HEALTHY ──failed `retries` times in a row──► UNHEALTHY ──passed──► HEALTHY
//!    └──────────────failed `retries` times in a row, after `startPeriod`─────────▲
//! ```
//!
//! The first check comes one `interval` after the start, each next one an `interval` after the last one ended.

use super::Round;
use crate::model::task_definition::ContainerDefinition;
use crate::model::{
    Container, ContainerName, ContainerStatus, HealthStatus, Task, TaskDefinition, Timestamp,
};
use crate::plan::world::Health;
use crate::plan::{Action, ActionKey};
use std::time::Duration;

/// A health check with its defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    command: Vec<String>,
    interval: Duration,
    timeout: Duration,
    retries: u32,
    start_period: Duration,
}

/// The health check of a container, if it has one.
pub(crate) fn check(definition: &ContainerDefinition) -> Option<Check> {
    let check = definition.health_check.as_ref()?;
    let (kind, rest) = check.command.as_deref()?.split_first()?;
    let command = match kind.as_str() {
        "NONE" => return None,
        "CMD" => rest.to_vec(),
        "CMD-SHELL" => vec!["/bin/sh".to_owned(), "-c".to_owned(), rest.join(" ")],
        // ECS takes a command without a kind as one for the shell.
        _ => vec!["/bin/sh".to_owned(), "-c".to_owned(), check.command.as_ref()?.join(" ")],
    };
    if command.is_empty() {
        return None;
    }
    let seconds = |value: Option<i64>, default: u64| {
        Duration::from_secs(value.and_then(|v| u64::try_from(v).ok()).unwrap_or(default))
    };
    Some(Check {
        command,
        interval: seconds(check.interval, 30).max(Duration::from_secs(1)),
        timeout: seconds(check.timeout, 5).max(Duration::from_secs(1)),
        retries: check.retries.and_then(|r| u32::try_from(r).ok()).unwrap_or(3).max(1),
        start_period: seconds(check.start_period, 0),
    })
}

/// What a check that ended at `at` makes of a container. Told the same once more, it counts once.
pub(crate) fn judge(
    check: &Check,
    container: &Container,
    before: Health,
    passed: bool,
    at: Timestamp,
) -> (Health, HealthStatus) {
    let since = container.runs_since().unwrap_or(at);
    // A start further in the future than the period is long is of a clock that has been set back since.
    let is_young = at.since(since) < check.start_period && since.since(at) <= check.start_period;
    let starting = container.health_status == HealthStatus::Unknown && is_young;
    let failures = if passed || starting {
        0
    } else if before.last_at == Some(at) {
        before.failures
    } else {
        before.failures.saturating_add(1)
    };
    let status = if passed {
        HealthStatus::Healthy
    } else if failures >= check.retries {
        HealthStatus::Unhealthy
    } else {
        container.health_status
    };
    (Health { last_at: Some(at), failures }, status)
}

/// Asks where it is time to ask.
pub(super) fn probe(round: &mut Round, task: &Task, definition: &TaskDefinition) {
    // Who makes up the runs makes up their checks.
    if round.world.settings.simulated {
        return;
    }
    for container in &task.containers {
        if container.last_status != ContainerStatus::Running {
            continue;
        }
        let Some(check) = definition.container(container.name.as_str()).and_then(check) else {
            continue;
        };
        let Some(run) = super::run_of(task, container) else { continue };
        if round.in_flight(&ActionKey::Probe(task.id.clone(), container.name.clone())) {
            continue;
        }
        let health = round.world.observed.health.get(&run.runtime_id);
        let last = health.and_then(|health| health.last_at).or(container.runs_since());
        // A last time in the future is of a clock that has been set back since.
        let due = last
            .filter(|last| *last <= round.now)
            .map_or(round.now, |last| last.plus(check.interval));
        if due <= round.now {
            let Check { command, timeout, .. } = check;
            round.plan.actions.push(Action::Probe { run, command, timeout });
        } else {
            round.plan.wake(due);
        }
    }
}

/// The health of a task: that of its essential containers that have a health check.
pub(super) fn of_task(task: &Task, definition: &TaskDefinition) -> HealthStatus {
    let checked = |name: &ContainerName| {
        definition
            .container(name.as_str())
            .is_some_and(|container| container.is_essential() && check(container).is_some())
    };
    let mut found = task.containers.iter().filter(|c| checked(&c.name)).map(|c| c.health_status);
    let mut verdict = None;
    found
        .try_for_each(|status| match (status, verdict) {
            (HealthStatus::Unhealthy, _) => {
                verdict = Some(HealthStatus::Unhealthy);
                Err(())
            }
            (HealthStatus::Unknown, _) | (HealthStatus::Healthy, None) => {
                verdict = Some(status);
                Ok(())
            }
            (HealthStatus::Healthy, Some(_)) => Ok(()),
        })
        .ok();
    verdict.unwrap_or(HealthStatus::Unknown)
}
