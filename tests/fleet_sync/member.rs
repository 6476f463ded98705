//! A box: its agent's core and loop, and the containers under it.

use super::Mutant;
use super::broker::{Ack, Batch, Broker, Payload, Topic};
use super::chance::Chance;
use super::core::{Core, Crash};
use super::ground::Ground;
use super::wishes;
use coracle::model::container_instance::Capacity;
use coracle::model::fleet::{
    AgentInformation, ContentHash, Desired, Position, Presence, Progress, VERSION,
};
use coracle::model::{
    Cluster, ClusterName, ContainerInstanceId, TaskDefinition, TaskId, Timestamp,
};
use coracle::plan::command::RegisterThisInstance;
use coracle::plan::fleet::{FleetCommand, NewMember, progress};
use coracle::plan::{Change, Command, Observation, World};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Events of one batch at most.
const BATCH: usize = 4;
/// How often a box reports though nothing changed, and sends again what was not acknowledged.
const TICK: i64 = 60_000;

pub(crate) struct Member {
    pub(crate) at: usize,
    pub(crate) id: ContainerInstanceId,
    pub(crate) core: Core,
    pub(crate) ground: Ground,
    /// The agent runs.
    pub(crate) up: bool,
    pub(crate) shell: Shell,
    pub(crate) mutant: Option<Mutant>,
}

/// What the loop knows; gone with the process, most of it with the connection.
#[derive(Debug, Default)]
pub(crate) struct Shell {
    session: String,
    seq: u64,
    /// A document whose bodies are not here yet.
    waiting: Option<Rc<Desired>>,
    bodies: BTreeMap<ContentHash, Rc<TaskDefinition>>,
    /// The hub has the events before this one.
    acked: u64,
    /// A batch is on its way.
    in_flight: bool,
    said: Option<(Progress, BTreeMap<TaskId, u64>, u64)>,
    said_at: i64,
}

pub(crate) fn agent() -> AgentInformation {
    let capacity = Capacity { cpu: 4096, memory: 4096, ..Capacity::default() };
    AgentInformation { version: "1".to_owned(), capacity, attributes: Vec::new() }
}

impl Member {
    pub(crate) fn new(at: usize, seed: u64) -> Self {
        let id = wishes::instance(&format!("b{at}"));
        let mut world = World::default();
        let cluster = Cluster::new(ClusterName::default_cluster(), Timestamp(0));
        world.apply(&Change::PutCluster(cluster));
        world.settings.this_instance = Some(id.clone());
        world.observed.scanned = true;
        let core = Core::new(world, seed);
        let (ground, shell) = (Ground::default(), Shell::default());
        Self { at, id, core, ground, up: true, shell, mutant: None }
    }

    /// Carries out commands; what is to be done for them goes to the containers. False when the agent died.
    pub(crate) fn round(&mut self, commands: Vec<Command>, crash: Crash) -> Result<bool, String> {
        if !self.up {
            return Ok(false);
        }
        match self.core.round(commands, crash)? {
            Some(round) => {
                self.ground.asked.extend(round.actions);
                Ok(true)
            }
            None => {
                self.up = false;
                Ok(false)
            }
        }
    }

    /// The containers do what they were asked for.
    pub(crate) fn work(
        &mut self,
        all: bool,
        crash: Crash,
        chance: &mut Chance,
    ) -> Result<(), String> {
        if !self.up {
            return Ok(());
        }
        let seen = self.ground.work(all, self.core.now(), chance)?;
        if !seen.is_empty() {
            self.round(seen.into_iter().map(Command::Observe).collect(), crash)?;
        }
        Ok(())
    }

    /// The agent dies, with or without its box.
    pub(crate) fn crash(&mut self, power: bool, chance: &mut Chance) -> Result<(), String> {
        self.up = false;
        let now = self.core.now();
        if power {
            self.ground.power_cut();
        } else {
            self.ground.abandoned(now, chance)?;
        }
        self.core.restart();
        Ok(())
    }

