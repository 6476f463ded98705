//! The deployment circuit breaker: a roll-out whose tasks fail is given up, and the last good revision comes back.
//!
//! ECS counts tasks that never came to run. Here every task of the deployment counts that ended by itself or was ended
//! because it was unhealthy, while the roll-out is under way: a program that crashes a second after its start is as bad as
//! one that does not start. Boxes back off between such tasks for seconds at first, so that it trips within a minute or two.

use super::deployment;
use super::event;
use crate::model::service::{RolloutState, ServiceDeploymentStatus};
use crate::model::{Deployment, Service, ServiceDeployment, Timestamp};
use crate::plan::World;

/// What the record of a roll-out says when it went back by itself.
const TRIPPED: &str =
    "Service deployment rolled back because the circuit breaker threshold was exceeded.";
const ASKED: &str = "Service deployment rolled back because of a request to stop it.";
const FAILED: &str = "ECS deployment circuit breaker: tasks failed to start.";

/// How many failed tasks are too many: half of the desired count, but 3 at least and 200 at most (ECS Developer Guide,
/// "Failure threshold").
pub(crate) fn threshold(desired_count: u32) -> u32 {
    desired_count.div_ceil(2).clamp(3, 200)
}

/// Counts failed tasks, and gives the roll-out up when there are too many or when somebody asked for it. The answers are
/// the events to say.
pub(super) fn judge(
    world: &World,
    service: &mut Service,
    record: &mut ServiceDeployment,
    now: Timestamp,
) -> Vec<String> {
    let Some(primary) = service.deployments.first_mut() else { return Vec::new() };
    if primary.rollout_state == RolloutState::InProgress && record.rollback.is_none() {
        count(world, primary, record, now);
    }
    let mut events = Vec::new();
    match record.status {
        ServiceDeploymentStatus::RollbackRequested => {
            give_up(service, record, ASKED, now, &mut events);
        }
        ServiceDeploymentStatus::StopRequested => {
            stop(record, "Stopped by a request.", now);
        }
        ServiceDeploymentStatus::Pending | ServiceDeploymentStatus::InProgress => {
            let breaker = service.deployment_configuration.deployment_circuit_breaker;
            let failed = service.deployments.first().map_or(0, |primary| primary.failed_tasks);
            if breaker.enable && failed >= threshold(service.desired_count) {
                if let Some(seen) = &mut record.deployment_circuit_breaker {
                    seen.triggered = true;
                }
                if breaker.rollback {
                    give_up(service, record, TRIPPED, now, &mut events);
                } else {
                    fail(service, now, &mut events);
                    stop(record, FAILED, now);
                }
            }
        }
        _ => {}
    }
    events
}

fn count(world: &World, primary: &mut Deployment, record: &mut ServiceDeployment, now: Timestamp) {
    let failed = world.index.failed.get(&primary.id).map_or(0, std::collections::BTreeSet::len);
    let failed = u32::try_from(failed).unwrap_or(u32::MAX);
    // Tasks are forgotten after a while; what was counted stays counted.
    if failed > primary.failed_tasks {
        primary.failed_tasks = failed;
        primary.updated_at = now;
        if let Some(seen) = &mut record.deployment_circuit_breaker {
            seen.failure_count = failed;
            record.updated_at = now;
        }
    }
}

fn give_up(
    service: &mut Service,
    record: &mut ServiceDeployment,
    why: &str,
    now: Timestamp,
    events: &mut Vec<String>,
) {
    let failed = service.deployments.first().map(|primary| primary.id.clone());
    if let Some(back) = deployment::roll_back(service, record, why, now) {
        if let Some(left) = service.deployments.iter_mut().find(|d| Some(&d.id) == failed.as_ref())
        {
            fail_deployment(left, now);
            events.push(event::failed(&service.key, &left.id));
        }
        events.push(event::rolls_back(&service.key, &back));
    } else {
        // There is nothing to go back to: boxes go on trying, with their back-off.
        fail(service, now, events);
        record.status = ServiceDeploymentStatus::RollbackFailed;
        record.status_reason = Some("There is no completed deployment to roll back to.".to_owned());
        record.finished_at = Some(now);
        record.updated_at = now;
    }
}

fn fail(service: &mut Service, now: Timestamp, events: &mut Vec<String>) {
    if let Some(primary) = service.deployments.first_mut() {
        fail_deployment(primary, now);
        events.push(event::failed(&service.key, &primary.id));
    }
}

fn fail_deployment(deployment: &mut Deployment, now: Timestamp) {
    deployment.rollout_state = RolloutState::Failed;
    FAILED.clone_into(&mut deployment.rollout_state_reason);
    deployment.updated_at = now;
}

fn stop(record: &mut ServiceDeployment, why: &str, now: Timestamp) {
    record.status = ServiceDeploymentStatus::Stopped;
    record.status_reason = Some(why.to_owned());
    record.stopped_at = Some(now);
    record.finished_at = Some(now);
    record.updated_at = now;
}

#[cfg(test)]
mod tests {
    use super::threshold;

    #[test]
    fn half_of_the_desired_count_within_bounds() {
        for (desired, failures) in [(0, 3), (1, 3), (6, 3), (7, 4), (100, 50), (1000, 200)] {
            assert_eq!(threshold(desired), failures, "{desired}");
        }
    }
}
