//! Services, their deployments, and what of them is on which box.

use super::boxes::{self, Boxes};
use super::{Finding, ago, box_name, instance, number, span, task, tasks};
use crate::model::service::{RolloutState, SchedulingStrategy, ServiceStatus};
use crate::model::{
    Assignment, Deployment, DeploymentId, DesiredStatus, HealthStatus, Service, ServiceDeployment,
    Task, TaskStatus, Timestamp,
};
use crate::plan::World;
use crate::plan::health::{Serves, serves};
use std::fmt::Write;

/// So many tasks are told one by one; the others are counted.
const TOLD: usize = 10;

/// A service from its desired count down.
pub(super) fn explain(world: &World, now: Timestamp, service: &Service) -> Finding {
    let key = &service.key;
    let live = live_tasks(world, service);
    let running = number(live.iter().filter(|task| runs(task)).count());
    let mut reasons = Vec::new();
    match service.status {
        ServiceStatus::Inactive => {
            let at = ago(now, service.deleted_at);
            return Finding::new(format!("service {key} is INACTIVE: it was deleted{at}"));
        }
        ServiceStatus::Draining => {
            let text = format!(
                "service {key} is DRAINING: it was deleted, and {} still to stop",
                number(live.len())
            );
            return Finding::because(text, told(world, now, &live));
        }
        ServiceStatus::Active => {}
    }
    reasons.push(wanted(service));
    for (at, deployment) in service.deployments.iter().enumerate() {
        reasons.push(if at == 0 {
            primary(world, now, service, deployment)
        } else {
            outgoing(world, now, service, deployment)
        });
    }
    if let Some((at, complaint)) = &service.said.unplaced {
        let ago = span(now.since(*at));
        reasons.push(Finding::new(format!("its last complaint, {ago} ago: {complaint}")));
    }
    let desired = u64::from(service.desired_count);
    let text = match (desired, running) {
        (0, 0) => format!("service {key} wants no tasks and has none"),
        (desired, running) if desired == running && is_settled(service) => {
            format!("service {key} is as it is to be: {running} of {desired} run")
        }
        (desired, running) => {
            format!("service {key} is not as it is to be yet: {running} of {} run", tasks(desired))
        }
    };
    Finding::because(text, reasons)
}

/// Whether no roll-out is under way.
fn is_settled(service: &Service) -> bool {
    let state = service.primary().map(|primary| primary.rollout_state);
    service.deployments.len() == 1 && state == Some(RolloutState::Completed)
}

fn wanted(service: &Service) -> Finding {
    let desired = service.desired_count;
    Finding::new(match service.scheduling_strategy {
        SchedulingStrategy::Replica => format!("its desiredCount is {desired}"),
        SchedulingStrategy::Daemon => {
            format!(
                "it is a DAEMON: one task on each container instance that it may run on, which are {desired}"
            )
        }
    })
}

/// The deployment that the service is to be on.
fn primary(world: &World, now: Timestamp, service: &Service, deployment: &Deployment) -> Finding {
    let mut reasons = Vec::new();
    let assigned = assignments(world, service, &deployment.id);
    let count: u32 = assigned.iter().map(|assignment| assignment.count()).sum();
    let missing = service.desired_count.saturating_sub(count);
    if missing > 0 {
        reasons.push(unplaced(world, service, deployment, missing));
    }
    let record = world.service_deployments.get(&deployment.service_deployment);
    reasons.extend(record.and_then(|record| breaker(service, deployment, record)));
    reasons.extend(last_failure(world, now, deployment));
    reasons.extend(assigned.iter().map(|assignment| on_box(world, now, assignment)));
    let state = deployment.rollout_state.as_str();
    let mut text = format!(
        "deployment {} runs {}: {state}",
        deployment.wire_id(),
        definition(world, deployment)
    );
    let told = deployment.rollout_state_reason.ends_with("in progress.");
    if deployment.rollout_state != RolloutState::Completed && !told {
        let _ = write!(text, ", {}", deployment.rollout_state_reason);
    }
    Finding::because(text, reasons)
}

/// Why some tasks have no box.
fn unplaced(world: &World, service: &Service, deployment: &Deployment, missing: u32) -> Finding {
    let text = match missing {
        1 => "1 task has no box yet".to_owned(),
        n => format!("{n} tasks have no box yet"),
    };
    let Some(revision) = world.service_revisions.get(&deployment.service_revision) else {
        return Finding::because(text, vec![Finding::new("its service revision is not there")]);
    };
    let others: u32 = world.assignments_of(&service.key).map(Assignment::count).sum();
    let percent = service.deployment_configuration.maximum_percent;
    let most = u64::from(service.desired_count) * u64::from(percent) / 100;
    let reasons = match boxes::look(world, service, revision) {
        Boxes::Lack(lacks) => lacks,
        Boxes::Fit(_) if service.deployments.len() > 1 && u64::from(others) >= most => {
            vec![Finding::new(format!(
                "maximumPercent is {percent}: at most {} may be there while the deployment before is replaced, and {others} are",
                tasks(most)
            ))]
        }
        Boxes::Fit(name) => vec![Finding::new(format!("{name} has room: it is placed next"))],
    };
    Finding::because(text, reasons)
}

