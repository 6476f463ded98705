//! What hub and boxes say to each other over a link, as bytes: who signs or seals it, and how large it may be.
//!
//! | topic | payload |
//! | --- | --- |
//! | `want` | JWS of a [`Desired`], or of a [`Pointer`] to one that is larger than [`INLINE_LIMIT`] |
//! | `doc/{sha256}` | the body as it is: what it must hash to stands in a signed document, and is its name |
//! | `ack` | JWS of an [`Acknowledgement`] |
//! | `hub` | JWS of a [`Notice`] |
//! | `cmd` | JWS of a command |
//! | `state`, `live`, `log/events` | [`Report`](crate::model::fleet::Report), [`Presence`](crate::model::fleet::Presence), [`EventBatch`]: sealed |
//! | `rpc/renew`, `rpc/leave` | [`Renewal`], [`Leaving`]: sealed |
//!
//! Down, the hub's signature is what counts; up, that only the box has the key that it shares with the hub. So whoever
//! runs the broker reads no report, and speaks for nobody. What is sealed is bound to its topic.
//!
//! Whatever does not hold has no effect, and is counted by [`MessageError::counter`].

use super::topic::Topic;
use crate::auth::fleet::{HubKey, JwsError, Kind, SealError, SealingKey, VerifyingKey};
use crate::model::fleet::{ContentHash, Desired, Event, Position, VERSION};
use crate::model::{ClusterName, ContainerInstanceId};
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};

/// The largest document that is carried in a message itself.
pub const INLINE_LIMIT: usize = 64 * 1024;
/// The largest signed message: such a document in base64url, and what is around it.
pub const SIGNED_LIMIT: usize = 96 * 1024;
/// The largest document at all.
pub const DOCUMENT_LIMIT: usize = 8 * 1024 * 1024;
/// The largest body that documents refer to.
pub const BODY_LIMIT: usize = 192 * 1024;
/// The largest message of a box, sealed.
pub const SEALED_LIMIT: usize = 192 * 1024;
/// A batch of events holds as many as fit into this, uncompressed, and one at least.
pub const BATCH_LIMIT: usize = 64 * 1024;
/// What a batch may be uncompressed: one event alone can be larger than [`BATCH_LIMIT`].
const INFLATED_LIMIT: usize = 1024 * 1024;
/// How deep JSON may be nested. Ours is not half as deep.
const DEEPEST: usize = 64;

/// The stream of `log/{stream}` that carries events.
pub const EVENTS: &str = "events";
/// The id of `rpc/{id}` over which a box asks for a new certificate.
pub const RENEW: &str = "renew";
/// The id of `rpc/{id}` over which a box says that it leaves.
pub const LEAVE: &str = "leave";

/// Why a message has no effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It bears no signature at all.
    #[error("it is not signed")]
    Unsigned,
    /// Signed by another key, as another kind of message, or changed.
    #[error("its signature is not the hub's, or not for this kind of message")]
    Signature,
    /// Sealed with another key, for another topic, or changed.
    #[error("{0}")]
    Sealed(#[from] SealError),
    /// Larger than any of its kind.
    #[error("it has {size} bytes, more than the {at_most} that are taken")]
    Oversized {
        /// Its size.
        size: usize,
        /// The bound.
        at_most: usize,
    },
    /// Nested deeper than anything of ours.
    #[error("it is nested more than {DEEPEST} deep")]
    Nested,
    /// Not what it should be.
    #[error("it cannot be read: {0}")]
    Malformed(String),
    /// Of a format that this version does not know.
    #[error("it is of format {v}, and this version knows {VERSION}")]
    Version {
        /// The format.
        v: u32,
        /// Where it stands among documents, if it is one.
        position: Option<Position>,
    },
    /// For another box or cluster.
    #[error("it is for another box")]
    Foreign,
    /// It was here before, or what came after it was.
    #[error("it was here before, or is older than what was")]
    Replayed,
    /// Its content is not what it says it is.
    #[error("its content does not have its hash")]
    Hash,
}

impl MessageError {
    /// The name of its counter.
    #[must_use]
    pub const fn counter(&self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::Signature | Self::Sealed(_) => "signature",
            Self::Oversized { .. } => "oversized",
            Self::Nested => "nested",
            Self::Malformed(_) => "malformed",
            Self::Version { .. } => "version",
            Self::Foreign => "foreign",
            Self::Replayed => "replayed",
            Self::Hash => "hash",
        }
    }
}

