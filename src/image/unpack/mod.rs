//! Unpacks one layer into a directory that overlayfs can use, treating the archive as hostile.
//!
//! The archive can make nothing outside the directory: every path is resolved by the kernel inside it (`root`), the
//! last component is never followed, what exists is moved out of the way and not written through. Sizes, entry counts
//! and memory are bounded, and a file that the disk has no room for is refused before it is written. Whiteouts take overlayfs's form (`whiteout`). Directories get their times last.
//!
//! Must run as root, as the owners, devices and attributes of images ask. What it does not do: choose the directory,
//! name it, or make it durable; [`super::layers`] does.

mod decompress;
mod entry;
mod member;
mod root;
mod times;
mod whiteout;

pub use decompress::{decompress, is_compressed};
pub use member::{Members, TarError};
pub use root::clear;

use super::digest::{Digest, Hashed};
use entry::{Entry, Kind};
use root::{Root, failed, is_whiteout, set_owner, split};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, fchmod,
    fchown, fsetxattr, fstat, fstatvfs, futimens, linkat, makedev, mkdirat, mknodat, openat,
    statat, symlinkat, utimensat,
};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use times::{Listed, Times};

/// How much one layer may bring.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Members.
    pub entries: u64,
    /// Bytes of file content, holes included, and of the whole uncompressed archive.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 2_000_000, bytes: 64 << 30 }
    }
}

/// Bytes of the disk that no layer gets: the agent must be able to keep its books.
const SPARE: u64 = 16 << 20;
/// The disk's free space is asked for again after this many bytes.
const STRIDE: u64 = 64 << 20;

/// Why a layer was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Not a readable archive.
    #[error(transparent)]
    Archive(#[from] TarError),
    /// The path leads out of the layer.
    #[error("{path:?} leads out of the layer")]
    Escape {
        /// As written.
        path: String,
    },
    /// The path cannot be a file name.
    #[error("{path:?} is not a usable file name")]
    Name {
        /// As written.
        path: String,
    },
    /// A member makes no sense.
    #[error("{path:?} has a {what} that makes no sense")]
    Damaged {
        /// As written.
        path: String,
        /// What is wrong.
        what: &'static str,
    },
    /// More than the limits allow.
    #[error("the layer has more than {limit} {what}")]
    Quota {
        /// Of what.
        what: &'static str,
        /// How many are allowed.
        limit: u64,
    },
    /// The kernel said no.
    #[error("cannot {action} {path:?}: {source}")]
    Kernel {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// Why not.
        source: io::Error,
    },
}

/// Unpacks the layer in `archive` (plain, gzip or zstd) into the empty directory `into`; `below` are the layers under
/// it, the nearest first; `trash` is an empty directory on the same file system that the caller clears afterwards.
/// Returns the digest of the uncompressed archive.
pub fn layer(
    archive: impl Read + Send,
    into: &Path,
    trash: &Path,
    below: &[impl AsRef<Path>],
    limits: Limits,
) -> Result<Digest, UnpackError> {
    unpack(archive, Root::open(into, trash, below)?, limits).map_err(|error| match error {
        UnpackError::Archive(TarError::Read(source))
            if source.kind() == io::ErrorKind::QuotaExceeded =>
        {
            UnpackError::Quota { what: "bytes", limit: limits.bytes }
        }
        other => other,
    })
}

fn unpack(archive: impl Read + Send, root: Root, limits: Limits) -> Result<Digest, UnpackError> {
    let plain = decompress(archive).map_err(TarError::Read)?;
    let bounded = Bounded { source: plain, left: limits.bytes };
    let mut members = Members::new(Hashed::new(bounded));
    let mut layer =
        Layer { root, times: Times::default(), opaque: false, bytes: 0, room: 0, limits };
    let mut entries = 0;
    while let Some(member) = members.next_member()? {
        entries += 1;
        if entries > limits.entries {
            return Err(UnpackError::Quota { what: "files", limit: limits.entries });
        }
        layer.add(member, &mut members)?;
    }
    layer.finish()?;
    // What follows the last member is part of the digest as well.
    let mut source = members.into_inner();
    io::copy(&mut source, &mut io::sink()).map_err(TarError::Read)?;
    let (_, digest, _) = source.finish();
    Ok(digest)
}

