//! The ECS server: AWS JSON 1.1 over HTTP/1.1, and beside it what our own CLI needs.
//!
//! ```text
//!  TCP 127.0.0.1:51678 ── SigV4 ─────────┐
//!                                        ├─► http ─► shapes::check ─► operations ─► engine::Handle
//!  RUN/api.sock ──────── peer's uid ─────┤                                │
//!  (from 127.0.0.1: also metadata)       └─► local (socket only)          └─► render ─► JSON
//!  the hub's connections ────────────────────► local (what only looks, and exec)
//! ```
//!
//! * [`server`](self::serve) accepts connections and ends them in order; [`Listeners`] binds the two sockets.
//! * `http` reads one request, finds out who asks, and writes the answer or the exception.
//! * `shapes` holds the model's inputs and validates along them.
//! * One file per family of operations: `clusters`, `capacity_providers`, `task_definitions`, `tasks`,
//!   `container_instances`, `attributes`, `state_changes`, `discover`, `tags`, `account_settings`; `operations` is the
//!   list of all, and `unavailable` refuses the rest. `render` writes records as ECS shows them.
//! * `simulate` is `/_simulate/…`, of a simulation only.
//! * `local` is `/coracle/v1/…`: logs, watches and images, not part of the ECS API.
//! * [`Boxes`] is how a hub reaches the same `local` of a box; who carries the bytes is not known here.
//! * `manifest` makes the world what files declare, by the operations.
//!
//! The API decides nothing: it turns texts into ids, submits a [`Command`](crate::plan::Command), and reads the
//! committed world to answer.
//!
//! Current limitations: `docs/api.md` has what becomes of every operation.

mod account_settings;
mod attributes;
mod body;
mod boxes;
mod capacity_providers;
mod clusters;
mod container_instances;
mod discover;
mod documents;
mod error;
mod gate;
mod http;
mod identifiers;
mod input;
mod listen;
mod local;
mod manifest;
mod operations;
mod pagination;
mod render;
mod server;
mod services;
mod shapes;
mod simulate;
mod state_changes;
mod tags;
mod task_definitions;
mod tasks;
mod unavailable;

pub use boxes::{Boxes, ByteStream, Connecting, Unreachable};
pub use documents::Documents;
pub use error::{ApiError, Exception};
pub use gate::{Gate, GateAnswer, GateRefusal, GateRequest};
pub use listen::{ListenError, Listeners};
pub use manifest::apply_directory;
pub use server::{FromHub, Parts, ServeError, serve};

use crate::auth::Keys;
use crate::engine::Handle;
use crate::metadata::Metadata;
use crate::model::fleet::LinkStatus;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};

/// What every request can reach.
#[derive(Debug)]
struct Api {
    engine: Handle,
    keys: Arc<Keys>,
    /// What containers and programs on the box are told; a hub has neither.
    metadata: Option<Arc<Metadata>>,
    /// Of a hub: the way to its boxes.
    boxes: Option<Arc<dyn Boxes>>,
    /// Of a box: how its way to its hub is.
    link: Option<watch::Receiver<LinkStatus>>,
    /// Who comes into the fleet and goes, if there is one.
    gate: Option<Arc<dyn Gate>>,
    /// Of a hub: documents that boxes fetch.
    documents: Option<Arc<dyn Documents>>,
    /// Where TCP is served, if it is.
    address: Option<SocketAddr>,
    /// Becomes true when the server is to end; answers without an end must end then.
    stopping: watch::Receiver<bool>,
    /// One permit for each session in a container.
    sessions: Arc<Semaphore>,
}
