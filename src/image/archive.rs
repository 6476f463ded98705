//! Loads images from archives: OCI layouts and what `docker save` writes, as a tar file (plain, gzip, zstd) or a folder.
//!
//! A tar file is staged in the store's `tmp/` under numbers, never under the names it brings, and hashed on the way;
//! blobs that are wanted are then renamed into the store. A Docker archive gets an OCI manifest made for it.

use super::digest::{Digest, Hashed};
use super::layout::{Layout, LayoutError, NAME, read_bounded};
use super::manifest::{
    CONFIG_LIMIT, Configuration, Descriptor, Document, DocumentError, Index, LAYER_LIMIT,
    MANIFEST_LIMIT, Manifest, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Platform,
};
use super::platform::PlatformError;
use super::recipe::json;
use super::reference::Reference;
use super::unpack::{Members, TarError, decompress};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Most files of an archive.
const FILES_LIMIT: u64 = 100_000;
/// Most bytes of an archive, uncompressed.
const BYTES_LIMIT: u64 = 256 << 30;
/// An index may point to indexes; nobody needs more levels than this.
const INDEX_DEPTH: usize = 3;
/// The full name, as containerd and Docker write it.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Why an archive was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The archive.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The tar stream is damaged.
    #[error("{}: {source}", path.display())]
    Tar {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        source: TarError,
    },
    /// More than is taken.
    #[error("{} has more than {limit} {what}", path.display())]
    Quota {
        /// The archive.
        path: PathBuf,
        /// Of what.
        what: &'static str,
        /// How many are taken.
        limit: u64,
    },
    /// Neither kind of archive.
    #[error("{} is neither an OCI layout nor a docker archive: it has no index.json and no manifest.json", path.display())]
    Unknown {
        /// The archive.
        path: PathBuf,
    },
    /// A file that is referred to is missing.
    #[error("{name:?} is missing from the archive")]
    Missing {
        /// Its name in the archive.
        name: String,
    },
    /// A document makes no sense.
    #[error("{name}: {source}")]
    Document {
        /// Its name.
        name: String,
        /// What is wrong.
        source: DocumentError,
    },
    /// The image is for other machines.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// Indexes point to indexes.
    #[error("indexes are nested more than {INDEX_DEPTH} levels deep")]
    Nested,
    /// The store failed or a digest is wrong.
    #[error(transparent)]
    Store(#[from] LayoutError),
}

/// Loads every image of the archive for `platform`; returns their names.
pub fn load(
    layout: &Layout,
    archive: &Path,
    platform: &Platform,
) -> Result<Vec<(String, Digest)>, ArchiveError> {
    let read_failed = |source| ArchiveError::Read { path: archive.to_owned(), source };
    let source = if fs::metadata(archive).map_err(read_failed)?.is_dir() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, archive, flags, Mode::empty())
            .map_err(|error| read_failed(error.into()))?;
        Source::Folder(File::from(folder))
    } else {
        Source::Staged(Staged::read(layout, archive)?)
    };
    let stem = archive.file_name().map(|name| name.to_string_lossy().into_owned());
    let stem = stem.as_deref().and_then(|name| name.split('.').next()).unwrap_or_default();
    let loader = Loader { layout, source, platform, stem };
    let index = loader.document::<Index>("index.json")?;
    let docker = loader.document::<Vec<DockerImage>>("manifest.json")?;
    match (index, docker) {
        // Docker's own archives have both; older ones without names in the index.
        (Some(index), None) => loader.oci(&index),
        (Some(index), Some(docker)) => {
            if index.manifests.iter().any(|entry| loader.name(entry).is_some()) {
                loader.oci(&index)
            } else {
                loader.docker(&docker)
            }
        }
        (None, Some(docker)) => loader.docker(&docker),
        (None, None) => Err(ArchiveError::Unknown { path: archive.to_owned() }),
    }
}

/// One image of Docker's `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

