//! The hub: its core and its loop.

use super::Mutant;
use super::broker::{Ack, Batch, Broker, Payload, Topic};
use super::core::{Core, Crash};
use coracle::model::fleet::{ContentHash, Desired, Position, Presence, Report, VERSION};
use coracle::model::{Cluster, ClusterName, ContainerInstanceId, TaskDefinition, Timestamp};
use coracle::plan::fleet::{FleetCommand, content};
use coracle::plan::{Change, Command, CommandError, Reply, World};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

pub(crate) struct Hub {
    pub(crate) core: Core,
    pub(crate) up: bool,
    /// Its number among the broker's clients.
    pub(crate) at: usize,
    /// The boxes, by number.
    pub(crate) boxes: Vec<ContainerInstanceId>,
    /// What was published of each box's documents; gone with the process.
    published: Vec<Option<Position>>,
    docs: BTreeSet<ContentHash>,
    bodies: content::Bodies,
    /// Task definitions as they are carried.
    carried: BTreeMap<ContentHash, Rc<TaskDefinition>>,
    pub(crate) mutant: Option<Mutant>,
}

impl Hub {
    pub(crate) fn new(boxes: Vec<ContainerInstanceId>, seed: u64) -> Self {
        let mut world = World::default();
        let cluster = Cluster::new(ClusterName::default_cluster(), Timestamp(0));
        world.apply(&Change::PutCluster(cluster));
        Self {
            core: Core::new(world, seed),
            up: true,
            at: boxes.len(),
            published: vec![None; boxes.len()],
            boxes,
            docs: BTreeSet::new(),
            bodies: content::Bodies::new(),
            carried: BTreeMap::new(),
            mutant: None,
        }
    }

    /// Carries out a command; none when the hub died in it.
    pub(crate) fn submit(
        &mut self,
        command: impl Into<Command>,
        crash: Crash,
    ) -> Result<Option<Result<Reply, CommandError>>, String> {
        let round = self.core.round(vec![command.into()], crash)?;
        self.up &= round.is_some();
        Ok(round.and_then(|mut round| round.replies.pop()))
    }

    pub(crate) fn start(&mut self) -> Result<(), String> {
        self.up = true;
        self.docs.clear();
        // A new process knows nothing of what it hashed; after a restore a name may come to mean something else.
        self.bodies.clear();
        for (at, id) in self.boxes.iter().enumerate() {
            let device = self.core.committed.devices.get(id);
            let told = device.filter(|device| device.reported.position == device.position);
            self.published[at] = told.map(|device| device.position);
        }
        self.core.round(Vec::new(), Crash::Never).map(drop)
    }

    pub(crate) fn connect(&mut self, broker: &mut Broker) -> Result<(), String> {
        if !self.up {
            return Ok(());
        }
        broker.connect(self.at, None);
        broker.subscribe_all(self.at);
        // What was on its way may be lost.
        self.start_publishing_again();
        self.tell(broker)
    }

    fn start_publishing_again(&mut self) {
        self.docs.clear();
        for (at, id) in self.boxes.iter().enumerate() {
            let device = self.core.committed.devices.get(id);
            if device.is_some_and(|device| device.reported.position != device.position) {
                self.published[at] = None;
            }
        }
    }

    /// After a commit: documents that are new.
    pub(crate) fn tell(&mut self, broker: &mut Broker) -> Result<(), String> {
        if !self.up || !broker.clients[self.at].connected {
            return Ok(());
        }
        for at in 0..self.boxes.len() {
            let Some(device) = self.core.committed.devices.get(&self.boxes[at]) else { continue };
            let is_new = self.published[at].is_none_or(|published| published < device.position);
            if device.revoked_at.is_none() && device.hash.is_some() && is_new {
                self.publish(at, broker)?;
            }
        }
        Ok(())
    }

