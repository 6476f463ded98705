//! What kind of file system the state is on.

use super::Check;
use crate::doctor::finding::Finding;
use crate::doctor::mount::{Mount, mounts, of};
use std::path::Path;

pub(super) const CHECK: Check = Check::new(
    "file-system",
    "The state directory is on a local file system that may be written to, keeps what is synced, and can be the writable layer of a container.",
    "Mount an ext4, xfs, btrfs or f2fs file system there, or move `state_dir` to one; one that became read-only: `dmesg`, `fsck`, and a new SD card.",
    |subject| {
        let path = std::fs::canonicalize(subject.state_dir());
        let path = path.unwrap_or_else(|_| subject.state_dir().to_owned());
        let mounts = mounts(subject);
        judge(of(&mounts, &path), &path, subject.who())
    },
);

fn judge(mount: Option<&Mount>, path: &Path, who: &str) -> Finding {
    let Some(mount) = mount else {
        return Finding::skipped("the mounts of this box cannot be read");
    };
    let (kind, at) = (mount.kind.as_str(), path.display());
    let place = format!("{at} is on {kind} ({} at {})", mount.source, mount.point.display());
    let elsewhere = format!(
        "mount an ext4, xfs, btrfs or f2fs file system at {at}, or set state_dir to a directory on one"
    );
    let bad = |why: &str| Finding::error(format!("{place}: {why}"), elsewhere.clone());
    match kind {
        "vfat" | "msdos" | "exfat" | "ntfs" | "ntfs3" | "fuseblk" | "hfsplus" => {
            bad("it has no owners, modes and links, which images need")
        }
        "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "virtiofs" | "ceph" | "glusterfs" => bad(
            "on a network file system the store may be damaged, and containers have no writable layer",
        ),
        "squashfs" | "iso9660" | "erofs" | "cramfs" | "romfs" => bad("it cannot be written to"),
        "overlay" if who == "agent" => {
            bad("an overlay cannot hold the writable layers of containers")
        }
        _ if mount.is_read_only() => Finding::error(
            format!("{place}: it is mounted read-only"),
            format!(
                "see why: dmesg | grep -i -e {} -e error; if the disk is sound: sudo mount -o remount,rw {}; else fsck, and replace the SD card",
                mount.source.rsplit('/').next().unwrap_or_default(),
                mount.point.display()
            ),
        ),
        "tmpfs" | "ramfs" | "rootfs" => Finding::warning(
            format!("{place}: all state, tasks and images are gone after a reboot"),
            elsewhere,
        ),
        _ if kind.starts_with("fuse") => Finding::warning(
            format!("{place}: what is synced there may be lost in a power cut"),
            elsewhere,
        ),
        _ => Finding::ok(place),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;
    use crate::doctor::mount::parse;

    #[test]
    fn kinds_are_judged() {
        let path = Path::new("/var/lib/coracle");
        let finding = |kind: &str, options: &str| {
            let text = format!("22 1 8:1 / /var rw - {kind} /dev/mmcblk0p2 {options}\n");
            judge(of(&parse(&text), path), path, "agent")
        };
        assert_eq!(finding("ext4", "rw").status, Status::Ok);
        for kind in ["vfat", "nfs4", "squashfs", "overlay"] {
            assert_eq!(finding(kind, "rw").status, Status::Error, "{kind}");
        }
        assert_eq!(finding("tmpfs", "rw").status, Status::Warning);
        let read_only = finding("ext4", "ro");
        assert!(read_only.status == Status::Error && read_only.found.contains("read-only"));
        assert!(read_only.remedy.unwrap().contains("remount,rw /var"));
        assert_eq!(judge(None, path, "agent").status, Status::Skipped);
        let mounts = parse("22 1 8:1 / / rw - overlay o rw\n");
        assert_eq!(judge(of(&mounts, path), path, "hub").status, Status::Ok);
    }
}
