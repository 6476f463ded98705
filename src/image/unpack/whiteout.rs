//! The files by which a layer removes what lies below it.
//!
//! `.wh.NAME` hides NAME, `.wh..wh..opq` hides everything below its directory; on disk they become what overlayfs
//! understands: a character device 0/0 and the attribute `trusted.overlay.opaque`. Both speak of the layers below
//! only, never of the same layer, wherever in the archive they stand.

use super::UnpackError;
use super::root::{Root, failed, is_whiteout, split};
use rustix::fs::{AtFlags, FileType, statat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

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
    let mut path = parent.to_vec();
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name.as_bytes());
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

/// Makes way for a new member at `path`; true when a whiteout of the same layer was there.
pub(super) fn make_way(root: &mut Root, path: &[u8]) -> Result<bool, UnpackError> {
    let Some((parent, name)) = split(path) else { return Ok(false) };
    let fd = root.directory(parent)?;
    if statat(fd, name, AtFlags::SYMLINK_NOFOLLOW).is_err_and(|error| error == Errno::NOENT) {
        return Ok(false);
    }
    let whiteout = is_whiteout(fd, name);
    root.remove(path)?;
    Ok(whiteout)
}
