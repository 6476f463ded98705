//! The one task that publishes what the broker keeps: documents, the bodies they refer to, and the hub's word.
//!
//! ```text
//!  commit ─► behind? ─► made of the newest world ─► bodies ─► document ─► the broker has it ─► the box says so
//!               ▲                                                  └─ not: again          └─ it says less: again
//! ```

use super::document::{self, Document};
use super::shelf::{Key, Shelf};
use super::{Shared, boxes_by_cluster, lock, spread_over};
use crate::auth::fleet::Kind;
use crate::fleet::link::{Message, Outcome, Ticket};
use crate::fleet::message::BODY_LIMIT;
use crate::fleet::topic::{BodyHash, Topic};
use crate::model::fleet::{ContentHash, Device, Position};
use crate::model::{ClusterName, ContainerInstanceId};
use crate::plan::fleet::content::Bodies;
use crate::sys;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

/// Commits that come together are looked at together.
const TOGETHER: Duration = Duration::from_millis(50);
/// Documents that are made at once; those after them are made of a newer world.
const CHUNK: usize = 64;
/// A box that does not have its document is sent it again when it was sent this long ago.
const AGAIN: Duration = Duration::from_secs(15);
/// Between attempts to publish what the broker refuses, and looks for bodies that are not needed.
const TICK: Duration = Duration::from_mins(1);
/// How long the last words may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What the publisher is told.
pub(super) enum Told {
    Connected,
    Subscribed,
    Disconnected,
    Outcome(Ticket, Outcome),
    /// A box does not have its document.
    Behind(ContainerInstanceId),
    /// Boxes of a cluster lack bodies.
    Missing(ClusterName, Vec<ContentHash>),
    /// The broker has something under this name.
    Body(ClusterName, BodyHash, Vec<u8>),
    /// Something is kept of a box that is none any more.
    Left(Topic),
    /// The hub ends.
    Close(oneshot::Sender<()>),
}

/// What was sent to a box.
struct Sent {
    position: Position,
    at: Duration,
    /// The broker did not take it.
    refused: bool,
}

/// What a ticket is for.
enum Purpose {
    Document(ContainerInstanceId, Position),
    Body(Key),
    Word(ClusterName),
}

/// See the module.
pub(super) struct Publisher {
    hub: Arc<Shared>,
    told: mpsc::UnboundedReceiver<Told>,
    online: bool,
    sent: HashMap<ContainerInstanceId, Sent>,
    tickets: BTreeMap<Ticket, Purpose>,
    shelf: Shelf,
    bodies: Bodies,
    /// Over how many seconds the boxes of a cluster were told to spread.
    words: BTreeMap<ClusterName, u64>,
    /// Boxes that are none any more, of which nothing is kept.
    erased: BTreeSet<ContainerInstanceId>,
}

/// What a look at the records brings.
#[derive(Default)]
struct Look {
    due: Vec<ContainerInstanceId>,
    gone: Vec<(ClusterName, ContainerInstanceId)>,
    clusters: BTreeMap<ClusterName, usize>,
}

impl Publisher {
    pub(super) fn new(hub: Arc<Shared>, told: mpsc::UnboundedReceiver<Told>) -> Self {
        Self {
            hub,
            told,
            online: false,
            sent: HashMap::new(),
            tickets: BTreeMap::new(),
            shelf: Shelf::default(),
            bodies: Bodies::new(),
            words: BTreeMap::new(),
            erased: BTreeSet::new(),
        }
    }

