//! overlayfs, which puts the layers of an image on top of each other.

use super::Check;
use crate::doctor::feature::{Support, module, remedy};
use crate::doctor::finding::Finding;
use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, fsconfig_create, fsconfig_set_string, fsopen};

pub(super) const CHECK: Check = Check::new(
    "overlayfs",
    "The kernel has overlayfs, and root may mount it. Without it no container starts.",
    "`modprobe overlay`, or a kernel with CONFIG_OVERLAY_FS.",
    |subject| {
        let listed = subject.text("/proc/filesystems").unwrap_or_default();
        let listed =
            listed.lines().any(|line| line.trim_start_matches("nodev").trim() == "overlay");
        let support = if listed { Support::Present } else { module(subject, "overlay") };
        // Asking for what is not there yet would load it.
        let tried = (support == Support::Present && subject.is_root()).then(mount);
        judge(support, tried, &remedy(subject, "CONFIG_OVERLAY_FS"))
    },
)
.of(super::Of::Box)
.at_leisure();

/// Makes an overlay of two directories, read-only, that is mounted nowhere and gone with its descriptor.
fn mount() -> Result<(), Errno> {
    let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&overlay, "lowerdir", "/etc:/var")?;
    fsconfig_create(&overlay)
}

fn judge(support: Support, tried: Option<Result<(), Errno>>, remedy: &str) -> Finding {
    match (support, tried) {
        (Support::Missing, _) => Finding::error("the kernel has no overlayfs", remedy),
        (Support::Unknown, _) => {
            Finding::skipped("the kernel does not tell whether it has overlayfs")
        }
        (Support::Loadable, _) => {
            Finding::ok("overlayfs is a module, which is loaded when it is needed")
        }
        // Before 5.2 a kernel cannot be asked this way.
        (Support::Present, None | Some(Ok(()) | Err(Errno::NOSYS))) => {
            Finding::ok("overlayfs is there")
        }
        (Support::Present, Some(Err(error))) => Finding::error(
            format!("overlayfs is there, but cannot be mounted: {error}"),
            "run the agent outside of a confined container, or give that CAP_SYS_ADMIN and let it mount overlays (docker: --privileged)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;
    use crate::doctor::subject::a_box;

    #[test]
    fn there_missing_and_forbidden() {
        assert_eq!(judge(Support::Present, None, "").status, Status::Ok);
        assert_eq!(judge(Support::Loadable, None, "").status, Status::Ok);
        let refused = judge(Support::Present, Some(Err(Errno::PERM)), "");
        assert!(refused.status == Status::Error && refused.found.contains("cannot be mounted"));
        let (_dir, subject) = a_box(&[
            ("/proc/filesystems", "nodev\ttmpfs\n\text4\n"),
            ("/proc/sys/kernel/osrelease", "6.1.0"),
            ("/lib/modules/6.1.0/modules.dep", "kernel/fs/ext4/ext4.ko:\n"),
        ]);
        let missing = (CHECK.run)(&subject);
        assert_eq!(missing.status, Status::Error);
        assert!(missing.remedy.unwrap().contains("CONFIG_OVERLAY_FS"));
        let (_dir, subject) = a_box(&[("/proc/filesystems", "nodev\toverlay\n")]);
        assert_eq!((CHECK.run)(&subject).status, Status::Ok);
    }

    #[test]
    fn on_a_box_that_has_it_root_can_mount_one() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        assert_eq!(mount(), Ok(()));
    }
}
