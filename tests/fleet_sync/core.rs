//! A world with its writer: commands are applied, the planners plan until quiet, all is committed at once or not at all.

use coracle::model::fleet::Event;
use coracle::model::{ServiceEvent, Timestamp};
use coracle::plan::{
    Action, Change, Command, CommandError, Ids, Plan, Reply, World, cluster, command, fleet,
    instance,
};
use std::collections::{BTreeMap, VecDeque};

/// 2026-01-01T00:00:00Z.
pub(crate) const EPOCH: i64 = 1_767_225_600_000;

/// Rounds of planning until quiet at most, as in the engine.
const PLANS: usize = 32;

/// When a program dies in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    Never,
    BeforeCommit,
    /// Nobody hears of what was committed, nothing is done about it.
    AfterCommit,
}

/// What came of a round.
pub(crate) struct Round {
    pub(crate) replies: Vec<Result<Reply, CommandError>>,
    pub(crate) actions: Vec<Action>,
}

pub(crate) struct Core {
    pub(crate) world: World,
    /// As it is in the store.
    pub(crate) committed: World,
    /// The store's table of events.
    pub(crate) outbox: BTreeMap<u64, Event>,
    /// What was committed since somebody looked, in order.
    pub(crate) news: VecDeque<Change>,
    ids: Ids,
    /// Time as it passes, in milliseconds.
    pub(crate) elapsed: i64,
    /// What the wall clock is ahead of it.
    pub(crate) skew: i64,
    pub(crate) rounds: u64,
}

impl Core {
    pub(crate) fn new(world: World, seed: u64) -> Self {
        Self {
            committed: world.clone(),
            world,
            outbox: BTreeMap::new(),
            news: VecDeque::new(),
            ids: Ids::from_seed(seed.into()),
            elapsed: 0,
            skew: 0,
            rounds: 0,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(EPOCH + self.elapsed + self.skew)
    }

    /// One round; none when the program died in it, and has to be started again.
    pub(crate) fn round(
        &mut self,
        commands: Vec<Command>,
        crash: Crash,
    ) -> Result<Option<Round>, String> {
        self.rounds += 1;
        let now = self.now();
        let (mut changes, mut replies) = (Vec::new(), Vec::new());
        for command in commands {
            let outcome = command::apply(&mut self.world, command, now, &mut self.ids);
            replies.push(outcome.map(|outcome| {
                outcome.changes.iter().for_each(|change| self.world.apply(change));
                changes.extend(outcome.changes);
                outcome.reply
            }));
        }
        let plan = self.plan(now)?;
        changes.extend(plan.changes);
        if self.world.membership.is_some() {
            let kept = self.world.events.clone();
            let events = fleet::events::of_changes(&self.committed, &kept, &changes, now);
            events.iter().for_each(|change| self.world.apply(change));
            changes.extend(events);
        }
        if crash != Crash::BeforeCommit {
            self.commit(changes);
        }
        if crash != Crash::Never {
            self.restart();
            return Ok(None);
        }
        Ok(Some(Round { replies, actions: plan.actions }))
    }

    fn commit(&mut self, changes: Vec<Change>) {
        for change in changes {
            self.committed.apply(&change);
            match &change {
                Change::PutEvent(event) => {
                    drop(self.outbox.insert(event.offset, (**event).clone()))
                }
                Change::DeleteEvent(offset) => drop(self.outbox.remove(offset)),
                _ => {}
            }
            self.news.push_back(change);
        }
    }

    fn plan(&mut self, now: Timestamp) -> Result<Plan, String> {
        let mut whole = Plan::default();
        for _ in 0..PLANS {
            let services = cluster::plan(&self.world, now, &mut self.ids);
            self.world.apply_plan(&services);
            let tasks = if self.world.settings.this_instance.is_some() {
                let mut tasks = instance::plan(&self.world, now, &mut self.ids);
                self.world.apply_plan(&tasks);
                if self.world.membership.is_some() {
                    let progress = fleet::progress::plan(&self.world, now);
                    self.world.apply_plan(&progress);
                    tasks.changes.extend(progress.changes);
                }
                tasks
            } else {
                fleet::hub::plan(&mut self.world, now, &mut self.ids)
            };
            let quiet = services.is_quiet() && tasks.is_quiet();
            for plan in [services, tasks] {
                whole.changes.extend(plan.changes);
                whole.actions.extend(plan.actions);
            }
            if quiet {
                return Ok(whole);
            }
        }
        Err("the planners do not come to rest".to_owned())
    }

    /// The program starts again with what is in the store.
    pub(crate) fn restart(&mut self) {
        self.world = loaded(&self.committed);
    }

    /// The store is replaced by this one.
    pub(crate) fn restore(&mut self, committed: World) {
        self.committed = committed;
        self.restart();
    }
}

/// What a new process makes of the store.
fn loaded(committed: &World) -> World {
    let mut new = World { settings: committed.settings.clone(), ..World::default() };
    let mut put = |change: Change| new.apply(&change);
    committed.clusters.values().cloned().map(Change::PutCluster).for_each(&mut put);
    let definitions = committed.task_definitions.values().cloned();
    definitions.for_each(|r| put(Change::PutTaskDefinition(Box::new(r))));
    committed.revisions.iter().for_each(|(f, r)| put(Change::PutRevision(f.clone(), *r)));
    // Boxes before what is on them, as in the order of the store's tables.
    let devices = committed.devices.values().cloned();
    devices.for_each(|r| put(Change::PutDevice(Box::new(r))));
    let instances = committed.container_instances.values().cloned();
    instances.for_each(|r| put(Change::PutContainerInstance(Box::new(r))));
    let assignments = committed.assignments.values().cloned();
    assignments.for_each(|r| put(Change::PutAssignment(Box::new(r))));
    committed.tasks.values().cloned().for_each(|r| put(Change::PutTask(Box::new(r))));
    committed.services.values().cloned().for_each(|r| put(Change::PutService(Box::new(r))));
    let revisions = committed.service_revisions.values().cloned();
    revisions.for_each(|r| put(Change::PutServiceRevision(Box::new(r))));
    let deployments = committed.service_deployments.values().cloned();
    deployments.for_each(|r| put(Change::PutServiceDeployment(Box::new(r))));
    let events = committed.service_events.values().flat_map(BTreeMap::values);
    events.for_each(|r: &ServiceEvent| put(Change::PutServiceEvent(r.clone())));
    let tokens = &committed.client_tokens;
    tokens.iter().for_each(|(t, r)| put(Change::PutClientToken(t.clone(), r.clone())));
    let tokens = committed.join_tokens.values().cloned();
    tokens.for_each(|r| put(Change::PutJoinToken(Box::new(r))));
    let membership = committed.membership.iter().cloned();
    membership.for_each(|r| put(Change::PutMembership(Box::new(r))));
    new.events = committed.events.clone();
    new
}
