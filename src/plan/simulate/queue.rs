//! What is to happen when.

use crate::model::{AssignmentId, Timestamp};
use crate::plan::StartContainer;
use crate::plan::action::ContainerRun;
use std::collections::{BTreeMap, BTreeSet};

/// When, and which of those at that time.
pub(super) type Key = (Timestamp, u64);

/// Something that happens by itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Event {
    /// The container starts.
    Starts(Box<StartContainer>),
    /// The container fails to.
    FailsToStart(ContainerRun, String),
    /// Its process ends.
    Ends(ContainerRun, i32),
    /// Its health check fails from now on.
    Sickens(ContainerRun),
}

/// Events, and assignments to look at again.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Queue {
    events: BTreeMap<Key, Event>,
    numbered: u64,
    again: BTreeMap<AssignmentId, Timestamp>,
    again_by_time: BTreeSet<(Timestamp, AssignmentId)>,
}

impl Queue {
    pub(super) fn push(&mut self, at: Timestamp, event: Event) -> Key {
        self.numbered += 1;
        let key = (at, self.numbered);
        self.events.insert(key, event);
        key
    }

    pub(super) fn remove(&mut self, key: Key) {
        self.events.remove(&key);
    }

    /// The first event that is due at `now`, and when it was.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<(Timestamp, Event)> {
        let due = self.events.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((at, _), event) = due.remove_entry();
        Some((at, event))
    }

    /// The assignment is looked at again then; without a time only when something happens to it.
    pub(super) fn look_again(&mut self, id: &AssignmentId, at: Option<Timestamp>) {
        if let Some(before) = self.again.remove(id) {
            self.again_by_time.remove(&(before, id.clone()));
        }
        if let Some(at) = at {
            self.again.insert(id.clone(), at);
            self.again_by_time.insert((at, id.clone()));
        }
    }

    /// An assignment that is due at `now`.
    pub(super) fn pop_assignment(&mut self, now: Timestamp) -> Option<AssignmentId> {
        let (at, _) = self.again_by_time.first()?;
        if *at > now {
            return None;
        }
        let (_, id) = self.again_by_time.pop_first()?;
        self.again.remove(&id);
        Some(id)
    }

    /// When something is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        let event = self.events.first_key_value().map(|((at, _), _)| *at);
        let assignment = self.again_by_time.first().map(|(at, _)| *at);
        event.into_iter().chain(assignment).min()
    }
}
