//! Mounting a container's root file system: the image's layers under a writable one.

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, mount, move_mount,
};
use std::collections::HashSet;
use std::ffi::CString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Mounts `layers`, the top one first, with changes going to `writable`, at `target`.
pub(super) fn mount_overlay(layers: &[PathBuf], writable: &Path, target: &Path) -> io::Result<()> {
    let (upper, work) = (writable.join("upper"), writable.join("work"));
    for directory in [&upper, &work, &target.to_owned()] {
        fs::create_dir_all(directory)?;
    }
    // An image may list the same layer twice; the upper one hides the lower entirely.
    let mut seen = HashSet::new();
    let layers: Vec<&PathBuf> = layers.iter().filter(|l| seen.insert(*l)).collect();
    if layers.is_empty() {
        return Err(io::Error::other("the image has no layers"));
    }
    if crate::runtime::kernel::takes_layers_one_by_one() {
        Ok(mount_new(&layers, &upper, &work, target)?)
    } else {
        mount_old(&layers, &upper, &work, target)
    }
}

fn mount_new(layers: &[&PathBuf], upper: &Path, work: &Path, target: &Path) -> Result<(), Errno> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for layer in layers {
        fsconfig_set_string(&fs, "lowerdir+", layer.as_path())?;
    }
    fsconfig_set_string(&fs, "upperdir", upper)?;
    fsconfig_set_string(&fs, "workdir", work)?;
    fsconfig_create(&fs)?;
    let mounted = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    move_mount(&mounted, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// One page of options is all that mount(2) takes.
fn mount_old(layers: &[&PathBuf], upper: &Path, work: &Path, target: &Path) -> io::Result<()> {
    let mut options = b"lowerdir=".to_vec();
    for (at, layer) in layers.iter().enumerate() {
        if at > 0 {
            options.push(b':');
        }
        options.extend(escaped(layer));
    }
    options.extend(b",upperdir=");
    options.extend(escaped(upper));
    options.extend(b",workdir=");
    options.extend(escaped(work));
    if options.len() >= 4096 {
        return Err(io::Error::other("the image has too many layers for this kernel"));
    }
    let options = CString::new(options)?;
    mount("overlay", target, "overlay", MountFlags::empty(), Some(options.as_c_str()))?;
    Ok(())
}

fn escaped(path: &Path) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        if matches!(byte, b':' | b',' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_in_paths_are_escaped() {
        assert_eq!(escaped(Path::new("/a:b,c\\d")), b"/a\\:b\\,c\\\\d");
    }
}