    /// Until the hub ends.
    pub(super) async fn run(mut self) {
        let mut commits = self.hub.engine.watch();
        let mut keys = self.hub.trust.keys.changes();
        let mut newest = self.hub.trust.keys.verifying_key();
        let mut next = Some(Instant::now());
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let pass = async {
                match next.filter(|_| self.online) {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                told = self.told.recv() => match told {
                    None => return,
                    Some(Told::Close(done)) => {
                        self.last_words().await;
                        let _ = done.send(());
                        return;
                    }
                    Some(told) => if self.take(told).await {
                        next = Some(next.unwrap_or_else(Instant::now));
                    },
                },
                changed = commits.changed(), if next.is_none() => match changed {
                    Ok(()) => next = Some(Instant::now() + TOGETHER),
                    Err(_) => return,
                },
                // Never closed: the trust is in `self`.
                Ok(()) = keys.changed() => {
                    let now = self.hub.trust.keys.verifying_key();
                    // When an old key is gone there is nothing to say.
                    if std::mem::replace(&mut newest, now) != now {
                        // The last will of this connection is signed by the old keys alone: no box is to trust the
                        // new one before there is another. Then all is said again.
                        self.online = false;
                        self.hub.link.reconnect_now();
                    }
                }
                () = pass => {
                    commits.mark_unchanged();
                    self.pass().await;
                    next = None;
                }
                _ = tick.tick(), if self.online => {
                    self.sweep().await;
                    next = Some(next.unwrap_or_else(Instant::now));
                }
            }
        }
    }

    /// True when it is time to look at the records.
    async fn take(&mut self, told: Told) -> bool {
        match told {
            Told::Connected => {
                // What the broker has is not known, or signed otherwise; what boxes have, their records say.
                self.sent.clear();
                self.tickets.clear();
                self.shelf.clear();
                self.words.clear();
                self.erased.clear();
            }
            Told::Subscribed => self.online = true,
            Told::Disconnected => self.online = false,
            Told::Outcome(ticket, outcome) => self.outcome(ticket, &outcome),
            Told::Behind(device) => {
                let recent = |sent: &Sent| sys::uptime().saturating_sub(sent.at) < AGAIN;
                if self.sent.get(&device).is_some_and(recent) {
                    return false;
                }
                self.sent.remove(&device);
                return true;
            }
            Told::Missing(cluster, hashes) => self.missing(&cluster, hashes).await,
            Told::Body(cluster, name, payload) => self.found(cluster, &name, &payload),
            Told::Left(topic) => drop(self.hub.publish(Message::retained(topic, [])).await),
            Told::Close(_) => {}
        }
        self.online
    }

    fn outcome(&mut self, ticket: Ticket, outcome: &Outcome) {
        let Some(purpose) = self.tickets.remove(&ticket) else { return };
        let refused = match outcome {
            Outcome::Done => return,
            Outcome::Unknown => None,
            Outcome::Refused(reason) => Some(reason),
        };
        match purpose {
            Purpose::Document(device, position) => {
                if let Some(reason) = refused {
                    tracing::error!(%device, ?reason, "the broker refuses a document");
                }
                match self.sent.get_mut(&device).filter(|sent| sent.position == position) {
                    Some(sent) if refused.is_some() => sent.refused = true,
                    Some(_) => drop(self.sent.remove(&device)),
                    None => {}
                }
            }
            Purpose::Body(key) => {
                if let Some(reason) = refused {
                    tracing::error!(body = %key.1, ?reason, "the broker refuses a task definition");
                }
                self.shelf.lost(&key);
            }
            Purpose::Word(cluster) => drop(self.words.remove(&cluster)),
        }
    }

    /// Looks at all records, in one go, and sends what is behind.
    async fn pass(&mut self) {
        let look = self.look();
        for (cluster, device) in look.gone {
            self.erase(&cluster, device).await;
        }
        for (cluster, boxes) in look.clusters {
            self.word(cluster, boxes).await;
        }
        let _held = (look.due.len() > CHUNK).then(|| self.hub.hold.begin());
        for devices in look.due.chunks(CHUNK) {
            let (hub, devices) = (Arc::clone(&self.hub), devices.to_vec());
            let mut bodies = std::mem::take(&mut self.bodies);
            let made = tokio::task::spawn_blocking(move || {
                let made = document::make(&hub, &devices, &mut bodies);
                (made, bodies)
            });
            let Ok((documents, bodies)) = made.await else { return };
            self.bodies = bodies;
            for document in documents {
                if !self.send(document).await {
                    return;
                }
            }
        }
    }

