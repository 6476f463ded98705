//! What is to be looked at again: the reason why planning costs what changed, not what there is.
//!
//! [`World::apply`](super::World::apply) puts every service on it that a change may concern; the cluster planner looks at those that are due
//! and says for each when it wants to look again. Not stored: after a start everything is due.
//!
//! A look costs what the service has tasks. What its tasks and boxes do makes a large one due only a while after the last
//! look, so that the thousands of messages that follow from one change of it cost a few looks and not thousands.

use crate::model::{AssignmentId, ClusterName, ContainerInstanceId, ServiceKey, TaskId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A service with fewer tasks is looked at whenever something happens.
const LARGE: usize = 200;
/// Between two looks at a large service for what its tasks do, for each of them: two seconds for 5,000, a look at which takes a
/// tenth of that on a small hub.
const PAUSE_FOR_A_TASK: Duration = Duration::from_micros(400);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A service that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Which.
    pub service: ServiceKey,
    /// When.
    pub at: Timestamp,
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
    pub const fn quiet(service: ServiceKey, at: Timestamp) -> Self {
        Self { service, at, wake_at: None, lacks_room: false, running: BTreeSet::new() }
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
    /// When a service was last looked at, and the tasks that it had then.
    seen: BTreeMap<ServiceKey, (Timestamp, BTreeSet<TaskId>)>,
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

    /// A task or a box of the service did something: it is due, though not before its pause since the last look is over.
    pub fn touch_gently(&mut self, service: &ServiceKey) {
        let large = self.seen.get(service).filter(|(_, tasks)| tasks.len() >= LARGE);
        let at = large.map_or(Timestamp(i64::MIN), |(looked_at, tasks)| {
            let tasks = u32::try_from(tasks.len()).unwrap_or(u32::MAX);
            looked_at.plus(PAUSE_FOR_A_TASK.saturating_mul(tasks).min(LONGEST_PAUSE))
        });
        if self.due.get(service).is_none_or(|due| *due > at) {
            self.set(service, Some(at));
        }
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
        self.seen.get(service).map(|(_, tasks)| tasks)
    }

    /// Takes note of what was looked at.
    pub fn settle(&mut self, settled: &Settled) {
        self.set(&settled.service, settled.wake_at);
        self.seen.insert(settled.service.clone(), (settled.at, settled.running.clone()));
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
