//! A fake node in virtual time: the pure core with everything around it played by the test.
//!
//! [`Node`] holds the world as the engine would, plans until quiet after each command or observation, and gives the
//! actions to a make-believe box ([`ground`]) that answers them after a while, as the faults say. Everything that
//! happens is written to a trace in plain words.

#![allow(dead_code, reason = "each test that uses the node uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

pub(crate) mod ground;
pub(crate) mod names;
mod records;

use coracle::model::container_instance::{Attribute, Capacity};
use coracle::model::{
    ClusterName, ContainerInstanceId, ContainerName, ImageDigest, Task, TaskId, TaskStatus,
    Timestamp,
};
use coracle::plan::action::ContainerRun;
use coracle::plan::command::{RegisterThisInstance, apply};
use coracle::plan::{
    Action, Command, CommandError, Ids, Observation, Reply, World, check, instance,
};
use ground::{Faults, Ground};
use names::Names;
use records::{SameRecords, changes_something, reloaded};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// Where every test begins: 2026-01-01T00:00:00Z.
pub(crate) const EPOCH: Timestamp = Timestamp::from_secs(1_767_225_600);

/// Rounds of planning until quiet at most.
const ROUNDS: usize = 32;

/// What will happen.
#[derive(Debug, Clone)]
enum Event {
    /// An action reaches the box.
    Act(Action),
    /// A process ends by itself.
    Exit(ContainerRun, i32, bool),
    /// An answer that took its time arrives.
    Tell(Observation),
}

/// The agent's core and the box under it.
pub(crate) struct Node {
    pub(crate) world: World,
    /// Time as it passes.
    elapsed: Duration,
    /// What the wall clock is ahead of it, in milliseconds.
    skew: i64,
    ids: Ids,
    events: BTreeMap<(Duration, u64), Event>,
    sequence: u64,
    wake_at: Option<Timestamp>,
    pub(crate) ground: Ground,
    pub(crate) faults: Faults,
    pub(crate) names: Names,
    pub(crate) trace: String,
    /// The agent does not hear the box: it is dead, or has not looked for what runs yet.
    deaf: bool,
    /// Observations that were told, for telling them again.
    pub(crate) told: Vec<Observation>,
    /// Commits that changed something.
    pub(crate) commits: usize,
}

impl Node {
    /// A box of 2 cores and 1 GiB in the cluster `default`, scanned, with nothing on it.
    pub(crate) fn new(seed: u128) -> Self {
        let mut node = Self::unregistered(seed);
        node.register(2048, 1024);
        node.observe(Observation::Scanned { rebooted: true });
        node.trace.clear();
        node.commits = 0;
        node
    }

    fn unregistered(seed: u128) -> Self {
        let mut world = World::default();
        world.settings.this_instance = Some(this_instance());
        Self {
            world,
            elapsed: Duration::ZERO,
            skew: 0,
            ids: Ids::from_seed(seed),
            events: BTreeMap::new(),
            sequence: 0,
            wake_at: None,
            ground: Ground::default(),
            faults: Faults::default(),
            names: Names::default(),
            trace: String::new(),
            deaf: false,
            told: Vec::new(),
            commits: 0,
        }
    }

    /// The agent tells what the box has.
    pub(crate) fn register(&mut self, cpu: u32, memory: u32) {
        let attribute = |name: &str, value: &str| Attribute {
            name: name.to_owned(),
            value: Some(value.to_owned()),
        };
        let registered =
            self.submit(Command::RegisterThisInstance(Box::new(RegisterThisInstance {
                id: this_instance(),
                cluster: ClusterName::default_cluster(),
                capacity: Capacity {
                    cpu,
                    memory,
                    reserved_ports: vec![22],
                    reserved_ports_udp: vec![],
                    gpus: vec![],
                },
                attributes: vec![
                    attribute("ecs.cpu-architecture", "x86_64"),
                    attribute("ecs.os-type", "linux"),
                    attribute("site", "harbour"),
                ],
                agent_version: "1.0.0".to_owned(),
            })));
        assert_eq!(registered, Ok(Reply::Done));
    }

