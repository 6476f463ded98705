//! Saves images as one archive: a tar file that is an OCI layout, with Docker's `manifest.json` beside its index.
//!
//! ```text
//!  blobs/sha256/<hex> …  index.json  manifest.json  oci-layout
//! ```
//!
//! A blob that several images share is in it once. The same images make the same bytes: members are sorted, owners and
//! times zero. The size is known before the first byte, so whoever receives it can tell a whole archive from a piece;
//! a blob that turns out to be damaged on the way ends the archive early. Blobs stand before the documents that refer to
//! them, so that it can be loaded while it arrives.

use super::archive::CONTAINERD_NAME;
use super::collect::pins::Grip;
use super::digest::{Digest, Hashed};
use super::layout::{FROM_INDEX, Layout, LayoutError, NAME, read_manifest};
use super::manifest::{Descriptor, Document, DocumentError, Index, Manifest, OCI_INDEX};
use super::recipe::json;
use super::reference::Reference;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

const BLOCK: u64 = 512;
/// Two blocks of zeros.
const END: u64 = 2 * BLOCK;

/// Why images were not saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// None were named.
    #[error("no image is named")]
    Nothing,
    /// An image is not here.
    #[error("image {0} is not in the local store: pull or load it first")]
    Absent(String),
    /// A manifest in the store makes no sense.
    #[error("image {digest}: {source}")]
    Document {
        /// Which.
        digest: Digest,
        /// What is wrong.
        source: DocumentError,
    },
    /// The store failed, or a blob is damaged.
    #[error(transparent)]
    Store(#[from] LayoutError),
    /// The archive cannot be written.
    #[error("cannot write the archive: {0}")]
    Write(#[source] io::Error),
}

/// An image of Docker's `manifest.json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// An archive that is about to be written.
#[derive(Debug)]
pub struct Archive {
    blobs: BTreeMap<Digest, u64>,
    documents: Vec<(&'static str, Vec<u8>)>,
    /// Holds the blobs until they are written.
    _grip: Grip,
}

impl Archive {
    /// The archive of the images that `entries` of the store's index mean. All their parts are there.
    pub fn new(layout: &Layout, mut entries: Vec<Descriptor>) -> Result<Self, SaveError> {
        if entries.is_empty() {
            return Err(SaveError::Nothing);
        }
        let name = |entry: &Descriptor| entry.annotations.get(NAME).cloned();
        entries.sort_by_key(name);
        entries.dedup_by_key(|entry| name(entry));
        let grip = layout.grip();
        let mut blobs = BTreeMap::new();
        let mut images: BTreeMap<Digest, DockerImage> = BTreeMap::new();
        for entry in &mut entries {
            let digest = entry.digest;
            grip.pin(&digest);
            let bytes = read_manifest(layout, &digest)?;
            blobs.insert(digest, bytes.len() as u64);
            let manifest = match Document::parse(&bytes) {
                Ok(Document::Manifest(manifest)) => manifest,
                Ok(Document::Index(_)) => {
                    let source = DocumentError::MediaType("an index".to_owned());
                    return Err(SaveError::Document { digest, source });
                }
                Err(source) => return Err(SaveError::Document { digest, source }),
            };
            for blob in manifest.layers.iter().chain([&manifest.config]) {
                grip.pin(&blob.digest);
                if !layout.has(blob) {
                    let missing = io::ErrorKind::NotFound;
                    return Err(LayoutError::io("open", &layout.path(&blob.digest), missing).into());
                }
                blobs.insert(blob.digest, blob.size);
            }
            // The index it was chosen from is its name in a registry, too; loading looks whether that is true.
            let index = entry.annotations.get(FROM_INDEX).and_then(|index| index.parse().ok());
            match index.map(|index: Digest| (index, read_manifest(layout, &index))) {
                Some((index, Ok(bytes))) => drop(blobs.insert(index, bytes.len() as u64)),
                _ => drop(entry.annotations.remove(FROM_INDEX)),
            }
            let image = images.entry(digest).or_insert_with(|| docker(&manifest));
            match name(entry).and_then(|name| name.parse::<Reference>().ok()) {
                Some(reference) => {
                    let tagged = reference.tagged();
                    let pinned = reference.digest();
                    let proven = pinned.is_none_or(|pinned| blobs.contains_key(pinned));
                    // A digest that nothing in the archive has would be refused.
                    let reference = match &tagged {
                        _ if proven => reference,
                        Some(tagged) => tagged.clone(),
                        None => reference.pinned(digest),
                    };
                    for key in [NAME, CONTAINERD_NAME] {
                        entry.annotations.insert(key.to_owned(), reference.to_string());
                    }
                    let tags = image.repo_tags.get_or_insert_default();
                    tags.extend(tagged.map(|tagged| tagged.to_string()));
                }
                // Known by its digest, which an archive need not say.
                None => drop(entry.annotations.remove(NAME)),
            }
        }
        let index =
            Index { schema_version: 2, media_type: Some(OCI_INDEX.to_owned()), manifests: entries };
        let images: Vec<DockerImage> = images.into_values().collect();
        let documents = vec![
            ("index.json", json(&index)),
            ("manifest.json", json(&images)),
            ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        ];
        Ok(Self { blobs, documents, _grip: grip })
    }

    /// How many bytes [`Archive::write`] writes.
    pub fn size(&self) -> u64 {
        let documents = self.documents.iter().map(|(_, content)| content.len() as u64);
        let members = self.blobs.values().copied().chain(documents);
        members.map(|size| BLOCK + size.next_multiple_of(BLOCK)).sum::<u64>() + END
    }

    /// Writes it. Every blob is verified on the way, so an archive that is whole is right.
    pub fn write(&self, layout: &Layout, out: impl Write) -> Result<(), SaveError> {
        let mut tar = tar::Builder::new(out);
        for (digest, size) in &self.blobs {
            let mut blob = Hashed::new(layout.blob(digest)?);
            let mut content = Read::take(&mut blob, *size);
            append(&mut tar, &format!("blobs/sha256/{}", digest.hex()), *size, &mut content)?;
            let (_, actual, read) = blob.finish();
            if read != *size {
                let (digest, expected) = (*digest, *size);
                return Err(LayoutError::Size { digest, expected, actual: read }.into());
            }
            if actual != *digest {
                return Err(LayoutError::Digest { expected: *digest, actual }.into());
            }
        }
        for (name, content) in &self.documents {
            append(&mut tar, name, content.len() as u64, content.as_slice())?;
        }
        tar.into_inner().and_then(|mut out| out.flush()).map_err(SaveError::Write)
    }
}

/// Packs the OCI layout in `folder`, which is ours, as an archive: the same bytes each time. It has no `manifest.json`.
pub fn pack(folder: &Path, out: impl Write) -> Result<(), SaveError> {
    let blobs = folder.join("blobs/sha256");
    let read = |path: &Path| {
        let path = path.to_owned();
        move |e| SaveError::Store(LayoutError::io("read", &path, e))
    };
    let entries = fs::read_dir(&blobs).map_err(read(&blobs))?;
    let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
    let mut names: Vec<_> = names.collect::<Result<_, _>>().map_err(read(&blobs))?;
    names.sort();
    let blobs = names.iter().map(|name| format!("blobs/sha256/{}", name.to_string_lossy()));
    let mut tar = tar::Builder::new(out);
    for name in blobs.chain(["index.json".to_owned(), "oci-layout".to_owned()]) {
        let path = folder.join(&name);
        let file = fs::File::open(&path).map_err(read(&path))?;
        let size = file.metadata().map_err(read(&path))?.len();
        append(&mut tar, &name, size, file)?;
    }
    tar.into_inner().and_then(|mut out| out.flush()).map_err(SaveError::Write)
}

fn docker(manifest: &Manifest) -> DockerImage {
    let name = |blob: &Descriptor| format!("blobs/sha256/{}", blob.digest.hex());
    DockerImage {
        config: name(&manifest.config),
        repo_tags: None,
        layers: manifest.layers.iter().map(name).collect(),
    }
}

fn append<W: Write>(
    tar: &mut tar::Builder<W>,
    name: &str,
    size: u64,
    content: impl Read,
) -> Result<(), SaveError> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    tar.append_data(&mut header, name, content).map_err(SaveError::Write)
}
