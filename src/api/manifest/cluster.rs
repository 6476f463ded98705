//! Clusters: made if missing; what the file speaks of is brought up to date, the rest is left alone.

use super::call::{call, first};
use super::difference;
use super::object::{ManifestError, Object};
use super::step::{Action, Step};
use super::tags;
use crate::api::error::ApiError;
use crate::engine::Handle;
use crate::model::ClusterName;
use serde_json::{Map, Value, json};

/// Members that UpdateCluster changes.
const UPDATED: [&str; 3] = ["settings", "configuration", "serviceConnectDefaults"];
/// Members that PutClusterCapacityProviders changes, both at once.
const PROVIDERS: [&str; 2] = ["capacityProviders", "defaultCapacityProviderStrategy"];

/// Makes the cluster what `members` say.
pub(super) async fn carry_out(
    engine: &Handle,
    object: &Object,
    name: &ClusterName,
    members: &Map<String, Value>,
) -> Result<Step, ManifestError> {
    step(engine, object, name, members)
        .await
        .map_err(|error| ManifestError::refused(object, error.message))
}

async fn step(
    engine: &Handle,
    object: &Object,
    name: &ClusterName,
    members: &Map<String, Value>,
) -> Result<Step, ApiError> {
    let active = engine.read(|world| world.clusters.get(name).is_some_and(|c| c.active));
    if !active {
        let differences = difference::of_objects(&Map::new(), members);
        let answer = call(engine, "CreateCluster", Value::Object(members.clone())).await?;
        let result = json!({ "clusterArn": answer["cluster"]["clusterArn"] });
        return Ok(Step::new(object, Action::Create, differences, result));
    }
    let current = describe(engine, name).await?;
    let mut differences = Vec::new();
    let mut update = json!({ "cluster": name });
    let mut providers = json!({ "cluster": name });
    let (mut updated, mut provided) = (false, false);
    for member in UPDATED.into_iter().chain(PROVIDERS) {
        let Some(wanted) = members.get(member).filter(|value| !value.is_null()) else { continue };
        let found =
            difference::between(&json!({ member: current[member] }), &json!({ member: wanted }));
        let is_provider = PROVIDERS.contains(&member);
        if !found.is_empty() {
            provided |= is_provider;
            updated |= !is_provider;
        }
        if !is_provider && !found.is_empty() {
            update[member] = wanted.clone();
        }
        differences.extend(found);
    }
    if updated {
        call(engine, "UpdateCluster", update).await?;
    }
    if provided {
        for member in PROVIDERS {
            let wanted = members.get(member).filter(|value| !value.is_null());
            let kept = &current[member];
            let value = wanted.unwrap_or(kept).clone();
            providers[member] = if value.is_null() { json!([]) } else { value };
        }
        call(engine, "PutClusterCapacityProviders", providers).await?;
    }
    let current_tags = tags::by_key(&current["tags"]);
    let wanted = tags::wanted(&current_tags, members.get("tags"), None);
    differences.extend(tags::differences(&current_tags, &wanted));
    tags::change(engine, &current["clusterArn"], &current_tags, &wanted).await?;
    let action = if differences.is_empty() { Action::Nothing } else { Action::Update };
    let result = json!({ "clusterArn": current["clusterArn"] });
    Ok(Step::new(object, action, differences, result))
}

/// The cluster as DescribeClusters shows it, with all that can be asked for.
pub(super) async fn describe(engine: &Handle, name: &ClusterName) -> Result<Value, ApiError> {
    let input = json!({ "clusters": [name], "include": ["SETTINGS", "CONFIGURATIONS", "TAGS"] });
    let mut answer = call(engine, "DescribeClusters", input).await?;
    Ok(first(&mut answer, "clusters"))
}
