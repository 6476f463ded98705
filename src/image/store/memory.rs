//! What is remembered of the use of images, and its file.

use super::Inner;
use crate::image::collect::usage::Usage;
use crate::image::digest::Digest;
use crate::image::layout::{LayoutError, read_bounded};
use std::io;
use std::path::Path;
use std::sync::{MutexGuard, PoisonError};

/// What is remembered of the images.
const USAGE: &str = "usage.json";
/// Largest [`USAGE`] that is read back.
const USAGE_LIMIT: u64 = 16 << 20;

/// Ages, and what of them is in the file.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) usage: Usage,
    written: Vec<u8>,
}

impl Memory {
    /// Reads the file. Without it everything counts as brought by hand, and new.
    pub(super) fn read(root: &Path) -> Self {
        let path = root.join(USAGE);
        let written = match read_bounded(&path, USAGE_LIMIT) {
            Ok(bytes) => bytes,
            Err(LayoutError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Vec::new()
            }
            Err(error) => {
                tracing::warn!(%error, "what is known of the use of images cannot be read");
                Vec::new()
            }
        };
        let usage = if written.is_empty() {
            Usage::default()
        } else {
            serde_json::from_slice(&written).unwrap_or_else(|error| {
                tracing::warn!(%error, path = %path.display(), "what is known of the use of images is damaged and begins anew");
                Usage::default()
            })
        };
        Self { usage, written }
    }
}

impl Inner {
    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that an image is being used; not written.
    pub(super) fn touch(&self, digest: &Digest) {
        self.memory().usage.touch(digest);
    }

    /// Writes what is remembered if that has changed. That it cannot be is no reason to stop.
    pub(super) fn write(&self, memory: &mut Memory) {
        let Ok(bytes) = serde_json::to_vec(&memory.usage) else { return };
        if bytes == memory.written {
            return;
        }
        match self.layout.put_file(USAGE, &bytes) {
            Ok(()) => memory.written = bytes,
            Err(error) => tracing::warn!(%error, "the use of images cannot be written down"),
        }
    }
}
