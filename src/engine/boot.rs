//! Tells a reboot of the box from a restart of the agent.
//!
//! The run directory lives in memory. A file in it with the kernel's boot id is written once the agent has taken stock;
//! when it is missing or names another boot, everything that ran before is gone.

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
}
