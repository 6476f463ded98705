//! The files of an archive, in a directory of the store's `tmp/` where nothing has the name that the archive gave it.

use super::{ArchiveError, BYTES_LIMIT, FILES_LIMIT, NAMES_LIMIT, room};
use crate::image::collect::pins::Grip;
use crate::image::digest::{Digest, Hashed};
use crate::image::layout::{Layout, LayoutError, read_bounded};
use crate::image::unpack::{Members, decompress};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Longest name of a file that is kept; nothing real comes near.
const NAME_LIMIT: usize = 512;

/// A file of the archive, hashed.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) digest: Digest,
    pub(super) size: u64,
    /// None when the store has it.
    staged: Option<PathBuf>,
}

impl Piece {
    /// A blob that the store has.
    pub(super) fn stored(digest: Digest, size: u64) -> Self {
        Self { digest, size, staged: None }
    }

    /// Moves it into the store.
    pub(super) fn keep(&self, layout: &Layout) -> Result<(), LayoutError> {
        match &self.staged {
            // Equal files are one blob.
            Some(path) if !layout.holds(&self.digest, self.size) => {
                layout.adopt(path, &self.digest)
            }
            _ => Ok(()),
        }
    }

    /// Its content, which is small.
    pub(super) fn read(&self, layout: &Layout, limit: u64) -> Result<Vec<u8>, LayoutError> {
        match &self.staged {
            Some(path) => read_bounded(path, limit),
            None => layout.read(&self.digest, limit),
        }
    }
}

/// The files of one archive; what is left of them is removed with it.
pub(super) struct Staged {
    path: PathBuf,
    directory: PathBuf,
    /// A folder's files are staged when they are asked for.
    folder: Option<File>,
    pieces: RefCell<BTreeMap<String, Piece>>,
    /// What the next file is called.
    number: Cell<u64>,
    /// Holds what is here already until it is named.
    grip: Grip,
}

impl Staged {
    fn new(layout: &Layout, path: &Path, folder: Option<File>) -> Result<Self, ArchiveError> {
        let directory = layout.temporary();
        fs::create_dir(&directory).map_err(|e| LayoutError::io("create", &directory, e))?;
        Ok(Self {
            path: path.to_owned(),
            directory,
            folder,
            pieces: RefCell::default(),
            number: Cell::new(0),
            grip: layout.grip(),
        })
    }

