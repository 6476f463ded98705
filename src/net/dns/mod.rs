//! A name server for the endpoints of a bridge.
//!
//! ```text
//!  endpoint ── port 53 of the bridge's address ──► rules ──► server ──► directory: a name of ours? ──► answer
//!                                                              └─────► upstream: the box's own servers
//! ```
//!
//! | module | what it is for |
//! | --- | --- |
//! | `message` | reading queries, writing replies |
//! | `desk` | what is done with a query |
//! | `server` | the sockets, over UDP and TCP, and how much of anything there is at once |
//! | `upstream` | the box's own servers, and asking them |
//!
//! It knows nothing of tasks: a [`Directory`] has the names. It keeps nothing and has no timer while nobody asks; what
//! was forwarded is not cached, the box's own servers do that. It listens at a port of its own, to which the network's
//! rules lead, so that a task may publish port 53 of the box and a name server of the box may have it at all addresses.

mod desk;
mod message;
mod server;
mod upstream;

pub use message::{Data, Kind, Record};
pub use server::{CarrierPorts, NameServer, ServerPorts};
pub use upstream::Upstream;

use super::BridgeAddresses;

/// Who has names.
pub trait Directory: Send + Sync + std::fmt::Debug {
    /// What is known of `name`, without a final dot and in any letters, for whoever asks on `bridge`; none when it is for
    /// others to tell. Nobody waits in here.
    fn find(&self, name: &str, kind: Kind, bridge: &BridgeAddresses) -> Option<Found>;
}

/// What a directory knows of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The zone that the name is in, whose negative answers these are.
    pub zone: String,
    /// Whether there is such a name, whatever it has.
    pub exists: bool,
    /// The records asked for.
    pub answers: Vec<Record>,
    /// Records that will be asked for next.
    pub additional: Vec<Record>,
}
