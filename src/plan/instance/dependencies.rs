//! `dependsOn`: whether a container may be started, and whether one may be stopped.
//!
//! | condition | met when the container depended on | failed when it |
//! | --- | --- | --- |
//! | START | runs, or has ended | never |
//! | COMPLETE | has ended | ended without having started |
//! | SUCCESS | has ended with code 0 | ended in another way |
//! | HEALTHY | runs and its check passes | ended |
//!
//! `volumesFrom` is as START: what is inherited must have been made.
//!
//! The last three also fail when the container depended on has a `startTimeout` and has run for longer than that.
//! A link is a START as well. Stopping goes the other way round: a container is stopped once everything that depends on
//! it has ended, but for who has its volumes.

use crate::model::task_definition::ContainerDefinition;
use crate::model::{
    Container, ContainerName, ContainerStatus, HealthStatus, Task, TaskDefinition, Timestamp,
};
use crate::plan::connection;
use std::time::Duration;

/// Whether a container may be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// Everything it depends on is met.
    Ready,
    /// Not yet.
    Waits {
        /// For this container.
        on: ContainerName,
        /// To become so.
        condition: String,
        /// At the latest, if there is a `startTimeout`.
        until: Option<Timestamp>,
    },
    /// It never can be.
    Failed(String),
}

/// Whether `container` may be started at `now`.
pub(crate) fn order(
    task: &Task,
    definition: &TaskDefinition,
    container: &Container,
    now: Timestamp,
) -> Order {
    let mut order = Order::Ready;
    let needs = definition.container(container.name.as_str()).into_iter().flat_map(needs);
    for (name, condition) in needs {
        let Some(on) = task.containers.iter().find(|c| c.name.as_str() == name) else {
            return Order::Failed(format!("depends on {name}, which the task does not have"));
        };
        let timeout = definition.container(name).and_then(start_timeout);
        match met(on, condition, timeout, now) {
            Met::Yes => {}
            // The soonest limit is the one to wake up for.
            Met::NotYet(until) => match &order {
                Order::Waits { until: Some(earlier), .. }
                    if until.is_none_or(|until| until >= *earlier) => {}
                _ => {
                    let condition = condition.to_owned();
                    order = Order::Waits { on: on.name.clone(), condition, until };
                }
            },
            Met::Never(why) => {
                return Order::Failed(format!("depends on {name} ({condition}), which {why}"));
            }
        }
    }
    order
}

/// What a container depends on, and how.
fn needs(definition: &ContainerDefinition) -> impl Iterator<Item = (&str, &str)> {
    let ordered = definition.depends_on.iter().flatten().map(|need| {
        let name = need.container_name.as_deref().unwrap_or_default();
        (name, need.condition.as_deref().unwrap_or_default())
    });
    let linked = definition.links.iter().flatten().map(|text| (connection::link(text).0, "START"));
    let sources = definition.volumes_from.iter().flatten();
    let sources = sources.filter_map(|from| Some((from.source_container.as_deref()?, "START")));
    ordered.chain(linked).chain(sources)
}

enum Met {
    Yes,
    NotYet(Option<Timestamp>),
    Never(String),
}

fn met(on: &Container, condition: &str, timeout: Option<Duration>, now: Timestamp) -> Met {
    let ended = on.last_status == ContainerStatus::Stopped;
    let runs = on.last_status == ContainerStatus::Running;
    let how = || match (on.exit_code, on.started_at) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(_)) => "ended without an exit code".to_owned(),
        (None, None) => "could not be started".to_owned(),
    };
    match condition {
        "START" if runs || ended => return Met::Yes,
        "START" => return Met::NotYet(None),
        "COMPLETE" if ended && on.started_at.is_some() => return Met::Yes,
        "SUCCESS" if ended && on.exit_code == Some(0) => return Met::Yes,
        "HEALTHY" if runs && on.health_status == HealthStatus::Healthy => return Met::Yes,
        "COMPLETE" | "SUCCESS" | "HEALTHY" if ended => return Met::Never(how()),
        "COMPLETE" | "SUCCESS" | "HEALTHY" => {}
        _ => return Met::Never("is a condition this version does not know".to_owned()),
    }
    let limit = timeout.zip(on.runs_since()).map(|(timeout, since)| (since.plus(timeout), timeout));
    match limit {
        Some((until, timeout)) if until <= now => {
            Met::Never(format!("did not get there within its startTimeout of {timeout:?}"))
        }
        Some((until, _)) => Met::NotYet(Some(until)),
        None => Met::NotYet(None),
    }
}

/// The `startTimeout` of a container, when it has one.
pub(super) fn start_timeout(definition: &ContainerDefinition) -> Option<Duration> {
    let seconds = definition.start_timeout.and_then(|s| u64::try_from(s).ok())?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// Whether everything that depends on `container` has ended.
pub(super) fn may_stop(task: &Task, definition: &TaskDefinition, container: &Container) -> bool {
    task.containers
        .iter()
        .filter(|other| other.last_status != ContainerStatus::Stopped)
        .filter_map(|other| definition.container(other.name.as_str()))
        .flat_map(needs)
        .all(|(name, _)| name != container.name.as_str())
}
