//! Container instances: the boxes. Their registration is in [`register`].

mod register;

pub(super) use register::register;

use super::error::{ApiError, Exception};
use super::pagination::{Order, PAGE, PageRequest};
use super::{identifiers, input, render};
use crate::engine::Handle;
use crate::model::{ClusterName, ContainerInstanceId, Failure, InstanceStatus};
use crate::plan::placement::Filter;
use crate::plan::{Command, Reply, World};
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
    // Nothing registers or deregisters slowly, so the other states have no instances.
    let shown = |status: InstanceStatus| match input.status.as_deref() {
        None => status != InstanceStatus::Inactive,
        Some(wanted) => status != InstanceStatus::Inactive && wanted == status.as_str(),
    };
    engine.read(|world| {
        let cluster = identifiers::active_cluster(world, input.cluster.as_deref())?;
        let instances = world.container_instances.values();
        let ids: Vec<ContainerInstanceId> = instances
            .filter(|i| i.cluster == cluster && shown(i.status()))
            .filter(|i| filter.as_ref().is_none_or(|filter| filter.holds(world, i)))
            .map(|i| i.id.clone())
            .collect();
        let scope = ("ListContainerInstances", &cluster, &input.status, &input.filter);
        let page = input.page.page(&scope, ids, Order::Ascending, PAGE)?;
        let arns = page.keys.iter().map(|id| world.settings.scope.container_instance(&cluster, id));
        Ok(render::page("containerInstanceArns", arns, page.next_token))
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeregisterContainerInstance {
    cluster: Option<String>,
    container_instance: String,
    force: Option<bool>,
}

/// `DeregisterContainerInstance`.
pub(super) async fn deregister(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: DeregisterContainerInstance = input::read(input)?;
    let (cluster, instance) = one(input.cluster.as_deref(), &input.container_instance)?;
    let force = input.force.unwrap_or(false);
    let command = Command::DeregisterContainerInstance { cluster, instance, force };
    only(engine, engine.submit(command).await?)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateState {
    cluster: Option<String>,
    container_instances: Vec<String>,
    status: String,
}

/// `UpdateContainerInstancesState`.
pub(super) async fn update_state(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: UpdateState = input::read(input)?;
    let cluster = identifiers::cluster(input.cluster.as_deref())?;
    let draining = match input.status.as_str() {
        "ACTIVE" => false,
        "DRAINING" => true,
        _ => {
            return Err(ApiError::invalid(
                "Container instance status should be one of [ACTIVE,DRAINING]",
            ));
        }
    };
    // An ARN of another cluster names an instance that this one does not have.
    let (mut instances, mut elsewhere) = (Vec::new(), Vec::new());
    for text in &input.container_instances {
        match identifiers::container_instance(text)? {
            (Some(named), id) if named != cluster => elsewhere.push(id),
            (_, id) => instances.push(id),
        }
    }
    if input.container_instances.is_empty() {
        return Err(ApiError::invalid("Container instances cannot be empty."));
    }
    let command =
        Command::UpdateContainerInstancesState { cluster: cluster.clone(), instances, draining };
    let reply = engine.submit(command).await?;
    let Reply::ContainerInstances { instances, mut failures } = reply else {
        return Err(render::unexpected_reply());
    };
    Ok(engine.read(|world| {
        let arn = |id| world.settings.scope.container_instance(&cluster, id);
        failures.extend(elsewhere.iter().map(|id| Failure::missing(arn(id))));
        json!({ "containerInstances": shown(world, &instances), "failures": failures })
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateContainerAgent {
    cluster: Option<String>,
    container_instance: String,
}

/// `UpdateContainerAgent`: agents are not updated from here, so there is never an update.
pub(super) fn update_agent(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: UpdateContainerAgent = input::read(input)?;
    let (cluster, id) = one(input.cluster.as_deref(), &input.container_instance)?;
    engine.read(|world| {
        identifiers::active_cluster(world, Some(cluster.as_str()))?;
        let known = world.container_instances.get(&id);
        match known.filter(|instance| instance.cluster == cluster && instance.is_registered()) {
            None => Err(not_found()),
            Some(_) => Err(ApiError::new(
                Exception::NoUpdateAvailable,
                "There is no update available for your container agent: Coracle does not update itself, install a \
                 newer version on the box and restart its agent.",
            )),
        }
    })
}

/// The instance that a request means, which an ARN of another cluster does not.
fn one(
    cluster: Option<&str>,
    instance: &str,
) -> Result<(ClusterName, ContainerInstanceId), ApiError> {
    let cluster = identifiers::cluster(cluster)?;
    let (named, id) = identifiers::container_instance(instance)?;
    if named.is_some_and(|named| named != cluster) {
        return Err(not_found());
    }
    Ok((cluster, id))
}

fn not_found() -> ApiError {
    ApiError::invalid("The referenced container instance was not found.")
}

/// The answer of an operation on one instance.
fn only(engine: &Handle, reply: Reply) -> Result<Value, ApiError> {
    let Reply::ContainerInstances { instances, .. } = reply else {
        return Err(render::unexpected_reply());
    };
    let shown = engine.read(|world| shown(world, &instances));
    let instance = shown.into_iter().next().ok_or_else(not_found)?;
    Ok(json!({ "containerInstance": instance }))
}

fn shown(world: &World, ids: &[ContainerInstanceId]) -> Vec<Value> {
    let known = ids.iter().filter_map(|id| world.container_instances.get(id));
    known.map(|i| render::container_instance::instance(world, i, true, false)).collect()
}
