//! Downloads that are not finished: `partial/<hex digest>`, kept over restarts and power cuts.
//!
//! Whoever writes one holds its `flock`, so two processes never write the same. What a download finds there it reads
//! again and hashes, and goes on after it. A power cut may have torn a page of that: the digest tells in the end, and the
//! blob is then brought once more from its first byte. What is written is synced from time to time, seldom enough that
//! the file system's own records of it do not count.

use super::{Layout, LayoutError, sync_directory};
use crate::image::digest::{Digest, Hasher};
use crate::sys::{self, FileLock};
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, fstat, futimens, stat};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A power cut costs no more of a download than this.
const SYNC_EVERY: u64 = 16 << 20;
/// Nobody has asked for it in so long: it goes.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(7 * 24);
/// A time before this one was taken from a clock that was not set: 1 January 2024.
const CLOCK_WAS_SET: i64 = 1_704_067_200;

/// A blob that is being downloaded.
#[derive(Debug)]
pub struct Partial {
    file: FileLock,
    path: PathBuf,
    hasher: Hasher,
    written: u64,
    synced: u64,
    resumed: u64,
    digest: Digest,
    size: u64,
    /// Another process downloads the same blob: this file is of this process alone, and goes with it.
    private: bool,
}

/// A download that stands in `partial/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// Of which blob.
    pub digest: Digest,
    /// Bytes that are here.
    pub size: u64,
    /// How long nobody has written it; none when the clock cannot tell.
    pub age: Option<Duration>,
}

impl Layout {
    /// Begins, or goes on with, the download of a blob.
    pub fn partial(&self, digest: Digest, size: u64) -> Result<Partial, LayoutError> {
        let named = self.partials().join(digest.hex());
        let (mut file, path, private) = if let Some(file) = lock(&named)? {
            (file, named, false)
        } else {
            let path = self.temporary();
            let file = open(&path).map_err(|e| LayoutError::io("create", &path, e))?;
            (FileLock::of(file), path, true)
        };
        let mut hasher = Hasher::new();
        let resumed = if let Ok(resumed) = again(&mut file, &mut hasher, size) {
            resumed
        } else {
            // More than there can be, or a place that the disk cannot read any more.
            hasher = Hasher::new();
            empty(&mut file).map_err(|e| LayoutError::io("truncate", &path, e))?;
            0
        };
        let (written, synced) = (resumed, resumed);
        Ok(Partial { file, path, hasher, written, synced, resumed, digest, size, private })
    }

    /// Makes the names of the blobs last that were downloaded: before an image's own name does.
    pub fn settle(&self) -> Result<(), LayoutError> {
        sync_directory(&self.blobs())
    }

    /// The downloads that were begun and not finished.
    pub fn unfinished(&self) -> Result<Vec<Unfinished>, LayoutError> {
        use std::os::unix::fs::MetadataExt;
        let directory = self.partials();
        let failed = |e| LayoutError::io("read", &directory, e);
        let mut list = Vec::new();
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let Some(digest) = name.to_str().and_then(Digest::from_hex) else { continue };
            // It may just have become a blob.
            let Ok(found) = entry.metadata() else { continue };
            let age = age(found.mtime());
            list.push(Unfinished { digest, size: found.len(), age });
        }
        Ok(list)
    }

    /// Removes unfinished downloads that nobody writes now, all or those that nobody asked for in a week; returns how
    /// many bytes that freed.
    pub fn drop_unfinished(&self, all: bool) -> Result<u64, LayoutError> {
        let mut freed = 0;
        for unfinished in self.unfinished()? {
            let path = self.partials().join(unfinished.digest.hex());
            let forgotten = unfinished.age.is_some_and(|age| age >= FORGOTTEN_AFTER);
            if !all && !forgotten {
                if unfinished.age.is_none() {
                    // From now on it can be told.
                    let _ = File::open(&path).map(|file| touch(&file));
                }
                continue;
            }
            // Who has the lock writes; who has not cannot have begun before the file is gone.
            let Ok(file) = File::open(&path).map(FileLock::of) else { continue };
            if !file.try_exclusive().unwrap_or(false) || !is_still(&file, &path) {
                continue;
            }
            fs::remove_file(&path).map_err(|e| LayoutError::io("remove", &path, e))?;
            freed += unfinished.size;
        }
        Ok(freed)
    }

    fn partials(&self) -> PathBuf {
        self.root.join("partial")
    }
}

