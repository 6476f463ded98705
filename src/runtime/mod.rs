//! Containers: a task's shim, what the kernel is asked for, logs.
//!
//! [`Runtime`] is the asynchronous side, used by the engine; it never forks and never calls libcontainer. Each task
//! has one [`shim`], a small process that outlives the agent. See there for how a container comes to be.
//!
//! | part | what it is for |
//! | --- | --- |
//! | `handle`, `link`, `resources` | the agent's side: start, signal, probe, scan, release |
//! | `session`, `terminal` | commands in running containers, and terminals |
//! | [`shim`] | the task's parent process, its creator, and who else enters a container |
//! | `spec` | from a container definition to limits, mounts, user, privileges |
//! | `cgroup`, `seccomp`, `capability` | the kernel's fences, which libcontainer leaves to us |
//! | `volume` | what mount points are made of; the volumes that tasks share |
//! | [`logs`] | output on disk, and reading it |
//! | `admission` | the box's policy, and what its kernel cannot do |
//! | `seal` | the handle that shims are executed from (CVE-2019-5736) |
//!
//! It does not pull images, plan or restart; it knows nothing of the store.

mod admission;
mod capability;
mod cgroup;
mod error;
mod event;
mod handle;
mod init;
mod kernel;
mod launch;
mod layout;
mod link;
pub mod logs;
mod mounted;
mod network;
mod preflight;
mod process;
mod processes;
mod protocol;
mod record;
mod resources;
mod seal;
mod seccomp;
mod session;
pub mod shim;
mod socket;
mod spec;
mod terminal;
mod usage;
mod volume;

pub use cgroup::CgroupError;
pub use error::{RuntimeError, StartError};
pub use event::{Event, Found, FoundContainer};
pub use handle::{Runtime, RuntimeConfig, Signal};
pub use launch::{ImageSettings, Launch, SecretFile, hostname};
pub use logs::LogDefaults;
pub use network::{FoundNetwork, LaunchNetwork, NetworkNamespace, NetworkScope};
pub use preflight::PreflightError;
pub use processes::Process;
pub use protocol::{ExecCommand, RunState};
pub use record::Exit;
pub use session::{
    Session, SessionEnd, SessionError, SessionSignals, SessionStream, SessionWaiter,
};
pub use usage::{BlockUsage, CpuUsage, MemoryUsage, NetworkUsage, PidsUsage, Traffic, Usage};
pub use volume::{SharedVolume, VolumeError, Volumes};
