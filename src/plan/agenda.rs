//! What is to be looked at again: the reason why planning costs what changed, not what there is.
//!
//! [`World::apply`](super::World::apply) puts every service on it that a change may concern; the cluster planner looks at those that are due
//! and says for each when it wants to look again. Not stored: after a start everything is due.

use crate::model::{AssignmentId, ClusterName, ContainerInstanceId, ServiceKey, TaskId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// A service that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Which.
    pub service: ServiceKey,
    /// Look again then, if nothing happens before.
    pub wake_at: Option<Timestamp>,
    /// It has tasks that fit nowhere: look again when room may have come.
    pub lacks_room: bool,
    /// Its tasks that should run.
    pub running: BTreeSet<TaskId>,
}

impl Settled {
    /// A service of which nothing is awaited.
    #[must_use]
    pub const fn quiet(service: ServiceKey) -> Self {
        Self { service, wake_at: None, lacks_room: false, running: BTreeSet::new() }
    }
}

/// See the module.
#[derive(Debug, Default, Clone)]
pub struct Agenda {
    /// When a service is due.
    due: BTreeMap<ServiceKey, Timestamp>,
    /// The same, in the order of time.
    by_time: BTreeSet<(Timestamp, ServiceKey)>,
    /// Services with tasks that fit nowhere.
    lacks_room: BTreeSet<ServiceKey>,
    /// The tasks that a service had when it was last looked at.
    seen: BTreeMap<ServiceKey, BTreeSet<TaskId>>,
    /// Assignments that changed, or whose tasks did, since whoever carries them out has looked.
    assignments: BTreeSet<AssignmentId>,
    /// Boxes of a fleet whose documents may have changed.
    devices: BTreeSet<ContainerInstanceId>,
}

/// Worlds are the same whatever of them was looked at.
impl PartialEq for Agenda {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Agenda {
    /// The service is due at once.
    pub fn touch(&mut self, service: &ServiceKey) {
        self.set(service, Some(Timestamp(i64::MIN)));
    }

    /// Room may have come in the cluster: all that wait for some are due.
    pub fn touch_waiting(&mut self, cluster: &ClusterName) {
        let waiting: Vec<_> =
            self.lacks_room.iter().filter(|service| &service.cluster == cluster).cloned().collect();
        for service in &waiting {
            self.touch(service);
        }
    }

    /// The assignment, or a task of it, changed.
    pub fn touch_assignment(&mut self, id: &AssignmentId) {
        self.assignments.insert(id.clone());
    }

    /// The services that are due at `now`.
    pub fn due(&self, now: Timestamp) -> impl Iterator<Item = &ServiceKey> {
        self.by_time.iter().take_while(move |(at, _)| *at <= now).map(|(_, service)| service)
    }

    /// When the next service is due.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// The assignments that changed.
    #[must_use]
    pub fn assignments(&self) -> &BTreeSet<AssignmentId> {
        &self.assignments
    }

    /// The tasks that a service had when it was last looked at; none when it was not since the start.
    #[must_use]
    pub fn seen(&self, service: &ServiceKey) -> Option<&BTreeSet<TaskId>> {
        self.seen.get(service)
    }

    /// Takes note of what was looked at.
    pub fn settle(&mut self, settled: &Settled) {
        self.set(&settled.service, settled.wake_at);
        self.seen.insert(settled.service.clone(), settled.running.clone());
        if settled.lacks_room {
            self.lacks_room.insert(settled.service.clone());
        } else {
            self.lacks_room.remove(&settled.service);
        }
    }

    /// Whoever carries out this assignment has looked at it.
    pub fn settle_assignment(&mut self, id: &AssignmentId) {
        self.assignments.remove(id);
    }

    /// What the box is to be like may have changed.
    pub fn touch_device(&mut self, id: &ContainerInstanceId) {
        self.devices.insert(id.clone());
    }

    /// The boxes of which [`Agenda::touch_device`] was told since this was last asked.
    pub fn take_devices(&mut self) -> BTreeSet<ContainerInstanceId> {
        std::mem::take(&mut self.devices)
    }

    /// The service is no more.
    pub fn forget(&mut self, service: &ServiceKey) {
        self.set(service, None);
        self.seen.remove(service);
        self.lacks_room.remove(service);
    }

    fn set(&mut self, service: &ServiceKey, at: Option<Timestamp>) {
        if let Some(before) = self.due.remove(service) {
            self.by_time.remove(&(before, service.clone()));
        }
        if let Some(at) = at {
            self.due.insert(service.clone(), at);
            self.by_time.insert((at, service.clone()));
        }
    }
}
