//! Service revisions.

use super::put;
use super::service::what_it_runs;
use crate::model::{ContainerName, ImageDigest, ServiceRevision};
use crate::plan::World;
use serde_json::{Map, Value, json};

/// A revision as DescribeServiceRevisions shows it.
pub(crate) fn service_revision(world: &World, revision: &ServiceRevision) -> Value {
    let scope = &world.settings.scope;
    let none: &[Value] = &[];
    let mut object = Map::new();
    let arn = scope.service_revision(&revision.service, &revision.id);
    object.insert("serviceRevisionArn".into(), json!(arn));
    object.insert("serviceArn".into(), json!(scope.service(&revision.service)));
    object.insert("clusterArn".into(), json!(scope.cluster(&revision.service.cluster)));
    what_it_runs(world, revision, &mut object);
    object.insert("loadBalancers".into(), json!(none));
    object.insert("serviceRegistries".into(), json!(revision.service_registries));
    object.insert("guardDutyEnabled".into(), json!(false));
    object.insert("containerImages".into(), images(world, revision));
    let connect = revision.service_connect_configuration.as_ref();
    put(&mut object, "serviceConnectConfiguration", connect);
    object.insert("createdAt".into(), json!(revision.created_at));
    Value::Object(object)
}

/// The images of the definition, with the digests that its tasks in this service ran.
fn images(world: &World, revision: &ServiceRevision) -> Value {
    let Some(definition) = world.task_definitions.get(&revision.task_definition) else {
        return json!([]);
    };
    let containers = definition.content.container_definitions.as_deref().unwrap_or_default();
    let shown = containers.iter().map(|container| {
        let name = container.name.as_deref().unwrap_or_default();
        let mut object = Map::new();
        object.insert("containerName".into(), json!(name));
        put(&mut object, "image", container.image.as_ref());
        let settled = settled(world, revision, name).or_else(|| digest(world, revision, name));
        put(&mut object, "imageDigest", settled);
        Value::Object(object)
    });
    shown.collect()
}

/// What the deployment of the revision has settled on (`versionConsistency`).
fn settled<'w>(
    world: &'w World,
    revision: &ServiceRevision,
    name: &str,
) -> Option<&'w ImageDigest> {
    let deployments = &world.services.get(&revision.service)?.deployments;
    let of_revision = deployments.iter().find(|d| d.service_revision == revision.id)?;
    of_revision.images.get(&ContainerName::new(name).ok()?)
}

fn digest<'w>(world: &'w World, revision: &ServiceRevision, name: &str) -> Option<&'w ImageDigest> {
    let name = ContainerName::new(name).ok()?;
    let tasks = world.index.tasks_of_service.get(&revision.service)?;
    tasks
        .iter()
        .filter_map(|id| world.tasks.get(id))
        .filter(|task| task.task_definition == revision.task_definition)
        .find_map(|task| task.container(&name)?.image_digest.as_ref())
}
