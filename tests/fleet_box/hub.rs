//! A hub as a box sees it: it publishes what the test wants, whether that is right or not, and keeps what the box says.

use crate::mosquitto::{Mosquitto, PATIENCE};
use coracle::auth::fleet::{
    Authority, DeviceIdentity, DeviceKey, Enrolment, HubKeys, Kind, SealingKey, Subject,
};
use coracle::fleet::link::{Event, Link, Message, Settings};
use coracle::fleet::message::{self, EventBatch, EventsAck, HubWord};
use coracle::fleet::topic::{BodyHash, Channel, Filter, Topic};
use coracle::model::fleet::{
    BodyRef, Content, ContentHash, Desired, Event as Happened, Phase, Position, Presence, Report,
    SecretVersion, VERSION,
};
use coracle::model::{Assignment, ClusterName, ContainerInstanceId, TaskDefinition, TaskStatus};
use coracle::plan::fleet::content;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, mpsc};

pub struct Hub {
    pub key: Arc<HubKeys>,
    pub sealing: SealingKey,
    pub cluster: ClusterName,
    pub device: ContainerInstanceId,
    pub link: Link,
    heard: Arc<Heard>,
}

/// What the box said, over all its connections.
#[derive(Default)]
pub struct Said {
    pub reports: Vec<Report>,
    pub presences: Vec<Presence>,
    pub events: BTreeMap<u64, Happened>,
    /// The hub's own messages that the broker has.
    pub delivered: usize,
}

#[derive(Default)]
struct Heard {
    said: Mutex<Said>,
    more: Condvar,
}

impl Hub {
    /// Makes the box whose state is there a member of a hub's fleet, as a join does. The agent must not run.
    pub fn enrol(state_dir: &Path, device: &str, broker: &Mosquitto) -> Self {
        let hub_dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(hub_dir.path(), coracle::sys::now()).unwrap();
        let (key, sealing) =
            (Arc::new(HubKeys::ephemeral()), SealingKey::from_bytes(&[7; 32]).unwrap());
        let own = DeviceKey::open(state_dir).unwrap();
        let device = ContainerInstanceId::new(device).unwrap();
        let cluster = ClusterName::new("edge").unwrap();
        let subject = Subject::Device {
            id: device.clone(),
            cluster: cluster.clone(),
            lifetime: coracle::auth::fleet::DEVICE_LIFETIME,
        };
        let certificate = authority.issue(&subject, own.public(), coracle::sys::now());
        let enrolment: Enrolment = serde_json::from_value(json!({
            "device": device, "cluster": cluster, "scope": {"region": "local", "account": "000000000000"},
            "hubKey": key.verifying_key(), "hub": "http://127.0.0.1:1", "broker": broker.url(),
            "certificate": certificate, "epoch": 0, "generation": 0,
        }))
        .unwrap();
        DeviceIdentity::create(state_dir, &enrolment, &sealing).unwrap();
        let heard = Arc::<Heard>::default();
        let link = listen(broker, &heard, &sealing, &key, &device);
        Self { key, sealing, cluster, device, link, heard }
    }

    /// Waits until what the box said is so.
    pub fn wait<T>(&self, what: &str, look: impl Fn(&Said) -> Option<T>) -> T {
        let said = self.heard.said.lock().unwrap();
        let (said, over) = self
            .heard
            .more
            .wait_timeout_while(said, PATIENCE, |said| look(said).is_none())
            .unwrap();
        assert!(
            !over.timed_out(),
            "gave up waiting for {what}; the last report: {:#?}",
            said.reports.last()
        );
        look(&said).unwrap()
    }

    /// Waits until the newest report is so.
    pub fn report(&self, what: &str, holds: impl Fn(&Report) -> bool) -> Report {
        self.wait(what, |said| said.reports.last().filter(|report| holds(report)).cloned())
    }

