//! Capacity providers: the named pools that boxes belong to.

use super::error::ApiError;
use super::pagination::{Order, PageRequest};
use super::{identifiers, input, render};
use crate::engine::Handle;
use crate::model::{Arn, Failure};
use crate::plan::World;
use crate::plan::command::capacity_provider::known;
use serde::Deserialize;
use serde_json::{Value, json};

/// The largest page of this list.
const PROVIDERS_PAGE: usize = 10;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct DescribeCapacityProviders {
    capacity_providers: Vec<String>,
    cluster: Option<String>,
    #[serde(flatten)]
    page: PageRequest,
}

/// `DescribeCapacityProviders`: those that are named, or all pages of those there are; of one cluster if one is named.
pub(super) fn describe(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: DescribeCapacityProviders = input::read(input)?;
    if input.capacity_providers.len() > 100 {
        return Err(ApiError::invalid("Capacity providers cannot have more than 100 elements."));
    }
    engine.read(|world| {
        let mut there: Vec<String> = known(world).into_iter().map(str::to_owned).collect();
        if let Some(cluster) = input.cluster.as_deref().filter(|c| !c.is_empty()) {
            let cluster = identifiers::active_cluster(world, Some(cluster))?;
            let associated = world.clusters.get(&cluster).map(|c| c.capacity_providers.as_slice());
            there.retain(|name| associated.unwrap_or_default().contains(name));
        }
        let mut failures = Vec::new();
        if !input.capacity_providers.is_empty() {
            let mut named = Vec::new();
            for text in &input.capacity_providers {
                let name = match text.rsplit_once(":capacity-provider/") {
                    Some((_, name)) if Arn::looks_like(text) => name,
                    _ => text,
                };
                if there.iter().any(|there| there == name) {
                    named.push(name.to_owned());
                } else {
                    failures.push(Failure::missing(arn(world, &identifiers::shorten(name))));
                }
            }
            named.sort_unstable();
            named.dedup();
            there = named;
        }
        let scope = ("DescribeCapacityProviders", &input.cluster, &input.capacity_providers);
        let page = input.page.page(&scope, there, Order::Ascending, PROVIDERS_PAGE)?;
        let shown = page.keys.iter().map(|name| {
            json!({
                "capacityProviderArn": arn(world, name),
                "name": name,
                "status": "ACTIVE",
                "tags": []
            })
        });
        let mut answer = render::page("capacityProviders", shown, page.next_token);
        answer["failures"] = json!(failures);
        Ok(answer)
    })
}

fn arn(world: &World, name: &str) -> String {
    world.settings.scope.arn(format_args!("capacity-provider/{name}"))
}
