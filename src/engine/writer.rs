//! The single writer: the only task that changes the world and the store.

use super::boot::BootMark;
use super::handle::{Order, Request, SubmitError};
use super::hands::{Fact, Hands};
use crate::model::Timestamp;
use crate::plan::simulate::{self, FaultPlan};
use crate::plan::{
    self, Action, Change, Command, CommandError, Ids, Observation, Plan, Reply, World, cluster,
    command, fleet, instance,
};
use crate::store::{Store, StoreError};
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

/// Records of a world whose invariants are looked at after each round.
#[cfg(debug_assertions)]
const CHECKED_EACH_ROUND: usize = 50;
/// Records of a world whose invariants are not looked at.
#[cfg(debug_assertions)]
const CHECKED_AT_MOST: usize = 20_000;

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
    under: Under,
    requests: mpsc::Receiver<Request>,
    facts: mpsc::UnboundedReceiver<Fact>,
    commits: watch::Sender<u64>,
    /// Facts of rounds that could not be committed.
    kept: Vec<Fact>,
    /// Not written yet, though what it marks is committed.
    mark: Option<BootMark>,
    clock: Clock,
    /// Rounds until the invariants are looked at again.
    #[cfg(debug_assertions)]
    unchecked: usize,
}

/// What carries out what is decided.
pub(super) enum Under {
    ThisBox(Arc<Hands>),
    /// The boxes of the fleet.
    Fleet {
        /// Never used: what boxes observe comes as commands.
        _facts: mpsc::UnboundedSender<Fact>,
    },
    Simulated {
        /// What a simulation begins with.
        faults: FaultPlan,
        /// Never used: there are no facts but those that the planner makes up.
        _facts: mpsc::UnboundedSender<Fact>,
    },
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

/// Whether tasks may come of a command: images brought here since by others are looked for first.
const fn looks_at_images(command: &Command) -> bool {
    matches!(
        command,
        Command::RunTask(_)
            | Command::CreateService(_)
            | Command::UpdateService(_)
            | Command::Observe(Observation::ImagesChanged)
    )
}

/// What one round gathered.
#[derive(Default)]
struct Round {
    facts: Vec<Fact>,
    requests: Vec<Request>,
}

impl Writer {
    pub(super) fn new(
        world: World,
        published: Arc<RwLock<World>>,
        store: Store,
        under: Under,
        requests: mpsc::Receiver<Request>,
        facts: mpsc::UnboundedReceiver<Fact>,
        commits: watch::Sender<u64>,
    ) -> Self {
        Self {
            world,
            published,
            store,
            under,
            requests,
            facts,
            commits,
            kept: Vec::new(),
            mark: None,
            clock: Clock::read(),
            #[cfg(debug_assertions)]
            unchecked: 0,
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
        let mut emptied = false;
        for Request { order, answer } in round.requests {
            let command = match order {
                Order::Command(command) => command,
                Order::Ping => {
                    answers.push((answer, Ok(Reply::Done)));
                    continue;
                }
                Order::Reset => {
                    let reset = self.empty().map(|()| Reply::Done);
                    if reset.is_ok() {
                        (emptied, changes) = (true, Vec::new());
                    }
                    answers.push((answer, reset.map_err(SubmitError::from)));
                    continue;
                }
            };
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

        changes.extend(self.events(&changes, now));

        let hands = match &self.under {
            Under::ThisBox(hands) => Some(Arc::clone(hands)),
            Under::Fleet { .. } | Under::Simulated { .. } => None,
        };
        let mut prepared = hands.as_ref().map(|h| h.prepare(&plan.actions)).unwrap_or_default();
        // What follows from facts alone follows from them again after a crash or a failed commit: no need to wait.
        let (early, actions): (Vec<_>, Vec<_>) = plan
            .actions
            .iter()
            .cloned()
            .partition(|action| matches!(action, Action::Release { .. }) && answers.is_empty());
        if let Some(hands) = &hands {
            for action in early {
                hands.act(action, None);
            }
        }
        if let Err(error) = self.commit(&changes, emptied).await {
            tracing::error!(%error, "cannot write the state; nothing was changed, trying again");
            self.take_back(&plan.actions, round.facts);
            let world = &self.world;
            if let Some(hands) = &hands {
                hands.abandon(prepared, |task| world.tasks.contains_key(task)).await;
            }
            for (answer, result) in answers {
                let unavailable =
                    SubmitError::Unavailable(format!("cannot write the state: {error}"));
                let _ = answer.send(result.and(Err(unavailable)));
            }
            return Some(now.plus(RETRY));
        }
        for reason in &reasons {
            if hands.is_some() {
                tracing::info!("{reason}");
            } else {
                // Of thousands of boxes nobody reads along.
                tracing::debug!("{reason}");
            }
        }
        for (answer, result) in answers {
            let _ = answer.send(result);
        }
        for (action, hands) in
            actions.into_iter().filter_map(|action| Some((action, hands.as_ref()?)))
        {
            let at = match &action {
                Action::Start(start) => prepared.iter().position(|p| p.run == start.run),
                _ => None,
            };
            let prepared = at.map(|at| prepared.swap_remove(at));
            hands.act(action, prepared);
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
        if let (true, Under::ThisBox(hands)) = (looks_at_images(&command), &self.under) {
            self.world.observed.images = hands.images();
            self.world.observed.image_sources = hands.image_sources();
        }
        let outcome = command::apply(&mut self.world, command, now, ids)?;
        outcome.changes.iter().for_each(|change| self.world.apply(change));
        Ok(outcome)
    }

    /// Plans until there is nothing left to decide.
    fn plan(&mut self, now: Timestamp, ids: &mut Ids) -> Plan {
        let mut whole = Plan::default();
        for _ in 0..PLANS {
            let services = cluster::plan(&self.world, now, ids);
            self.world.apply_plan(&services);
            let tasks = match &self.under {
                Under::ThisBox(_) => {
                    let mut tasks = instance::plan(&self.world, now, ids);
                    self.world.apply_plan(&tasks);
                    if self.world.membership.is_some() {
                        let progress = fleet::progress::plan(&self.world, now);
                        self.world.apply_plan(&progress);
                        tasks.changes.extend(progress.changes);
                        progress.wake_at.into_iter().for_each(|at| tasks.wake(at));
                    }
                    tasks
                }
                Under::Fleet { .. } => fleet::hub::plan(&mut self.world, now, ids),
                // It applies what it decides as it goes.
                Under::Simulated { .. } => simulate::plan(&mut self.world, now, ids),
            };
            let quiet = services.is_quiet() && tasks.is_quiet();
            whole.wake_at = tasks.wake_at;
            for plan in [services, tasks] {
                whole.changes.extend(plan.changes);
                whole.actions.extend(plan.actions);
                whole.reasons.extend(plan.reasons);
            }
            if quiet {
                break;
            }
        }
        if let Some(at) = self.world.agenda.next() {
            whole.wake(at);
        }
        #[cfg(debug_assertions)]
        self.check();
        whole
    }

    /// What of `changes` the hub is to know, if there is one; written with them.
    fn events(&mut self, changes: &[Change], now: Timestamp) -> Vec<Change> {
        if self.world.membership.is_none() {
            return Vec::new();
        }
        let kept = self.world.events.clone();
        let before = super::read_lock(&self.published);
        let events = fleet::events::of_changes(&before, &kept, changes, now);
        drop(before);
        for change in &events {
            self.world.apply(change);
        }
        events
    }

    /// Looks at the invariants: after every round of a small world, after the fewer rounds the larger the world is, and
    /// not at all in one so large that a look would keep callers waiting for seconds.
    #[cfg(debug_assertions)]
    fn check(&mut self) {
        if self.unchecked > 0 {
            self.unchecked -= 1;
            return;
        }
        let World { tasks, assignments, container_instances, .. } = &self.world;
        let records = tasks.len() + assignments.len() + container_instances.len();
        self.unchecked = records / CHECKED_EACH_ROUND;
        if records > CHECKED_AT_MOST {
            return;
        }
        for broken in plan::check::check(&self.world) {
            tracing::error!("an invariant does not hold: {broken}");
        }
    }

    /// Forgets everything, if it is only a simulation; what is stored goes with the next commit.
    fn empty(&mut self) -> Result<(), CommandError> {
        let Under::Simulated { faults, .. } = &self.under else {
            let message = "Only a simulation can be reset: this is a box with tasks of its own.";
            return Err(CommandError::Client(message.to_owned()));
        };
        self.world = World { settings: self.world.settings.clone(), ..World::default() };
        simulate::begin(&mut self.world, faults.clone());
        Ok(())
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

    /// Makes `changes` durable, on nothing when all else was `emptied`, then shows them to readers.
    async fn commit(&mut self, changes: &[Change], emptied: bool) -> Result<(), StoreError> {
        if changes.is_empty() && !emptied {
            return Ok(());
        }
        let store = self.store.clone();
        let batch = changes.to_vec();
        let write = move || if emptied { store.replace(&batch) } else { store.commit(&batch) };
        let sequence = blocking(write).await?;
        let mut published = self.published.write().unwrap_or_else(PoisonError::into_inner);
        if emptied {
            let settings = published.settings.clone();
            *published = World { settings, ..World::default() };
        }
        for change in changes {
            published.apply(change);
        }
        if published.observed.secret_versions != self.world.observed.secret_versions {
            // Documents are made of the committed world, and of these.
            let versions = &self.world.observed.secret_versions;
            published.observed.secret_versions.clone_from(versions);
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
        if matches!(self.under, Under::Simulated { .. }) {
            simulate::resume(&mut self.world);
        }
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
