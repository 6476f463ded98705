//! Copying a tree of an image: owners, modes, times, extended attributes, links, holes.
//!
//! Nothing is reached by a path that could lead elsewhere: each directory is opened below the root of its tree without
//! following links, and what is in it by its name alone. What is there already stays, so a copy that was cut off can be
//! begun again.

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, RenameFlags, ResolveFlags, SeekFrom, Stat, Timespec,
    Timestamps, Uid, XattrFlags, chownat, fchmod, fchown, ftruncate, futimens, linkat, mkdirat,
    mknodat, openat, openat2, readlinkat, renameat_with, seek, statat, symlinkat, unlinkat,
    utimensat,
};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Under this name a file is written before it gets its own.
const UNFINISHED: &str = ".coracle-unfinished";
/// No image has more; a copy that goes on for ever would.
const MOST_ENTRIES: u64 = 2_000_000;
const CHUNK: usize = 1 << 16;

/// One copy.
#[derive(Debug)]
pub(super) struct TreeCopy<'a> {
    from: BorrowedFd<'a>,
    to: BorrowedFd<'a>,
    /// Where the first name of a file with several came to be.
    linked: BTreeMap<(u64, u64), PathBuf>,
    entries: u64,
    buffer: Vec<u8>,
}

impl<'a> TreeCopy<'a> {
    /// From the directory `from` into the directory `to`.
    pub(super) fn new(from: BorrowedFd<'a>, to: BorrowedFd<'a>) -> Self {
        Self { from, to, linked: BTreeMap::new(), entries: 0, buffer: vec![0; CHUNK] }
    }

