//! Who comes into a fleet and who goes: asked over the API, answered by the fleet.

use serde_json::Value;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum GateRequest {
    /// Of a hub, over TCP: a box joins. The body as it came.
    Enrol(Vec<u8>),
    /// Of a hub, over TCP: a box wants its certificate renewed.
    Renew(Vec<u8>),
    /// Of a hub, over TCP: a box leaves.
    Left(Vec<u8>),
    /// Of a hub, by its operator: `{cluster, uses, expiresAfter, attributes}`.
    CreateToken(Value),
    /// Of a hub, by its operator: the tokens there are.
    Tokens,
    /// Of a hub, by its operator: one of them goes.
    RemoveToken(String),
    /// Of a hub, by its operator: the keys that it signs with.
    HubKeys,
    /// Of a hub, by its operator: a new key to sign with.
    RotateHubKey,
    /// Of a hub, by its operator: a backup goes into this new file.
    Backup(PathBuf),
    /// Of a box, by its operator: `{url, token, attributes}`.
    Join(Value),
    /// Of a box, by its operator.
    Leave,
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateRefusal {
    /// A status of HTTP.
    pub status: u16,
    /// In words.
    pub message: String,
}

/// An answer that is being made.
pub type GateAnswer<'a> = Pin<Box<dyn Future<Output = Result<Value, GateRefusal>> + Send + 'a>>;

/// The gate of a fleet: a hub's, or a box's.
pub trait Gate: fmt::Debug + Send + Sync {
    /// Answers.
    fn ask(&self, request: GateRequest) -> GateAnswer<'_>;
}
