//! Tags of resources.

use super::error::{ApiError, Exception};
use super::{identifiers, input, render};
use crate::engine::Handle;
use crate::model::{Arn, Tag, TaskDefinitionRef};
use crate::plan::Command;
use crate::plan::command::{INACTIVE_CLUSTER, Resource};
use serde::Deserialize;
use serde_json::{Value, json};

/// As many tags may be on one resource, and in one request.
const LIMIT: usize = 50;

/// Checks the tags of a new cluster; those of other resources are checked where they are applied.
pub(super) fn validate(tags: &[Tag]) -> Result<(), ApiError> {
    if tags.len() > LIMIT {
        return Err(ApiError::invalid(format!("Tags cannot have more than {LIMIT} elements.")));
    }
    let mut seen = std::collections::BTreeSet::new();
    for tag in tags {
        let key = tag.key.as_deref().unwrap_or_default();
        let value = tag.value.as_deref().unwrap_or_default();
        if key.is_empty() || key.chars().count() > 128 || !allowed(key) {
            return Err(invalid_tag("key", key, "1 to 128"));
        }
        if value.chars().count() > 256 || !allowed(value) {
            return Err(invalid_tag("value", value, "0 to 256"));
        }
        if key.get(..4).is_some_and(|p| p.eq_ignore_ascii_case("aws:"))
            || value.get(..4).is_some_and(|p| p.eq_ignore_ascii_case("aws:"))
        {
            return Err(ApiError::invalid(
                "The tag prefix 'aws:' is reserved: neither keys nor values may begin with it.",
            ));
        }
        if !seen.insert(key) {
            return Err(ApiError::invalid(format!("Duplicate tag keys found: {key:?}.")));
        }
    }
    Ok(())
}

fn allowed(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c))
}

fn invalid_tag(what: &str, text: &str, length: &str) -> ApiError {
    ApiError::invalid(format!(
        "Invalid tag {what} {:?}: {length} letters, numbers, spaces and _ . : / = + - @ are allowed.",
        identifiers::shorten(text)
    ))
}

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
        Ok(Arn::Service(..)) => {
            Err(ApiError::new(Exception::InvalidParameter, "The specified service is not found."))
        }
        Ok(
            Arn::TaskDefinition(_, None) | Arn::ServiceDeployment(..) | Arn::ServiceRevision(..),
        )
        | Err(_) => Err(identifiers::invalid_arn(arn)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: &str, value: &str) -> Tag {
        Tag { key: Some(key.to_owned()), value: Some(value.to_owned()) }
    }

    #[test]
    fn the_rules_of_tags() {
        assert_eq!(validate(&[tag("Größe 1", "a/b@c"), tag("x", "")]), Ok(()));
        for bad in [
            vec![tag("", "v")],
            vec![tag(&"k".repeat(129), "v")],
            vec![tag("k", &"v".repeat(257))],
            vec![tag("a;b", "v")],
            vec![tag("AWS:x", "v")],
            vec![tag("k", "1"), tag("k", "2")],
            (0..51).map(|i| tag(&i.to_string(), "")).collect(),
        ] {
            let error = validate(&bad).unwrap_err();
            assert_eq!(error.exception, Exception::InvalidParameter, "{bad:?}");
        }
    }
}
