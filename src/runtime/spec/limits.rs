//! Resource limits of a task and a container, in the kernel's units.

use crate::model::task_definition::{ContainerDefinition, Ulimit};
use crate::runtime::cgroup::{CPU_PERIOD, Limits};
use crate::runtime::launch::LaunchFile;
use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

/// Processes and threads a container may have. ECS names no such limit; this only stops fork bombs.
const PIDS: u64 = 4096;
const MIB: u64 = 1 << 20;
/// The smallest quota the kernel takes, in microseconds.
const MIN_QUOTA: u64 = 1000;

/// Limits over all containers of the task together.
pub(crate) fn task(launch: &LaunchFile) -> Limits {
    Limits {
        cpu_shares: Some(u64::from(launch.task_cpu_shares)),
        cpu_quota: launch
            .task_cpu
            .filter(|units| *units > 0)
            .map(|units| (u64::from(units) * CPU_PERIOD / 1024).max(MIN_QUOTA)),
        memory: launch.task_memory.filter(|m| *m > 0).map(|m| u64::from(m) * MIB),
        ..Limits::default()
    }
}

/// Limits of one container.
pub(crate) fn container(definition: &ContainerDefinition) -> Limits {
    let positive = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
    let linux = definition.linux_parameters.as_ref();
    let memory = positive(definition.memory).map(|m| m.saturating_mul(MIB));
    let swap = linux.and_then(|l| l.max_swap).and_then(|s| u64::try_from(s).ok());
    Limits {
        cpu_shares: Some(positive(definition.cpu).unwrap_or(2).max(2)),
        cpu_quota: None,
        memory,
        memory_reservation: positive(definition.memory_reservation).map(|m| m.saturating_mul(MIB)),
        // Docker's default: as much swap as memory.
        swap: memory.map(|m| swap.map_or(m, |s| s.saturating_mul(MIB))),
        // ECS: swappiness counts only together with maxSwap.
        swappiness: swap
            .and(linux.and_then(|l| l.swappiness))
            .and_then(|s| u64::try_from(s).ok())
            .map(|s| s.min(100)),
        pids: Some(PIDS),
    }
}

/// `ulimits` as the OCI specification has them.
///
/// # Errors
/// What is wrong, when a name is unknown or this process may not raise the limit so far.
pub(crate) fn rlimits(ulimits: Option<&Vec<Ulimit>>) -> Result<Vec<Value>, String> {
    let may_raise =
        caps::has_cap(None, caps::CapSet::Effective, caps::Capability::CAP_SYS_RESOURCE)
            .unwrap_or(false);
    ulimits.into_iter().flatten().map(|u| rlimit(u, may_raise)).collect()
}

fn rlimit(ulimit: &Ulimit, may_raise: bool) -> Result<Value, String> {
    let name = ulimit.name.as_deref().unwrap_or_default();
    let resource = match name {
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return Err(format!("unknown ulimit {name:?}")),
    };
    // Negative is unlimited.
    let number = |n: Option<i64>| u64::try_from(n.unwrap_or(0)).unwrap_or(u64::MAX);
    let (soft, hard) = (number(ulimit.soft_limit), number(ulimit.hard_limit));
    if soft > hard {
        return Err(format!("ulimit {name}: the soft limit {soft} is above the hard limit {hard}"));
    }
    if !may_raise
        && let Some(allowed) = getrlimit(resource).maximum
        && hard > allowed
    {
        return Err(format!(
            "ulimit {name}: the hard limit {hard} is above this host's, {allowed}, and the agent lacks CAP_SYS_RESOURCE to raise it"
        ));
    }
    Ok(json!({"type": format!("RLIMIT_{}", name.to_ascii_uppercase()), "soft": soft, "hard": hard}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::task_definition::LinuxParameters;

    #[test]
    fn units_become_bytes_and_swap_is_as_large_as_memory() {
        let mut definition = ContainerDefinition {
            memory: Some(64),
            memory_reservation: Some(32),
            ..ContainerDefinition::default()
        };
        let limits = container(&definition);
        assert_eq!(limits.memory, Some(64 << 20));
        assert_eq!(limits.memory_reservation, Some(32 << 20));
        assert_eq!(limits.swap, Some(64 << 20));
        assert_eq!(limits.cpu_shares, Some(2));
        assert_eq!(limits.swappiness, None);
        definition.linux_parameters = Some(LinuxParameters {
            max_swap: Some(0),
            swappiness: Some(10),
            ..LinuxParameters::default()
        });
        let limits = container(&definition);
        assert_eq!((limits.swap, limits.swappiness), (Some(0), Some(10)));
    }

    #[test]
    fn a_limit_above_the_hosts_is_refused_by_name() {
        let ulimit = |name: &str, soft, hard| Ulimit {
            name: Some(name.into()),
            soft_limit: Some(soft),
            hard_limit: Some(hard),
        };
        let error = rlimit(&ulimit("nofile", 1, i64::MAX), false).unwrap_err();
        assert!(error.contains("nofile") && error.contains("CAP_SYS_RESOURCE"), "{error}");
        assert!(rlimit(&ulimit("nofile", 10, 5), true).is_err());
        assert!(rlimit(&ulimit("fd", 1, 1), true).is_err());
        let core = rlimit(&ulimit("core", 0, 0), false).unwrap();
        assert_eq!(core, json!({"type": "RLIMIT_CORE", "soft": 0, "hard": 0}));
    }
}
