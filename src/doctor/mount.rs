//! The mounts of this process's namespace.

use super::subject::Subject;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) point: PathBuf,
    pub(super) kind: String,
    pub(super) source: String,
    /// Of the mount itself.
    pub(super) options: Vec<String>,
    /// Of its file system.
    pub(super) super_options: Vec<String>,
}

impl Mount {
    pub(super) fn is_read_only(&self) -> bool {
        self.options.iter().chain(&self.super_options).any(|option| option == "ro")
    }
}

pub(super) fn mounts(subject: &Subject) -> Vec<Mount> {
    parse(&subject.text("/proc/self/mountinfo").unwrap_or_default())
}

pub(super) fn parse(text: &str) -> Vec<Mount> {
    let words = |text: &str| text.split(',').map(str::to_owned).collect();
    let line = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let (mut before, mut after) = (before.split(' ').skip(4), after.split(' '));
        Some(Mount {
            point: unescape(before.next()?).into(),
            options: words(before.next()?),
            kind: after.next()?.to_owned(),
            source: unescape(after.next()?),
            super_options: words(after.next()?),
        })
    };
    text.lines().filter_map(line).collect()
}

/// The mount that `path` is on: the deepest, and of several at one place the last.
pub(super) fn of<'m>(mounts: &'m [Mount], path: &Path) -> Option<&'m Mount> {
    let above = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    above.max_by_key(|mount| mount.point.components().count())
}

/// The kernel writes space, tab, newline and backslash as octal.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_above_counts() {
        let mounts = parse(
            "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro\n\
             30 22 0:26 / /var/lib\\040x rw - tmpfs tmpfs ro,size=1k\nnonsense\n",
        );
        assert_eq!(of(&mounts, Path::new("/var/lib x/y")).unwrap().kind, "tmpfs");
        assert!(of(&mounts, Path::new("/var/lib x")).unwrap().is_read_only());
        let root = of(&mounts, Path::new("/var/lib")).unwrap();
        assert_eq!((root.source.as_str(), root.is_read_only()), ("/dev/sda1", false));
    }
}
