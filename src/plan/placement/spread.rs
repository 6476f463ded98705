//! How the tasks of a group are spread over boxes and values of attributes, and how good a box is by each rule.

use super::claims::Claims;
use super::fit::value_of;
use super::room::Free;
use super::rooms::GroupBoxes;
use super::search::Wish;
use super::slots::Slot;
use super::strategy::{RULES_AT_MOST, Rank};
use crate::model::{ContainerInstance, ContainerInstanceId};
use crate::plan::World;
use std::collections::BTreeMap;

/// What a box is by each rule of the strategy; less is better, in order.
pub(super) type Ranking = [u64; RULES_AT_MOST];

/// Counts for one wish, kept while its tasks are placed.
#[derive(Debug)]
pub(super) struct Spread<'a> {
    strategy: &'a [Rank],
    on_boxes: Option<&'a GroupBoxes>,
    /// How many boxes of the fleet have so many tasks of the group.
    boxes_with: BTreeMap<u32, usize>,
    /// For each rule that spreads over an attribute, in the place of the rule.
    by_value: [Option<ByValue<'a>>; RULES_AT_MOST],
}

/// Tasks of the group by value of an attribute; boxes without it count as one value.
#[derive(Debug)]
pub(super) struct ByValue<'a> {
    attribute: &'a str,
    places: BTreeMap<Option<&'a str>, usize>,
    counts: Vec<u64>,
}

impl<'a> Spread<'a> {
    pub(super) fn new(world: &'a World, wish: &Wish<'a>, claims: &Claims) -> Self {
        let rooms = world.index.rooms.cluster(wish.cluster);
        let on_boxes = rooms.and_then(|rooms| rooms.group(wish.group));
        let mut spread = Self {
            strategy: wish.strategy,
            on_boxes,
            boxes_with: BTreeMap::new(),
            by_value: [const { None }; RULES_AT_MOST],
        };
        let Some((rooms, fleet)) = rooms.and_then(|rooms| Some((rooms, rooms.fleet(wish.pool)?)))
        else {
            return spread;
        };
        if wish.pool.is_some() {
            for id in fleet.ids() {
                *spread.boxes_with.entry(spread.count(id)).or_default() += 1;
            }
        } else if let Some(group) = on_boxes {
            let counted = group.with.iter().map(|(count, boxes)| (*count, boxes.len()));
            spread.boxes_with.extend(counted);
            spread.boxes_with.insert(0, fleet.len().saturating_sub(group.counts.len()));
        } else {
            spread.boxes_with.insert(0, fleet.len());
        }
        for (place, rank) in wish.strategy.iter().enumerate() {
            let Rank::SpreadAttribute(attribute) = rank else { continue };
            let (values, without) = rooms.values(attribute);
            let (mut places, mut counts) = (BTreeMap::new(), Vec::new());
            for (value, boxes) in values {
                places.insert(Some(value), counts.len());
                counts.push(on_boxes.map_or(0, |group| group.tasks_on(boxes)));
            }
            if without > 0 {
                let all = on_boxes.map_or(0, GroupBoxes::tasks);
                places.insert(None, counts.len());
                counts.push(all.saturating_sub(counts.iter().sum()));
            }
            if let Some(slot) = spread.by_value.get_mut(place) {
                *slot = Some(ByValue { attribute, places, counts });
            }
        }
        for (id, claim) in claims.iter() {
            let Some(instance) = world.container_instances.get(id) else { continue };
            let before = spread.count(id);
            for more in 0..claim.count(wish.group) {
                spread.add(instance, before + more, wish.covers(instance));
            }
        }
        spread
    }

    /// How many tasks of the group are on the box, without those of the plan at hand.
    pub(super) fn count(&self, id: &ContainerInstanceId) -> u32 {
        self.on_boxes.and_then(|group| group.counts.get(id)).copied().unwrap_or(0)
    }

    /// One more goes to a box that has `before` of them.
    pub(super) fn add(&mut self, instance: &ContainerInstance, before: u32, of_fleet: bool) {
        if let Some(boxes) = self.boxes_with.get_mut(&before).filter(|b| of_fleet && **b > 0) {
            *boxes -= 1;
            *self.boxes_with.entry(before + 1).or_default() += 1;
        }
        self.by_value.iter_mut().flatten().for_each(|values| values.add(instance));
    }

    /// Whether the box can have the least of tasks of the group that any has, as far as those before the plan at hand say.
    pub(super) fn may_have_fewest(&self, slot: Slot, fewest: u64) -> bool {
        let Some(boxes) = self.on_boxes else { return fewest == 0 };
        match u32::try_from(fewest) {
            Ok(0) | Err(_) => !boxes.any.contains(slot),
            Ok(fewest) => boxes.with.get(&fewest).is_some_and(|with| with.contains(slot)),
        }
    }

    /// What the rules before `place` can be at the least, for any box.
    pub(super) fn least(&self, place: usize) -> Ranking {
        let mut least = Ranking::default();
        let rules = self.strategy.iter().zip(&self.by_value).zip(&mut least).take(place);
        for ((rank, values), least) in rules {
            *least = match (rank, values) {
                (Rank::SpreadInstance, _) => self.fewest(),
                (_, Some(values)) => values.counts.iter().copied().min().unwrap_or(0),
                _ => 0,
            };
        }
        least
    }

    fn fewest(&self) -> u64 {
        let fewest = self.boxes_with.iter().find(|(_, boxes)| **boxes > 0);
        fewest.map_or(0, |(count, _)| u64::from(*count))
    }

    /// The place of the box's value for each rule that spreads over an attribute.
    pub(super) fn values_of(&self, instance: &ContainerInstance) -> [usize; RULES_AT_MOST] {
        let mut places = [usize::MAX; RULES_AT_MOST];
        for (place, values) in places.iter_mut().zip(&self.by_value) {
            if let Some(found) = values.as_ref().and_then(|values| values.place(instance)) {
                *place = found;
            }
        }
        places
    }

    pub(super) fn ranking(&self, instance: &ContainerInstance, free: Free, count: u32) -> Ranking {
        self.ranking_at(&self.values_of(instance), free, count)
    }

    /// The ranking of a box whose values are at these places.
    pub(super) fn ranking_at(
        &self,
        places: &[usize; RULES_AT_MOST],
        free: Free,
        count: u32,
    ) -> Ranking {
        let mut ranking = Ranking::default();
        let rules = self.strategy.iter().zip(&self.by_value).zip(places).zip(&mut ranking);
        for (((rank, values), place), ranked) in rules {
            *ranked = match rank {
                Rank::SpreadInstance => u64::from(count),
                Rank::SpreadAttribute(_) => {
                    values.as_ref().and_then(|v| v.counts.get(*place)).copied().unwrap_or(0)
                }
                Rank::BinpackMemory => free.memory,
                Rank::BinpackCpu => free.cpu,
                Rank::Random => 0,
            };
        }
        ranking
    }
}

impl ByValue<'_> {
    fn place(&self, instance: &ContainerInstance) -> Option<usize> {
        self.places.get(&value_of(instance, self.attribute)).copied()
    }

    fn add(&mut self, instance: &ContainerInstance) {
        if let Some(slot) = self.place(instance).and_then(|place| self.counts.get_mut(place)) {
            *slot += 1;
        }
    }
}
