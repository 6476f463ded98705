//! A schedule: what happens to hub, broker and boxes, step by step, until all is connected and must agree.

use super::Mutant;
use super::broker::{Broker, Faults, Restart};
use super::chance::Chance;
use super::core::Crash;
use super::hub::Hub;
use super::member::{Member, agent};
use super::rules::{self, Rules};
use super::wishes;
use coracle::model::fleet::{ContentHash, JoinToken};
use coracle::model::service::SchedulingStrategy;
use coracle::model::{ClusterName, ServiceKey, TaskId, TaskStatus, Timestamp};
use coracle::plan::command::{CreateService, UpdateService};
use coracle::plan::fleet::{Enrol, FleetCommand};
use coracle::plan::{Command, Observation, Reply, World, check};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Steps with everything that may happen, and steps in which nobody wants anything.
const STEPS: usize = 26;
const CALM_STEPS: usize = 10;
/// Rounds of 20 s until all agree.
const ROUNDS: usize = 90;

pub(crate) struct Story {
    chance: Chance,
    hub: Hub,
    boxes: Vec<Member>,
    broker: Broker,
    rules: Rules,
    faults: Faults,
    /// In a hundred messages and works.
    crashes: usize,
    /// Of how much of it happens.
    told: bool,
    pub(crate) trace: String,
    elapsed: i64,
    numbers: u64,
    revision: u32,
    /// What callers were told: tasks that were started, and those that were stopped.
    started: BTreeMap<TaskId, bool>,
    deleted: BTreeSet<TaskId>,
    backup: Option<(World, BTreeMap<TaskId, bool>)>,
    epoch: u64,
    pub(crate) steps: u64,
}

type Step = Result<(), String>;

/// Plays the schedule of `seed`; the error is what was broken.
pub(crate) fn play(seed: u64, told: bool, mutant: Option<Mutant>) -> (Story, Step) {
    let mut story = Story::new(seed, told, mutant);
    let result = story.play();
    (story, result)
}

impl Story {
    fn new(seed: u64, told: bool, mutant: Option<Mutant>) -> Self {
        let mut chance = Chance::new(seed);
        let count = [1, 1, 2, 2, 3, 4][chance.below(6)];
        let mut boxes: Vec<Member> = (0..count).map(|at| Member::new(at, chance.next())).collect();
        let mut hub = Hub::new(boxes.iter().map(|b| b.id.clone()).collect(), chance.next());
        hub.mutant = mutant;
        boxes.iter_mut().for_each(|member| member.mutant = mutant);
        let harsh = |chance: &mut Chance| [0, 0, 2, 10, 30][chance.below(5)];
        let faults = Faults {
            drop: harsh(&mut chance),
            double: harsh(&mut chance),
            reorder: harsh(&mut chance),
        };
        Self {
            crashes: [0, 0, 2, 8][chance.below(4)],
            broker: Broker::new(count),
            chance,
            hub,
            boxes,
            rules: Rules::default(),
            faults,
            told,
            trace: String::new(),
            elapsed: 0,
            numbers: 0,
            revision: 0,
            started: BTreeMap::new(),
            deleted: BTreeSet::new(),
            backup: None,
            epoch: 0,
            steps: 0,
        }
    }

    fn say(&mut self, text: impl FnOnce() -> String) {
        if self.told {
            let seconds = self.elapsed / 1000;
            writeln!(self.trace, "{seconds:>6} s  {}", text()).unwrap();
        }
    }

    fn play(&mut self) -> Step {
        self.begin()?;
        for _ in 0..STEPS {
            self.step(true)?;
        }
        self.agree()?;
        self.check()?;
        // From here on nothing is wanted that was not wanted before, so nothing may start or stop.
        let before = self.moves();
        for _ in 0..CALM_STEPS {
            self.step(false)?;
        }
        self.agree()?;
        self.check()?;
        if self.moves() != before {
            return Err(format!("I3: {before:?} starts and stops became {:?}", self.moves()));
        }
        Ok(())
    }

    fn moves(&self) -> Vec<u64> {
        self.boxes.iter().map(|member| member.ground.moves).collect()
    }