struct Loader<'a> {
    layout: &'a Layout,
    source: Source,
    platform: &'a Platform,
    stem: &'a str,
}

impl Loader<'_> {
    fn document<T: for<'de> Deserialize<'de>>(
        &self,
        name: &str,
    ) -> Result<Option<T>, ArchiveError> {
        let Some(bytes) = self.source.read(name, MANIFEST_LIMIT)? else { return Ok(None) };
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Some).map_err(|error| document_failed(name)(error.into()))
    }

    /// The images of an OCI layout.
    fn oci(&self, index: &Index) -> Result<Vec<(String, Digest)>, ArchiveError> {
        let mut loaded = Vec::new();
        for entry in &index.manifests {
            // A layout of one multi-platform image may list its manifests without an index between.
            if let Some(platform) = &entry.platform
                && index.manifests.len() > 1
                && self.platform.accept(platform).is_err()
            {
                continue;
            }
            let manifest = self.manifest(entry, 0)?;
            loaded.push(self.record(self.name(entry), manifest)?);
        }
        if loaded.is_empty() {
            self.platform.choose(&index.manifests)?;
        }
        Ok(loaded)
    }

    /// Brings the manifest that `entry` leads to, and its blobs, into the store.
    fn manifest(&self, entry: &Descriptor, depth: usize) -> Result<Descriptor, ArchiveError> {
        let name = blob_name(&entry.digest);
        let bytes = self
            .source
            .read(&name, MANIFEST_LIMIT)?
            .ok_or_else(|| ArchiveError::Missing { name: name.clone() })?;
        let actual = Digest::of(&bytes);
        if actual != entry.digest {
            return Err(LayoutError::Digest { expected: entry.digest, actual }.into());
        }
        match Document::parse(&bytes).map_err(document_failed(&name))? {
            Document::Index(_) if depth >= INDEX_DEPTH => Err(ArchiveError::Nested),
            Document::Index(index) => {
                self.manifest(self.platform.choose(&index.manifests)?, depth + 1)
            }
            Document::Manifest(manifest) => {
                self.import(&blob_name(&manifest.config.digest), Some(manifest.config.digest))?;
                let config = self.layout.read(&manifest.config.digest, CONFIG_LIMIT)?;
                let config =
                    Configuration::parse(&config, &manifest).map_err(document_failed(&name))?;
                self.platform.accept(&config.platform)?;
                for layer in &manifest.layers {
                    self.import(&blob_name(&layer.digest), Some(layer.digest))?;
                }
                self.layout.put(&bytes)?;
                Ok(Descriptor {
                    platform: Some(config.platform),
                    annotations: BTreeMap::new(),
                    ..entry.clone()
                })
            }
        }
    }

    /// The images of a Docker archive.
    fn docker(&self, images: &[DockerImage]) -> Result<Vec<(String, Digest)>, ArchiveError> {
        let mut loaded = Vec::new();
        for image in images {
            if image.layers.len() > LAYER_LIMIT {
                let error = DocumentError::Layers(image.layers.len());
                return Err(document_failed("manifest.json")(error));
            }
            let (config, size) = self.import(&image.config, None)?;
            let descriptor = |media_type: &str, digest, size| Descriptor {
                media_type: media_type.to_owned(),
                digest,
                size,
                platform: None,
                annotations: BTreeMap::new(),
            };
            let config = descriptor(OCI_CONFIG, config, size);
            let layers = image.layers.iter().map(|name| {
                let (digest, size) = self.import(name, None)?;
                // Told by its first bytes when it is unpacked, whatever is said here.
                Ok(descriptor(OCI_LAYER, digest, size))
            });
            let manifest = Manifest {
                schema_version: 2,
                media_type: Some(OCI_MANIFEST.to_owned()),
                config,
                layers: layers.collect::<Result<_, ArchiveError>>()?,
            };
            let bytes = self.layout.read(&manifest.config.digest, CONFIG_LIMIT)?;
            let config =
                Configuration::parse(&bytes, &manifest).map_err(document_failed(&image.config))?;
            self.platform.accept(&config.platform)?;
            let bytes = json(&manifest);
            let digest = self.layout.put(&bytes)?;
            let mut manifest = descriptor(OCI_MANIFEST, digest, bytes.len() as u64);
            manifest.platform = Some(config.platform);
            let names: Vec<&String> = image.repo_tags.iter().flatten().collect();
            if names.is_empty() {
                loaded.push(self.record(None, manifest.clone())?);
            }
            for name in names {
                loaded.push(self.record(name.parse().ok(), manifest.clone())?);
            }
        }
        Ok(loaded)
    }

    /// The name of an image of a layout. `ref.name` is a full name with some tools, a tag with others.
    fn name(&self, entry: &Descriptor) -> Option<Reference> {
        if let Some(name) = entry.annotations.get(CONTAINERD_NAME) {
            return name.parse().ok();
        }
        let name = entry.annotations.get(NAME)?;
        if name.contains(['/', ':']) {
            name.parse().ok()
        } else {
            format!("{}:{name}", self.stem).parse().ok()
        }
    }

    /// Names the manifest; one without a name is known by its digest.
    fn record(
        &self,
        name: Option<Reference>,
        mut manifest: Descriptor,
    ) -> Result<(String, Digest), ArchiveError> {
        let name = name.map_or_else(|| manifest.digest.to_string(), |name| name.to_string());
        manifest.annotations.insert(NAME.to_owned(), name.clone());
        self.layout.record(&manifest)?;
        Ok((name, manifest.digest))
    }

    /// Brings a file of the archive into the store.
    fn import(&self, name: &str, expected: Option<Digest>) -> Result<(Digest, u64), ArchiveError> {
        if let Some(digest) = expected
            && let Ok(found) = fs::metadata(self.layout.path(&digest))
        {
            return Ok((digest, found.len()));
        }
        let missing = || ArchiveError::Missing { name: name.to_owned() };
        match &self.source {
            Source::Staged(staged) => {
                let file = staged.files.get(name).ok_or_else(missing)?;
                if let Some(expected) = expected
                    && expected != file.digest
                {
                    return Err(LayoutError::Digest { expected, actual: file.digest }.into());
                }
                if fs::metadata(self.layout.path(&file.digest)).is_err() {
                    self.layout.adopt(&file.path, &file.digest)?;
                }
                Ok((file.digest, file.size))
            }
            Source::Folder(_) => {
                let mut file = self.source.open(name)?.ok_or_else(missing)?;
                let read_failed = |source| ArchiveError::Read { path: name.into(), source };
                let path = self.layout.temporary();
                let copy =
                    File::create_new(&path).map_err(|e| LayoutError::io("create", &path, e))?;
                let mut copy = Hashed::new(copy);
                io::copy(&mut file, &mut copy).map_err(read_failed)?;
                let (_, actual, size) = copy.finish();
                if let Some(expected) = expected
                    && expected != actual
                {
                    fs::remove_file(&path).map_err(|e| LayoutError::io("remove", &path, e))?;
                    return Err(LayoutError::Digest { expected, actual }.into());
                }
                self.layout.adopt(&path, &actual)?;
                Ok((actual, size))
            }
        }
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn document_failed(name: &str) -> impl FnOnce(DocumentError) -> ArchiveError {
    let name = name.to_owned();
    move |source| ArchiveError::Document { name, source }
}

/// Where the files are.
enum Source {
    Folder(File),
    Staged(Staged),
}

impl Source {
    /// Opens a file; `None` when there is none.
    fn open(&self, name: &str) -> Result<Option<File>, ArchiveError> {
        let read_failed = |source| ArchiveError::Read { path: name.into(), source };
        let opened = match self {
            // The names come from the archive's documents: they stay inside the folder.
            Self::Folder(folder) => openat2(
                folder,
                name,
                OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
                Mode::empty(),
                ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
            )
            .map(File::from)
            .map_err(io::Error::from),
            Self::Staged(staged) => match staged.files.get(name) {
                Some(file) => File::open(&file.path),
                None => return Ok(None),
            },
        };
        match opened {
            Ok(file) if file.metadata().map_err(read_failed)?.is_file() => Ok(Some(file)),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(read_failed(error)),
        }
    }

    /// Reads a small file.
    fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, ArchiveError> {
        if let Self::Staged(staged) = self {
            let Some(file) = staged.files.get(name) else { return Ok(None) };
            // An earlier image of the archive may have moved it into the store.
            let path = if file.path.exists() {
                file.path.clone()
            } else {
                staged.store.join(file.digest.hex())
            };
            return Ok(Some(read_bounded(&path, limit)?));
        }
        let Some(file) = self.open(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let read_failed = |source| ArchiveError::Read { path: name.into(), source };
        file.take(limit + 1).read_to_end(&mut bytes).map_err(read_failed)?;
        if bytes.len() as u64 > limit {
            return Err(ArchiveError::Quota { path: name.into(), what: "bytes", limit });
        }
        Ok(Some(bytes))
    }
}

/// A tar file taken apart.
struct Staged {
    directory: PathBuf,
    store: PathBuf,
    files: BTreeMap<String, StagedFile>,
}

#[derive(Clone)]
struct StagedFile {
    path: PathBuf,
    digest: Digest,
    size: u64,
}

impl Staged {
    fn read(layout: &Layout, archive: &Path) -> Result<Self, ArchiveError> {
        let read_failed = |source| ArchiveError::Read { path: archive.to_owned(), source };
        let tar_failed = |source| ArchiveError::Tar { path: archive.to_owned(), source };
        let quota = |what, limit| ArchiveError::Quota { path: archive.to_owned(), what, limit };
        let directory = layout.temporary();
        fs::create_dir(&directory).map_err(|e| LayoutError::io("create", &directory, e))?;
        let store = layout.blobs();
        let mut staged = Self { directory, store, files: BTreeMap::new() };
        let file = File::open(archive).map_err(read_failed)?;
        let mut members = Members::new(decompress(file).map_err(read_failed)?);
        let (mut count, mut bytes) = (0_u64, 0_u64);
        while let Some(member) = members.next_member().map_err(tar_failed)? {
            count += 1;
            bytes = bytes.saturating_add(member.size);
            if count > FILES_LIMIT {
                return Err(quota("files", FILES_LIMIT));
            }
            if bytes > BYTES_LIMIT {
                return Err(quota("bytes", BYTES_LIMIT));
            }
            let Ok(name) = String::from_utf8(member.path) else { continue };
            let name = name.trim_start_matches("./").to_owned();
            match member.header.entry_type() {
                tar::EntryType::Regular | tar::EntryType::Continuous if member.sparse.is_none() => {
                    let path = staged.directory.join(count.to_string());
                    let file =
                        File::create_new(&path).map_err(|e| LayoutError::io("create", &path, e))?;
                    let mut file = Hashed::new(file);
                    io::copy(&mut members.data(), &mut file).map_err(read_failed)?;
                    let (_, digest, size) = file.finish();
                    staged.files.insert(name, StagedFile { path, digest, size });
                }
                // Older `docker save` links equal layers: `../<id>/layer.tar`, always to one it wrote before.
                tar::EntryType::Symlink | tar::EntryType::Link => {
                    let link = String::from_utf8_lossy(&member.link).into_owned();
                    let target = link.trim_start_matches("../").trim_start_matches("./");
                    if let Some(file) = staged.files.get(target).cloned() {
                        staged.files.insert(name, file);
                    }
                }
                _ => {}
            }
        }
        Ok(staged)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // What stays is cleared when the store is opened next.
        let _ = fs::remove_dir_all(&self.directory);
    }
}