/// Ends a stream that is longer than allowed with an error that [`layer`] knows.
struct Bounded<R> {
    source: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.left = self
            .left
            .checked_sub(count as u64)
            .ok_or_else(|| io::Error::from(io::ErrorKind::QuotaExceeded))?;
        Ok(count)
    }
}

/// The layer being built.
struct Layer {
    root: Root,
    /// Of directories, to set when nothing more is created.
    times: Times,
    /// The layer hides all that lies below it.
    opaque: bool,
    bytes: u64,
    /// Bytes that can be written before the disk is asked again.
    room: u64,
    limits: Limits,
}

impl Layer {
    fn add<R: Read>(
        &mut self,
        member: member::Member,
        members: &mut Members<R>,
    ) -> Result<(), UnpackError> {
        let entry = Entry::new(member)?;
        if whiteout::is_foreign(&entry.path) {
            return Ok(());
        }
        let Some((parent, name)) = split(&entry.path) else { return self.set_root(&entry) };
        match whiteout::marker(name) {
            Some(whiteout::Marker::Hide(name)) => whiteout::hide(&mut self.root, parent, name),
            Some(whiteout::Marker::Opaque) if parent.is_empty() => {
                self.opaque = true;
                Ok(())
            }
            Some(whiteout::Marker::Opaque) => {
                self.root.directory(parent)?;
                self.root.set_opaque(parent)
            }
            Some(whiteout::Marker::Foreign) => Ok(()),
            None => self.create(&entry, parent, name, members),
        }
    }

    /// The member for the layer's own directory.
    fn set_root(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        if entry.kind != Kind::Directory {
            return Err(UnpackError::Name { path: "/".to_owned() });
        }
        let fd = self.root.fd();
        set_metadata(fd, entry)?;
        let inode = fstat(fd).map_err(failed("read", b"/"))?.st_ino;
        self.remember(entry, inode)
    }

    /// Keeps the time of a directory for later.
    fn remember(&mut self, entry: &Entry, inode: u64) -> Result<(), UnpackError> {
        let listed = Listed { path: &entry.path, inode, modified: entry.modified };
        let root = &self.root;
        self.times.push(&listed, || root.scratch()).map_err(times_failed)
    }

    /// Refuses a file that the disk has no room for, before it fills the disk.
    fn make_room(&mut self, size: u64, path: &[u8]) -> Result<(), UnpackError> {
        if size > self.room {
            let found = fstatvfs(self.root.fd()).map_err(failed("find room for", path))?;
            // Some network file systems do not tell.
            let free = match found.f_blocks {
                0 => u64::MAX,
                _ => found.f_bavail.saturating_mul(found.f_frsize).saturating_sub(SPARE),
            };
            if size > free {
                let why = format!("it has {size} bytes, and {free} are free");
                let source = io::Error::new(io::ErrorKind::StorageFull, why);
                let path = String::from_utf8_lossy(path).into_owned();
                return Err(UnpackError::Kernel { action: "find room for", path, source });
            }
            self.room = free.min(size.max(STRIDE));
        }
        self.room -= size;
        Ok(())
    }

