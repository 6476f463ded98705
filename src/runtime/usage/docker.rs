//! What a container uses, in the form of Docker's stats.
//!
//! The members are those that readers of Docker's API and of the task metadata endpoint know. `precpu_stats` holds an
//! earlier reading, so that one answer is enough to tell the share of the CPU.

use super::{BlockUsage, CpuUsage, NetworkUsage, Usage};
use crate::model::Timestamp;
use serde_json::{Map, Value, json};

/// The reading `now`, with `before` as the earlier one.
pub(super) fn stats(id: &str, name: &str, now: &Usage, before: Option<&Usage>) -> Value {
    let memory = &now.memory;
    let mut stats = json!({
        "read": time(Some(now.at)),
        "preread": time(before.map(|b| b.at)),
        "id": id,
        "name": name,
        "num_procs": 0,
        "storage_stats": {},
        "pids_stats": { "current": now.pids.current },
        "cpu_stats": cpu(&now.cpu),
        "precpu_stats": cpu(&before.map(|b| b.cpu.clone()).unwrap_or_default()),
        "memory_stats": {
            "usage": memory.bytes,
            "limit": memory.limit,
            "failcnt": memory.failures,
            "stats": memory.details,
        },
        "blkio_stats": {
            "io_service_bytes_recursive": block(&now.block, |b| b.bytes),
            "io_serviced_recursive": block(&now.block, |b| b.requests),
            "io_queue_recursive": [],
            "io_service_time_recursive": [],
            "io_wait_time_recursive": [],
            "io_merged_recursive": [],
            "io_time_recursive": [],
            "sectors_recursive": [],
        },
    });
    if let Some(limit) = now.pids.limit {
        stats["pids_stats"]["limit"] = limit.into();
    }
    if let Some(peak) = memory.peak {
        stats["memory_stats"]["max_usage"] = peak.into();
    }
    if !now.network.is_empty() {
        let all = now.network.iter().map(|(name, usage)| (name.clone(), interface(*usage)));
        stats["networks"] = Value::Object(all.collect::<Map<_, _>>());
    }
    stats
}

fn time(at: Option<Timestamp>) -> String {
    at.and_then(|at| jiff::Timestamp::from_millisecond(at.millis()).ok())
        // Go's zero time, which Docker shows for a reading that there was none of.
        .map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |at| format!("{at:.9}"))
}

fn cpu(cpu: &CpuUsage) -> Value {
    let mut stats = json!({
        "cpu_usage": {
            "total_usage": cpu.total,
            "usage_in_usermode": cpu.user,
            "usage_in_kernelmode": cpu.system,
        },
        "throttling_data": {
            "periods": cpu.periods,
            "throttled_periods": cpu.throttled_periods,
            "throttled_time": cpu.throttled,
        },
    });
    if !cpu.per_core.is_empty() {
        stats["cpu_usage"]["percpu_usage"] = json!(cpu.per_core);
    }
    if cpu.of_box > 0 {
        stats["system_cpu_usage"] = cpu.of_box.into();
        stats["online_cpus"] = cpu.cores.into();
    }
    stats
}

fn block(all: &[BlockUsage], value: impl Fn(&BlockUsage) -> u64) -> Value {
    let row = |b: &BlockUsage| json!({ "major": b.major, "minor": b.minor, "op": b.operation, "value": value(b) });
    all.iter().map(row).collect()
}

fn interface(usage: NetworkUsage) -> Value {
    let NetworkUsage { received, sent } = usage;
    json!({
        "rx_bytes": received.bytes,
        "rx_packets": received.packets,
        "rx_errors": received.errors,
        "rx_dropped": received.dropped,
        "tx_bytes": sent.bytes,
        "tx_packets": sent.packets,
        "tx_errors": sent.errors,
        "tx_dropped": sent.dropped,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::usage::Traffic;

    #[test]
    fn a_reading_has_dockers_members() {
        let cpu = CpuUsage { total: 7, of_box: 100, cores: 2, ..CpuUsage::default() };
        let sent = Traffic { bytes: 5, ..Traffic::default() };
        let usage = Usage {
            at: Timestamp(1_763_700_000_123),
            cpu,
            network: [("eth0".to_owned(), NetworkUsage { sent, ..NetworkUsage::default() })].into(),
            ..Usage::default()
        };
        let stats = stats("t-1", "web", &usage, None);
        assert_eq!(stats["read"], "2025-11-21T04:40:00.123000000Z");
        assert_eq!(stats["preread"], "0001-01-01T00:00:00Z");
        assert_eq!(stats["cpu_stats"]["cpu_usage"]["total_usage"], 7);
        assert_eq!(stats["cpu_stats"]["online_cpus"], 2);
        assert!(stats["precpu_stats"].get("online_cpus").is_none());
        assert_eq!(stats["networks"]["eth0"]["tx_bytes"], 5);
        assert_eq!(super::stats("t-1", "web", &usage, Some(&usage))["preread"], stats["read"]);
    }
}
