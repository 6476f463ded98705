//! Tells a reboot of the box from a restart of the agent.
//!
//! The run directory lives in memory. A file in it with the kernel's boot id is written once the agent has taken stock;
//! when it is missing or names another boot, everything that ran before is gone.
//!
//! A file of the state is replaced by one that is written beside it, as `NAME.new` or `NAME.tmp`. A power cut can leave that
//! one there; nobody writes any when the agent starts after a reboot, so that they can go then.

use std::io;
use std::path::{Path, PathBuf};

/// The mark in the run directory.
#[derive(Debug, Clone)]
pub struct BootMark {
    path: PathBuf,
    boot_id: String,
    rebooted: bool,
}

impl BootMark {
    /// Reads the mark of `run_dir`; does not write it.
    ///
    /// # Errors
    /// When the kernel's boot id cannot be read.
    pub fn read(run_dir: &Path) -> io::Result<Self> {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let path = run_dir.join("boot");
        let rebooted = std::fs::read_to_string(&path).ok().as_deref() != Some(boot_id.as_str());
        Ok(Self { path, boot_id, rebooted })
    }

    /// True when the box has started anew since the mark was written.
    #[must_use]
    pub fn rebooted(&self) -> bool {
        self.rebooted
    }

    /// Removes what replacements that the power cut off left in `state_dir`, if the box has started anew: shims that outlive
    /// the agent may be writing otherwise. What cannot be removed harms nobody.
    pub fn sweep(&self, state_dir: &Path) {
        if !self.rebooted {
            return;
        }
        for directory in ["", "store/copies", "logs", "tasks"] {
            let below = directory == "logs" || directory == "tasks";
            sweep(&state_dir.join(directory), below);
        }
    }

    /// Writes the mark: whatever runs from now on belongs to this boot.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self) -> io::Result<()> {
        let new = self.path.with_extension("new");
        std::fs::write(&new, &self.boot_id)?;
        std::fs::rename(&new, &self.path)
    }
}

/// Removes what lies in the directory, and in its own directories if those are `below` it, but no further down: there
/// tasks have what is theirs.
fn sweep(directory: &Path, below: bool) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        let path = entry.path();
        if kind.is_dir() && below {
            sweep(&path, false);
        } else if kind.is_file() && path.extension().is_some_and(|end| end == "new" || end == "tmp")
        {
            match std::fs::remove_file(&path) {
                Ok(()) => tracing::info!(path = %path.display(), "removed what a power cut left"),
                Err(error) => tracing::warn!(%error, path = %path.display(), "cannot remove this"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_run_directory_is_a_reboot_and_a_mark_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mark = BootMark::read(dir.path()).unwrap();
        assert!(mark.rebooted());
        mark.write().unwrap();
        assert!(!BootMark::read(dir.path()).unwrap().rebooted());
        std::fs::write(dir.path().join("boot"), "another boot").unwrap();
        assert!(BootMark::read(dir.path()).unwrap().rebooted());
    }

    #[test]
    fn what_a_power_cut_left_half_written_goes_and_nothing_else() {
        let state = tempfile::tempdir().unwrap();
        let (left, stays) = (
            [
                "secret.key.new",
                "store/copies/last-good.mdb.new",
                "logs/forwarded.new",
                "logs/a/forwarded.new",
                "tasks/a/main.exit.tmp",
            ],
            [
                "secret.key",
                "store/copies/last-good.mdb",
                "logs/a/main.log",
                "tasks/a/main.exit",
                "tasks/a/main/of-the-container.tmp",
                "volumes/a/of-the-container.new",
                "images/tmp/b",
            ],
        );
        for name in left.iter().chain(&stays) {
            let path = state.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        }
        let there = |name: &&str| state.path().join(name).exists();
        let run = tempfile::tempdir().unwrap();
        BootMark::read(run.path()).unwrap().write().unwrap();
        BootMark::read(run.path()).unwrap().sweep(state.path());
        assert!(left.iter().all(there), "a shim may be writing them");
        std::fs::write(run.path().join("boot"), "another boot").unwrap();
        BootMark::read(run.path()).unwrap().sweep(state.path());
        assert!(!left.iter().any(there));
        assert!(stays.iter().all(there));
    }
}
