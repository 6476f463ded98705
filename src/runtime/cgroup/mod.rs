//! Control groups: `<parent>/<task>/<container>`, on the v1 hierarchies or the unified one.
//!
//! Limits of the task stand at `<task>` and bound all its containers together, those of a container at
//! `<container>`. This module makes the groups, writes limits and device rules, reads what the kernel counted,
//! kills and removes. It does not decide numbers; [`super::spec`] does.
//!
//! libcontainer is given the same path and no resources, so that it only adds the process.

mod device;
mod device_program;
mod entrance;
mod mountinfo;
mod v1;
mod v2;

pub(crate) use device::{Access, DeviceRule, Kind};
pub(crate) use entrance::Entrance;

use super::usage::Usage;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a group may use; absent is unlimited.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Relative weight, 1024 a core.
    pub(crate) cpu_shares: Option<u64>,
    /// Hard CPU limit: microseconds in each [`CPU_PERIOD`].
    pub(crate) cpu_quota: Option<u64>,
    /// Hard limit in bytes.
    pub(crate) memory: Option<u64>,
    /// What the kernel tries to leave to the group, in bytes.
    pub(crate) memory_reservation: Option<u64>,
    /// Swap on top of `memory`, in bytes.
    pub(crate) swap: Option<u64>,
    /// 0 to 100; v1 only, the unified hierarchy has no such setting.
    pub(crate) swappiness: Option<u64>,
    /// Processes and threads.
    pub(crate) pids: Option<u64>,
}

/// Microseconds of a CPU quota's period.
pub(crate) const CPU_PERIOD: u64 = 100_000;

