//! What can go wrong, in words for the person at the box.

use super::table::Table;
use heed::MdbError;
use rustix::io::Errno;
use std::io;
use std::path::{Path, PathBuf};

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds the directory.
    #[error("the store {dir} is in use by another agent{}", holder.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The process that holds it, as far as it said.
        holder: Option<u32>,
    },
    /// The file is damaged.
    #[error("the store {path} is damaged: {damage}; {remedy}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        damage: String,
        /// What to do.
        remedy: String,
    },
    /// The file was written by a newer version.
    #[error(
        "the store {path} has schema {found}, this version knows up to {known}; install the newer version again"
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its schema number.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// No room on the file system; nothing was changed.
    #[error(
        "no space is left on the disk for the store {path}; free some, nothing acknowledged is lost"
    )]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// As the system said.
        #[source]
        source: io::Error,
    },
    /// The map cannot grow any further; nothing was changed.
    #[error("the store {path} is full: it has reached its limit of {limit} bytes")]
    MapFull {
        /// The file.
        path: PathBuf,
        /// Its size limit.
        limit: usize,
    },
    /// The file system takes no writes; nothing was changed.
    #[error("the store {path} is on a read-only file system; mount it read-write")]
    ReadOnly {
        /// The file.
        path: PathBuf,
        /// As the system said.
        #[source]
        source: io::Error,
    },
    /// Another failure of the file system.
    #[error("cannot {verb} {path}: {source}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// As the system said.
        source: io::Error,
    },
    /// Another failure of LMDB.
    #[error("the store {path} failed: {source}")]
    Lmdb {
        /// The file.
        path: PathBuf,
        /// As LMDB said.
        source: heed::Error,
    },
    /// A row is not what its table holds.
    #[error("row {table}/{key} of the store cannot be read: {source}")]
    Record {
        /// The table.
        table: Table,
        /// The row.
        key: String,
        /// What is wrong with its JSON.
        source: serde_json::Error,
    },
    /// A row was written in a format that this version does not know.
    #[error("row {table}/{key} of the store has format {found}, this version knows {known}")]
    RecordVersion {
        /// The table.
        table: Table,
        /// The row.
        key: String,
        /// Its `v`.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// A record cannot be written as JSON.
    #[error("a record for {table}/{key} cannot be written: {source}")]
    Unwritable {
        /// The table.
        table: Table,
        /// The row.
        key: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A meta key that only the store itself writes.
    #[error("meta key {0:?} is the store's own")]
    ReservedKey(String),
    /// There is nothing to restore from.
    #[error("there is no verified copy at {0}")]
    NoCopy(PathBuf),
    /// Somebody commits faster than a reader from outside can follow.
    #[error("the store {0} changes too fast to be read while it is in use")]
    Changing(PathBuf),
    /// The environment was closed and another thread failed to open it again.
    #[error("the store {0} is closed after a failure")]
    Closed(PathBuf),
}

impl StoreError {
    /// A function that turns an I/O error on `path` into one of these.
    pub(super) fn io(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::from_io(verb, path, source)
    }

    fn from_io(verb: &'static str, path: PathBuf, source: io::Error) -> Self {
        match source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOSPC | Errno::DQUOT) => Self::DiskFull { path, source },
            // LMDB reports a short write as EIO.
            Some(Errno::IO) if is_full(&path) => Self::DiskFull { path, source },
            Some(Errno::ROFS) => Self::ReadOnly { path, source },
            _ => Self::Io { verb, path, source },
        }
    }

    /// A function that turns an LMDB error on `path` into one of these.
    pub(super) fn lmdb(path: &Path, source: heed::Error) -> Self {
        let path = path.to_owned();
        match source {
            heed::Error::Io(source) => Self::from_io("use", path, source),
            heed::Error::Mdb(MdbError::MapFull) => Self::MapFull { path, limit: 0 },
            heed::Error::Mdb(
                error @ (MdbError::Corrupted
                | MdbError::PageNotFound
                | MdbError::Invalid
                | MdbError::VersionMismatch),
            ) => Self::corrupt(&path, error.to_string()),
            source => Self::Lmdb { path, source },
        }
    }

    /// `path` is damaged; the remedy depends on whether there is a copy.
    pub(super) fn corrupt(path: &Path, damage: impl Into<String>) -> Self {
        Self::Corrupt {
            path: path.to_owned(),
            damage: damage.into(),
            remedy: super::copies::remedy(path),
        }
    }

    /// True when LMDB may refuse to go on with the environment it happened in.
    pub(super) fn ends_environment(&self) -> bool {
        matches!(
            self,
            Self::DiskFull { .. } | Self::ReadOnly { .. } | Self::Io { .. } | Self::Lmdb { .. }
        )
    }
}

fn is_full(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|fs| fs.f_bavail.saturating_mul(fs.f_frsize) < 64 * 1024)
}