    fn create<R: Read>(
        &mut self,
        entry: &Entry,
        parent: &[u8],
        name: &OsStr,
        members: &mut Members<R>,
    ) -> Result<(), UnpackError> {
        let path = entry.path.as_slice();
        if entry.kind == Kind::Directory {
            return self.create_directory(entry, parent, name);
        }
        if let Kind::HardLink(target) = &entry.kind {
            return self.link(entry, parent, name, target);
        }
        if let Kind::File { size, pieces } = &entry.kind {
            self.bytes = self.bytes.saturating_add(*size);
            if self.bytes > self.limits.bytes {
                return Err(UnpackError::Quota { what: "bytes", limit: self.limits.bytes });
            }
            let stored =
                pieces.as_ref().map(|pieces| pieces.iter().map(|piece| piece.length).sum());
            self.make_room(stored.unwrap_or(*size), path)?;
        }
        whiteout::make_way(&mut self.root, path)?;
        // Overlayfs takes this device for a whiteout, so it is one.
        if entry.kind == Kind::Character(0, 0) {
            return whiteout::hide(&mut self.root, parent, name);
        }
        let fd = self.root.directory(parent)?;
        match &entry.kind {
            Kind::File { size, pieces } => {
                let flags = OFlags::WRONLY
                    | OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let file = openat(fd, name, flags, Mode::from_raw_mode(0o600))
                    .map_err(failed("create", path))?;
                let mut file = File::from(file);
                fill(&mut file, *size, pieces.as_deref(), members, path)?;
                set_metadata(file.as_fd(), entry)?;
                return futimens(&file, &times(entry.modified))
                    .map_err(failed("set the time of", path));
            }
            Kind::Symlink(target) => symlinkat(OsStr::from_bytes(target), fd, name),
            Kind::Character(major, minor) => mknodat(
                fd,
                name,
                FileType::CharacterDevice,
                Mode::from_raw_mode(0o600),
                makedev(*major, *minor),
            ),
            Kind::Block(major, minor) => mknodat(
                fd,
                name,
                FileType::BlockDevice,
                Mode::from_raw_mode(0o600),
                makedev(*major, *minor),
            ),
            Kind::Fifo => mknodat(fd, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0),
            Kind::Directory | Kind::HardLink(_) => Ok(()),
        }
        .map_err(failed("create", path))?;
        set_owner(fd, name, entry.uid, entry.gid).map_err(failed("chown", path))?;
        if !matches!(entry.kind, Kind::Symlink(_)) {
            chmodat(fd, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())
                .map_err(failed("chmod", path))?;
        }
        utimensat(fd, name, &times(entry.modified), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed("set the time of", path))
    }

    fn create_directory(
        &mut self,
        entry: &Entry,
        parent: &[u8],
        name: &OsStr,
    ) -> Result<(), UnpackError> {
        let path = entry.path.as_slice();
        let fd = self.root.directory(parent)?;
        let found = statat(fd, name, AtFlags::SYMLINK_NOFOLLOW);
        let exists = found.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir());
        if !exists {
            // What was there hid what lies below, a whiteout or not, and that stays hidden.
            let was_hidden = whiteout::make_way(&mut self.root, path)?;
            let fd = self.root.directory(parent)?;
            mkdirat(fd, name, Mode::from_raw_mode(0o700)).map_err(failed("create", path))?;
            if was_hidden && self.root.below(path).is_some() {
                self.root.set_opaque(path)?;
            }
        }
        let fd = self.root.directory(parent)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(fd, name, flags, Mode::empty()).map_err(failed("open", path))?;
        set_metadata(directory.as_fd(), entry)?;
        let inode = fstat(&directory).map_err(failed("read", path))?.st_ino;
        self.remember(entry, inode)
    }

    /// Another name for a file of this layer. Its owner, mode and time are the file's own.
    fn link(
        &mut self,
        entry: &Entry,
        parent: &[u8],
        name: &OsStr,
        target: &[u8],
    ) -> Result<(), UnpackError> {
        let path = entry.path.as_slice();
        let Some((target_parent, target_name)) = split(target) else {
            return Err(UnpackError::Damaged {
                path: String::from_utf8_lossy(path).into_owned(),
                what: "link target",
            });
        };
        let source = self
            .root
            .resolve(target_parent, OFlags::PATH | OFlags::DIRECTORY)
            .map_err(failed("find the link target of", path))?;
        let found = statat(&source, target_name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed("find the link target of", path))?;
        // A whiteout's inode must not get a second name: it would hide that as well.
        if is_whiteout(source.as_fd(), target_name) {
            return Err(failed("find the link target of", path)(Errno::NOENT));
        }
        let there = self.root.directory(parent)?;
        let same = statat(there, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| stat.st_ino == found.st_ino && stat.st_dev == found.st_dev);
        if same {
            return Ok(());
        }
        whiteout::make_way(&mut self.root, path)?;
        let fd = self.root.directory(parent)?;
        linkat(&source, target_name, fd, name, AtFlags::empty()).map_err(failed("link", path))
    }

    /// Hides what the layer's own directory hides, and sets the times of the directories, which creating files in them
    /// changed.
    fn finish(&mut self) -> Result<(), UnpackError> {
        if self.opaque {
            whiteout::hide_all(&mut self.root)?;
        }
        if self.root.hides {
            whiteout::drop_hidden(&self.root)?;
        }
        let root = &self.root;
        let set = |listed: Listed<'_>| {
            let path = listed.path;
            match root.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW) {
                // It may have been replaced by something else meanwhile, which has its own time.
                Ok(fd) if fstat(&fd).is_ok_and(|found| found.st_ino == listed.inode) => {
                    futimens(fd, &times(listed.modified)).map_err(failed("set the time of", path))
                }
                Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
                Err(error) => Err(failed("open", path)(error)),
            }
        };
        std::mem::take(&mut self.times).for_each(set).map_err(times_failed)?
    }
}

