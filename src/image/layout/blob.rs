//! Blobs on their way into the store, and damaged ones out of it.

use super::{Layout, LayoutError, sync_directory};
use crate::image::digest::{Digest, Hashed, Hasher};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

impl Layout {
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
