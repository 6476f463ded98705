//! The LMDB environment: its directory, its lock, its map, its transactions.

use super::error::StoreError;
use super::record::{self, Row};
use super::schema;
use super::table::{self, Table};
use super::{Options, Result, inspect};
use crate::model::fleet::Event;
use crate::plan::{Change, World};
use crate::sys::FileLock;
use heed::types::{Bytes, Str};
use heed::{AnyTls, Database, Env, EnvFlags, EnvOpenOptions, RoTxn, WithoutTls};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use serde_json::Value;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::ops::Bound;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file that LMDB keeps the records in.
pub(super) const DATA: &str = "data.mdb";
const LOCK: &str = "lock.mdb";
const AGENT_LOCK: &str = "agent.lock";
/// Where a new store is made before it is moved into place.
const NEW: &str = "new";

const MAX_READERS: u32 = 1024;

/// How often, and how far apart, a lock that is held is tried again.
const LOCK_ATTEMPTS: u32 = 25;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// One table's database.
pub(super) type Rows<'t> = Database<'t, Str, Bytes>;
/// The databases of all tables, by [`Table::index`].
pub(super) type AllRows<'t> = [Rows<'t>; Table::ALL.len()];

/// Makes `dir`, for its owner only.
pub(super) fn prepare_directory(dir: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(StoreError::io("make", dir))?;
    let mode = fs::metadata(dir).map_err(StoreError::io("look at", dir))?.permissions().mode();
    if mode & 0o777 != 0o700 {
        fs::set_permissions(dir, Permissions::from_mode(0o700))
            .map_err(StoreError::io("make private", dir))?;
    }
    Ok(())
}

/// Makes the entries of `dir` durable.
pub(super) fn sync_directory(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(StoreError::io("sync", dir))
}

/// The right to use the directory; the kernel takes it back when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    _file: FileLock,
}

impl DirectoryLock {
    pub(super) fn take(dir: &Path) -> Result<Self> {
        let path = dir.join(AGENT_LOCK);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(StoreError::io("open", &path))?;
        let file = FileLock::of(file);
        let mut attempts = 0;
        while !file.try_exclusive().map_err(StoreError::io("lock", &path))? {
            if attempts == LOCK_ATTEMPTS {
                let mut text = String::new();
                let holder = match (&*file).take(20).read_to_string(&mut text) {
                    Ok(_) => text.trim().parse().ok(),
                    Err(_) => None,
                };
                return Err(StoreError::InUse { dir: dir.to_owned(), holder });
            }
            // A program that the last holder, who was killed, was about to execute has the lock until it is executed.
            attempts += 1;
            std::thread::sleep(LOCK_PAUSE);
        }
        // Only a courtesy to whoever finds it locked: on a full disk the store must still open.
        if let Err(error) = note_own_id(&file) {
            tracing::debug!(%error, path = %path.display(), "cannot note the process id");
        }
        Ok(Self { _file: file })
    }
}

/// Over what the last holder wrote: a file is not emptied without the file system's journal.
fn note_own_id(file: &File) -> io::Result<()> {
    let text = format!("{}\n", std::process::id());
    file.write_all_at(text.as_bytes(), 0)?;
    let length = text.len() as u64;
    if file.metadata()?.len() == length { Ok(()) } else { file.set_len(length) }
}

/// An open environment with its databases.
#[derive(Debug)]
pub(super) struct Environment {
    path: PathBuf,
    env: Env<WithoutTls>,
    rows: AllRows<'static>,
}

impl Environment {
    /// Opens what is in `dir`, or makes it, and brings it to the current schema. The directory is locked already.
    pub(super) fn open(dir: &Path, options: &Options) -> Result<Self> {
        let path = dir.join(DATA);
        if !path.try_exists().map_err(StoreError::io("look at", &path))? {
            create(dir, options)?;
        }
        inspect::verify(&path)?;
        let env = open_raw(dir, options)?;
        env.clear_stale_readers().map_err(|error| StoreError::lmdb(&path, error))?;
        let rows = schema::bring_up(&env, dir)?;
        Ok(Self { path, env, rows })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn env(&self) -> &Env<WithoutTls> {
        &self.env
    }

    pub(super) fn table(&self, table: Table) -> Rows<'static> {
        self.rows[table.index()]
    }

    pub(super) fn failed(&self, error: heed::Error) -> StoreError {
        StoreError::lmdb(&self.path, error)
    }