/// The file that keeps the times failed.
fn times_failed(source: io::Error) -> UnpackError {
    UnpackError::Kernel { action: "keep the time of", path: "a directory".to_owned(), source }
}

/// Owner, mode and attributes, in the order in which one does not undo the other.
fn set_metadata(fd: BorrowedFd<'_>, entry: &Entry) -> Result<(), UnpackError> {
    let path = entry.path.as_slice();
    fchown(fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
        .map_err(failed("chown", path))?;
    fchmod(fd, Mode::from_raw_mode(entry.mode)).map_err(failed("chmod", path))?;
    for (name, value) in &entry.attributes {
        match fsetxattr(fd, OsStr::from_bytes(name), value, XattrFlags::empty()) {
            Ok(()) => {}
            // The file system has no attributes: a file without them has fewer rights, never more.
            Err(Errno::NOTSUP) => tracing::warn!(
                path = %String::from_utf8_lossy(path),
                attribute = %String::from_utf8_lossy(name),
                "the file system of the image store cannot keep this attribute"
            ),
            Err(error) => return Err(failed("set an attribute of", path)(error)),
        }
    }
    Ok(())
}

fn times(modified: Timespec) -> Timestamps {
    Timestamps { last_access: modified, last_modification: modified }
}

/// Writes a file's content; the holes of a sparse file stay holes.
fn fill<R: Read>(
    file: &mut File,
    size: u64,
    pieces: Option<&[member::Piece]>,
    members: &mut Members<R>,
    path: &[u8],
) -> Result<(), UnpackError> {
    let write_failed = |source: io::Error| UnpackError::Kernel {
        action: "write",
        path: String::from_utf8_lossy(path).into_owned(),
        source,
    };
    let whole = [member::Piece { offset: 0, length: size }];
    let mut buffer = vec![0; usize::try_from(size.clamp(1, 128 << 10)).unwrap_or(1)];
    for piece in pieces.unwrap_or(&whole) {
        if pieces.is_some() {
            file.seek(SeekFrom::Start(piece.offset)).map_err(write_failed)?;
        }
        let mut left = piece.length;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let count = match members.data().read(&mut buffer[..most]) {
                Ok(0) => return Err(TarError::Read(io::ErrorKind::UnexpectedEof.into()).into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(TarError::Read(error).into()),
            };
            file.write_all(&buffer[..count]).map_err(write_failed)?;
            left -= count as u64;
        }
    }
    if pieces.is_some() {
        file.set_len(size).map_err(write_failed)?;
    }
    Ok(())
}
