//! A fleet in virtual time: the pure core of a hub, with boxes that [`simulate`] makes up.
//!
//! [`Fleet`] applies a command, then lets the cluster planner and the boxes plan until both are quiet, as the engine
//! does. [`Rules`] looks at every single plan on the way. What happens is written to a trace in plain words, if wanted.

#![allow(dead_code, reason = "each test that uses the fleet uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

pub(crate) mod names;
#[path = "../node/records.rs"]
mod records;
pub(crate) mod rules;
pub(crate) mod wishes;

use coracle::model::fleet::{Device, Position, Progress};
use coracle::model::{AssignmentId, ClusterName, Service, ServiceKey, ServiceName, Timestamp};
use coracle::plan::command::apply;
use coracle::plan::simulate::{self, FaultPlan, Rule};
use coracle::plan::{
    Change, Command, CommandError, Ids, Observation, Plan, Reply, World, check, cluster,
};
use names::Names;
use records::{SameRecords, changes_something, reloaded};
use rules::Rules;
use std::fmt::Write as _;
use std::time::Duration;

/// Where every test begins: 2026-01-01T00:00:00Z.
pub(crate) const EPOCH: Timestamp = Timestamp::from_secs(1_767_225_600);

/// Rounds of planning until quiet at most, as in the engine.
const ROUNDS: usize = 32;

/// The hub's core and the boxes of its fleet.
pub(crate) struct Fleet {
    pub(crate) world: World,
    elapsed: Duration,
    /// What the wall clock is ahead of it, in milliseconds.
    skew: i64,
    ids: Ids,
    wake_at: Option<Timestamp>,
    pub(crate) faults: FaultPlan,
    pub(crate) names: Names,
    pub(crate) trace: String,
    /// Whether there is to be a trace.
    told: bool,
    pub(crate) rules: Rules,
    /// Boxes neither hear nor tell anything until then.
    silent_until: Option<Duration>,
    /// Commands, moments at which something happened, and changes that boxes told.
    pub(crate) steps: u64,
    /// Look at all invariants each so many steps.
    pub(crate) check_each: u64,
    checked_at: u64,
}

impl Fleet {
    /// A hub with the cluster `default` and no box.
    pub(crate) fn new(seed: u128) -> Self {
        let mut world = World::default();
        world.settings.simulated = true;
        simulate::begin(&mut world, FaultPlan::default());
        let mut fleet = Self {
            world,
            elapsed: Duration::ZERO,
            skew: 0,
            ids: Ids::from_seed(seed),
            wake_at: None,
            faults: FaultPlan::default(),
            names: Names::default(),
            trace: String::new(),
            told: false,
            rules: Rules::default(),
            silent_until: None,
            steps: 0,
            check_each: 1,
            checked_at: 0,
        };
        fleet.submit(wishes::create_cluster()).unwrap();
        fleet
    }

    /// The same, with a trace.
    pub(crate) fn told(seed: u128) -> Self {
        Self { told: true, ..Self::new(seed) }
    }

