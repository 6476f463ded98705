//! What images consist of.

use super::Inner;
use crate::image::digest::Digest;
use crate::image::error::ImageError;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// The blobs and layers of an image, by digest and chain id.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) blobs: BTreeMap<Digest, u64>,
    pub(super) layers: BTreeSet<Digest>,
}

impl Contents {
    pub(super) fn add(&mut self, other: Self) {
        self.blobs.extend(other.blobs);
        self.layers.extend(other.layers);
    }
}

impl Inner {
    /// What an image has.
    pub(super) fn contents(&self, digest: &Digest) -> Result<Contents, ImageError> {
        if *digest == self.hello.descriptor.digest {
            return Ok(self.built_in_contents());
        }
        let (manifest, config) = self.image(digest)?;
        let own = fs::metadata(self.layout.path(digest)).map_or(0, |found| found.len());
        let parts = manifest.layers.iter().chain([&manifest.config]);
        let mut blobs: BTreeMap<Digest, u64> = parts.map(|d| (d.digest, d.size)).collect();
        blobs.insert(*digest, own);
        Ok(Contents { blobs, layers: config.chain_ids().into_iter().collect() })
    }

    pub(super) fn built_in_contents(&self) -> Contents {
        let blobs = self.hello.blobs.iter().map(|blob| (Digest::of(blob), blob.len() as u64));
        let layers = self.hello.configuration.chain_ids().into_iter().collect();
        Contents { blobs: blobs.collect(), layers }
    }
}