    fn begin(&mut self) -> Step {
        let token = JoinToken {
            id: "t".to_owned(),
            secret_sha256: ContentHash::of(b"secret"),
            cluster: ClusterName::default_cluster(),
            uses_left: None,
            expires_at: None,
            attributes: Vec::new(),
            created_at: Timestamp(0),
            used: BTreeMap::new(),
        };
        self.ask(FleetCommand::CreateToken(token), Crash::Never)?;
        self.register("web", "image")?;
        self.register("lost", "lost")?;
        self.connect_hub()?;
        for at in 0..self.boxes.len() {
            self.join(at)?;
            self.connect(at)?;
        }
        if self.chance.one_in(2) {
            let service = self.service("always", 2);
            self.ask(Command::CreateService(Box::new(service)), Crash::Never)?;
        }
        Ok(())
    }

    // --- the parts ---------------------------------------------------------------------------------------------------

    /// Somebody asks the hub; the answer counts if there is one.
    fn ask(&mut self, command: impl Into<Command>, crash: Crash) -> Result<Option<Reply>, String> {
        if !self.hub.up {
            return Ok(None);
        }
        let answer = self.hub.submit(command, crash)?;
        self.after_hub()?;
        Ok(answer.and_then(Result::ok))
    }

    fn after_hub(&mut self) -> Step {
        self.rules.of_hub(&mut self.hub)?;
        if self.hub.up {
            self.hub.tell(&mut self.broker)
        } else {
            self.broker.cut(self.hub.at);
            Ok(())
        }
    }

