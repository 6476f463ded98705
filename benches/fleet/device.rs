//! The inside of a made-up box: the world and the planners of a real one, over containers that start and stop at once.

use coracle::auth::fleet::{Kind, SealingKey, VerifyingKey};
use coracle::fleet::message::{self, EventBatch, EventsAck, Want};
use coracle::fleet::topic::{Part, Topic};
use coracle::model::container_instance::Capacity;
use coracle::model::fleet::{
    AgentInformation, ContentHash, Desired, Event, Phase, Position, Presence, Report, VERSION,
};
use coracle::model::{
    Cluster, ClusterName, ContainerInstanceId, ImageDigest, TaskDefinition, Timestamp,
};
use coracle::plan::fleet::{FleetCommand, NewMember, content, events, progress};
use coracle::plan::{Action, Change, Command, Ids, Observation, Reply, World, command, instance};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Rounds of planning until quiet at most.
const PLANS: usize = 32;

/// What every box tells of itself.
pub(crate) fn agent() -> AgentInformation {
    let capacity = Capacity { cpu: 4096, memory: 4096, ..Capacity::default() };
    AgentInformation { version: "bench".to_owned(), capacity, attributes: Vec::new() }
}

pub(crate) struct Device {
    pub(crate) id: ContainerInstanceId,
    pub(crate) cluster: ClusterName,
    hub_key: VerifyingKey,
    sealing: SealingKey,
    world: World,
    ids: Ids,
    /// The store's table of events.
    outbox: BTreeMap<u64, Event>,
    /// A document whose bodies are not here yet.
    waiting: Option<Box<Desired>>,
    brought: BTreeMap<ContentHash, TaskDefinition>,
    /// The hub has the events before this one.
    acknowledged: u64,
}

/// What a box is to do because of a message.
#[derive(Debug, Default)]
pub(crate) struct Todo {
    /// Bodies to subscribe to.
    pub(crate) bodies: Vec<ContentHash>,
    /// The hub has answered a batch of events.
    pub(crate) answered: bool,
}

fn now() -> Timestamp {
    coracle::sys::now()
}

impl Device {
    pub(crate) fn new(
        id: ContainerInstanceId,
        cluster: ClusterName,
        hub: String,
        hub_key: VerifyingKey,
        sealing: SealingKey,
    ) -> Self {
        let mut world = World::default();
        world.apply(&Change::PutCluster(Cluster::new(cluster.clone(), now())));
        world.settings.this_instance = Some(id.clone());
        world.observed.scanned = true;
        let ids = Ids::from_seed(coracle::sys::seed());
        let mut device = Self {
            id: id.clone(),
            cluster: cluster.clone(),
            hub_key,
            sealing,
            world,
            ids,
            outbox: BTreeMap::new(),
            waiting: None,
            brought: BTreeMap::new(),
            acknowledged: 0,
        };
        let AgentInformation { version, capacity, attributes } = agent();
        let events = device.ids.hex32();
        device.submit(FleetCommand::Join(Box::new(NewMember {
            cluster,
            device: id,
            hub,
            // Each has just been made.
            position: Position::default(),
            events,
            capacity,
            attributes,
            agent_version: version,
        })));
        device
    }

    /// Carries out a command as the engine does, and what its containers make of it.
    fn submit(&mut self, command: FleetCommand) -> Reply {
        let mut commands = VecDeque::from([Command::from(command)]);
        let mut reply = None;
        while let Some(command) = commands.pop_front() {
            let before = self.world.clone();
            let outcome = command::apply(&mut self.world, command, now(), &mut self.ids);
            let outcome = outcome.unwrap_or_else(|error| panic!("{}: {error}", self.id));
            outcome.changes.iter().for_each(|change| self.world.apply(change));
            reply.get_or_insert(outcome.reply);
            let mut changes = outcome.changes;
            for _ in 0..PLANS {
                let tasks = instance::plan(&self.world, now(), &mut self.ids);
                self.world.apply_plan(&tasks);
                let progress = progress::plan(&self.world, now());
                self.world.apply_plan(&progress);
                let quiet = tasks.is_quiet() && progress.is_quiet();
                changes.extend(tasks.changes.into_iter().chain(progress.changes));
                commands.extend(tasks.actions.into_iter().map(made_up).map(Command::Observe));
                if quiet {
                    break;
                }
            }
            let told = events::of_changes(&before, &self.world.events, &changes, now());
            for change in &told {
                self.world.apply(change);
            }
            for change in changes.into_iter().chain(told) {
                match change {
                    Change::PutEvent(event) => drop(self.outbox.insert(event.offset, *event)),
                    Change::DeleteEvent(offset) => drop(self.outbox.remove(&offset)),
                    _ => {}
                }
            }
        }
        reply.unwrap_or(Reply::Done)
    }

