//! From mount points to directories of the box: makes what is missing, mounts what is a file system.

use super::catalog::Volumes;
use super::error::{VolumeError, file};
use super::holder::Holder;
use super::lock::Lock;
use super::mounted;
use crate::model::task_definition::{
    DockerVolumeConfiguration, LocalVolume, MountFlag, MountOptions, MountPoint, Volume,
};
use crate::runtime::launch::LaunchFile;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// A volume at a mount point.
#[derive(Debug)]
pub(crate) struct Provided {
    pub(super) volume: String,
    /// In the container.
    pub(super) target: PathBuf,
    /// On the box; may be a file.
    pub(super) source: PathBuf,
    pub(super) read_only: bool,
    /// With what is mounted below it.
    pub(super) recursive: bool,
    /// Of the volume itself.
    pub(super) options: MountOptions,
    /// For volumes that begin with what the image has at the mount point.
    pub(super) fill: Option<Fill>,
}

/// What it takes to fill a volume once.
#[derive(Debug)]
pub(super) struct Fill {
    pub(super) guard: Guard,
    /// There while it is being done.
    pub(super) marker: PathBuf,
    /// It must be there after a power cut.
    pub(super) durable: bool,
}

/// Whose lock keeps others from filling it at the same time.
#[derive(Debug)]
pub(super) enum Guard {
    Shared(Volumes, String),
    Task(PathBuf),
}

impl Guard {
    pub(super) fn lock(&self) -> Result<Lock, VolumeError> {
        match self {
            Self::Shared(volumes, name) => volumes.lock(name),
            Self::Task(path) => Lock::wait(path).map_err(file(path)),
        }
    }
}

/// True when the launch mounts file systems that other containers use too, which takes a namespace of the shim's own.
pub(crate) fn needs_namespace(launch: &LaunchFile) -> Result<bool, VolumeError> {
    for point in mount_points(launch) {
        let name = name_of(point);
        let volume = find(launch, name)?;
        let Some(docker) = &volume.docker_volume_configuration else { continue };
        let stated = docker.driver_opts.clone().unwrap_or_default();
        let options = match docker.scope.as_deref() {
            Some("shared") => Volumes::new(launch.volumes_dir.clone())
                .find(name)?
                .map_or(stated, |v| v.driver_opts),
            _ => stated,
        };
        if let LocalVolume::Mounted { .. } = parse(name, &options)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Provides the volumes of all mount points; `own_namespace` tells that the shim does not share the host's mounts.
pub(crate) fn provide(
    launch: &LaunchFile,
    own_namespace: bool,
) -> Result<Vec<Provided>, VolumeError> {
    let mut provided: Vec<Provided> = Vec::new();
    for point in mount_points(launch) {
        let target = target(point.container_path.as_deref().unwrap_or_default())?;
        if provided.iter().any(|known| known.target == target) {
            return Err(VolumeError::Twice(target));
        }
        let volume = find(launch, name_of(point))?;
        let mut one = of_volume(launch, volume, own_namespace)?;
        one.target = target;
        one.read_only = point.read_only == Some(true);
        provided.push(one);
    }
    Ok(provided)
}

fn mount_points(launch: &LaunchFile) -> impl Iterator<Item = &MountPoint> {
    launch.definition.mount_points.iter().flatten().chain(&launch.inherited_mounts)
}

fn name_of(point: &MountPoint) -> &str {
    point.source_volume.as_deref().unwrap_or_default()
}

fn find<'a>(launch: &'a LaunchFile, name: &str) -> Result<&'a Volume, VolumeError> {
    let mut volumes = launch.volumes.iter();
    volumes
        .find(|volume| volume.name.as_deref() == Some(name))
        .ok_or_else(|| VolumeError::Undefined(name.to_owned()))
}

/// A path in a container that may be covered.
pub(super) fn target(path: &str) -> Result<PathBuf, VolumeError> {
    let path: PathBuf = Path::new(path).components().collect();
    let up = path.components().any(|c| c == Component::ParentDir);
    if !path.is_absolute() || up || path == Path::new("/") {
        return Err(VolumeError::Target(path));
    }
    Ok(path)
}

fn of_volume(
    launch: &LaunchFile,
    volume: &Volume,
    own_namespace: bool,
) -> Result<Provided, VolumeError> {
    let name = volume.name.as_deref().unwrap_or_default();
    for (there, what) in [
        (volume.efs_volume_configuration.is_some(), "efsVolumeConfiguration"),
        (volume.s3files_volume_configuration.is_some(), "s3filesVolumeConfiguration"),
        (
            volume.fsx_windows_file_server_volume_configuration.is_some(),
            "fsxWindowsFileServerVolumeConfiguration",
        ),
        (volume.configured_at_launch == Some(true), "configuredAtLaunch"),
    ] {
        if there {
            return Err(unsupported(name, format!("{what} is not supported on this box")));
        }
    }
    if let Some(docker) = &volume.docker_volume_configuration {
        if let Some(driver) = docker.driver.as_deref().filter(|d| *d != "local") {
            return Err(unsupported(
                name,
                format!("the volume driver {driver} is not supported: use local"),
            ));
        }
        return match docker.scope.as_deref() {
            Some("shared") => shared(launch, name, docker, own_namespace),
            _ => of_task(launch, name, docker.driver_opts.as_ref(), own_namespace),
        };
    }
    let host = volume.host.as_ref().and_then(|host| host.source_path.as_deref());
    let Some(path) = host.filter(|path| !path.is_empty()) else {
        return of_task(launch, name, None, own_namespace);
    };
    let path = PathBuf::from(path);
    if !path.is_absolute() {
        return Err(unsupported(name, format!("sourcePath {} is not absolute", path.display())));
    }
    // As Docker: what is not there becomes a directory.
    if fs::metadata(&path).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        fs::create_dir_all(&path).map_err(file(&path))?;
    }
    Ok(plain(name, path))
}

