//! What hub and boxes of a fleet tell each other, and what each keeps of the other.
//!
//! ```text
//! hub ── Desired (register, position) ──► box        box ── Report (register) ──► hub
//!                                                    box ── events: tasks, in order, numbered ──► hub
//!                                                    box ── Presence (and its last will) ──► hub
//! ```
//!
//! * [`Position`] orders desired documents; no clock is asked. [`Membership`] is what a box keeps, [`Device`] what the hub
//!   keeps of a box.
//! * Here is what is said, not how it is signed, sealed or carried.

use super::assignment::Assignment;
use super::container_instance::{Attribute, Capacity};
use super::ids::{
    AssignmentId, ClusterName, ContainerInstanceId, NameError, TaskDefinitionRef, TaskId,
};
use super::task::Task;
use super::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The format of [`Desired`], [`Report`] and [`Presence`].
pub const VERSION: u32 = 1;

/// Where a document stands in the order of all that a box was ever sent: lexicographic, so that a hub that was restored
/// from a backup goes on above what it no longer remembers, with a higher epoch.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    /// Grows when the hub is restored.
    pub epoch: u64,
    /// Grows with every document.
    pub generation: u64,
}

impl Position {
    /// The position before this one, of the same epoch.
    #[must_use]
    pub fn before(self) -> Self {
        Self { generation: self.generation.saturating_sub(1), ..self }
    }

    /// The position after this one, in `epoch` or this one's if that is higher.
    #[must_use]
    pub fn next(self, epoch: u64) -> Self {
        Self { epoch: self.epoch.max(epoch), generation: self.generation + 1 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.generation)
    }
}

/// SHA-256 in lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentHash(String);

impl ContentHash {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        use fmt::Write as _;
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        let mut text = String::with_capacity(64);
        for byte in digest.as_ref() {
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ContentHash {
    type Error = NameError;
    fn try_from(value: String) -> Result<Self, NameError> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if value.len() == 64 && value.bytes().all(digit) {
            return Ok(Self(value));
        }
        let rule = "64 lower-case hexadecimal digits are expected";
        Err(NameError { what: "content hash", value, rule })
    }
}

impl From<ContentHash> for String {
    fn from(hash: ContentHash) -> Self {
        hash.0
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A body that is carried once for all who want it, named by its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BodyRef {
    /// Which task definition it is.
    pub task_definition: TaskDefinitionRef,
    /// Of its bytes.
    pub sha256: ContentHash,
    /// In bytes.
    pub size: u64,
}

/// A version of a secret that tasks of the box need; its value is sealed and no part of the content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretVersion {
    /// `secret` or `parameter`, and the name, as `coracle secret` names it.
    pub name: String,
    /// The id of the current version.
    pub version: String,
}

/// What a box is to be like: the part of a document that its hash is of. The same world gives the same bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    /// What it is to run, by id.
    pub assignments: Vec<Assignment>,
    /// Of what, by reference.
    pub task_definitions: Vec<BodyRef>,
    /// With which secrets, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretVersion>,
    /// The rest.
    #[serde(default)]
    pub settings: MemberSettings,
}

/// What a hub sets of a box, beside what it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberSettings {
    /// It takes no more tasks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draining: bool,
    /// Tasks that are not to be scaled in, and until when.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub protected: BTreeMap<TaskId, Timestamp>,
}

/// The desired document of one box.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Desired {
    /// [`VERSION`].
    pub v: u32,
    /// The box's cluster.
    pub cluster: ClusterName,
    /// The box.
    pub device: ContainerInstanceId,
    /// Its place among all documents of this box.
    #[serde(flatten)]
    pub position: Position,
    /// Of the content before it, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev_hash: Option<ContentHash>,
    /// Of the content.
    pub hash: ContentHash,
    /// What is wanted.
    #[serde(flatten)]
    pub content: Content,
    /// Values of `content.secrets` by name, sealed to the box.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sealed: BTreeMap<String, String>,
    /// The newest key of the hub, which takes the place of whichever the box trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_key: Option<String>,
}

