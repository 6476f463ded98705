//! The way of a document: judged, complete, its secrets kept, accepted, acknowledged.
//!
//! ```text
//! want ─► judge ─► refused (counted) | known | pointer ─► fetch ─┐
//!            └──► document ◄────────────────────────────────────┘
//!                    └─► bodies at hand? ──no──► parked: doc/{sha256} is subscribed to
//!                                └──yes──► secrets kept ─► Accept ─► PUBACK
//! ```
//!
//! The newest waits, and only that: an older one that is parked is given up.

use super::fetch::Fetch;
use super::member::Member;
use super::{blocking, refusals, secrets};
use crate::auth::fleet::{JwsError, Kind, VerifyingKey};
use crate::fleet::link::Ack;
use crate::fleet::message::{self, Pointer, ReadError, Want};
use crate::fleet::topic::{BodyHash, Filter, Topic};
use crate::model::TaskDefinition;
use crate::model::fleet::{ContentHash, Desired, Membership, SecretVersion};
use crate::plan::fleet::{Acceptance, FleetCommand, content};
use crate::plan::{Command, Reply, World};
use crate::sys;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a document that waits is not acknowledged: all that comes after it waits as well.
const HELD: Duration = Duration::from_secs(5);
/// Until what could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(2);
/// Bodies that one document may refer to.
const BODIES: usize = 4096;

/// What of documents is under way.
#[derive(Debug, Default)]
pub(super) struct Documents {
    parked: Option<Parked>,
    /// The secrets of the newest document, as far as it was seen since the program started.
    secrets: Option<Vec<SecretVersion>>,
}

/// A document that waits.
#[derive(Debug)]
struct Parked {
    what: Waiting,
    ack: Option<Ack>,
    since: Duration,
}

#[derive(Debug)]
enum Waiting {
    /// For its bytes.
    Fetch(Fetch),
    /// For these bodies; with none missing, for the disk.
    Bodies {
        desired: Box<Desired>,
        at_hand: BTreeMap<ContentHash, TaskDefinition>,
    },
    Disk {
        desired: Box<Desired>,
        definitions: Vec<TaskDefinition>,
        again: Duration,
    },
}

/// What a message on `want` is.
#[derive(Debug, PartialEq)]
enum Judged {
    Refused(&'static str),
    Unsupported(String),
    /// It is here already.
    Known(Box<Desired>),
    /// What it points to is here already.
    KnownPointer(Box<Pointer>),
    Newer(Box<Desired>),
    Pointer(Box<Pointer>),
}

fn judge(membership: &Membership, key: &VerifyingKey, bytes: &[u8]) -> Judged {
    let payload = match key.verify(Kind::Document, bytes, message::WANT_LIMIT) {
        Ok(payload) => payload,
        Err(error) => return Judged::Refused(refusals::of_signature(error, bytes)),
    };
    match Want::read(&payload) {
        Ok(Want::Document(desired)) => judge_document(membership, desired),
        Ok(Want::Pointer(pointer)) => {
            if pointer.device != membership.device || pointer.cluster != membership.cluster {
                return Judged::Refused("foreign");
            }
            match pointer.position.cmp(&membership.progress.position) {
                std::cmp::Ordering::Less => Judged::Refused("replayed"),
                std::cmp::Ordering::Equal => Judged::KnownPointer(pointer),
                std::cmp::Ordering::Greater => Judged::Pointer(pointer),
            }
        }
        Err(ReadError::Version(v)) => Judged::Unsupported(format!(
            "the document is of format {v}, which version {} does not know: update this box",
            env!("CARGO_PKG_VERSION")
        )),
        Err(error) => Judged::Refused(refusals::of_reading(&error, &payload)),
    }
}

fn judge_document(membership: &Membership, desired: Box<Desired>) -> Judged {
    if desired.device != membership.device || desired.cluster != membership.cluster {
        return Judged::Refused("foreign");
    }
    let seen = &membership.progress;
    match desired.position.cmp(&seen.position) {
        std::cmp::Ordering::Equal if seen.hash.as_ref() == Some(&desired.hash) => {
            Judged::Known(desired)
        }
        std::cmp::Ordering::Less | std::cmp::Ordering::Equal => Judged::Refused("replayed"),
        std::cmp::Ordering::Greater if desired.content.task_definitions.len() > BODIES => {
            Judged::Refused("oversized")
        }
        std::cmp::Ordering::Greater => Judged::Newer(desired),
    }
}

/// The definitions of a document that are here, and the hashes of those that are not.
fn at_hand(
    world: &World,
    membership: &Membership,
    desired: &Desired,
    brought: &BTreeMap<ContentHash, TaskDefinition>,
) -> (Vec<TaskDefinition>, BTreeSet<ContentHash>) {
    let (mut here, mut missing) = (Vec::new(), BTreeSet::new());
    for body in &desired.content.task_definitions {
        let stored =
            world.task_definitions.get(&body.task_definition).filter(|definition| match membership
                .bodies
                .get(&body.task_definition)
            {
                Some(hash) => hash == &body.sha256,
                None => ContentHash::of(&content::body(definition)) == body.sha256,
            });
        match stored.or_else(|| brought.get(&body.sha256)) {
            Some(definition) => here.push(definition.clone()),
            None => {
                missing.insert(body.sha256.clone());
            }
        }
    }
    (here, missing)
}

/// What came on `doc`, if it is what the hash in its topic says.
fn read_body(
    key: &VerifyingKey,
    hash: &BodyHash,
    bytes: &[u8],
) -> Result<TaskDefinition, &'static str> {
    let of_signature = |error: JwsError| refusals::of_signature(error, bytes);
    let payload = key.verify(Kind::Body, bytes, message::BODY_LIMIT).map_err(of_signature)?;
    if ContentHash::of(&payload).as_str() != hash.as_str() {
        return Err("foreign");
    }
    serde_json::from_slice(&payload).map_err(|_| "malformed")
}

