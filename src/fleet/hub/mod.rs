//! The hub's loop: what was decided goes out to the boxes, what they say comes in. It decides nothing itself.
//!
//! ```text
//!            commits ─► publish: bodies, documents, the hub's word ─┐
//!  engine                                                          ├─ Link ═══ broker ═══ boxes
//!            ◄─ commands ─ take ◄─ inbound: each box in its order ◄─┘
//! ```
//!
//! * `publish` is the one task that publishes what is retained; `document` makes a document of the committed world:
//!   `shelf` remembers which bodies the broker has.
//! * `inbound` takes messages of many boxes at once, and those of one box one after the other, though `hold` makes them wait
//!   while documents go to many; `take` makes a command of
//!   one, and answers it when it is durable. `logs` stores the output of containers.
//!
//! A document is a register: it is made of the newest world in the moment when it is sent, so nothing old waits in a
//! queue. It counts as sent when the broker has it, and as arrived when the box says so; a box that says something older
//! is sent it again. So whatever the broker loses comes again, and nothing here has to be durable.
//!
//! Of the boxes' messages only registers (`state`, `live`) are retained; of events each box keeps its own until they are
//! acknowledged. So the hub connects with a clean session, and with plain subscriptions: shared ones bring no retained
//! messages, and there is one hub.
//!
//! Current limitations: the last will names one cluster, the one with the most boxes; the boxes of others learn from silence
//! that the hub is gone, which changes nothing for them. Of a secret boxes are sent the current version alone.

mod document;
mod hold;
mod inbound;
mod logs;
mod publish;
mod shelf;
mod take;

use crate::auth::fleet::{HubTrust, Kind, SealingKey};
use crate::engine::Handle;
use crate::fleet::command::{Commander, Outgoing};
use crate::fleet::join::Registrar;
use crate::fleet::link::{self, Link, Message, PublishError, SessionId, Ticket};
use crate::fleet::message::{self, HubWord};
use crate::fleet::topic::{Filter, Topic};
use crate::fleet::tunnel::HubEnd;
use crate::model::fleet::{ContentHash, Device, Position, VERSION};
use crate::model::{ClusterName, ContainerInstanceId};
use crate::plan::Command;
use crate::plan::fleet::FleetCommand;
use hold::Hold;
pub use logs::LogSettings;
use publish::{Publisher, Told};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The hub's client id at the broker.
pub const CLIENT: &str = "hub";
/// Commands that wait for the link.
const COMMANDS: usize = 256;
/// How long the broker keeps a command for a box that is just away. It is worth nothing in the box's next session.
const COMMAND_EXPIRY: Duration = Duration::from_mins(1);
/// Boxes that come back in one second, at most, when all of them do.
const COMING_BACK: u64 = 50;
/// Between these is what boxes are told to spread their attempts over, in seconds.
const SPREAD: std::ops::RangeInclusive<u64> = 10..=3600;

/// How long what boxes tell waits at most while documents are sent.
const HELD_BACK: Duration = Duration::from_secs(3);

/// What the loop joins.
#[derive(Debug)]
pub struct Parts {
    /// The engine, with [`crate::engine::Ground::Fleet`].
    pub engine: Handle,
    /// What the hub signs with.
    pub trust: Arc<HubTrust>,
    /// Knows the keys that boxes share with the hub, and renews certificates.
    pub desk: Arc<Registrar>,
    /// How the broker is reached; what else there is to say to it is set here.
    pub broker: link::Settings,
    /// Greater at each start.
    pub series: u64,
    /// Where logs of boxes are stored, and how many.
    pub logs: LogSettings,
}

/// A hub's loop at work. Cheap to clone.
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("refused", &self.refused()).finish_non_exhaustive()
    }
}

