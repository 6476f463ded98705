//! The single writer: the only task that changes the world and the store.

use super::boot::BootMark;
use super::handle::{Request, SubmitError};
use super::hands::{Fact, Hands};
use crate::image::ImageStore;
use crate::model::Timestamp;
use crate::plan::{
    self, Action, Change, Command, Ids, Observation, Plan, Reply, World, command, instance,
};
use crate::store::Store;
use crate::sys;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Commands and facts taken into one transaction at most.
const ROUND: usize = 256;
/// Plans in one round at most; the planner is quiet after two or three, so more is a fault of the planner.
const PLANS: usize = 32;
/// How long to wait after a failed commit before it is tried again with the facts kept.
const RETRY: Duration = Duration::from_secs(1);

/// A deadline is looked at again after this long, in case the wall clock was set.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);

/// The wall clock counts as set when it moved this much more or less than time did.
const CLOCK_STEP: Duration = Duration::from_secs(2);

type Answer = oneshot::Sender<Result<Reply, SubmitError>>;

pub(super) struct Writer {
    /// What will be; ahead of `published` by the round that is not committed yet.
    world: World,
    /// What is committed.
    published: Arc<RwLock<World>>,
    store: Store,
    images: ImageStore,
    hands: Hands,
    requests: mpsc::Receiver<Request>,
    facts: mpsc::UnboundedReceiver<Fact>,
    commits: watch::Sender<u64>,
    /// Facts of rounds that could not be committed.
    kept: Vec<Fact>,
    /// Not written yet, though what it marks is committed.
    mark: Option<BootMark>,
    clock: Clock,
}

/// The wall clock beside the time since boot, to notice when it is set.
struct Clock {
    wall: Timestamp,
    uptime: Duration,
}

impl Clock {
    fn read() -> Self {
        Self { wall: sys::now(), uptime: sys::uptime() }
    }

    /// By how many milliseconds the wall clock was set since the last look.
    fn stepped(&mut self, now: Self) -> Option<i64> {
        let before = std::mem::replace(self, now);
        let passed = self.uptime.saturating_sub(before.uptime);
        let by = self.wall.millis() - before.wall.plus(passed).millis();
        (by.unsigned_abs() > CLOCK_STEP.as_millis().try_into().unwrap_or(u64::MAX)).then_some(by)
    }
}

/// What one round gathered.
#[derive(Default)]
struct Round {
    facts: Vec<Fact>,
    requests: Vec<Request>,
}

impl Writer {
    #[expect(clippy::too_many_arguments, reason = "called once, from engine::start")]
    pub(super) fn new(
        world: World,
        published: Arc<RwLock<World>>,
        store: Store,
        images: ImageStore,
        hands: Hands,
        requests: mpsc::Receiver<Request>,
        facts: mpsc::UnboundedReceiver<Fact>,
        commits: watch::Sender<u64>,
    ) -> Self {
        Self {
            world,
            published,
            store,
            images,
            hands,
            requests,
            facts,
            commits,
            kept: Vec::new(),
            mark: None,
            clock: Clock::read(),
        }
    }

    /// Runs until every handle is gone.
    pub(super) async fn run(mut self) {
        let mut wake_at = Some(sys::now());
        while let Some(round) = self.gather(wake_at).await {
            wake_at = self.round(round).await;
        }
    }

    /// Waits for something to do, then takes all that is there, up to a bound.
    async fn gather(&mut self, wake_at: Option<Timestamp>) -> Option<Round> {
        let mut round = Round { facts: std::mem::take(&mut self.kept), requests: Vec::new() };
        tokio::select! {
            biased;
            fact = self.facts.recv() => round.facts.extend(fact),
            request = self.requests.recv() => round.requests.push(request?),
            () = sleep_until(wake_at) => {}
        }
        while round.facts.len() + round.requests.len() < ROUND {
            let Ok(fact) = self.facts.try_recv() else { break };
            round.facts.push(fact);
        }
        while round.facts.len() + round.requests.len() < ROUND {
            let Ok(request) = self.requests.try_recv() else { break };
            round.requests.push(request);
        }
        Some(round)
    }