fn plain(name: &str, source: PathBuf) -> Provided {
    Provided {
        volume: name.to_owned(),
        target: PathBuf::new(),
        source,
        read_only: false,
        recursive: true,
        options: MountOptions::default(),
        fill: None,
    }
}

fn unsupported(name: &str, reason: String) -> VolumeError {
    VolumeError::Unsupported { volume: name.to_owned(), reason }
}

fn parse(name: &str, options: &BTreeMap<String, String>) -> Result<LocalVolume, VolumeError> {
    LocalVolume::parse(options).map_err(|error| unsupported(name, error.to_string()))
}

/// A volume that ends with the task.
fn of_task(
    launch: &LaunchFile,
    name: &str,
    options: Option<&BTreeMap<String, String>>,
    own_namespace: bool,
) -> Result<Provided, VolumeError> {
    let kind = options.map_or(Ok(LocalVolume::Directory), |options| parse(name, options))?;
    let directory = launch.layout.scratch_volume(&launch.task, name);
    fs::create_dir_all(&directory).map_err(file(&directory))?;
    let all = directory.parent().unwrap_or(&directory);
    // Names of volumes hold no dots.
    let guard = Guard::Task(all.join(".lock"));
    let copying = all.join(".copying");
    fs::create_dir_all(&copying).map_err(file(&copying))?;
    let fill = Fill { guard, marker: copying.join(name), durable: false };
    let _lock = fill.guard.lock()?;
    let writable = is_writable(&kind);
    let mut provided = local(name, kind, directory, own_namespace, std::iter::empty())?;
    provided.fill = writable.then_some(fill);
    Ok(provided)
}

/// A volume that outlives the task.
fn shared(
    launch: &LaunchFile,
    name: &str,
    docker: &DockerVolumeConfiguration,
    own_namespace: bool,
) -> Result<Provided, VolumeError> {
    let volumes = Volumes::new(launch.volumes_dir.clone());
    let empty = BTreeMap::new();
    let stated = docker.driver_opts.as_ref().unwrap_or(&empty);
    let auto = docker.autoprovision == Some(true);
    if !auto && volumes.find(name)?.is_none() {
        return Err(VolumeError::Missing(name.to_owned()));
    }
    if auto {
        parse(name, stated)?;
    }
    let _lock = volumes.lock(name)?;
    let volume = if auto {
        volumes.create_locked(name, stated, docker.labels.as_ref().unwrap_or(&empty))?
    } else {
        // As ECS: one that somebody else provides is used as it is.
        volumes.find(name)?.ok_or_else(|| VolumeError::Missing(name.to_owned()))?
    };
    if !stated.is_empty() && *stated != volume.driver_opts {
        return Err(VolumeError::Differs {
            volume: name.to_owned(),
            what: "driverOpts",
            remedy: "leave driverOpts out to use it as it is",
        });
    }
    let kind = parse(name, &volume.driver_opts)?;
    let shim = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    let holder = Holder::of(shim)
        .map_err(|source| VolumeError::Share { volume: name.to_owned(), source })?;
    let others: Vec<Holder> =
        volumes.holders(name)?.into_iter().map(|(_, h)| h).filter(|h| *h != holder).collect();
    // First, so that whoever comes after a mount finds it.
    volumes.hold(name, &launch.task, holder)?;
    let data = volumes.data(name);
    let writable = is_writable(&kind);
    let mut provided = local(name, kind, data, own_namespace, others.into_iter())?;
    let marker = volumes.copying(name);
    let guard = Guard::Shared(volumes, name.to_owned());
    provided.fill = writable.then_some(Fill { guard, marker, durable: true });
    Ok(provided)
}

fn is_writable(kind: &LocalVolume) -> bool {
    match kind {
        LocalVolume::Directory => true,
        LocalVolume::Bind { options, .. } | LocalVolume::Mounted { options, .. } => {
            !options.flags.contains(&MountFlag::ReadOnly)
        }
    }
}

/// A volume of the local driver whose directory is there and whose lock is held.
fn local(
    name: &str,
    kind: LocalVolume,
    directory: PathBuf,
    own_namespace: bool,
    others: impl Iterator<Item = Holder>,
) -> Result<Provided, VolumeError> {
    match kind {
        LocalVolume::Directory => Ok(plain(name, directory)),
        LocalVolume::Bind { device, recursive, options } => {
            let device = PathBuf::from(device);
            // Unlike a host path it is not made: a disk that is not mounted must not be written beside.
            fs::metadata(&device).map_err(file(&device))?;
            Ok(Provided { recursive, options, ..plain(name, device) })
        }
        LocalVolume::Mounted { file_system, device, options } => {
            if !own_namespace {
                // It was another volume a moment ago.
                return Err(VolumeError::Busy(name.to_owned()));
            }
            let there = mounted::is_mounted(&directory).map_err(file(&directory))?;
            let share = |source| VolumeError::Share { volume: name.to_owned(), source };
            if !there && !mounted::take_from(others, &directory).map_err(share)? {
                mounted::mount_at(name, &file_system, &device, &options, &directory)?;
            }
            Ok(plain(name, directory))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_that_leave_the_root_are_refused() {
        for bad in ["", "data", "/", "/.", "//", "/a/../../etc"] {
            assert!(target(bad).is_err(), "{bad}");
        }
        for path in ["/data", "/data/", "//data/."] {
            assert_eq!(target(path).unwrap(), PathBuf::from("/data"));
        }
    }
}
