//! How full the disk is, and what takes how much of it.

use crate::image::layout::LayoutError;
use rustix::fs::statvfs;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The file system that the store is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Bytes there are, without what is reserved.
    pub size: u64,
    /// Bytes that are free.
    pub free: u64,
    /// Percent in use, of bytes or of inodes, whichever is more.
    pub fill: u8,
}

impl Disk {
    /// Looks at the file system of `path`.
    pub fn of(path: &Path) -> Result<Self, LayoutError> {
        let found = statvfs(path).map_err(|e| LayoutError::io("stat", path, e))?;
        // As `df` counts: what is reserved for root is neither used nor free.
        let used = found.f_blocks.saturating_sub(found.f_bfree);
        let size = used.saturating_add(found.f_bavail);
        let inodes_used = found.f_files.saturating_sub(found.f_ffree);
        let inodes = inodes_used.saturating_add(found.f_favail);
        Ok(Self {
            size: size.saturating_mul(found.f_frsize),
            free: found.f_bavail.saturating_mul(found.f_frsize),
            fill: percent(used, size).max(percent(inodes_used, inodes)),
        })
    }
}

/// What is allocated under `path`, each file once; what cannot be looked at counts nothing.
pub fn allocated(path: &Path) -> u64 {
    let (mut bytes, mut linked) = (0, BTreeSet::new());
    let mut pending: Vec<PathBuf> = vec![path.to_owned()];
    while let Some(path) = pending.pop() {
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        if found.is_dir() {
            let entries = fs::read_dir(&path).into_iter().flatten();
            pending.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
        } else if found.nlink() > 1 && !linked.insert(found.ino()) {
            continue;
        }
        bytes += found.blocks() * 512;
    }
    bytes
}

/// Rounded up; nothing of nothing is nothing.
fn percent(part: u64, whole: u64) -> u8 {
    let part = u128::from(part) * 100;
    let percent = if whole == 0 { 0 } else { part.div_ceil(u128::from(whole)) };
    u8::try_from(percent.min(100)).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_are_rounded_up() {
        let all = [percent(0, 0), percent(1, 1000), percent(85, 100), percent(u64::MAX, u64::MAX)];
        assert_eq!(all, [0, 1, 85, 100]);
        let disk = Disk::of(Path::new("/")).unwrap();
        assert!(disk.free <= disk.size && disk.fill <= 100, "{disk:?}");
    }
}