    /// One round; the answer is when to plan again at the latest.
    async fn round(&mut self, mut round: Round) -> Option<Timestamp> {
        let now = sys::now();
        let mut ids = Ids::from_seed(sys::seed());
        let (mut changes, mut reasons) = (Vec::new(), Vec::new());
        let mut answers: Vec<(Answer, Result<Reply, SubmitError>)> = Vec::new();

        if let Some(by) = self.clock.stepped(Clock::read()) {
            tracing::warn!("the clock was set by {by} ms");
            // A fact like the others: it must not be forgotten when this round cannot be committed.
            let observation = Observation::ClockStepped { by };
            round.facts.insert(0, Fact { observation, once_committed: None });
        }
        for observation in round.facts.iter().map(|fact| fact.observation.clone()) {
            match self.apply(Command::Observe(observation), now, &mut ids) {
                Ok(outcome) => {
                    changes.extend(outcome.changes);
                    reasons.extend(outcome.reasons);
                }
                Err(error) => tracing::error!(%error, "an observation was refused"),
            }
        }
        for Request { command, answer } in round.requests {
            if matches!(command, Command::RunTask(_)) {
                self.world.observed.images = self.images.names();
            }
            match self.apply(command, now, &mut ids) {
                Ok(outcome) => {
                    changes.extend(outcome.changes);
                    reasons.extend(outcome.reasons);
                    answers.push((answer, Ok(outcome.reply)));
                }
                Err(error) => answers.push((answer, Err(error.into()))),
            }
        }
        let plan = self.plan(now, &mut ids);
        changes.extend(plan.changes);
        reasons.extend(plan.reasons);

        let mut prepared = self.hands.prepare(&plan.actions);
        // What follows from facts alone follows from them again after a crash or a failed commit: no need to wait.
        let (early, actions): (Vec<_>, Vec<_>) = plan
            .actions
            .iter()
            .cloned()
            .partition(|action| matches!(action, Action::Release { .. }) && answers.is_empty());
        for action in early {
            self.hands.act(action, None);
        }
        if let Err(error) = self.commit(&changes).await {
            tracing::error!(%error, "cannot write the state; nothing was changed, trying again");
            self.take_back(&plan.actions, round.facts);
            let world = &self.world;
            self.hands.abandon(prepared, |task| world.tasks.contains_key(task)).await;
            for (answer, result) in answers {
                let unavailable =
                    SubmitError::Unavailable(format!("cannot write the state: {error}"));
                let _ = answer.send(result.and(Err(unavailable)));
            }
            return Some(now.plus(RETRY));
        }
        for reason in &reasons {
            tracing::info!("{reason}");
        }
        for (answer, result) in answers {
            let _ = answer.send(result);
        }
        for action in actions {
            let at = match &action {
                Action::Start(start) => prepared.iter().position(|p| p.run == start.run),
                _ => None,
            };
            let prepared = at.map(|at| prepared.swap_remove(at));
            self.hands.act(action, prepared);
        }
        self.mark =
            round.facts.into_iter().find_map(|fact| fact.once_committed).or(self.mark.take());
        if self.write_mark().await {
            return plan.wake_at;
        }
        let again = now.plus(RETRY);
        Some(plan.wake_at.map_or(again, |at| at.min(again)))
    }

    fn apply(
        &mut self,
        command: Command,
        now: Timestamp,
        ids: &mut Ids,
    ) -> Result<command::Outcome, plan::CommandError> {
        let outcome = command::apply(&mut self.world, command, now, ids)?;
        outcome.changes.iter().for_each(|change| self.world.apply(change));
        Ok(outcome)
    }

    /// Plans until there is nothing left to decide.
    fn plan(&mut self, now: Timestamp, ids: &mut Ids) -> Plan {
        let mut whole = Plan::default();
        for _ in 0..PLANS {
            let plan = instance::plan(&self.world, now, ids);
            whole.wake_at = plan.wake_at;
            if plan.is_quiet() {
                break;
            }
            self.world.apply_plan(&plan);
            whole.changes.extend(plan.changes);
            whole.actions.extend(plan.actions);
            whole.reasons.extend(plan.reasons);
        }
        #[cfg(debug_assertions)]
        for broken in plan::check::check(&self.world) {
            tracing::error!("an invariant does not hold: {broken}");
        }
        whole
    }

    /// Writes the boot mark if it has to be written; false when that must be tried again.
    async fn write_mark(&mut self) -> bool {
        let Some(mark) = self.mark.take() else { return true };
        let (mark, written) = blocking(move || {
            let written = mark.write();
            (mark, written)
        })
        .await;
        let Err(error) = written else { return true };
        tracing::error!(%error, "cannot write the boot mark; until it is written a start looks like a reboot");
        self.mark = Some(mark);
        false
    }

    /// Makes `changes` durable, then shows them to readers.
    async fn commit(&mut self, changes: &[Change]) -> Result<(), crate::store::StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let store = self.store.clone();
        let batch = changes.to_vec();
        let sequence = blocking(move || store.commit(&batch)).await?;
        let mut published = self.published.write().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            published.apply(change);
        }
        drop(published);
        self.commits.send_replace(sequence);
        Ok(())
    }

    /// Returns to the committed world; facts are kept, since they are true all the same.
    fn take_back(&mut self, actions: &[plan::Action], facts: Vec<Fact>) {
        let observed = std::mem::take(&mut self.world.observed);
        self.world = super::read_lock(&self.published).clone();
        self.world.observed = observed;
        for action in actions {
            self.world.observed.in_flight.remove(&action.key());
        }
        self.kept = facts;
    }
}

/// Runs what blocks outside of the asynchronous threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // The work neither panics nor is it cancelled while the runtime lives.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Sleeps until the wall clock shows `at`, at most [`LONGEST_SLEEP`]: the clock may jump. For ever without one.
async fn sleep_until(at: Option<Timestamp>) {
    match at {
        Some(at) => tokio::time::sleep(at.since(sys::now()).min(LONGEST_SLEEP)).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
