//! What a container uses: counters of the kernel, as they are.
//!
//! The control group counts CPU time, memory, processes and block I/O ([`super::cgroup`]); the interfaces of the
//! container's network namespace count what it received and sent. Rates are for those who read twice.

mod docker;

use crate::model::Timestamp;
use std::collections::BTreeMap;
use std::fs;

/// What a container used so far, and uses now.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Usage {
    /// When this was read.
    pub at: Timestamp,
    /// CPU time.
    pub cpu: CpuUsage,
    /// Memory.
    pub memory: MemoryUsage,
    /// Processes and threads.
    pub pids: PidsUsage,
    /// Block devices, one entry per device and direction.
    pub block: Vec<BlockUsage>,
    /// Interfaces by name; empty without a network namespace of its own.
    pub network: BTreeMap<String, NetworkUsage>,
}

impl Usage {
    /// In the form of Docker's stats, for the container of this id and name; `before` is an earlier reading, which makes
    /// the share of the CPU known.
    #[must_use]
    pub fn docker(&self, id: &str, name: &str, before: Option<&Self>) -> serde_json::Value {
        docker::stats(id, name, self, before)
    }
}

/// CPU time in nanoseconds.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct CpuUsage {
    /// All of it.
    pub total: u64,
    /// In user mode.
    pub user: u64,
    /// In the kernel.
    pub system: u64,
    /// On each core; empty where the kernel does not say (cgroup v2).
    pub per_core: Vec<u64>,
    /// What all processes of the box used, idle time included: the time of all cores.
    pub of_box: u64,
    /// Cores that are online.
    pub cores: u32,
    /// Periods in which the group had a quota.
    pub periods: u64,
    /// Those in which it was held back.
    pub throttled_periods: u64,
    /// For how long it was held back, in nanoseconds.
    pub throttled: u64,
}

/// Memory in bytes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct MemoryUsage {
    /// In use, page cache included.
    pub bytes: u64,
    /// The most that was in use; none where the kernel does not say.
    pub peak: Option<u64>,
    /// The most that it may use: its own limit or that of a group above, the smallest.
    pub limit: u64,
    /// How often it ran into its limit.
    pub failures: u64,
    /// `memory.stat`.
    pub details: BTreeMap<String, u64>,
}

impl MemoryUsage {
    /// What could not be taken back at once: without the part of the page cache that is not in active use.
    #[must_use]
    pub fn working_set(&self) -> u64 {
        let cache = ["total_inactive_file", "inactive_file"];
        let cache = cache.iter().find_map(|key| self.details.get(*key)).copied().unwrap_or(0);
        self.bytes.saturating_sub(cache)
    }
}

/// Processes and threads.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct PidsUsage {
    /// Now.
    pub current: u64,
    /// At most; none is unlimited.
    pub limit: Option<u64>,
}

/// What went to or from a block device.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct BlockUsage {
    /// The device's major number.
    pub major: u64,
    /// The device's minor number.
    pub minor: u64,
    /// `Read`, `Write` and so on, as the kernel's v1 files name them.
    pub operation: String,
    /// Bytes.
    pub bytes: u64,
    /// Requests.
    pub requests: u64,
}

/// What an interface received and sent.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct NetworkUsage {
    /// Received: bytes, packets, errors, dropped.
    pub received: Traffic,
    /// Sent.
    pub sent: Traffic,
}

/// One direction of an interface.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Errors.
    pub errors: u64,
    /// Dropped packets.
    pub dropped: u64,
}

/// The interfaces of a process's network namespace but for the loopback; nothing when it shares the box's.
pub(super) fn network_of(pid: i32) -> BTreeMap<String, NetworkUsage> {
    let namespace = |who: &str| fs::read_link(format!("/proc/{who}/ns/net")).ok();
    let (own, its) = (namespace("self"), namespace(&pid.to_string()));
    if its.is_none() || own == its {
        return BTreeMap::new();
    }
    fs::read_to_string(format!("/proc/{pid}/net/dev"))
        .map(|text| interfaces(&text))
        .unwrap_or_default()
}

fn interfaces(text: &str) -> BTreeMap<String, NetworkUsage> {
    // Two lines of headings, then `name: ` and sixteen numbers.
    let rows = text.lines().skip(2).filter_map(|line| line.split_once(':'));
    rows.filter_map(|(name, numbers)| {
        let name = name.trim();
        let numbers: Vec<u64> = numbers.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        let traffic = |from: usize| {
            let at = |i: usize| numbers.get(from + i).copied().unwrap_or(0);
            Traffic { bytes: at(0), packets: at(1), errors: at(2), dropped: at(3) }
        };
        let usage = NetworkUsage { received: traffic(0), sent: traffic(8) };
        (name != "lo").then(|| (name.to_owned(), usage))
    })
    .collect()
}

/// Time of all cores of the box in nanoseconds, and how many there are.
pub(super) fn of_box() -> (u64, u32) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let hertz = rustix::param::clock_ticks_per_second().max(1);
    read_stat(&text, hertz)
}

fn read_stat(text: &str, hertz: u64) -> (u64, u32) {
    let mut total = 0;
    let mut cores = 0;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            // user nice system idle iowait irq softirq steal; guest time is in user's already.
            Some("cpu") => {
                total = words.take(8).filter_map(|n| n.parse::<u64>().ok()).sum();
            }
            Some(name) if name.starts_with("cpu") => cores += 1,
            _ => {}
        }
    }
    (total.saturating_mul(1_000_000_000 / hertz), cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_read_without_the_loopback() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
            face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
            lo:      10       1    0    0    0     0          0         0       10       1    0    0    0     0       0          0\n  \
            eth0: 1500 12 1 2 0 0 0 0 700 8 3 4 0 0 0 0\n";
        let all = interfaces(text);
        assert_eq!(all.len(), 1);
        let expected = NetworkUsage {
            received: Traffic { bytes: 1500, packets: 12, errors: 1, dropped: 2 },
            sent: Traffic { bytes: 700, packets: 8, errors: 3, dropped: 4 },
        };
        assert_eq!(all["eth0"], expected);
    }

    #[test]
    fn the_time_of_the_box_is_that_of_all_its_cores() {
        let text = "cpu  100 0 50 800 10 0 5 0 77 0\ncpu0 50 0 0 0\ncpu1 50 0 0 0\nintr 1\n";
        assert_eq!(read_stat(text, 100), (965 * 10_000_000, 2));
    }

    #[test]
    fn the_working_set_leaves_idle_cache_out() {
        let details = BTreeMap::from([("inactive_file".to_owned(), 30)]);
        let memory = MemoryUsage { bytes: 100, details, ..MemoryUsage::default() };
        assert_eq!(memory.working_set(), 70);
    }
}