impl Documents {
    /// The bodies that the newest document waits for.
    pub(super) fn missing(&self, world: &World) -> BTreeSet<ContentHash> {
        match (&self.parked, &world.membership) {
            (
                Some(Parked { what: Waiting::Bodies { desired, at_hand: brought }, .. }),
                Some(membership),
            ) => at_hand(world, membership, desired, brought).1,
            _ => BTreeSet::new(),
        }
    }

    /// When something is to be done here without anything coming.
    pub(super) fn due(&self) -> Option<Duration> {
        let parked = self.parked.as_ref()?;
        let held = parked.ack.as_ref().map(|_| parked.since + HELD);
        match &parked.what {
            Waiting::Disk { again, .. } => Some(held.map_or(*again, |held| held.min(*again))),
            Waiting::Fetch(_) | Waiting::Bodies { .. } => held,
        }
    }

    /// Waits for a document that is being fetched; forever if none is.
    pub(super) async fn fetched(&mut self) -> Desired {
        match &mut self.parked {
            Some(Parked { what: Waiting::Fetch(fetch), .. }) => fetch.done().await,
            _ => std::future::pending().await,
        }
    }
}

impl Member {
    /// A message on `want`.
    pub(super) async fn want(&mut self, bytes: &[u8], ack: Ack) {
        let Some(membership) = self.membership() else { return self.link.ack(ack) };
        // The hub takes a document back when the box no longer belongs to it: the broker says that.
        if bytes.is_empty() {
            return self.link.ack(ack);
        }
        match judge(&membership, &self.key(), bytes) {
            Judged::Refused(why) => {
                self.refuse("want", why);
                self.link.ack(ack);
            }
            Judged::Unsupported(reason) => {
                self.give_up_parked();
                // It comes again with each connection.
                if membership.progress.reason.as_ref() != Some(&reason) {
                    let _ = self.submit(FleetCommand::Unsupported(reason)).await;
                }
                self.link.ack(ack);
            }
            Judged::Known(desired) => {
                self.follow_key(desired.next_key.as_deref()).await;
                self.documents.secrets = Some(desired.content.secrets);
                self.prune_secrets().await;
                self.link.ack(ack);
            }
            Judged::KnownPointer(pointer) => {
                self.follow_key(pointer.next_key.as_deref()).await;
                self.link.ack(ack);
            }
            Judged::Newer(desired) => self.consider(desired, Some(ack)).await,
            Judged::Pointer(pointer) => {
                self.follow_key(pointer.next_key.as_deref()).await;
                self.give_up_parked();
                let fetch = Fetch::begin(&self.identity, *pointer);
                self.park(Waiting::Fetch(fetch), Some(ack));
            }
        }
    }

    /// A document that was pointed to is here.
    pub(super) async fn take_fetched(&mut self, desired: Desired) {
        let ack = self.documents.parked.take().and_then(|parked| parked.ack);
        let Some(membership) = self.membership() else { return };
        match judge_document(&membership, Box::new(desired)) {
            Judged::Newer(desired) => self.consider(desired, ack).await,
            judged => {
                if let Judged::Refused(why) = judged {
                    self.refuse("want", why);
                }
                self.acknowledge(ack);
            }
        }
    }

