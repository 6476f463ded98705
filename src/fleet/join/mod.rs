//! How a box becomes a member: it asks the hub over HTTP, once; everything after that goes over MQTT.
//!
//! ```text
//! box                                                          hub
//!  │ {"token", "proof", "request": "{device, csr, exchange,      │
//!  │   attempt, agent, hub}"} ───── POST /coracle/v1/join ──────►│ token known, proof right, box free or the same box
//!  │                                                             │ certificate, sealing key ─► one transaction: Enrol
//!  │◄──── {"hubKey", "answer": JWS{request, enrolment, exchange}}│
//!  │ fingerprint of hubKey = the token's? signature? request?    │
//!  │ STATE/fleet: all of it, or nothing                          │
//! ```
//!
//! * [`hub`] is the hub's half: tokens, joins, renewals. [`device`] is the box's. `record` is what the hub notes of the
//!   certificates of a box. `http` makes its requests.
//!
//! No secret is sent, so the listener needs no TLS: the request is proved by the token's secret, the answer by the hub's
//! signature, and the key for secrets is agreed on between the two. A request that is repeated because its answer was
//! lost is answered as before; one that somebody recorded and sends again is that repetition, or has an old number
//! (`attempt`), and changes nothing. A box is known by its key: who asks to be a box that is there, with another key, is
//! refused.

pub mod device;
pub(in crate::fleet) mod http;
pub mod hub;
mod record;

pub use device::JoinError;
pub use http::HubUrl;
pub(in crate::fleet) use hub::token_key;
pub use hub::{Broker, Refused, Registrar, TokenRequest};
pub use record::refused_serials;

use crate::auth::fleet::{Certificate, Enrolment, TokenId, VerifyingKey};
use crate::model::ContainerInstanceId;
use crate::model::fleet::AgentInformation;
use serde::{Deserialize, Serialize};

/// Where a box asks to join.
pub const JOIN: &str = "/coracle/v1/join";
/// Where it asks for a new certificate when the broker no longer takes the one it has.
pub const RENEW: &str = "/coracle/v1/renew";
/// Where it says that it leaves.
pub const LEAVE: &str = "/coracle/v1/leave";
/// What stands before the text that a box signs when it leaves.
const LEAVE_PURPOSE: &[u8] = b"coracle leave 1\0";
/// The largest request, and the largest answer.
pub const LARGEST: usize = 64 * 1024;
/// The version of these messages.
const VERSION: u32 = 1;

/// What a box posts to [`JOIN`].
#[derive(Debug, Serialize, Deserialize)]
struct Envelope {
    token: TokenId,
    /// Of the bytes of `request`.
    proof: String,
    /// [`Request`], as a text.
    request: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    v: u32,
    /// The box's id.
    device: ContainerInstanceId,
    /// PKCS#10, in base64url.
    csr: String,
    /// The box's half of the agreement on a sealing key, in base64url.
    exchange: String,
    /// Grows with every request of a box.
    attempt: u64,
    /// Where the box found the hub.
    hub: String,
    agent: AgentInformation,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    /// To be compared with the token.
    hub_key: VerifyingKey,
    /// The JWS of [`Said`] or [`Renewal`].
    answer: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    v: u32,
    /// The SHA-256 of the request that this answers, in hexadecimal.
    request: String,
    /// The hub's half of the agreement.
    exchange: String,
    enrolment: Enrolment,
}

/// What a box posts to [`RENEW`]: it proves itself by the signature of the request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RenewalRequest {
    device: ContainerInstanceId,
    csr: String,
}

/// What a box posts to [`LEAVE`].
#[derive(Debug, Serialize, Deserialize)]
struct Leaving {
    /// [`Farewell`], as a text.
    farewell: String,
    csr: String,
    /// Of `farewell`, by the key of `csr`.
    signature: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Farewell {
    device: ContainerInstanceId,
    /// As in [`Request`].
    attempt: u64,
}

/// A renewed certificate, as the hub signs it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Renewal {
    v: u32,
    /// Whose it is.
    pub device: ContainerInstanceId,
    /// The certificate.
    pub certificate: Certificate,
}

#[cfg(test)]
mod tests;
