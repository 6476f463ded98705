//! `StopServiceDeployment`: writes the wish down; the cluster planner carries it out.

use super::super::{Outcome, Reply};
use super::StopType;
use crate::model::service::ServiceDeploymentStatus;
use crate::model::{ServiceDeploymentId, ServiceKey, Timestamp};
use crate::plan::command::CommandError;
use crate::plan::{Change, World};

/// Stops a roll-out that is under way.
pub(in super::super) fn stop_deployment(
    world: &World,
    service: &ServiceKey,
    id: &ServiceDeploymentId,
    how: StopType,
    now: Timestamp,
) -> Result<Outcome, CommandError> {
    let deployment = world
        .service_deployments
        .get(id)
        .filter(|deployment| &deployment.service == service)
        .ok_or(CommandError::ServiceDeploymentNotFound)?;
    let under_way = matches!(
        deployment.status,
        ServiceDeploymentStatus::Pending | ServiceDeploymentStatus::InProgress
    );
    if !under_way {
        return Err(CommandError::Conflict {
            message: format!(
                "The service deployment cannot be stopped: its status is {}. Only a deployment that is PENDING or \
                 IN_PROGRESS can be.",
                deployment.status.as_str()
            ),
            resource_ids: vec![world.settings.scope.service_deployment(service, id)],
        });
    }
    let mut deployment = deployment.clone();
    deployment.status = match how {
        StopType::Abort => ServiceDeploymentStatus::StopRequested,
        StopType::Rollback => ServiceDeploymentStatus::RollbackRequested,
    };
    deployment.updated_at = now;
    Ok(Outcome::with(vec![Change::PutServiceDeployment(Box::new(deployment))], Reply::Done))
}
