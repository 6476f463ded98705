//! The cgroup mounts among `/proc/self/mountinfo`.

use std::fs;
use std::io;
use std::path::PathBuf;

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CgroupMount {
    pub(super) mount_point: PathBuf,
    /// The unified hierarchy.
    pub(super) unified: bool,
    /// The mount's super options: for v1 its controllers among others.
    pub(super) options: Vec<String>,
}

pub(super) fn cgroup_mounts() -> io::Result<Vec<CgroupMount>> {
    Ok(parse(&fs::read_to_string("/proc/self/mountinfo")?))
}

fn parse(text: &str) -> Vec<CgroupMount> {
    text.lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let mut after = after.split(' ');
            let unified = match after.next()? {
                "cgroup" => false,
                "cgroup2" => true,
                _ => return None,
            };
            let options = after.nth(1)?.split(',').map(str::to_owned).collect();
            let mount_point = unescape(before.split(' ').nth(4)?).into();
            Some(CgroupMount { mount_point, unified, options })
        })
        .collect()
}

/// The kernel writes space, tab, newline and backslash as octal.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_both_versions() {
        let mounts = parse(
            "22 20 0:5 / / rw - ext4 /dev/vda rw\n\
             30 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
             31 25 0:27 / /sys/fs/cgroup\\040x rw - cgroup2 cgroup2 rw,nsdelegate\n",
        );
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].mount_point, PathBuf::from("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(mounts[0].options, ["rw", "cpu", "cpuacct"]);
        assert!(!mounts[0].unified);
        assert!(mounts[1].unified);
        assert_eq!(mounts[1].mount_point, PathBuf::from("/sys/fs/cgroup x"));
    }
}
