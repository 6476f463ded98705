//! The words of service events, as ECS words them where it has the same to say.

use crate::model::{ContainerInstanceId, DeploymentId, ServiceKey, Task, TaskId};
use crate::plan::why::span;
use std::time::Duration;

/// How many tasks one event names.
const NAMED_AT_MOST: usize = 10;

/// Tasks came.
pub(super) fn started(service: &ServiceKey, tasks: &[&TaskId]) -> String {
    format!("(service {}) has started {} tasks: {}.", service.name, tasks.len(), named(tasks))
}

/// Tasks went.
pub(super) fn stopped(service: &ServiceKey, tasks: &[&TaskId]) -> String {
    format!(
        "(service {}) has stopped {} running tasks: {}.",
        service.name,
        tasks.len(),
        named(tasks)
    )
}

fn named(tasks: &[&TaskId]) -> String {
    let named: Vec<_> = tasks.iter().take(NAMED_AT_MOST).map(|id| format!("(task {id})")).collect();
    match tasks.len().saturating_sub(NAMED_AT_MOST) {
        0 => named.join(" "),
        more => format!("{} and {more} more", named.join(" ")),
    }
}

/// A task ended by itself.
pub(super) fn ended(service: &ServiceKey, task: &Task) -> String {
    let why = task.stopped_reason.as_deref().unwrap_or("it ended");
    let how = task.containers.iter().find_map(|container| {
        let code = container.exit_code?;
        let reason = container.reason.as_ref().map(|r| format!(", {r}")).unwrap_or_default();
        Some(format!(" (container {} exited with {code}{reason})", container.name))
    });
    let how = how.unwrap_or_default();
    format!("(service {}) (task {}) has stopped: {why}{how}.", service.name, task.id)
}

/// All is as it should be.
pub(super) fn steady(service: &ServiceKey) -> String {
    format!("(service {}) has reached a steady state.", service.name)
}

/// A roll-out is whole.
pub(super) fn completed(service: &ServiceKey, deployment: &DeploymentId) -> String {
    format!("(service {}) (deployment ecs-svc/{deployment}) deployment completed.", service.name)
}

/// A roll-out was given up.
pub(super) fn failed(service: &ServiceKey, deployment: &DeploymentId) -> String {
    format!(
        "(service {}) (deployment ecs-svc/{deployment}) deployment failed: tasks failed to start.",
        service.name
    )
}

/// The way back.
pub(super) fn rolls_back(service: &ServiceKey, to: &DeploymentId) -> String {
    format!("(service {}) rolling back to deployment ecs-svc/{to}.", service.name)
}

/// No box has room; `closest` says what is nearest and what it lacks.
pub(super) fn unplaced(service: &ServiceKey, closest: Option<&str>) -> String {
    let mut text = format!(
        "(service {}) was unable to place a task because no container instance met all of its requirements.",
        service.name
    );
    match closest {
        None => text.push_str(" Reason: No Container Instances were found in your cluster."),
        Some(closest) => {
            text.push(' ');
            text.push_str(closest);
        }
    }
    text.push_str(" For more information, see the Troubleshooting section.");
    text
}

/// A box is not connected, and its tasks no longer count.
pub(super) fn gone(
    service: &ServiceKey,
    instance: &ContainerInstanceId,
    away: Duration,
    tasks: u32,
) -> String {
    format!(
        "(service {}) (container-instance {instance}) has not been connected for {}; its {tasks} tasks are \
         replaced elsewhere.",
        service.name,
        span(away)
    )
}

/// The percentages allow neither a start nor a stop.
pub(super) fn stuck(service: &ServiceKey) -> String {
    format!(
        "(service {}) was unable to stop or start tasks during a deployment because of the service deployment \
         configuration. Update the minimumHealthyPercent or maximumPercent value and try again.",
        service.name
    )
}
