//! Output of containers on disk: `STATE/logs/<task>/<container>.log`.
//!
//! Lines are those of Docker's `json-file` driver, `{"log":…,"stream":…,"time":…}`, so that the tools for those read
//! ours. Every log driver but `none` ends here: a box keeps its own logs whatever forwards them. Files rotate by size
//! to `.1`, `.2`, … The shim writes (`writer`); the agent and the command line read ([`LogDirectory`]).

mod directory;
mod encode;
mod follow;
mod line;
mod options;
mod pieces;
mod writer;

pub use directory::{Beginning, LogDirectory, LogError, LogReader};
pub(crate) use encode::{Encoder, Message};
pub use follow::LogFollower;
pub use line::{LogLine, Stream};
pub use options::LogDefaults;
pub(crate) use options::LogOptions;
pub(crate) use pieces::{Piece, Pieces};
pub(crate) use writer::LogWriter;
