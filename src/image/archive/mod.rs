//! Loads images from archives: OCI layouts and what `docker save` writes, as a tar file (plain, gzip, zstd), a tar
//! stream or a folder.
//!
//! ```text
//!  tar ──► staged: tmp/<random>/1, 2, 3 … hashed on the way ──► checked: every image, every digest and size
//!  folder ──► staged when something refers to it ─────────────►    │
//!                                                                  └──► blobs renamed into the store, then the names
//! ```
//!
//! What an archive brings is input from outside. Its files are staged under numbers, never under the names it brings;
//! nothing leaves `tmp/` before all of the archive's images are checked, and what is there already is not written
//! again. Files, bytes, names and images are bounded, and so is the room that is taken: a disk that is too small is told
//! before anything is written where the archive can be read twice, else before each file. A Docker archive gets an OCI
//! manifest made for it.

mod check;
mod peek;
mod room;
mod staged;

pub use peek::{Names, names, names_inside};

use super::digest::Digest;
use super::layout::{Layout, LayoutError};
use super::manifest::{Descriptor, DocumentError, Platform};
use super::platform::PlatformError;
use super::reference::{Reference, ReferenceError};
use super::unpack::TarError;
use staged::{Piece, Staged};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Most files of an archive.
const FILES_LIMIT: u64 = 20_000;
/// Most bytes of an archive, uncompressed.
const BYTES_LIMIT: u64 = 256 << 30;
/// Most bytes of the names of an archive's files together.
const NAMES_LIMIT: usize = 4 << 20;
/// Most images of an archive.
const IMAGES_LIMIT: usize = 1_000;
/// Most bytes of `index.json` and `manifest.json`.
const LIST_LIMIT: u64 = 2 << 20;
/// An index may point to indexes; nobody needs more levels than this.
const INDEX_DEPTH: usize = 3;
/// The full name, as containerd and Docker write it.
pub(super) const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Why an archive was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The archive.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The tar stream is damaged.
    #[error("{}: {source}", path.display())]
    Tar {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        source: TarError,
    },
    /// More than is taken.
    #[error("{} has more than {limit} {what}", path.display())]
    Quota {
        /// The archive.
        path: PathBuf,
        /// Of what.
        what: &'static str,
        /// How many are taken.
        limit: u64,
    },
    /// The disk is too small for it.
    #[error("{} needs {needed} bytes, and of the disk of the images {free} bytes are free for it: remove images, or make room", path.display())]
    Room {
        /// The archive.
        path: PathBuf,
        /// How many bytes would be written, at least.
        needed: u64,
        /// How many may be.
        free: u64,
    },
    /// Neither kind of archive.
    #[error("{} is neither an OCI layout nor a docker archive: it has no index.json and no manifest.json", path.display())]
    Unknown {
        /// The archive.
        path: PathBuf,
    },
    /// A file that is referred to is missing.
    #[error("{name:?} is missing from the archive")]
    Missing {
        /// Its name in the archive.
        name: String,
    },
    /// Two files of one name.
    #[error("{name:?} is in the archive twice, with different content")]
    Twice {
        /// The name.
        name: String,
    },
    /// A document makes no sense.
    #[error("{name}: {source}")]
    Document {
        /// Its name.
        name: String,
        /// What is wrong.
        source: DocumentError,
    },
    /// An image's name is not one.
    #[error("{list}: {source}")]
    Name {
        /// Where it stands.
        list: &'static str,
        /// What is wrong.
        source: ReferenceError,
    },
    /// A name with a digest is given to an image with another.
    #[error("{list}: {name} is the name of an image whose digest is {digest}")]
    Pinned {
        /// Where it stands.
        list: &'static str,
        /// The name.
        name: String,
        /// What is called so.
        digest: Digest,
    },
    /// The image is for other machines.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// Indexes point to indexes.
    #[error("indexes are nested more than {INDEX_DEPTH} levels deep")]
    Nested,
    /// The store failed or a digest is wrong.
    #[error(transparent)]
    Store(#[from] LayoutError),
}

impl ArchiveError {
    /// True when the archive is to blame: the same bytes will fail again, on any day.
    pub fn is_of_the_archive(&self) -> bool {
        let damage = |error: &io::Error| {
            use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
            matches!(error.kind(), UnexpectedEof | InvalidData | InvalidInput)
        };
        match self {
            Self::Read { source, .. } | Self::Tar { source: TarError::Read(source), .. } => {
                damage(source)
            }
            Self::Store(error) => {
                matches!(error, LayoutError::Digest { .. } | LayoutError::Size { .. })
            }
            Self::Room { .. } => false,
            _ => true,
        }
    }
}

/// Loads every image of the archive at `path` for `platform`; returns their names.
pub fn load(
    layout: &Layout,
    path: &Path,
    platform: &Platform,
) -> Result<Vec<(String, Digest)>, ArchiveError> {
    let read_failed = |source| ArchiveError::Read { path: path.to_owned(), source };
    let metadata = fs::metadata(path).map_err(read_failed)?;
    let staged = if metadata.is_dir() {
        Staged::folder(layout, path)?
    } else {
        room::check(layout, path, metadata.len())?;
        Staged::tar(layout, path, fs::File::open(path).map_err(read_failed)?)?
    };
    keep(layout, &check::images(layout, staged, platform, &stem(path))?)
}

/// The same of a stream, of which `path` is only said.
pub fn load_stream(
    layout: &Layout,
    path: &Path,
    stream: impl Read + Send,
    platform: &Platform,
) -> Result<Vec<(String, Digest)>, ArchiveError> {
    let staged = Staged::tar(layout, path, stream)?;
    keep(layout, &check::images(layout, staged, platform, &stem(path))?)
}

/// What stands for the repository of an image whose archive has only its tag.
fn stem(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    name.as_deref().and_then(|name| name.split('.').next()).unwrap_or_default().to_owned()
}

/// What has passed all checks; the staged files are there as long as it is.
struct Checked {
    images: Vec<Image>,
    staged: Staged,
}

/// One image whose parts are all there.
struct Image {
    /// Without a name it is known by its digest.
    names: Vec<Reference>,
    /// Its manifest.
    manifest: Descriptor,
    /// Configuration and layers.
    blobs: Vec<Piece>,
    /// Manifest and index.
    documents: Vec<Vec<u8>>,
}

/// Moves everything into the store, and then gives it its names.
fn keep(layout: &Layout, checked: &Checked) -> Result<Vec<(String, Digest)>, ArchiveError> {
    let mut entries = Vec::new();
    for image in &checked.images {
        for blob in &image.blobs {
            blob.keep(layout)?;
        }
        for document in &image.documents {
            checked.staged.grip().pin(&Digest::of(document));
            layout.put(document)?;
        }
        let mut names: Vec<String> = image.names.iter().map(Reference::to_string).collect();
        if names.is_empty() {
            names.push(image.manifest.digest.to_string());
        }
        entries.extend(names.into_iter().map(|name| {
            let mut entry = image.manifest.clone();
            entry.annotations.insert(super::layout::NAME.to_owned(), name);
            entry
        }));
    }
    layout.record_all(&entries)?;
    let named = |mut entry: Descriptor| {
        (entry.annotations.remove(super::layout::NAME).unwrap_or_default(), entry.digest)
    };
    Ok(entries.into_iter().map(named).collect())
}
