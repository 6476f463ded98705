//! Staging: every mount of a container is made ready in a place of its own, in the creator's private mount namespace.
//!
//! libcontainer then only binds it. What is cloned here loses its propagation first, so nothing that is mounted on the
//! host later shows in the container; and mounts in memory get every flag that was asked for, of which libcontainer knows
//! some only.

use super::error::{VolumeError, file};
use super::late::Late;
use super::mounted::kernel_flags;
use super::provide::{Provided, target};
use crate::model::task_definition::{MountOptions, Propagation, Tmpfs};
use crate::runtime::launch::LaunchFile;
use crate::runtime::spec::rootfs::RootFs;
use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_change,
    mount_remount, move_mount, open_tree,
};
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// A mount that is ready to be bound.
#[derive(Debug)]
pub(crate) struct Staged {
    /// In the container.
    pub(crate) target: PathBuf,
    /// Where it is ready.
    pub(crate) source: PathBuf,
    /// With all below it.
    pub(crate) read_only: bool,
}

/// All mounts of a container, ready.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    /// For libcontainer; those of outer directories come first.
    pub(crate) binds: Vec<Staged>,
    /// For the container's first process, after those.
    pub(crate) late: Vec<Late>,
}

/// Makes the volumes and the mounts in memory of a launch ready in `directory`.
pub(crate) fn stage(
    launch: &LaunchFile,
    volumes: &[Provided],
    rootfs: &Path,
    directory: &Path,
) -> Result<Stage, VolumeError> {
    let linux = launch.definition.linux_parameters.as_ref();
    let memory = linux.and_then(|l| l.tmpfs.as_deref()).unwrap_or_default();
    if volumes.is_empty() && memory.is_empty() {
        return Ok(Stage::default());
    }
    // All are cloned before any is shown: one may hold the place where the others are made ready.
    let mut clones = Vec::new();
    for volume in volumes {
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        if volume.recursive {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        let clone = open_tree(CWD, &volume.source, flags).map_err(errno(&volume.source))?;
        let is_directory = fs::metadata(&volume.source).map_err(file(&volume.source))?.is_dir();
        clones.push((clone, is_directory));
    }
    fs::create_dir_all(directory).map_err(file(directory))?;
    // What is made below is in memory, and gone with this namespace.
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("tmpfs", directory, "tmpfs", flags, c"mode=700,size=1m").map_err(errno(directory))?;
    let mut staged: Vec<Staged> = Vec::new();
    for (volume, (clone, is_directory)) in volumes.iter().zip(clones) {
        let place = directory.join(staged.len().to_string());
        let made =
            if is_directory { fs::create_dir(&place) } else { File::create(&place).map(|_| ()) };
        made.map_err(file(&place))?;
        move_mount(&clone, "", CWD, &place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .map_err(errno(&place))?;
        let alone = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change(&place, alone).map_err(errno(&place))?;
        let flags = kernel_flags(&volume.options);
        if !flags.is_empty() {
            mount_remount(&place, MountFlags::BIND | flags, c"").map_err(errno(&volume.source))?;
        }
        let read_only = volume.read_only;
        staged.push(Staged { target: volume.target.clone(), source: place, read_only });
    }
    let root = RootFs::open(rootfs).map_err(file(rootfs))?;
    let mut spreads = Vec::new();
    for tmpfs in memory {
        let target = target(tmpfs.container_path.as_deref().unwrap_or_default())?;
        if staged.iter().any(|known| known.target == target) {
            return Err(VolumeError::Twice(target));
        }
        let place = directory.join(staged.len().to_string());
        fs::create_dir(&place).map_err(file(&place))?;
        let spread = mount_memory(tmpfs, &target, root.mode_of_directory(&target), &place)?;
        spreads.extend(spread.map(|flags| Late::propagation(target.clone(), flags)));
        staged.push(Staged { target, source: place, read_only: false });
    }
    // Those in the image itself; what lies in another volume is made when that is mounted.
    for mount in &staged {
        let nested = |other: &Staged| {
            other.target != mount.target && mount.target.starts_with(&other.target)
        };
        if mount.source.is_dir() && !staged.iter().any(nested) && !is_generated(&mount.target) {
            root.create_dir_all(&mount.target)
                .map_err(|source| VolumeError::Place { path: mount.target.clone(), source })?;
        }
    }
    staged.sort_by_key(|mount| mount.target.components().count());
    let over_devices = staged.iter().any(|mount| mount.target == Path::new("/dev"));
    let (covered, binds): (Vec<_>, Vec<_>) =
        staged.into_iter().partition(|mount| over_devices && mount.target.starts_with("/dev"));
    let mut late = Vec::new();
    for mount in covered {
        let tree = Late::tree(&mount.source, mount.target, mount.read_only);
        late.push(tree.map_err(file(&mount.source))?);
    }
    late.extend(spreads);
    Ok(Stage { binds, late })
}

/// Below what every container gets mounted, where nothing of the image will be seen.
fn is_generated(target: &Path) -> bool {
    ["/dev", "/proc", "/sys"].iter().any(|top| target.starts_with(top))
}

fn errno(path: &Path) -> impl FnOnce(rustix::io::Errno) -> VolumeError {
    let path = path.to_owned();
    move |source| VolumeError::File { path, source: source.into() }
}

/// A mount in memory has the mode of the directory that it covers, unless it names one. Returns how it is to spread in the
/// container, when that is not the usual.
fn mount_memory(
    tmpfs: &Tmpfs,
    target: &Path,
    covered: Option<u32>,
    place: &Path,
) -> Result<Option<MountPropagationFlags>, VolumeError> {
    let name = || format!("tmpfs {}", target.display());
    let given = tmpfs.mount_options.as_deref().unwrap_or_default();
    let options = MountOptions::of_tmpfs(given).map_err(|e| VolumeError::Unsupported {
        volume: name(),
        reason: format!("mountOptions {}: {}", e.option, e.reason),
    })?;
    let failed = |source: io::Error| VolumeError::Mount {
        volume: name(),
        device: "tmpfs".to_owned(),
        source,
    };
    let mut data = format!("size={}m", tmpfs.size.unwrap_or(0).max(0));
    if let (None, Some(mode)) = (options.value("mode"), covered) {
        data = format!("{data},mode={mode:o}");
    }
    for option in &options.data {
        data = format!("{data},{option}");
    }
    let data = CString::new(data).map_err(|e| failed(e.into()))?;
    mount("tmpfs", place, "tmpfs", kernel_flags(&options), Some(data.as_c_str()))
        .map_err(|e| failed(e.into()))?;
    mount_change(place, MountPropagationFlags::PRIVATE).map_err(|e| failed(e.into()))?;
    Ok(match options.propagation {
        // It is a copy of nothing, so it is nothing's slave either.
        None | Some(Propagation::Private | Propagation::Slave) => None,
        Some(Propagation::Shared) => Some(MountPropagationFlags::SHARED),
        Some(Propagation::Unbindable) => Some(MountPropagationFlags::UNBINDABLE),
    })
}
