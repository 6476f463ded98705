//! Tasks and their containers.

use super::{Finding, ago, box_name, instance, lasting, span};
use crate::model::task_definition::ContainerDefinition;
use crate::model::{
    Container, ContainerStatus, DesiredStatus, HealthStatus, Task, TaskDefinition, TaskStatus,
    Timestamp,
};
use crate::plan::World;
use crate::plan::instance::dependencies::{self, Order};
use crate::plan::instance::{self as planner, health};
use std::fmt::Write;

/// The task, where it comes from, and what there is to say of it.
pub(super) fn explain(world: &World, now: Timestamp, task: &Task) -> Finding {
    let mut reasons = vec![origin(world, task)];
    if world.devices.contains_key(&task.container_instance) {
        let on = box_name(world, &task.container_instance);
        let device = instance::of_device(world, now, &task.container_instance);
        reasons.push(Finding::because(format!("it is on {on}"), device));
    }
    reasons.extend(reasons_of(world, now, task));
    Finding::because(headline(now, task), reasons)
}

/// As a part of a service.
pub(super) fn of_service(world: &World, now: Timestamp, task: &Task) -> Finding {
    Finding::because(headline(now, task), reasons_of(world, now, task))
}

fn headline(now: Timestamp, task: &Task) -> String {
    let id = &task.id;
    let definition = &task.task_definition;
    let status = task.last_status.as_str();
    match (task.last_status, task.desired_status) {
        (TaskStatus::Stopped, _) => {
            format!("task {id} of {definition} is STOPPED{}", lasting(now, task.stopped_at))
        }
        (_, DesiredStatus::Stopped) => {
            let asked = ago(now, task.stopping_at);
            format!(
                "task {id} of {definition} is {status} and is to stop, since it was told to{asked}"
            )
        }
        (TaskStatus::Running, DesiredStatus::Running) => {
            let health = match task.health_status {
                HealthStatus::Unknown => String::new(),
                health => format!(", {}", health.as_str()),
            };
            format!("task {id} of {definition} runs{}{health}", lasting(now, task.started_at))
        }
        (_, DesiredStatus::Running) => {
            format!("task {id} of {definition} is {status} and is to run")
        }
    }
}

fn origin(world: &World, task: &Task) -> Finding {
    let cluster = &task.cluster;
    if let Some(service) = &task.service {
        let mut text = format!(
            "it is of service {cluster}/{} (deployment ecs-svc/{})",
            service.name, service.deployment
        );
        if !world.assignments.contains_key(&service.assignment) {
            text.push_str(", which wants no tasks on its box any more");
        }
        return Finding::new(text);
    }
    let by = task.started_by.as_ref().map(|by| format!(" by {by:?}")).unwrap_or_default();
    let group = task.group.as_deref().unwrap_or_default();
    Finding::new(format!("it was started on its own{by} in the cluster {cluster} (group {group})"))
}

fn reasons_of(world: &World, now: Timestamp, task: &Task) -> Vec<Finding> {
    let mut reasons = Vec::new();
    if task.desired_status == DesiredStatus::Stopped || task.last_status == TaskStatus::Stopped {
        let code = task.stop_code.map(|code| format!("{}: ", code.as_str())).unwrap_or_default();
        let why = task.stopped_reason.as_deref().unwrap_or("nobody said why");
        reasons.push(Finding::new(format!("{code}{why}")));
    }
    if let Some(until) = task.protection(now) {
        let text = format!("it is protected from scale-in for {}", span(until.since(now)));
        reasons.push(Finding::new(text));
    }
    let Some(definition) = world.task_definitions.get(&task.task_definition) else {
        reasons.push(Finding::new("its task definition is not there any more"));
        return reasons;
    };
    let waits = waits(world, now, task, definition);
    if waits.is_empty() {
        let containers = task.containers.iter();
        reasons.extend(containers.map(|c| container(world, now, task, definition, c)));
    } else {
        reasons.extend(waits);
    }
    reasons
}

