//! Layers unpacked once, in directories named by chain id: `STATE/layers/<hex>/`.
//!
//! ```text
//!  turn(chain id) ─► unpack into .new-<random>/root ─► push … finish: sync, rename
//!   one at a time      over those below                 many at once
//! ```
//!
//! What has a name is whole, also after a power cut: layers are synced before they are renamed. One sync writes all that
//! the file system holds back, so the layers of an image wait for it together, as far as that is not much. What a crash
//! left is removed at the next start by whoever has the directory for itself. Several images share layers.

mod remove;

use super::digest::Digest;
use super::layout::{LayoutError, hold, random_name, sync_directory};
use super::unpack::{self, Limits, UnpackError, clear};
use crate::sys::FileLock;
use rustix::fs::syncfs;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OwnedMutexGuard;
use tokio::task::spawn_blocking;

/// Layers of more bytes, as stored, than this do not wait for those above them: unpacking is work that a crash undoes.
const HELD_BACK: u64 = 32 << 20;

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
    /// Blocking work was given up because the program ends.
    #[error("the program is ending")]
    Ending,
}

impl LayerError {
    /// True when the disk is full: then nothing is wrong with the layer.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        let source = match self {
            Self::Unpack { source: UnpackError::Kernel { source, .. }, .. }
            | Self::Store(LayoutError::Io { source, .. }) => source,
            Self::Unpack { .. } | Self::DiffId { .. } | Self::Store(_) | Self::Ending => {
                return false;
            }
        };
        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// The directory of the unpacked layers.
#[derive(Debug)]
pub struct Layers {
    directory: PathBuf,
    /// Layers that are being unpacked: one task does it, others wait for it.
    turns: Mutex<BTreeMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
    /// Held shared as long as the store is open.
    _lock: FileLock,
}

impl Layers {
    /// Opens it, and removes what crashed unpackings left.
    pub fn open(directory: &Path) -> Result<Self, LayerError> {
        // Images bring programs that take on other users' rights, and devices: nobody else may reach them.
        fs::create_dir_all(directory)
            .and_then(|()| fs::set_permissions(directory, fs::Permissions::from_mode(0o700)))
            .map_err(|e| LayoutError::io("create", directory, e))?;
        let lock = hold(directory, || {
            let failed = |e| LayoutError::io("read", directory, e);
            for entry in fs::read_dir(directory).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let name = entry.file_name();
                let name = name.to_string_lossy();
                if name.starts_with(".new-") || name.starts_with(remove::RETIRED) {
                    remove_tree(&entry.path())?;
                }
            }
            Ok(())
        })?;
        Ok(Self { directory: directory.to_owned(), turns: Mutex::default(), _lock: lock })
    }

    /// Where the layer with this chain id is, or will be.
    pub fn path(&self, chain_id: &Digest) -> PathBuf {
        self.directory.join(chain_id.hex())
    }

    /// True when it is there.
    pub fn has(&self, chain_id: &Digest) -> bool {
        self.path(chain_id).is_dir()
    }

    /// The lock of one layer; those that nobody holds are forgotten.
    async fn turn(&self, chain_id: Digest) -> Turn {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(chain_id).or_default().clone()
        };
        Turn { chain_id, _held: turn.lock_owned().await }
    }

    /// Unpacks `archive` over the layers `below` (nearest first).
    fn unpack(
        &self,
        turn: Turn,
        diff_id: &Digest,
        archive: impl Read + Send,
        below: &[PathBuf],
    ) -> Result<Fresh, LayerError> {
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
        Ok(Fresh { root, _working: working, turn })
    }

    /// Makes the layers last and gives them their names.
    fn name(&self, fresh: &[Fresh]) -> Result<(), LayerError> {
        let Some(first) = fresh.first() else { return Ok(()) };
        let opened =
            File::open(&first.root).map_err(|e| LayoutError::io("open", &first.root, e))?;
        syncfs(&opened).map_err(|e| LayoutError::io("sync", &first.root, e))?;
        for layer in fresh {
            let path = self.path(&layer.turn.chain_id);
            match fs::rename(&layer.root, &path) {
                Ok(()) => {}
                // Another process was faster.
                Err(_) if path.is_dir() => {}
                Err(error) => return Err(LayoutError::io("rename to", &path, error).into()),
            }
        }
        sync_directory(&self.directory)?;
        Ok(())
    }
}

