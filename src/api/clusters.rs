//! Clusters.

use super::error::{ApiError, Exception};
use super::pagination::{Order, PAGE, PageRequest};
use super::{identifiers, input, render, tags};
use crate::engine::Handle;
use crate::model::{Arn, ClusterName, Failure, Tag};
use crate::plan::{Command, Reply};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateCluster {
    cluster_name: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    settings: Vec<Value>,
    configuration: Option<Value>,
    #[serde(default)]
    capacity_providers: Vec<String>,
    #[serde(default)]
    default_capacity_provider_strategy: Vec<Value>,
    service_connect_defaults: Option<Value>,
}

/// `CreateCluster`: a name that exists already is answered with the cluster as it is.
pub(super) async fn create(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: CreateCluster = input::read(input)?;
    tags::validate(&input.tags)?;
    let name = match input.cluster_name.as_deref().filter(|n| !n.is_empty()) {
        None => ClusterName::default_cluster(),
        Some(name) => ClusterName::new(name).map_err(|e| ApiError::invalid(e.to_string()))?,
    };
    if let Some(provider) = input.capacity_providers.first() {
        return Err(no_capacity_provider(provider));
    }
    if let Some(item) = input.default_capacity_provider_strategy.first() {
        return Err(no_capacity_provider(item["capacityProvider"].as_str().unwrap_or_default()));
    }
    for setting in &input.settings {
        let value = setting["value"].as_str().unwrap_or_default();
        if !matches!(value, "enabled" | "enhanced" | "disabled") {
            return Err(ApiError::invalid(format!(
                "Invalid value {:?} of the cluster setting containerInsights: it is enabled, enhanced or disabled.",
                identifiers::shorten(value)
            )));
        }
    }
    let command = crate::plan::command::CreateCluster {
        name,
        tags: input.tags,
        settings: input.settings,
        configuration: input.configuration,
        capacity_providers: input.capacity_providers,
        default_capacity_provider_strategy: input.default_capacity_provider_strategy,
        service_connect_defaults: input.service_connect_defaults,
    };
    let reply = engine.submit(Command::CreateCluster(Box::new(command))).await?;
    one(engine, reply)
}

fn no_capacity_provider(name: &str) -> ApiError {
    ApiError::invalid(format!(
        "The specified capacity provider '{}' was not found. Specify a valid name or ARN and try again.",
        identifiers::shorten(name)
    ))
}

#[derive(Deserialize)]
struct DeleteCluster {
    cluster: String,
}

/// `DeleteCluster`: the cluster stays describable as INACTIVE.
pub(super) async fn delete(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: DeleteCluster = input::read(input)?;
    let name = identifiers::cluster(Some(&input.cluster))?;
    let reply = engine.submit(Command::DeleteCluster(name)).await?;
    one(engine, reply)
}

fn one(engine: &Handle, reply: Reply) -> Result<Value, ApiError> {
    let Reply::Cluster(name) = reply else { return Err(render::unexpected_reply()) };
    engine.read(|world| {
        let cluster = world.clusters.get(&name).ok_or_else(ApiError::cluster_not_found)?;
        let show = render::cluster::Include { settings: true, tags: true, ..Default::default() };
        Ok(json!({ "cluster": render::cluster::cluster(world, cluster, show) }))
    })
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct DescribeClusters {
    clusters: Vec<String>,
    include: Vec<String>,
}

/// `DescribeClusters`, `default` when none is named.
pub(super) fn describe(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let mut input: DescribeClusters = input::read(input)?;
    if input.clusters.is_empty() {
        input.clusters.push(ClusterName::default_cluster().to_string());
    }
    if input.clusters.len() > PAGE {
        return Err(ApiError::invalid("Clusters cannot have more than 100 elements."));
    }
    let include = render::cluster::Include::of(&input.include);
    engine.read(|world| {
        let (mut clusters, mut failures) = (Vec::new(), Vec::new());
        for text in &input.clusters {
            if Arn::looks_like(text) {
                identifiers::cluster(Some(text))?;
            }
            let name = identifiers::cluster(Some(text)).ok();
            match name.as_ref().and_then(|name| world.clusters.get(name)) {
                Some(cluster) => clusters.push(render::cluster::cluster(world, cluster, include)),
                None => failures.push(Failure::missing(match &name {
                    Some(name) => world.settings.scope.cluster(name),
                    None => world.settings.scope.arn(format_args!("cluster/{text}")),
                })),
            }
        }
        Ok(json!({ "clusters": clusters, "failures": failures }))
    })
}

/// `ListClusters`: the active ones.
pub(super) fn list(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let page: PageRequest = input::read(input)?;
    engine.read(|world| {
        let active = world.clusters.values().filter(|c| c.active);
        let names: Vec<ClusterName> = active.map(|c| c.name.clone()).collect();
        let page = page.page(&"ListClusters", names, Order::Ascending, PAGE)?;
        let arns = page.keys.iter().map(|name| world.settings.scope.cluster(name));
        Ok(render::page("clusterArns", arns, page.next_token))
    })
}

/// The exception for operations on services of clusters, which there are none of.
pub(super) fn service_not_found() -> ApiError {
    ApiError::new(Exception::ServiceNotFound, "Service not found.")
}