/// Where a box is with a document. `Applied`, `Failed` and `Unsupported` are terminal; a failed one may still become applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Phase {
    /// It is durable on the box.
    Seen,
    /// Tasks start and stop.
    Applying,
    /// The box is what it says.
    Applied,
    /// Something of it does not come about, and goes on being tried.
    Failed,
    /// The box does not know its format, and keeps what it has.
    Unsupported,
}

impl Phase {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Seen => "SEEN",
            Self::Applying => "APPLYING",
            Self::Applied => "APPLIED",
            Self::Failed => "FAILED",
            Self::Unsupported => "UNSUPPORTED",
        }
    }
}

/// Where a box is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The newest document that is durable on the box.
    #[serde(flatten)]
    pub position: Position,
    /// Its hash; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<ContentHash>,
    /// How far it is.
    pub phase: Phase,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The newest document that was applied, and its hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
}

impl Progress {
    /// Of a box that has seen nothing.
    #[must_use]
    pub fn none() -> Self {
        let position = Position::default();
        Self { position, hash: None, phase: Phase::Applied, reason: None, applied: None }
    }
}

/// A document that was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    /// Which.
    #[serde(flatten)]
    pub position: Position,
    /// Its content.
    pub hash: ContentHash,
}

/// What a box reports; a register, of which the newest counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`VERSION`].
    pub v: u32,
    /// The connection it was sent over.
    pub session: String,
    /// Grows in a session.
    pub seq: u64,
    /// Where the box is.
    #[serde(flatten)]
    pub progress: Progress,
    /// The tasks that have not stopped, and the versions of their records.
    #[serde(default)]
    pub tasks: BTreeMap<TaskId, u64>,
    /// Which events there are.
    pub events: EventRange,
    /// Bodies that it waits for.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub missing: BTreeSet<ContentHash>,
    /// Messages that were refused, by why; what a hostile broker sends shows here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, u64>,
    /// The hub's key that it trusts, by what tells keys apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub_key: Option<String>,
}

/// The events that a box keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventRange {
    /// Which numbering this is; a box that lost its state begins another.
    pub log: String,
    /// The oldest that it has.
    pub first: u64,
    /// The number of the next one.
    pub next: u64,
}

/// Something that happened on a box, kept until the hub has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Its number; without holes.
    pub offset: u64,
    /// When, by the box's clock.
    pub at: Timestamp,
    /// The task as it was then.
    pub task: Box<Task>,
}

/// Whether a box is connected: said by it when it is, by its last will when it no longer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Presence {
    /// [`VERSION`].
    pub v: u32,
    /// Which connection.
    pub session: String,
    /// True while it lasts.
    pub up: bool,
    /// What the box tells of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Box<AgentInformation>>,
}

/// What a box tells of itself whenever it connects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentInformation {
    /// The program's version.
    pub version: String,
    /// What the box has.
    pub capacity: Capacity,
    /// What it tells of itself, those given when it joined as well.
    pub attributes: Vec<Attribute>,
}

/// What a box keeps of the fleet it belongs to. Keys and addresses are in files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Membership {
    /// Its cluster.
    pub cluster: ClusterName,
    /// Its id in the fleet.
    pub device: ContainerInstanceId,
    /// Where whoever wants to change something is sent.
    pub hub: String,
    /// When it joined.
    pub joined_at: Timestamp,
    /// Where it is with what it was sent.
    pub progress: Progress,
    /// The assignments of the newest document. A task of one of these is never forgotten, or it would be run again.
    #[serde(default)]
    pub assignments: BTreeSet<AssignmentId>,
    /// The bodies that the newest document refers to.
    #[serde(default, with = "pairs")]
    pub bodies: BTreeMap<TaskDefinitionRef, ContentHash>,
    /// The secrets that it was sent.
    #[serde(default)]
    pub secrets: BTreeSet<SecretVersion>,
    /// The numbering of its events.
    pub events: String,
    /// Events were dropped before the hub had them, up to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<u64>,
}

