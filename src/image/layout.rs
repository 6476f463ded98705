//! The content store: an OCI image layout whose `index.json` also holds the images' names.
//!
//! ```text
//! oci-layout  index.json  blobs/sha256/<hex>  tmp/<random>  store.lock  index.lock
//! ```
//!
//! A blob is written to `tmp/`, verified, synced and only then renamed to its digest: what has a name is whole, also
//! after a power cut. `index.json` is replaced the same way, under a lock, because two processes may share a store.
//! Every process that has the store open holds `store.lock` shared; who gets it exclusively may clear `tmp/`.
//! Nothing is collected here.

use super::digest::{Digest, Hashed, Hasher};
use super::manifest::{Descriptor, Index, MANIFEST_LIMIT};
use crate::sys;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Annotation that holds an image's full name.
pub const NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation that holds the digest of the index the manifest was chosen from.
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
    index: Mutex<Option<(Stamp, Vec<Descriptor>)>>,
    _lock: File,
}

/// Tells whether `index.json` is the one that was read: its inode, size and time of change.
type Stamp = (u64, u64, i64, i64);

impl Layout {
    /// Opens the store, creating what is missing and clearing what crashed writers left.
    pub fn open(root: &Path) -> Result<Self, LayoutError> {
        for directory in ["blobs/sha256", "tmp"] {
            let path = root.join(directory);
            fs::create_dir_all(&path).map_err(|e| LayoutError::io("create", &path, e))?;
        }
        let lock = hold(root, || clear_temporary(&root.join("tmp")))?;
        let layout = Self { root: root.to_owned(), index: Mutex::new(None), _lock: lock };
        let version = root.join("oci-layout");
        if !version.exists() {
            layout.replace(&version, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        Ok(layout)
    }

    /// Where the blob is, if it is there.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    /// True when the blob is there with its full size.
    pub fn has(&self, descriptor: &Descriptor) -> bool {
        fs::metadata(self.path(&descriptor.digest))
            .is_ok_and(|found| found.len() == descriptor.size)
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

    /// Reads a whole blob again and removes it when it is damaged, so that it can be brought anew.
    pub fn verify(&self, digest: &Digest) -> Result<(), LayoutError> {
        let path = self.path(digest);
        let mut blob = Hashed::new(self.blob(digest)?);
        io::copy(&mut blob, &mut io::sink()).map_err(|e| LayoutError::io("read", &path, e))?;
        let (_, actual, _) = blob.finish();
        if actual == *digest {
            return Ok(());
        }
        fs::remove_file(&path).map_err(|e| LayoutError::io("remove", &path, e))?;
        Err(LayoutError::Digest { expected: *digest, actual })
    }

    /// Stores a small blob.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, LayoutError> {
        let digest = Digest::of(bytes);
        // What is there may be damaged: it is replaced then.
        if self.read(&digest, bytes.len() as u64).is_ok() {
            return Ok(digest);
        }
        let mut writer = self.writer(digest, bytes.len() as u64)?;
        writer.write(bytes)?;
        writer.commit(self)?;
        Ok(digest)
    }

    /// Starts writing a blob whose digest and size are known.
    pub fn writer(&self, digest: Digest, size: u64) -> Result<BlobWriter, LayoutError> {
        let path = self.temporary();
        let file = File::create_new(&path).map_err(|e| LayoutError::io("create", &path, e))?;
        Ok(BlobWriter { file, path, hasher: Hasher::new(), written: 0, digest, size })
    }

    /// Syncs and names a verified file of `tmp/`.
    pub fn adopt(&self, path: &Path, digest: &Digest) -> Result<(), LayoutError> {
        File::open(path)
            .and_then(|file| file.sync_all())
            .map_err(|e| LayoutError::io("sync", path, e))?;
        let named = self.path(digest);
        fs::rename(path, &named).map_err(|e| LayoutError::io("rename to", &named, e))?;
        sync_directory(&self.blobs())
    }

    /// Where the blobs are.
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    /// A fresh path in `tmp/`.
    pub fn temporary(&self) -> PathBuf {
        self.root.join("tmp").join(random_name())
    }

    /// The named manifests.
    pub fn entries(&self) -> Result<Vec<Descriptor>, LayoutError> {
        let mut cached = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = self.stamp()?;
        if let Some((known, entries)) = cached.as_ref()
            && stamp == Some(*known)
        {
            return Ok(entries.clone());
        }
        let entries = self.read_index()?;
        // Between `stat` and `read` the file may have been replaced: then the stamp is older and the next call reads again.
        *cached = stamp.map(|stamp| (stamp, entries.clone()));
        Ok(entries)
    }

    /// Gives the manifest of `entry` the name in its annotations, taking the name from the one that had it.
    pub fn record(&self, entry: &Descriptor) -> Result<(), LayoutError> {
        let lock_path = self.root.join("index.lock");
        let lock =
            File::create(&lock_path).map_err(|e| LayoutError::io("create", &lock_path, e))?;
        flock(&lock, FlockOperation::LockExclusive)
            .map_err(|e| LayoutError::io("lock", &lock_path, e))?;
        let mut manifests = self.read_index()?;
        if manifests.contains(entry) {
            return Ok(());
        }
        manifests.retain(|known| known.annotations.get(NAME) != entry.annotations.get(NAME));
        manifests.push(entry.clone());
        manifests.sort_by(|a, b| a.annotations.get(NAME).cmp(&b.annotations.get(NAME)));
        let path = self.root.join("index.json");
        let index = Index {
            schema_version: 2,
            media_type: Some(super::manifest::OCI_INDEX.to_owned()),
            manifests,
        };
        let bytes = serde_json::to_vec(&index)
            .map_err(|source| LayoutError::Index { path: path.clone(), source })?;
        self.replace(&path, &bytes)
    }

    fn stamp(&self) -> Result<Option<Stamp>, LayoutError> {
        use std::os::unix::fs::MetadataExt;
        let path = self.root.join("index.json");
        match fs::metadata(&path) {
            Ok(found) => Ok(Some((found.ino(), found.size(), found.ctime(), found.ctime_nsec()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(LayoutError::io("read", &path, error)),
        }
    }

    fn read_index(&self) -> Result<Vec<Descriptor>, LayoutError> {
        let path = self.root.join("index.json");
        match read_bounded(&path, INDEX_LIMIT) {
            Ok(bytes) => Ok(serde_json::from_slice::<Index>(&bytes)
                .map_err(|source| LayoutError::Index { path, source })?
                .manifests),
            Err(LayoutError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    /// Replaces a small file so that a crash leaves the old or the new one.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), LayoutError> {
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
) -> Result<File, LayoutError> {
    let path = directory.join("store.lock");
    let lock = File::create(&path).map_err(|e| LayoutError::io("create", &path, e))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
        clear()?;
    }
    flock(&lock, FlockOperation::LockShared).map_err(|e| LayoutError::io("lock", &path, e))?;
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

/// Writes one blob: hashed and counted on the way, named only when both are right.
#[derive(Debug)]
pub struct BlobWriter {
    file: File,
    path: PathBuf,
    hasher: Hasher,
    written: u64,
    digest: Digest,
    size: u64,
}

impl BlobWriter {
    /// Appends bytes; more than the promised size is refused at once.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), LayoutError> {
        let actual = self.written + bytes.len() as u64;
        if actual > self.size {
            return Err(LayoutError::Size { digest: self.digest, expected: self.size, actual });
        }
        self.file.write_all(bytes).map_err(|e| LayoutError::io("write", &self.path, e))?;
        self.hasher.update(bytes);
        self.written = actual;
        Ok(())
    }

    /// How many bytes there are.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Throws away what was written.
    pub fn restart(&mut self) -> Result<(), LayoutError> {
        use std::io::Seek;
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(|e| LayoutError::io("truncate", &self.path, e))?;
        self.hasher = Hasher::new();
        self.written = 0;
        Ok(())
    }

    /// Verifies, syncs and names the blob.
    pub fn commit(self, layout: &Layout) -> Result<(), LayoutError> {
        if self.written != self.size {
            return Err(LayoutError::Size {
                digest: self.digest,
                expected: self.size,
                actual: self.written,
            });
        }
        let actual = self.hasher.clone().finish();
        if actual != self.digest {
            return Err(LayoutError::Digest { expected: self.digest, actual });
        }
        self.file.sync_all().map_err(|e| LayoutError::io("sync", &self.path, e))?;
        let path = layout.path(&self.digest);
        fs::rename(&self.path, &path).map_err(|e| LayoutError::io("rename to", &path, e))?;
        sync_directory(&layout.blobs())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        // After a commit the path is gone; else nobody needs the piece, and `open` clears what stays.
        let _ = fs::remove_file(&self.path);
    }
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