    /// Copies all of it; the directory itself gets the attributes of its model. Returns how many entries there are in it.
    pub(super) fn run(mut self) -> io::Result<u64> {
        match unlinkat(self.to, UNFINISHED, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        // Directories get their attributes when all is in them: writing changes times, and may not be allowed after.
        let mut found = vec![PathBuf::new()];
        let mut next = 0;
        while next < found.len() {
            let directory = found[next].clone();
            next += 1;
            let inner = self.directory(&directory)?;
            found.extend(inner);
        }
        for directory in found.iter().rev() {
            let (from, to) = (open_below(self.from, directory)?, open_below(self.to, directory)?);
            let stat = rustix::fs::fstat(&from)?;
            fchown(&to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
            fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
            attributes(&own_path(&from), &own_path(&to))?;
            futimens(&to, &times(&stat))?;
        }
        Ok(self.entries)
    }

    /// Copies what is in one directory but for the content of its directories, which are returned.
    fn directory(&mut self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let (from, to) = (open_below(self.from, directory)?, open_below(self.to, directory)?);
        let mut inner = Vec::new();
        for entry in Dir::read_from(&from)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            self.entries += 1;
            if self.entries > MOST_ENTRIES {
                return Err(io::Error::other(format!("it has more than {MOST_ENTRIES} files")));
            }
            let stat = statat(&from, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let path = directory.join(OsStr::from_bytes(name.to_bytes()));
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                match mkdirat(&to, name, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => inner.push(path),
                    Err(error) => return Err(error.into()),
                }
                continue;
            }
            match statat(&to, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => {}
                Err(Errno::NOENT) => self.other(&from, &to, name, &stat, &path)?,
                Err(error) => return Err(error.into()),
            }
            if stat.st_nlink > 1 {
                self.linked.entry((stat.st_dev, stat.st_ino)).or_insert(path);
            }
        }
        Ok(inner)
    }

    /// Copies what is no directory.
    fn other(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &CStr,
        stat: &Stat,
        path: &Path,
    ) -> io::Result<()> {
        if let Some(first) = self.linked.get(&(stat.st_dev, stat.st_ino)) {
            let parent = open_below(self.to, first.parent().unwrap_or(Path::new("")))?;
            let first = first.file_name().unwrap_or_default();
            return Ok(linkat(&parent, first, to, name, AtFlags::empty())?);
        }
        // In the root of the volume, so that one place has to be looked at after a crash.
        let (root, half) = (self.to, UNFINISHED);
        let kind = FileType::from_raw_mode(stat.st_mode);
        match kind {
            FileType::RegularFile => self.file(from, name)?,
            FileType::Symlink => {
                let target = readlinkat(from, name, Vec::new())?;
                symlinkat(&target, root, half)?;
            }
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice => {
                let device = if matches!(kind, FileType::Fifo | FileType::Socket) {
                    0
                } else {
                    stat.st_rdev
                };
                mknodat(root, half, kind, Mode::empty(), device)?;
            }
            FileType::Directory | FileType::Unknown => {
                return Err(io::Error::other(format!("{} is of no known kind", path.display())));
            }
        }
        let owner = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        chownat(root, half, Some(owner.0), Some(owner.1), AtFlags::SYMLINK_NOFOLLOW)?;
        if kind != FileType::Symlink {
            // Ours and no link: after the owner, which takes set-id bits away.
            rustix::fs::chmodat(
                root,
                half,
                Mode::from_raw_mode(stat.st_mode & 0o7777),
                AtFlags::empty(),
            )?;
        }
        let target = PathBuf::from(format!("/proc/self/fd/{}/{half}", root.as_raw_fd()));
        let source = Path::new("/proc/self/fd").join(from.as_raw_fd().to_string());
        attributes(&source.join(OsStr::from_bytes(name.to_bytes())), &target)?;
        utimensat(root, half, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?;
        match renameat_with(root, half, to, name, RenameFlags::NOREPLACE) {
            // NFS and CIFS know no such rename; nothing had the name a moment ago.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                Ok(rustix::fs::renameat(root, half, to, name)?)
            }
            renamed => Ok(renamed?),
        }
    }

    /// Copies the content of a file, holes as holes.
    fn file(&mut self, from: &OwnedFd, name: &CStr) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut source = File::from(openat(from, name, flags, Mode::empty())?);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut target = File::from(openat(self.to, UNFINISHED, flags, Mode::RUSR | Mode::WUSR)?);
        let length = source.metadata()?.len();
        let mut at = 0;
        while at < length {
            let (start, end) = match seek(&source, SeekFrom::Data(at)) {
                Ok(start) => (start, seek(&source, SeekFrom::Hole(start))?),
                // Nothing but a hole is left.
                Err(Errno::NXIO) => break,
                Err(Errno::INVAL) => (at, length),
                Err(error) => return Err(error.into()),
            };
            source.seek(io::SeekFrom::Start(start))?;
            target.seek(io::SeekFrom::Start(start))?;
            let mut part = (&mut source).take(end.saturating_sub(start));
            loop {
                let read = part.read(&mut self.buffer)?;
                if read == 0 {
                    break;
                }
                target.write_all(&self.buffer[..read])?;
            }
            at = end;
        }
        ftruncate(&target, length)?;
        Ok(())
    }
}

/// A directory of the tree `root`, itself for an empty path.
fn open_below(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(root, path, flags, Mode::empty(), resolve)?)
}

fn own_path(directory: &OwnedFd) -> PathBuf {
    // With a slash the link of `/proc` is gone through, also by calls that do not follow links.
    PathBuf::from(format!("/proc/self/fd/{}/.", directory.as_raw_fd()))
}

fn times(stat: &Stat) -> Timestamps {
    // The kernel's nanoseconds are of 32 or 64 bits, and always less than a second.
    let time = |seconds, nanoseconds: Option<u32>| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds.unwrap_or(0).into(),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec.try_into().ok()),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec.try_into().ok()),
    }
}

/// Copies the extended attributes that the target's file system can hold.
fn attributes(from: &Path, to: &Path) -> io::Result<()> {
    let mut names = vec![0_u8; 1 << 16];
    let length = match rustix::fs::llistxattr(from, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = CString::new(name)?;
        let mut value = vec![0_u8; 1 << 16];
        let length = rustix::fs::lgetxattr(from, &*name, &mut value[..])?;
        match rustix::fs::lsetxattr(to, &*name, &value[..length], XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
