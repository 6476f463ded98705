//! What an image says of itself, in the words of `docker image inspect` and `docker history`, and what images take.

use super::{ImageStore, find};
use crate::image::collect::disk::Disk;
use crate::image::collect::policy::KeptImage;
use crate::image::digest::Digest;
use crate::image::error::ImageError;
use crate::image::layout::{FROM_INDEX, name_of, read_manifest};
use crate::image::manifest::{CONFIG_LIMIT, Descriptor, Document, DocumentError, Manifest};
use crate::image::reference::Reference;
use crate::model::ImageDigest;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The shortest beginning of a digest that is looked for.
const SHORTEST_PREFIX: usize = 6;

/// What one image takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageSpace {
    /// Its manifest.
    pub digest: ImageDigest,
    /// All its names.
    pub names: Vec<String>,
    /// Bytes on the disk, as it came and unpacked, that other images have as well.
    pub shared: u64,
    /// Bytes that only it has.
    pub unique: u64,
    /// How many want it.
    pub in_use: usize,
}

/// What the store takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Space {
    /// The images.
    pub images: Vec<ImageSpace>,
    /// Number and bytes of the blobs, as they came.
    pub blobs: (usize, u64),
    /// Number and bytes of the unpacked layers.
    pub layers: (usize, u64),
    /// Bytes of downloads that are not finished.
    pub partial: u64,
    /// Bytes that no image has.
    pub loose: u64,
    /// Bytes that would go with all images that nobody wants, and with what no image has.
    pub reclaimable: u64,
    /// Bytes of the disk.
    pub disk_size: u64,
    /// Those that are free.
    pub disk_free: u64,
    /// Percent in use, of bytes or of inodes.
    pub disk_fill: u8,
}

impl ImageStore {
    /// The names that `text` means: one if it is a name; all of an image if it is a digest or the beginning of one.
    /// With the image's digest, and whether it was a name. Blocking.
    ///
    /// # Errors
    /// When the index cannot be read, or the beginning fits several images.
    pub fn look_up(
        &self,
        text: &str,
    ) -> Result<Option<(Vec<String>, ImageDigest, bool)>, ImageError> {
        let entries = self.entries()?;
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let is_hex = hex.len() >= SHORTEST_PREFIX
            && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if let Some(entry) = find(&entries, text)
            && !(is_hex && hex.len() == 64)
        {
            return Ok(Some((vec![name_of(entry)], entry.digest.into(), true)));
        }
        if !is_hex {
            return Ok(None);
        }
        let fits = |entry: &&Descriptor| entry.digest.hex().starts_with(hex);
        let digests: BTreeSet<Digest> = entries.iter().filter(fits).map(|e| e.digest).collect();
        match (digests.len(), digests.first()) {
            (0, _) | (_, None) => Ok(None),
            (1, Some(digest)) => {
                let names = entries.iter().filter(|e| e.digest == *digest).map(name_of).collect();
                Ok(Some((names, (*digest).into(), false)))
            }
            _ => Err(ImageError::Ambiguous(text.chars().take(64).collect())),
        }
    }

    /// `docker image inspect` of an image. Blocking.
    ///
    /// # Errors
    /// When the image is damaged.
    pub fn inspect(&self, digest: &ImageDigest) -> Result<Value, ImageError> {
        let (manifest, config) = self.documents(digest)?;
        let entries: Vec<Descriptor> = self
            .entries()?
            .into_iter()
            .filter(|e| ImageDigest::from(e.digest) == *digest)
            .collect();
        let mut tags = BTreeSet::new();
        let mut digests = BTreeSet::new();
        for entry in &entries {
            let Ok(reference) = name_of(entry).parse::<Reference>() else { continue };
            if reference.digest().is_none() {
                tags.insert(reference.to_string());
            }
            let source = entry.annotations.get(FROM_INDEX).and_then(|source| source.parse().ok());
            digests.insert(reference.pinned(source.unwrap_or(entry.digest)).to_string());
        }
        let size: u64 = manifest.layers.iter().map(|layer| layer.size).sum();
        let member = |name: &str| config.get(name).cloned().unwrap_or(Value::Null);
        let mut shown = json!({
            "Id": manifest.config.digest, "RepoTags": tags, "RepoDigests": digests,
            "Created": member("created"), "Author": config.get("author").cloned().unwrap_or_else(|| "".into()),
            "Architecture": member("architecture"), "Os": member("os"), "Size": size,
            "Config": member("config"),
            "RootFS": { "Type": "layers", "Layers": config["rootfs"]["diff_ids"] },
            "Descriptor": {
                "mediaType": manifest.media_type, "digest": digest,
                "size": self.0.layout.path(&digest.into()).metadata().map_or(0, |found| found.len()),
            },
        });
        if let Some(variant) = config.get("variant") {
            shown["Variant"] = variant.clone();
        }
        Ok(shown)
    }