/// How a box is connected to its hub, as it sees that itself. Not stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkStatus {
    /// Whether it is.
    pub connected: bool,
    /// Since when it is or is not; unknown when it has not been since the agent started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Why it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The broker's URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<String>,
    /// Until when its certificate is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_until: Option<Timestamp>,
    /// Messages that were refused since the agent started, by why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, u64>,
}

/// What the hub keeps of a box, beside its container instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Its id, the container instance's.
    pub id: ContainerInstanceId,
    /// Its cluster.
    pub cluster: ClusterName,
    /// Of the newest document.
    #[serde(default)]
    pub position: Position,
    /// Of its content; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<ContentHash>,
    /// Of the content before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev_hash: Option<ContentHash>,
    /// What it said last.
    pub reported: Progress,
    /// Its newest connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Whether that lasts.
    #[serde(default)]
    pub connected: bool,
    /// Since when it is or is not connected.
    pub connected_changed_at: Timestamp,
    /// Which events the hub has: all of this numbering before `next`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<EventsTaken>,
    /// Its certificate, as `auth` describes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<serde_json::Value>,
    /// The key that its secrets are sealed with, itself sealed with the hub's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealing_key: Option<String>,
    /// The hub's key that it trusts, as it said last; none when it has not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub_key: Option<String>,
    /// From when it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// How often it joined after it had been refused.
    #[serde(default)]
    pub returns: u32,
}

/// How far the hub has the events of a box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventsTaken {
    /// Which numbering.
    pub log: String,
    /// The next one it wants.
    pub next: u64,
    /// How many it never got, because the box had to drop them.
    #[serde(default)]
    pub missed: u64,
}

/// A token that boxes may join with. The secret itself is not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinToken {
    /// Its public part.
    pub id: String,
    /// SHA-256 of the secret part.
    pub secret_sha256: ContentHash,
    /// The cluster that is joined.
    pub cluster: ClusterName,
    /// How many boxes may still join; none for any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses_left: Option<u32>,
    /// When it ends; none for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Put on the boxes that join with it.
    #[serde(default)]
    pub attributes: Vec<Attribute>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Requests that were carried out, by their nonce, and the box of each: a repetition costs no use.
    #[serde(default)]
    pub used: BTreeMap<String, ContainerInstanceId>,
}

/// A map whose keys are no texts, as a list of pairs: JSON has no such maps.
mod pairs {
    use super::{BTreeMap, ContentHash, TaskDefinitionRef};
    use serde::{Deserialize, Deserializer, Serializer};

    type Bodies = BTreeMap<TaskDefinitionRef, ContentHash>;

    pub(super) fn serialize<S: Serializer>(bodies: &Bodies, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(bodies)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bodies, D::Error> {
        Ok(Vec::deserialize(from)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Family, Revision};

    #[test]
    fn a_membership_with_all_that_it_may_hold_is_kept() {
        let body = TaskDefinitionRef { family: Family::new("web").unwrap(), revision: Revision(3) };
        let secret = SecretVersion { name: "a".to_owned(), version: "1".to_owned() };
        let membership = Membership {
            cluster: ClusterName::default_cluster(),
            device: ContainerInstanceId::new("0123456789abcdef0123456789abcdef").unwrap(),
            hub: "http://hub".to_owned(),
            joined_at: Timestamp(1),
            progress: Progress::none(),
            assignments: BTreeSet::new(),
            bodies: BTreeMap::from([(body, ContentHash::of(b"web"))]),
            secrets: BTreeSet::from([secret]),
            events: "log".to_owned(),
            dropped: None,
        };
        let kept = serde_json::to_string(&membership).unwrap();
        assert_eq!(serde_json::from_str::<Membership>(&kept).unwrap(), membership);
    }
}