    fn after_box(&mut self, at: usize) -> Step {
        let member = &mut self.boxes[at];
        self.rules.of_box(member, &self.hub)?;
        if member.up && member.core.world.membership.is_some() {
            member.tell(&mut self.broker);
        } else {
            if !member.up {
                member.crash(false, &mut self.chance)?;
            }
            self.broker.cut(at);
        }
        Ok(())
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn join(&mut self, at: usize) -> Step {
        let number = self.number();
        let id = self.boxes[at].id.clone();
        if !self.boxes[at].up || !self.hub.up {
            return Ok(());
        }
        let known = self.hub.core.world.devices.get(&id);
        if known.is_some_and(|device| device.revoked_at.is_none())
            && self.boxes[at].core.world.membership.is_some()
        {
            return Ok(());
        }
        let enrol = FleetCommand::Enrol(Box::new(Enrol {
            device: id.clone(),
            token: "t".to_owned(),
            nonce: number.to_string(),
            agent: agent(),
            certificate: json!({}),
            sealing_key: "sealed".to_owned(),
        }));
        if self.ask(enrol, Crash::Never)?.is_some() {
            let position = self.hub.core.world.devices[&id].position.before();
            if self.boxes[at].join(format!("log{number}"), position)? {
                self.say(|| format!("box {at} joins"));
            }
        }
        self.after_box(at)
    }

    fn connect_hub(&mut self) -> Step {
        self.hub.connect(&mut self.broker)
    }

    fn connect(&mut self, at: usize) -> Step {
        let id = &self.boxes[at].id;
        // The broker refuses whom the hub has revoked.
        let device = self.hub.core.committed.devices.get(id);
        if device.is_none_or(|device| device.revoked_at.is_some()) {
            return Ok(());
        }
        let session = format!("s{}", self.number());
        self.boxes[at].connect(&mut self.broker, session);
        Ok(())
    }

    fn register(&mut self, family: &str, image: &str) -> Step {
        self.revision += 1;
        let command = wishes::definition(json!({
            "family": family,
            "containerDefinitions": [{"name": "c", "image": image, "memory": 64, "essential": true}],
        }));
        self.ask(command, Crash::Never).map(drop)
    }

    fn service(&mut self, name: &str, count: i64) -> CreateService {
        let mut service = wishes::create(name, "web", count);
        service.deployment_configuration.minimum_healthy_percent =
            [None, Some(0), Some(50)][self.chance.below(3)];
        service
    }

    /// Messages reach whom they are for, with what may befall them.
    fn flow(&mut self, at_most: usize, faults: Faults) -> Step {
        for client in 0..self.broker.clients.len() {
            for _ in 0..at_most.min(self.broker.clients[client].up.len()) {
                self.broker.take(client, faults, &mut self.chance);
            }
        }
        for client in 0..self.broker.clients.len() {
            for _ in 0..at_most.min(self.broker.clients[client].down.len()) {
                let Some(message) = self.broker.give(client, faults, &mut self.chance) else {
                    continue;
                };
                self.steps += 1;
                let crash = self.crash();
                let acked = if client == self.hub.at {
                    let (topic, payload) = &message;
                    let acked = self.hub.hear(topic, payload, &mut self.broker, crash)?;
                    self.after_hub()?;
                    acked
                } else {
                    let member = &mut self.boxes[client];
                    let acked = member.hear(&message.1, &mut self.broker, crash)?;
                    self.after_box(client)?;
                    acked
                };
                if !acked {
                    self.broker.unacknowledged(client, message);
                }
            }
        }
        Ok(())
    }

    fn crash(&mut self) -> Crash {
        if !self.chance.percent(self.crashes) {
            Crash::Never
        } else if self.chance.one_in(2) {
            Crash::BeforeCommit
        } else {
            Crash::AfterCommit
        }
    }

    fn pass(&mut self, ms: i64) {
        self.elapsed += ms;
        self.hub.core.elapsed = self.elapsed;
        self.boxes.iter_mut().for_each(|member| member.core.elapsed = self.elapsed);
    }

    // --- what happens ------------------------------------------------------------------------------------------------

    /// One step; `wants` tells whether anything may be wanted or befall a task.
    fn step(&mut self, wants: bool) -> Step {
        self.steps += 1;
        let ms = [5, 100, 1000, 6000, 70_000][self.chance.below(5)];
        self.pass(ms);
        let at = self.chance.below(self.boxes.len());
        match self.chance.below(if wants { 40 } else { 20 }) {
            0..=1 => {
                self.say(|| format!("the link of box {at} is cut"));
                self.broker.cut(at);
            }
            2..=4 => self.connect(at)?,
            5 => {
                self.say(|| "the link of the hub is cut".to_owned());
                self.broker.cut(self.hub.at);
            }
            6 => self.connect_hub()?,
            7 => self.broker.forget(at),
            8 => {
                let how = [Restart::WithAll, Restart::WithSome, Restart::WithNothing];
                let how = how[self.chance.below(3)];
                self.say(|| format!("the broker restarts {how:?}"));
                self.broker.restart(how);
            }
            9 => self.broker.write_down(),
            10 => self.broker.fire(&mut self.chance),
            11 => {
                self.say(|| "the hub dies".to_owned());
                self.hub.up = false;
                self.hub.core.restart();
                self.broker.cut(self.hub.at);
            }
            12 => self.start_hub()?,
            13 => {
                self.say(|| format!("the agent of box {at} dies"));
                self.boxes[at].crash(false, &mut self.chance)?;
                self.broker.cut(at);
            }
            14 => self.start(at, false)?,
            15 => self.clock(at)?,
            16 => {
                self.say(|| "retained messages are erased".to_owned());
                self.broker.retained.clear();
            }
            17..=19 => {}
            _ => self.want(at)?,
        }
        let (at_most, faults) = ([0, 1, 3, 100][self.chance.below(4)], self.faults);
        for at in 0..self.boxes.len() {
            if self.chance.percent(70) {
                let crash = self.crash();
                self.boxes[at].work(false, crash, &mut self.chance)?;
                self.after_box(at)?;
            }
        }
        self.flow(at_most, faults)
    }

    fn start_hub(&mut self) -> Step {
        if !self.hub.up {
            self.say(|| "the hub starts".to_owned());
            self.hub.start()?;
            self.after_hub()?;
            self.connect_hub()?;
        }
        Ok(())
    }

    fn start(&mut self, at: usize, rebooted: bool) -> Step {
        if !self.boxes[at].up {
            self.say(|| format!("the agent of box {at} starts"));
            self.boxes[at].start(rebooted)?;
            self.after_box(at)?;
            if self.chance.one_in(2) {
                self.connect(at)?;
            }
        }
        Ok(())
    }

    /// A clock is set: a box's to 1970, or by hours; the hub's by a little.
    fn clock(&mut self, at: usize) -> Step {
        const HOUR: i64 = 3_600_000;
        if self.chance.one_in(4) {
            // By so little that no box counts as away for long enough for its tasks to be replaced.
            self.hub.core.skew = [0, HOUR / 60, -HOUR / 60][self.chance.below(3)];
            return Ok(());
        }
        let before = self.boxes[at].core.skew;
        let skew = [0, -super::core::EPOCH, 4 * HOUR, -4 * HOUR][self.chance.below(4)];
        self.boxes[at].core.skew = skew;
        self.say(|| format!("the clock of box {at} is set by {} h", (skew - before) / HOUR));
        let seen = Observation::ClockStepped { by: skew - before };
        self.boxes[at].observe(seen, Crash::Never)?;
        self.after_box(at)
    }

    /// Somebody wants something, or something befalls a task.
    fn want(&mut self, at: usize) -> Step {
        let crash = self.crash();
        match self.chance.below(26) {
            0..=4 => self.run(crash)?,
            5..=7 => self.stop(crash)?,
            8..=9 => {
                let name = ["always", "other"][self.chance.below(2)];
                let mut service = self.service(name, 0);
                service.desired_count = Some([1, 2, 3][self.chance.below(3)]);
                if self.chance.one_in(4) {
                    service.scheduling_strategy = SchedulingStrategy::Daemon;
                    service.desired_count = None;
                    // With one task for each box, a roll-out has to stop one first.
                    service.deployment_configuration.minimum_healthy_percent = Some(0);
                }
                self.say(|| format!("service {name} is created"));
                self.ask(Command::CreateService(Box::new(service)), crash)?;
            }
            10..=12 => self.update(crash)?,
            13 => {
                if let Some(service) = self.any_service() {
                    self.say(|| format!("service {} is deleted", service.name));
                    self.ask(Command::DeleteService { service, force: true }, crash)?;
                }
            }
            14 => self.register("web", "image")?,
            15 => {
                let (cluster, instances) =
                    (ClusterName::default_cluster(), vec![self.boxes[at].id.clone()]);
                let draining = self.chance.one_in(2);
                self.say(|| format!("box {at} draining: {draining}"));
                let drain = Command::UpdateContainerInstancesState { cluster, instances, draining };
                self.ask(drain, crash)?;
            }
            16 => {
                let instance = self.boxes[at].id.clone();
                self.say(|| format!("box {at} is deregistered"));
                let cluster = ClusterName::default_cluster();
                let command =
                    Command::DeregisterContainerInstance { cluster, instance, force: true };
                self.ask(command, crash)?;
                self.cut_revoked();
            }
            17 => self.join(at)?,
            18 => self.leave(at)?,
            19..=21 => {
                let runs: Vec<_> = self.boxes[at].ground.alive.values().cloned().collect();
                if let Some(run) = self.chance.pick(&runs).cloned() {
                    self.say(|| format!("a process of task {} ends", run.task));
                    let now = self.boxes[at].core.now();
                    let seen = self.boxes[at].ground.exit(&run, 1, now);
                    if let Some(seen) = seen {
                        self.boxes[at].observe(seen, crash)?;
                        self.after_box(at)?;
                    }
                }
            }
            22 => {
                let tasks: Vec<_> =
                    self.boxes[at].core.world.live_tasks().map(|t| t.id.clone()).collect();
                if let Some(task) = self.chance.pick(&tasks).cloned() {
                    self.say(|| format!("task {task} is stopped at its box"));
                    let cluster = ClusterName::default_cluster();
                    let stop = Command::StopTask { cluster, task: task.clone(), reason: None };
                    if self.boxes[at].round(vec![stop], crash)? {
                        self.started.entry(task).and_modify(|wanted| *wanted = false);
                    }
                    self.after_box(at)?;
                }
            }
            23 => {
                self.say(|| format!("box {at} loses its power"));
                self.boxes[at].crash(true, &mut self.chance)?;
                self.broker.cut(at);
                self.start(at, true)?;
            }
            24 => {
                let (world, started) = (self.hub.core.committed.clone(), self.started.clone());
                self.say(|| "a backup".to_owned());
                self.backup = Some((world, started));
            }
            _ => self.restore()?,
        }
        Ok(())
    }

    fn cut_revoked(&mut self) {
        for at in 0..self.boxes.len() {
            let device = self.hub.core.committed.devices.get(&self.boxes[at].id);
            if device.is_none_or(|device| device.revoked_at.is_some()) {
                self.broker.cut(at);
                self.broker.forget(at);
            }
        }
    }

    /// The hub's machine is lost; it begins again with its backup and a higher epoch.
    fn restore(&mut self) -> Step {
        let Some((mut world, started)) = self.backup.clone() else { return Ok(()) };
        if self.chance.one_in(2) {
            return Ok(());
        }
        self.say(|| "the hub is restored".to_owned());
        self.epoch += 1;
        world.settings.epoch = self.epoch;
        self.started = started;
        self.rules.restored();
        self.broker.cut(self.hub.at);
        self.hub.core.restore(world);
        self.hub.start()?;
        self.after_hub()?;
        self.cut_revoked();
        self.connect_hub()
    }

    fn run(&mut self, crash: Crash) -> Step {
        let family = if self.chance.one_in(6) { "lost" } else { "web" };
        let mut run = wishes::run(family, 1);
        run.client_token = Some(self.number().to_string());
        if let Some(Reply::Tasks { tasks, .. }) =
            self.ask(Command::RunTask(Box::new(run)), crash)?
        {
            self.say(|| format!("{tasks:?} of {family} are wanted"));
            self.started.extend(tasks.into_iter().map(|task| (task, true)));
        }
        Ok(())
    }

    fn stop(&mut self, crash: Crash) -> Step {
        let tasks: Vec<_> = self.hub.core.committed.live_tasks().map(|t| t.id.clone()).collect();
        if let Some(task) = self.chance.pick(&tasks).cloned() {
            let cluster = ClusterName::default_cluster();
            let stop = Command::StopTask { cluster, task: task.clone(), reason: None };
            if self.ask(stop, crash)?.is_some() {
                self.say(|| format!("task {task} is to stop"));
                self.started.insert(task, false);
            }
        }
        Ok(())
    }

    fn any_service(&mut self) -> Option<ServiceKey> {
        let keys: Vec<_> = self.hub.core.committed.services.keys().cloned().collect();
        self.chance.pick(&keys).cloned()
    }

    fn update(&mut self, crash: Crash) -> Step {
        let Some(key) = self.any_service() else { return Ok(()) };
        let mut update = UpdateService::of(key.clone());
        if self.chance.one_in(2) {
            update.desired_count = Some([0, 1, 2, 3][self.chance.below(4)]);
        } else {
            update.task_definition = Some(wishes::wanted("web"));
            update.force_new_deployment = self.chance.one_in(2);
        }
        self.say(|| format!("service {} is updated", key.name));
        self.ask(Command::UpdateService(Box::new(update)), crash).map(drop)
    }

    /// The box leaves, which the hub may hear of.
    fn leave(&mut self, at: usize) -> Step {
        if self.boxes[at].core.world.membership.is_none() {
            return Ok(());
        }
        self.say(|| format!("box {at} leaves"));
        self.boxes[at].round(vec![FleetCommand::Leave.into()], Crash::Never)?;
        self.after_box(at)?;
        if self.chance.one_in(2) {
            self.ask(FleetCommand::Left(self.boxes[at].id.clone()), Crash::Never)?;
            self.cut_revoked();
        }
        Ok(())
    }

    // --- the end -----------------------------------------------------------------------------------------------------

    /// Nothing goes wrong any more: in bounded time hub and boxes agree.
    fn agree(&mut self) -> Step {
        self.say(|| "from here on all is connected".to_owned());
        let crashes = std::mem::take(&mut self.crashes);
        self.start_hub()?;
        if !self.broker.clients[self.hub.at].connected {
            self.connect_hub()?;
        }
        while !self.broker.wills.is_empty() {
            self.broker.fire(&mut self.chance);
        }
        let mut quiet = 0;
        let mut differences = Vec::new();
        for _ in 0..ROUNDS {
            // Then long enough for the next regular report.
            self.pass(if quiet == 0 { 20_000 } else { 61_000 });
            for at in 0..self.boxes.len() {
                self.start(at, false)?;
                self.rejoin(at)?;
                if !self.broker.clients[at].connected {
                    self.connect(at)?;
                }
                self.boxes[at].round(Vec::new(), Crash::Never)?;
                for _ in 0..8 {
                    self.boxes[at].work(true, Crash::Never, &mut self.chance)?;
                }
                self.after_box(at)?;
            }
            self.hub.core.round(Vec::new(), Crash::Never)?;
            self.after_hub()?;
            for _ in 0..30 {
                if self.broker.is_quiet() {
                    break;
                }
                self.flow(100, Faults::default())?;
            }
            differences = self.differences();
            quiet = if differences.is_empty() { quiet + 1 } else { 0 };
            // Nothing comes of two of them.
            if quiet > 2 {
                self.crashes = crashes;
                return Ok(());
            }
        }
        let services: Vec<_> = self
            .hub
            .core
            .committed
            .services
            .values()
            .map(|s| (s.key.name.clone(), s.said.clone()))
            .collect();
        self.say(|| format!("{services:#?}"));
        for at in 0..self.boxes.len() {
            let member = &self.boxes[at];
            let device = self.hub.core.committed.devices.get(&member.id).cloned();
            let (world, shell) = (&member.core.committed, format!("{:?}", member.shell));
            let (membership, events) = (world.membership.clone(), world.events.clone());
            self.say(|| format!("hub: {device:?}\nbox: {events:?} {membership:?}\n{shell}"));
        }
        Err(format!("no agreement: {differences:#?}"))
    }

    /// A box that the hub lost with its machine joins again, as one that was taken out of the fleet.
    fn rejoin(&mut self, at: usize) -> Step {
        let device = self.hub.core.committed.devices.get(&self.boxes[at].id);
        let out = device.is_none_or(|device| device.revoked_at.is_some());
        if out || self.boxes[at].core.world.membership.is_none() {
            self.join(at)?;
        }
        Ok(())
    }

    fn differences(&self) -> Vec<String> {
        let mut said = Vec::new();
        for member in &self.boxes {
            self.rules.differences(member, &self.hub, &mut said);
            if member.core.committed.membership.is_none() {
                said.push(format!("{} is not of the fleet", member.id));
            }
            if !member.ground.asked.is_empty() {
                said.push(format!("{} is at work", member.id));
            }
        }
        rules::unfinished(&self.hub, &mut said);
        said
    }

    /// What must hold of the worlds, and of what callers were told.
    fn check(&mut self) -> Step {
        let worlds = self.boxes.iter().map(|member| &member.core.committed);
        for world in worlds.chain([&self.hub.core.committed]) {
            let mut world = world.clone();
            world.observed.scanned = true;
            let broken = check::check(&world);
            if !broken.is_empty() {
                return Err(format!("{broken:#?}"));
            }
        }
        let world = &self.hub.core.committed;
        for (task, wanted) in &self.started {
            match (world.tasks.get(task), wanted) {
                (None, _) if self.deleted.contains(task) || self.rules.restored => {}
                (None, _) => return Err(format!("the hub has lost task {task}")),
                (Some(record), false) if record.last_status != TaskStatus::Stopped => {
                    return Err(format!("task {task} was to stop"));
                }
                _ => {}
            }
        }
        for member in &self.boxes {
            for ((task, generation), runs) in &member.ground.runs {
                if runs.len() > 1 || (generation.0 > 1 && member.ground.cuts == 0) {
                    return Err(format!("task {task} ran {generation:?} {}", runs.len()));
                }
            }
        }
        Ok(())
    }
}
