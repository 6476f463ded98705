//! Capacity providers: named pools of boxes, and which of them the next task is for.
//!
//! [`capacity_provider`](crate::model::capacity_provider) says which box is in which. A strategy gives one of its pools a
//! *base*, the tasks that go there before any other, and each a *weight*, its share of what comes after. A task that its
//! pool has no room for fails; it does not go to another pool.

use crate::model::CapacityProviderStrategyItem;

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
