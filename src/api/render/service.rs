//! Services and their deployments, with counters taken from the world at that moment.

use super::{put, tags};
use crate::model::service::{DeploymentConfiguration, EVENTS_KEPT};
use crate::model::{
    Deployment, DeploymentId, Service, ServiceKey, ServiceRevision, ServiceRevisionId,
};
use crate::plan::World;
use crate::plan::index::Counts;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// How many tasks a deployment has.
fn counts_of(world: &World, service: &ServiceKey, deployment: &DeploymentId) -> Counts {
    let counts = world.index.counts.get(service).and_then(|counts| counts.get(deployment));
    counts.copied().unwrap_or_default()
}

/// How many tasks a deployment wants now.
fn desired(world: &World, service: &Service, deployment: &DeploymentId) -> u32 {
    if service.primary().is_some_and(|primary| &primary.id == deployment) {
        return service.desired_count;
    }
    counts_of(world, &service.key, deployment).wanted
}

/// What the service runs, or ran last.
pub(crate) fn revision<'w>(world: &'w World, service: &Service) -> Option<&'w ServiceRevision> {
    if let Some(primary) = service.primary() {
        return world.service_revisions.get(&primary.service_revision);
    }
    let ids = world.index.revisions.get(&service.key).into_iter().flatten();
    ids.filter_map(|id| world.service_revisions.get(id)).max_by_key(|r| (r.created_at, &r.id))
}

/// A service as DescribeServices shows it.
pub(crate) fn service(world: &World, service: &Service, with_tags: bool) -> Value {
    let scope = &world.settings.scope;
    let none: &[Value] = &[];
    let mut object = Map::new();
    object.insert("serviceArn".into(), json!(scope.service(&service.key)));
    object.insert("serviceName".into(), json!(service.key.name));
    object.insert("clusterArn".into(), json!(scope.cluster(&service.key.cluster)));
    object.insert("status".into(), json!(service.status.as_str()));
    object.insert("desiredCount".into(), json!(service.desired_count));
    let counts = || world.index.counts.get(&service.key).into_iter().flat_map(BTreeMap::values);
    let sum = |count: fn(&Counts) -> u32| counts().map(count).sum::<u32>();
    object.insert("runningCount".into(), json!(sum(|counts| counts.running)));
    object.insert("pendingCount".into(), json!(sum(|counts| counts.pending)));
    object.insert("schedulingStrategy".into(), json!(service.scheduling_strategy.as_str()));
    object.insert("deploymentController".into(), json!({ "type": "ECS" }));
    object.insert(
        "deploymentConfiguration".into(),
        deployment_configuration(&service.deployment_configuration),
    );
    object.insert("loadBalancers".into(), json!(none));
    let revision = revision(world, service);
    let registries = revision.map(|revision| &revision.service_registries);
    object.insert("serviceRegistries".into(), json!(registries.map_or(none, Vec::as_slice)));
    if let Some(revision) = revision {
        what_it_runs(world, revision, &mut object);
    }
    let deployments: Vec<Value> = service
        .deployments
        .iter()
        .enumerate()
        .map(|(at, one)| deployment(world, service, one, at == 0))
        .collect();
    object.insert("deployments".into(), json!(deployments));
    object.insert("events".into(), events(world, &service.key));
    object.insert("placementConstraints".into(), json!(service.placement_constraints));
    object.insert("placementStrategy".into(), json!(service.placement_strategy));
    object.insert("enableECSManagedTags".into(), json!(service.enable_ecs_managed_tags));
    object.insert("propagateTags".into(), json!(service.propagate_tags.as_str()));
    object.insert("enableExecuteCommand".into(), json!(service.enable_execute_command));
    let rebalancing = service.availability_zone_rebalancing.as_deref().unwrap_or("DISABLED");
    object.insert("availabilityZoneRebalancing".into(), json!(rebalancing));
    object.insert("resourceManagementType".into(), json!("CUSTOMER"));
    object.insert("createdAt".into(), json!(service.created_at));
    object.insert("tags".into(), if with_tags { tags(&service.tags) } else { json!(none) });
    put(&mut object, "createdBy", service.created_by.as_ref());
    put(&mut object, "roleArn", service.role_arn.as_ref());
    put(&mut object, "healthCheckGracePeriodSeconds", service.health_check_grace_period_seconds);
    if let Some(primary) = service.primary() {
        let arn = scope.service_deployment(&service.key, &primary.service_deployment);
        object.insert("currentServiceDeployment".into(), json!(arn));
    }
    let revisions: Vec<Value> = service
        .deployments
        .iter()
        .map(|one| revision_summary(world, &service.key, &one.service_revision))
        .collect();
    object.insert("currentServiceRevisions".into(), json!(revisions));
    Value::Object(object)
}