    fn look(&mut self) -> Look {
        let (sent, erased, now) = (&mut self.sent, &self.erased, sys::uptime());
        let key = self.hub.trust.keys.next().map(|key| key.fingerprint().to_string());
        self.hub.engine.read(|world| {
            let mut look =
                Look { clusters: boxes_by_cluster(world.devices.values()), ..Look::default() };
            for device in world.devices.values() {
                if device.revoked_at.is_some() {
                    if !erased.contains(&device.id) {
                        look.gone.push((device.cluster.clone(), device.id.clone()));
                    }
                } else if is_due(device, sent, key.as_deref(), now) {
                    look.due.push(device.id.clone());
                }
            }
            look
        })
    }

    /// False when there is no connection any more.
    async fn send(&mut self, document: Document) -> bool {
        let Document { device, cluster, position, bodies, message } = document;
        for (definition, hash) in bodies {
            let key = (cluster.clone(), hash);
            if self.shelf.has(&key) {
                continue;
            }
            let hub = Arc::clone(&self.hub);
            let body = tokio::task::spawn_blocking(move || document::body(&hub, &definition)).await;
            if let Ok(Some(body)) = body
                && !self.put(key, body).await
            {
                return false;
            }
        }
        let Some(ticket) = self.hub.publish(message).await else { return false };
        tracing::debug!(%device, %position, "a document was sent");
        self.tickets.insert(ticket, Purpose::Document(device.clone(), position));
        self.erased.remove(&device);
        self.sent.insert(device, Sent { position, at: sys::uptime(), refused: false });
        true
    }

    /// Publishes a body.
    async fn put(&mut self, key: Key, body: Vec<u8>) -> bool {
        let Ok(name) = BodyHash::new(key.1.as_str()) else { return true };
        let topic = Topic::Doc(key.0.clone(), name);
        let body = self.hub.trust.keys.sign(Kind::Body, &body);
        let Some(ticket) = self.hub.publish(Message::retained(topic, body)).await else {
            return false;
        };
        self.tickets.insert(ticket, Purpose::Body(key.clone()));
        self.shelf.sent(key, sys::uptime());
        true
    }

    async fn missing(&mut self, cluster: &ClusterName, hashes: Vec<ContentHash>) {
        let now = sys::uptime();
        let keys = hashes.into_iter().map(|hash| (cluster.clone(), hash));
        let missed: Vec<Key> = keys.filter(|key| self.shelf.is_missed(key, now)).collect();
        if missed.is_empty() {
            return;
        }
        self.used().await;
        for key in missed {
            // One that no document refers to has been overtaken.
            let found = self.bodies.iter().find(|(_, body)| body.sha256 == key.1);
            let Some(definition) = found.map(|(definition, _)| definition.clone()) else {
                continue;
            };
            let hub = Arc::clone(&self.hub);
            let body = tokio::task::spawn_blocking(move || document::body(&hub, &definition)).await;
            if let Ok(Some(body)) = body
                && !self.put(key, body).await
            {
                return;
            }
        }
    }

    /// The broker keeps something under the name of a body; what it is not is put right.
    fn found(&mut self, cluster: ClusterName, name: &BodyHash, payload: &[u8]) {
        let Ok(hash) = ContentHash::try_from(name.as_str().to_owned()) else { return };
        let key = (cluster, hash);
        let keys = &self.hub.trust.keys;
        let is_it = |body: Vec<u8>| ContentHash::of(&body) == key.1;
        if keys.read(Kind::Body, payload, BODY_LIMIT).is_some_and(is_it) {
            self.shelf.found(key);
        } else if keys.all().iter().any(|key| key.verify(Kind::Body, payload, BODY_LIMIT).is_ok()) {
            // Of before a rotation: sent again when a box wants it.
            self.shelf.lost(&key);
        } else {
            tracing::warn!(body = %key.1, "somebody has put something else in the place of a task definition");
            self.shelf.lost(&key);
        }
    }

