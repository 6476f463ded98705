//! What is there as the files that would make it: applied to the same box they change nothing.
//!
//! A family is written once, as its newest ACTIVE revision; a service names its family alone when that is what it runs.
//! What is as it would be by default is left out.

use super::call::call;
use super::difference;
use super::service::{describe, settings};
use super::tags::APPLIED;
use super::task_definition::{as_json, bare, newest};
use super::{cluster, prune, yaml};
use crate::api::error::ApiError;
use crate::engine::Handle;
use crate::model::task_definition::{self, TaskDefinitionContent};
use crate::model::{ClusterName, Family, TaskDefinition};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// How to write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) enum Format {
    Json,
    Yaml,
}

/// Texts, and what people should know of them.
#[derive(Debug)]
pub(in crate::api) struct Exported {
    pub(in crate::api) text: String,
    pub(in crate::api) warnings: Vec<String>,
}

/// The clusters, task definitions and services of the box; or one cluster with its services and what they run.
pub(in crate::api) async fn export(
    engine: &Handle,
    only: Option<&ClusterName>,
    format: Format,
) -> Result<Exported, ApiError> {
    let mut warnings = Vec::new();
    let clusters = clusters(engine, only).await?;
    let described = prune::all(engine, only.map(ClusterName::as_str)).await?;
    let mut families = BTreeSet::new();
    let mut services = Vec::new();
    // Where a service can be made with as little as it needs, to see what it is by default.
    let stage = engine.rehearsal(|world| {
        for service in &described {
            let name = service["serviceName"].as_str().unwrap_or_default();
            if let Ok(cluster) = ClusterName::new(prune::last(&service["clusterArn"])) {
                super::forget(world, &cluster, name);
            }
        }
    });
    for service in &described {
        let revision = prune::last(&service["taskDefinition"]);
        let (family, newest) = newest_of(engine, revision);
        if let Some(family) = family {
            if newest {
                families.insert(family);
            } else {
                warnings.push(format!(
                    "service {} runs {revision}, which is not the newest of its family: elsewhere it will not be there",
                    service["serviceName"]
                ));
            }
        }
        services.push(declaration(&stage, service, newest).await?);
    }
    if only.is_none() {
        families.extend(engine.read(|world| world.revisions.keys().cloned().collect::<Vec<_>>()));
    }
    let definitions: Vec<Value> = engine.read(|world| {
        families.iter().filter_map(|family| newest(world, family)).map(definition).collect()
    });
    let text = match format {
        Format::Yaml => yaml::write(
            &clusters.into_iter().chain(definitions).chain(services).collect::<Vec<_>>(),
        ),
        Format::Json => {
            let whole = json!({
                "clusters": clusters, "taskDefinitions": definitions, "services": services,
            });
            format!("{whole:#}\n")
        }
    };
    Ok(Exported { text, warnings })
}

async fn clusters(engine: &Handle, only: Option<&ClusterName>) -> Result<Vec<Value>, ApiError> {
    let names: Vec<ClusterName> = engine.read(|world| {
        let wanted = |name: &&ClusterName| only.is_none_or(|only| only == *name);
        let active = world.clusters.values().filter(|cluster| cluster.active);
        active.map(|cluster| &cluster.name).filter(wanted).cloned().collect()
    });
    if let (Some(_), true) = (only, names.is_empty()) {
        return Err(ApiError::cluster_not_found());
    }
    let mut clusters = Vec::new();
    for name in names {
        let current = cluster::describe(engine, &name).await?;
        let mut members = Map::new();
        members.insert("clusterName".to_owned(), json!(name));
        for member in [
            "capacityProviders",
            "defaultCapacityProviderStrategy",
            "configuration",
            "serviceConnectDefaults",
            "tags",
        ] {
            put(&mut members, member, &current[member]);
        }
        let default = json!([{ "name": "containerInsights", "value": "disabled" }]);
        if current["settings"] != default {
            put(&mut members, "settings", &current["settings"]);
        }
        clusters.push(Value::Object(members));
    }
    Ok(clusters)
}

