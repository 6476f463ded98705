//! The room of all boxes, and the boxes of each cluster and pool in order of what is free.
//!
//! [`World::apply`](crate::plan::World::apply) keeps it, so that nothing is added up over the fleet when a task is
//! placed. What takes room is a *holding*: an assignment with its tasks, of which those not STOPPED yet hold on to it
//! even when the assignment is gone or wants fewer.

use super::needs::Needs;
use super::order::Kind;
use super::room::{Free, Room, Tally};
use super::slots::{Slot, SlotSet, Slots};
use crate::model::{
    Assignment, AssignmentId, ClusterName, ContainerInstance, ContainerInstanceId, Task,
    TaskDefinition, TaskDefinitionRef, TaskStatus,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, btree_map};
use std::ops::Bound;

/// Room by box, and what is found by it.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Rooms {
    boxes: BTreeMap<ContainerInstanceId, Place>,
    slots: Slots,
    clusters: BTreeMap<ClusterName, ClusterRooms>,
    holdings: BTreeMap<AssignmentId, Holding>,
}

/// What an assignment has of a box.
#[derive(Debug, Clone, PartialEq)]
struct Holding {
    instance: ContainerInstanceId,
    group: Option<String>,
    /// Of each of its tasks.
    needs: Needs,
    /// Whether the assignment is there, or only tasks that it left.
    assigned: bool,
    /// How many tasks are to run.
    wanted: u32,
    /// How many tasks are not STOPPED yet.
    live: u32,
}

/// A box: its room, and where it is listed.
#[derive(Debug, Default, Clone, PartialEq)]
struct Place {
    room: Room,
    slot: Slot,
    /// None while no record of the box is there.
    cluster: Option<ClusterName>,
    pool: Option<String>,
    /// Whether it may get tasks, and so is listed in its cluster.
    active: bool,
}

/// What is found by cluster; active boxes only.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct ClusterRooms {
    pub(super) all: Fleet,
    pools: BTreeMap<String, Fleet>,
    groups: BTreeMap<String, GroupBoxes>,
    /// Attribute → value → the boxes that have it.
    values: BTreeMap<String, BTreeMap<String, SlotSet>>,
}

/// Boxes in order of what is free.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Fleet {
    /// From little memory to much; from the back the emptiest, of equals in order of their ids.
    by_memory: BTreeMap<Key, Slot>,
    /// From little CPU to much.
    by_cpu: BTreeMap<Key, Slot>,
}

type Key = (u64, u64, Reverse<ContainerInstanceId>);

/// The boxes with at least so much.
fn from(boxes: &BTreeMap<Key, Slot>, least: u64) -> btree_map::Range<'_, Key, Slot> {
    match (least.checked_sub(1), boxes.first_key_value()) {
        // No box has all the rest there can be, so the id does not matter.
        (Some(below), Some(((_, _, id), _))) => {
            boxes.range((Bound::Excluded((below, u64::MAX, id.clone())), Bound::Unbounded))
        }
        _ => boxes.range(..),
    }
}

/// The boxes with tasks of one group.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct GroupBoxes {
    pub(super) counts: BTreeMap<ContainerInstanceId, u32>,
    /// The boxes that have any.
    pub(super) any: SlotSet,
    /// The boxes that have so many.
    pub(super) with: BTreeMap<u32, SlotSet>,
}

/// A box as a walk comes to it.
pub(super) struct Passed<'a> {
    pub(super) free: Free,
    pub(super) id: &'a ContainerInstanceId,
    pub(super) slot: Slot,
}

impl Fleet {
    /// How many boxes there are.
    pub(super) fn len(&self) -> usize {
        self.by_memory.len()
    }

