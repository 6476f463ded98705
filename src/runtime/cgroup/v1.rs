//! The v1 hierarchies: one per controller, or per set of co-mounted controllers.
//!
//! Where the unified hierarchy is mounted beside them, without controllers, it holds the groups as well: killing a
//! group is one write there.

use super::mountinfo::CgroupMount;
use super::{
    CPU_PERIOD, CgroupError, DeviceRule, Limits, Usage, create_dir, number, write, write_if_present,
};
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
        let read = |controller: &str, file: &str| {
            self.path(controller, group).and_then(|p| number(&p.join(file))).unwrap_or(0)
        };
        Usage {
            cpu_micros: read("cpuacct", "cpuacct.usage") / 1000,
            memory_bytes: read("memory", "memory.usage_in_bytes"),
            pids: read("pids", "pids.current"),
        }
    }
}

fn below(mount: &Path, group: &Path) -> PathBuf {
    mount.join(group.strip_prefix("/").unwrap_or(group))
}