    /// Waits until the document of that generation is applied, or has failed.
    pub fn applied(&self, generation: u64) -> Report {
        self.report("a document to be applied", |report| {
            report.progress.position.generation == generation
                && matches!(report.progress.phase, Phase::Applied | Phase::Failed)
        })
    }

    pub fn refused(&self, why: &str, count: u64) {
        self.report(why, |report| report.refused.get(why).copied().unwrap_or(0) >= count);
    }

    pub fn publish(&self, message: Message) {
        let before = self.heard.said.lock().unwrap().delivered;
        let started = std::time::Duration::from_millis(20);
        // The link may be on its way back.
        let mut tries = 0;
        while self.link.publish(message.clone()).is_err() {
            tries += 1;
            assert!(tries < 3000, "the hub has no connection");
            std::thread::sleep(started);
        }
        self.wait("the broker to take a message", |said| (said.delivered > before).then_some(()));
    }

    pub fn document(
        &self,
        generation: u64,
        definitions: &[TaskDefinition],
        wanted: &[Value],
    ) -> Desired {
        let assignments: Vec<Assignment> = wanted
            .iter()
            .map(|wanted| {
                let mut whole = json!({
                    "cluster": self.cluster, "containerInstance": self.device, "generation": 1,
                    "createdAt": 0, "overrides": {}, "launchType": "EC2",
                });
                whole.as_object_mut().unwrap().extend(wanted.as_object().unwrap().clone());
                serde_json::from_value(whole).unwrap()
            })
            .collect();
        let task_definitions = definitions
            .iter()
            .map(|definition| {
                let bytes = content::body(definition);
                BodyRef {
                    task_definition: definition.reference(),
                    sha256: ContentHash::of(&bytes),
                    size: bytes.len() as u64,
                }
            })
            .collect();
        let content = Content { assignments, task_definitions, ..Content::default() };
        self.of(generation, content)
    }

    pub fn of(&self, generation: u64, content: Content) -> Desired {
        Desired {
            v: VERSION,
            cluster: self.cluster.clone(),
            device: self.device.clone(),
            position: Position { epoch: 1, generation },
            prev_hash: None,
            hash: content::hash(&content),
            content,
            sealed: BTreeMap::new(),
            next_key: None,
        }
    }

    pub fn with_secret(
        &self,
        mut document: Desired,
        name: &str,
        version: &str,
        value: &str,
    ) -> Desired {
        document.content.secrets =
            vec![SecretVersion { name: name.to_owned(), version: version.to_owned() }];
        document.hash = content::hash(&document.content);
        let sealed = message::seal_secret(&self.sealing, &self.device, name, version, value);
        document.sealed.insert(name.to_owned(), sealed);
        document
    }

    pub fn bodies(&self, definitions: &[TaskDefinition]) {
        for definition in definitions {
            let bytes = content::body(definition);
            let hash = BodyHash::new(ContentHash::of(&bytes).as_str()).unwrap();
            let topic = Topic::Doc(self.cluster.clone(), hash);
            self.publish(Message::retained(topic, self.key.sign(Kind::Body, &bytes)));
        }
    }

    pub fn want(&self, document: &Desired) {
        self.want_bytes(self.key.sign(Kind::Document, &message::write(document)));
    }

    pub fn want_bytes(&self, bytes: Vec<u8>) {
        self.publish(Message::retained(Topic::want(&self.cluster, &self.device), bytes));
    }
}