    /// The agent starts: what runs is found, before anything of the network.
    pub(crate) fn start(&mut self, rebooted: bool) -> Result<(), String> {
        self.up = true;
        self.shell = Shell::default();
        if self.mutant == Some(Mutant::PositionNotKept)
            && let Some(membership) = &mut self.core.world.membership
        {
            membership.progress = Progress::none();
        }
        let mut commands = vec![self.registers()];
        let scan = self.ground.scan(rebooted, self.core.now());
        commands.extend(scan.into_iter().map(Command::Observe));
        self.round(commands, Crash::Never)?;
        Ok(())
    }

    fn registers(&self) -> Command {
        let AgentInformation { version, capacity, attributes } = agent();
        Command::RegisterThisInstance(Box::new(RegisterThisInstance {
            id: self.id.clone(),
            cluster: ClusterName::default_cluster(),
            capacity,
            attributes,
            agent_version: version,
        }))
    }

    /// The box joins, its identity being there.
    pub(crate) fn join(&mut self, events: String, position: Position) -> Result<bool, String> {
        if !self.up {
            return Ok(false);
        }
        let AgentInformation { version, capacity, attributes } = agent();
        let join = FleetCommand::Join(Box::new(NewMember {
            cluster: ClusterName::default_cluster(),
            device: self.id.clone(),
            hub: "http://hub".to_owned(),
            position,
            events,
            capacity,
            attributes,
            agent_version: version,
        }));
        if self.core.world.membership.is_none() {
            self.shell = Shell::default();
        }
        let round = self.core.round(vec![join.into()], Crash::Never)?;
        let Some(round) = round else { return Ok(false) };
        self.ground.asked.extend(round.actions);
        Ok(round.replies[0].is_ok())
    }

    pub(crate) fn connect(&mut self, broker: &mut Broker, session: String) {
        if !self.up || self.core.world.membership.is_none() {
            return;
        }
        self.shell.session = session;
        self.shell.seq = 0;
        self.shell.in_flight = false;
        self.shell.said = None;
        broker.connect(self.at, Some((Topic::Live(self.at), self.presence(false))));
        broker.publish(self.at, Topic::Live(self.at), self.presence(true));
        broker.subscribe(self.at, Topic::Want(self.at));
        broker.subscribe(self.at, Topic::Ack(self.at));
        self.ask_for_bodies(broker);
        self.tell(broker);
    }

    fn presence(&self, up: bool) -> Payload {
        let agent = up.then(|| Box::new(agent()));
        let session = self.shell.session.clone();
        Payload::Live(Rc::new(Presence { v: VERSION, session, up, agent }))
    }

    fn ask_for_bodies(&self, broker: &mut Broker) {
        for hash in self.shell.waiting.iter().flat_map(|desired| self.missing(desired)) {
            broker.subscribe(self.at, Topic::Doc(hash));
        }
    }

    /// Bodies that are neither here nor came.
    fn missing(&self, desired: &Desired) -> Vec<ContentHash> {
        let bodies = desired.content.task_definitions.iter();
        let missing = bodies.filter(|body| {
            let known = self.core.world.membership.as_ref();
            let known = known.and_then(|m| m.bodies.get(&body.task_definition));
            known != Some(&body.sha256) && !self.shell.bodies.contains_key(&body.sha256)
        });
        missing.map(|body| body.sha256.clone()).collect()
    }

    /// A message; false when it was not acknowledged, since the agent died.
    pub(crate) fn hear(
        &mut self,
        payload: &Payload,
        broker: &mut Broker,
        crash: Crash,
    ) -> Result<bool, String> {
        if !self.up || self.core.world.membership.is_none() {
            return Ok(true);
        }
        let lives = match payload {
            Payload::Want(desired) => {
                let wanted = self.shell.waiting.as_ref();
                if wanted.is_none_or(|old| old.position <= desired.position) {
                    self.shell.waiting = Some(Rc::clone(desired));
                }
                self.try_accept(broker, crash)?
            }
            Payload::Doc(definition) => {
                let bytes = coracle::plan::fleet::content::body(definition);
                self.shell.bodies.insert(ContentHash::of(&bytes), Rc::clone(definition));
                self.try_accept(broker, crash)?
            }
            Payload::Ack(ack) => self.acknowledged(ack, broker, crash)?,
            _ => true,
        };
        if lives {
            self.tell(broker);
        }
        Ok(lives)
    }