    /// A message on `doc`.
    pub(super) async fn body(&mut self, hash: &BodyHash, bytes: &[u8], ack: Ack) {
        // Acknowledged at once: the document holds what it came for.
        self.link.ack(ack);
        let awaited = self.engine.read(|world| self.documents.missing(world));
        if bytes.is_empty() || !awaited.iter().any(|awaited| awaited.as_str() == hash.as_str()) {
            return;
        }
        let definition = match read_body(&self.key(), hash, bytes) {
            Ok(definition) => definition,
            Err(why) => return self.refuse("doc", why),
        };
        let topic = Topic::Doc(self.cluster.clone(), hash.clone());
        self.link.unsubscribe([Filter::exact(&topic)]);
        let Some(Parked { what: Waiting::Bodies { desired, at_hand }, ack, .. }) =
            self.documents.parked.as_mut()
        else {
            return;
        };
        if let Ok(hash) = ContentHash::try_from(hash.as_str().to_owned()) {
            at_hand.insert(hash, definition);
        }
        // Looked at as a whole: one that is not what it is called never becomes complete.
        let (desired, brought, ack) = (desired.clone(), std::mem::take(at_hand), ack.take());
        let since = self.documents.parked.take().map_or(Duration::ZERO, |parked| parked.since);
        self.complete(desired, brought, ack, since).await;
    }

    /// A newer document: goes on if all of it is here, else waits.
    async fn consider(&mut self, desired: Box<Desired>, ack: Option<Ack>) {
        if content::hash(&desired.content) != desired.hash {
            self.refuse("want", "hash");
            self.acknowledge(ack);
            return;
        }
        // What an older one has brought already may be of use.
        let brought = match self.documents.parked.take() {
            Some(Parked { what: Waiting::Bodies { at_hand, desired }, ack, since }) => {
                let parked = Parked {
                    what: Waiting::Bodies { at_hand: BTreeMap::new(), desired },
                    ack,
                    since,
                };
                self.documents.parked = Some(parked);
                at_hand
            }
            other => {
                self.documents.parked = other;
                BTreeMap::new()
            }
        };
        self.give_up_parked();
        self.complete(desired, brought, ack, sys::uptime()).await;
    }

    async fn complete(
        &mut self,
        desired: Box<Desired>,
        brought: BTreeMap<ContentHash, TaskDefinition>,
        ack: Option<Ack>,
        since: Duration,
    ) {
        let found = self.engine.read(|world| {
            world
                .membership
                .as_ref()
                .map(|membership| at_hand(world, membership, &desired, &brought))
        });
        let Some((definitions, missing)) = found else { return };
        if missing.is_empty() {
            return self.settle(desired, definitions, ack, since).await;
        }
        let before = self.engine.read(|world| self.documents.missing(world));
        let filters: Vec<Filter> = missing
            .iter()
            .filter(|hash| !before.contains(*hash))
            .filter_map(|hash| BodyHash::new(hash.as_str()).ok())
            .map(|hash| Filter::exact(&Topic::Doc(self.cluster.clone(), hash)))
            .collect();
        self.link.subscribe(filters);
        self.documents.parked =
            Some(Parked { what: Waiting::Bodies { desired, at_hand: brought }, ack, since });
        self.register.changed();
    }

    /// Takes a document that is complete.
    async fn settle(
        &mut self,
        desired: Box<Desired>,
        definitions: Vec<TaskDefinition>,
        ack: Option<Ack>,
        since: Duration,
    ) {
        match self.accept(&desired, &definitions).await {
            Ok(Acceptance::Accepted | Acceptance::Known) => {
                self.follow_key(desired.next_key.as_deref()).await;
                self.documents.secrets = Some(desired.content.secrets);
                self.acknowledge(ack);
                self.register.changed();
            }
            Ok(why) => {
                self.refuse("want", if why == Acceptance::Old { "replayed" } else { "foreign" });
                self.acknowledge(ack);
            }
            Err(error) => {
                tracing::warn!(%error, "a document cannot be kept yet, trying again");
                let again = sys::uptime() + AGAIN;
                let what = Waiting::Disk { desired, definitions, again };
                self.documents.parked = Some(Parked { what, ack, since });
            }
        }
    }

    async fn accept(
        &mut self,
        desired: &Desired,
        definitions: &[TaskDefinition],
    ) -> Result<Acceptance, String> {
        let Some(membership) = self.membership() else { return Ok(Acceptance::Foreign) };
        if !desired.content.secrets.is_empty() {
            let fresh: Vec<_> = desired
                .content
                .secrets
                .iter()
                .filter(|s| !membership.secrets.contains(s))
                .collect();
            if !fresh.is_empty() {
                self.keep_secrets(&membership, desired).await?;
            }
        }
        let command = FleetCommand::Accept(Box::new(desired.clone()), definitions.to_vec());
        match self.submit(command).await? {
            Reply::Document(acceptance) => Ok(acceptance),
            other => Err(format!("the engine answers {other:?}")),
        }
    }

