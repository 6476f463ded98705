//! What the box must have; each lack is one line with its remedy.

use super::cgroup::{CgroupError, Hierarchy};
use caps::{CapSet, Capability};
use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, fsopen};

/// Why containers cannot run here.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// Not root.
    #[error("must run as root")]
    NotRoot,
    /// Root without the rights of root.
    #[error("CAP_SYS_ADMIN is missing; run outside of a confined container")]
    NotPrivileged,
    /// No overlayfs.
    #[error(
        "the kernel has no overlayfs; load the module with `modprobe overlay` or build with CONFIG_OVERLAY_FS"
    )]
    NoOverlay,
    /// No control groups, or not all controllers.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
}

/// Looks, and returns the control group hierarchy.
pub(super) fn check() -> Result<Hierarchy, PreflightError> {
    if !rustix::process::geteuid().is_root() {
        return Err(PreflightError::NotRoot);
    }
    if !caps::has_cap(None, CapSet::Effective, Capability::CAP_SYS_ADMIN).unwrap_or(false) {
        return Err(PreflightError::NotPrivileged);
    }
    if !has_overlay() {
        return Err(PreflightError::NoOverlay);
    }
    let hierarchy = Hierarchy::detect()?;
    hierarchy.check()?;
    Ok(hierarchy)
}

/// What is loaded is listed, and asking for what is not loads its module. It is not asked without need: a question that
/// leads to no mount makes the kernel wait for all its processors.
fn has_overlay() -> bool {
    std::fs::read_to_string("/proc/filesystems").is_ok_and(|text| lists_overlay(&text))
        // Kernels before 5.2 cannot be asked this way.
        || !matches!(fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC), Err(Errno::NODEV))
}

/// Lines of `/proc/filesystems` are `[nodev]`, a tab, and a name.
fn lists_overlay(text: &str) -> bool {
    text.lines().any(|line| line.split_once('\t').is_some_and(|(_, name)| name == "overlay"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlayfs_is_listed_by_its_whole_name() {
        assert!(lists_overlay("nodev\tproc\n\text4\nnodev\toverlay\n"));
        assert!(!lists_overlay("nodev\toverlayfs\n\text4\n"));
        assert!(!lists_overlay(""));
    }
}
