//! What collecting needs of the content store: all blobs, one less.

use super::{Layout, LayoutError, NAME};
use crate::image::collect::disk::allocated;
use crate::image::digest::Digest;
use crate::image::manifest::Descriptor;
use std::collections::BTreeMap;
use std::fs;
use std::io;

impl Layout {
    /// The directory of the store.
    pub fn root(&self) -> &std::path::Path {
        &self.root
    }

    /// All blobs, with their sizes.
    pub fn list_blobs(&self) -> Result<BTreeMap<Digest, u64>, LayoutError> {
        let directory = self.blobs();
        let failed = |e| LayoutError::io("read", &directory, e);
        let mut blobs = BTreeMap::new();
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Some(digest) = entry.file_name().to_str().and_then(Digest::from_hex) else {
                continue;
            };
            match entry.metadata() {
                Ok(found) if found.is_file() => {
                    blobs.insert(digest, found.len());
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(blobs)
    }

    /// Removes a blob; that it is gone is fine. It may come back with a power cut, and is garbage then.
    pub fn remove_blob(&self, digest: &Digest) -> Result<(), LayoutError> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(LayoutError::io("remove", &path, error))
            }
            _ => Ok(()),
        }
    }

    /// Bytes of what is not finished.
    pub fn unfinished_bytes(&self) -> u64 {
        ["tmp", "partial"].iter().map(|name| allocated(&self.root.join(name))).sum()
    }

    /// Replaces a small file of the store, which is not part of the layout, whole or not at all.
    pub fn put_file(&self, name: &str, bytes: &[u8]) -> Result<(), LayoutError> {
        self.replace(&self.root.join(name), bytes)
    }
}

/// The full name of a stored image; its digest if it has none.
pub fn name_of(entry: &Descriptor) -> String {
    entry.annotations.get(NAME).cloned().unwrap_or_else(|| entry.digest.to_string())
}
