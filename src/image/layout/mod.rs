//! The content store: an OCI image layout whose `index.json` also holds the images' names.
//!
//! ```text
//! oci-layout  index.json  blobs/sha256/<hex>  partial/<hex>  tmp/<random>  store.lock  index.lock
//! ```
//!
//! A blob is written to `tmp/`, or to `partial/` when it comes from a network, verified, synced and only then renamed to
//! its digest: what has a name is whole, also after a power cut. What a cut left in `partial/` the next download goes on
//! with. `index.json` is replaced the same way, under a lock, because two processes may share a store.
//! Every process that has the store open holds `store.lock` shared; who gets it exclusively may clear `tmp/`.
//! Nothing is collected here. Whoever looks for a blob in order to use or name it pins it first ([`Layout::grip`]).

mod blob;
mod index;
mod partial;
mod remove;

pub use blob::BlobWriter;
pub use partial::{Partial, Unfinished};
pub use remove::name_of;

use super::collect::pins::{Grip, Pins};
use super::digest::Digest;
use super::manifest::{Descriptor, MANIFEST_LIMIT};
use crate::sys::{self, FileLock};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Annotation that holds an image's full name.
pub const NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation of an image that came from a registry: the digest of the index that it was chosen from, or its own.
pub const FROM_INDEX: &str = "dev.coracle.index";

/// Largest `index.json` that is read back.
const INDEX_LIMIT: u64 = 64 << 20;

/// Why the store could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The kernel said no.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The bytes are not those that the digest names.
    #[error("digest mismatch: expected {expected}, the content is {actual}")]
    Digest {
        /// What was promised.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// The size is not the descriptor's.
    #[error("{digest}: size mismatch: expected {expected} bytes, there are {actual}")]
    Size {
        /// Of which blob.
        digest: Digest,
        /// What was promised.
        expected: u64,
        /// What came, at least.
        actual: u64,
    },
    /// The file system is too full for what shall come.
    #[error("{needed} bytes are needed, {room} are free")]
    Room {
        /// Bytes that are wanted.
        needed: u64,
        /// Bytes that there are.
        room: u64,
    },
    /// `index.json` is not readable.
    #[error("{} is not an OCI index: {source}", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl LayoutError {
    /// An error of the kernel.
    pub fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { action, path: path.to_owned(), source: source.into() }
    }
}

/// The store in one directory.
#[derive(Debug)]
pub struct Layout {
    root: PathBuf,
    index: Mutex<Option<(index::Stamp, Vec<Descriptor>)>>,
    pins: Pins,
    _lock: FileLock,
}

impl Layout {
    /// Opens the store, creating what is missing and clearing what crashed writers left.
    pub fn open(root: &Path) -> Result<Self, LayoutError> {
        for directory in ["blobs/sha256", "partial", "tmp"] {
            let path = root.join(directory);
            fs::create_dir_all(&path).map_err(|e| LayoutError::io("create", &path, e))?;
        }
        let lock = hold(root, || clear_temporary(&root.join("tmp")))?;
        let layout = Self {
            root: root.to_owned(),
            index: Mutex::new(None),
            pins: Pins::default(),
            _lock: lock,
        };
        let version = root.join("oci-layout");
        if !version.exists() {
            layout.replace(&version, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        Ok(layout)
    }

    /// What this process has pinned.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// For a piece of work that brings blobs here or uses them.
    pub fn grip(&self) -> Grip {
        self.pins.grip()
    }

    /// Where the blob is, if it is there.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    /// True when the blob is there with its full size.
    pub fn has(&self, descriptor: &Descriptor) -> bool {
        self.holds(&descriptor.digest, descriptor.size)
    }

    /// True when a blob of that digest and size is there.
    pub fn holds(&self, digest: &Digest, size: u64) -> bool {
        fs::metadata(self.path(digest)).is_ok_and(|found| found.len() == size)
    }

    /// Opens a blob. Its content is verified by whoever reads all of it.
    pub fn blob(&self, digest: &Digest) -> Result<File, LayoutError> {
        let path = self.path(digest);
        File::open(&path).map_err(|e| LayoutError::io("open", &path, e))
    }

    /// Reads a small blob and verifies it.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, LayoutError> {
        let path = self.path(digest);
        let bytes = read_bounded(&path, limit)?;
        let actual = Digest::of(&bytes);
        if actual != *digest {
            return Err(LayoutError::Digest { expected: *digest, actual });
        }
        Ok(bytes)
    }

    /// Where the blobs are.
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    /// Bytes that may still be written to the file system of the store.
    pub fn room(&self) -> Result<u64, LayoutError> {
        let found =
            rustix::fs::statvfs(&self.root).map_err(|e| LayoutError::io("ask", &self.root, e))?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// A fresh path in `tmp/`.
    pub fn temporary(&self) -> PathBuf {
        self.root.join("tmp").join(random_name())
    }

    /// Replaces a small file so that a crash leaves the old or the new one.
    pub fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), LayoutError> {
        let temporary = self.temporary();
        let written = File::create_new(&temporary).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        written.map_err(|e| LayoutError::io("write", &temporary, e))?;
        fs::rename(&temporary, path).map_err(|e| LayoutError::io("rename to", path, e))?;
        sync_directory(&self.root)
    }
}

/// Takes the lock of a directory of the store, shared; before that, calls `clear` if nobody else has it.
pub fn hold(
    directory: &Path,
    clear: impl FnOnce() -> Result<(), LayoutError>,
) -> Result<FileLock, LayoutError> {
    let path = directory.join("store.lock");
    let file = File::create(&path).map_err(|e| LayoutError::io("create", &path, e))?;
    let lock = FileLock::of(file);
    let failed = |e| LayoutError::io("lock", &path, e);
    if lock.try_exclusive().map_err(failed)? {
        clear()?;
    }
    lock.shared().map_err(failed)?;
    Ok(lock)
}

/// Removes what is in `tmp/`.
fn clear_temporary(tmp: &Path) -> Result<(), LayoutError> {
    for entry in fs::read_dir(tmp).map_err(|e| LayoutError::io("read", tmp, e))? {
        let path = entry.map_err(|e| LayoutError::io("read", tmp, e))?.path();
        let removed =
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(|e| LayoutError::io("remove", &path, e))?;
    }
    Ok(())
}

/// Makes a directory's entries survive a power cut.
pub fn sync_directory(path: &Path) -> Result<(), LayoutError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|e| LayoutError::io("sync", path, e))
}

/// A file name that nobody else has.
pub fn random_name() -> String {
    let mut bytes = [0; 16];
    sys::random(&mut bytes);
    format!("{:032x}", u128::from_le_bytes(bytes))
}

/// Reads a file that must not be larger than `limit`.
pub fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, LayoutError> {
    let read = |path: &Path| -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::other(format!("it is larger than {limit} bytes")));
        }
        Ok(bytes)
    };
    read(path).map_err(|e| LayoutError::io("read", path, e))
}

/// Reads a manifest or index blob, verified.
pub fn read_manifest(layout: &Layout, digest: &Digest) -> Result<Vec<u8>, LayoutError> {
    layout.read(digest, MANIFEST_LIMIT)
}