fn listen(
    broker: &Mosquitto,
    heard: &Arc<Heard>,
    sealing: &SealingKey,
    key: &Arc<HubKeys>,
    device: &ContainerInstanceId,
) -> Link {
    let settings = Settings {
        back_off_cap: std::time::Duration::from_millis(500),
        ..Settings::new(broker.url().parse().unwrap(), "hub")
    };
    let (heard, sealing, device) = (Arc::clone(heard), sealing.clone(), device.clone());
    // The key signs acknowledgements in the thread that hears of events.
    let word = HubWord {
        v: VERSION,
        cluster: ClusterName::new("edge").unwrap(),
        up: true,
        epoch: 1,
        spread_over: 2,
    };
    let word = key.sign(Kind::Hub, &message::write(&word));
    let (acks_in, acks) = mpsc::channel::<EventsAck>();
    let (link_out, link) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let (link, mut events) = Link::start(settings);
            link.subscribe(Filter::of_hub());
            link_out.send(link.clone()).unwrap();
            while let Some(event) = events.next().await {
                let mut said = heard.said.lock().unwrap();
                match event {
                    Event::Connected { .. } => {
                        let hub = Topic::Hub(ClusterName::new("edge").unwrap());
                        link.publish(Message::retained(hub, word.clone())).unwrap();
                    }
                    Event::Published { .. } => said.delivered += 1,
                    Event::Received(received) => {
                        hear(
                            &received.topic,
                            &received.payload,
                            &sealing,
                            &device,
                            &mut said,
                            |ack| {
                                acks_in.send(ack).unwrap();
                            },
                        );
                        link.ack(received.ack);
                    }
                    _ => {}
                }
                heard.more.notify_all();
            }
        });
    });
    let link = link.recv().unwrap();
    let (answering, signer) = (link.clone(), Arc::clone(key));
    std::thread::spawn(move || {
        for ack in acks {
            let topic = Topic::ack(&ClusterName::new("edge").unwrap(), &ack.device);
            let _ = answering
                .publish(Message::new(topic, signer.sign(Kind::Ack, &message::write(&ack))));
        }
    });
    link
}

fn hear(
    topic: &str,
    payload: &[u8],
    sealing: &SealingKey,
    device: &ContainerInstanceId,
    said: &mut Said,
    ack: impl FnOnce(EventsAck),
) {
    let topic = Topic::parse(topic).unwrap();
    let open = || message::open_up(sealing, &topic, payload).unwrap();
    let Topic::Device(_, _, channel) = &topic else { return };
    match channel {
        Channel::State => said.reports.push(message::read(&open(), message::UP_LIMIT).unwrap()),
        Channel::Live => said.presences.push(message::read(&open(), message::UP_LIMIT).unwrap()),
        Channel::Log(_) => {
            let batch = EventBatch::open_up(sealing, &topic, payload).unwrap();
            for event in batch.events {
                said.events.insert(event.offset, event);
            }
            let up_to =
                said.events.keys().zip(0..).take_while(|(have, want)| *have == want).count() as u64;
            let session =
                said.reports.last().map(|report| report.session.clone()).unwrap_or_default();
            ack(EventsAck {
                v: VERSION,
                device: device.clone(),
                session,
                stream: message::EVENTS.to_owned(),
                log: batch.log,
                up_to,
                tell_again: false,
            });
        }
        _ => {}
    }
}

/// A definition with one container that runs `script`.
pub fn definition(family: &str, revision: u32, script: &str, more: Value) -> TaskDefinition {
    let mut container = json!({
        "name": "main", "image": "coracle/busybox", "memory": 16, "essential": true, "stopTimeout": 2,
        "command": ["sh", "-c", script],
    });
    container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "family": family, "revision": revision, "status": "ACTIVE", "registeredAt": 0,
        "networkMode": "none", "containerDefinitions": [container],
    }))
    .unwrap()
}

pub fn patient(family: &str, revision: u32) -> TaskDefinition {
    definition(family, revision, "trap 'exit 0' TERM; while :; do sleep 0.05; done", json!({}))
}

pub fn service(definition: &TaskDefinition, deployment: u32, count: u32) -> Value {
    json!({
        "id": format!("{deployment}").repeat(32), "taskDefinition": definition.reference(),
        "service": definition.family, "deployment": format!("{deployment:019}"), "count": count,
    })
}

pub fn statuses(said: &Said, status: TaskStatus) -> usize {
    said.events.values().filter(|event| event.task.last_status == status).count()
}
