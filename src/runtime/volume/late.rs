//! Mounts that the container's first process makes itself, once libcontainer has made the rest.
//!
//! A volume over `/dev`: libcontainer would put its device nodes into it, and take `ptmx` out of the host's `/dev`. And the
//! propagation of a mount in memory, which binding it takes away.

use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount_change, mount_remount,
    move_mount, open_tree,
};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// One of them; to be used in the container's namespaces, in order.
#[derive(Debug)]
pub(crate) struct Late {
    /// In the container.
    target: PathBuf,
    what: What,
}

#[derive(Debug)]
enum What {
    /// What is to be mounted there.
    Tree(OwnedFd),
    /// How what is mounted there spreads.
    Propagation(MountPropagationFlags),
}

impl Late {
    /// Takes what is ready at `place`, with all below it.
    pub(super) fn tree(place: &Path, target: PathBuf, read_only: bool) -> io::Result<Self> {
        if read_only {
            make_read_only(place)?;
        }
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE;
        let tree = open_tree(CWD, place, flags)?;
        Ok(Self { target, what: What::Tree(tree) })
    }

    pub(super) fn propagation(target: PathBuf, flags: MountPropagationFlags) -> Self {
        Self { target, what: What::Propagation(flags) }
    }

    /// Does it.
    pub(crate) fn mount(&self) -> Result<(), String> {
        let done = match &self.what {
            What::Tree(tree) => {
                let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
                move_mount(tree, "", CWD, &self.target, flags)
            }
            What::Propagation(flags) => mount_change(&self.target, *flags),
        };
        done.map_err(|error| format!("containerPath {}: {error}", self.target.display()))
    }
}

/// Makes all that is mounted at and below `place` read-only.
fn make_read_only(place: &Path) -> io::Result<()> {
    for (mounted, flags) in mounts_below(&fs::read_to_string("/proc/self/mountinfo")?, place) {
        mount_remount(&mounted, MountFlags::BIND | MountFlags::RDONLY | flags, c"")?;
    }
    Ok(())
}

/// What is mounted at and below `place`, with the flags that must not be lost.
fn mounts_below(table: &str, place: &Path) -> Vec<(PathBuf, MountFlags)> {
    let mount = |line: &str| {
        let mut fields = line.split(' ').skip(4);
        let escaped = fields.next()?;
        // The kernel writes space, tab, newline and backslash as octal.
        let path = escaped.replace("\\040", " ").replace("\\011", "\t");
        let path = PathBuf::from(path.replace("\\012", "\n").replace("\\134", "\\"));
        let mut flags = MountFlags::empty();
        for word in fields.next()?.split(',') {
            flags |= match word {
                "nosuid" => MountFlags::NOSUID,
                "nodev" => MountFlags::NODEV,
                "noexec" => MountFlags::NOEXEC,
                "noatime" => MountFlags::NOATIME,
                "nodiratime" => MountFlags::NODIRATIME,
                "relatime" => MountFlags::RELATIME,
                _ => MountFlags::empty(),
            };
        }
        path.starts_with(place).then_some((path, flags))
    };
    table.lines().filter_map(mount).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_with_their_flags() {
        let table = "30 25 0:26 / /run/m/0 rw,nosuid,relatime shared:9 - tmpfs tmpfs rw\n\
                     31 30 0:27 /a /run/m/0/with\\040space ro,nodev,noexec - tmpfs tmpfs rw\n\
                     32 30 0:27 /a /run/m/01 ro - tmpfs tmpfs rw\n";
        let found = mounts_below(table, Path::new("/run/m/0"));
        assert_eq!(
            found,
            [
                ("/run/m/0".into(), MountFlags::NOSUID | MountFlags::RELATIME),
                ("/run/m/0/with space".into(), MountFlags::NODEV | MountFlags::NOEXEC),
            ]
        );
    }
}
