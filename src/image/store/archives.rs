//! Images come in archives, and leave in them.

use super::names::find;
use super::{ImageStore, blocking};
use crate::image::archive;
use crate::image::collect::usage::Origin;
use crate::image::digest::Digest;
use crate::image::error::ImageError;
use crate::image::layout::Layout;
use crate::image::save::{self, SaveError};
use crate::model::ImageDigest;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Images that are about to be saved.
#[derive(Debug)]
pub struct Saved {
    layout: Arc<Layout>,
    archive: save::Archive,
}

impl Saved {
    /// How large the archive is.
    pub fn size(&self) -> u64 {
        self.archive.size()
    }

    /// Writes the archive. Blocking. When it fails, less than [`Saved::size`] was written or the rest is worthless.
    pub fn write(&self, out: impl Write) -> Result<(), ImageError> {
        Ok(self.archive.write(&self.layout, out)?)
    }
}

impl ImageStore {
    /// Loads the images of an archive; returns their names.
    pub async fn load(&self, archive: &Path) -> Result<Vec<(String, ImageDigest)>, ImageError> {
        self.load_by(archive, Origin::Hand).await
    }

    /// The same with who it is that brings them here.
    pub(in crate::image) async fn load_by(
        &self,
        archive: &Path,
        by: Origin,
    ) -> Result<Vec<(String, ImageDigest)>, ImageError> {
        let (inner, archive) = (self.0.clone(), archive.to_owned());
        let loaded = blocking(move || {
            archive::load(&inner.layout, &archive, &inner.platform).map_err(ImageError::from)
        })
        .await?;
        self.loaded(loaded, by).await
    }

    /// Notes where images have come from.
    async fn loaded(
        &self,
        loaded: Vec<(String, Digest)>,
        by: Origin,
    ) -> Result<Vec<(String, ImageDigest)>, ImageError> {
        let loaded: Vec<(String, ImageDigest)> =
            loaded.into_iter().map(|(name, digest)| (name, digest.into())).collect();
        let digests = loaded.iter().map(|(_, digest)| digest.clone()).collect();
        self.brought(digests, by).await?;
        Ok(loaded)
    }

    /// Loads the images of a tar stream that blocks; `path` is what it is called. Returns their names.
    pub async fn load_stream(
        &self,
        path: PathBuf,
        stream: impl Read + Send + 'static,
    ) -> Result<Vec<(String, ImageDigest)>, ImageError> {
        let inner = self.0.clone();
        let loaded = blocking(move || {
            archive::load_stream(&inner.layout, &path, stream, &inner.platform)
                .map_err(ImageError::from)
        })
        .await?;
        self.loaded(loaded, Origin::Hand).await
    }

    /// The images called `names` as one archive, which is yet to be written.
    pub async fn save(&self, names: Vec<String>) -> Result<Saved, ImageError> {
        let store = self.clone();
        blocking(move || {
            let here = store.entries()?;
            let mut entries = Vec::new();
            for name in names {
                let found = find(&here, &name).cloned();
                let entry = found.ok_or(SaveError::Absent(name))?;
                if entry.digest == store.0.hello.descriptor.digest {
                    store.0.put_hello()?;
                }
                entries.push(entry);
            }
            let archive = save::Archive::new(&store.0.layout, entries)?;
            Ok(Saved { layout: store.0.layout.clone(), archive })
        })
        .await
    }
}