/// A deployment that is being replaced.
fn outgoing(world: &World, now: Timestamp, service: &Service, deployment: &Deployment) -> Finding {
    let assigned = assignments(world, service, &deployment.id);
    let count: u32 = assigned.iter().map(|assignment| assignment.count()).sum();
    let live: Vec<&Task> = assigned.iter().flat_map(|a| world.live(&a.id)).collect();
    let text = format!(
        "deployment {} of {} is being replaced: {} kept for now, {} still there",
        deployment.wire_id(),
        definition(world, deployment),
        tasks(count),
        number(live.len())
    );
    let mut reasons = Vec::new();
    if deployment.rollout_state == RolloutState::Failed {
        reasons.push(Finding::new(deployment.rollout_state_reason.clone()));
        reasons.extend(last_failure(world, now, deployment));
    }
    let percent = service.deployment_configuration.minimum_healthy_percent;
    if count > 0 && percent > 0 {
        let least = (u64::from(service.desired_count) * u64::from(percent)).div_ceil(100);
        reasons.push(Finding::new(format!(
            "minimumHealthyPercent is {percent}: {} must stay healthy until the new ones are",
            tasks(least)
        )));
    }
    let telling: Vec<&Task> = live
        .into_iter()
        .filter(|task| {
            task.desired_status == DesiredStatus::Stopped || task.protection(now).is_some()
        })
        .collect();
    reasons.extend(told(world, now, &telling));
    Finding::because(text, reasons)
}

/// What the circuit breaker has counted, once there is something to count.
fn breaker(
    service: &Service,
    deployment: &Deployment,
    record: &ServiceDeployment,
) -> Option<Finding> {
    if let Some(rollback) = &record.rollback {
        return Some(Finding::new(format!("it was rolled back to: {}", rollback.reason)));
    }
    if deployment.failed_tasks == 0 {
        return None;
    }
    let seen = record.deployment_circuit_breaker;
    let rule = service.deployment_configuration.deployment_circuit_breaker;
    Some(Finding::new(match seen {
        Some(seen) if seen.triggered => {
            format!("the circuit breaker gave up after {} had failed", tasks(seen.failure_count))
        }
        Some(seen) => {
            let then = if rule.rollback { "rolls back" } else { "gives up" };
            format!(
                "{} failed; the circuit breaker {then} at {}",
                tasks(deployment.failed_tasks),
                seen.threshold
            )
        }
        None => format!(
            "{} failed; the circuit breaker is off, so they are tried again for ever",
            tasks(deployment.failed_tasks)
        ),
    }))
}

/// The last task of the deployment that failed.
fn last_failure(world: &World, now: Timestamp, deployment: &Deployment) -> Option<Finding> {
    let failed = world.index.failed.get(&deployment.id)?;
    let ended = |task: &&Task| task.stopping_at.or(task.stopped_at);
    let last = failed.iter().filter_map(|id| world.tasks.get(id)).max_by_key(ended)?;
    let told = task::of_service(world, now, last);
    Some(Finding { text: format!("the last that failed: {}", told.text), ..told })
}

/// What one box is to run of a deployment.
fn on_box(world: &World, now: Timestamp, assignment: &Assignment) -> Finding {
    let name = box_name(world, &assignment.container_instance);
    let count = assignment.count();
    let live: Vec<&Task> = world.live(&assignment.id).collect();
    let fine = |task: &&Task| {
        runs(task)
            && task.health_status != HealthStatus::Unhealthy
            && task.protected_until.is_none()
    };
    let well = number(live.iter().filter(|task| fine(task)).count());
    let early = |task: &&&Task| matches!(serves(world, task, now), Serves::NotYet(_));
    let early = number(live.iter().filter(early).count());
    let rest: Vec<&Task> = live.into_iter().filter(|task| !fine(task)).collect();
    let instance = world.container_instances.get(&assignment.container_instance);
    let draining = if instance.is_some_and(|b| b.draining) { ", which drains," } else { "" };
    let mut text = format!("{name}{draining} is to run {}, and {well} run", tasks(count));
    let away = instance::away(world, now, &assignment.container_instance);
    if let Some(away) = &away {
        let _ = write!(text, ", as it last told: it {away}");
    }
    if early > 0 {
        let _ = write!(text, ", {early} of them not for long enough to count");
    }
    let mut reasons = told(world, now, &rest);
    if count != u32::try_from(well).unwrap_or(u32::MAX) || away.is_some() {
        reasons.extend(instance::of_device(world, now, &assignment.container_instance));
    }
    Finding::because(text, reasons)
}

/// The first tasks one by one.
fn told(world: &World, now: Timestamp, all: &[&Task]) -> Vec<Finding> {
    let mut told: Vec<Finding> =
        all.iter().take(TOLD).map(|task| task::of_service(world, now, task)).collect();
    if all.len() > TOLD {
        told.push(Finding::new(format!("and {} more", number(all.len() - TOLD))));
    }
    told
}

fn definition(world: &World, deployment: &Deployment) -> String {
    let revision = world.service_revisions.get(&deployment.service_revision);
    revision.map_or_else(|| "nothing known".to_owned(), |r| r.task_definition.to_string())
}

fn assignments<'w>(
    world: &'w World,
    service: &Service,
    deployment: &DeploymentId,
) -> Vec<&'w Assignment> {
    let of_deployment = |assignment: &&Assignment| {
        assignment.service().is_some_and(|tasks| &tasks.deployment == deployment)
    };
    world.assignments_of(&service.key).filter(of_deployment).collect()
}

fn live_tasks<'w>(world: &'w World, service: &Service) -> Vec<&'w Task> {
    let ids = world.index.tasks_of_service.get(&service.key).into_iter().flatten();
    let all = ids.filter_map(|id| world.tasks.get(id));
    all.filter(|task| task.last_status != TaskStatus::Stopped).collect()
}

fn runs(task: &Task) -> bool {
    task.last_status == TaskStatus::Running && task.desired_status == DesiredStatus::Running
}