    pub(super) fn read_txn(&self) -> Result<RoTxn<'_, WithoutTls>> {
        self.env.read_txn().map_err(|error| self.failed(error))
    }

    pub(super) fn load(&self) -> Result<World> {
        let txn = self.read_txn()?;
        let txn: &RoTxn<'_, AnyTls> = &txn;
        let mut world = World::default();
        for &table in Table::RECORDS {
            for row in self.table(table).iter(txn).map_err(|e| self.failed(e))? {
                let (key, value) = row.map_err(|e| self.failed(e))?;
                if let Some(change) = record::decode(table, key, value)? {
                    world.apply(&change);
                }
            }
        }
        Ok(world)
    }

    pub(super) fn events(&self, offset: u64, at_most: usize) -> Result<Vec<Event>> {
        let txn = self.read_txn()?;
        let txn: &RoTxn<'_, AnyTls> = &txn;
        let from = record::offset_key(offset);
        let rows = self
            .table(Table::Events)
            .range(txn, &(Bound::Included(from.as_str()), Bound::Unbounded))
            .map_err(|e| self.failed(e))?;
        let (mut events, mut size) = (Vec::new(), 0);
        for row in rows {
            let (key, value) = row.map_err(|e| self.failed(e))?;
            size += value.len();
            if size > at_most && !events.is_empty() {
                break;
            }
            if let Some(Change::PutEvent(event)) = record::decode(Table::Events, key, value)? {
                events.push(*event);
            }
        }
        Ok(events)
    }

    pub(super) fn commit(&self, rows: &[Row], feed_capacity: u64) -> Result<u64> {
        let mut txn = self.env.write_txn().map_err(|e| self.failed(e))?;
        let mut sequence = self.last_sequence_in(&txn)?;
        for row in rows {
            let table = self.table(row.table);
            match &row.value {
                Some(value) => table.put(&mut txn, &row.key, value),
                None => table.delete(&mut txn, &row.key).map(drop),
            }
            .map_err(|e| self.failed(e))?;
            sequence += 1;
            self.append_to_feed(&mut txn, sequence, row.table.name(), &row.key)?;
        }
        self.trim_feed(&mut txn, feed_capacity, sequence)?;
        txn.commit().map_err(|e| self.failed(e))?;
        Ok(sequence)
    }

    /// Writes `rows` in the place of all records.
    pub(super) fn replace(&self, rows: &[Row]) -> Result<u64> {
        let mut txn = self.env.write_txn().map_err(|e| self.failed(e))?;
        for &table in Table::RECORDS {
            self.table(table).clear(&mut txn).map_err(|e| self.failed(e))?;
        }
        for row in rows {
            if let Some(value) = &row.value {
                let table = self.table(row.table);
                table.put(&mut txn, &row.key, value).map_err(|e| self.failed(e))?;
            }
        }
        let sequence = self.leap(&mut txn)?;
        txn.commit().map_err(|e| self.failed(e))?;
        Ok(sequence)
    }

    pub(super) fn get_meta(&self, key: &str) -> Result<Option<Value>> {
        let txn = self.read_txn()?;
        let key = table::key(key);
        match self.table(Table::Meta).get(&txn, &key).map_err(|e| self.failed(e))? {
            None => Ok(None),
            Some(bytes) => serde_json::from_slice(bytes).map(Some).map_err(|source| {
                StoreError::Record { table: Table::Meta, key: key.into_owned(), source }
            }),
        }
    }

    pub(super) fn put_meta(&self, key: &str, value: &Value) -> Result<()> {
        let mut txn = self.env.write_txn().map_err(|e| self.failed(e))?;
        let bytes = value.to_string();
        self.table(Table::Meta).put(&mut txn, key, bytes.as_bytes()).map_err(|e| self.failed(e))?;
        txn.commit().map_err(|e| self.failed(e))
    }

    /// Lets the change feed leap ahead, see [`super::feed`].
    pub(super) fn leap_now(&self) -> Result<()> {
        let mut txn = self.env.write_txn().map_err(|e| self.failed(e))?;
        self.leap(&mut txn)?;
        txn.commit().map_err(|e| self.failed(e))
    }

    /// Closes the file and waits until it is.
    pub(super) fn close(self) {
        self.env.prepare_for_closing().wait();
    }

    /// Doubles the map. `&mut` is the proof that no transaction is open: they all borrow the environment.
    pub(super) fn grow(&mut self, limit: usize) -> Result<()> {
        let size = self.env.info().map_size;
        if size >= limit {
            return Err(StoreError::MapFull { path: self.path.clone(), limit });
        }
        let size = whole_pages(size.saturating_mul(2).min(limit));
        // SAFETY: no transaction is open, see above; and this is the only process, the directory is locked.
        #[expect(unsafe_code, reason = "LMDB cannot check that no transaction is open")]
        unsafe { self.env.resize(size) }.map_err(|error| self.failed(error))?;
        tracing::info!(path = %self.path.display(), size, "the store's map has grown");
        Ok(())
    }
}