    fn try_accept(&mut self, broker: &mut Broker, crash: Crash) -> Result<bool, String> {
        let Some(desired) = self.shell.waiting.clone() else { return Ok(true) };
        if !self.missing(&desired).is_empty() {
            self.ask_for_bodies(broker);
            return Ok(true);
        }
        self.shell.waiting = None;
        let definitions = desired.content.task_definitions.iter().filter_map(|body| {
            let came = self.shell.bodies.get(&body.sha256).map(|body| (**body).clone());
            came.or_else(|| self.core.world.task_definitions.get(&body.task_definition).cloned())
        });
        let definitions = definitions.collect();
        if self.mutant == Some(Mutant::OlderDocuments)
            && let Some(membership) = &mut self.core.world.membership
        {
            membership.progress.position = coracle::model::fleet::Position::default();
        }
        let accept = FleetCommand::Accept(Box::new((*desired).clone()), definitions);
        let lives = self.round(vec![accept.into()], crash)?;
        self.shell.bodies.clear();
        Ok(lives)
    }

    fn acknowledged(
        &mut self,
        ack: &Ack,
        broker: &mut Broker,
        crash: Crash,
    ) -> Result<bool, String> {
        let (log, up_to) = (ack.log.clone(), ack.up_to);
        if self.core.world.membership.as_ref().is_some_and(|m| m.events == log) {
            // A hub that was restored has less than it once said.
            self.shell.acked = up_to;
            self.shell.in_flight = false;
        }
        let mut commands = vec![FleetCommand::Acknowledged { log, up_to }.into()];
        if ack.tell_again.as_ref() == Some(&self.shell.session)
            && self.mutant != Some(Mutant::NeverToldAgain)
        {
            if self.mutant != Some(Mutant::LiveSaidOnce) {
                broker.publish(self.at, Topic::Live(self.at), self.presence(true));
            }
            commands.push(FleetCommand::TellAgain.into());
        }
        self.round(commands, crash)
    }

    /// After a commit, and now and then: says what is new.
    pub(crate) fn tell(&mut self, broker: &mut Broker) {
        if !self.up || !broker.clients[self.at].connected {
            return;
        }
        let elapsed = self.core.elapsed;
        if elapsed - self.shell.said_at >= TICK {
            self.shell.said = None;
            self.shell.in_flight = false;
        }
        let session = self.shell.session.clone();
        let Some(mut report) = progress::report(&self.core.world, &session, self.shell.seq) else {
            return;
        };
        if let Some(waiting) = &self.shell.waiting {
            report.missing = self.missing(waiting).into_iter().collect();
        }
        let said = (report.progress.clone(), report.tasks.clone(), report.events.next);
        if self.shell.said.as_ref() != Some(&said) {
            self.shell.said = Some(said);
            self.shell.said_at = elapsed;
            self.shell.seq += 1;
            broker.publish(self.at, Topic::State(self.at), Payload::State(Rc::new(report)));
        }
        self.tell_events(broker);
    }

    fn tell_events(&mut self, broker: &mut Broker) {
        let Some(membership) = &self.core.world.membership else { return };
        if self.shell.in_flight {
            return;
        }
        let events: Vec<_> = self
            .core
            .outbox
            .range(self.shell.acked..)
            .take(BATCH)
            .map(|(_, e)| e.clone())
            .collect();
        if events.is_empty() {
            return;
        }
        self.shell.in_flight = true;
        let (log, dropped) = (membership.events.clone(), membership.dropped);
        let batch = Rc::new(Batch { log, dropped, events });
        broker.publish(self.at, Topic::Log(self.at), Payload::Log(batch));
    }

    /// Something is to be observed.
    pub(crate) fn observe(&mut self, seen: Observation, crash: Crash) -> Result<bool, String> {
        self.round(vec![Command::Observe(seen)], crash)
    }
}