    /// The boxes in that order, with what they have free. Some that have too little for `needs` may be left out.
    pub(super) fn walk<'a>(
        &'a self,
        kind: Kind,
        needs: &Needs,
    ) -> Box<dyn Iterator<Item = Passed<'a>> + 'a> {
        let passed = |memory: &u64, cpu: &u64, id, slot: &Slot| Passed {
            free: Free { memory: *memory, cpu: *cpu },
            id,
            slot: *slot,
        };
        let by_memory = move |((memory, cpu, Reverse(id)), slot): (&'a Key, &Slot)| {
            passed(memory, cpu, id, slot)
        };
        let by_cpu = move |((cpu, memory, Reverse(id)), slot): (&'a Key, &Slot)| {
            passed(memory, cpu, id, slot)
        };
        match kind {
            Kind::Emptiest => Box::new(from(&self.by_memory, needs.memory).rev().map(by_memory)),
            Kind::LeastMemory => Box::new(from(&self.by_memory, needs.memory).map(by_memory)),
            Kind::LeastCpu | Kind::Random => Box::new(from(&self.by_cpu, needs.cpu).map(by_cpu)),
        }
    }

    /// All boxes.
    pub(super) fn ids(&self) -> impl Iterator<Item = &ContainerInstanceId> {
        self.by_memory.keys().map(|(_, _, Reverse(id))| id)
    }

    /// One of all boxes; which, `number` says.
    pub(super) fn pick(&self, number: u64) -> Option<&ContainerInstanceId> {
        let place = number.checked_rem(u64::try_from(self.len()).ok()?)?;
        self.ids().nth(usize::try_from(place).ok()?)
    }

    fn insert(&mut self, free: Free, id: &ContainerInstanceId, slot: Slot) {
        self.by_memory.insert((free.memory, free.cpu, Reverse(id.clone())), slot);
        self.by_cpu.insert((free.cpu, free.memory, Reverse(id.clone())), slot);
    }

    fn remove(&mut self, free: Free, id: &ContainerInstanceId) {
        self.by_memory.remove(&(free.memory, free.cpu, Reverse(id.clone())));
        self.by_cpu.remove(&(free.cpu, free.memory, Reverse(id.clone())));
    }
}

impl GroupBoxes {
    /// How many tasks of the group there are.
    pub(super) fn tasks(&self) -> u64 {
        let tasks = |(count, boxes): (&u32, &SlotSet)| {
            u64::from(*count) * u64::try_from(boxes.len()).unwrap_or(u64::MAX)
        };
        self.with.iter().map(tasks).sum()
    }

    /// How many of them are on these boxes.
    pub(super) fn tasks_on(&self, boxes: &SlotSet) -> u64 {
        let tasks =
            |(count, with): (&u32, &SlotSet)| u64::from(*count) * u64::from(with.common(boxes));
        self.with.iter().map(tasks).sum()
    }

    fn set(&mut self, id: &ContainerInstanceId, slot: Slot, count: u32) {
        let old =
            if count == 0 { self.counts.remove(id) } else { self.counts.insert(id.clone(), count) };
        if let Some(old) = old {
            leave(&mut self.with, &old, slot);
        }
        if count > 0 {
            self.any.insert(slot);
            self.with.entry(count).or_default().insert(slot);
        } else {
            self.any.remove(slot);
        }
    }
}

impl Rooms {
    /// The room of a box.
    pub(crate) fn get(&self, id: &ContainerInstanceId) -> Option<&Room> {
        self.boxes.get(id).map(|place| &place.room)
    }

    /// The boxes of the cluster that have this value of an attribute, and how many they are.
    pub(super) fn with_value(
        &self,
        cluster: &ClusterName,
        attribute: &str,
        value: &str,
    ) -> (impl Iterator<Item = &ContainerInstanceId>, usize) {
        let set = self.clusters.get(cluster).and_then(|c| c.values.get(attribute)?.get(value));
        (set.into_iter().flat_map(|set| self.slots.ids(set)), set.map_or(0, SlotSet::len))
    }

    pub(super) fn cluster(&self, cluster: &ClusterName) -> Option<&ClusterRooms> {
        self.clusters.get(cluster)
    }

    /// Whether the cluster has boxes of that pool which may get tasks.
    pub(crate) fn has_pool(&self, cluster: &ClusterName, pool: &str) -> bool {
        self.clusters.get(cluster).is_some_and(|cluster| cluster.pools.contains_key(pool))
    }

    /// A box comes or changes from `old`.
    pub(crate) fn put_instance(
        &mut self,
        old: Option<&ContainerInstance>,
        instance: &ContainerInstance,
    ) {
        self.unlist(&instance.id, old);
        let place = self.place(&instance.id);
        place.room.set_capacity(&instance.capacity);
        place.cluster = Some(instance.cluster.clone());
        place.pool = instance.capacity_provider().map(str::to_owned);
        place.active = !instance.draining;
        self.list(instance);
    }

    /// A box goes.
    pub(crate) fn delete_instance(&mut self, old: &ContainerInstance) {
        self.unlist(&old.id, Some(old));
        if let Some(place) = self.boxes.get_mut(&old.id) {
            place.room.set_capacity(&crate::model::container_instance::Capacity::default());
            (place.cluster, place.pool, place.active) = (None, None, false);
            if place.room.is_empty() {
                self.remove(&old.id);
            }
        }
    }

