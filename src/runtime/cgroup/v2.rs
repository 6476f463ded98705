//! The unified hierarchy.

use super::device_program::DeviceProgram;
use super::{
    CPU_PERIOD, CgroupError, DeviceRule, Limits, Usage, create_dir, keyed, number, smallest_limit,
    table, write, write_if_present,
};
use crate::runtime::usage::{BlockUsage, CpuUsage, MemoryUsage, PidsUsage};
use crate::sys;
use std::fs;
use std::path::{Path, PathBuf};

/// Controllers handed down to tasks and containers, as far as they exist.
const CONTROLLERS: [&str; 4] = ["cpu", "memory", "pids", "io"];

/// The mounted hierarchy.
#[derive(Debug, Clone)]
pub(crate) struct V2 {
    root: PathBuf,
}

impl V2 {
    pub(super) const fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn controllers(&self) -> Result<Vec<String>, CgroupError> {
        let path = self.root.join("cgroup.controllers");
        let text =
            fs::read_to_string(&path).map_err(|source| CgroupError::Group { path, source })?;
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }

    pub(super) fn path(&self, group: &Path) -> PathBuf {
        self.root.join(group.strip_prefix("/").unwrap_or(group))
    }

    /// A group whose children hold the processes: its controllers are handed down.
    pub(super) fn create_parent(&self, group: &Path, limits: &Limits) -> Result<(), CgroupError> {
        let available = self.controllers()?;
        let enable: Vec<String> = CONTROLLERS
            .iter()
            .filter(|c| available.iter().any(|a| a == *c))
            .map(|c| format!("+{c}"))
            .collect();
        let mut directory = self.root.clone();
        for part in group.strip_prefix("/").unwrap_or(group).components() {
            write(&directory.join("cgroup.subtree_control"), &enable.join(" "))?;
            directory.push(part);
            create_dir(&directory)?;
        }
        write(&directory.join("cgroup.subtree_control"), &enable.join(" "))?;
        write_limits(&directory, limits)
    }

    /// A group that holds processes. Its parent must exist.
    pub(super) fn create_leaf(
        &self,
        group: &Path,
        limits: &Limits,
        devices: &[DeviceRule],
    ) -> Result<(), CgroupError> {
        let directory = self.path(group);
        create_dir(&directory)?;
        write_limits(&directory, limits)?;
        if limits.memory_reservation.is_some() {
            self.protect_above(group)?;
        }
        DeviceProgram::new(devices)
            .attach(&directory)
            .map_err(|source| CgroupError::DeviceProgram { path: directory, source })
    }

    /// Protects what the groups below each ancestor of `group` have reserved: the kernel keeps no more for a group than
    /// for those above it (`memory.low` in the documentation of cgroup v2).
    pub(super) fn protect_above(&self, group: &Path) -> Result<(), CgroupError> {
        let relative = group.strip_prefix("/").unwrap_or(group);
        for ancestor in relative.ancestors().skip(1).filter(|a| !a.as_os_str().is_empty()) {
            let directory = self.root.join(ancestor);
            let children = fs::read_dir(&directory).into_iter().flatten().filter_map(Result::ok);
            let reserved = children.filter_map(|child| number(&child.path().join("memory.low")));
            let sum = reserved.fold(0_u64, u64::saturating_add).to_string();
            write_if_present(&directory.join("memory.low"), &sum)?;
        }
        Ok(())
    }

    /// Kills all at once where the kernel can (5.14).
    pub(super) fn kill(&self, group: &Path) {
        let _ = fs::write(self.path(group).join("cgroup.kill"), "1");
    }

    pub(super) fn usage(&self, group: &Path) -> Usage {
        let directory = self.path(group);
        let cpu = table(&directory.join("cpu.stat"));
        let micros = |key: &str| cpu.get(key).copied().unwrap_or(0);
        let nanos = |key: &str| micros(key).saturating_mul(1000);
        Usage {
            at: sys::now(),
            cpu: CpuUsage {
                total: nanos("usage_usec"),
                user: nanos("user_usec"),
                system: nanos("system_usec"),
                periods: micros("nr_periods"),
                throttled_periods: micros("nr_throttled"),
                throttled: nanos("throttled_usec"),
                ..CpuUsage::default()
            },
            memory: MemoryUsage {
                bytes: number(&directory.join("memory.current")).unwrap_or(0),
                peak: number(&directory.join("memory.peak")),
                limit: smallest_limit(&directory, "memory.max"),
                failures: keyed(&directory.join("memory.events"), "max").unwrap_or(0),
                details: table(&directory.join("memory.stat")),
            },
            pids: PidsUsage {
                current: number(&directory.join("pids.current")).unwrap_or(0),
                limit: number(&directory.join("pids.max")),
            },
            block: block(&fs::read_to_string(directory.join("io.stat")).unwrap_or_default()),
            ..Usage::default()
        }
    }
}

