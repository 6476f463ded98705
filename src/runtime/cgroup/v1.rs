//! The v1 hierarchies: one per controller, or per set of co-mounted controllers.
//!
//! Where the unified hierarchy is mounted beside them, without controllers, it holds the groups as well: killing a
//! group is one write there.

use super::mountinfo::CgroupMount;
use super::{
    CPU_PERIOD, CgroupError, DeviceRule, Limits, Usage, create_dir, number, smallest_limit, table,
    write, write_if_present,
};
use crate::runtime::usage::{BlockUsage, CpuUsage, MemoryUsage, PidsUsage};
use crate::sys;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Controllers that Coracle or libcontainer put processes into.
const CONTROLLERS: [&str; 12] = [
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "blkio",
    "pids",
    "hugetlb",
    "perf_event",
    "net_cls",
    "net_prio",
];

/// What a container sees of the hierarchies.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The name of each hierarchy's directory, and the container's group there.
    pub(crate) shown: Vec<(OsString, PathBuf)>,
    /// Controllers that share a hierarchy: the link's name, and the directory's.
    pub(crate) links: Vec<(String, OsString)>,
}

/// The mounted controllers.
#[derive(Debug, Clone)]
pub(crate) struct V1 {
    /// (controller, mount point); co-mounted controllers share one.
    mounts: Vec<(&'static str, PathBuf)>,
    /// The mount point of the unified hierarchy.
    unified: Option<PathBuf>,
}

impl V1 {
    pub(super) fn from_mounts(mounts: &[CgroupMount]) -> Self {
        let unified = mounts.iter().find(|m| m.unified).map(|m| m.mount_point.clone());
        let mounts = CONTROLLERS
            .iter()
            .filter_map(|controller| {
                mounts
                    .iter()
                    .find(|m| !m.unified && m.options.iter().any(|o| o == controller))
                    .map(|m| (*controller, m.mount_point.clone()))
            })
            .collect();
        Self { mounts, unified }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.mounts.is_empty()
    }

    pub(super) fn controllers(&self) -> Vec<String> {
        self.mounts.iter().map(|(c, _)| (*c).to_owned()).collect()
    }

    pub(super) fn path(&self, controller: &str, group: &Path) -> Option<PathBuf> {
        self.mounts.iter().find(|(c, _)| *c == controller).map(|(_, m)| below(m, group))
    }

    /// The mount point of the unified hierarchy.
    pub(crate) fn unified(&self) -> Option<&Path> {
        self.unified.as_deref()
    }

    /// One directory per hierarchy with controllers, without repetition.
    pub(super) fn controller_directories(&self, group: &Path) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = self.mounts.iter().map(|(_, m)| below(m, group)).collect();
        all.sort();
        all.dedup();
        all
    }

    /// One directory per hierarchy.
    pub(super) fn directories(&self, group: &Path) -> Vec<PathBuf> {
        let mut all = self.controller_directories(group);
        all.extend(self.unified.iter().map(|u| below(u, group)));
        all
    }

    /// What a container of the group sees in `/sys/fs/cgroup`.
    pub(crate) fn seen_by(&self, group: &Path) -> Seen {
        let mut shown: Vec<(OsString, PathBuf)> = Vec::new();
        let mut links = Vec::new();
        for (controller, mount) in &self.mounts {
            let Some(name) = mount.file_name() else { continue };
            if !shown.iter().any(|(n, _)| n == name) {
                shown.push((name.to_owned(), below(mount, group)));
            }
            if name != *controller {
                links.push(((*controller).to_owned(), name.to_owned()));
            }
        }
        Seen { shown, links }
    }

    /// Kills all in the group at once where the kernel can (5.14) and the unified hierarchy is there.
    pub(super) fn kill(&self, group: &Path) {
        if let Some(unified) = &self.unified {
            let _ = std::fs::write(below(unified, group).join("cgroup.kill"), "1");
        }
    }

    pub(super) fn create(
        &self,
        group: &Path,
        limits: &Limits,
        devices: Option<&[DeviceRule]>,
    ) -> Result<(), CgroupError> {
        for directory in self.directories(group) {
            create_dir(&directory)?;
        }
        self.inherit_cpuset(group)?;
        if let Some(cpu) = self.path("cpu", group) {
            if let Some(shares) = limits.cpu_shares {
                write(&cpu.join("cpu.shares"), &shares.max(2).to_string())?;
            }
            if let Some(quota) = limits.cpu_quota {
                write(&cpu.join("cpu.cfs_period_us"), &CPU_PERIOD.to_string())?;
                write(&cpu.join("cpu.cfs_quota_us"), &quota.to_string())?;
            }
        }
        if let Some(memory) = self.path("memory", group) {
            // Kernels before 5.11 count children only when told to; newer ones refuse to be told otherwise.
            let _ = write(&memory.join("memory.use_hierarchy"), "1");
            if let Some(limit) = limits.memory {
                write(&memory.join("memory.limit_in_bytes"), &limit.to_string())?;
                if let Some(swap) = limits.swap {
                    // Missing when the kernel does not account swap.
                    write_if_present(
                        &memory.join("memory.memsw.limit_in_bytes"),
                        &limit.saturating_add(swap).to_string(),
                    )?;
                }
            }
            if let Some(reservation) = limits.memory_reservation {
                write(&memory.join("memory.soft_limit_in_bytes"), &reservation.to_string())?;
            }
            if let Some(swappiness) = limits.swappiness {
                write(&memory.join("memory.swappiness"), &swappiness.to_string())?;
            }
        }
        if let Some(pids) = self.path("pids", group)
            && let Some(limit) = limits.pids
        {
            write(&pids.join("pids.max"), &limit.to_string())?;
        }
        if let Some(rules) = devices
            && let Some(directory) = self.path("devices", group)
        {
            write(&directory.join("devices.deny"), "a")?;
            for rule in rules {
                let file = if rule.allow { "devices.allow" } else { "devices.deny" };
                write(&directory.join(file), &rule.to_string())?;
            }
        }
        Ok(())
    }