/// Opens the LMDB environment in `dir`, whose data file has been inspected or does not exist yet.
pub(super) fn open_raw(dir: &Path, options: &Options) -> Result<Env<WithoutTls>> {
    let path = dir.join(DATA);
    reserve_lock_file(&dir.join(LOCK))?;
    let used = fs::metadata(&path).map_or(0, |data| data.len());
    // Room for as much again as there is, so that a store that grew does not open full.
    let wanted = usize::try_from(used.saturating_mul(2)).unwrap_or(usize::MAX);
    let map_size = options.map_size.max(wanted).min(options.map_limit.max(options.map_size));
    let mut open = EnvOpenOptions::new().read_txn_without_tls();
    open.map_size(whole_pages(map_size)).max_readers(MAX_READERS).max_dbs(32);
    if !options.flushes {
        #[expect(
            unsafe_code,
            reason = "LMDB cannot check that nobody needs the disk to be up to date"
        )]
        // SAFETY: a file that a power cut has damaged is found by its inspection, before it is mapped.
        unsafe {
            open.flags(EnvFlags::NO_SYNC);
        }
    }
    // SAFETY: the directory is locked, so nobody else changes the file while it is mapped, and its pages were
    // inspected; the one unsafe flag is looked at above.
    #[expect(unsafe_code, reason = "LMDB maps the file into memory")]
    let env = unsafe { open.open(dir) }.map_err(|error| StoreError::lmdb(&path, error))?;
    close_on_exec(&path)?;
    Ok(env)
}

/// LMDB opens its data file so that programs that are executed inherit it: containers could write to the store.
fn close_on_exec(path: &Path) -> Result<()> {
    const DESCRIPTORS: &str = "/proc/self/fd";
    let own = fs::metadata(path).map_err(StoreError::io("look at", path))?;
    let list = Path::new(DESCRIPTORS);
    for entry in fs::read_dir(list).map_err(StoreError::io("list", list))? {
        let entry = entry.map_err(StoreError::io("list", list))?;
        // Another thread may have closed it since it was listed.
        let Ok(file) = fs::metadata(entry.path()) else { continue };
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(number) = number
            && (file.dev(), file.ino()) == (own.dev(), own.ino())
        {
            fcntl(number, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
                .map_err(|error| StoreError::io("protect", path)(error.into()))?;
        }
    }
    Ok(())
}

fn whole_pages(size: usize) -> usize {
    let page = rustix::param::page_size();
    size.div_ceil(page).max(1).saturating_mul(page)
}

/// Gives the reader table its disk blocks: LMDB writes to it through a map, which on a full disk would be a SIGBUS.
fn reserve_lock_file(path: &Path) -> Result<()> {
    /// LMDB uses 64 bytes per reader and a header of fewer than 1024.
    const SIZE: u64 = MAX_READERS as u64 * 64 + 1024;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(StoreError::io("open", path))?;
    match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, SIZE) {
        // Some file systems cannot preallocate.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) | Ok(()) => Ok(()),
        Err(error) => Err(StoreError::io("allocate", path)(io::Error::from(error))),
    }
}

/// Makes a new store aside and moves it into place, so that an empty or partial file always means damage.
fn create(dir: &Path, options: &Options) -> Result<()> {
    let aside = dir.join(NEW);
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(StoreError::io("remove", &aside)(error));
        }
        _ => {}
    }
    prepare_directory(&aside)?;
    let env = open_raw(&aside, options)?;
    schema::create(&env, &aside.join(DATA))?;
    env.prepare_for_closing().wait();
    let path = dir.join(DATA);
    fs::rename(aside.join(DATA), &path).map_err(StoreError::io("make", &path))?;
    fs::remove_dir_all(&aside).map_err(StoreError::io("remove", &aside))?;
    sync_directory(dir)
}