/// Lines like `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`.
fn block(text: &str) -> Vec<BlockUsage> {
    let mut all = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(|d| d.split_once(':')) else { continue };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        let pairs: Vec<_> = words.filter_map(|w| w.split_once('=')).collect();
        let value = |key: String| {
            let found = pairs.iter().find(|(k, _)| *k == key).and_then(|(_, v)| v.parse().ok());
            found.unwrap_or(0)
        };
        for (letter, operation) in [("r", "Read"), ("w", "Write"), ("d", "Discard")] {
            all.push(BlockUsage {
                major,
                minor,
                operation: operation.to_owned(),
                bytes: value(format!("{letter}bytes")),
                requests: value(format!("{letter}ios")),
            });
        }
    }
    all
}

fn write_limits(directory: &Path, limits: &Limits) -> Result<(), CgroupError> {
    if let Some(shares) = limits.cpu_shares {
        write(&directory.join("cpu.weight"), &weight(shares).to_string())?;
    }
    if let Some(quota) = limits.cpu_quota {
        write(&directory.join("cpu.max"), &format!("{quota} {CPU_PERIOD}"))?;
    }
    if let Some(limit) = limits.memory {
        write(&directory.join("memory.max"), &limit.to_string())?;
        if let Some(swap) = limits.swap {
            // Missing when the kernel does not account swap.
            write_if_present(&directory.join("memory.swap.max"), &swap.to_string())?;
        }
    }
    if let Some(reservation) = limits.memory_reservation {
        write(&directory.join("memory.low"), &reservation.to_string())?;
    }
    if let Some(pids) = limits.pids {
        write(&directory.join("pids.max"), &pids.to_string())?;
    }
    Ok(())
}

/// v1's 2 … 262144 onto v2's 1 … 10000, as the kernel's documentation of the conversion has it.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights() {
        assert_eq!(weight(0), 1);
        assert_eq!(weight(2), 1);
        assert_eq!(weight(1024), 39);
        assert_eq!(weight(262_144), 10_000);
    }

    #[test]
    fn what_is_reserved_below_is_protected_above() {
        let root = tempfile::tempdir().unwrap();
        for (group, low) in
            [("a", "0"), ("a/t1", "0"), ("a/t1/x", "100"), ("a/t1/y", "20"), ("a/t2", "7")]
        {
            fs::create_dir(root.path().join(group)).unwrap();
            fs::write(root.path().join(group).join("memory.low"), low).unwrap();
        }
        V2::new(root.path().into()).protect_above(Path::new("a/t1/x")).unwrap();
        let read = |group: &str| fs::read_to_string(root.path().join(group).join("memory.low"));
        assert_eq!((read("a/t1").unwrap(), read("a").unwrap()), ("120".into(), "127".into()));
    }

    #[test]
    fn limits_are_written_in_the_unified_form() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits {
            cpu_shares: Some(1024),
            cpu_quota: Some(50_000),
            memory: Some(64 << 20),
            memory_reservation: Some(32 << 20),
            swap: Some(0),
            swappiness: None,
            pids: Some(100),
        };
        // Without accounting of swap there is no file for it.
        write_limits(dir.path(), &limits).unwrap();
        assert!(!dir.path().join("memory.swap.max").exists());
        fs::write(dir.path().join("memory.swap.max"), "max").unwrap();
        write_limits(dir.path(), &limits).unwrap();
        let read = |f: &str| fs::read_to_string(dir.path().join(f)).unwrap();
        assert_eq!(read("cpu.weight"), "39");
        assert_eq!(read("cpu.max"), "50000 100000");
        assert_eq!(read("memory.max"), "67108864");
        assert_eq!(read("memory.low"), "33554432");
        assert_eq!(read("memory.swap.max"), "0");
        assert_eq!(read("pids.max"), "100");
    }

    #[test]
    fn block_io_is_read_per_device() {
        let all = block("8:0 rbytes=4096 wbytes=512 rios=1 wios=2 dbytes=0 dios=0\nodd\n");
        let seen: Vec<_> =
            all.iter().map(|b| (b.major, &*b.operation, b.bytes, b.requests)).collect();
        assert_eq!(seen, [(8, "Read", 4096, 1), (8, "Write", 512, 2), (8, "Discard", 0, 0)]);
    }
}
