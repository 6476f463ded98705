//! Two processes may share a store, and only one knows what its own containers need: nothing is collected while another
//! one has the store open.

use crate::image::layout::LayoutError;
use crate::sys::FileLock;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Held as long as the store is open.
#[derive(Debug, Clone)]
pub struct Shared {
    file: Arc<FileLock>,
    path: PathBuf,
}

/// While this is held no other process has the store, and who opens it waits.
#[derive(Debug)]
pub struct Alone(Shared);

impl Shared {
    /// Waits for a collection that another process is at.
    pub fn open(directory: &Path) -> Result<Self, LayoutError> {
        let path = directory.join("collect.lock");
        let file = File::create(&path).map_err(|e| LayoutError::io("create", &path, e))?;
        let shared = Self { file: Arc::new(FileLock::of(file)), path };
        shared.share()?;
        Ok(shared)
    }

    /// None while another process has the store open.
    pub fn alone(&self) -> Result<Option<Alone>, LayoutError> {
        if self.file.try_exclusive().map_err(self.failed())? {
            return Ok(Some(Alone(self.clone())));
        }
        // The attempt may have cost the shared lock. Nobody can have used that: only agents collect, one to a store.
        self.share()?;
        Ok(None)
    }

    fn share(&self) -> Result<(), LayoutError> {
        self.file.shared().map_err(self.failed())
    }

    fn failed(&self) -> impl FnOnce(io::Error) -> LayoutError {
        |error| LayoutError::io("lock", &self.path, error)
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        if let Err(error) = self.0.share() {
            tracing::warn!(%error, "the image store stays locked until the agent ends");
        }
    }
}