    /// How an image was made, the newest step first: `created`, `createdBy`, `size` of its layer as stored, `comment`.
    /// Blocking.
    ///
    /// # Errors
    /// When the image is damaged.
    pub fn history(&self, digest: &ImageDigest) -> Result<Vec<Value>, ImageError> {
        let (manifest, config) = self.documents(digest)?;
        let mut layers = manifest.layers.iter();
        let text = |step: &Value, name: &str| step[name].as_str().unwrap_or_default().to_owned();
        let mut steps = Vec::new();
        for step in config["history"].as_array().into_iter().flatten() {
            let empty = step["empty_layer"].as_bool().unwrap_or(false);
            let layer = if empty { None } else { layers.next() };
            steps.push(json!({
                "created": text(step, "created"), "createdBy": text(step, "created_by"),
                "comment": text(step, "comment"), "size": layer.map_or(0, |layer| layer.size),
                "layer": layer.map(|layer| layer.digest),
            }));
        }
        // What the history does not tell is there all the same.
        let untold = layers.map(|layer| {
            json!({
                "created": "", "createdBy": "", "comment": "", "size": layer.size, "layer": layer.digest,
            })
        });
        steps.extend(untold);
        steps.reverse();
        Ok(steps)
    }

    /// What images, layers and the rest take. Looks at every file of every layer. Blocking.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn space(&self, images: &[KeptImage]) -> Result<Space, ImageError> {
        let inner = &self.0;
        let blobs = inner.layout.list_blobs()?;
        let layers: BTreeMap<Digest, u64> =
            inner.layers.list()?.into_iter().map(|id| (id, inner.layers.size(&id))).collect();
        // Blobs and layers are told apart: a layer's chain id may be the digest of a blob.
        let mut owners: BTreeMap<(bool, Digest), usize> = BTreeMap::new();
        let mut contents = Vec::new();
        for image in images {
            let parts: Vec<(bool, Digest)> = match inner.contents(&Digest::from(&image.digest)) {
                Ok(found) => {
                    let blobs = found.blobs.into_keys().map(|digest| (true, digest));
                    blobs.chain(found.layers.into_iter().map(|id| (false, id))).collect()
                }
                // Damaged: what it has is loose.
                Err(_) => Vec::new(),
            };
            for part in &parts {
                *owners.entry(*part).or_default() += 1;
            }
            contents.push(parts);
        }
        let size = |(is_blob, digest): &(bool, Digest)| {
            let of = if *is_blob { &blobs } else { &layers };
            of.get(digest).copied().unwrap_or_default()
        };
        let mut kept = BTreeSet::new();
        let mut shown = Vec::new();
        for (image, parts) in images.iter().zip(&contents) {
            if !image.may_go() {
                kept.extend(parts.iter().copied());
            }
            let of = |shared: bool| {
                let those = parts.iter().filter(|part| (owners.get(part) > Some(&1)) == shared);
                those.map(size).sum()
            };
            shown.push(ImageSpace {
                digest: image.digest.clone(),
                names: image.names.clone(),
                shared: of(true),
                unique: of(false),
                in_use: image.users.len(),
            });
        }
        let all = blobs.keys().map(|d| (true, *d)).chain(layers.keys().map(|d| (false, *d)));
        let all: Vec<(bool, Digest)> = all.collect();
        let sum = |goes: &dyn Fn(&(bool, Digest)) -> bool| {
            all.iter().filter(|part| goes(part)).map(size).sum::<u64>()
        };
        let loose = sum(&|part| !owners.contains_key(part));
        let partial = inner.layout.unfinished_bytes();
        let Disk { size: disk_size, free: disk_free, fill: disk_fill } = self.disk()?;
        Ok(Space {
            images: shown,
            blobs: (blobs.len(), blobs.values().sum()),
            layers: (layers.len(), layers.values().sum()),
            partial,
            loose,
            reclaimable: sum(&|part| !kept.contains(part)) + partial,
            disk_size,
            disk_free,
            disk_fill,
        })
    }

    /// The manifest and the whole configuration.
    fn documents(&self, digest: &ImageDigest) -> Result<(Manifest, Value), ImageError> {
        let own = Digest::from(digest);
        let wrong = |source| ImageError::Document { digest: digest.clone(), source };
        if own == self.0.hello.descriptor.digest {
            for blob in &self.0.hello.blobs {
                self.0.layout.put(blob)?;
            }
        }
        let layout = &self.0.layout;
        let manifest = match Document::parse(&read_manifest(layout, &own)?).map_err(wrong)? {
            Document::Manifest(manifest) => manifest,
            Document::Index(_) => {
                return Err(wrong(DocumentError::MediaType("an index".to_owned())));
            }
        };
        let config = layout.read(&manifest.config.digest, CONFIG_LIMIT)?;
        let config = serde_json::from_slice(&config).map_err(|error| wrong(error.into()))?;
        Ok((manifest, config))
    }
}
