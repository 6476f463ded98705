//! The store: what is acknowledged survives a power cut. LMDB through `heed`; one process, one writer.
//!
//! ```text
//! STATE/store/            0700
//!   data.mdb              the records; always a whole number of committed transactions
//!   lock.mdb              LMDB's reader table, preallocated
//!   agent.lock            held (flock) while an agent uses the directory; holds its process id
//!   copies/last-good.mdb  verified copy, see [`Store::keep_copy`]
//!   copies/schema-N.mdb   verified copy from before the migration away from schema N
//! ```
//!
//! * [`Store::commit`] writes a list of [`Change`]s in **one** transaction and returns once it is on disk: LMDB writes
//!   new pages, `fdatasync`s, then writes the meta page with `O_DSYNC`: two device flushes, whatever the number of changes.
//!   So the engine commits once per round. Neither `NOMETASYNC` nor `MAPASYNC` is ever set, and
//!   `NOSYNC` for a simulation only ([`Options::flushes`]): its state outlives the program, not the power. `WRITEMAP`
//!   saves no flush, and with it a full disk is a SIGBUS and a stray pointer a corrupt store, so it is not set either.
//! * [`Store::load`] gives the stored part of the [`World`].
//! * [`Store::changes_since`] is the change feed: which rows changed after a sequence number, bounded, with a marker
//!   when the reader fell behind.
//! * Each record kind has its own [`Table`]; keys are readable text, values JSON with a `"v"` member. The schema number
//!   is `meta/schema`; see [`schema`] for migrations.
//! * Secrets ([`Store::secret`]) are no part of the world: only who asks for one holds it.
//!
//! Failures: a full disk or a full map fails the commit, changes nothing, and the store goes on as soon as there is room.
//! The map grows by doubling up to a limit. The file is checked page by page, without mapping it, before LMDB maps it
//! ([`inspect`]), so a damaged file is an error that names the remedy. A file that is changed by others *while* it is
//! mapped cannot be met.
//!
//! Everything here blocks; callers on async threads use `spawn_blocking`. An environment must not be used across a
//! fork; the agent never forks without exec, and no executed program inherits a descriptor of the store.

mod copies;
mod environment;
mod error;
mod feed;
pub mod inspect;
mod record;
pub mod schema;
mod sealed;
mod table;

pub use copies::{Restored, restore};
pub use error::StoreError;
pub use feed::{Entry, Feed};
pub use table::Table;

use crate::model::fleet::Event;
use crate::plan::{Change, World};
use environment::{DirectoryLock, Environment};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

/// The result of everything here.
pub type Result<T> = std::result::Result<T, StoreError>;

const MIB: usize = 1024 * 1024;

/// Limits of a store. The defaults are right for an agent; tests make them small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Size of the memory map at first, in bytes; address space, not memory.
    pub map_size: usize,
    /// Size up to which the map doubles when it is full. A file that is larger already still opens.
    pub map_limit: usize,
    /// How many entries of the change feed are kept at least.
    pub feed_capacity: u64,
    /// Whether commits wait for the disk. Without, they outlive the program but not a power cut, after which the store
    /// may be refused as damaged.
    pub flushes: bool,
}

impl Default for Options {
    fn default() -> Self {
        let (map_size, map_limit) = if cfg!(target_pointer_width = "64") {
            (64 * MIB, 4096 * MIB)
        } else {
            (16 * MIB, 512 * MIB)
        };
        Self { map_size, map_limit, feed_capacity: 4096, flushes: true }
    }
}

/// An open store. Clones share it; it closes when the last one is dropped.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    options: Options,
    /// Absent after a failure that LMDB cannot go on from; the next use opens it again.
    environment: RwLock<Option<Environment>>,
    /// The sequence number that the last kept copy holds, once known.
    copied: Mutex<Option<u64>>,
    /// Given back last.
    _lock: DirectoryLock,
}

impl Store {
    /// Opens the store in `dir`, making it if there is none, and migrates it to the current schema.
    pub fn open(dir: &Path, options: Options) -> Result<Self> {
        environment::prepare_directory(dir)?;
        let lock = DirectoryLock::take(dir)?;
        let environment = Environment::open(dir, &options)?;
        Ok(Self {
            shared: Arc::new(Shared {
                dir: dir.to_owned(),
                options,
                environment: RwLock::new(Some(environment)),
                copied: Mutex::new(None),
                _lock: lock,
            }),
        })
    }

    /// The directory it is in.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// Reads every record: the stored part of the world.
    pub fn load(&self) -> Result<World> {
        self.read(Environment::load)
    }

