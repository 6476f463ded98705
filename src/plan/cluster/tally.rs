//! What a service has: its assignments with what their tasks do, and what the plan makes of them.

use crate::model::{
    Assignment, ContainerInstance, ContainerInstanceId, DesiredStatus, Service, ServiceTasks, Task,
    TaskId, Timestamp, Wanted,
};
use crate::plan::health::{Serves, serves};
use crate::plan::instance::service::scaling;
use crate::plan::{Change, World};
use std::collections::{BTreeMap, BTreeSet};

/// One assignment of the service.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    assignment: &'a Assignment,
    wanted: &'a ServiceTasks,
    /// Of the PRIMARY deployment and on a box that keeps its tasks; the others are on their way out.
    pub(super) current: bool,
    /// How many tasks it is to have: as stored at first, then as the plan says.
    pub(super) count: u32,
    /// How many of its tasks serve.
    healthy: u32,
    /// How many run and may come to serve.
    young: u32,
    /// How many of its tasks are protected.
    protected: u32,
    /// How many have not stopped.
    live: usize,
    /// Protected tasks are to stop as well.
    all: bool,
}

/// What a box is to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Tasks of the PRIMARY deployment stay there.
    Stays,
    /// They have to leave.
    Leaves,
    /// It is not connected, and its tasks do not count.
    Gone,
}

impl Slot<'_> {
    /// All its tasks are to stop, protected or not.
    pub(super) const fn stop_all(&mut self) {
        self.count = 0;
        self.all = true;
    }

    pub(super) const fn instance(&self) -> &ContainerInstanceId {
        &self.assignment.container_instance
    }

    /// How many tasks that serve are left with the count as it is: the box stops others first.
    pub(super) fn healthy(&self) -> u32 {
        self.healthy.min(self.count)
    }

    /// How many tasks neither serve nor may come to.
    pub(super) fn idle(&self) -> u32 {
        self.count.saturating_sub((self.healthy + self.young).max(self.protected))
    }

    /// How many tasks do not serve.
    pub(super) fn not_serving(&self) -> u32 {
        self.count.saturating_sub(self.healthy.max(self.protected))
    }

    /// How many tasks could be done without.
    pub(super) fn unprotected(&self) -> u32 {
        self.count.saturating_sub(self.protected)
    }
}

/// What one box has of a service.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Held {
    /// It has an assignment of the PRIMARY deployment.
    pub(super) has_current: bool,
    /// Tasks of that.
    pub(super) current: u32,
    /// Tasks of the others.
    pub(super) outgoing: u32,
}

/// All assignments of a service.
#[derive(Debug)]
pub(super) struct Tally<'a> {
    world: &'a World,
    pub(super) slots: Vec<Slot<'a>>,
    /// Those on boxes that are not connected and whose tasks do not count.
    pub(super) gone: Vec<Slot<'a>>,
    /// Its tasks that should run.
    pub(super) running: BTreeSet<TaskId>,
    /// When a task that does not serve yet may, or a protection ends.
    pub(super) wake_at: Option<Timestamp>,
}

impl<'a> Tally<'a> {
    /// As the world is; `place` tells what a box is to the service.
    pub(super) fn of(
        world: &'a World,
        service: &Service,
        now: Timestamp,
        place: impl Fn(&ContainerInstance) -> Place,
    ) -> Self {
        let (slots, gone) = (Vec::new(), Vec::new());
        let mut tally = Self { world, slots, gone, running: BTreeSet::new(), wake_at: None };
        let primary = service.primary().map(|primary| &primary.id);
        for assignment in world.assignments_of(&service.key) {
            let Some(wanted) = assignment.service() else { continue };
            let instance = world.container_instances.get(&assignment.container_instance);
            let place = instance.map_or(Place::Leaves, &place);
            let mut slot = Slot {
                assignment,
                wanted,
                current: primary == Some(&wanted.deployment) && place != Place::Leaves,
                count: wanted.count,
                healthy: 0,
                young: 0,
                protected: 0,
                live: 0,
                all: false,
            };
            for task in world.live(&assignment.id) {
                slot.live += 1;
                if task.desired_status == DesiredStatus::Running
                    && !wanted.stops.contains_key(&task.id)
                {
                    tally.count(task, &mut slot, now);
                }
            }
            match place {
                Place::Gone => tally.gone.push(slot),
                Place::Stays | Place::Leaves => tally.slots.push(slot),
            }
        }
        tally
    }

    fn count(&mut self, task: &Task, slot: &mut Slot, now: Timestamp) {
        self.running.insert(task.id.clone());
        match serves(self.world, task, now) {
            Serves::Yes => slot.healthy += 1,
            Serves::NotYet(at) => {
                slot.young += 1;
                if let Some(at) = at {
                    self.wake(at);
                }
            }
            Serves::No => {}
        }
        if let Some(until) = task.protection(now) {
            slot.protected += 1;
            self.wake(until);
        }
    }

    fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |before| before.min(at)));
    }

    /// On all boxes.
    pub(super) fn all(&self) -> impl Iterator<Item = &Slot<'a>> {
        self.slots.iter().chain(&self.gone)
    }

    /// Tasks assigned to slots that are `current`, or that are not.
    pub(super) fn count_of(&self, current: bool) -> u32 {
        self.slots.iter().filter(|slot| slot.current == current).map(|slot| slot.count).sum()
    }

    /// Those of them that serve.
    pub(super) fn healthy_of(&self, current: bool) -> u32 {
        let slots = self.slots.iter().filter(|slot| slot.current == current);
        slots.map(Slot::healthy).sum()
    }

    /// Takes up to `n` tasks from slots that are (or are not) `current`, as many from each as `spare` says, and from those first for
    /// which `first` is greatest; the answer is how many were taken.
    pub(super) fn cut<K: Ord>(
        &mut self,
        current: bool,
        n: u32,
        spare: impl Fn(&Slot<'a>) -> u32,
        first: impl Fn(&Slot<'a>) -> K,
    ) -> u32 {
        let mut left = n;
        let slots = self.slots.iter().filter(|slot| slot.current == current);
        let all = slots.fold(0_u32, |all, slot| all.saturating_add(spare(slot).min(slot.count)));
        if all <= n {
            // Nothing is left to choose.
            for slot in self.slots.iter_mut().filter(|slot| slot.current == current) {
                slot.count -= spare(slot).min(slot.count);
            }
            return all;
        }
        while left > 0 {
            let candidates = self.slots.iter_mut().filter(|s| s.current == current && spare(s) > 0);
            let Some(slot) = candidates.max_by_key(|slot| first(slot)) else { break };
            slot.count -= 1;
            left -= 1;
        }
        n - left
    }

    /// What each box has, by its id.
    pub(super) fn by_box(&self) -> BTreeMap<ContainerInstanceId, Held> {
        let mut held: BTreeMap<ContainerInstanceId, Held> = BTreeMap::new();
        for slot in self.all() {
            let here = held.entry(slot.instance().clone()).or_default();
            if slot.current {
                here.has_current = true;
                here.current += slot.count;
            } else {
                here.outgoing += slot.count;
            }
        }
        held
    }

    /// Adds one task of the PRIMARY deployment to the slot of a box; false when it has none there.
    pub(super) fn add(&mut self, instance: &ContainerInstanceId) -> bool {
        let mut slots = self.slots.iter_mut().chain(&mut self.gone);
        let slot = slots.find(|slot| slot.current && slot.instance() == instance);
        slot.map(|slot| slot.count += 1).is_some()
    }

    /// The changes that make the assignments what the slots have become. Assignments of nothing, of which nothing is left, go.
    pub(super) fn changes(&self, service: &Service) -> Vec<Change> {
        self.all().filter_map(|slot| self.change(slot, service)).collect()
    }

    fn change(&self, slot: &Slot, service: &Service) -> Option<Change> {
        if slot.count == 0 && slot.live == 0 {
            return Some(Change::DeleteAssignment(slot.assignment.id.clone()));
        }
        let live = |id: &TaskId| {
            self.world.index.live.get(&slot.assignment.id).is_some_and(|live| live.contains(id))
        };
        let mut stops: BTreeMap<_, _> = slot
            .wanted
            .stops
            .iter()
            .filter(|(id, _)| live(id))
            .map(|(id, stop)| (id.clone(), stop.clone()))
            .collect();
        if slot.all {
            let running = self.world.live(&slot.assignment.id);
            let running = running.filter(|task| task.desired_status == DesiredStatus::Running);
            for task in running {
                stops.entry(task.id.clone()).or_insert_with(|| scaling(&slot.wanted.deployment));
            }
        }
        let mut wanted = ServiceTasks {
            count: slot.count,
            stops,
            health_check_grace_period_seconds: service.health_check_grace_period_seconds,
            ..slot.wanted.clone()
        };
        (&wanted != slot.wanted).then(|| {
            // No reason to write it anew: what runs on the box says the same there.
            let deployment = service.deployments.iter().find(|d| d.id == wanted.deployment);
            if let Some(deployment) = deployment {
                wanted.images.clone_from(&deployment.images);
            }
            Change::PutAssignment(Box::new(Assignment {
                wanted: Wanted::Service(wanted),
                generation: slot.assignment.generation.next(),
                ..slot.assignment.clone()
            }))
        })
    }

    /// No task is left.
    pub(super) fn is_over(&self) -> bool {
        self.all().all(|slot| slot.live == 0)
    }
}