    /// A new cpuset is empty, and nothing can join an empty one: copies the parent's, from the top down.
    fn inherit_cpuset(&self, group: &Path) -> Result<(), CgroupError> {
        let Some((_, root)) = self.mounts.iter().find(|(c, _)| *c == "cpuset") else {
            return Ok(());
        };
        let mut directory = root.clone();
        for part in group.components() {
            let parent = directory.clone();
            directory.push(part);
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let own = std::fs::read_to_string(directory.join(file)).unwrap_or_default();
                if own.trim().is_empty() {
                    let inherited = std::fs::read_to_string(parent.join(file)).unwrap_or_default();
                    write_if_present(&directory.join(file), inherited.trim())?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn usage(&self, group: &Path) -> Usage {
        let at = |controller: &str| self.path(controller, group).unwrap_or_default();
        let (cpu, memory, pids) = (at("cpuacct"), at("memory"), at("pids"));
        let time = |file: &str| number(&cpu.join(file)).unwrap_or(0);
        let per_core =
            std::fs::read_to_string(cpu.join("cpuacct.usage_percpu")).unwrap_or_default();
        let throttling = table(&at("cpu").join("cpu.stat"));
        let throttled = |key: &str| throttling.get(key).copied().unwrap_or(0);
        Usage {
            at: sys::now(),
            cpu: CpuUsage {
                total: time("cpuacct.usage"),
                user: time("cpuacct.usage_user"),
                system: time("cpuacct.usage_sys"),
                per_core: per_core.split_whitespace().filter_map(|n| n.parse().ok()).collect(),
                periods: throttled("nr_periods"),
                throttled_periods: throttled("nr_throttled"),
                throttled: throttled("throttled_time"),
                ..CpuUsage::default()
            },
            memory: MemoryUsage {
                bytes: number(&memory.join("memory.usage_in_bytes")).unwrap_or(0),
                peak: number(&memory.join("memory.max_usage_in_bytes")),
                limit: smallest_limit(&memory, "memory.limit_in_bytes"),
                failures: number(&memory.join("memory.failcnt")).unwrap_or(0),
                details: table(&memory.join("memory.stat")),
            },
            pids: PidsUsage {
                current: number(&pids.join("pids.current")).unwrap_or(0),
                limit: number(&pids.join("pids.max")),
            },
            block: block(&at("blkio")),
            ..Usage::default()
        }
    }
}

/// Bytes and requests per device and operation, from whichever of the two sets of files the kernel fills.
fn block(directory: &Path) -> Vec<BlockUsage> {
    let read = |file: &str| std::fs::read_to_string(directory.join(file)).unwrap_or_default();
    let sets = [
        ("blkio.io_service_bytes_recursive", "blkio.io_serviced_recursive"),
        ("blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_serviced_recursive"),
    ];
    let mut sets = sets.iter().map(|(bytes, requests)| pair(&read(bytes), &read(requests)));
    sets.find(|all| !all.is_empty()).unwrap_or_default()
}

/// Lines like `8:0 Read 4096`; a last line `Total 4096` has no device.
fn pair(bytes: &str, requests: &str) -> Vec<BlockUsage> {
    fn row(line: &str) -> Option<(&str, &str, u64)> {
        let mut words = line.split_whitespace();
        let row = (words.next()?, words.next()?, words.next()?.parse().ok()?);
        row.0.contains(':').then_some(row)
    }
    let count = |device: &str, operation: &str| {
        let mut rows = requests.lines().filter_map(row);
        rows.find(|r| r.0 == device && r.1 == operation).map_or(0, |r| r.2)
    };
    bytes
        .lines()
        .filter_map(row)
        .filter_map(|(device, operation, bytes)| {
            let (major, minor) = device.split_once(':')?;
            Some(BlockUsage {
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
                operation: operation.to_owned(),
                bytes,
                requests: count(device, operation),
            })
        })
        .collect()
}

/// The group that `/proc/PID/cgroup` names for a controller; `cgroups(7)` has its form.
pub(super) fn group_of<'a>(controller: &str, text: &'a str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, group) = rest.split_once(':')?;
        controllers.split(',').any(|c| c == controller).then_some(group)
    })
}

fn below(mount: &Path, group: &Path) -> PathBuf {
    mount.join(group.strip_prefix("/").unwrap_or(group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_by_one_of_its_controllers() {
        let text = "9:name=systemd:/s\n4:cpu,cpuacct:/a:b\n3:memory:/m\n0::/unified\n";
        assert_eq!(group_of("memory", text), Some("/m"));
        assert_eq!(group_of("cpuacct", text), Some("/a:b"));
        assert_eq!(group_of("pids", text), None);
    }

    #[test]
    fn block_io_is_read_per_device() {
        let bytes = "8:0 Read 4096\n8:0 Write 512\nTotal 4608\n";
        let all = pair(bytes, "8:0 Read 1\n8:0 Write 2\nTotal 3\n");
        let seen: Vec<_> =
            all.iter().map(|b| (b.major, &*b.operation, b.bytes, b.requests)).collect();
        assert_eq!(seen, [(8, "Read", 4096, 1), (8, "Write", 512, 2)]);
        assert!(pair("Total 0\n", "").is_empty());
    }
}
