//! Output of containers on disk: `STATE/logs/<task>/<container>.log`.
//!
//! Lines are those of Docker's `json-file` driver, `{"log":…,"stream":…,"time":…}`, so that the tools for those read
//! ours. Every log driver but `none` ends here: a box keeps its own logs whatever forwards them. Files rotate by size
//! to `.1`, `.2`, … The shim writes (`writer`); the agent and the command line read ([`LogDirectory`]).
//!
//! What a hub stores of its boxes' logs ([`StoredLog`]) has the same form. On the box the files themselves are what waits
//! to be sent: `chain` finds a place in them, and `forwarded` keeps how far the hub has them.

mod chain;
mod directory;
mod encode;
mod follow;
mod forwarded;
mod line;
mod options;
mod pieces;
mod stored;
mod watch;
mod writer;

pub use chain::Stretch;
pub use directory::{Beginning, LogDirectory, LogError, LogReader};
pub(crate) use encode::{Encoder, Message};
pub use follow::LogFollower;
pub use forwarded::Forwarded;
pub use line::{LogLine, Stream, Told};
pub use options::LogDefaults;
pub(crate) use options::LogOptions;
pub(crate) use pieces::{Piece, Pieces};
pub use stored::{Arrival, Hole, StoredLog};
pub use watch::LogWatch;
pub(crate) use writer::LogWriter;
