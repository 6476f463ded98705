//! Container instances: the boxes.

use super::error::ApiError;
use super::pagination::{Order, PAGE, PageRequest};
use super::{identifiers, input, render};
use crate::engine::Handle;
use crate::model::{ContainerInstanceId, Failure};
use crate::plan::placement::Filter;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct DescribeContainerInstances {
    cluster: Option<String>,
    container_instances: Vec<String>,
    include: Vec<String>,
}

/// `DescribeContainerInstances`.
pub(super) fn describe(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: DescribeContainerInstances = input::read(input)?;
    if input.container_instances.len() > PAGE {
        return Err(ApiError::invalid("Container instances cannot have more than 100 elements."));
    }
    let asked = |what: &str| input.include.iter().any(|i| i == what);
    let (tags, health) = (asked("TAGS"), asked("CONTAINER_INSTANCE_HEALTH"));
    engine.read(|world| {
        let cluster = identifiers::active_cluster(world, input.cluster.as_deref())?;
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for text in &input.container_instances {
            let (in_cluster, id) = identifiers::container_instance(text)?;
            let instance = world.container_instances.get(&id);
            let here = in_cluster.is_none_or(|c| c == cluster);
            if let Some(instance) = instance.filter(|i| here && i.cluster == cluster) {
                found.push(render::container_instance::instance(world, instance, tags, health));
            } else {
                let arn = world.settings.scope.container_instance(&cluster, &id);
                failures.push(Failure::missing(arn));
            }
        }
        Ok(json!({ "containerInstances": found, "failures": failures }))
    })
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ListContainerInstances {
    cluster: Option<String>,
    filter: Option<String>,
    status: Option<String>,
    #[serde(flatten)]
    page: PageRequest,
}

/// `ListContainerInstances`.
pub(super) fn list(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: ListContainerInstances = input::read(input)?;
    let filter = input.filter.as_deref().filter(|filter| !filter.is_empty());
    let filter = filter.map(Filter::read).transpose().map_err(ApiError::invalid)?;
    let shown = |draining: bool| match input.status.as_deref() {
        None => true,
        Some("DRAINING") => draining,
        Some("ACTIVE") => !draining,
        Some(_) => false,
    };
    engine.read(|world| {
        let cluster = identifiers::active_cluster(world, input.cluster.as_deref())?;
        let instances = world.container_instances.values();
        let ids: Vec<ContainerInstanceId> = instances
            .filter(|i| i.cluster == cluster && shown(i.draining))
            .filter(|i| filter.as_ref().is_none_or(|filter| filter.holds(world, i)))
            .map(|i| i.id.clone())
            .collect();
        let scope = ("ListContainerInstances", &cluster, &input.status, &input.filter);
        let page = input.page.page(&scope, ids, Order::Ascending, PAGE)?;
        let arns = page.keys.iter().map(|id| world.settings.scope.container_instance(&cluster, id));
        Ok(render::page("containerInstanceArns", arns, page.next_token))
    })
}