/// What the tasks of the loop share.
struct Shared {
    engine: Handle,
    trust: Arc<HubTrust>,
    desk: Arc<Registrar>,
    link: Link,
    commander: Arc<Commander>,
    tunnels: HubEnd,
    logs: logs::Logs,
    publisher: mpsc::UnboundedSender<Told>,
    /// While documents go to many boxes, what these tell can wait.
    hold: Hold,
    /// Documents that boxes fetch, sealed; until they have.
    documents: Mutex<BTreeMap<ContainerInstanceId, Fetched>>,
    /// In which session, and when, a box was last asked to tell of everything.
    asked: Mutex<BTreeMap<ContainerInstanceId, (String, Duration)>>,
    refused: Mutex<BTreeMap<&'static str, u64>>,
}

/// A document that is fetched.
#[derive(Clone)]
struct Fetched {
    position: Position,
    sha256: ContentHash,
    sealed: Arc<[u8]>,
}

impl Hub {
    /// Starts the loop on the present runtime. It connects by itself, whenever the broker is there.
    #[must_use]
    pub fn start(parts: Parts) -> Self {
        let Parts { engine, trust, desk, broker, series, logs } = parts;
        let (commands_in, commands) = mpsc::channel(COMMANDS);
        // The link bounds how much can be told of.
        let (told_in, told) = mpsc::unbounded_channel();
        let will = will(engine.clone(), Arc::clone(&trust));
        let (link, events) = Link::start(link::Settings {
            clean_start: true,
            receive_maximum: 1024,
            queue: 1024,
            will: Some(will),
            ..broker
        });
        link.subscribe(Filter::of_hub());
        link.subscribe([Filter::raw("coracle/1/+/doc/+")]);
        let commander = Arc::new(Commander::new(Arc::clone(&trust.keys), series, commands_in));
        let shared = Arc::new(Shared {
            engine,
            trust,
            desk,
            link,
            tunnels: HubEnd::new(Arc::clone(&commander)),
            commander,
            logs: logs::Logs::new(logs),
            publisher: told_in,
            hold: Hold::new(HELD_BACK),
            documents: Mutex::default(),
            asked: Mutex::default(),
            refused: Mutex::default(),
        });
        tokio::spawn(Publisher::new(Arc::clone(&shared), told).run());
        tokio::spawn(inbound::run(Arc::clone(&shared), events));
        tokio::spawn(send_commands(shared.link.clone(), commands));
        tokio::spawn(tell_of_secrets(shared.engine.clone()));
        tokio::spawn(logs::keep_tidy(Arc::clone(&shared)));
        Self(shared)
    }

    /// Where tunnels to boxes are opened.
    #[must_use]
    pub fn tunnels(&self) -> &HubEnd {
        &self.0.tunnels
    }

    /// A sealed document that a box was pointed to, by its hash.
    #[must_use]
    pub fn document(&self, sha256: &str) -> Option<Arc<[u8]>> {
        let documents = lock(&self.0.documents);
        let found = documents.values().find(|document| document.sha256.as_str() == sha256);
        found.map(|document| Arc::clone(&document.sealed))
    }

    /// Messages that had no effect, by reason.
    #[must_use]
    pub fn refused(&self) -> BTreeMap<&'static str, u64> {
        let mut refused = lock(&self.0.refused).clone();
        refused.extend(self.0.tunnels.refused());
        refused
    }

    /// Tells the boxes that the hub goes, and ends the connection.
    pub async fn close(&self) {
        let (done, is_done) = oneshot::channel();
        if self.0.publisher.send(Told::Close(done)).is_ok() {
            let _ = is_done.await;
        }
        self.0.link.close().await;
    }
}

impl Shared {
    /// Looks at a box of this cluster that is one of the fleet.
    fn device<T>(
        &self,
        cluster: &ClusterName,
        id: &ContainerInstanceId,
        look: impl FnOnce(&Device) -> T,
    ) -> Option<T> {
        self.engine.read(|world| {
            let device = world.devices.get(id)?;
            (device.revoked_at.is_none() && device.cluster == *cluster).then(|| look(device))
        })
    }

    fn sealing_key(&self, cluster: &ClusterName, id: &ContainerInstanceId) -> Option<SealingKey> {
        self.device(cluster, id, |device| self.desk.sealing_key(device)).flatten()
    }