    /// The newest document, if it is applied.
    pub(crate) fn applied(&self) -> Option<Position> {
        let progress = &self.world.membership.as_ref()?.progress;
        let applied = progress.applied.as_ref()?.position;
        (progress.phase == Phase::Applied && applied == progress.position).then_some(applied)
    }

    /// The newest revision of the tasks of services that run; 0 for none.
    pub(crate) fn revision(&self) -> u32 {
        let of_services = self.world.live_tasks().filter(|task| task.service.is_some());
        of_services.map(|task| task.task_definition.revision.0).max().unwrap_or(0)
    }

    /// Why the newest document is not to be applied.
    pub(crate) fn failed(&self) -> Option<String> {
        let progress = &self.world.membership.as_ref()?.progress;
        let failed = matches!(progress.phase, Phase::Failed | Phase::Unsupported);
        failed.then(|| progress.reason.clone().unwrap_or_default())
    }

    /// A message came.
    pub(crate) fn hear(
        &mut self,
        topic: &str,
        payload: &[u8],
        session: &str,
    ) -> Result<Todo, String> {
        use coracle::fleet::topic::Channel;
        let topic = Topic::parse(topic).map_err(|error| error.to_string())?;
        match topic {
            Topic::Device(_, _, Channel::Want) if !payload.is_empty() => self.want(payload),
            Topic::Doc(..) if !payload.is_empty() => self.body(payload),
            Topic::Device(_, _, Channel::Ack) => {
                let ack: EventsAck = self.signed(Kind::Ack, payload, message::WORD_LIMIT)?;
                self.acknowledged = ack.up_to;
                self.submit(FleetCommand::Acknowledged { log: ack.log, up_to: ack.up_to });
                if ack.tell_again && ack.session == session {
                    self.submit(FleetCommand::TellAgain);
                }
                Ok(Todo { answered: true, ..Todo::default() })
            }
            Topic::Hub(_) if !payload.is_empty() => {
                let _: message::HubWord = self.signed(Kind::Hub, payload, message::WORD_LIMIT)?;
                Ok(Todo::default())
            }
            _ => Ok(Todo::default()),
        }
    }

    fn signed<T: serde::de::DeserializeOwned>(
        &self,
        kind: Kind,
        bytes: &[u8],
        at_most: usize,
    ) -> Result<T, String> {
        let payload =
            self.hub_key.verify(kind, bytes, at_most).map_err(|error| error.to_string())?;
        message::read(&payload, at_most).map_err(|error| error.to_string())
    }

    fn want(&mut self, payload: &[u8]) -> Result<Todo, String> {
        let payload = self.hub_key.verify(Kind::Document, payload, message::WANT_LIMIT);
        let payload = payload.map_err(|error| error.to_string())?;
        match Want::read(&payload).map_err(|error| error.to_string())? {
            Want::Pointer(_) => Err("a document of the bench is not that large".to_owned()),
            Want::Document(desired) => {
                self.waiting = Some(desired);
                Ok(self.accept())
            }
        }
    }

    fn body(&mut self, payload: &[u8]) -> Result<Todo, String> {
        let payload = self.hub_key.verify(Kind::Body, payload, message::BODY_LIMIT);
        let payload = payload.map_err(|error| error.to_string())?;
        let definition = serde_json::from_slice(&payload).map_err(|error| error.to_string())?;
        self.brought.insert(ContentHash::of(&payload), definition);
        Ok(self.accept())
    }