    /// An assignment comes or changes.
    pub(crate) fn put_assignment(
        &mut self,
        assignment: &Assignment,
        definition: Option<&TaskDefinition>,
    ) {
        let needs = definition
            .map(|definition| Needs::of_assignment(definition, assignment))
            .unwrap_or_default();
        let new = || Holding {
            instance: assignment.container_instance.clone(),
            group: assignment.group.clone(),
            needs: Needs::default(),
            assigned: false,
            wanted: 0,
            live: 0,
        };
        self.hold(&assignment.id, new, |holding| {
            holding.needs = needs;
            holding.assigned = true;
            holding.wanted = assignment.count();
        });
    }

    /// An assignment goes.
    pub(crate) fn delete_assignment(&mut self, old: &Assignment) {
        if let Some(holding) = self.holdings.get(&old.id).cloned() {
            self.hold(
                &old.id,
                || holding,
                |holding| {
                    (holding.assigned, holding.wanted) = (false, 0);
                },
            );
        }
    }

    /// A task comes, changes from `old`, or goes.
    pub(crate) fn task(
        &mut self,
        old: Option<&Task>,
        new: Option<&Task>,
        definitions: &BTreeMap<TaskDefinitionRef, TaskDefinition>,
    ) {
        let is_live = |task: &&Task| task.last_status != TaskStatus::Stopped;
        let (was, is) = (old.filter(is_live), new.filter(is_live));
        if was.is_some() != is.is_some()
            && let Some(task) = was.or(is)
        {
            let more = is.is_some();
            let holding = || Holding {
                instance: task.container_instance.clone(),
                group: task.group.clone(),
                needs: definitions
                    .get(&task.task_definition)
                    .map_or_else(Needs::default, |d| Needs::of(&d.content, &task.overrides, None)),
                assigned: false,
                wanted: 0,
                live: 0,
            };
            self.hold(&task.assignment(), holding, |holding| {
                holding.live = if more { holding.live + 1 } else { holding.live.saturating_sub(1) };
            });
        }
        let tally = |task: Option<&Task>| task.and_then(|task| Tally::of(task.last_status));
        let (before, after) = (tally(old), tally(new));
        if before != after
            && let Some(task) = new.or(old)
        {
            self.change(&task.container_instance, None, |room| {
                if let Some(tally) = before {
                    room.tally(tally, false);
                }
                if let Some(tally) = after {
                    room.tally(tally, true);
                }
            });
        }
    }

    fn hold(
        &mut self,
        id: &AssignmentId,
        new: impl FnOnce() -> Holding,
        change: impl FnOnce(&mut Holding),
    ) {
        let old = self.holdings.remove(id);
        let mut holding = old.clone().unwrap_or_else(new);
        change(&mut holding);
        let group = holding.group.clone();
        self.change(&holding.instance, group.as_deref(), |room| {
            if let Some(old) = &old {
                room.give_back(&old.needs, old.wanted.max(old.live));
                old.group.iter().for_each(|group| room.leave(group, old.wanted));
            }
            room.take(&holding.needs, holding.wanted.max(holding.live));
            holding.group.iter().for_each(|group| room.join(group, holding.wanted));
        });
        if holding.assigned || holding.live > 0 {
            self.holdings.insert(id.clone(), holding);
        }
    }

    /// Lists an active box in its cluster.
    fn list(&mut self, instance: &ContainerInstance) {
        let Some(place) = self.boxes.get(&instance.id).filter(|place| place.active) else { return };
        let cluster = self.clusters.entry(instance.cluster.clone()).or_default();
        let free = place.room.free();
        cluster.all.insert(free, &instance.id, place.slot);
        if let Some(pool) = &place.pool {
            cluster.pools.entry(pool.clone()).or_default().insert(free, &instance.id, place.slot);
        }
        for group in place.room.groups() {
            let count = place.room.count(group);
            cluster.groups.entry(group.to_owned()).or_default().set(
                &instance.id,
                place.slot,
                count,
            );
        }
        for (name, value) in values(instance) {
            let values = cluster.values.entry(name.to_owned()).or_default();
            values.entry(value.to_owned()).or_default().insert(place.slot);
        }
    }