    /// Whether it was a box of the fleet, and is none any more.
    fn was_member(&self, id: &ContainerInstanceId) -> bool {
        self.engine.read(|world| world.devices.get(id).is_some_and(|d| d.revoked_at.is_some()))
    }

    /// Counts a message that had no effect.
    fn refuse(&self, why: &'static str, topic: &Topic) {
        *lock(&self.refused).entry(why).or_default() += 1;
        tracing::debug!(%topic, why, "a message was refused");
    }

    fn tell(&self, told: Told) {
        // The publisher ends with the hub.
        let _ = self.publisher.send(told);
    }

    /// Publishes when there is room. None: there is no connection, or the message is none.
    async fn publish(&self, message: Message) -> Option<Ticket> {
        publish_on(&self.link, message).await
    }
}

async fn publish_on(link: &Link, message: Message) -> Option<Ticket> {
    loop {
        match link.publish(message.clone()) {
            Ok(ticket) => return Some(ticket),
            Err(PublishError::Full) => link.ready().await.ok()?,
            Err(PublishError::Topic) => {
                tracing::error!(topic = message.topic, "cannot publish to this topic");
                return None;
            }
            Err(PublishError::Offline | PublishError::Closed) => return None,
        }
    }
}

/// Sends commands in their order. What cannot be sent now is not sent: it is of no use later.
async fn send_commands(link: Link, mut commands: mpsc::Receiver<Outgoing>) {
    while let Some(Outgoing { topic, payload, .. }) = commands.recv().await {
        publish_on(&link, Message::new(topic, payload).expires_in(COMMAND_EXPIRY)).await;
    }
}

/// Tells the planner which versions of secrets there are, whenever that changes.
async fn tell_of_secrets(engine: Handle) {
    let mut changes = engine.secrets().changes();
    loop {
        let secrets = engine.secrets().clone();
        match tokio::task::spawn_blocking(move || secrets.versions()).await {
            Ok(Ok(versions)) => {
                let command = Command::from(FleetCommand::SecretVersions(versions));
                if let Err(error) = engine.submit(command).await {
                    tracing::error!(%error, "the boxes are not told of changed secrets yet");
                    tokio::time::sleep(take::AGAIN).await;
                    continue;
                }
            }
            Ok(Err(error)) => tracing::error!(%error, "the secrets cannot be listed"),
            Err(_) => return,
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// What boxes of a cluster are told of the hub.
fn word(trust: &HubTrust, cluster: &ClusterName, up: bool, epoch: u64, boxes: usize) -> Vec<u8> {
    let (cluster, spread_over) = (cluster.clone(), spread_over(boxes));
    let word = HubWord { v: VERSION, cluster, up, epoch, spread_over };
    trust.keys.sign(Kind::Hub, &message::write(&word))
}

fn spread_over(boxes: usize) -> u64 {
    (boxes as u64 / COMING_BACK).clamp(*SPREAD.start(), *SPREAD.end())
}

/// How many boxes each cluster has.
fn boxes_by_cluster<'a>(devices: impl Iterator<Item = &'a Device>) -> BTreeMap<ClusterName, usize> {
    let mut clusters = BTreeMap::new();
    for device in devices.filter(|device| device.revoked_at.is_none()) {
        match clusters.get_mut(&device.cluster) {
            Some(count) => *count += 1,
            None => drop(clusters.insert(device.cluster.clone(), 1)),
        }
    }
    clusters
}

fn will(engine: Handle, trust: Arc<HubTrust>) -> link::Will {
    Arc::new(move |_: &SessionId| {
        let clusters = engine.read(|world| boxes_by_cluster(world.devices.values()));
        let largest = clusters.into_iter().max_by_key(|(_, boxes)| *boxes);
        let (cluster, boxes) = largest.unwrap_or((ClusterName::default_cluster(), 0));
        let word = word(&trust, &cluster, false, engine.settings().epoch, boxes);
        Message::retained(Topic::Hub(cluster), word)
    })
}

/// What these locks guard is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