/// A message was refused for how it is signed.
fn of_signature(error: JwsError, bytes: &[u8]) -> MessageError {
    match error {
        JwsError::TooLarge { size, at_most } => MessageError::Oversized { size, at_most },
        JwsError::Header(_) | JwsError::Signature => MessageError::Signature,
        JwsError::Malformed if depth(bytes) > DEEPEST => MessageError::Nested,
        JwsError::Malformed if serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok() => {
            MessageError::Unsigned
        }
        JwsError::Malformed => MessageError::Malformed("it is no JSON".to_owned()),
    }
}

/// How deep JSON is nested; whatever else is not deep.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, MessageError> {
    #[derive(Deserialize)]
    struct Head {
        v: u32,
        #[serde(flatten)]
        position: Option<Position>,
    }
    if depth(bytes) > DEEPEST {
        return Err(MessageError::Nested);
    }
    let malformed = |error: serde_json::Error| {
        MessageError::Malformed(error.to_string().chars().take(256).collect())
    };
    let head: Head = serde_json::from_slice(bytes).map_err(malformed)?;
    if head.v != VERSION {
        return Err(MessageError::Version { v: head.v, position: head.position });
    }
    serde_json::from_slice(bytes).map_err(malformed)
}

/// What the hub signs, as it goes over the link.
#[must_use]
pub fn sign<T: Serialize>(key: &HubKey, kind: Kind, content: &T) -> Vec<u8> {
    // Plain data: there is nothing that JSON could not hold.
    key.sign(kind, &serde_json::to_vec(content).unwrap_or_default())
}

/// What the hub signed as this kind of message.
///
/// # Errors
/// [`MessageError`].
pub fn verify<T: DeserializeOwned>(
    key: &VerifyingKey,
    kind: Kind,
    bytes: &[u8],
) -> Result<T, MessageError> {
    let payload = key.verify(kind, bytes, SIGNED_LIMIT).map_err(|why| of_signature(why, bytes))?;
    parse(&payload)
}

/// What stands on `want`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Wanted {
    /// Where the document is.
    Pointer(Pointer),
    /// The document.
    Document(Box<Desired>),
}

/// A document that is too large for a message: fetched from the hub's API, sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pointer {
    /// [`VERSION`].
    pub v: u32,
    /// The box's cluster.
    pub cluster: ClusterName,
    /// The box.
    pub device: ContainerInstanceId,
    /// The document's place.
    #[serde(flatten)]
    pub position: Position,
    /// Of the sealed bytes; the path that they are fetched from is [`document_path`].
    pub sha256: ContentHash,
    /// Of the sealed bytes.
    pub size: usize,
}

/// Where the hub serves a sealed document. Nobody guesses the hash of sealed bytes.
#[must_use]
pub fn document_path(sha256: &ContentHash) -> String {
    format!("/coracle/v1/fleet/documents/{sha256}")
}

/// Seals a document that is fetched.
#[must_use]
pub fn seal_document(key: &SealingKey, document: &Desired) -> Vec<u8> {
    let bytes = serde_json::to_vec(document).unwrap_or_default();
    key.seal(&document_context(&document.device, document.position), &bytes)
}

/// Opens what was fetched for a pointer.
///
/// # Errors
/// [`MessageError`].
pub fn open_document(
    key: &SealingKey,
    pointer: &Pointer,
    sealed: &[u8],
) -> Result<Desired, MessageError> {
    if sealed.len() > DOCUMENT_LIMIT {
        return Err(MessageError::Oversized { size: sealed.len(), at_most: DOCUMENT_LIMIT });
    }
    if ContentHash::of(sealed) != pointer.sha256 {
        return Err(MessageError::Hash);
    }
    let bytes = key.open(&document_context(&pointer.device, pointer.position), sealed)?;
    let document: Desired = parse(&bytes)?;
    if document.position != pointer.position || document.device != pointer.device {
        return Err(MessageError::Foreign);
    }
    Ok(document)
}

fn document_context(device: &ContainerInstanceId, position: Position) -> Vec<u8> {
    format!("coracle document 1\0{device}\0{position}").into_bytes()
}