/// What keeps a task of a service from its beginning.
fn waits(world: &World, now: Timestamp, task: &Task, definition: &TaskDefinition) -> Vec<Finding> {
    let mut waits = Vec::new();
    let Some(service) = &task.service else { return waits };
    if planner::has_begun(task) || task.desired_status == DesiredStatus::Stopped {
        return waits;
    }
    if let Some(until) = service.not_before.filter(|until| *until > now) {
        waits.push(Finding::new(format!(
            "it begins in {}: {} before it ended early, one after the other",
            span(until.since(now)),
            super::tasks(service.failures_before)
        )));
    }
    if let Some(why) = planner::lacks_room(world, task, definition, &[]) {
        waits.push(Finding::new(format!("it waits for what other tasks of its box hold: {why}")));
    }
    waits
}

fn container(
    world: &World,
    now: Timestamp,
    task: &Task,
    definition: &TaskDefinition,
    container: &Container,
) -> Finding {
    let name = &container.name;
    let essential =
        definition.container(name.as_str()).is_none_or(ContainerDefinition::is_essential);
    let kind = if essential { "" } else { ", which is not essential," };
    match container.last_status {
        ContainerStatus::Running => {
            let mut text = format!("container {name} runs{}", lasting(now, container.started_at));
            if container.health_status != HealthStatus::Unknown {
                let _ = write!(text, ", {}", container.health_status.as_str());
            } else if definition.container(name.as_str()).and_then(health::check).is_some() {
                text.push_str(", its health check has not decided yet");
            }
            if container.restart_count > 0 {
                let _ = write!(text, ", after {} restarts", container.restart_count);
            }
            if let Some(at) = container.stop_requested_at {
                let _ = write!(text, "; it was asked to stop {} ago", span(now.since(at)));
            }
            Finding::new(text)
        }
        ContainerStatus::Stopped => {
            let how = match (container.exit_code, container.started_at) {
                (Some(code), _) => format!("exited with code {code}"),
                (None, Some(_)) => "ended, nobody saw how".to_owned(),
                (None, None) => "was not started".to_owned(),
            };
            // What ended the task was told with it.
            let told = task.stopped_reason.as_deref().unwrap_or_default();
            let reason = container.reason.as_ref().filter(|reason| !told.contains(reason.as_str()));
            let reason = reason.map(|reason| Finding::new(reason.clone()));
            let text = format!("container {name}{kind} {how}{}", ago(now, container.finished_at));
            Finding::because(text, reason.into_iter().collect())
        }
        ContainerStatus::Pending => {
            let why = pending(world, now, task, definition, container);
            Finding::because(format!("container {name}{kind} is not started yet"), why)
        }
    }
}

/// Why a container has not been started.
fn pending(
    world: &World,
    now: Timestamp,
    task: &Task,
    definition: &TaskDefinition,
    container: &Container,
) -> Vec<Finding> {
    let mut why = Vec::new();
    if let Some(until) = container.restart_at.filter(|until| *until > now) {
        let reason = container.reason.as_deref().unwrap_or("it ended early");
        let wait = span(until.since(now));
        why.push(Finding::new(format!("it is started again in {wait}: {reason}")));
        return why;
    }
    if container.restart_count == 0 {
        match dependencies::order(task, definition, container, now) {
            Order::Waits { on, condition, .. } => {
                let state = task.container(&on).map(|on| {
                    let health = match on.health_status {
                        HealthStatus::Unknown => String::new(),
                        health => format!(", {}", health.as_str()),
                    };
                    format!(": it is {}{health}", on.last_status.as_str())
                });
                let state = state.unwrap_or_default();
                why.push(Finding::new(format!("it waits for {on} ({condition}){state}")));
                return why;
            }
            Order::Failed(reason) => {
                why.push(Finding::new(reason));
                return why;
            }
            Order::Ready => {}
        }
    }
    if container.image_digest.is_none() {
        let asked = ago(now, task.pull_started_at);
        let image = &container.image;
        let text = match world.observed.pulling.get(&container.wanted_image()) {
            Some(far) => format!("its image {image} is being pulled{asked}: {far}"),
            None => format!("its image {image} is not there yet: it was asked for{asked}"),
        };
        why.push(Finding::new(text));
    } else if container.runtime_id.is_some() {
        why.push(Finding::new("it is being started"));
    }
    why
}
