//! The kernel's version, its namespaces and its system call filter.

use super::Check;
use crate::doctor::feature::release;
use crate::doctor::finding::Finding;
use crate::doctor::subject::Subject;

pub(super) const CHECK: Check = Check::new(
    "kernel",
    "The kernel is 5.10 or newer and has namespaces and seccomp, which containers are made of.",
    "Upgrade the kernel, or use one with the options that are named.",
    |subject| judge(&Reading::of(subject)),
)
.of(super::Of::Box);

/// The oldest kernel that is supported.
const OLDEST: (u32, u32) = (5, 10);
const NAMESPACES: [(&str, &str); 6] = [
    ("cgroup", "CONFIG_CGROUPS"),
    ("ipc", "CONFIG_IPC_NS"),
    ("mnt", "CONFIG_NAMESPACES"),
    ("net", "CONFIG_NET_NS"),
    ("pid", "CONFIG_PID_NS"),
    ("uts", "CONFIG_UTS_NS"),
];

struct Reading {
    release: String,
    namespaces: Vec<String>,
    /// `/proc/self/status`.
    status: String,
}

impl Reading {
    fn of(subject: &Subject) -> Self {
        Self {
            release: release(subject),
            namespaces: subject.names("/proc/self/ns"),
            status: subject.text("/proc/self/status").unwrap_or_default(),
        }
    }
}

fn judge(reading: &Reading) -> Finding {
    let release = &reading.release;
    let Some(version) = version(release) else {
        let what = "the kernel's version cannot be read: /proc is not mounted";
        return Finding::error(what, "mount -t proc proc /proc");
    };
    let mut wrong = Vec::new();
    if version < OLDEST {
        let (major, minor) = OLDEST;
        let what = format!("Linux {release} is older than {major}.{minor}");
        wrong.push(Finding::error(what, "upgrade the kernel: apt-get full-upgrade, then reboot"));
    }
    for (name, option) in NAMESPACES {
        if !reading.namespaces.iter().any(|found| found == name) {
            let what = format!("it has no {name} namespaces");
            wrong.push(Finding::error(what, format!("use a kernel with {option}")));
        }
    }
    if !reading.status.lines().any(|line| line.starts_with("Seccomp:")) {
        let what = "it has no seccomp: containers that are not privileged do not start";
        wrong.push(Finding::error(what, "use a kernel with CONFIG_SECCOMP_FILTER"));
    }
    Finding::all(wrong, || Finding::ok(format!("Linux {release} with namespaces and seccomp")))
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;

    fn reading(release: &str, namespaces: &str, status: &str) -> Reading {
        let namespaces = namespaces.split(' ').map(str::to_owned).collect();
        Reading { release: release.to_owned(), namespaces, status: status.to_owned() }
    }

    #[test]
    fn old_and_poor_kernels_are_told() {
        let all = "cgroup ipc mnt net pid user uts";
        let good = judge(&reading("6.12.1-arm64", all, "Seccomp:\t0\n"));
        assert_eq!(good.status, Status::Ok, "{good:?}");
        let old = judge(&reading("5.4.0-42-generic", all, "Seccomp:\t0\n"));
        assert!(old.status == Status::Error && old.found.contains("older than 5.10"));
        let poor = judge(&reading("5.10.0", "ipc mnt net pid uts", ""));
        assert_eq!(poor.status, Status::Error);
        let remedy = poor.remedy.unwrap();
        assert!(remedy.contains("CONFIG_CGROUPS") && remedy.contains("CONFIG_SECCOMP_FILTER"));
        assert_eq!(judge(&reading("", all, "")).status, Status::Error);
    }
}