    /// The names are recorded first: whatever happens then, none is left that nobody knows of.
    async fn keep_secrets(
        &mut self,
        membership: &Membership,
        desired: &Desired,
    ) -> Result<(), String> {
        let names: BTreeSet<&str> =
            desired.content.secrets.iter().map(|s| s.name.as_str()).collect();
        let known: BTreeSet<&str> = membership.secrets.iter().map(|s| s.name.as_str()).collect();
        if !names.is_subset(&known) {
            let more = names
                .difference(&known)
                .map(|name| SecretVersion { name: (*name).to_owned(), version: String::new() });
            let all = membership.secrets.iter().cloned().chain(more).collect();
            self.submit(FleetCommand::SecretsKept(all)).await?;
        }
        let sealing = self.identity.sealing().clone();
        let values = secrets::open(&sealing, desired, &mut self.refusals, "want");
        let store = self.engine.secrets().clone();
        blocking(move || secrets::keep(&store, values))
            .await
            .ok_or_else(|| "the program ends".to_owned())??;
        let current =
            desired.content.secrets.iter().map(|s| s.name.as_str()).collect::<BTreeSet<_>>();
        let others = membership.secrets.iter().filter(|s| !current.contains(s.name.as_str()));
        let kept = others.chain(&desired.content.secrets).cloned().collect();
        self.submit(FleetCommand::SecretsKept(kept)).await.map(drop)
    }

    /// Removes what no container can ask for any more, once the newest document is applied.
    pub(super) async fn prune_secrets(&mut self) {
        let Some(membership) = self.membership() else { return };
        let Some(wanted) = &self.documents.secrets else { return };
        if membership.progress.phase != crate::model::fleet::Phase::Applied {
            return;
        }
        let surplus = secrets::surplus(&membership.secrets, wanted);
        if surplus.is_empty() {
            return;
        }
        let kept: Vec<SecretVersion> =
            membership.secrets.iter().filter(|s| !surplus.contains(&s.name)).cloned().collect();
        let store = self.engine.secrets().clone();
        if blocking(move || secrets::forget(&store, &surplus)).await.is_some() {
            let _ = self.submit(FleetCommand::SecretsKept(kept)).await;
        }
    }

    /// What is due without anything having come.
    pub(super) async fn tend_documents(&mut self, now: Duration) {
        let Some(parked) = &mut self.documents.parked else { return };
        if now >= parked.since + HELD
            && let Some(ack) = parked.ack.take()
        {
            self.link.ack(ack);
        }
        if !matches!(&parked.what, Waiting::Disk { again, .. } if *again <= now) {
            return;
        }
        if let Some(Parked { what: Waiting::Disk { desired, definitions, .. }, ack, since }) =
            self.documents.parked.take()
        {
            self.settle(desired, definitions, ack, since).await;
        }
    }

    /// Acknowledgements of an earlier connection mean nothing in the next.
    pub(super) fn drop_acks(&mut self) {
        if let Some(parked) = &mut self.documents.parked {
            parked.ack = None;
        }
    }

    fn acknowledge(&self, ack: Option<Ack>) {
        if let Some(ack) = ack {
            self.link.ack(ack);
        }
    }

    fn park(&mut self, what: Waiting, ack: Option<Ack>) {
        self.documents.parked = Some(Parked { what, ack, since: sys::uptime() });
    }

    /// A newer one is here.
    fn give_up_parked(&mut self) {
        let awaited = self.engine.read(|world| self.documents.missing(world));
        let filters: Vec<Filter> = awaited
            .iter()
            .filter_map(|hash| BodyHash::new(hash.as_str()).ok())
            .map(|hash| Filter::exact(&Topic::Doc(self.cluster.clone(), hash)))
            .collect();
        if !filters.is_empty() {
            self.link.unsubscribe(filters);
        }
        let ack = self.documents.parked.take().and_then(|parked| parked.ack);
        self.acknowledge(ack);
    }

    /// The key that a document names takes the place of the one that it was verified with, durably.
    async fn follow_key(&mut self, next: Option<&str>) {
        let Some(next) = next else { return };
        let Ok(key) = VerifyingKey::try_from(next.to_owned()) else {
            return self.refuse("want", "malformed");
        };
        if key == self.key() {
            return;
        }
        match self.repin(key).await {
            Ok(()) => tracing::info!(key = %key.fingerprint(), "the hub has a new key"),
            Err(error) => tracing::error!(%error, "the hub's new key cannot be kept"),
        }
    }

    pub(super) async fn submit(&self, command: FleetCommand) -> Result<Reply, String> {
        self.engine.submit(Command::from(command)).await.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests;
