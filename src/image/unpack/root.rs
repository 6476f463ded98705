//! The directory that a layer is unpacked into. Everything is done relative to file descriptors inside it.
//!
//! A path is resolved by the kernel with `openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV)`: a
//! symbolic link that the layer made, absolute or not, leads to a place inside the directory or nowhere. Only the
//! parent is resolved; the last component is always created fresh and never followed.

use super::UnpackError;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, XattrFlags, chmodat,
    chownat, fsetxattr, mkdirat, mknodat, openat, openat2, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const RESOLVE: ResolveFlags =
    ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS).union(ResolveFlags::NO_XDEV);
const PATH_ONLY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Tells overlayfs that a directory hides what lies below it.
const OPAQUE: &str = "trusted.overlay.opaque";

/// The layer's directory, the directories of the layers below it and a place for what is replaced.
#[derive(Debug)]
pub(super) struct Root {
    fd: OwnedFd,
    trash: OwnedFd,
    trashed: u64,
    below: Vec<OwnedFd>,
    /// The parent that was used last: layers list a directory's files together.
    last: Option<(Vec<u8>, OwnedFd)>,
}

/// Shows a path in an error.
fn at(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(300).collect()
}

/// An error of the kernel at `path`.
pub(super) fn failed(action: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> UnpackError {
    let path = at(path);
    move |source| UnpackError::Kernel { action, path, source: source.into() }
}

/// The parent's path and the name of the last component; `None` for the root itself.
pub(super) fn split(path: &[u8]) -> Option<(&[u8], &OsStr)> {
    if path.is_empty() {
        return None;
    }
    Some(match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], OsStr::from_bytes(&path[slash + 1..])),
        None => (b"", OsStr::from_bytes(path)),
    })
}

impl Root {
    /// Opens the directories; `below` has the layer right under this one first.
    pub(super) fn open(
        directory: &Path,
        trash: &Path,
        below: &[impl AsRef<Path>],
    ) -> Result<Self, UnpackError> {
        let open = |path: &Path| {
            openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(failed("open", path.as_os_str().as_bytes()))
        };
        Ok(Self {
            fd: open(directory)?,
            trash: open(trash)?,
            trashed: 0,
            below: below.iter().map(|path| open(path.as_ref())).collect::<Result<_, _>>()?,
            last: None,
        })
    }

    /// The directory itself.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Opens the directory at `path` (clean, relative; empty for the root), creating what is missing.
    pub(super) fn directory(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>, UnpackError> {
        if path.is_empty() {
            return Ok(self.fd.as_fd());
        }
        if self.last.as_ref().is_none_or(|(last, _)| last != path) {
            let fd = match self.resolve(path, PATH_ONLY) {
                Ok(fd) => fd,
                Err(Errno::NOENT | Errno::NOTDIR) => self.create_directories(path)?,
                Err(error) => return Err(failed("open", path)(error)),
            };
            self.last = Some((path.to_vec(), fd));
        }
        Ok(self.last.as_ref().map_or(self.fd.as_fd(), |(_, fd)| fd.as_fd()))
    }

    /// Opens `path` inside the root, links resolved inside it.
    pub(super) fn resolve(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b".".as_slice() } else { path };
        // EAGAIN: something was renamed meanwhile; nobody else works here, so it passes.
        loop {
            match openat2(&self.fd, path, flags | OFlags::CLOEXEC, Mode::empty(), RESOLVE) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
    }

    /// Creates the missing directories of `path`. A directory that a layer below has gets that one's owner and mode:
    /// a layer need not list the parents of what it changes.
    fn create_directories(&mut self, path: &[u8]) -> Result<OwnedFd, UnpackError> {
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
        let ends: Vec<usize> = ends.chain([path.len()]).collect();
        let mut parent: Option<OwnedFd> = None;
        for end in ends {
            let prefix = &path[..end];
            let next = match self.resolve(prefix, PATH_ONLY) {
                Ok(fd) => fd,
                Err(error @ (Errno::NOENT | Errno::NOTDIR)) => {
                    let Some((_, name)) = split(prefix) else { continue };
                    let parent = parent.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd);
                    let hidden = is_whiteout(parent, name);
                    if error == Errno::NOTDIR && !hidden {
                        return Err(failed("open", prefix)(error));
                    }
                    if hidden {
                        unlinkat(parent, name, AtFlags::empty())
                            .map_err(failed("remove", prefix))?;
                    }
                    mkdirat(parent, name, Mode::from_raw_mode(0o755))
                        .map_err(failed("create", prefix))?;
                    let (mode, owner) = if hidden { None } else { self.below(prefix) }
                        .filter(|stat| FileType::from_raw_mode(stat.st_mode).is_dir())
                        .map_or((0o755, (0, 0)), |stat| {
                            (stat.st_mode & 0o7777, (stat.st_uid, stat.st_gid))
                        });
                    set_owner(parent, name, owner.0, owner.1).map_err(failed("chown", prefix))?;
                    chmodat(parent, name, Mode::from_raw_mode(mode), AtFlags::empty())
                        .map_err(failed("chmod", prefix))?;
                    let fd = self.resolve(prefix, PATH_ONLY).map_err(failed("open", prefix))?;
                    if hidden {
                        self.set_opaque(prefix)?;
                    }
                    fd
                }
                Err(error) => return Err(failed("open", prefix)(error)),
            };
            parent = Some(next);
        }
        parent.ok_or_else(|| failed("open", path)(Errno::NOENT))
    }

