//! What is in the messages, as bytes: written by one side, read by the other within bounds.
//!
//! | topic | payload |
//! | --- | --- |
//! | `want` | JWS of a [`Desired`], or of a [`Pointer`] to one that is too large ([`Want`]) |
//! | `doc/{sha256}` | JWS of a task definition; the hash is of what is signed |
//! | `ack` | JWS of an [`EventsAck`] |
//! | `hub` | JWS of a [`HubWord`] |
//! | `log/events` | deflated JSON of an [`EventBatch`], sealed |
//! | `log/{task}` | a [`LogBatch`](super::log_batch::LogBatch), deflated and sealed |
//! | `state`, `live` | JSON of a [`Report`](crate::model::fleet::Report), a [`Presence`](crate::model::fleet::Presence), sealed |
//! | `rpc/renew`, `rpc/leave` | JSON of a [`RenewRequest`], a [`LeaveWord`], sealed |
//!
//! Down, the hub's signature is what counts; up, that only the box has the key that it shares with the hub ([`seal_up`]). So
//! whoever runs the broker reads no report and speaks for nobody. What is sealed is bound to its topic.
//!
//! Members that are not known are ignored. A reader looks at `v` first: of another version nothing else is believed.

use super::topic::Topic;
use crate::auth::fleet::{SealError, SealingKey};
use crate::model::fleet::{ContentHash, Desired, Event, Position, VERSION};
use crate::model::{ClusterName, ContainerInstanceId};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use flate2::Compression;
use flate2::read::{DeflateDecoder, DeflateEncoder};
use serde::{Deserialize, Serialize};
use std::io::Read;
use zeroize::Zeroizing;

/// A document with a larger payload than this is not sent itself but pointed to.
pub const INLINE: usize = 64 << 10;
/// The largest message on `want`: a JWS with an inline document, its base64 and header.
pub const WANT_LIMIT: usize = 96 << 10;
/// The largest document that is pointed to.
pub const DOCUMENT_LIMIT: usize = 16 << 20;
/// The largest message on `doc`.
pub const BODY_LIMIT: usize = 192 << 10;
/// The largest message on `ack` and `hub`.
pub const WORD_LIMIT: usize = 4 << 10;
/// The largest message on `state`, `live` and `log`.
pub const UP_LIMIT: usize = 128 << 10;
/// What a batch of events may be before it is deflated; one event may be more, up to [`INFLATED_LIMIT`].
pub const BATCH: usize = 64 << 10;
/// What a batch may be at most when it is inflated.
pub const INFLATED_LIMIT: usize = 1 << 20;
/// Where the hub serves documents that are pointed to, over HTTP; the hash follows.
pub const DOCUMENT_PATH: &str = "/coracle/v1/fleet/documents/";
/// The stream of `log` and `ack` that carries events.
pub const EVENTS: &str = "events";
/// `rpc/renew`.
pub const RENEW: &str = "renew";
/// `rpc/leave`.
pub const LEAVE: &str = "leave";

/// Why a payload is not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Another version's.
    #[error("version {0} is not known; {VERSION} is")]
    Version(u64),
    /// Larger than any of ours.
    #[error("it has more than {0} bytes")]
    TooLarge(usize),
    /// Not what is expected there.
    #[error("it cannot be read: {0}")]
    Malformed(String),
    /// Sealed by somebody else, or for another topic.
    #[error(transparent)]
    Sealed(#[from] SealError),
}

impl ReadError {
    /// The name of its counter.
    #[must_use]
    pub const fn counter(&self) -> &'static str {
        match self {
            Self::Version(_) => "unsupported",
            Self::TooLarge(_) => "oversized",
            Self::Malformed(_) => "malformed",
            Self::Sealed(_) => "forged",
        }
    }
}

/// Only the version.
#[derive(Deserialize)]
struct Version {
    v: u64,
}