/// Inserts what is more than nothing.
fn put(members: &mut Map<String, Value>, name: &str, value: &Value) {
    if !value.is_null() && value.as_array().is_none_or(|items| !items.is_empty()) {
        members.insert(name.to_owned(), value.clone());
    }
}

/// The family of `family:revision`, and whether that is its newest ACTIVE revision.
fn newest_of(engine: &Handle, revision: &str) -> (Option<Family>, bool) {
    let Some((family, number)) = revision.rsplit_once(':') else { return (None, false) };
    let Ok(family) = Family::new(family) else { return (None, false) };
    let is_newest = engine.read(|world| {
        newest(world, &family).is_some_and(|newest| newest.revision.to_string() == number)
    });
    (Some(family), is_newest)
}

/// What RegisterTaskDefinition takes for `definition`: without defaults, as long as that registers the same.
fn definition(definition: &TaskDefinition) -> Value {
    let whole = TaskDefinitionContent {
        family: Some(definition.family.to_string()),
        ..definition.content.clone()
    };
    let short = bare(&as_json(&whole));
    let same = serde_json::from_value(short.clone())
        .ok()
        .and_then(|content| task_definition::register(content, &[]).ok())
        .is_some_and(|registration| registration.content == definition.content);
    let mut document = if same { short } else { as_json(&whole) };
    if !definition.tags.is_empty() {
        document["tags"] = json!(definition.tags);
    }
    document
}

/// What CreateService takes for `service`.
async fn declaration(stage: &Handle, service: &Value, newest: bool) -> Result<Value, ApiError> {
    let mut members = settings(service);
    if let (true, Some(Value::String(revision))) = (newest, members.get_mut("taskDefinition")) {
        let family = revision.rsplit_once(':').map_or(revision.as_str(), |(family, _)| family);
        *revision = family.to_owned();
    }
    members.insert("cluster".to_owned(), prune::last(&service["clusterArn"]).into());
    members.insert("serviceName".to_owned(), service["serviceName"].clone());
    let tags: Vec<&Value> = service["tags"].as_array().into_iter().flatten().collect();
    let own = |tag: &&Value| tag["key"] != APPLIED;
    let tags: Vec<&Value> = tags.into_iter().filter(own).collect();
    if !tags.is_empty() {
        members.insert("tags".to_owned(), json!(tags));
    }
    without_defaults(stage, members).await
}

/// `members` without those that a service has by default, as a rehearsal tells.
async fn without_defaults(stage: &Handle, members: Map<String, Value>) -> Result<Value, ApiError> {
    const NEEDED: [&str; 6] = [
        "cluster",
        "serviceName",
        "taskDefinition",
        "desiredCount",
        "schedulingStrategy",
        "networkConfiguration",
    ];
    let needed = |name: &String| NEEDED.contains(&name.as_str());
    let mut least = members.clone();
    least.retain(|name, _| needed(name));
    let cluster = ClusterName::new(least["cluster"].as_str().unwrap_or_default())
        .map_err(|error| ApiError::invalid(error.to_string()))?;
    let name = least["serviceName"].as_str().unwrap_or_default().to_owned();
    // What cannot be made with so little is written in full.
    if call(stage, "CreateService", Value::Object(least)).await.is_err() {
        return Ok(Value::Object(members));
    }
    let Some(default) = describe(stage, &cluster, &name).await? else {
        return Ok(Value::Object(members));
    };
    let default = settings(&default);
    let mut short = members;
    short.retain(|name, value| {
        let same =
            default.get(name).is_some_and(|default| difference::between(default, value).is_empty());
        !same || matches!(name.as_str(), "taskDefinition" | "desiredCount" | "networkConfiguration")
    });
    Ok(Value::Object(short))
}
