//! Filling a new volume with what the image has at its mount point, as Docker does for volumes with a name.
//!
//! A volume is filled while it is empty. A marker beside it stands from before the first file to after the last: where one
//! is found, an earlier attempt was cut off, and filling goes on. Files come to their names by a rename, so what is there
//! under its name is whole.

use super::copy::TreeCopy;
use super::error::{VolumeError, file};
use super::provide::{Fill, Provided};
use crate::runtime::layout;
use crate::runtime::spec::rootfs::RootFs;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

/// Fills those of `volumes` that are new with what the image in `rootfs` has at their mount points.
pub(crate) fn populate(volumes: &[Provided], rootfs: &Path) -> Result<(), VolumeError> {
    let root = RootFs::open(rootfs).map_err(file(rootfs))?;
    for volume in volumes {
        // A directory of the box that has a volume's name is filled too, as by Docker; one without a name is not.
        let Some(fill) = &volume.fill else { continue };
        let Some(source) = root.directory(&volume.target).filter(|_| volume.source.is_dir()) else {
            continue;
        };
        let _lock = fill.guard.lock()?;
        if fill.marker.exists() || is_empty(&volume.source).map_err(file(&volume.source))? {
            fill_from(source.as_fd(), volume, fill).map_err(|source| VolumeError::Populate {
                volume: volume.volume.clone(),
                path: volume.target.clone(),
                source,
            })?;
        }
    }
    Ok(())
}

fn fill_from(image: impl AsFd, volume: &Provided, fill: &Fill) -> io::Result<()> {
    let target = File::open(&volume.source)?;
    File::create(&fill.marker)?;
    if fill.durable {
        sync_parent(&fill.marker)?;
    }
    let entries = TreeCopy::new(image.as_fd(), target.as_fd()).run()?;
    if fill.durable && entries > 0 {
        rustix::fs::syncfs(&target)?;
    }
    layout::remove_file(&fill.marker)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

fn is_empty(directory: &Path) -> io::Result<bool> {
    Ok(fs::read_dir(directory)?.next().is_none())
}
