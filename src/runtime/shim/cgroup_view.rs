//! What a container sees of the v1 control groups, and sparing libcontainer the search for them.
//!
//! libcontainer mounts every v1 hierarchy into the container on its own, writable, and reads all mounts of the box once
//! per controller. So here, in the creator's private mount namespace, a read-only view of the container's groups is put
//! together, which libcontainer mounts as one; the process joins the groups on its own; and `/sys/fs/cgroup` is covered
//! with the unified hierarchy, so that libcontainer takes the short way of v2 for the rest. On a box with v2 alone
//! nothing of this is needed.

use crate::runtime::cgroup::Hierarchy;
use rustix::mount::{MountFlags, mount, mount_bind, mount_remount};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Puts the view together at `directory`; nothing where the box needs none.
pub(super) fn prepare(
    hierarchy: &Hierarchy,
    group: &Path,
    directory: &Path,
    writable: bool,
) -> io::Result<()> {
    let Hierarchy::V1(v1) = hierarchy else { return Ok(()) };
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let read_only = if writable { flags } else { flags | MountFlags::RDONLY };
    fs::create_dir_all(directory)?;
    mount("tmpfs", directory, "tmpfs", flags, c"mode=755,size=64k")?;
    let seen = v1.seen_by(group);
    for (name, source) in seen.shown {
        let target = directory.join(name);
        fs::create_dir(&target)?;
        mount_bind(&source, &target)?;
        // A bind mount takes its own flags only when it is mounted again.
        mount_remount(&target, MountFlags::BIND | read_only, c"")?;
    }
    for (link, target) in seen.links {
        symlink(target, directory.join(link))?;
    }
    mount_remount(directory, MountFlags::BIND | read_only, c"")?;
    Ok(())
}

/// Covers the v1 hierarchies, for this mount namespace only. To be called when all is done with them.
pub(super) fn cover(hierarchy: &Hierarchy) -> io::Result<()> {
    if let Hierarchy::V1(v1) = hierarchy
        && let Some(unified) = v1.unified()
    {
        mount_bind(unified, "/sys/fs/cgroup")?;
    }
    Ok(())
}