    fn publish(&mut self, at: usize, broker: &mut Broker) -> Result<(), String> {
        let id = &self.boxes[at];
        let world = &self.core.committed;
        let Some(device) = world.devices.get(id) else { return Ok(()) };
        let content = content::of(world, id, &mut self.bodies);
        let hash = content::hash(&content);
        if device.hash.as_ref() != Some(&hash) {
            return Err(format!("the document of {id} is not what its record says"));
        }
        for body in &content.task_definitions {
            if !self.docs.contains(&body.sha256) {
                self.docs.insert(body.sha256.clone());
                let definition = &world.task_definitions[&body.task_definition];
                let carried = self.carried.entry(body.sha256.clone()).or_insert_with(|| {
                    let bytes = content::body(definition);
                    assert_eq!(ContentHash::of(&bytes), body.sha256);
                    Rc::new(serde_json::from_slice(&bytes).unwrap())
                });
                let doc = Payload::Doc(Rc::clone(carried));
                broker.publish(self.at, Topic::Doc(body.sha256.clone()), doc);
            }
        }
        let desired = Desired {
            v: VERSION,
            cluster: device.cluster.clone(),
            device: id.clone(),
            position: device.position,
            prev_hash: device.prev_hash.clone(),
            hash,
            content,
            sealed: BTreeMap::new(),
            next_key: None,
        };
        self.published[at] = Some(device.position);
        broker.publish(self.at, Topic::Want(at), Payload::Want(Rc::new(desired)));
        Ok(())
    }

    /// A message of a box; false when it was not acknowledged, since the hub died.
    pub(crate) fn hear(
        &mut self,
        topic: &Topic,
        payload: &Payload,
        broker: &mut Broker,
        crash: Crash,
    ) -> Result<bool, String> {
        match (topic, payload) {
            (Topic::Live(at), Payload::Live(presence)) => self.presence(*at, presence, crash)?,
            (Topic::State(at), Payload::State(report)) => {
                self.report(*at, report, broker, crash)?;
            }
            (Topic::Log(at), Payload::Log(batch)) => self.events(*at, batch, broker, crash)?,
            _ => {}
        }
        self.tell(broker)?;
        Ok(self.up)
    }

    fn presence(&mut self, at: usize, presence: &Presence, crash: Crash) -> Result<(), String> {
        let device = self.boxes[at].clone();
        let presence = presence.clone();
        self.submit(FleetCommand::Presence(device, presence), crash).map(drop)
    }

    fn report(
        &mut self,
        at: usize,
        report: &Report,
        broker: &mut Broker,
        crash: Crash,
    ) -> Result<(), String> {
        let device = self.boxes[at].clone();
        let command = FleetCommand::Report(device.clone(), Box::new(report.clone()));
        let Some(Ok(Reply::Report(answer))) = self.submit(command, crash)? else { return Ok(()) };
        if answer.send_document && self.mutant != Some(Mutant::DocumentsSentOnce) {
            self.published[at] = None;
        }
        for hash in &answer.bodies {
            if let Some(body) = self.carried.get(hash) {
                let doc = Payload::Doc(Rc::clone(body));
                broker.publish(self.at, Topic::Doc(hash.clone()), doc);
            }
        }
        if answer.tell_again {
            let taken = self.core.committed.devices.get(&device).and_then(|d| d.events.as_ref());
            let log = report.events.log.clone();
            let up_to = taken.filter(|taken| taken.log == log).map_or(0, |taken| taken.next);
            let ack = Ack { log, up_to, tell_again: Some(report.session.clone()) };
            broker.publish(self.at, Topic::Ack(at), Payload::Ack(Rc::new(ack)));
        }
        Ok(())
    }

    fn events(
        &mut self,
        at: usize,
        batch: &Batch,
        broker: &mut Broker,
        crash: Crash,
    ) -> Result<(), String> {
        let device = self.boxes[at].clone();
        if self.mutant == Some(Mutant::EventsAckedBeforeCommit)
            && let Some(last) = batch.events.last()
        {
            let (log, up_to) = (batch.log.clone(), last.offset + 1);
            let ack = Ack { log, up_to, tell_again: None };
            broker.publish(self.at, Topic::Ack(at), Payload::Ack(Rc::new(ack)));
        }
        let command = FleetCommand::Events {
            device: device.clone(),
            log: batch.log.clone(),
            dropped: batch.dropped,
            events: batch.events.clone(),
        };
        if let Some(Ok(_)) = self.submit(command, crash)?
            && let Some(taken) =
                self.core.committed.devices.get(&device).and_then(|d| d.events.clone())
            && taken.log == batch.log
        {
            let too_far = u64::from(self.mutant == Some(Mutant::EventsAckedTooFar));
            let ack = Ack { log: taken.log, up_to: taken.next + too_far, tell_again: None };
            broker.publish(self.at, Topic::Ack(at), Payload::Ack(Rc::new(ack)));
        }
        Ok(())
    }
}