    /// Writes `changes` in one transaction; when this returns `Ok` they are on disk, when it returns an error none is.
    /// The answer is the sequence number of the last change in the feed.
    pub fn commit(&self, changes: &[Change]) -> Result<u64> {
        if changes.is_empty() {
            return self.read(Environment::last_sequence);
        }
        let rows = changes.iter().map(record::encode).collect::<Result<Vec<_>>>()?;
        let capacity = self.shared.options.feed_capacity;
        let mut limit = self.shared.options.map_limit;
        if rows.iter().all(|row| row.value.is_none()) {
            // Even deleting takes new pages first; a full store must be able to get smaller.
            limit = limit.saturating_add(MIB);
        }
        self.write(limit, |environment| environment.commit(&rows, capacity))
    }

    /// As [`Store::commit`], on a store that has no records any more: what there was is gone in the same transaction.
    /// Secrets and `meta` stay. Readers of the feed see a gap.
    pub fn replace(&self, changes: &[Change]) -> Result<u64> {
        let rows = changes.iter().map(record::encode).collect::<Result<Vec<_>>>()?;
        let limit = self.shared.options.map_limit.saturating_add(MIB);
        self.write(limit, |environment| environment.replace(&rows))
    }

    /// The events from `offset` on, oldest first: as many as have `at_most` bytes together, and one at least.
    pub fn events(&self, offset: u64, at_most: usize) -> Result<Vec<Event>> {
        self.read(|environment| environment.events(offset, at_most))
    }

    /// The rows that changed after `sequence`, oldest first, at most `limit` of them.
    pub fn changes_since(&self, sequence: u64, limit: usize) -> Result<Feed> {
        self.read(|environment| environment.changes_since(sequence, limit))
    }

    /// A value of the `meta` table.
    pub fn get_meta(&self, key: &str) -> Result<Option<Value>> {
        self.read(|environment| environment.get_meta(key))
    }

    /// Writes a value of the `meta` table, durably. `schema` is the store's own.
    pub fn put_meta(&self, key: &str, value: &Value) -> Result<()> {
        if key == schema::KEY {
            return Err(StoreError::ReservedKey(key.to_owned()));
        }
        let key = table::key(key);
        let limit = self.shared.options.map_limit;
        self.write(limit, |environment| environment.put_meta(&key, value))
    }

    /// Writes a compacted copy to `path` (which must not exist), checks it page by page, and syncs it.
    pub fn copy_to(&self, path: &Path) -> Result<()> {
        self.read(|environment| copies::copy(environment, path))
    }

    /// Keeps a verified copy as `copies/last-good.mdb`, which [`restore`] goes back to. Does nothing and answers
    /// `false` when nothing changed since the last one that this process kept.
    pub fn keep_copy(&self) -> Result<bool> {
        let mut copied = self.shared.copied.lock().unwrap_or_else(PoisonError::into_inner);
        let sequence = self.read(Environment::last_sequence)?;
        if *copied == Some(sequence) {
            return Ok(false);
        }
        self.read(|environment| copies::keep_last_good(environment, &self.shared.dir))?;
        *copied = Some(sequence);
        Ok(true)
    }

    fn read<T>(&self, f: impl FnOnce(&Environment) -> Result<T>) -> Result<T> {
        let mut guard = self.guard();
        while guard.is_none() {
            drop(guard);
            self.reopen()?;
            guard = self.guard();
        }
        guard.as_ref().map_or_else(|| Err(StoreError::Closed(self.shared.dir.clone())), f)
    }

    fn write<T>(&self, limit: usize, f: impl Fn(&Environment) -> Result<T>) -> Result<T> {
        loop {
            match self.read(&f) {
                Err(StoreError::MapFull { .. }) => self.grow(limit)?,
                Err(error) => {
                    if error.ends_environment() {
                        self.close();
                    }
                    return Err(error);
                }
                Ok(done) => return Ok(done),
            }
        }
    }

    fn guard(&self) -> RwLockReadGuard<'_, Option<Environment>> {
        self.shared.environment.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn grow(&self, limit: usize) -> Result<()> {
        let mut guard = self.shared.environment.write().unwrap_or_else(PoisonError::into_inner);
        let Some(environment) = guard.as_mut() else { return Ok(()) };
        let grown = environment.grow(limit);
        if !matches!(grown, Ok(()) | Err(StoreError::MapFull { .. })) {
            // LMDB gave up the old map before it failed to get a larger one.
            *guard = None;
        }
        grown
    }

    fn close(&self) {
        *self.shared.environment.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn reopen(&self) -> Result<()> {
        let mut guard = self.shared.environment.write().unwrap_or_else(PoisonError::into_inner);
        if guard.is_none() {
            *guard = Some(Environment::open(&self.shared.dir, &self.shared.options)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
