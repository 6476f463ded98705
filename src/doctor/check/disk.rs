//! How full the disk is.

use super::Check;
use crate::doctor::finding::Finding;
use std::path::Path;

pub(super) const CHECK: Check = Check::new(
    "disk",
    "The disk of the state directory has room, in bytes and in inodes. On a full disk running tasks go on; nothing new starts.",
    "`coracle image prune --all`, `journalctl --vacuum-size=50M`, and see what takes it: `du -xhd 3 /`.",
    |subject| {
        let high = subject.config().map_or(85, |config| config.image_cleanup.disk_high);
        match Room::of(subject.state_dir()) {
            Ok(room) => judge(&room, high),
            Err(error) => Finding::skipped(format!("the disk cannot be looked at: {error}")),
        }
    },
);

/// MiB: what an agent writes of its own, and some.
const LEAST: u64 = 64;

struct Room {
    free_mib: u64,
    /// Percent of bytes in use, as `df` counts.
    bytes: u64,
    /// The same of inodes; none where they are made as needed.
    inodes: Option<u64>,
}

impl Room {
    fn of(path: &Path) -> std::io::Result<Self> {
        // A directory that is yet to be made comes to be on the disk of the one above it.
        let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let found = rustix::fs::statvfs(there)?;
        let used = found.f_blocks.saturating_sub(found.f_bfree);
        let inodes_used = found.f_files.saturating_sub(found.f_ffree);
        Ok(Self {
            free_mib: found.f_bavail.saturating_mul(found.f_frsize) >> 20,
            bytes: percent(used, used.saturating_add(found.f_bavail)),
            inodes: (found.f_files > 0).then(|| percent(inodes_used, found.f_files)),
        })
    }
}

fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100).div_ceil(whole.max(1))
}

fn judge(room: &Room, high: u8) -> Finding {
    const MAKE_ROOM: &str = "sudo coracle image prune --all; sudo journalctl --vacuum-size=50M; see what takes it: sudo du -xh / | sort -h | tail -n 30";
    let Room { free_mib, bytes, inodes } = *room;
    let inodes_used = inodes.unwrap_or(0);
    let what = format!("{free_mib} MiB are free, {bytes} % are used");
    if free_mib < LEAST {
        return Finding::error(format!("the disk is full: {what}"), MAKE_ROOM);
    }
    if inodes_used >= 99 {
        let what = format!("no inodes are left: {inodes_used} % are used");
        return Finding::error(
            what,
            "find where the many small files are: sudo du --inodes -x / | sort -n | tail -n 30",
        );
    }
    if bytes >= u64::from(high) || inodes_used >= 90 {
        let what = format!("{what}, and {inodes_used} % of the inodes; images go from {high} % on");
        return Finding::warning(what, MAKE_ROOM);
    }
    Finding::ok(what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;

    #[test]
    fn bytes_and_inodes_count() {
        let status = |free_mib, bytes, inodes| judge(&Room { free_mib, bytes, inodes }, 85).status;
        assert_eq!(status(10_000, 40, Some(10)), Status::Ok);
        assert_eq!(status(10_000, 85, None), Status::Warning);
        assert_eq!(status(10_000, 10, Some(95)), Status::Warning);
        assert_eq!(status(10_000, 10, Some(100)), Status::Error);
        assert_eq!(status(10, 10, Some(1)), Status::Error);
    }

    #[test]
    fn a_directory_that_is_not_there_is_on_the_disk_above() {
        let dir = tempfile::tempdir().unwrap();
        let here = Room::of(dir.path()).unwrap();
        let below = Room::of(&dir.path().join("a/b")).unwrap();
        assert!(here.bytes.abs_diff(below.bytes) <= 1);
    }
}
