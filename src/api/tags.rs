//! Tags of resources.

use super::error::ApiError;
use super::{identifiers, input, render};
use crate::engine::Handle;
use crate::model::{Arn, ClusterName, ServiceKey, Tag, TaskDefinitionRef};
use crate::plan::Command;
use crate::plan::command::{INACTIVE_CLUSTER, Resource};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TagResource {
    resource_arn: String,
    tags: Vec<Tag>,
}

/// `TagResource`.
pub(super) async fn tag(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: TagResource = input::read(input)?;
    let resource = resource(&input.resource_arn)?;
    engine.submit(Command::TagResource { resource, tags: input.tags }).await?;
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UntagResource {
    resource_arn: String,
    tag_keys: Vec<String>,
}

/// `UntagResource`.
pub(super) async fn untag(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: UntagResource = input::read(input)?;
    let resource = resource(&input.resource_arn)?;
    engine.submit(Command::UntagResource { resource, keys: input.tag_keys }).await?;
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListTagsForResource {
    resource_arn: String,
}

/// `ListTagsForResource`.
pub(super) fn list(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: ListTagsForResource = input::read(input)?;
    let resource = resource(&input.resource_arn)?;
    engine.read(|world| {
        let tags = match &resource {
            Resource::Cluster(name) => {
                let cluster = world.clusters.get(name).ok_or_else(ApiError::cluster_not_found)?;
                if !cluster.active {
                    return Err(ApiError::invalid(INACTIVE_CLUSTER));
                }
                Some(&cluster.tags)
            }
            Resource::Task(id) => world.tasks.get(id).map(|t| &t.tags),
            Resource::TaskDefinition(reference) => {
                world.task_definitions.get(reference).map(|d| &d.tags)
            }
            Resource::ContainerInstance(id) => world.container_instances.get(id).map(|i| &i.tags),
            Resource::Service(key) => {
                let service = world.services.get(key).ok_or_else(service_missing)?;
                Some(&service.tags)
            }
        };
        let tags = tags.ok_or_else(|| {
            ApiError::invalid(
                "The specified resource is not found. Specify a valid ARN and try again.",
            )
        })?;
        Ok(json!({ "tags": render::tags(tags) }))
    })
}

/// The resource that an ARN names.
fn resource(arn: &str) -> Result<Resource, ApiError> {
    match Arn::parse(arn) {
        Ok(Arn::Cluster(name)) => Ok(Resource::Cluster(name)),
        Ok(Arn::Task(_, id)) => Ok(Resource::Task(id)),
        Ok(Arn::ContainerInstance(_, id)) => Ok(Resource::ContainerInstance(id)),
        Ok(Arn::TaskDefinition(family, Some(revision))) => {
            Ok(Resource::TaskDefinition(TaskDefinitionRef { family, revision }))
        }
        // Old ARNs of services name no cluster.
        Ok(Arn::Service(cluster, name)) => Ok(Resource::Service(ServiceKey {
            cluster: cluster.unwrap_or_else(ClusterName::default_cluster),
            name,
        })),
        Ok(
            Arn::TaskDefinition(_, None) | Arn::ServiceDeployment(..) | Arn::ServiceRevision(..),
        )
        | Err(_) => Err(identifiers::invalid_arn(arn)),
    }
}

fn service_missing() -> ApiError {
    ApiError::invalid("The specified service is not found.")
}