    /// Accepts the document that waits, if all of it is here.
    fn accept(&mut self) -> Todo {
        let Some(desired) = self.waiting.take() else { return Todo::default() };
        let (definitions, missing) = self.at_hand(&desired);
        if !missing.is_empty() {
            self.waiting = Some(desired);
            return Todo { bodies: missing.into_iter().collect(), ..Todo::default() };
        }
        self.submit(FleetCommand::Accept(desired, definitions));
        self.brought.clear();
        Todo::default()
    }

    fn at_hand(&self, desired: &Desired) -> (Vec<TaskDefinition>, BTreeSet<ContentHash>) {
        let (mut here, mut missing) = (Vec::new(), BTreeSet::new());
        let known = self.world.membership.as_ref().map(|membership| &membership.bodies);
        for body in &desired.content.task_definitions {
            let stored =
                self.world.task_definitions.get(&body.task_definition).filter(|definition| {
                    match known.and_then(|bodies| bodies.get(&body.task_definition)) {
                        Some(hash) => *hash == body.sha256,
                        None => ContentHash::of(&content::body(definition)) == body.sha256,
                    }
                });
            match stored.or_else(|| self.brought.get(&body.sha256)) {
                Some(definition) => here.push(definition.clone()),
                None => drop(missing.insert(body.sha256.clone())),
            }
        }
        (here, missing)
    }

    pub(crate) fn report(&self, session: &str, seq: u64) -> Report {
        let mut report = progress::report(&self.world, session, seq).unwrap();
        if let Some(desired) = &self.waiting {
            report.missing = self.at_hand(desired).1;
        }
        report
    }

    /// The next events that the hub does not have, as they go out.
    pub(crate) fn batch(&self) -> Option<(Topic, Vec<u8>)> {
        let events: Vec<Event> = self
            .outbox
            .range(self.acknowledged..)
            .map(|(_, event)| event.clone())
            .take(64)
            .collect();
        let membership = self.world.membership.as_ref()?;
        if events.is_empty() {
            return None;
        }
        let log = membership.events.clone();
        let batch = EventBatch { v: VERSION, log, dropped: membership.dropped, events };
        let stream = Part::new(message::EVENTS).unwrap();
        let topic = Topic::log(&self.cluster, &self.id, stream);
        let sealed = batch.seal_up(&self.sealing, &topic);
        Some((topic, sealed))
    }

    pub(crate) fn presence(&self, session: &str, up: bool) -> (Topic, Vec<u8>) {
        let agent = up.then(|| Box::new(agent()));
        let said = Presence { v: VERSION, session: session.to_owned(), up, agent };
        let topic = Topic::live(&self.cluster, &self.id);
        let sealed = self.seal(&topic, &message::write(&said));
        (topic, sealed)
    }

    pub(crate) fn state(&self, report: &Report) -> (Topic, Vec<u8>) {
        let topic = Topic::state(&self.cluster, &self.id);
        let sealed = self.seal(&topic, &message::write(report));
        (topic, sealed)
    }

    fn seal(&self, topic: &Topic, payload: &[u8]) -> Vec<u8> {
        message::seal_up(&self.sealing, topic, payload)
    }
}

/// What is seen of an action at once.
fn made_up(action: Action) -> Observation {
    match action {
        Action::Pull { image, credentials, .. } => {
            let digest = ImageDigest::new(format!("sha256:{:0<64}", "ab")).unwrap();
            Observation::ImageReady { image, credentials, digest, source: None }
        }
        Action::Start(start) => Observation::Started { run: start.run, at: now(), network: None },
        Action::Stop(run) => {
            Observation::Exited { run, exit_code: Some(143), out_of_memory: false, at: now() }
        }
        Action::Kill(run) => {
            Observation::Exited { run, exit_code: Some(137), out_of_memory: false, at: now() }
        }
        Action::Probe { run, .. } => Observation::Probed { run, exit_code: Some(0), at: now() },
        Action::Release { task, generation } => Observation::Released { task, generation },
        Action::Forget { task } => Observation::Forgotten { task },
    }
}