/// Reads JSON of [`VERSION`], of `at_most` bytes. Nesting is bounded by the parser.
///
/// # Errors
/// [`ReadError`].
pub fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8], at_most: usize) -> Result<T, ReadError> {
    if bytes.len() > at_most {
        return Err(ReadError::TooLarge(at_most));
    }
    let malformed = |error: serde_json::Error| ReadError::Malformed(error.to_string());
    let Version { v } = serde_json::from_slice(bytes).map_err(malformed)?;
    if v != u64::from(VERSION) {
        return Err(ReadError::Version(v));
    }
    serde_json::from_slice(bytes).map_err(malformed)
}

/// What is signed on `want`.
#[derive(Debug)]
pub enum Want {
    /// The document.
    Document(Box<Desired>),
    /// Where it is.
    Pointer(Box<Pointer>),
}

impl Want {
    /// Reads what was signed.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(payload: &[u8]) -> Result<Self, ReadError> {
        #[derive(Deserialize)]
        struct Look {
            pointer: Option<serde::de::IgnoredAny>,
        }
        let Look { pointer } = read(payload, WANT_LIMIT)?;
        Ok(match pointer {
            Some(_) => Self::Pointer(Box::new(read(payload, WANT_LIMIT)?)),
            None => Self::Document(Box::new(read(payload, WANT_LIMIT)?)),
        })
    }
}

/// Where a document is that is too large for a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pointer {
    /// [`VERSION`].
    pub v: u32,
    /// The box's cluster.
    pub cluster: ClusterName,
    /// The box.
    pub device: ContainerInstanceId,
    /// The document's.
    #[serde(flatten)]
    pub position: Position,
    /// Of what is there.
    pub pointer: Place,
    /// As in the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_key: Option<String>,
}

/// A sealed document that the hub serves over HTTP at [`DOCUMENT_PATH`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// Of the sealed bytes, which are those of [`seal_document`]; the path ends with it.
    pub sha256: ContentHash,
    /// How many they are.
    pub size: u64,
}

fn document_context(device: &ContainerInstanceId, position: Position) -> String {
    format!("coracle document 1 {device} {position}")
}

/// Seals the JSON of a document for its box.
#[must_use]
pub fn seal_document(
    key: &SealingKey,
    device: &ContainerInstanceId,
    at: Position,
    json: &[u8],
) -> Vec<u8> {
    key.seal(document_context(device, at).as_bytes(), json)
}

/// The JSON of a document that was sealed for this box and this position.
///
/// # Errors
/// [`SealError`].
pub fn open_document(
    key: &SealingKey,
    device: &ContainerInstanceId,
    at: Position,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    key.open(document_context(device, at).as_bytes(), sealed)
}

fn secret_context(device: &ContainerInstanceId, name: &str, version: &str) -> String {
    format!("coracle secret 1 {device} {name} {version}")
}

/// Seals a secret's value for a document, [`Desired::sealed`].
#[must_use]
pub fn seal_secret(
    key: &SealingKey,
    device: &ContainerInstanceId,
    name: &str,
    version: &str,
    value: &str,
) -> String {
    let sealed = key.seal(secret_context(device, name, version).as_bytes(), value.as_bytes());
    STANDARD_NO_PAD.encode(sealed)
}

