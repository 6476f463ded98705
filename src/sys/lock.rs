//! Locks on files (`flock(2)`), given back when dropped or when their holder dies, however it dies.
//!
//! Closing a file gives its lock back only when no other process has a copy of the descriptor, and a child between
//! `fork` and `exec` has a copy of each. Therefore a lock is given back by name: what nobody holds is found free at once.

use std::fs::{File, TryLockError};
use std::io;
use std::ops::{Deref, DerefMut};

/// An open file that may be locked as long as this is there.
#[derive(Debug)]
pub struct FileLock(File);

impl FileLock {
    /// Of a file on which nothing is locked yet.
    pub fn of(file: File) -> Self {
        Self(file)
    }

    /// Waits until this is the only holder.
    pub fn exclusive(&self) -> io::Result<()> {
        uninterrupted(|| self.0.lock())
    }

    /// False when another holder is in the way. A lock that was shared before may be lost in the attempt.
    pub fn try_exclusive(&self) -> io::Result<bool> {
        match self.0.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Waits until nobody holds it alone.
    pub fn shared(&self) -> io::Result<()> {
        uninterrupted(|| self.0.lock_shared())
    }
}

fn uninterrupted(lock: impl Fn() -> io::Result<()>) -> io::Result<()> {
    loop {
        match lock() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

impl Deref for FileLock {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl DerefMut for FileLock {
    fn deref_mut(&mut self) -> &mut File {
        &mut self.0
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // It fails only of a descriptor that is none.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_alone_or_several_and_a_copy_elsewhere_holds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let open = || FileLock::of(File::create(dir.path().join("lock")).unwrap());
        let (first, second) = (open(), open());
        assert!(first.try_exclusive().unwrap());
        assert!(!second.try_exclusive().unwrap());
        // What a child has that has not been executed yet.
        let copy = first.try_clone().unwrap();
        drop(first);
        assert!(second.try_exclusive().unwrap());
        second.shared().unwrap();
        let third = open();
        third.shared().unwrap();
        assert!(!third.try_exclusive().unwrap());
        drop(second);
        third.exclusive().unwrap();
        drop(copy);
        assert!(!open().try_exclusive().unwrap());
    }
}
