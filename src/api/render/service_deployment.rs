//! Service deployments, the records of roll-outs.

use super::put;
use super::service::{deployment_configuration, revision_summary};
use crate::model::ServiceDeployment;
use crate::plan::World;
use serde_json::{Map, Value, json};

/// A roll-out as ListServiceDeployments shows it.
pub(crate) fn brief(world: &World, deployment: &ServiceDeployment) -> Value {
    let mut object = common(world, deployment);
    let target = world
        .settings
        .scope
        .service_revision(&deployment.service, &deployment.target_service_revision);
    object.insert("targetServiceRevisionArn".into(), json!(target));
    Value::Object(object)
}

fn common(world: &World, deployment: &ServiceDeployment) -> Map<String, Value> {
    let scope = &world.settings.scope;
    let mut object = Map::new();
    let arn = scope.service_deployment(&deployment.service, &deployment.id);
    object.insert("serviceDeploymentArn".into(), json!(arn));
    object.insert("serviceArn".into(), json!(scope.service(&deployment.service)));
    object.insert("clusterArn".into(), json!(scope.cluster(&deployment.service.cluster)));
    object.insert("status".into(), json!(deployment.status.as_str()));
    object.insert("createdAt".into(), json!(deployment.created_at));
    put(&mut object, "statusReason", deployment.status_reason.as_ref());
    put(&mut object, "startedAt", deployment.started_at);
    put(&mut object, "finishedAt", deployment.finished_at);
    object
}

/// A roll-out as DescribeServiceDeployments shows it.
pub(crate) fn service_deployment(world: &World, deployment: &ServiceDeployment) -> Value {
    let service = &deployment.service;
    let summary = |id| revision_summary(world, service, id);
    let mut object = common(world, deployment);
    let sources: Vec<Value> = deployment.source_service_revisions.iter().map(summary).collect();
    object.insert("sourceServiceRevisions".into(), json!(sources));
    object.insert("targetServiceRevision".into(), summary(&deployment.target_service_revision));
    object.insert("updatedAt".into(), json!(deployment.updated_at));
    put(&mut object, "stoppedAt", deployment.stopped_at);
    object.insert(
        "deploymentConfiguration".into(),
        deployment_configuration(&deployment.deployment_configuration),
    );
    object.insert("deploymentCircuitBreaker".into(), circuit_breaker(deployment));
    if let Some(rollback) = &deployment.rollback {
        let arn = world.settings.scope.service_revision(service, &rollback.service_revision);
        object.insert(
            "rollback".into(),
            json!({
                "reason": rollback.reason,
                "startedAt": rollback.started_at,
                "serviceRevisionArn": arn,
            }),
        );
    }
    Value::Object(object)
}

fn circuit_breaker(deployment: &ServiceDeployment) -> Value {
    let Some(seen) = &deployment.deployment_circuit_breaker else {
        return json!({ "status": "DISABLED", "failureCount": 0, "threshold": 0 });
    };
    let status = if seen.triggered {
        "TRIGGERED"
    } else if deployment.status.is_over() {
        "MONITORING_COMPLETE"
    } else {
        "MONITORING"
    };
    json!({ "status": status, "failureCount": seen.failure_count, "threshold": seen.threshold })
}