/// The right to unpack one layer.
#[derive(Debug)]
pub struct Turn {
    chain_id: Digest,
    _held: OwnedMutexGuard<()>,
}

/// A layer that is unpacked and has no name yet.
#[derive(Debug)]
pub struct Fresh {
    root: PathBuf,
    _working: Working,
    turn: Turn,
}

/// The layers of one image, from the lowest upwards.
#[derive(Debug)]
pub struct Stack {
    layers: Arc<Layers>,
    named: Vec<PathBuf>,
    /// Above those with names.
    fresh: Vec<Fresh>,
    held_back: u64,
}

impl Stack {
    /// None yet.
    pub fn new(layers: Arc<Layers>) -> Self {
        Self { layers, named: Vec::new(), fresh: Vec::new(), held_back: 0 }
    }

    /// Goes on to the next layer. If it is there, that is all; else it must be unpacked, by whoever gets the turn.
    pub async fn turn(&mut self, chain_id: Digest) -> Result<Option<Turn>, LayerError> {
        let turn = self.layers.turn(chain_id).await;
        let layers = self.layers.clone();
        if !blocking(move || Ok(layers.has(&chain_id))).await? {
            return Ok(Some(turn));
        }
        self.name().await?;
        self.named.push(self.layers.path(&chain_id));
        Ok(None)
    }

    /// Unpacks it from `archive`. It is no part of the stack before it is pushed.
    pub async fn unpack(
        &self,
        turn: Turn,
        diff_id: Digest,
        archive: impl Read + Send + 'static,
    ) -> Result<Fresh, LayerError> {
        let below: Vec<PathBuf> = self.top_first().cloned().collect();
        let layers = self.layers.clone();
        blocking(move || layers.unpack(turn, &diff_id, archive, &below)).await
    }

    /// Puts it on top. `size` tells how much work it was.
    pub async fn push(&mut self, layer: Fresh, size: u64) -> Result<(), LayerError> {
        self.fresh.push(layer);
        self.held_back = self.held_back.saturating_add(size);
        if self.held_back >= HELD_BACK { self.name().await } else { Ok(()) }
    }

    /// The directories, top first, all of them durable.
    pub async fn finish(mut self) -> Result<Vec<PathBuf>, LayerError> {
        self.name().await?;
        Ok(self.top_first().cloned().collect())
    }

    fn top_first(&self) -> impl Iterator<Item = &PathBuf> {
        let fresh = self.fresh.iter().rev().map(|layer| &layer.root);
        fresh.chain(self.named.iter().rev())
    }

    async fn name(&mut self) -> Result<(), LayerError> {
        let fresh = std::mem::take(&mut self.fresh);
        self.held_back = 0;
        if fresh.is_empty() {
            return Ok(());
        }
        self.named.extend(fresh.iter().map(|layer| self.layers.path(&layer.turn.chain_id)));
        let layers = self.layers.clone();
        blocking(move || layers.name(&fresh)).await
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let fresh = std::mem::take(&mut self.fresh);
        // Removing what was unpacked for nothing takes time, which is not an async thread's to give.
        if !fresh.is_empty()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn_blocking(move || drop(fresh));
        }
    }
}

/// A directory that is removed when it is no longer needed.
#[derive(Debug)]
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

/// Runs blocking work off the async threads. What it returned to nobody is dropped there as well.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LayerError> + Send + 'static,
) -> Result<T, LayerError> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(LayerError::Ending),
    }
}
