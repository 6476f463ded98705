//! Layers unpacked once, in directories named by chain id: `STATE/layers/<hex>/`.
//!
//! A layer is unpacked into `STATE/layers/.new-<random>/root`, synced and renamed. What has a name is whole; what a
//! crash left is removed at the next start by whoever has the directory for itself. Several images share layers.

use super::digest::Digest;
use super::layout::{LayoutError, hold, random_name, sync_directory};
use super::unpack::{self, Limits, UnpackError, clear};
use rustix::fs::syncfs;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Why a layer is not there.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The archive was refused or the kernel said no.
    #[error("layer {diff_id}: {source}")]
    Unpack {
        /// Which layer.
        diff_id: Digest,
        /// What went wrong.
        source: UnpackError,
    },
    /// The content is not what the image's configuration promises.
    #[error("layer {expected}: digest mismatch: the content is {actual}")]
    DiffId {
        /// By the configuration.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// A directory of the store cannot be used.
    #[error(transparent)]
    Store(#[from] LayoutError),
}

/// The directory of the unpacked layers.
#[derive(Debug)]
pub struct Layers {
    directory: PathBuf,
    /// Held shared as long as the store is open.
    _lock: File,
}

impl Layers {
    /// Opens it, and removes what crashed unpackings left.
    pub fn open(directory: &Path) -> Result<Self, LayerError> {
        fs::create_dir_all(directory).map_err(|e| LayoutError::io("create", directory, e))?;
        let lock = hold(directory, || {
            let failed = |e| LayoutError::io("read", directory, e);
            for entry in fs::read_dir(directory).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                if entry.file_name().to_string_lossy().starts_with(".new-") {
                    remove_tree(&entry.path())?;
                }
            }
            Ok(())
        })?;
        Ok(Self { directory: directory.to_owned(), _lock: lock })
    }

    /// Where the layer with this chain id is, or will be.
    pub fn path(&self, chain_id: &Digest) -> PathBuf {
        self.directory.join(chain_id.hex())
    }

    /// Unpacks `archive` as the layer `chain_id`, over the layers `below` (nearest first).
    pub fn add(
        &self,
        chain_id: &Digest,
        diff_id: &Digest,
        archive: impl Read + Send,
        below: &[PathBuf],
    ) -> Result<PathBuf, LayerError> {
        let path = self.path(chain_id);
        if path.is_dir() {
            return Ok(path);
        }
        let working = Working::create(&self.directory)?;
        let (root, trash) = (working.0.join("root"), working.0.join("trash"));
        for directory in [&root, &trash] {
            fs::create_dir(directory).map_err(|e| LayoutError::io("create", directory, e))?;
        }
        let unpack_failed = |source| LayerError::Unpack { diff_id: *diff_id, source };
        let actual = unpack::layer(archive, &root, &trash, below, Limits::default())
            .map_err(unpack_failed)?;
        if actual != *diff_id {
            return Err(LayerError::DiffId { expected: *diff_id, actual });
        }
        let opened = File::open(&root).map_err(|e| LayoutError::io("open", &root, e))?;
        syncfs(&opened).map_err(|e| LayoutError::io("sync", &root, e))?;
        match fs::rename(&root, &path) {
            Ok(()) => sync_directory(&self.directory)?,
            // Another process was faster.
            Err(_) if path.is_dir() => {}
            Err(error) => return Err(LayoutError::io("rename to", &path, error).into()),
        }
        Ok(path)
    }
}

/// A directory that is removed when it is no longer needed.
struct Working(PathBuf);

impl Working {
    fn create(parent: &Path) -> Result<Self, LayoutError> {
        let path = parent.join(format!(".new-{}", random_name()));
        fs::create_dir(&path).map_err(|e| LayoutError::io("create", &path, e))?;
        Ok(Self(path))
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.0) {
            tracing::warn!(%error, "an unfinished layer stays until the next start");
        }
    }
}

fn remove_tree(path: &Path) -> Result<(), LayoutError> {
    clear(path)
        .map_err(|e| LayoutError::io("clear", path, io::Error::other(e)))
        .and_then(|()| fs::remove_dir(path).map_err(|e| LayoutError::io("remove", path, e)))
}
