//! From an archive's documents to its images: everything they refer to is there, and is what they say.

use super::staged::{Piece, Staged, blob_name};
use super::{ArchiveError, CONTAINERD_NAME, Checked, IMAGES_LIMIT, INDEX_DEPTH, Image, LIST_LIMIT};
use crate::image::digest::Digest;
use crate::image::layout::{FROM_INDEX, Layout, LayoutError, NAME};
use crate::image::manifest::{
    CONFIG_LIMIT, Configuration, Descriptor, Document, DocumentError, Index, LAYER_LIMIT,
    MANIFEST_LIMIT, Manifest, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Platform,
};
use crate::image::recipe::json;
use crate::image::reference::Reference;
use serde::Deserialize;
use std::collections::BTreeMap;

/// One image of Docker's `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerImage {
    config: String,
    pub(super) repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Checks all images of what is staged.
pub(super) fn images(
    layout: &Layout,
    staged: Staged,
    platform: &Platform,
    stem: &str,
) -> Result<Checked, ArchiveError> {
    let check = Check { layout, staged: &staged, platform, stem };
    let index = check.list::<Index>("index.json")?;
    let docker = check.list::<Vec<DockerImage>>("manifest.json")?;
    let images = match (index, docker) {
        // Docker's own archives have both; older ones without names in the index.
        (Some(index), Some(docker)) if !has_names(&index) => check.docker(&docker),
        (Some(index), _) => check.oci(&index),
        (None, Some(docker)) => check.docker(&docker),
        (None, None) => Err(ArchiveError::Unknown { path: staged.path().to_owned() }),
    }?;
    Ok(Checked { images, staged })
}

struct Check<'a> {
    layout: &'a Layout,
    staged: &'a Staged,
    platform: &'a Platform,
    stem: &'a str,
}

