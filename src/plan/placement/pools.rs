//! Capacity providers: named pools of boxes, and which of them the next task is for.
//!
//! A box belongs to the pool that its attribute `coracle.capacity-provider` names. A strategy gives one of its pools a
//! *base*, the tasks that go there before any other, and each a *weight*, its share of what comes after. A task that its
//! pool has no room for fails; it does not go to another pool.

use super::fit::value_of;
use crate::model::placement::CapacityProviderStrategyItem;
use crate::model::{ClusterName, ContainerInstance};
use crate::plan::World;
use std::collections::BTreeSet;

/// The attribute that names the pool of a box.
pub(crate) const POOL: &str = "coracle.capacity-provider";

/// The pool of a box.
pub(crate) fn pool_of(instance: &ContainerInstance) -> Option<&str> {
    value_of(instance, POOL).filter(|name| !name.is_empty())
}

/// How many pools a strategy may name, and how large its numbers may be.
const POOLS_AT_MOST: usize = 20;
const WEIGHT_AT_MOST: u32 = 1000;
const BASE_AT_MOST: u32 = 100_000;

/// The strategy of requests to the cluster that give neither one nor a launch type.
pub(crate) fn default_pools(
    world: &World,
    cluster: &ClusterName,
) -> Vec<CapacityProviderStrategyItem> {
    let items = world.clusters.get(cluster).map(|c| &c.default_capacity_provider_strategy);
    let item = |value: &serde_json::Value| serde_json::from_value(value.clone()).ok();
    items.into_iter().flatten().filter_map(item).collect()
}

/// Whether a strategy can be used in the cluster; the error is for the caller, with InvalidParameterException.
pub(crate) fn check_pools(
    world: &World,
    cluster: &ClusterName,
    strategy: &[CapacityProviderStrategyItem],
) -> Result<(), String> {
    if strategy.len() > POOLS_AT_MOST {
        return Err(format!(
            "A capacity provider strategy can contain a maximum of {POOLS_AT_MOST} capacity providers."
        ));
    }
    if strategy.iter().any(|item| item.weight > WEIGHT_AT_MOST) {
        return Err(format!("The weight must be between 0 and {WEIGHT_AT_MOST}."));
    }
    if strategy.iter().any(|item| item.base > BASE_AT_MOST) {
        return Err(format!("The base must be between 0 and {BASE_AT_MOST}."));
    }
    if strategy.iter().filter(|item| item.base > 0).count() > 1 {
        return Err("Only one capacity provider in a strategy can have a base defined.".to_owned());
    }
    if strategy.len() > 1 && strategy.iter().all(|item| item.weight == 0) {
        return Err(
            "At least one capacity provider in a strategy must have a weight greater than 0."
                .to_owned(),
        );
    }
    let mut seen = BTreeSet::new();
    let associated = world.clusters.get(cluster).map(|cluster| &cluster.capacity_providers);
    for CapacityProviderStrategyItem { capacity_provider: name, .. } in strategy {
        if !seen.insert(name) {
            return Err(format!("The capacity provider {name} is in the strategy more than once."));
        }
        let known = associated.is_some_and(|names| names.contains(name))
            || world.index.rooms.has_pool(cluster, name);
        if !known {
            return Err(format!(
                "The specified capacity provider strategy contains a capacity provider that is not associated with the \
                 cluster: {name}. Associate the capacity provider with the cluster and try again."
            ));
        }
    }
    Ok(())
}

/// The pool that the next task is for, when `count` tells how many each has already; none when no pool takes any.
pub(crate) fn next_pool(
    strategy: &[CapacityProviderStrategyItem],
    count: impl Fn(&str) -> u32,
) -> Option<&str> {
    let count = |item: &CapacityProviderStrategyItem| count(&item.capacity_provider);
    if let Some(item) = strategy.iter().find(|item| count(item) < item.base) {
        return Some(&item.capacity_provider);
    }
    if let [only] = strategy
        && only.weight == 0
    {
        // Alone it needs no share.
        return Some(&only.capacity_provider);
    }
    let mut best: Option<(&CapacityProviderStrategyItem, u64)> = None;
    for item in strategy.iter().filter(|item| item.weight > 0) {
        // With one more, in shares of its weight; of equals the first in the strategy.
        let with_one_more = u64::from(count(item) - item.base) + 1;
        let less = best.is_none_or(|(other, others)| {
            with_one_more * u64::from(other.weight) < others * u64::from(item.weight)
        });
        if less {
            best = Some((item, with_one_more));
        }
    }
    best.map(|(item, _)| item.capacity_provider.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn shared(strategy: &[(&str, u32, u32)], tasks: u32) -> Vec<u32> {
        let strategy: Vec<_> = strategy
            .iter()
            .map(|(pool, base, weight)| CapacityProviderStrategyItem {
                capacity_provider: (*pool).to_owned(),
                base: *base,
                weight: *weight,
            })
            .collect();
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for _ in 0..tasks {
            let pool = next_pool(&strategy, |pool| counts.get(pool).copied().unwrap_or(0));
            if let Some(pool) = pool {
                *counts.entry(pool).or_default() += 1;
            }
        }
        let count = |item: &CapacityProviderStrategyItem| counts.get(&*item.capacity_provider);
        strategy.iter().map(|item| count(item).copied().unwrap_or(0)).collect()
    }

    #[test]
    fn the_base_comes_first_and_weights_share_the_rest() {
        assert_eq!(shared(&[("a", 0, 1), ("b", 0, 1)], 5), [3, 2]);
        assert_eq!(shared(&[("a", 0, 1), ("b", 0, 4)], 10), [2, 8]);
        assert_eq!(shared(&[("a", 2, 1), ("b", 0, 3)], 2), [2, 0]);
        assert_eq!(shared(&[("a", 2, 1), ("b", 0, 3)], 10), [4, 6]);
        assert_eq!(shared(&[("b", 0, 0), ("a", 0, 1)], 4), [0, 4]);
        assert_eq!(shared(&[("a", 1, 0), ("b", 0, 1)], 4), [1, 3]);
        assert_eq!(shared(&[("a", 0, 0)], 3), [3]);
        assert_eq!(shared(&[("a", 0, 0), ("b", 0, 0)], 3), [0, 0]);
    }
}
