//! The beginning and the end of roll-outs, on the records.

use crate::model::service::{
    CircuitBreakerRecord, Rollback, RolloutState, ServiceDeploymentStatus,
};
use crate::model::{
    Deployment, DeploymentId, Service, ServiceDeployment, ServiceRevision, Timestamp,
};
use crate::plan::cluster::circuit_breaker;
use crate::plan::{Change, Ids, World};
use std::collections::BTreeMap;

/// Makes `revision` what the service is to run: a new PRIMARY deployment, and the record of its roll-out. A roll-out
/// that is still under way is over with that.
pub(crate) fn begin(
    world: &World,
    service: &mut Service,
    revision: ServiceRevision,
    now: Timestamp,
    ids: &mut Ids,
    changes: &mut Vec<Change>,
) {
    if let Some(primary) = service.primary()
        && let Some(running) = world.service_deployments.get(&primary.service_deployment)
        && !running.status.is_over()
    {
        let mut stopped = running.clone();
        stopped.status = ServiceDeploymentStatus::Stopped;
        stopped.status_reason = Some("Stopped by a newer service deployment.".to_owned());
        stopped.stopped_at = Some(now);
        stopped.finished_at = Some(now);
        stopped.updated_at = now;
        changes.push(Change::PutServiceDeployment(Box::new(stopped)));
    }
    let breaker = service.deployment_configuration.deployment_circuit_breaker;
    let record = ServiceDeployment {
        id: ids.service_deployment(),
        service: service.key.clone(),
        status: ServiceDeploymentStatus::Pending,
        status_reason: None,
        source_service_revisions: service
            .deployments
            .iter()
            .map(|deployment| deployment.service_revision.clone())
            .collect(),
        target_service_revision: revision.id.clone(),
        deployment_configuration: service.deployment_configuration.clone(),
        deployment_circuit_breaker: breaker.enable.then(|| CircuitBreakerRecord {
            triggered: false,
            failure_count: 0,
            threshold: circuit_breaker::threshold(service.desired_count),
        }),
        rollback: None,
        created_at: now,
        started_at: None,
        finished_at: None,
        stopped_at: None,
        updated_at: now,
    };
    let id = ids.deployment();
    service.deployments.insert(
        0,
        Deployment {
            rollout_state: RolloutState::InProgress,
            rollout_state_reason: format!("ECS deployment ecs-svc/{id} in progress."),
            id,
            service_revision: revision.id.clone(),
            service_deployment: record.id.clone(),
            failed_tasks: 0,
            images: BTreeMap::new(),
            created_at: now,
            updated_at: now,
        },
    );
    service.said.steady = false;
    changes.push(Change::PutServiceRevision(Box::new(revision)));
    changes.push(Change::PutServiceDeployment(Box::new(record)));
}

/// Makes the newest deployment that was ever whole PRIMARY again. The answer is its id; none when there is none, and
/// then nothing changes.
pub(super) fn roll_back(
    service: &mut Service,
    record: &mut ServiceDeployment,
    why: &str,
    now: Timestamp,
) -> Option<DeploymentId> {
    let good = |deployment: &Deployment| deployment.rollout_state == RolloutState::Completed;
    let at = service.deployments.iter().skip(1).position(good)? + 1;
    let mut back = service.deployments.remove(at);
    back.rollout_state = RolloutState::InProgress;
    back.rollout_state_reason = format!(
        "ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/{}.",
        back.id
    );
    back.updated_at = now;
    back.service_deployment = record.id.clone();
    record.status = ServiceDeploymentStatus::RollbackInProgress;
    record.status_reason = Some(why.to_owned());
    record.rollback = Some(Rollback {
        reason: why.to_owned(),
        started_at: now,
        service_revision: back.service_revision.clone(),
    });
    record.updated_at = now;
    let id = back.id.clone();
    service.deployments.insert(0, back);
    Some(id)
}

/// The PRIMARY deployment is whole: the others are over, and so is the roll-out.
pub(super) fn complete(
    service: &mut Service,
    record: Option<&mut ServiceDeployment>,
    now: Timestamp,
) {
    service.deployments.truncate(1);
    if let Some(primary) = service.deployments.first_mut() {
        primary.rollout_state = RolloutState::Completed;
        primary.rollout_state_reason = format!("ECS deployment ecs-svc/{} completed.", primary.id);
        primary.updated_at = now;
    }
    let Some(record) = record.filter(|record| !record.status.is_over()) else { return };
    record.status = if record.rollback.is_some() {
        ServiceDeploymentStatus::RollbackSuccessful
    } else {
        ServiceDeploymentStatus::Successful
    };
    record.started_at.get_or_insert(now);
    record.finished_at = Some(now);
    record.updated_at = now;
}