/// The value of a secret that was sealed for this box, name and version.
///
/// # Errors
/// [`SealError`].
pub fn open_secret(
    key: &SealingKey,
    device: &ContainerInstanceId,
    name: &str,
    version: &str,
    sealed: &str,
) -> Result<Zeroizing<String>, SealError> {
    let sealed = STANDARD_NO_PAD.decode(sealed).map_err(|_| SealError::Malformed)?;
    let opened = key.open(secret_context(device, name, version).as_bytes(), &sealed)?;
    let text = std::str::from_utf8(&opened).map_err(|_| SealError::Malformed)?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn up_context(topic: &Topic) -> String {
    format!("coracle up 1 {topic}")
}

/// A payload of a box, as it goes out on this topic.
#[must_use]
pub fn seal_up(key: &SealingKey, topic: &Topic, payload: &[u8]) -> Vec<u8> {
    key.seal(up_context(topic).as_bytes(), payload)
}

/// The payload that the box sealed for this topic.
///
/// # Errors
/// [`ReadError`].
pub fn open_up(
    key: &SealingKey,
    topic: &Topic,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, ReadError> {
    if sealed.len() > UP_LIMIT {
        return Err(ReadError::TooLarge(UP_LIMIT));
    }
    Ok(key.open(up_context(topic).as_bytes(), sealed)?)
}

/// The same, deflated before it is sealed.
#[must_use]
pub(super) fn seal_deflated(key: &SealingKey, topic: &Topic, payload: &[u8]) -> Vec<u8> {
    let mut deflated = Vec::with_capacity(payload.len() / 4);
    // Reading from memory and writing to memory does not fail.
    let _ = DeflateEncoder::new(payload, Compression::fast()).read_to_end(&mut deflated);
    seal_up(key, topic, &deflated)
}

/// What [`seal_deflated`] made, of [`INFLATED_LIMIT`] bytes; or one more, of larger ones.
pub(super) fn open_inflated(
    key: &SealingKey,
    topic: &Topic,
    sealed: &[u8],
) -> Result<Vec<u8>, ReadError> {
    let deflated = open_up(key, topic, sealed)?;
    let mut payload = Vec::new();
    DeflateDecoder::new(&deflated[..])
        .take(INFLATED_LIMIT as u64 + 1)
        .read_to_end(&mut payload)
        .map_err(|error| ReadError::Malformed(error.to_string()))?;
    Ok(payload)
}

/// What happened on a box, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventBatch {
    /// [`VERSION`].
    pub v: u32,
    /// Which numbering.
    pub log: String,
    /// Events up to this one were dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<u64>,
    /// Without holes among themselves.
    pub events: Vec<Event>,
}

impl EventBatch {
    /// Deflated JSON, sealed for this topic.
    #[must_use]
    pub fn seal_up(&self, key: &SealingKey, topic: &Topic) -> Vec<u8> {
        seal_deflated(key, topic, &write(self))
    }

    /// What [`Self::seal_up`] made.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn open_up(key: &SealingKey, topic: &Topic, sealed: &[u8]) -> Result<Self, ReadError> {
        let json = open_inflated(key, topic, sealed)?;
        read(&json, INFLATED_LIMIT)
    }
}

/// How far the hub has the events of a box, or the log of one of its containers. It is durable there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventsAck {
    /// [`VERSION`].
    pub v: u32,
    /// The box.
    pub device: ContainerInstanceId,
    /// The box's session; `tell_again` counts in this one alone, and what it acknowledges in any.
    pub session: String,
    /// [`EVENTS`], or [`stream`](super::log_batch::stream) of a container.
    pub stream: String,
    /// Which numbering.
    pub log: String,
    /// The first event that the hub does not have, or so many bytes of the log that it has.
    pub up_to: u64,
    /// The box is to tell of all its tasks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tell_again: bool,
}

/// What a hub says of itself to all boxes of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HubWord {
    /// [`VERSION`].
    pub v: u32,
    /// The cluster.
    pub cluster: ClusterName,
    /// False in its last will.
    pub up: bool,
    /// Of its documents.
    pub epoch: u64,
    /// Over how many seconds the boxes' attempts to connect are to be spread.
    pub spread_over: u64,
}

/// A box wants its certificate renewed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RenewRequest {
    /// [`VERSION`].
    pub v: u32,
    /// The session it was sent over; the answer is a command of that session.
    pub session: String,
    /// PKCS#10, in base64url without padding.
    pub request: String,
}

/// A box leaves the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaveWord {
    /// [`VERSION`].
    pub v: u32,
    /// The session it was sent over.
    pub session: String,
}