    fn unlist(&mut self, id: &ContainerInstanceId, old: Option<&ContainerInstance>) {
        let Some(place) = self.boxes.get(id).filter(|place| place.active) else { return };
        let Some(name) = &place.cluster else { return };
        let Some(cluster) = self.clusters.get_mut(name) else { return };
        let free = place.room.free();
        cluster.all.remove(free, id);
        if let Some(pool) = &place.pool
            && let Some(fleet) = cluster.pools.get_mut(pool)
        {
            fleet.remove(free, id);
            if fleet.len() == 0 {
                cluster.pools.remove(pool);
            }
        }
        for group in place.room.groups() {
            cluster.set_group(group, id, place.slot, 0);
        }
        for (attribute, value) in old.into_iter().flat_map(values) {
            if let Some(values) = cluster.values.get_mut(attribute) {
                leave(values, value, place.slot);
                if values.is_empty() {
                    cluster.values.remove(attribute);
                }
            }
        }
        if cluster.all.len() == 0 {
            self.clusters.remove(name);
        }
    }

    /// Changes what is on a box, and lists it anew where that moves it.
    fn change(
        &mut self,
        id: &ContainerInstanceId,
        group: Option<&str>,
        change: impl FnOnce(&mut Room),
    ) {
        self.place(id);
        let Some(place) = self.boxes.get_mut(id) else { return };
        let count = |room: &Room| group.map_or(0, |group| room.count(group));
        let (free, before) = (place.room.free(), count(&place.room));
        change(&mut place.room);
        let (now_free, now) = (place.room.free(), count(&place.room));
        if place.active
            && let Some(cluster) = place.cluster.as_ref().and_then(|c| self.clusters.get_mut(c))
        {
            if now_free != free {
                let pool = place.pool.as_ref().and_then(|pool| cluster.pools.get_mut(pool));
                for fleet in std::iter::once(&mut cluster.all).chain(pool) {
                    fleet.remove(free, id);
                    fleet.insert(now_free, id, place.slot);
                }
            }
            if let Some(group) = group.filter(|_| now != before) {
                cluster.set_group(group, id, place.slot, now);
            }
        }
        if place.cluster.is_none() && place.room.is_empty() {
            self.remove(id);
        }
    }

    fn place(&mut self, id: &ContainerInstanceId) -> &mut Place {
        let Self { boxes, slots, .. } = self;
        boxes
            .entry(id.clone())
            .or_insert_with(|| Place { slot: slots.give(id), ..Place::default() })
    }

    fn remove(&mut self, id: &ContainerInstanceId) {
        if let Some(place) = self.boxes.remove(id) {
            self.slots.take_back(place.slot);
        }
    }
}

impl ClusterRooms {
    /// The boxes of a pool, or all.
    pub(super) fn fleet(&self, pool: Option<&str>) -> Option<&Fleet> {
        match pool {
            None => Some(&self.all),
            Some(pool) => self.pools.get(pool),
        }
    }

    pub(super) fn group(&self, group: &str) -> Option<&GroupBoxes> {
        self.groups.get(group)
    }

    /// The values that active boxes have of an attribute with those boxes, and how many have none.
    pub(super) fn values(
        &self,
        attribute: &str,
    ) -> (impl Iterator<Item = (&str, &SlotSet)>, usize) {
        let values = self.values.get(attribute);
        let with: usize = values.map_or(0, |values| values.values().map(SlotSet::len).sum());
        let sets = values.into_iter().flatten().map(|(value, boxes)| (value.as_str(), boxes));
        (sets, self.all.len().saturating_sub(with))
    }

    fn set_group(&mut self, group: &str, id: &ContainerInstanceId, slot: Slot, count: u32) {
        if let Some(boxes) = self.groups.get_mut(group) {
            boxes.set(id, slot, count);
            if boxes.counts.is_empty() {
                self.groups.remove(group);
            }
        } else if count > 0 {
            self.groups.entry(group.to_owned()).or_default().set(id, slot, count);
        }
    }
}

/// Each attribute of a box once, with its value.
fn values(instance: &ContainerInstance) -> BTreeMap<&str, &str> {
    let mut values = BTreeMap::new();
    for attribute in &instance.attributes {
        // The first counts, as for whoever looks one up.
        values
            .entry(attribute.name.as_str())
            .or_insert(attribute.value.as_deref().unwrap_or_default());
    }
    values
}

/// The box leaves the set at `key`; no set is left empty.
fn leave<K: Ord + std::borrow::Borrow<Q>, Q: Ord + ?Sized>(
    sets: &mut BTreeMap<K, SlotSet>,
    key: &Q,
    slot: Slot,
) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(slot);
        if set.len() == 0 {
            sets.remove(key);
        }
    }
}
