//! Attributes of container instances.

use super::error::ApiError;
use super::pagination::{Order, PAGE, PageRequest};
use super::{identifiers, input, render};
use crate::engine::Handle;
use crate::model::container_instance::Attribute;
use crate::model::{Arn, ClusterName, ContainerInstanceId, Scope};
use crate::plan::Command;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The only kind of target.
const CONTAINER_INSTANCE: &str = "container-instance";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Edit {
    cluster: Option<String>,
    attributes: Vec<Item>,
}

/// An attribute and what it is of.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    name: String,
    value: Option<String>,
    target_type: Option<String>,
    target_id: Option<String>,
}

/// `PutAttributes`.
pub(super) async fn put(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let (cluster, attributes) = edit(input)?;
    let answer = answer(engine, &cluster, &attributes);
    engine.submit(Command::PutAttributes { cluster, attributes }).await?;
    Ok(answer)
}

/// `DeleteAttributes`.
pub(super) async fn delete(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let (cluster, attributes) = edit(input)?;
    let answer = answer(engine, &cluster, &attributes);
    engine.submit(Command::DeleteAttributes { cluster, attributes }).await?;
    Ok(answer)
}

type Targets = Vec<(ContainerInstanceId, Attribute)>;

fn edit(input: Value) -> Result<(ClusterName, Targets), ApiError> {
    let input: Edit = input::read(input)?;
    let cluster = identifiers::cluster(input.cluster.as_deref())?;
    let mut targets = Vec::new();
    for target in input.attributes {
        let id = target.target_id.filter(|id| !id.is_empty()).ok_or_else(|| {
            ApiError::invalid(format!(
                "The attribute {:?} has no targetId.",
                identifiers::shorten(&target.name)
            ))
        })?;
        if !Arn::looks_like(&id) && target.target_type.is_none() {
            return Err(ApiError::invalid(
                "You must specify a targetType when the targetId is not a full ARN.",
            ));
        }
        let (named, id) = identifiers::container_instance(&id)?;
        if named.is_some_and(|named| named != cluster) {
            return Err(crate::plan::CommandError::TargetNotFound.into());
        }
        let value = target.value.filter(|value| !value.is_empty());
        targets.push((id, Attribute { name: target.name, value }));
    }
    Ok((cluster, targets))
}

fn answer(engine: &Handle, cluster: &ClusterName, targets: &Targets) -> Value {
    let scope = engine.settings().scope;
    let shown: Vec<Value> =
        targets.iter().map(|(id, attribute)| show(&scope, cluster, id, attribute)).collect();
    json!({ "attributes": shown })
}

fn show(
    scope: &Scope,
    cluster: &ClusterName,
    id: &ContainerInstanceId,
    attribute: &Attribute,
) -> Value {
    let mut object = Map::new();
    object.insert("name".into(), json!(attribute.name));
    render::put(&mut object, "value", attribute.value.as_ref());
    object.insert("targetType".into(), json!(CONTAINER_INSTANCE));
    object.insert("targetId".into(), json!(scope.container_instance(cluster, id)));
    Value::Object(object)
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ListAttributes {
    cluster: Option<String>,
    attribute_name: Option<String>,
    attribute_value: Option<String>,
    #[serde(flatten)]
    page: PageRequest,
}

/// `ListAttributes`: of all instances of the cluster, by instance and name.
pub(super) fn list(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: ListAttributes = input::read(input)?;
    let name = input.attribute_name.filter(|name| !name.is_empty());
    let value = input.attribute_value.filter(|value| !value.is_empty());
    if value.is_some() && name.is_none() {
        return Err(ApiError::invalid(
            "An attribute name is required to filter by attribute value.",
        ));
    }
    let meant = |attribute: &&Attribute| {
        name.as_ref().is_none_or(|name| *name == attribute.name)
            && (value.is_none() || attribute.value == value)
    };
    engine.read(|world| {
        let cluster = identifiers::active_cluster(world, input.cluster.as_deref())?;
        let mut keys: Vec<(ContainerInstanceId, String)> = Vec::new();
        let instances = world.container_instances.values();
        for instance in instances.filter(|i| i.cluster == cluster && i.is_registered()) {
            let meant = instance.attributes.iter().filter(meant);
            keys.extend(meant.map(|a| (instance.id.clone(), a.name.clone())));
        }
        let scope = ("ListAttributes", &cluster, &name, &value);
        let page = input.page.page(&scope, keys, Order::Ascending, PAGE)?;
        let shown = page.keys.iter().filter_map(|(id, name)| {
            let attribute = world.container_instances.get(id)?.attribute(name)?;
            Some(show(&world.settings.scope, &cluster, id, attribute))
        });
        Ok(render::page("attributes", shown, page.next_token))
    })
}
