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
    // Asking for it loads the module. Kernels before 5.2 cannot be asked this way.
    if let Err(Errno::NODEV) = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
        return Err(PreflightError::NoOverlay);
    }
    let hierarchy = Hierarchy::detect()?;
    hierarchy.check()?;
    Ok(hierarchy)
}
