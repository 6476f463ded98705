//! Why a volume is not there.

use crate::model::TaskId;
use std::io;
use std::path::PathBuf;

/// What went wrong with a volume.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// No mount point may name it.
    #[error("volume {0}: the task definition has no such volume")]
    Undefined(String),
    /// A shared volume that nothing provides.
    #[error(
        "volume {0}: there is no such shared volume and autoprovision is off: make it with `coracle volume create {0}`, or set autoprovision to true"
    )]
    Missing(String),
    /// One by this name is not on the box.
    #[error("there is no volume {0}")]
    Unknown(String),
    /// A name that no volume can have.
    #[error("{0:?} is not a name for a volume: up to 255 letters, digits, - and _")]
    Name(String),
    /// A kind or an option that is not honoured.
    #[error("volume {volume}: {reason}")]
    Unsupported {
        /// The volume.
        volume: String,
        /// By name.
        reason: String,
    },
    /// One by this name is there, and is another.
    #[error("volume {volume}: it exists with other {what}: {remedy}")]
    Differs {
        /// The volume.
        volume: String,
        /// `driverOpts` or `labels`.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// Somebody uses it.
    #[error("volume {volume} is in use by task {task}")]
    InUse {
        /// The volume.
        volume: String,
        /// One of those who do.
        task: TaskId,
    },
    /// A task is being started with it.
    #[error("volume {0} is just being made ready for a task: try again")]
    Busy(String),
    /// The kernel lacks its file system.
    #[error(
        "volume {volume}: this kernel has no file system {file_system}: load its module (modprobe {file_system}) or use a kernel that has it"
    )]
    NoFileSystem {
        /// The volume.
        volume: String,
        /// As in `type`.
        file_system: String,
    },
    /// A host name in its options.
    #[error("volume {volume}: cannot find the address of {host}: {source}")]
    Address {
        /// The volume.
        volume: String,
        /// The name.
        host: String,
        /// The cause.
        source: io::Error,
    },
    /// The kernel or the server refused.
    #[error("volume {volume}: cannot mount {device}: {source}")]
    Mount {
        /// The volume.
        volume: String,
        /// What was to be mounted.
        device: String,
        /// The cause.
        source: io::Error,
    },
    /// The image's content could not be copied into it.
    #[error("volume {volume}: cannot copy {path} of the image into it: {source}")]
    Populate {
        /// The volume.
        volume: String,
        /// In the container.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Mount points that cannot be.
    #[error("containerPath {0} is used by two mounts of the container")]
    Twice(PathBuf),
    /// A mount point outside of what a container may cover.
    #[error("containerPath {0:?} must be absolute, below / and without ..")]
    Target(PathBuf),
    /// The image has something else there.
    #[error("containerPath {path} cannot be made a directory: {source}")]
    Place {
        /// In the container.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file or directory.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Handing a volume on between mount namespaces.
    #[error("volume {volume}: cannot share it between tasks: {source}")]
    Share {
        /// The volume.
        volume: String,
        /// The cause.
        source: io::Error,
    },
}

/// Names the file in an error.
pub(super) fn file(path: &std::path::Path) -> impl FnOnce(io::Error) -> VolumeError {
    let path = path.to_owned();
    move |source| VolumeError::File { path, source }
}
