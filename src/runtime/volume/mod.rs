//! Volumes: what a container's mount points are made of.
//!
//! | volume | where it is | ends |
//! | --- | --- | --- |
//! | `host` with a `sourcePath` | there | never; made as a directory if it is missing |
//! | `host` without, Docker volume of scope `task` | `STATE/tasks/<task>/volumes.d/<name>` | with the task |
//! | Docker volume of scope `shared` | `STATE/volumes/<name>` ([`Volumes`]) | when it is removed |
//! | `tmpfs` of a container | in memory | with the container |
//!
//! A Docker volume of type tmpfs, nfs or cifs is mounted over its directory ([`mounted`]), in the mount namespace of the
//! shim of each task that uses it: never on the host, so there is nothing to unmount after a crash, and a file server
//! that hangs holds up nobody but the creator of that container.
//!
//! ```text
//!  creator:  provide ──► (private mount namespace, root file system) ──► populate ──► stage ──► libcontainer binds
//!            directories,                                                 image's       clones without
//!            file systems                                                 content       propagation
//! ```
//!
//! It knows nothing of the control plane: which tasks are planned to use a volume the caller must know.

mod catalog;
mod copy;
mod error;
mod holder;
mod late;
mod lock;
mod mounted;
mod populate;
mod provide;
mod stage;

pub use catalog::{SharedVolume, Volumes};
pub use error::VolumeError;
pub(crate) use late::Late;
pub(crate) use populate::populate;
pub(crate) use provide::{needs_namespace, provide};
pub(crate) use stage::{Staged, stage};
