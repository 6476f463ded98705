//! The files by which a layer removes what lies below it.
//!
//! `.wh.NAME` hides NAME, `.wh..wh..opq` hides everything below its directory; on disk they become what overlayfs
//! understands: a character device 0/0 and the attribute `trusted.overlay.opaque`. Both speak of the layers below
//! only, never of the same layer, wherever in the archive they stand.

use super::UnpackError;
use super::root::{Root, failed, is_opaque, is_whiteout, split};
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, Dir, FileType, OFlags, statat, unlinkat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Most bytes of paths held while a layer is searched.
const PENDING: usize = 16 << 20;

/// What a file name means to a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Marker<'a> {
    /// Hides this name of the same directory.
    Hide(&'a OsStr),
    /// The directory hides everything below it.
    Opaque,
    /// The book-keeping of AUFS, of no use to anyone else.
    Foreign,
}

/// Reads a file name; `None` for an ordinary one.
pub(super) fn marker(name: &OsStr) -> Option<Marker<'_>> {
    let rest = name.as_bytes().strip_prefix(b".wh.")?;
    Some(match rest {
        b".wh..opq" => Marker::Opaque,
        _ if rest.starts_with(b".wh.") => Marker::Foreign,
        _ => Marker::Hide(OsStr::from_bytes(rest)),
    })
}

/// True when any directory of `path` belongs to AUFS.
pub(super) fn is_foreign(path: &[u8]) -> bool {
    path.split(|b| *b == b'/')
        .any(|component| component.starts_with(b".wh..wh.") && component != b".wh..wh..opq")
}

/// Hides `name`, which lies in the directory `parent`.
pub(super) fn hide(root: &mut Root, parent: &[u8], name: &OsStr) -> Result<(), UnpackError> {
    let path = below(parent, name);
    if matches!(name.as_bytes(), b"" | b"." | b"..") || split(&path).is_none() {
        return Err(UnpackError::Name { path: String::from_utf8_lossy(&path).into_owned() });
    }
    // Overlayfs shows whiteouts that hide nothing in directories that only one layer has.
    let hides = root.below(&path).is_some();
    let fd = root.directory(parent)?;
    match statat(fd, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_dir() && hides => {
            root.set_opaque(&path)
        }
        Err(Errno::NOENT) if hides => Root::set_whiteout(fd, name).map_err(failed("hide", &path)),
        // A file of this layer hides what is below it anyway.
        Ok(_) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(failed("read", &path)(error)),
    }
}

/// Hides everything that lies below the layer. Overlayfs heeds the mark of an opaque directory everywhere but in a
/// layer's own, so each name gets a whiteout.
pub(super) fn hide_all(root: &mut Root) -> Result<(), UnpackError> {
    for layer in 0.. {
        let Some(names) = root.names_below(layer)? else { break };
        for entry in names {
            let entry = entry.map_err(failed("read", b"the layers below"))?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if !matches!(name.as_bytes(), b"." | b"..") {
                hide(root, b"", name)?;
            }
        }
    }
    Ok(())
}

/// Takes away whiteouts under directories that hide everything anyway: overlayfs shows them there as broken files.
pub(super) fn drop_hidden(root: &Root) -> Result<(), UnpackError> {
    let mut pending: Vec<(Vec<u8>, bool)> = vec![(Vec::new(), false)];
    let mut held = 0;
    while let Some((path, mut under)) = pending.pop() {
        held -= path.len();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let directory = match root.resolve(&path, flags) {
            Ok(directory) => directory,
            // Made by way of links and deeper than a path can be: nothing looks there.
            Err(Errno::NAMETOOLONG) => continue,
            Err(error) => return Err(failed("open", &path)(error)),
        };
        under |= is_opaque(&directory);
        for entry in Dir::read_from(&directory).map_err(failed("read", &path))? {
            let entry = entry.map_err(failed("read", &path))?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if matches!(name.as_bytes(), b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                // Not every file system tells.
                FileType::Unknown => statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map(|stat| FileType::from_raw_mode(stat.st_mode))
                    .map_err(failed("read", &path))?,
                known => known,
            };
            if kind.is_dir() {
                let inner = below(&path, name);
                held += inner.len();
                if held > PENDING {
                    let limit = PENDING as u64;
                    return Err(UnpackError::Quota { what: "bytes of directory names", limit });
                }
                pending.push((inner, under));
            } else if under && kind.is_char_device() && is_whiteout(directory.as_fd(), name) {
                unlinkat(&directory, name, AtFlags::empty()).map_err(failed("remove", &path))?;
            }
        }
    }
    Ok(())
}

/// The path of `name` in `directory`.
fn below(directory: &[u8], name: &OsStr) -> Vec<u8> {
    let mut path = directory.to_vec();
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name.as_bytes());
    path
}

/// Makes way for a new member at `path`; true when something was there.
pub(super) fn make_way(root: &mut Root, path: &[u8]) -> Result<bool, UnpackError> {
    let Some((parent, name)) = split(path) else { return Ok(false) };
    let fd = root.directory(parent)?;
    if statat(fd, name, AtFlags::SYMLINK_NOFOLLOW).is_err_and(|error| error == Errno::NOENT) {
        return Ok(false);
    }
    root.remove(path)?;
    Ok(true)
}
