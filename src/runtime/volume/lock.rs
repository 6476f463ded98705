//! A lock on a volume, held by an open file: the kernel gives it back when its holder dies.

use crate::sys::FileLock;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The lock; given back when dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: FileLock,
}

impl Lock {
    /// Waits for the lock at `path`.
    pub(super) fn wait(path: &Path) -> io::Result<Self> {
        loop {
            if let Some(lock) = Self::take(path, |file| file.exclusive().map(|()| true))? {
                return Ok(lock);
            }
        }
    }

    /// Takes the lock if it is free.
    pub(super) fn attempt(path: &Path) -> io::Result<Option<Self>> {
        Self::take(path, FileLock::try_exclusive)
    }

    fn take(path: &Path, lock: impl Fn(&FileLock) -> io::Result<bool>) -> io::Result<Option<Self>> {
        let file =
            OpenOptions::new().write(true).create(true).mode(0o600).truncate(false).open(path)?;
        let file = FileLock::of(file);
        if !lock(&file)? {
            return Ok(None);
        }
        // Whoever removed the volume meanwhile has taken the file away: another one is the lock now.
        let own = file.metadata()?.ino();
        match path.metadata() {
            Ok(now) if now.ino() == own => Ok(Some(Self { _file: file })),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_at_a_time_and_a_removed_file_is_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::wait(&path).unwrap();
        assert!(Lock::attempt(&path).unwrap().is_none());
        std::fs::remove_file(&path).unwrap();
        // The file is another one now.
        let other = Lock::attempt(&path).unwrap().expect("a new file is a new lock");
        drop(held);
        assert!(Lock::attempt(&path).unwrap().is_none());
        drop(other);
        assert!(Lock::attempt(&path).unwrap().is_some());
    }
}