impl Check<'_> {
    fn list<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Result<Option<T>, ArchiveError> {
        let Some(bytes) = self.staged.read(self.layout, name, LIST_LIMIT)? else {
            return Ok(None);
        };
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Some).map_err(|error| wrong(name)(error.into()))
    }

    /// The images of an OCI layout.
    fn oci(&self, index: &Index) -> Result<Vec<Image>, ArchiveError> {
        self.bounded(index.manifests.len())?;
        let mut images = Vec::new();
        for entry in &index.manifests {
            // A layout of one multi-platform image may list its manifests without an index between.
            if let Some(platform) = &entry.platform
                && index.manifests.len() > 1
                && self.platform.accept(platform).is_err()
            {
                continue;
            }
            let mut image = self.image(entry, 0)?;
            image.names.extend(name(entry, self.stem)?);
            if image.manifest.digest == entry.digest {
                self.claimed_index(entry, &mut image)?;
            }
            for name in &image.names {
                pinned("index.json", name, &image.manifest)?;
            }
            images.push(image);
        }
        if images.is_empty() {
            self.platform.choose(&index.manifests)?;
        }
        Ok(images)
    }

    /// The image that `entry` leads to.
    fn image(&self, entry: &Descriptor, depth: usize) -> Result<Image, ArchiveError> {
        let (name, bytes) = self.document(&entry.digest)?;
        match Document::parse(&bytes).map_err(wrong(&name))? {
            Document::Index(_) if depth >= INDEX_DEPTH => Err(ArchiveError::Nested),
            Document::Index(index) => {
                let mut image = self.image(self.platform.choose(&index.manifests)?, depth + 1)?;
                // The outermost index is what the name means in a registry.
                if depth == 0 {
                    let digest = entry.digest.to_string();
                    image.manifest.annotations.insert(FROM_INDEX.to_owned(), digest);
                    image.documents.push(bytes);
                }
                Ok(image)
            }
            Document::Manifest(manifest) => {
                let mut blobs = vec![self.blob(&manifest.config)?];
                let config = blobs[0].read(self.layout, CONFIG_LIMIT)?;
                let config = Configuration::parse(&config, &manifest).map_err(wrong(&name))?;
                self.platform.accept(&config.platform)?;
                for layer in &manifest.layers {
                    blobs.push(self.blob(layer)?);
                }
                let manifest = Descriptor {
                    media_type: manifest.media_type.unwrap_or_else(|| OCI_MANIFEST.to_owned()),
                    digest: entry.digest,
                    size: bytes.len() as u64,
                    platform: Some(config.platform),
                    annotations: BTreeMap::new(),
                };
                Ok(Image { names: Vec::new(), manifest, blobs, documents: vec![bytes] })
            }
        }
    }

    /// An archive of ours says what the registry that an image came from calls it: the index that it was chosen from, which
    /// counts when the archive proves it, or itself.
    fn claimed_index(&self, entry: &Descriptor, image: &mut Image) -> Result<(), ArchiveError> {
        let claimed: Option<Digest> =
            entry.annotations.get(FROM_INDEX).and_then(|index| index.parse().ok());
        let Some(digest) = claimed else { return Ok(()) };
        let source = digest.to_string();
        if digest == entry.digest {
            image.manifest.annotations.insert(FROM_INDEX.to_owned(), source);
            return Ok(());
        }
        if self.staged.piece(self.layout, &blob_name(&digest))?.is_none() {
            return Ok(());
        }
        let (name, bytes) = self.document(&digest)?;
        if let Document::Index(index) = Document::parse(&bytes).map_err(wrong(&name))?
            && index.manifests.iter().any(|manifest| manifest.digest == entry.digest)
        {
            image.manifest.annotations.insert(FROM_INDEX.to_owned(), source);
            image.documents.push(bytes);
        }
        Ok(())
    }

    /// The images of a Docker archive.
    fn docker(&self, images: &[DockerImage]) -> Result<Vec<Image>, ArchiveError> {
        const LIST: &str = "manifest.json";
        self.bounded(
            images.iter().map(|image| image.repo_tags.iter().flatten().count().max(1)).sum(),
        )?;
        let mut checked = Vec::new();
        for image in images {
            if image.layers.len() > LAYER_LIMIT {
                return Err(wrong(LIST)(DocumentError::Layers(image.layers.len())));
            }
            let mut blobs = vec![self.file(&image.config)?];
            for layer in &image.layers {
                blobs.push(self.file(layer)?);
            }
            let describe = |media_type: &str, piece: &Piece| Descriptor {
                media_type: media_type.to_owned(),
                digest: piece.digest,
                size: piece.size,
                platform: None,
                annotations: BTreeMap::new(),
            };
            if blobs[0].size > CONFIG_LIMIT {
                return Err(wrong(&image.config)(DocumentError::Config(blobs[0].size)));
            }
            let manifest = Manifest {
                schema_version: 2,
                media_type: Some(OCI_MANIFEST.to_owned()),
                config: describe(OCI_CONFIG, &blobs[0]),
                // Told by its first bytes when it is unpacked, whatever is said here.
                layers: blobs[1..].iter().map(|layer| describe(OCI_LAYER, layer)).collect(),
            };
            let bytes = blobs[0].read(self.layout, CONFIG_LIMIT)?;
            let config = Configuration::parse(&bytes, &manifest).map_err(wrong(&image.config))?;
            self.platform.accept(&config.platform)?;
            let bytes = json(&manifest);
            let manifest = Descriptor {
                media_type: OCI_MANIFEST.to_owned(),
                digest: Digest::of(&bytes),
                size: bytes.len() as u64,
                platform: Some(config.platform),
                annotations: BTreeMap::new(),
            };
            let mut names = Vec::new();
            for name in image.repo_tags.iter().flatten() {
                let name =
                    name.parse().map_err(|source| ArchiveError::Name { list: LIST, source })?;
                pinned(LIST, &name, &manifest)?;
                names.push(name);
            }
            checked.push(Image { names, manifest, blobs, documents: vec![bytes] });
        }
        Ok(checked)
    }

    /// A manifest or index, verified.
    fn document(&self, digest: &Digest) -> Result<(String, Vec<u8>), ArchiveError> {
        let name = blob_name(digest);
        let bytes = self.staged.read(self.layout, &name, MANIFEST_LIMIT)?;
        let bytes = bytes.ok_or_else(|| ArchiveError::Missing { name: name.clone() })?;
        let actual = Digest::of(&bytes);
        if actual != *digest {
            return Err(LayoutError::Digest { expected: *digest, actual }.into());
        }
        Ok((name, bytes))
    }

    /// The blob that a manifest means, verified.
    fn blob(&self, wanted: &Descriptor) -> Result<Piece, ArchiveError> {
        // Archives may leave out what the other side has.
        if self.staged.is_here(self.layout, &wanted.digest, wanted.size) {
            return Ok(Piece::stored(wanted.digest, wanted.size));
        }
        let piece = self.file(&blob_name(&wanted.digest))?;
        if piece.digest != wanted.digest {
            let (expected, actual) = (wanted.digest, piece.digest);
            return Err(LayoutError::Digest { expected, actual }.into());
        }
        if piece.size != wanted.size {
            let (digest, expected, actual) = (wanted.digest, wanted.size, piece.size);
            return Err(LayoutError::Size { digest, expected, actual }.into());
        }
        Ok(piece)
    }

    fn file(&self, name: &str) -> Result<Piece, ArchiveError> {
        let piece = self.staged.piece(self.layout, name)?;
        piece.ok_or_else(|| ArchiveError::Missing { name: name.to_owned() })
    }

    fn bounded(&self, images: usize) -> Result<(), ArchiveError> {
        if images > IMAGES_LIMIT {
            let path = self.staged.path().to_owned();
            return Err(ArchiveError::Quota { path, what: "images", limit: IMAGES_LIMIT as u64 });
        }
        Ok(())
    }
}

fn has_names(index: &Index) -> bool {
    let named = |entry: &Descriptor| {
        [CONTAINERD_NAME, NAME].iter().any(|key| entry.annotations.contains_key(*key))
    };
    index.manifests.iter().any(named)
}

/// The name of an image of a layout. `ref.name` is a full name with some tools, a tag with others, and may be any text.
pub(super) fn name(entry: &Descriptor, stem: &str) -> Result<Option<Reference>, ArchiveError> {
    if let Some(name) = entry.annotations.get(CONTAINERD_NAME) {
        let name = name.parse();
        return name.map(Some).map_err(|source| ArchiveError::Name { list: "index.json", source });
    }
    let Some(name) = entry.annotations.get(NAME) else { return Ok(None) };
    Ok(if name.contains(['/', ':']) {
        name.parse().ok()
    } else {
        format!("{stem}:{name}").parse().ok()
    })
}

/// A name with a digest means the same for ever: an archive must not give it to something else.
fn pinned(list: &'static str, name: &Reference, manifest: &Descriptor) -> Result<(), ArchiveError> {
    let Some(wanted) = name.digest() else { return Ok(()) };
    let index = manifest.annotations.get(FROM_INDEX);
    if *wanted == manifest.digest || index == Some(&wanted.to_string()) {
        return Ok(());
    }
    Err(ArchiveError::Pinned { list, name: name.to_string(), digest: manifest.digest })
}

fn wrong(name: &str) -> impl FnOnce(DocumentError) -> ArchiveError {
    let name = name.to_owned();
    move |source| ArchiveError::Document { name, source }
}
