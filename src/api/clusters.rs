//! Clusters.

use super::error::ApiError;
use super::pagination::{Order, PAGE, PageRequest};
use super::render::cluster::{Counters, Include};
use super::{identifiers, input, render};
use crate::engine::Handle;
use crate::model::{Arn, CapacityProviderStrategyItem, ClusterName, Failure, Tag};
use crate::plan::{Command, Reply, command};
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
    default_capacity_provider_strategy: Vec<CapacityProviderStrategyItem>,
    service_connect_defaults: Option<Value>,
}

/// `CreateCluster`: a name that exists already is answered with the cluster as it is.
pub(super) async fn create(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: CreateCluster = input::read(input)?;
    let name = match input.cluster_name.as_deref().filter(|n| !n.is_empty()) {
        None => ClusterName::default_cluster(),
        Some(name) => ClusterName::new(name).map_err(|e| ApiError::invalid(e.to_string()))?,
    };
    check_settings(&input.settings)?;
    let command = command::CreateCluster {
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

fn check_settings(settings: &[Value]) -> Result<(), ApiError> {
    for setting in settings {
        let value = setting["value"].as_str().unwrap_or_default();
        if !matches!(value, "enabled" | "enhanced" | "disabled") {
            return Err(ApiError::invalid(format!(
                "Invalid value {:?} of the cluster setting containerInsights: it is enabled, enhanced or disabled.",
                identifiers::shorten(value)
            )));
        }
    }
    if settings.len() > 1 {
        return Err(ApiError::invalid("The cluster setting containerInsights is given twice."));
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateCluster {
    cluster: String,
    settings: Option<Vec<Value>>,
    configuration: Option<Value>,
    service_connect_defaults: Option<Value>,
}

/// `UpdateCluster` and `UpdateClusterSettings`, which differ in what they require.
pub(super) async fn update(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: UpdateCluster = input::read(input)?;
    check_settings(input.settings.as_deref().unwrap_or_default())?;
    let command = command::UpdateCluster {
        name: identifiers::cluster(Some(&input.cluster))?,
        settings: input.settings.filter(|settings| !settings.is_empty()),
        configuration: input.configuration,
        service_connect_defaults: input.service_connect_defaults,
    };
    let reply = engine.submit(Command::UpdateCluster(Box::new(command))).await?;
    one(engine, reply)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PutCapacityProviders {
    cluster: String,
    capacity_providers: Vec<String>,
    default_capacity_provider_strategy: Vec<CapacityProviderStrategyItem>,
}

/// `PutClusterCapacityProviders`.
pub(super) async fn put_capacity_providers(
    engine: &Handle,
    input: Value,
) -> Result<Value, ApiError> {
    let input: PutCapacityProviders = input::read(input)?;
    let reply = engine
        .submit(Command::PutClusterCapacityProviders {
            cluster: identifiers::cluster(Some(&input.cluster))?,
            capacity_providers: input.capacity_providers,
            strategy: input.default_capacity_provider_strategy,
        })
        .await?;
    one(engine, reply)
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
        let show =
            Include { settings: true, tags: true, configurations: true, ..Include::default() };
        let counters = Counters::of(world, &[&name]);
        Ok(json!({ "cluster": render::cluster::cluster(world, cluster, &counters, show) }))
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
    let include = Include::of(&input.include);
    let mut names = Vec::new();
    for text in &input.clusters {
        if Arn::looks_like(text) {
            identifiers::cluster(Some(text))?;
        }
        names.push((text, identifiers::cluster(Some(text)).ok()));
    }
    engine.read(|world| {
        let known: Vec<_> = names.iter().filter_map(|(_, name)| name.as_ref()).collect();
        let counters = Counters::of(world, &known);
        let (mut clusters, mut failures) = (Vec::new(), Vec::new());
        for (text, name) in &names {
            match name.as_ref().and_then(|name| world.clusters.get(name)) {
                Some(cluster) => {
                    clusters.push(render::cluster::cluster(world, cluster, &counters, include));
                }
                None => failures.push(Failure::missing(match name {
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
