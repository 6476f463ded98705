//! The directory that a layer is unpacked into. Everything is done relative to file descriptors inside it.
//!
//! A path is resolved by the kernel with `openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV)`: a
//! symbolic link that the layer made, absolute or not, leads to a place inside the directory or nowhere. Only the
//! parent is resolved; the last component is always created fresh and never followed.

use super::UnpackError;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, XattrFlags, chmodat,
    chownat, fgetxattr, fsetxattr, mkdirat, mknodat, openat, openat2, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
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
    /// Some directory hides what lies below it.
    pub(super) hides: bool,
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
            hides: false,
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
            // From the parent, as a long path would take ever longer from the root; a link is followed from there.
            let from = parent.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd);
            let next = match component(from, prefix) {
                Err(Errno::LOOP) => self.resolve(prefix, PATH_ONLY),
                other => other,
            };
            let next = match next {
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
                    let fd = component(parent, prefix).map_err(failed("open", prefix))?;
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
                Err(Errno::NOENT) if Self::has_opaque(layer, path) => return None,
                Err(Errno::NOENT) => {}
                // Something else than a directory hides what is further below.
                Err(_) => return None,
            }
        }
        None
    }

    /// True when a directory on the way to `path` hides what lies below this layer.
    fn has_opaque(layer: &OwnedFd, path: &[u8]) -> bool {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        for end in ends {
            let resolve = RESOLVE | ResolveFlags::NO_SYMLINKS;
            let Ok(fd) = openat2(layer, &path[..end], flags, Mode::empty(), resolve) else { break };
            if is_opaque(&fd) {
                return true;
            }
        }
        false
    }

    /// The names in a layer below, the nearest being number 0; `None` behind the lowest.
    pub(super) fn names_below(&self, layer: usize) -> Result<Option<Dir>, UnpackError> {
        let Some(layer) = self.below.get(layer) else { return Ok(None) };
        Dir::read_from(layer).map(Some).map_err(failed("read", b"the layers below"))
    }

    /// A file without a name that is gone when it is closed.
    pub(super) fn scratch(&self) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(&self.trash, "scratch", flags, Mode::from_raw_mode(0o600))?;
        unlinkat(&self.trash, "scratch", AtFlags::empty())?;
        Ok(File::from(file))
    }

    /// Makes the directory at `path` hide what the layers below have there.
    pub(super) fn set_opaque(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        self.hides = true;
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

/// Opens the last component of `path` in its parent, unless it is a link.
fn component(parent: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let name = split(path).map_or(OsStr::new("."), |(_, name)| name);
    openat2(parent, name, PATH_ONLY, Mode::empty(), RESOLVE | ResolveFlags::NO_SYMLINKS)
}

/// True for a directory that hides what lies below it.
pub(super) fn is_opaque(directory: &OwnedFd) -> bool {
    let mut value = [0; 8];
    fgetxattr(directory, OPAQUE, &mut value).is_ok_and(|count| &value[..count] == b"y")
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

/// Removes everything in a directory. A tree of any depth is flattened level by level, so that neither the stack, the
/// memory nor the number of open files grows with what a hostile layer built.
pub fn clear(directory: &Path) -> Result<(), UnpackError> {
    let shown = directory.as_os_str().as_bytes();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = openat(CWD, directory, flags, Mode::empty()).map_err(failed("open", shown))?;
    let mut moved = 0_u64;
    let mut empty = |name: &OsStr| match unlinkat(&top, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {
            let inner = openat(&top, name, flags, Mode::empty())?;
            let mut lift = |child: &OsStr| match unlinkat(&inner, child, AtFlags::empty()) {
                Err(Errno::ISDIR) => lift_directory(&inner, child, &top, &mut moved),
                other => other,
            };
            while for_each_name(&inner, &mut lift)? {}
            unlinkat(&top, name, AtFlags::REMOVEDIR)
        }
        other => other,
    };
    while for_each_name(&top, &mut empty).map_err(failed("clear", shown))? {}
    Ok(())
}

/// Moves a directory to the top under a name that is not taken there; what lies there may have been named to be in the
/// way.
fn lift_directory(
    parent: &OwnedFd,
    name: &OsStr,
    top: &OwnedFd,
    moved: &mut u64,
) -> Result<(), Errno> {
    loop {
        *moved += 1;
        match renameat(parent, name, top, format!(".moved-{moved}")) {
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
            other => return other,
        }
    }
}

/// Calls `work` with the names in a directory; true when there was any. What is added or removed meanwhile may be
/// missed.
fn for_each_name(
    directory: &OwnedFd,
    mut work: impl FnMut(&OsStr) -> Result<(), Errno>,
) -> Result<bool, Errno> {
    let mut any = false;
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            any = true;
            match work(name) {
                // It was listed twice, or moved since.
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(any)
}