    /// A folder.
    pub(super) fn folder(layout: &Layout, path: &Path) -> Result<Self, ArchiveError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, path, flags, Mode::empty())
            .map_err(|error| ArchiveError::Read { path: path.to_owned(), source: error.into() })?;
        Self::new(layout, path, Some(File::from(folder)))
    }

    /// A tar stream, read to its end.
    pub(super) fn tar(
        layout: &Layout,
        path: &Path,
        stream: impl Read + Send,
    ) -> Result<Self, ArchiveError> {
        let staged = Self::new(layout, path, None)?;
        let tar_failed = |source| ArchiveError::Tar { path: path.to_owned(), source };
        let mut members = Members::new(decompress(stream).map_err(|e| staged.unreadable(e))?);
        let (mut count, mut bytes, mut names) = (0_u64, 0_u64, 0_usize);
        while let Some(member) = members.next_member().map_err(tar_failed)? {
            count += 1;
            bytes = bytes.saturating_add(member.size);
            if count > FILES_LIMIT {
                return Err(staged.quota("files", FILES_LIMIT));
            }
            if bytes > BYTES_LIMIT {
                return Err(staged.quota("bytes", BYTES_LIMIT));
            }
            let Some(name) = file_name(&member.path) else { continue };
            names += name.len();
            if names > NAMES_LIMIT {
                return Err(staged.quota("bytes of names", NAMES_LIMIT as u64));
            }
            let piece = match member.header.entry_type() {
                tar::EntryType::Regular | tar::EntryType::Continuous if member.sparse.is_none() => {
                    staged.stage(layout, &name, member.size, members.data())?
                }
                // Older `docker save` links equal layers: `../<id>/layer.tar`, always to one it wrote before.
                tar::EntryType::Symlink | tar::EntryType::Link => {
                    let link = String::from_utf8_lossy(&member.link).into_owned();
                    let target = link.trim_start_matches("../").trim_start_matches("./");
                    let Some(piece) = staged.pieces.borrow().get(target).cloned() else { continue };
                    piece
                }
                _ => continue,
            };
            let mut pieces = staged.pieces.borrow_mut();
            if pieces.get(&name).is_some_and(|known| known.digest != piece.digest) {
                return Err(ArchiveError::Twice { name });
            }
            pieces.insert(name, piece);
        }
        Ok(staged)
    }

    /// The file called `name`; none when there is none.
    pub(super) fn piece(&self, layout: &Layout, name: &str) -> Result<Option<Piece>, ArchiveError> {
        if let Some(known) = self.pieces.borrow().get(name) {
            return Ok(Some(known.clone()));
        }
        let Some(file) = self.open(name)? else { return Ok(None) };
        let size = file.metadata().map_err(|e| self.unreadable(e))?.len();
        let piece = self.stage(layout, name, size, file)?;
        self.pieces.borrow_mut().insert(name.to_owned(), piece.clone());
        Ok(Some(piece))
    }

    /// Reads a small file.
    pub(super) fn read(
        &self,
        layout: &Layout,
        name: &str,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, ArchiveError> {
        if let Some(piece) = self.pieces.borrow().get(name) {
            if piece.size > limit {
                return Err(self.quota("bytes in a document", limit));
            }
            return Ok(Some(piece.read(layout, limit)?));
        }
        let Some(file) = self.open(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| self.unreadable(e))?;
        if bytes.len() as u64 > limit {
            return Err(self.quota("bytes in a document", limit));
        }
        Ok(Some(bytes))
    }

    /// Opens a file of a folder. The names come from the archive's documents: they stay inside.
    fn open(&self, name: &str) -> Result<Option<File>, ArchiveError> {
        let Some(folder) = &self.folder else { return Ok(None) };
        let opened = openat2(
            folder,
            name,
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        );
        match opened.map(File::from) {
            Ok(file) if file.metadata().map_err(|e| self.unreadable(e))?.is_file() => {
                Ok(Some(file))
            }
            Ok(_) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
            Err(error) => Err(self.unreadable(error.into())),
        }
    }

    /// Writes a file under the next number, unless it is a blob that the store has.
    fn stage(
        &self,
        layout: &Layout,
        name: &str,
        size: u64,
        content: impl Read,
    ) -> Result<Piece, ArchiveError> {
        let promised = blob_digest(name);
        if let Some(digest) = promised
            && self.is_here(layout, &digest, size)
        {
            return Ok(Piece::stored(digest, size));
        }
        room::take(layout, &self.path, size)?;
        let path = self.directory.join(self.number.replace(self.number.get() + 1).to_string());
        let file = File::create_new(&path).map_err(|e| LayoutError::io("create", &path, e))?;
        let mut file = Hashed::new(file);
        // A folder's file may grow while it is read.
        let copied = io::copy(&mut content.take(size), &mut file);
        let copied = copied.map_err(|e| self.unreadable(e))?;
        if copied != size {
            return Err(self.unreadable(io::ErrorKind::UnexpectedEof.into()));
        }
        let (_, digest, size) = file.finish();
        if let Some(expected) = promised.filter(|promised| *promised != digest) {
            return Err(LayoutError::Digest { expected, actual: digest }.into());
        }
        self.grip.pin(&digest);
        Ok(Piece { digest, size, staged: Some(path) })
    }

    /// Whether the store has a blob, which it keeps from now on.
    pub(super) fn is_here(&self, layout: &Layout, digest: &Digest, size: u64) -> bool {
        self.grip.pin(digest);
        layout.holds(digest, size)
    }

    /// What is to be named.
    pub(super) fn grip(&self) -> &Grip {
        &self.grip
    }

    fn unreadable(&self, source: io::Error) -> ArchiveError {
        ArchiveError::Read { path: self.path.clone(), source }
    }

    fn quota(&self, what: &'static str, limit: u64) -> ArchiveError {
        ArchiveError::Quota { path: self.path.clone(), what, limit }
    }

    /// What it is called where errors are told.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // What stays is cleared when the store is opened next.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A member's name as documents write it; none when no document can mean it.
pub(super) fn file_name(path: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(path).ok()?.trim_start_matches("./");
    (name.len() <= NAME_LIMIT).then(|| name.to_owned())
}

/// What a blob's name promises.
pub(super) fn blob_digest(name: &str) -> Option<Digest> {
    Digest::from_hex(name.strip_prefix("blobs/sha256/")?)
}

/// Where a layout has a blob.
pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
