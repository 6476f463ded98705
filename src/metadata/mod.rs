//! What ECS's agent answers to the containers of a box, and to those who look at it from the box itself.
//!
//! ```text
//!  containers in bridge and awsvpc mode ── 169.254.170.2:80 ──► a listener on the bridge ──┐
//!  containers in host mode ─────────────── 127.0.0.1:51678 ──► the listener of the API ────┼─► answer
//!  programs on the box ─────────────────── 127.0.0.1:51678 ──► the listener of the API ────┘
//! ```
//!
//! | path | answer |
//! | --- | --- |
//! | `/v4/ID`, `/v4/ID/task`, `/v4/ID/taskWithTags` | the container, its task (`describe`) |
//! | `/v4/ID/stats`, `/v4/ID/task/stats` | what they use, as Docker tells it (`stats`) |
//! | `/v3/ID…` | the same without the members that came with version 4 |
//! | `/v2/credentials/ID` | credentials of the task's role (`credentials`) |
//! | `/api/ID/task-protection/v1/state` | the protection of the task, to read and to set (`protection`) |
//! | `/v1/metadata`, `/v1/tasks` | the agent and its tasks, for programs on the box (`introspection`) |
//!
//! Nothing is signed. Whoever asks must come from an address of the task that the ID names (`caller`), and the ID
//! itself cannot be guessed ([`crate::auth::EndpointIds`]). What does not fit is answered like an ID that does not exist.
//!
//! Nothing runs while nobody asks.

mod answer;
mod bridge;
mod caller;
mod credentials;
mod describe;
mod introspection;
mod protection;
mod rate;
mod route;
mod stats;

pub use bridge::serve;
pub use caller::{Caller, Door};
pub use route::is_served;

use crate::auth::EndpointIds;
use crate::config::RoleSource;
use crate::engine::Handle;
use credentials::Credentials;
use rate::Rates;
use stats::Readings;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// The endpoints. Cheap to make, and idle until somebody asks.
#[derive(Debug)]
pub struct Metadata {
    engine: Handle,
    ids: EndpointIds,
    credentials: Credentials,
    rates: Mutex<Rates>,
    readings: Mutex<Readings>,
}

impl Metadata {
    /// Endpoints for the tasks of `engine`, with credentials from `roles`.
    #[must_use]
    pub fn new(engine: Handle, ids: EndpointIds, roles: BTreeMap<String, RoleSource>) -> Self {
        Self {
            engine,
            ids,
            credentials: Credentials::new(roles),
            rates: Mutex::default(),
            readings: Mutex::default(),
        }
    }
}