/// The members of a service, a deployment and a service revision that tell what is run.
pub(crate) fn what_it_runs(
    world: &World,
    revision: &ServiceRevision,
    object: &mut Map<String, Value>,
) {
    let arn = world.settings.scope.task_definition(&revision.task_definition);
    object.insert("taskDefinition".into(), json!(arn));
    if revision.capacity_provider_strategy.is_empty() {
        put(object, "launchType", revision.launch_type.as_ref());
    } else {
        object
            .insert("capacityProviderStrategy".into(), json!(revision.capacity_provider_strategy));
    }
    if revision.launch_type.as_deref() == Some("FARGATE") {
        let version = revision.platform_version.as_deref().unwrap_or("LATEST");
        object.insert("platformVersion".into(), json!(version));
        object.insert("platformFamily".into(), json!("Linux"));
    }
    if let Some(network) = &revision.network {
        object.insert("networkConfiguration".into(), json!({ "awsvpcConfiguration": network }));
    }
}

/// `deploymentConfiguration`, whole.
pub(crate) fn deployment_configuration(configuration: &DeploymentConfiguration) -> Value {
    let mut shown = json!(configuration);
    shown["strategy"] = json!("ROLLING");
    shown["bakeTimeInMinutes"] = json!(0);
    shown
}

fn deployment(world: &World, service: &Service, deployment: &Deployment, primary: bool) -> Value {
    let counts = counts_of(world, &service.key, &deployment.id);
    let mut object = Map::new();
    object.insert("id".into(), json!(deployment.wire_id()));
    object.insert("status".into(), json!(if primary { "PRIMARY" } else { "ACTIVE" }));
    object.insert("desiredCount".into(), json!(desired(world, service, &deployment.id)));
    object.insert("runningCount".into(), json!(counts.running));
    object.insert("pendingCount".into(), json!(counts.pending));
    object.insert("failedTasks".into(), json!(deployment.failed_tasks));
    object.insert("createdAt".into(), json!(deployment.created_at));
    object.insert("updatedAt".into(), json!(deployment.updated_at));
    object.insert("rolloutState".into(), json!(deployment.rollout_state.as_str()));
    object.insert("rolloutStateReason".into(), json!(deployment.rollout_state_reason));
    if let Some(revision) = world.service_revisions.get(&deployment.service_revision) {
        what_it_runs(world, revision, &mut object);
        let connect = revision.service_connect_configuration.as_ref();
        put(&mut object, "serviceConnectConfiguration", connect);
    }
    Value::Object(object)
}

/// A revision with its tasks (ECS `ServiceRevisionSummary`).
pub(crate) fn revision_summary(
    world: &World,
    service: &ServiceKey,
    id: &ServiceRevisionId,
) -> Value {
    let record = world.services.get(service);
    let deployment = record.and_then(|s| s.deployments.iter().find(|d| &d.service_revision == id));
    let now = deployment.map(|d| counts_of(world, service, &d.id)).unwrap_or_default();
    let requested = match (record, deployment) {
        (Some(record), Some(deployment)) => desired(world, record, &deployment.id),
        _ => 0,
    };
    json!({
        "arn": world.settings.scope.service_revision(service, id),
        "requestedTaskCount": requested,
        "runningTaskCount": now.running,
        "pendingTaskCount": now.pending,
    })
}

/// The newest first.
fn events(world: &World, service: &ServiceKey) -> Value {
    let Some(ring) = world.service_events.get(service) else { return json!([]) };
    let mut events: Vec<_> = ring.values().collect();
    events.sort_unstable_by_key(|event| std::cmp::Reverse(event.number));
    let kept = usize::try_from(EVENTS_KEPT).unwrap_or(usize::MAX);
    let shown = events.iter().take(kept).map(
        |event| json!({ "id": event.id, "createdAt": event.created_at, "message": event.message }),
    );
    shown.collect()
}
