//! Exit records that the disk did not take. The shim holds them, tells whoever asks, and tries again until there is room.

use crate::runtime::record::{self, Exit};
use crate::sys;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(2);

/// The records that are not on disk yet; at most one for each container.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    exits: Vec<(PathBuf, Exit)>,
    /// When to try again, as time since boot.
    next: Duration,
}

impl Unwritten {
    /// Writes the record, now or when there is room for it.
    pub(super) fn write(&mut self, path: &Path, exit: &Exit) {
        // An older run's record must not overwrite this one later.
        self.exits.retain(|(other, _)| other != path);
        if store(path, exit).is_err() {
            self.exits.push((path.to_owned(), exit.clone()));
            self.next = sys::uptime() + PAUSE;
        }
    }

    /// Tries again when it is time.
    pub(super) fn retry(&mut self) {
        let now = sys::uptime();
        if self.exits.is_empty() || now < self.next {
            return;
        }
        self.exits.retain(|(path, exit)| store(path, exit).is_err());
        self.next = now + PAUSE;
    }

    /// How long until [`Unwritten::retry`] has something to do.
    pub(super) fn wait(&self) -> Option<Duration> {
        (!self.exits.is_empty()).then(|| self.next.saturating_sub(sys::uptime()))
    }
}

/// A task that was removed meanwhile has no directory any more, and nobody to read the record.
fn store(path: &Path, exit: &Exit) -> io::Result<()> {
    match record::write(path, exit) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RuntimeId, Timestamp};
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

    fn exit(code: i32) -> Exit {
        Exit {
            runtime_id: RuntimeId::new("t-1").unwrap(),
            exit_code: Some(code),
            out_of_memory: false,
            finished_at: Timestamp(1),
        }
    }

    #[test]
    fn a_record_that_found_no_room_is_written_when_there_is_some() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: must run as root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), c"size=64k").unwrap();
        let (path, filler) = (dir.path().join("web.exit"), dir.path().join("filler"));
        let full = std::fs::write(&filler, vec![0; 1 << 20]);
        let mut unwritten = Unwritten::default();
        unwritten.write(&path, &exit(1));
        unwritten.write(&path, &exit(2));
        let held = unwritten.exits.len();
        unwritten.next = Duration::ZERO;
        unwritten.retry();
        let still_held = unwritten.wait().is_some();
        std::fs::remove_file(&filler).unwrap();
        unwritten.next = Duration::ZERO;
        unwritten.retry();
        let found = record::read::<Exit>(&path);
        unmount(dir.path(), UnmountFlags::DETACH).unwrap();
        assert!(full.is_err());
        assert_eq!(held, 1);
        assert!(still_held);
        assert_eq!(found.unwrap(), Some(exit(2)));
        assert_eq!(unwritten.wait(), None);
    }
}