/// JSON of one of these.
#[must_use]
pub fn write(message: &impl Serialize) -> Vec<u8> {
    // Plain data of texts and numbers.
    serde_json::to_vec(message).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> ContainerInstanceId {
        ContainerInstanceId::new("0123456789abcdef0123456789abcdef").unwrap()
    }

    #[test]
    fn a_pointer_is_told_from_a_document() {
        let at = Position { epoch: 1, generation: 7 };
        let pointer = Pointer {
            v: VERSION,
            cluster: ClusterName::default_cluster(),
            device: device(),
            position: at,
            pointer: Place { sha256: ContentHash::of(b"x"), size: 1 },
            next_key: None,
        };
        let Want::Pointer(read) = Want::read(&write(&pointer)).unwrap() else { panic!() };
        assert_eq!(*read, pointer);
        let document = Desired {
            v: VERSION,
            cluster: ClusterName::default_cluster(),
            device: device(),
            position: at,
            prev_hash: None,
            hash: ContentHash::of(b""),
            content: crate::model::fleet::Content::default(),
            sealed: std::collections::BTreeMap::new(),
            next_key: None,
        };
        let Want::Document(read) = Want::read(&write(&document)).unwrap() else { panic!() };
        assert_eq!(*read, document);
    }

    #[test]
    fn another_version_is_told_from_rubbish() {
        assert!(matches!(Want::read(br#"{"v":2,"new":[]}"#), Err(ReadError::Version(2))));
        assert!(matches!(Want::read(br#"{"v":1}"#), Err(ReadError::Malformed(_))));
        assert!(matches!(Want::read(b"[[["), Err(ReadError::Malformed(_))));
        assert!(matches!(Want::read(&vec![b' '; WANT_LIMIT + 1]), Err(ReadError::TooLarge(_))));
        let nested = "[".repeat(10_000);
        let nested = format!(r#"{{"v":1,"x":{nested}"#);
        assert!(matches!(Want::read(nested.as_bytes()), Err(ReadError::Malformed(_))));
    }

    #[test]
    fn a_bomb_is_not_inflated() {
        let key = SealingKey::from_bytes(&[7; 32]).unwrap();
        let topic = Topic::state(&ClusterName::default_cluster(), &device());
        let batch = EventBatch { v: VERSION, log: "l".into(), dropped: Some(3), events: vec![] };
        let open = |sealed: &[u8]| EventBatch::open_up(&key, &topic, sealed);
        assert_eq!(open(&batch.seal_up(&key, &topic)).unwrap(), batch);
        let mut bomb = Vec::new();
        let zeros = vec![b' '; 8 << 20];
        DeflateEncoder::new(&zeros[..], Compression::best()).read_to_end(&mut bomb).unwrap();
        let bomb = seal_up(&key, &topic, &bomb);
        assert!(bomb.len() < UP_LIMIT);
        assert!(matches!(open(&bomb), Err(ReadError::TooLarge(_))));
        assert!(matches!(open(&seal_up(&key, &topic, b"\xff\xff")), Err(ReadError::Malformed(_))));
        assert!(matches!(open(b"\xff\xff"), Err(ReadError::Sealed(_))));
    }

    #[test]
    fn what_a_box_says_counts_on_its_topic_only() {
        let key = SealingKey::from_bytes(&[7; 32]).unwrap();
        let cluster = ClusterName::default_cluster();
        let state = Topic::state(&cluster, &device());
        let sealed = seal_up(&key, &state, b"{}");
        assert_eq!(*open_up(&key, &state, &sealed).unwrap(), b"{}");
        let live = Topic::live(&cluster, &device());
        assert_eq!(open_up(&key, &live, &sealed).unwrap_err().counter(), "forged");
        let large = vec![1; UP_LIMIT + 1];
        assert_eq!(open_up(&key, &state, &large).unwrap_err().counter(), "oversized");
    }

    #[test]
    fn a_secret_opens_for_its_box_name_and_version_alone() {
        let key = SealingKey::from_bytes(&[7; 32]).unwrap();
        let sealed = seal_secret(&key, &device(), "secret/a", "1", "hunter2");
        let open = |name, version| open_secret(&key, &device(), name, version, &sealed);
        assert_eq!(*open("secret/a", "1").unwrap(), "hunter2");
        assert!(open("secret/a", "2").is_err() && open("secret/b", "1").is_err());
        assert!(open_secret(&key, &device(), "secret/a", "1", "no base64!").is_err());
    }
}