    /// What the layers below have at `path`, if it is not hidden there.
    pub(super) fn below(&self, path: &[u8]) -> Option<rustix::fs::Stat> {
        let (parent, name) = split(path)?;
        let parent = if parent.is_empty() { b".".as_slice() } else { parent };
        for layer in &self.below {
            let resolve = RESOLVE | ResolveFlags::NO_SYMLINKS;
            let stat = openat2(layer, parent, PATH_ONLY, Mode::empty(), resolve)
                .and_then(|fd| statat(fd, name, AtFlags::SYMLINK_NOFOLLOW));
            match stat {
                Ok(stat) => {
                    let device = FileType::from_raw_mode(stat.st_mode).is_char_device();
                    return (!(device && stat.st_rdev == 0)).then_some(stat);
                }
                Err(Errno::NOENT) => {}
                // Something else than a directory hides what is further below.
                Err(_) => return None,
            }
        }
        None
    }

    /// Makes the directory at `path` hide what the layers below have there.
    pub(super) fn set_opaque(&self, path: &[u8]) -> Result<(), UnpackError> {
        let fd =
            self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed("open", path))?;
        fsetxattr(fd, OPAQUE, b"y", XattrFlags::empty()).map_err(failed("make opaque", path))
    }

    /// Puts a whiteout at `name`.
    pub(super) fn set_whiteout(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
        mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0)
    }

    /// Takes away what is at `path`, whatever it is. The parent must exist.
    pub(super) fn remove(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        let Some((parent, name)) = split(path) else { return Ok(()) };
        self.trashed += 1;
        let new_name = self.trashed.to_string();
        self.directory(parent)?;
        let parent_fd = match &self.last {
            Some((last, fd)) if last == parent => fd.as_fd(),
            _ => self.fd.as_fd(),
        };
        match unlinkat(parent_fd, name, AtFlags::empty()) {
            Ok(()) => {}
            // Removing a tree is left for later: it may be deep, and nothing must recurse into it here.
            Err(Errno::ISDIR) => {
                renameat(parent_fd, name, &self.trash, &new_name)
                    .map_err(failed("remove", path))?;
            }
            Err(error) => return Err(failed("remove", path)(error)),
        }
        // The directory that was used last may be what was removed, or lie under it.
        self.last = None;
        Ok(())
    }
}

/// True for a character device 0/0.
pub(super) fn is_whiteout(parent: BorrowedFd<'_>, name: &OsStr) -> bool {
    statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode).is_char_device() && stat.st_rdev == 0
    })
}

/// Sets the owner of `name` itself, not of what it may link to.
pub(super) fn set_owner(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    uid: u32,
    gid: u32,
) -> Result<(), Errno> {
    chownat(
        parent,
        name,
        Some(Uid::from_raw(uid)),
        Some(Gid::from_raw(gid)),
        AtFlags::SYMLINK_NOFOLLOW,
    )
}

/// Removes everything in a directory. A tree of any depth is flattened level by level, so that neither the stack nor
/// the number of open files grows with what a hostile layer built.
pub fn clear(directory: &Path) -> Result<(), UnpackError> {
    let shown = directory.as_os_str().as_bytes();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = openat(CWD, directory, flags, Mode::empty()).map_err(failed("open", shown))?;
    let mut moved = 0_u64;
    loop {
        let mut empty = true;
        for name in names(&top).map_err(failed("read", shown))? {
            empty = false;
            match unlinkat(&top, &name, AtFlags::empty()) {
                Ok(()) => continue,
                Err(Errno::ISDIR) => {}
                Err(error) => return Err(failed("remove", name.as_bytes())(error)),
            }
            let inner = openat(&top, &name, flags, Mode::empty())
                .map_err(failed("open", name.as_bytes()))?;
            for child in names(&inner).map_err(failed("read", name.as_bytes()))? {
                match unlinkat(&inner, &child, AtFlags::empty()) {
                    Err(Errno::ISDIR) => {
                        moved += 1;
                        renameat(&inner, &child, &top, format!(".moved-{moved}"))
                    }
                    other => other,
                }
                .map_err(failed("remove", child.as_bytes()))?;
            }
            unlinkat(&top, &name, AtFlags::REMOVEDIR).map_err(failed("remove", name.as_bytes()))?;
        }
        if empty {
            return Ok(());
        }
    }
}

fn names(directory: &OwnedFd) -> Result<Vec<std::ffi::OsString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}