    async fn used(&mut self) -> BTreeSet<Key> {
        let hub = Arc::clone(&self.hub);
        let mut bodies = std::mem::take(&mut self.bodies);
        let used = tokio::task::spawn_blocking(move || {
            let used = document::used(&hub, &mut bodies);
            (used, bodies)
        });
        let Ok((used, bodies)) = used.await else { return BTreeSet::new() };
        self.bodies = bodies;
        used
    }

    /// Erases the bodies that nobody refers to any more.
    async fn sweep(&mut self) {
        if self.shelf.is_empty() {
            return;
        }
        let used = self.used().await;
        for (cluster, hash) in self.shelf.sweep(&used, sys::uptime()) {
            if let Ok(name) = BodyHash::new(hash.as_str()) {
                self.hub.publish(Message::retained(Topic::Doc(cluster, name), [])).await;
            }
        }
    }

    /// Erases what is kept of a box that is none any more.
    async fn erase(&mut self, cluster: &ClusterName, device: ContainerInstanceId) {
        let kept = [Topic::want, Topic::state, Topic::live];
        for topic in kept.map(|topic| topic(cluster, &device)) {
            if self.hub.publish(Message::retained(topic, [])).await.is_none() {
                return;
            }
        }
        self.sent.remove(&device);
        lock(&self.hub.documents).remove(&device);
        self.erased.insert(device);
    }

    /// Says that the hub is there, when that is news.
    async fn word(&mut self, cluster: ClusterName, boxes: usize) {
        let spread = spread_over(boxes);
        if self.words.get(&cluster) == Some(&spread) {
            return;
        }
        if let Some(ticket) = self.say(&cluster, true, boxes).await {
            self.tickets.insert(ticket, Purpose::Word(cluster.clone()));
            self.words.insert(cluster, spread);
        }
    }

    async fn say(&self, cluster: &ClusterName, up: bool, boxes: usize) -> Option<Ticket> {
        let epoch = self.hub.engine.settings().epoch;
        let word = super::word(&self.hub.trust, cluster, up, epoch, boxes);
        self.hub.publish(Message::retained(Topic::Hub(cluster.clone()), word)).await
    }

    /// Says that the hub goes, and waits until the broker has it.
    async fn last_words(&mut self) {
        if !self.online {
            return;
        }
        let clusters = self.hub.engine.read(|world| boxes_by_cluster(world.devices.values()));
        let mut awaited = BTreeSet::new();
        for (cluster, boxes) in clusters {
            awaited.extend(self.say(&cluster, false, boxes).await);
        }
        let heard = async {
            while !awaited.is_empty() {
                match self.told.recv().await {
                    Some(Told::Outcome(ticket, _)) => drop(awaited.remove(&ticket)),
                    Some(_) => {}
                    None => return,
                }
            }
        };
        // Whoever did not hear it learns it by silence.
        let _ = tokio::time::timeout(LAST_WORDS, heard).await;
    }
}

/// Whether a box is to be sent its document. What was sent before this connection is known by what the box has, and by the
/// hub's `key` that it trusts, when that matters.
fn is_due(
    device: &Device,
    sent: &mut HashMap<ContainerInstanceId, Sent>,
    key: Option<&str>,
    now: Duration,
) -> bool {
    let Some(hash) = &device.hash else { return false };
    if let Some(sent) = sent.get(&device.id) {
        let again = sent.refused && now.saturating_sub(sent.at) >= AGAIN;
        return sent.position < device.position || again;
    }
    let has = device.reported.position == device.position
        && device.reported.hash.as_ref() == Some(hash)
        && key.is_none_or(|key| device.hub_key.as_deref() == Some(key));
    if has {
        let position = device.position;
        sent.insert(device.id.clone(), Sent { position, at: Duration::ZERO, refused: false });
    }
    !has
}
