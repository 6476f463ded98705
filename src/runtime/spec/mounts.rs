//! Mounts of a container: Docker's defaults, the task's volumes, memory file systems.

use super::SpecError;
use super::rootfs::create_host_dir;
use crate::model::task_definition::{ContainerDefinition, Tmpfs, Volume};
use crate::runtime::launch::LaunchFile;
use serde_json::{Value, json};
use std::path::{Component, Path, PathBuf};

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

/// The definition's own mounts, those of outer directories first.
pub(crate) fn of_definition(launch: &LaunchFile) -> Result<Vec<Value>, SpecError> {
    let mut mounts: Vec<(PathBuf, Value)> = Vec::new();
    for point in launch.definition.mount_points.iter().flatten() {
        let name = point.source_volume.as_deref().unwrap_or_default();
        let target = target(point.container_path.as_deref().unwrap_or_default())?;
        let source = volume_directory(launch, name)?;
        let mut options = vec!["rbind", "rprivate"];
        if point.read_only == Some(true) {
            // `rro` makes what is mounted below read-only as well.
            options.extend(["ro", "rro"]);
        }
        mounts.push((target.clone(), bind(&source, &target, &options)));
    }
    let linux = launch.definition.linux_parameters.as_ref();
    for tmpfs in linux.and_then(|l| l.tmpfs.as_ref()).into_iter().flatten() {
        let target = target(tmpfs.container_path.as_deref().unwrap_or_default())?;
        mounts.push((target.clone(), memory(tmpfs, &target)));
    }
    mounts.sort_by_key(|(target, _)| target.components().count());
    Ok(mounts.into_iter().map(|(_, mount)| mount).collect())
}

/// The directory on the host that a volume stands for; made when it is missing.
fn volume_directory(launch: &LaunchFile, name: &str) -> Result<PathBuf, SpecError> {
    let unsupported = |what: &str| SpecError::Volume {
        volume: name.to_owned(),
        reason: format!("{what} is not supported on this box"),
    };
    let volume =
        launch.volumes.iter().find(|v| v.name.as_deref() == Some(name)).ok_or_else(|| {
            SpecError::Volume {
                volume: name.to_owned(),
                reason: "the task definition has no such volume".to_owned(),
            }
        })?;
    if volume.efs_volume_configuration.is_some() {
        return Err(unsupported("efsVolumeConfiguration"));
    }
    if volume.s3files_volume_configuration.is_some() {
        return Err(unsupported("s3filesVolumeConfiguration"));
    }
    if volume.fsx_windows_file_server_volume_configuration.is_some() {
        return Err(unsupported("fsxWindowsFileServerVolumeConfiguration"));
    }
    let directory = match docker_volume(launch, volume) {
        Some(directory) => directory?,
        None => match volume.host.as_ref().and_then(|h| h.source_path.as_deref()) {
            Some(path) if !path.is_empty() => {
                let path = PathBuf::from(path);
                if !path.is_absolute() {
                    return Err(SpecError::Volume {
                        volume: name.to_owned(),
                        reason: format!("sourcePath {} is not absolute", path.display()),
                    });
                }
                path
            }
            _ => launch.layout.scratch_volume(&launch.task, name),
        },
    };
    create_host_dir(&directory)
        .map_err(|source| SpecError::File { path: directory.clone(), source })?;
    Ok(directory)
}

/// A Docker volume of the local driver is a directory of ours: the task's, or one that outlives it.
fn docker_volume(launch: &LaunchFile, volume: &Volume) -> Option<Result<PathBuf, SpecError>> {
    let configuration = volume.docker_volume_configuration.as_ref()?;
    let name = volume.name.as_deref().unwrap_or_default();
    let refuse = |reason: String| Err(SpecError::Volume { volume: name.to_owned(), reason });
    if let Some(driver) = configuration.driver.as_deref().filter(|d| *d != "local") {
        return Some(refuse(format!("the volume driver {driver} is not supported on this box")));
    }
    if configuration.driver_opts.as_ref().is_some_and(|o| !o.is_empty()) {
        return Some(refuse("driverOpts are not supported on this box".to_owned()));
    }
    if configuration.scope.as_deref() != Some("shared") {
        return Some(Ok(launch.layout.scratch_volume(&launch.task, name)));
    }
    let shared = launch.layout.state_dir.join("volumes").join(name);
    if !shared.exists() && configuration.autoprovision != Some(true) {
        return Some(refuse("there is no such shared volume and autoprovision is off".to_owned()));
    }
    Some(Ok(shared))
}

pub(super) fn target(path: impl Into<PathBuf>) -> Result<PathBuf, SpecError> {
    let path = path.into();
    let up = path.components().any(|c| c == Component::ParentDir);
    if !path.is_absolute() || up || path == Path::new("/") {
        return Err(SpecError::Target(path));
    }
    Ok(path)
}

fn memory(tmpfs: &Tmpfs, target: &Path) -> Value {
    let size = format!("size={}m", tmpfs.size.unwrap_or(0).max(0));
    let mut options: Vec<&str> = vec!["nosuid", "nodev", "noexec", &size];
    options.extend(
        tmpfs.mount_options.iter().flatten().map(String::as_str).filter(|o| *o != "defaults"),
    );
    json!({"type": "tmpfs", "source": "tmpfs", "destination": target, "options": options})
}

fn mount(kind: &str, source: &str, target: &str, options: &[&str]) -> Value {
    json!({"type": kind, "source": source, "destination": target, "options": options})
}

pub(super) fn bind(source: &Path, target: &Path, options: &[&str]) -> Value {
    json!({"type": "bind", "source": source, "destination": target, "options": options})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_that_leave_the_root_are_refused() {
        for bad in ["", "data", "/", "/a/../../etc"] {
            assert!(target(bad).is_err(), "{bad}");
        }
        assert_eq!(target("/data").unwrap(), PathBuf::from("/data"));
    }
}
