//! What a box keeps for its hub: its tasks at each turn of their lives, numbered, written with the change itself.
//!
//! At most [`KEPT`] events are kept; of more the oldest are dropped, and the hub is told so.

use crate::model::fleet::{Event, Membership};
use crate::model::{Task, Timestamp};
use crate::plan::{Change, World};
use std::collections::BTreeMap;
use std::ops::Range;

/// How many events are kept while the hub is away.
pub const KEPT: u64 = 4096;

/// The events that `changes` are, `before` being the world that they are about to change, and `kept` the events that there are
/// with those among `changes`: a box that tells of everything again does so in a round in which tasks may come to a turn.
#[must_use]
pub fn of_changes(
    before: &World,
    kept: &Range<u64>,
    changes: &[Change],
    now: Timestamp,
) -> Vec<Change> {
    let mut last: BTreeMap<&str, &Task> = BTreeMap::new();
    let mut told = Vec::new();
    for change in changes {
        let Change::PutTask(task) = change else { continue };
        let old = last.get(task.id.as_str()).copied().or_else(|| before.tasks.get(&task.id));
        if old.is_none_or(|old| is_a_turn(old, task)) {
            told.push((**task).clone());
        }
        last.insert(task.id.as_str(), task);
    }
    // A box that has just joined has its membership among the changes.
    let joining = changes.iter().rev().find_map(|change| match change {
        Change::PutMembership(membership) => Some(&**membership),
        _ => None,
    });
    match joining.or(before.membership.as_ref()) {
        Some(membership) => numbered(kept, membership, told, now),
        None => Vec::new(),
    }
}

/// An event for each task that is known.
pub(super) fn of_all(world: &World, now: Timestamp) -> Vec<Change> {
    let Some(membership) = &world.membership else { return Vec::new() };
    let tasks = world.tasks.values().cloned().collect();
    numbered(&world.events, membership, tasks, now)
}

/// Whether the hub wants to know.
fn is_a_turn(old: &Task, new: &Task) -> bool {
    use crate::model::TaskStatus::{Running, Stopped};
    let restarts = |task: &Task| task.containers.iter().map(|c| c.restart_count).sum::<u32>();
    (old.last_status != new.last_status && matches!(new.last_status, Running | Stopped))
        || old.desired_status != new.desired_status
        || old.health_status != new.health_status
        || old.protected_until != new.protected_until
        || restarts(old) != restarts(new)
}

fn numbered(
    kept: &Range<u64>,
    membership: &Membership,
    tasks: Vec<Task>,
    now: Timestamp,
) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut next = kept.end;
    for task in tasks {
        changes.push(Change::PutEvent(Box::new(Event {
            offset: next,
            at: now,
            task: Box::new(task),
        })));
        next += 1;
    }
    let first = kept.start;
    let keep = next.saturating_sub(KEPT);
    if keep > first {
        changes.extend((first..keep).map(Change::DeleteEvent));
        let membership = Membership { dropped: Some(keep - 1), ..membership.clone() };
        changes.push(Change::PutMembership(Box::new(membership)));
    }
    changes
}
