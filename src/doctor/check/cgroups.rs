//! The control groups: which version, and whether the controllers that tasks need are there. Memory is a check of its own.

use super::Check;
use crate::doctor::finding::Finding;
use crate::doctor::mount::{Mount, mounts};
use crate::doctor::subject::Subject;
use std::path::{Path, PathBuf};

pub(super) const CHECK: Check = Check::new(
    "cgroups",
    "Control groups are mounted, with the controllers cpu and pids (and devices, in version 1). Without them no task starts.",
    "Let systemd mount them; on a kernel without a controller use one with the option that is named.",
    |subject| judge(&Groups::of(subject)),
)
.of(super::Of::Box);

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Groups {
    None,
    /// Controllers and where they are mounted.
    V1(Vec<(String, PathBuf)>),
    /// Controllers and where the one hierarchy is mounted.
    V2(Vec<String>, PathBuf),
}

impl Groups {
    pub(super) fn of(subject: &Subject) -> Self {
        let read = |mount: &Mount| {
            // Tests have the file below their own root.
            let path = mount.point.join("cgroup.controllers");
            let text = subject.text(&path.to_string_lossy()).unwrap_or_default();
            text.split_whitespace().map(str::to_owned).collect()
        };
        Self::among(&mounts(subject), read)
    }

    fn among(mounts: &[Mount], controllers: impl Fn(&Mount) -> Vec<String>) -> Self {
        const KNOWN: [&str; 4] = ["memory", "cpu", "pids", "devices"];
        let old = mounts.iter().filter(|mount| mount.kind == "cgroup").flat_map(|mount| {
            let known = mount.super_options.iter().filter(|o| KNOWN.contains(&o.as_str()));
            known.map(|controller| (controller.clone(), mount.point.clone()))
        });
        let old: Vec<_> = old.collect();
        if !old.is_empty() {
            return Self::V1(old);
        }
        mounts
            .iter()
            .find(|mount| mount.kind == "cgroup2")
            .map_or(Self::None, |mount| Self::V2(controllers(mount), mount.point.clone()))
    }

    pub(super) fn has(&self, controller: &str) -> bool {
        match self {
            Self::None => false,
            Self::V1(found) => found.iter().any(|(name, _)| name == controller),
            Self::V2(found, _) => found.iter().any(|name| name == controller),
        }
    }

    /// Where the groups of a controller are.
    pub(super) fn at(&self, controller: &str) -> Option<&Path> {
        match self {
            Self::None => None,
            Self::V1(found) => {
                found.iter().find(|(name, _)| name == controller).map(|(_, path)| path.as_path())
            }
            Self::V2(_, path) => Some(path),
        }
    }
}

fn judge(groups: &Groups) -> Finding {
    let needed: &[(&str, &str)] = match groups {
        Groups::None => {
            let remedy = "boot with systemd, or: mount -t cgroup2 cgroup2 /sys/fs/cgroup";
            return Finding::error("no control groups are mounted", remedy);
        }
        Groups::V1(_) => {
            &[("cpu", "CGROUP_SCHED"), ("pids", "CGROUP_PIDS"), ("devices", "CGROUP_DEVICE")]
        }
        Groups::V2(..) => &[("cpu", "CGROUP_SCHED"), ("pids", "CGROUP_PIDS")],
    };
    let missing = needed.iter().filter(|(name, _)| !groups.has(name));
    let wrong = missing.map(|(name, option)| {
        Finding::error(
            format!("the controller {name} is missing"),
            format!(
                "use a kernel with CONFIG_{option}; inside of a container or a delegated group: have the controller delegated (systemd: Delegate=yes)"
            ),
        )
    });
    Finding::all(wrong.collect(), || match groups {
        Groups::V2(controllers, _) => {
            Finding::ok(format!("version 2, with {}", controllers.join(" ")))
        }
        _ => Finding::ok("version 1, with all controllers that tasks need".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;
    use crate::doctor::mount::parse;

    #[test]
    fn both_versions_and_what_they_lack() {
        let two = parse("30 22 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n");
        let of = |list: &'static str| {
            Groups::among(&two, |_| list.split(' ').map(str::to_owned).collect())
        };
        assert_eq!(judge(&of("cpuset cpu io pids")).status, Status::Ok);
        let poor = judge(&of("cpu io memory"));
        assert!(poor.status == Status::Error && poor.found.contains("pids"), "{poor:?}");
        assert!(of("cpu").at("memory").is_some() && !of("cpu").has("memory"));
        let one = parse(
            "31 22 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             32 22 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
             33 22 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        );
        let groups = Groups::among(&one, |_| Vec::new());
        let finding = judge(&groups);
        assert!(finding.found.contains("devices") && finding.remedy.unwrap().contains("DEVICE"));
        assert_eq!(groups.at("pids"), Some(Path::new("/sys/fs/cgroup/pids")));
        assert_eq!(judge(&Groups::None).status, Status::Error);
    }
}
