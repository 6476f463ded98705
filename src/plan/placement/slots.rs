//! Boxes as small numbers, and sets of them as bits: to pass over thousands of boxes at little cost.

use crate::model::ContainerInstanceId;

/// The number of a box. Numbers are given in the order of history, so two indexes are the same whatever they gave: all
/// that is here compares equal as far as only numbers differ.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Slot(usize);

impl PartialEq for Slot {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Which box has which number.
#[derive(Debug, Default, Clone)]
pub(super) struct Slots {
    ids: Vec<Option<ContainerInstanceId>>,
    free: Vec<Slot>,
}

impl PartialEq for Slots {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Slots {
    /// A number for the box.
    pub(super) fn give(&mut self, id: &ContainerInstanceId) -> Slot {
        let slot = self.free.pop().unwrap_or(Slot(self.ids.len()));
        match self.ids.get_mut(slot.0) {
            Some(place) => *place = Some(id.clone()),
            None => self.ids.push(Some(id.clone())),
        }
        slot
    }

    /// The box is gone: its number is for another.
    pub(super) fn take_back(&mut self, slot: Slot) {
        if let Some(place) = self.ids.get_mut(slot.0) {
            *place = None;
            self.free.push(slot);
        }
    }

    /// The boxes of a set.
    pub(super) fn ids<'a>(
        &'a self,
        set: &'a SlotSet,
    ) -> impl Iterator<Item = &'a ContainerInstanceId> {
        set.iter().filter_map(|slot| self.ids.get(slot.0)?.as_ref())
    }
}

/// A set of boxes.
#[derive(Debug, Default, Clone)]
pub(super) struct SlotSet {
    bits: Vec<u64>,
    len: usize,
}

impl PartialEq for SlotSet {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len
    }
}

impl SlotSet {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn contains(&self, slot: Slot) -> bool {
        self.bits.get(slot.0 / 64).is_some_and(|bits| bits & mask(slot) != 0)
    }

    pub(super) fn insert(&mut self, slot: Slot) {
        if self.bits.len() <= slot.0 / 64 {
            self.bits.resize(slot.0 / 64 + 1, 0);
        }
        if let Some(bits) = self.bits.get_mut(slot.0 / 64).filter(|bits| **bits & mask(slot) == 0) {
            *bits |= mask(slot);
            self.len += 1;
        }
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        if let Some(bits) = self.bits.get_mut(slot.0 / 64).filter(|bits| **bits & mask(slot) != 0) {
            *bits &= !mask(slot);
            self.len -= 1;
        }
    }

    /// How many boxes are in both.
    pub(super) fn common(&self, other: &Self) -> u32 {
        self.bits.iter().zip(&other.bits).map(|(a, b)| (a & b).count_ones()).sum()
    }

    fn iter(&self) -> impl Iterator<Item = Slot> {
        self.bits.iter().enumerate().flat_map(|(place, bits)| {
            (0..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| Slot(place * 64 + bit))
        })
    }
}

const fn mask(slot: Slot) -> u64 {
    1 << (slot.0 % 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn a_set_holds_what_was_put_in(steps in prop::collection::vec((0_usize..200, any::<bool>()), 0..100)) {
            let (mut set, mut expected) = (SlotSet::default(), BTreeSet::new());
            for (number, put) in steps {
                if put {
                    set.insert(Slot(number));
                    expected.insert(number);
                } else {
                    set.remove(Slot(number));
                    expected.remove(&number);
                }
                prop_assert_eq!(set.len(), expected.len());
                prop_assert!((0..200).all(|n| set.contains(Slot(n)) == expected.contains(&n)));
                prop_assert!(set.iter().map(|slot| slot.0).eq(expected.iter().copied()));
            }
        }
    }

    #[test]
    fn numbers_are_given_again() {
        let id = |name: &str| ContainerInstanceId::new(name).unwrap();
        let mut slots = Slots::default();
        let first = slots.give(&id("a"));
        slots.give(&id("b"));
        slots.take_back(first);
        let again = slots.give(&id("c"));
        let mut set = SlotSet::default();
        set.insert(again);
        assert_eq!((again.0, slots.ids(&set).collect::<Vec<_>>()), (0, vec![&id("c")]));
    }
}
