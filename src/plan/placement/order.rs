//! The order in which boxes are walked, and which decides between those that all rules leave equal.

use super::room::Free;
use super::spread::Ranking;
use super::strategy::Rank;
use crate::model::ContainerInstanceId;
use std::cmp::Ordering;

/// An order, and the place in the strategy of the rule that it is of; the length of the strategy when of none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) kind: Kind,
    pub(super) place: usize,
}

/// The orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Most memory free, then most CPU, then by id.
    Emptiest,
    /// Least memory free, then least CPU.
    LeastMemory,
    /// Least CPU free, then least memory.
    LeastCpu,
    /// None.
    Random,
}

impl Order {
    /// That of the first rule that has one.
    pub(super) fn of(strategy: &[Rank]) -> Self {
        let orders = strategy.iter().map(|rank| match rank {
            Rank::BinpackMemory => Some(Kind::LeastMemory),
            Rank::BinpackCpu => Some(Kind::LeastCpu),
            Rank::Random => Some(Kind::Random),
            Rank::SpreadInstance | Rank::SpreadAttribute(_) => None,
        });
        let first = orders.enumerate().find_map(|(place, kind)| Some(Self { kind: kind?, place }));
        first.unwrap_or(Self { kind: Kind::Emptiest, place: strategy.len() })
    }

    /// Which of two boxes comes first.
    pub(super) fn compare(
        self,
        a: (Free, &ContainerInstanceId),
        b: (Free, &ContainerInstanceId),
    ) -> Ordering {
        let by_cpu = |free: Free| (free.cpu, free.memory);
        match self.kind {
            Kind::Emptiest => b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)),
            Kind::LeastMemory => a.0.cmp(&b.0).then_with(|| b.1.cmp(a.1)),
            Kind::LeastCpu => by_cpu(a.0).cmp(&by_cpu(b.0)).then_with(|| b.1.cmp(a.1)),
            Kind::Random => a.1.cmp(b.1),
        }
    }

    /// Whether a box is, by the rules before that of the order, the `least` that any can be.
    pub(super) fn is_least(self, ranking: &Ranking, least: &Ranking) -> bool {
        ranking.iter().zip(least).take(self.place).all(|(has, least)| has <= least)
    }

    /// Whether the `best` box so far stays the best, when all boxes to come are `now` or come after it in this order and
    /// the best is the least there can be by the rules before.
    pub(super) fn is_final(
        self,
        best: (Free, &ContainerInstanceId),
        now: (Free, &ContainerInstanceId),
        rules: usize,
    ) -> bool {
        let worse_by_rule = match self.kind {
            Kind::Emptiest | Kind::Random => false,
            Kind::LeastMemory => now.0.memory > best.0.memory,
            Kind::LeastCpu => now.0.cpu > best.0.cpu,
        };
        let no_rule_after = rules <= self.place + 1;
        worse_by_rule || no_rule_after && self.compare(best, now).is_lt()
    }
}
