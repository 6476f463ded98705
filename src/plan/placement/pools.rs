//! Capacity providers: named pools of boxes, and which of them the next task is for.
//!
//! A box belongs to the pool that its attribute `coracle.capacity-provider` names. A strategy gives one of its pools a
//! *base*, the tasks that go there before any other, and each a *weight*, its share of what comes after. A task that its
//! pool has no room for fails; it does not go to another pool.

use super::fit::value_of;
use crate::model::ContainerInstance;
use crate::model::task_definition::CapacityProviderStrategyItem;

/// The attribute that names the pool of a box.
pub(crate) const POOL: &str = "coracle.capacity-provider";

/// The pool of a box.
pub(crate) fn pool_of(instance: &ContainerInstance) -> Option<&str> {
    value_of(instance, POOL).filter(|name| !name.is_empty())
}

/// The pool that the next task is for, when `count` tells how many each has already; none when no pool takes any.
pub(crate) fn next_pool<'a>(
    strategy: &'a [CapacityProviderStrategyItem],
    count: impl Fn(&str) -> u32,
) -> Option<&'a str> {
    let name = |item: &'a CapacityProviderStrategyItem| item.capacity_provider.as_deref();
    let base = |item: &CapacityProviderStrategyItem| number(item.base);
    let below = |item: &&CapacityProviderStrategyItem| {
        name_of(item).is_some_and(|name| u64::from(count(name)) < base(item))
    };
    if let Some(item) = strategy.iter().find(below) {
        return name(item);
    }
    let mut best: Option<(&CapacityProviderStrategyItem, u64, u64)> = None;
    for item in strategy.iter().filter(|item| weight(item) > 0) {
        let Some(pool) = name_of(item) else { continue };
        // As it would be with one more: of equals the first in the strategy.
        let (had, weight) = (u64::from(count(pool)).saturating_sub(base(item)) + 1, weight(item));
        let less = best.is_none_or(|(_, other_had, other_weight)| had * other_weight < other_had * weight);
        if less {
            best = Some((item, had, weight));
        }
    }
    best.and_then(|(item, ..)| name(item))
}

fn name_of(item: &CapacityProviderStrategyItem) -> Option<&str> {
    item.capacity_provider.as_deref()
}

/// A weight that is not given is 0, and all weights of 0 mean that only bases count; one item alone takes all.
fn weight(item: &CapacityProviderStrategyItem) -> u64 {
    number(item.weight)
}

fn number(value: Option<i64>) -> u64 {
    u64::try_from(value.unwrap_or(0)).unwrap_or(0)
}
