//! Mounts of a container: Docker's defaults, and what [`crate::runtime::volume`] has made ready.

use crate::model::task_definition::ContainerDefinition;
use crate::runtime::launch::LaunchFile;
use crate::runtime::volume::Staged;
use serde_json::{Value, json};
use std::path::Path;

/// `/dev/shm` unless the definition says otherwise, in MiB.
const SHM_MIB: i64 = 64;

/// What every container gets.
///
/// `shared_memory` is what is to be `/dev/shm`, where that is not the container's own.
pub(crate) fn standard(
    launch: &LaunchFile,
    cgroup_view: Option<&Path>,
    shared_memory: Option<&Path>,
) -> Vec<Value> {
    let definition = &launch.definition;
    let privileged = definition.privileged == Some(true);
    let access = if privileged { "rw" } else { "ro" };
    let mut mounts = vec![
        mount("proc", "proc", "/proc", &["nosuid", "noexec", "nodev"]),
        mount("tmpfs", "tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "devpts",
            "devpts",
            "/dev/pts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("sysfs", "sysfs", "/sys", &["nosuid", "noexec", "nodev", access]),
        match cgroup_view {
            // Its mounts are read-only or not already.
            Some(view) => bind(view, Path::new("/sys/fs/cgroup"), &["rbind", "rprivate"]),
            None => {
                mount("cgroup", "cgroup", "/sys/fs/cgroup", &["nosuid", "noexec", "nodev", access])
            }
        },
        mount("mqueue", "mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
    ];
    let shm = Path::new("/dev/shm");
    let flags = ["nosuid", "noexec", "nodev"];
    match (shared_memory, launch.ipc_mode.as_deref()) {
        (Some(task), _) => {
            mounts.push(bind(task, shm, &[&["bind", "rprivate"][..], &flags].concat()));
        }
        (None, Some("host")) => {
            mounts.push(bind(shm, shm, &[&["bind", "rprivate"][..], &flags].concat()));
        }
        // A private namespace, and nothing to share memory by.
        (None, Some("none")) => {}
        (None, _) => {
            let size = format!("size={}k", shared_memory_mib(definition).saturating_mul(1024));
            let options = [&flags[..], &["mode=1777", &size]].concat();
            mounts.push(mount("tmpfs", "shm", "/dev/shm", &options));
        }
    }
    mounts
}

/// `sharedMemorySize`, or its default.
pub(crate) fn shared_memory_mib(definition: &ContainerDefinition) -> i64 {
    let linux = definition.linux_parameters.as_ref();
    linux.and_then(|l| l.shared_memory_size).filter(|size| *size > 0).unwrap_or(SHM_MIB)
}

/// The definition's own mounts.
pub(crate) fn of_definition(staged: &[Staged]) -> Vec<Value> {
    let mount = |mount: &Staged| {
        let mut options = vec!["rbind", "rprivate"];
        if mount.read_only {
            // `rro` makes what is mounted below read-only as well.
            options.extend(["ro", "rro"]);
        }
        bind(&mount.source, &mount.target, &options)
    };
    staged.iter().map(mount).collect()
}

fn mount(kind: &str, source: &str, target: &str, options: &[&str]) -> Value {
    json!({"type": kind, "source": source, "destination": target, "options": options})
}

pub(super) fn bind(source: &Path, target: &Path, options: &[&str]) -> Value {
    json!({"type": "bind", "source": source, "destination": target, "options": options})
}
