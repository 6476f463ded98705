//! Whether the kernel accounts swap, so that a container's limit of it has an effect.

use super::Check;
use super::cgroups::Groups;
use crate::doctor::finding::Finding;
use crate::doctor::subject::Subject;
use std::path::Path;

pub(super) const CHECK: Check = Check::new(
    "swap",
    "The kernel counts swap per control group; otherwise `maxSwap` of a container has no effect, and a container over its memory limit goes on in swap.",
    "Add `swapaccount=1` to the kernel's command line (Raspberry Pi: `/boot/firmware/cmdline.txt`) and reboot.",
    |subject| judge(&Reading::of(subject)),
)
.of(super::Of::Box);

struct Reading {
    has_swap: bool,
    memory: bool,
    /// None: nothing tells.
    accounted: Option<bool>,
}

impl Reading {
    fn of(subject: &Subject) -> Self {
        let groups = Groups::of(subject);
        let exists = |path: &Path| subject.path(&path.to_string_lossy()).exists();
        let accounted = match (&groups, groups.at("memory")) {
            (Groups::V1(_), Some(path)) => Some(exists(&path.join("memory.memsw.limit_in_bytes"))),
            // The root has no such file, so any group below it that has the controller tells.
            (Groups::V2(..), Some(root)) => {
                let below = subject.names(&root.to_string_lossy());
                let mut groups = below.iter().map(|name| root.join(name));
                let group = groups.find(|group| exists(&group.join("memory.max")));
                group.map(|group| exists(&group.join("memory.swap.max")))
            }
            _ => None,
        };
        let swaps = subject.text("/proc/swaps").unwrap_or_default();
        Self { has_swap: swaps.lines().count() > 1, memory: groups.has("memory"), accounted }
    }
}

fn judge(reading: &Reading) -> Finding {
    match (reading.memory, reading.accounted, reading.has_swap) {
        (false, ..) => Finding::skipped("there is no memory controller"),
        (_, Some(true), _) => Finding::ok("swap is counted per control group"),
        (_, _, false) => Finding::ok("the box has no swap that had to be counted"),
        (_, None, _) => Finding::skipped("no control group tells whether swap is counted"),
        (_, Some(false), _) => Finding::warning(
            "swap is not counted per control group: maxSwap of containers has no effect",
            "add swapaccount=1 to the kernel's command line (Raspberry Pi: the one line of /boot/firmware/cmdline.txt) and reboot",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;
    use crate::doctor::subject::a_box;

    #[test]
    fn a_group_below_the_root_tells() {
        let mount = ("/proc/self/mountinfo", "30 22 0:26 / /cg rw - cgroup2 cgroup2 rw\n");
        let controllers = ("/cg/cgroup.controllers", "cpu memory");
        let swaps = ("/proc/swaps", "Filename Type\n/dev/zram0 partition\n");
        let limit = ("/cg/system.slice/memory.max", "max");
        let status = |files: &[(&str, &str)]| (CHECK.run)(&a_box(files).1).status;
        assert_eq!(status(&[mount, controllers, swaps, limit]), Status::Warning);
        let accounted = ("/cg/system.slice/memory.swap.max", "max");
        assert_eq!(status(&[mount, controllers, swaps, limit, accounted]), Status::Ok);
        assert_eq!(status(&[mount, controllers, limit]), Status::Ok);
        assert_eq!(status(&[mount, controllers, swaps]), Status::Skipped);
        assert_eq!(status(&[mount]), Status::Skipped);
    }
}
