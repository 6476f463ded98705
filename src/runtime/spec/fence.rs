//! What is hidden from a container, and what neither its image nor its definition may put in the way of that.
//!
//! libcontainer resolves the targets of mounts inside of the root file system, but makes the entries of `/dev` by plain
//! paths, and masks what it finds under plain names. So `/dev`, `/proc` and `/sys` must be what they seem.

use super::SpecError;
use super::rootfs::RootFs;
use serde_json::Value;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Files and directories that a container cannot see, as in Docker.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What may be mounted over files of `/proc`: what lxcfs provides.
const OVER_PROC: [&str; 9] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
];

/// `maskedPaths` and `readonlyPaths` of the OCI specification.
pub(super) fn hidden(privileged: bool) -> (Vec<PathBuf>, Vec<PathBuf>) {
    if privileged {
        return (Vec::new(), Vec::new());
    }
    let mut masked: Vec<PathBuf> = MASKED.iter().map(PathBuf::from).collect();
    // How hot a processor gets tells what others do, as its interrupts do.
    let processors = fs::read_dir("/sys/devices/system/cpu").into_iter().flatten();
    let throttles =
        processors.filter_map(Result::ok).map(|cpu| cpu.path().join("thermal_throttle"));
    masked.extend(throttles.filter(|path| path.is_dir()));
    (masked, READ_ONLY.iter().map(PathBuf::from).collect())
}

/// # Errors
/// When the image has a link, or a file, where the kernel's file systems are to be mounted.
pub(super) fn check_image(rootfs: &RootFs) -> Result<(), SpecError> {
    for path in ["/dev", "/proc", "/sys"] {
        let plain = rootfs
            .is_directory_or_absent(path)
            .map_err(|source| SpecError::File { path: path.into(), source })?;
        if !plain {
            return Err(SpecError::Invalid(format!(
                "{path} of the image is not a directory; containers need it for the kernel's files"
            )));
        }
    }
    Ok(())
}

/// # Errors
/// When one of the definition's own mounts would hide the kernel's files, which then could not be fenced.
pub(super) fn check_targets(mounts: &[Value]) -> Result<(), SpecError> {
    mounts.iter().filter_map(|mount| mount["destination"].as_str()).try_for_each(check_target)
}

fn check_target(target: &str) -> Result<(), SpecError> {
    let path = plain(target);
    if path == Path::new("/dev") {
        return Err(SpecError::Invalid(format!(
            "containerPath {target:?}: nothing can be mounted over /dev; name what is needed in linuxParameters.devices"
        )));
    }
    let over_files = OVER_PROC.iter().any(|file| path == Path::new(file));
    if path.starts_with("/proc") && !over_files {
        return Err(SpecError::Invalid(format!(
            "containerPath {target:?}: nothing can be mounted over /proc; mount what is needed elsewhere"
        )));
    }
    Ok(())
}

/// # Errors
/// When a device is to be somewhere else than below `/dev`, or below something that is mounted there.
pub(super) fn check_devices(nodes: &[Value], mounts: &[Value]) -> Result<(), SpecError> {
    let targets = targets_below_dev(mounts);
    for node in nodes.iter().filter_map(|node| node["path"].as_str()) {
        let path = plain(node);
        let up = Path::new(node).components().any(|part| part == Component::ParentDir);
        if up || !path.starts_with("/dev") || path == Path::new("/dev") {
            return Err(SpecError::Invalid(format!(
                "linuxParameters.devices: containerPath {node:?} must be below /dev and without .."
            )));
        }
        if let Some(target) = targets.iter().find(|target| path.starts_with(target)) {
            return Err(SpecError::Invalid(format!(
                "linuxParameters.devices: containerPath {node:?} is below the mount {}",
                target.display()
            )));
        }
    }
    Ok(())
}

/// Leaves those devices of the box out that would be below something that is mounted there.
pub(super) fn leave_mounts_alone(nodes: &mut Vec<Value>, mounts: &[Value]) {
    let targets = targets_below_dev(mounts);
    let covered = |path: &Path| targets.iter().any(|target| path.starts_with(target));
    nodes.retain(|node| !node["path"].as_str().is_some_and(|path| covered(&plain(path))));
}

fn targets_below_dev(mounts: &[Value]) -> Vec<PathBuf> {
    let targets = mounts.iter().filter_map(|mount| mount["destination"].as_str()).map(plain);
    targets.filter(|target| target != Path::new("/dev") && target.starts_with("/dev")).collect()
}

/// The path without `.` and repeated slashes.
fn plain(path: &str) -> PathBuf {
    Path::new(path).components().filter(|part| *part != Component::CurDir).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_kernels_files_are_not_covered() {
        for bad in
            ["/dev", "/dev/", "//dev/.", "/proc", "/proc/sys", "/proc/self/attr", "/./proc/1"]
        {
            assert!(check_target(bad).is_err(), "{bad}");
        }
        for good in ["/dev/shm", "/process", "/device", "/sys", "/proc/meminfo", "/data"] {
            assert!(check_target(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn devices_stay_below_dev() {
        let mounts = [json!({"destination": "/dev"}), json!({"destination": "/dev/vol/"})];
        let check = |path: &str| check_devices(&[json!({"path": path})], &mounts);
        for bad in ["/tmp/x", "/dev", "/dev/../x", "/dev/vol/x", "/dev/vol", "dev/x"] {
            assert!(check(bad).is_err(), "{bad}");
        }
        for good in ["/dev/x", "/dev/snd/x", "/dev/volume"] {
            assert!(check(good).is_ok(), "{good}");
        }
        let mut nodes = vec![json!({"path": "/dev/vol/x"}), json!({"path": "/dev/x"})];
        leave_mounts_alone(&mut nodes, &mounts);
        assert_eq!(nodes, [json!({"path": "/dev/x"})]);
    }
}