impl Partial {
    /// For whoever reads along, from the first byte.
    pub fn reader(&self) -> Result<File, LayoutError> {
        // Not a duplicate: that would share the lock.
        File::open(&self.path).map_err(|e| LayoutError::io("open", &self.path, e))
    }

    /// Bytes that are here.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Bytes of it that were here when it was opened; none after a restart.
    pub fn resumed(&self) -> u64 {
        self.resumed
    }

    /// Appends bytes; more than the promised size is refused at once.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), LayoutError> {
        let actual = self.written + bytes.len() as u64;
        if actual > self.size {
            return Err(LayoutError::Size { digest: self.digest, expected: self.size, actual });
        }
        self.file.write_all(bytes).map_err(|e| LayoutError::io("write", &self.path, e))?;
        self.hasher.update(bytes);
        self.written = actual;
        if !self.private && self.written - self.synced >= SYNC_EVERY && self.written < self.size {
            if self.synced == 0
                && let Some(directory) = self.path.parent()
            {
                sync_directory(directory)?;
            }
            self.file.sync_data().map_err(|e| LayoutError::io("sync", &self.path, e))?;
            self.synced = self.written;
        }
        Ok(())
    }

    /// Throws away what is here.
    pub fn restart(&mut self) -> Result<(), LayoutError> {
        empty(&mut self.file).map_err(|e| LayoutError::io("truncate", &self.path, e))?;
        self.hasher = Hasher::new();
        (self.written, self.synced, self.resumed) = (0, 0, 0);
        Ok(())
    }

    /// Verifies, syncs and names the blob. After an error it can be restarted, or discarded.
    pub fn commit(&mut self, layout: &Layout) -> Result<(), LayoutError> {
        if self.written != self.size {
            return Err(LayoutError::Size {
                digest: self.digest,
                expected: self.size,
                actual: self.written,
            });
        }
        let actual = self.hasher.clone().finish();
        if actual != self.digest {
            return Err(LayoutError::Digest { expected: self.digest, actual });
        }
        self.file.sync_all().map_err(|e| LayoutError::io("sync", &self.path, e))?;
        let path = layout.path(&self.digest);
        // A power cut may take the name away again, not the bytes: `settle` makes the names of all blobs last at once.
        fs::rename(&self.path, &path).map_err(|e| LayoutError::io("rename to", &path, e))
    }

    /// Removes what is here, as nothing of it is of use.
    pub fn discard(self) -> Result<(), LayoutError> {
        fs::remove_file(&self.path).map_err(|e| LayoutError::io("remove", &self.path, e))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.private {
            // After a commit the path is gone; `open` clears what stays.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Opens the file and takes its lock; `None` when another process has it.
fn lock(path: &Path) -> Result<Option<FileLock>, LayoutError> {
    loop {
        let file = open(path).map_err(|e| LayoutError::io("create", path, e))?;
        let file = FileLock::of(file);
        if !file.try_exclusive().map_err(|e| LayoutError::io("lock", path, e))? {
            return Ok(None);
        }
        // The one who had it may have finished the blob, or removed it, between `open` and `flock`.
        if is_still(&file, path) {
            touch(&file);
            return Ok(Some(file));
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).open(path)
}

/// True when the path leads to this file.
fn is_still(file: &File, path: &Path) -> bool {
    match (fstat(file), stat(path)) {
        (Ok(open), Ok(there)) => (open.st_dev, open.st_ino) == (there.st_dev, there.st_ino),
        _ => false,
    }
}

/// Somebody has asked for it now.
fn touch(file: &File) {
    let at = |nsec| Timespec { tv_sec: 0, tv_nsec: nsec };
    let now = Timestamps { last_access: at(UTIME_OMIT), last_modification: at(UTIME_NOW) };
    // Only tells how old it is.
    let _ = futimens(file, &now);
}

/// How long ago that was, if both clocks can be believed.
fn age(modified: i64) -> Option<Duration> {
    let now = sys::now().millis() / 1000;
    if modified < CLOCK_WAS_SET {
        return None;
    }
    u64::try_from(now - modified).ok().map(Duration::from_secs)
}

/// Reads what is there and leaves the file at its end.
fn again(file: &mut File, hasher: &mut Hasher, size: u64) -> io::Result<u64> {
    let length = file.metadata()?.len();
    if length > size {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    if length == 0 {
        return Ok(0);
    }
    let mut buffer = vec![0; 128 << 10];
    let mut read = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(&buffer[..count]);
                read += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    file.seek(SeekFrom::Start(read))?;
    Ok(read)
}

fn empty(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()
}

#[cfg(test)]
mod tests;