/// Why a control group could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// No hierarchy is mounted.
    #[error("no cgroup file system is mounted at /sys/fs/cgroup; mount one (systemd does)")]
    NotMounted,
    /// A controller is missing.
    #[error("the cgroup controller {controller} is not available; {remedy}")]
    ControllerMissing {
        /// Which.
        controller: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A file could not be written or read.
    #[error("cannot write {value:?} to {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What should have been written.
        value: String,
        /// The cause.
        source: io::Error,
    },
    /// A group could not be made, read or removed.
    #[error("control group {path}: {source}")]
    Group {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The device program could not be loaded.
    #[error("cannot attach the device rules to {path}: {source}")]
    DeviceProgram {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// The mounted hierarchies.
#[derive(Debug, Clone)]
pub(crate) enum Hierarchy {
    /// One per controller.
    V1(v1::V1),
    /// The unified one.
    V2(v2::V2),
}

impl Hierarchy {
    /// Finds what is mounted.
    pub(crate) fn detect() -> Result<Self, CgroupError> {
        let mounts = mountinfo::cgroup_mounts()
            .map_err(|source| CgroupError::Group { path: "/proc/self/mountinfo".into(), source })?;
        let controllers = v1::V1::from_mounts(&mounts);
        if !controllers.is_empty() {
            return Ok(Self::V1(controllers));
        }
        mounts
            .iter()
            .find(|m| m.unified)
            .map(|m| Self::V2(v2::V2::new(m.mount_point.clone())))
            .ok_or(CgroupError::NotMounted)
    }

    /// Fails with the remedy when a controller that Coracle needs is missing.
    pub(crate) fn check(&self) -> Result<(), CgroupError> {
        let available = match self {
            Self::V1(v1) => v1.controllers(),
            Self::V2(v2) => v2.controllers()?,
        };
        for (controller, remedy) in [
            (
                "memory",
                "cgroup_enable=memory is missing from the kernel command line (or CONFIG_MEMCG from the kernel)",
            ),
            ("cpu", "the kernel lacks CONFIG_CGROUP_SCHED, or the controller is not delegated"),
            ("pids", "the kernel lacks CONFIG_CGROUP_PIDS, or the controller is not delegated"),
        ] {
            if !available.iter().any(|c| c == controller) {
                return Err(CgroupError::ControllerMissing { controller, remedy });
            }
        }
        if let Self::V1(_) = self
            && !available.iter().any(|c| c == "devices")
        {
            return Err(CgroupError::ControllerMissing {
                controller: "devices",
                remedy: "the kernel lacks CONFIG_CGROUP_DEVICE",
            });
        }
        Ok(())
    }

    /// Makes the group of a task and writes its limits.
    pub(crate) fn create_task(&self, group: &Path, limits: &Limits) -> Result<(), CgroupError> {
        match self {
            Self::V1(v1) => v1.create(group, limits, None),
            Self::V2(v2) => v2.create_parent(group, limits),
        }
    }

    /// Makes the group of a container and writes its limits and device rules.
    pub(crate) fn create_container(
        &self,
        group: &Path,
        limits: &Limits,
        devices: &[DeviceRule],
    ) -> Result<(), CgroupError> {
        match self {
            Self::V1(v1) => v1.create(group, limits, Some(devices)),
            Self::V2(v2) => v2.create_leaf(group, limits, devices),
        }
    }

    /// Moves a process into the group, for the sake of its limits: the hierarchies with controllers.
    pub(crate) fn join(&self, group: &Path, pid: u32) -> Result<(), CgroupError> {
        let directories = match self {
            Self::V1(v1) => v1.controller_directories(group),
            Self::V2(v2) => vec![v2.path(group)],
        };
        for directory in directories {
            write(&directory.join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    /// The way into the group on every hierarchy, as one of those that are in it already.
    pub(crate) fn entrance(&self, group: &Path) -> Result<Entrance, CgroupError> {
        Entrance::open(self.directories(group))
    }

    /// The way back to where the memory of this process is counted now; none on the unified hierarchy, whose groups count all
    /// or nothing of a process.
    pub(crate) fn back_with_memory(&self) -> Option<Entrance> {
        let Self::V1(v1) = self else { return None };
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let group = v1::group_of("memory", &own)?;
        Entrance::open(vec![v1.path("memory", Path::new(group))?]).ok()
    }

    /// How often the kernel killed something in the group for want of memory; 0 when the group is gone.
    pub(crate) fn oom_kills(&self, group: &Path) -> u64 {
        let file = match self {
            Self::V1(v1) => v1.path("memory", group).map(|p| p.join("memory.oom_control")),
            Self::V2(v2) => Some(v2.path(group).join("memory.events")),
        };
        file.and_then(|f| keyed(&f, "oom_kill")).unwrap_or(0)
    }

    /// Whether the kernel can limit swap. `group` has been made, or is yet to be.
    pub(crate) fn accounts_swap(&self, group: &Path) -> bool {
        match self {
            Self::V1(v1) => v1
                .path("memory", Path::new(""))
                .is_none_or(|root| root.join("memory.memsw.limit_in_bytes").exists()),
            // The root has no such file, and a box without any group below it cannot say.
            Self::V2(v2) => {
                let group = v2.path(group);
                !group.join("memory.max").exists() || group.join("memory.swap.max").exists()
            }
        }
    }

    /// What the group used so far; zeroes when it is gone.
    pub(crate) fn usage(&self, group: &Path) -> Usage {
        let mut usage = match self {
            Self::V1(v1) => v1.usage(group),
            Self::V2(v2) => v2.usage(group),
        };
        (usage.cpu.of_box, usage.cpu.cores) = super::usage::of_box();
        usage
    }

    /// The names of the groups right below `group`.
    pub(crate) fn children(&self, group: &Path) -> BTreeSet<String> {
        self.directories(group)
            .iter()
            .filter_map(|d| fs::read_dir(d).ok())
            .flat_map(|entries| entries.filter_map(Result::ok))
            .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
            .filter_map(|e| e.file_name().into_string().ok())
            .collect()
    }

    /// Kills every process in the group and below it, and waits until they are gone.
    pub(crate) fn kill(&self, group: &Path) -> Result<(), CgroupError> {
        match self {
            Self::V1(v1) => v1.kill(group),
            Self::V2(v2) => v2.kill(group),
        }
        // A process that forks while it is being killed shows up in the next round.
        for _ in 0..1000 {
            let pids = self.processes(group);
            if pids.is_empty() {
                return Ok(());
            }
            for pid in pids {
                kill_and_wait(pid, Duration::from_secs(5));
            }
        }
        Err(CgroupError::Group {
            path: group.to_owned(),
            source: io::Error::other("processes keep appearing while they are killed"),
        })
    }

    /// Removes the group and those below it; they must be empty of processes.
    pub(crate) fn remove(&self, group: &Path) -> Result<(), CgroupError> {
        for directory in self.directories(group) {
            remove_group(&directory)?;
        }
        match self {
            Self::V1(_) => Ok(()),
            Self::V2(v2) => v2.protect_above(group),
        }
    }

    /// Removes the group if nothing is in it.
    pub(crate) fn remove_empty(&self, group: &Path) {
        for directory in self.directories(group) {
            // The kernel refuses while there is a group or a process in it.
            let _ = fs::remove_dir(directory);
        }
    }

    /// The processes in the group and below it.
    pub(crate) fn processes(&self, group: &Path) -> BTreeSet<i32> {
        let mut pids = BTreeSet::new();
        for directory in self.directories(group) {
            processes_below(&directory, &mut pids);
        }
        pids
    }

    fn directories(&self, group: &Path) -> Vec<PathBuf> {
        match self {
            Self::V1(v1) => v1.directories(group),
            Self::V2(v2) => vec![v2.path(group)],
        }
    }
}

fn processes_below(directory: &Path, pids: &mut BTreeSet<i32>) {
    if let Ok(text) = fs::read_to_string(directory.join("cgroup.procs")) {
        pids.extend(text.lines().filter_map(|l| l.parse::<i32>().ok()).filter(|pid| *pid > 0));
    }
    for child in fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
        if child.file_type().is_ok_and(|t| t.is_dir()) {
            processes_below(&child.path(), pids);
        }
    }
}

fn kill_and_wait(pid: i32, patience: Duration) {
    let Some(pid) = Pid::from_raw(pid) else { return };
    // The group still holds this process or a zombie, so the number cannot belong to another yet,
    // and the descriptor pins it from here on.
    let Ok(fd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    if pidfd_send_signal(&fd, Signal::KILL).is_ok() {
        let timeout = rustix::event::Timespec::try_from(patience).ok();
        let _ = poll(&mut [PollFd::new(&fd, PollFlags::IN)], timeout.as_ref());
    }
}

fn remove_group(directory: &Path) -> Result<(), CgroupError> {
    for child in fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
        if child.file_type().is_ok_and(|t| t.is_dir()) {
            remove_group(&child.path())?;
        }
    }
    match fs::remove_dir(directory) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(CgroupError::Group { path: directory.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn create_dir(path: &Path) -> Result<(), CgroupError> {
    fs::create_dir_all(path).map_err(|source| CgroupError::Group { path: path.to_owned(), source })
}

fn write(path: &Path, value: &str) -> Result<(), CgroupError> {
    fs::write(path, value).map_err(|source| CgroupError::Write {
        path: path.to_owned(),
        value: value.to_owned(),
        source,
    })
}

/// Writes a setting that this kernel may not have; everything else is an error.
fn write_if_present(path: &Path, value: &str) -> Result<(), CgroupError> {
    if path.exists() { write(path, value) } else { Ok(()) }
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The number after `key` in a file of `key number` lines.
fn keyed(path: &Path, key: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|l| {
        let (name, value) = l.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

/// A file of `key number` lines.
fn table(path: &Path) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let rows = text.lines().filter_map(|l| l.split_once(' '));
    rows.filter_map(|(key, value)| Some((key.to_owned(), value.trim().parse().ok()?))).collect()
}

/// The smallest limit in `file` of the group's directory and those above it, up to the memory of the box.
fn smallest_limit(directory: &Path, file: &str) -> u64 {
    let of_box = rustix::system::sysinfo();
    let memory = (of_box.totalram as u64).saturating_mul(u64::from(of_box.mem_unit));
    // Above the mount point there is no such file; "max" is no number, and no limit.
    directory.ancestors().filter_map(|d| number(&d.join(file))).fold(memory, u64::min)
}