    /// The wall clock.
    pub(crate) fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.elapsed.as_millis()).unwrap();
        Timestamp(EPOCH.millis() + elapsed + self.skew)
    }

    /// Sets the wall clock. Told, the planners know of it.
    pub(crate) fn set_clock(&mut self, by: i64, told: bool) {
        self.skew += by;
        if told {
            self.submit(Command::Observe(Observation::ClockStepped { by })).unwrap();
        } else {
            self.settle();
        }
    }

    /// A made-up box registers, or does so again with other attributes.
    pub(crate) fn register(
        &mut self,
        id: &str,
        cpu: u32,
        memory: u32,
        attributes: &[(&str, &str)],
    ) {
        let [told, made_up] = wishes::register(id, cpu, memory, attributes);
        let now = self.now();
        let outcome = apply(&mut self.world, told, now, &mut self.ids).unwrap();
        outcome.changes.iter().for_each(|change| self.world.apply(change));
        self.submit(made_up).unwrap();
    }

    /// Submits a command and lets the planners do what follows from it.
    pub(crate) fn submit(&mut self, command: Command) -> Result<Reply, CommandError> {
        self.steps += 1;
        let now = self.now();
        let places = matches!(command, Command::RunTask(_));
        let outcome = apply(&mut self.world, command, now, &mut self.ids)?;
        for change in &outcome.changes {
            self.world.apply(change);
        }
        if places {
            self.rules.placed(&self.world, &outcome.changes);
        }
        self.rules.note(&outcome.changes);
        if self.told {
            self.names.note(&self.world, &outcome.reply);
        }
        self.settle();
        Ok(outcome.reply)
    }

    /// Plans until there is nothing left to decide.
    pub(crate) fn settle(&mut self) {
        let now = self.now();
        for round in 0.. {
            assert!(round < ROUNDS, "the planners do not come to rest\n{}", self.trace);
            let services = cluster::plan(&self.world, now, &mut self.ids);
            assert!(services.actions.is_empty(), "the cluster planner does nothing by itself");
            for change in &services.changes {
                assert!(changes_something(&self.world, change), "{change:?} changes nothing");
            }
            let moved = self.rules.before(&self.world, &services.changes, now);
            self.world.apply_plan(&services);
            self.rules.after(&self.world, &moved, &services.changes, now);
            self.rules.note(&services.changes);
            let boxes = self.boxes(now);
            if services.is_quiet() && boxes.is_quiet() {
                self.wake_at = boxes.wake_at;
                break;
            }
        }
        let next = self.next_wake();
        assert!(next.is_none_or(|at| at > now), "asks to be woken up in the past\n{}", self.trace);
        if self.told {
            let lines = self.names.news(&self.world);
            lines.iter().for_each(|line| self.say(&format!("  {line}")));
        }
        if self.steps >= self.checked_at + self.check_each {
            self.checked_at = self.steps;
            self.assert_sound();
        }
    }

    /// What the boxes do, if they hear anything.
    fn boxes(&mut self, now: Timestamp) -> Plan {
        if self.silent_until.is_some() {
            return Plan::default();
        }
        let plan = simulate::plan(&mut self.world, now, &mut self.ids);
        self.rules.box_changes(&self.world, &plan.changes, now);
        self.rules.note(&plan.changes);
        self.steps += u64::try_from(plan.changes.len()).unwrap();
        plan
    }

    fn next_wake(&self) -> Option<Timestamp> {
        self.world.agenda.next().into_iter().chain(self.wake_at).min()
    }

    /// Boxes hear and tell nothing for so long.
    pub(crate) fn silence(&mut self, time: Duration) {
        self.silent_until = Some(self.elapsed + time);
        self.wake_at = None;
    }

    /// Lets time pass, with everything that is due in it.
    pub(crate) fn advance(&mut self, by: Duration) {
        let end = self.elapsed + by;
        loop {
            let wake = self.next_wake().map(|at| self.elapsed + at.since(self.now()));
            let next = wake.into_iter().chain(self.silent_until).min().filter(|at| *at <= end);
            let Some(next) = next else { break };
            self.elapsed = self.elapsed.max(next);
            self.steps += 1;
            if self.silent_until.is_some_and(|until| until <= self.elapsed) {
                self.silent_until = None;
            }
            self.settle();
        }
        self.elapsed = end;
    }

    /// The hub starts anew: all that is left is its records, which go through JSON.
    pub(crate) fn restart(&mut self) {
        self.steps += 1;
        self.world = reloaded(&self.world);
        simulate::begin(&mut self.world, self.faults.clone());
        self.settle();
    }

    /// The box is one of a fleet, and is or is not connected.
    pub(crate) fn connect(&mut self, id: &str, connected: bool) {
        self.steps += 1;
        let id = wishes::instance(id);
        let device = Device {
            id: id.clone(),
            cluster: ClusterName::default_cluster(),
            position: Position::default(),
            hash: None,
            prev_hash: None,
            reported: Progress::none(),
            session: None,
            connected,
            connected_changed_at: self.now(),
            events: None,
            certificate: None,
            sealing_key: None,
            hub_key: None,
            revoked_at: None,
            returns: 0,
        };
        self.world.apply(&Change::PutDevice(Box::new(device)));
        self.settle();
    }

    /// Replaces the rules that say what befalls tasks.
    pub(crate) fn befall(&mut self, rules: Vec<Rule>) {
        self.faults = FaultPlan { rules };
        self.faults.check().unwrap();
        self.submit(Command::SetFaults(Box::new(self.faults.clone()))).unwrap();
    }

    /// All invariants; and that planning everything anew finds nothing to do, which is more than what is on the agenda.
    pub(crate) fn assert_sound(&mut self) {
        self.rules.records(&self.world);
        if self.silent_until.is_some() {
            return;
        }
        let broken = check::check(&self.world);
        assert!(broken.is_empty(), "{broken:#?}\n{}", self.trace);
        let keys: Vec<ServiceKey> = self.world.services.keys().cloned().collect();
        let all: Vec<AssignmentId> = self.world.assignments.keys().cloned().collect();
        keys.iter().for_each(|key| self.world.agenda.touch(key));
        all.iter().for_each(|id| self.world.agenda.touch_assignment(id));
        let (now, wake) = (self.now(), self.wake_at);
        let mut services = cluster::plan(&self.world, now, &mut self.ids.clone());
        // Which box comes closest is only looked at anew when room may have come, not when there is less; and what was
        // said long ago is only said again when there is a reason to look.
        services.changes.retain(|change| !only_complains(&self.world, change));
        assert!(services.is_quiet(), "was not looked at: {services:#?}\n{}", self.trace);
        self.world.apply_plan(&services);
        let boxes = simulate::plan(&mut self.world, now, &mut self.ids.clone());
        assert!(boxes.is_quiet(), "was not looked at: {boxes:#?}\n{}", self.trace);
        assert!(wake >= boxes.wake_at, "would have slept too long: {wake:?}, {:?}", boxes.wake_at);
        self.wake_at = boxes.wake_at;
    }

    /// That a refused command changes nothing.
    pub(crate) fn may_refuse(&mut self, command: Command) -> Option<Reply> {
        let before = self.steps.is_multiple_of(16).then(|| self.world.clone());
        let reply = self.submit(command);
        if let (Err(_), Some(before)) = (&reply, before) {
            before.assert_same_records(&self.world);
        }
        reply.ok()
    }

    /// Writes a line with the time to the trace.
    pub(crate) fn say(&mut self, text: &str) {
        let ms = self.elapsed.as_millis();
        let (minutes, seconds, ms) = (ms / 60_000, ms / 1000 % 60, ms % 1000);
        writeln!(self.trace, "{minutes:02}:{seconds:02}.{ms:03} {text}").unwrap();
    }
}

/// A change that only says why nothing moves.
fn only_complains(world: &World, change: &Change) -> bool {
    match change {
        Change::PutServiceEvent(event) => event.message.contains(") was unable to "),
        Change::PutService(service) => {
            let old = &world.services[&service.key];
            let (said, next_event) = (old.said.clone(), old.next_event);
            let same = Service { said, next_event, ..(**service).clone() };
            let waits = |service: &Service| service.said.unplaced.is_some();
            same == *old && waits(service) && waits(old) && service.said.steady == old.said.steady
        }
        _ => false,
    }
}

/// A service of the cluster `default`.
pub(crate) fn key(name: &str) -> ServiceKey {
    ServiceKey { cluster: ClusterName::default_cluster(), name: ServiceName::new(name).unwrap() }
}
