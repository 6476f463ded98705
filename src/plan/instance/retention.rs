//! What is kept for a while and then removed: stopped tasks, deleted task definitions, client tokens.

use super::Round;
use crate::model::Timestamp;
use crate::model::fleet::Membership;
use crate::plan::command::run_task::{CLIENT_TOKEN_KEPT, expired};
use crate::plan::{Action, ActionKey, Change};
use std::time::Duration;

/// Stopped tasks stay describable for this long at least.
const KEPT_AT_LEAST: Duration = Duration::from_hours(1);

/// A task that stopped so far in the future did so when the clock was wrong.
const CLOCK_WAS_WRONG: Duration = Duration::from_hours(24);

/// How many tasks are forgotten at the same time.
const FORGOTTEN_AT_ONCE: usize = 32;

/// Forgets stopped tasks of this box: those that are old enough, and the oldest when there are too many.
pub(super) fn stopped_tasks(round: &mut Round) {
    let world = round.world;
    let stopped = &world.index.stopped;
    let kept = world.settings.stopped_task_retention.max(KEPT_AT_LEAST);
    let mut too_many = stopped.len().saturating_sub(world.settings.stopped_tasks_kept);
    // They stand at the end.
    let in_flight = world.observed.in_flight.iter().rev();
    let forgets = in_flight.take_while(|key| matches!(key, ActionKey::Forget(_))).count();
    let mut room = FORGOTTEN_AT_ONCE.saturating_sub(forgets);
    let future = round.now.plus(CLOCK_WAS_WRONG);
    for (_, id) in stopped.iter().rev().take_while(|(at, _)| *at > future) {
        // When it was is not known: it counts from now on.
        let Some(mut task) = world.tasks.get(id).cloned() else { continue };
        let at = if task.heard_at.is_some() { &mut task.heard_at } else { &mut task.stopped_at };
        *at = Some(round.now);
        task.version += 1;
        round.plan.changes.push(Change::PutTask(Box::new(task)));
    }
    let set_at = world.observed.clock_set_at.filter(|set| *set <= round.now);
    for (at, id) in stopped.iter().take_while(|(at, _)| *at <= future) {
        // How old those are that stopped before the clock was set is not known: they are kept longer.
        let since = set_at.map_or(*at, |set| set.max(*at));
        let old = since <= round.now && round.now.since(since) >= kept;
        if !old && too_many == 0 {
            round.plan.wake(since.plus(kept));
            return;
        }
        too_many = too_many.saturating_sub(1);
        // Its fleet still wants it: were it forgotten, it would be run again.
        let wanted = |membership: &Membership| {
            world.tasks.get(id).is_some_and(|task| {
                task.service.is_none() && membership.assignments.contains(&task.assignment())
            })
        };
        if world.membership.as_ref().is_some_and(wanted) {
            continue;
        }
        if round.in_flight(&ActionKey::Forget(id.clone())) {
            continue;
        }
        if room == 0 {
            // Goes on when one of those in flight is done.
            return;
        }
        room -= 1;
        round.plan.actions.push(Action::Forget { task: id.clone() });
    }
}

/// Releases, and then forgets, what was found on the box though no record knows it.
pub(super) fn orphans(round: &mut Round) {
    for (task, orphan) in &round.world.observed.orphans {
        let action = if orphan.released {
            Action::Forget { task: task.clone() }
        } else {
            Action::Release { task: task.clone(), generation: orphan.generation }
        };
        if !round.in_flight(&action.key()) {
            round.plan.actions.push(action);
        }
    }
}

/// Removes task definitions that are to be deleted and that no task refers to any more.
pub(super) fn task_definitions(round: &mut Round) {
    let world = round.world;
    for reference in &world.index.deleting {
        let used = world.assignments.values().any(|a| &a.task_definition == reference)
            || world.tasks.values().any(|task| &task.task_definition == reference)
            || world.services.values().any(|service| {
                service.deployments.iter().any(|deployment| {
                    let revision = world.service_revisions.get(&deployment.service_revision);
                    revision.is_some_and(|revision| &revision.task_definition == reference)
                })
            });
        if !used {
            round.plan.changes.push(Change::DeleteTaskDefinition(reference.clone()));
        }
    }
}

/// Removes client tokens of which repetitions are no longer expected.
pub(super) fn client_tokens(round: &mut Round) {
    let world = round.world;
    let tokens = &world.index.client_tokens;
    // Those of a clock that was wrong stand at the end.
    let (mut old, mut wrong) = (tokens.iter().peekable(), tokens.iter().rev());
    let gone = |(_, token): &&(Timestamp, String)| {
        world.client_tokens.get(token).is_some_and(|used| expired(used, round.now))
    };
    let mut changes: Vec<_> = wrong
        .by_ref()
        .take_while(|entry| entry.0 > round.now && gone(entry))
        .map(|(_, token)| Change::DeleteClientToken(token.clone()))
        .collect();
    while let Some((_, token)) = old.next_if(|entry| entry.0 <= round.now && gone(entry)) {
        changes.push(Change::DeleteClientToken(token.clone()));
    }
    if let Some((at, _)) = old.peek() {
        round.plan.wake(at.plus(CLIENT_TOKEN_KEPT + Duration::from_millis(1)));
    }
    round.plan.changes.append(&mut changes);
}