/// What the value of a secret is sealed for. In a document it stands under its name, sealed, in base64 (standard).
#[must_use]
pub fn secret_context(device: &ContainerInstanceId, name: &str, version: &str) -> Vec<u8> {
    format!("coracle secret 1\0{device}\0{name}\0{version}").into_bytes()
}

/// How far the hub has a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Acknowledgement {
    /// [`VERSION`].
    pub v: u32,
    /// The box.
    pub device: ContainerInstanceId,
    /// Which stream: [`EVENTS`].
    pub stream: String,
    /// Which numbering of it.
    pub log: String,
    /// The first that the hub does not have: what is before it may go.
    pub up_to: u64,
    /// In this session of the box, every task is to be told of again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tell_again: Option<String>,
}

/// What the hub says of itself; its last will says that it is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// [`VERSION`].
    pub v: u32,
    /// To whom.
    pub cluster: ClusterName,
    /// Whether it is there.
    pub up: bool,
    /// Its epoch.
    pub epoch: u64,
    /// Over how many seconds boxes are to spread their attempts to come back.
    pub spread_over: u32,
}

/// Events of a box, in order and without holes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventBatch {
    /// [`VERSION`].
    pub v: u32,
    /// Which numbering.
    pub log: String,
    /// Events up to this one were dropped before the hub had them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<u64>,
    /// The events.
    pub events: Vec<Event>,
}

/// A box asks for a new certificate; the answer is a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Renewal {
    /// [`VERSION`].
    pub v: u32,
    /// The session that the answer is for.
    pub session: String,
    /// PKCS#10, in base64 (standard).
    pub request: String,
}

/// A box leaves. It has said so before if it says so again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Leaving {
    /// [`VERSION`].
    pub v: u32,
    /// Its connection.
    pub session: String,
}

/// A message of a box, as it goes over the link.
#[must_use]
pub fn seal<T: Serialize>(key: &SealingKey, topic: &Topic, content: &T) -> Vec<u8> {
    key.seal(&up_context(topic), &serde_json::to_vec(content).unwrap_or_default())
}

/// A message of a box, by the topic it came on.
///
/// # Errors
/// [`MessageError`].
pub fn open<T: DeserializeOwned>(
    key: &SealingKey,
    topic: &Topic,
    sealed: &[u8],
) -> Result<T, MessageError> {
    parse(&open_bytes(key, topic, sealed)?)
}

/// A batch of events, as it goes over the link.
#[must_use]
pub fn seal_batch(key: &SealingKey, topic: &Topic, batch: &EventBatch) -> Vec<u8> {
    let json = serde_json::to_vec(batch).unwrap_or_default();
    let mut compressed = ZlibEncoder::new(Vec::new(), Compression::fast());
    // Memory takes all that is written.
    let bytes = compressed.write_all(&json).and_then(|()| compressed.finish());
    key.seal(&up_context(topic), &bytes.unwrap_or_default())
}

/// A batch of events, by the topic it came on.
///
/// # Errors
/// [`MessageError`].
pub fn open_batch(
    key: &SealingKey,
    topic: &Topic,
    sealed: &[u8],
) -> Result<EventBatch, MessageError> {
    let compressed = open_bytes(key, topic, sealed)?;
    let mut json = Vec::new();
    let mut inflated = ZlibDecoder::new(compressed.as_slice()).take(INFLATED_LIMIT as u64 + 1);
    let read = inflated.read_to_end(&mut json);
    read.map_err(|error| MessageError::Malformed(error.to_string()))?;
    if json.len() > INFLATED_LIMIT {
        return Err(MessageError::Oversized { size: json.len(), at_most: INFLATED_LIMIT });
    }
    parse(&json)
}

fn open_bytes(
    key: &SealingKey,
    topic: &Topic,
    sealed: &[u8],
) -> Result<zeroize::Zeroizing<Vec<u8>>, MessageError> {
    if sealed.len() > SEALED_LIMIT {
        return Err(MessageError::Oversized { size: sealed.len(), at_most: SEALED_LIMIT });
    }
    Ok(key.open(&up_context(topic), sealed)?)
}

fn up_context(topic: &Topic) -> Vec<u8> {
    format!("coracle up 1\0{topic}").into_bytes()
}

#[cfg(test)]
mod tests;