    /// The wall clock.
    pub(crate) fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.elapsed.as_millis()).unwrap();
        Timestamp(EPOCH.millis() + elapsed + self.skew)
    }

    /// Sets the wall clock. Told, the agent knows of it.
    pub(crate) fn set_clock(&mut self, by: i64, told: bool) {
        self.skew += by;
        self.say(&format!("the clock is set by {} s", by / 1000));
        if told {
            self.observe(Observation::ClockStepped { by });
        } else {
            self.wake_at = None;
            self.round();
        }
    }

    /// Submits a command and lets the planner do what follows from it.
    pub(crate) fn submit(&mut self, command: Command) -> Result<Reply, CommandError> {
        let now = self.now();
        let before = self.world.clone();
        let outcome = apply(&mut self.world, command, now, &mut self.ids);
        match outcome {
            Ok(outcome) => {
                for change in &outcome.changes {
                    self.world.apply(change);
                }
                if let Reply::Tasks { tasks, .. } = &outcome.reply {
                    for task in tasks {
                        self.names.task(task);
                    }
                }
                for reason in &outcome.reasons {
                    let reason = self.names.rename(&reason.to_string());
                    self.say(&format!("  ({reason})"));
                }
                self.plan_until_quiet(&before, !outcome.changes.is_empty());
                Ok(outcome.reply)
            }
            Err(error) => {
                before.assert_same_records(&self.world);
                Err(error)
            }
        }
    }

    /// Submits an observation, which is never refused.
    pub(crate) fn observe(&mut self, observation: Observation) {
        if self.told.len() < 100 && !matches!(observation, Observation::Scanned { .. }) {
            self.told.push(observation.clone());
        }
        let refused = self.submit(Command::Observe(observation)).err();
        assert_eq!(refused, None);
    }

    /// Plans once more, as after a wake-up.
    pub(crate) fn round(&mut self) {
        let before = self.world.clone();
        self.plan_until_quiet(&before, false);
    }

    fn plan_until_quiet(&mut self, before: &World, mut changed: bool) {
        let now = self.now();
        let mut actions = Vec::new();
        for round in 0.. {
            assert!(round < ROUNDS, "the planner does not come to rest\n{}", self.trace);
            let plan = instance::plan(&self.world, now, &mut self.ids);
            self.wake_at = plan.wake_at;
            if plan.is_quiet() {
                break;
            }
            for change in &plan.changes {
                assert!(changes_something(&self.world, change), "{change:?} changes nothing");
            }
            for action in &plan.actions {
                let fresh = !self.world.observed.in_flight.contains(&action.key());
                assert!(fresh, "{action:?} is in flight already\n{}", self.trace);
            }
            self.world.apply_plan(&plan);
            changed |= !plan.changes.is_empty();
            actions.extend(plan.actions);
        }
        assert!(self.wake_at.is_none_or(|at| at > now), "asks to be woken up in the past");
        self.commits += usize::from(changed);
        self.tell_changes(before);
        for action in actions {
            let text = self.names.action(&action);
            self.say(&format!("  → {text}"));
            let answer_in = self.faults.delay_of(&action);
            self.later(answer_in, Event::Act(action));
        }
        self.assert_sound(before);
    }

    fn assert_sound(&self, before: &World) {
        let broken = check::check(&self.world);
        assert!(broken.is_empty(), "{broken:#?}\n{}", self.trace);
        for (id, task) in &self.world.tasks {
            let Some(old) = before.tasks.get(id) else { continue };
            assert!(task.generation >= old.generation, "the generation of {id} went back");
            assert!(
                task.generation > old.generation || old.last_status.may_become(task.last_status),
                "task {id} went from {:?} back to {:?}\n{}",
                old.last_status,
                task.last_status,
                self.trace
            );
        }
    }

    fn later(&mut self, after: Duration, event: Event) {
        self.sequence += 1;
        self.events.insert((self.elapsed + after, self.sequence), event);
    }

    /// Lets time pass, with everything that is due in it.
    pub(crate) fn advance(&mut self, by: Duration) {
        let end = self.elapsed + by;
        while let Some(next) = self.next_before(end) {
            self.elapsed = self.elapsed.max(next);
            match self.events.first_key_value() {
                Some(((at, _), _)) if *at <= self.elapsed => {
                    let (_, event) = self.events.pop_first().unwrap();
                    self.happen(event);
                }
                _ => self.round(),
            }
        }
        self.elapsed = end;
    }

    /// When something is due next, up to `end`.
    fn next_before(&self, end: Duration) -> Option<Duration> {
        let event = self.events.first_key_value().map(|((at, _), _)| *at);
        let wake =
            self.wake_at.filter(|_| !self.deaf).map(|at| self.elapsed + at.since(self.now()));
        event.into_iter().chain(wake).min().filter(|at| *at <= end)
    }

    /// True when nothing will happen any more, whatever time passes.
    pub(crate) fn is_idle(&self) -> bool {
        self.events.is_empty()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Exit(run, code, out_of_memory) => self.exit(&run, code, out_of_memory),
            Event::Act(action) => {
                let follows = self.ground.act(&action, &self.faults, self.now());
                for (after, run, code, out_of_memory) in follows.exits {
                    self.later(after, Event::Exit(run, code, out_of_memory));
                }
                match self.faults.lateness_of(&action) {
                    Duration::ZERO => self.observe(follows.answer),
                    late => self.later(late, Event::Tell(follows.answer)),
                }
            }
            Event::Tell(answer) => self.observe(answer),
        }
    }

    /// A process ends, if it still runs.
    pub(crate) fn exit(&mut self, run: &ContainerRun, code: i32, out_of_memory: bool) {
        let at = self.now();
        if self.ground.exit(run, code, out_of_memory, at) && !self.deaf {
            let (run, exit_code) = (run.clone(), Some(code));
            self.observe(Observation::Exited { run, exit_code, out_of_memory, at });
        }
    }

    /// The shim of a task dies and its containers with it.
    pub(crate) fn lose_shim(&mut self, id: &TaskId, reason: &str) {
        if let Some(generation) = self.ground.lose_shim(id).filter(|_| !self.deaf) {
            let (task, reason) = (id.clone(), reason.to_owned());
            self.observe(Observation::ShimLost { task, generation, reason });
        }
    }

    /// The agent dies. Its records are all that is left of what it knew; the box goes on.
    pub(crate) fn crash(&mut self) {
        self.say("the agent dies");
        self.deaf = true;
        self.world = reloaded(&self.world);
        self.world.observed.images.clone_from(&self.faults.local_images);
        self.wake_at = None;
        // Answers are lost. Of the actions, every other one had reached the box and happens all the same.
        let events = std::mem::take(&mut self.events);
        for ((at, sequence), event) in events {
            match event {
                Event::Exit(..) => drop(self.events.insert((at, sequence), event)),
                Event::Act(action) if sequence % 2 == 0 => {
                    let follows = self.ground.act(&action, &self.faults, self.now());
                    for (after, run, code, out_of_memory) in follows.exits {
                        self.later(after, Event::Exit(run, code, out_of_memory));
                    }
                }
                Event::Act(_) | Event::Tell(_) => {}
            }
        }
    }

    /// The box loses its power; what was running is gone.
    pub(crate) fn power_cut(&mut self) {
        self.crash();
        self.say("the box loses its power");
        self.ground.power_cut();
        self.events.clear();
    }

    /// The agent looks for what runs.
    pub(crate) fn scan(&mut self, rebooted: bool) {
        self.round();
        self.deaf = false;
        for observation in self.ground.scan() {
            self.observe(observation);
        }
        self.observe(Observation::Scanned { rebooted });
    }

    /// Writes a line with the time to the trace.
    pub(crate) fn say(&mut self, text: &str) {
        let ms = self.elapsed.as_millis();
        let (minutes, seconds, ms) = (ms / 60_000, ms / 1000 % 60, ms % 1000);
        writeln!(self.trace, "{minutes:02}:{seconds:02}.{ms:03} {text}").unwrap();
    }

    fn tell_changes(&mut self, before: &World) {
        let mut lines = Vec::new();
        for (id, task) in &self.world.tasks {
            let name = self.names.task(id);
            names::changes_of(&name, before.tasks.get(id), task, &mut lines);
        }
        for id in before.tasks.keys().filter(|id| !self.world.tasks.contains_key(*id)) {
            lines.push(format!("{} is forgotten", self.names.task(id)));
        }
        for reference in before.task_definitions.keys() {
            if !self.world.task_definitions.contains_key(reference) {
                lines.push(format!("task definition {reference} is removed"));
            }
        }
        for line in lines {
            self.say(&format!("  {line}"));
        }
    }

    /// Tasks that have not stopped.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Task> {
        self.world.tasks.values().filter(|task| task.last_status != TaskStatus::Stopped)
    }

    /// The run of a container that is recorded.
    pub(crate) fn run_of(&self, id: &TaskId, container: &str) -> Option<ContainerRun> {
        let task = self.world.tasks.get(id)?;
        let container = ContainerName::new(container).ok()?;
        let runtime_id = task.container(&container)?.runtime_id.clone()?;
        Some(ContainerRun { task: id.clone(), generation: task.generation, container, runtime_id })
    }
}

/// The one box.
pub(crate) fn this_instance() -> ContainerInstanceId {
    ContainerInstanceId::new("b0".repeat(16)).unwrap()
}

/// A digest that goes with an image's name.
pub(crate) fn digest_of(image: &str) -> ImageDigest {
    let mut hex = image.bytes().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    hex.truncate(64);
    ImageDigest::new(format!("sha256:{hex:0<64}")).unwrap()
}
