//! [`ImageStore`]: what the rest of the program sees of images.

use super::archive;
use super::builtin;
use super::digest::Digest;
use super::error::ImageError;
use super::layers::Layers;
use super::layout::{FROM_INDEX, Layout, LayoutError, NAME, read_manifest};
use super::manifest::{CONFIG_LIMIT, Configuration, Descriptor, Document, DocumentError, Platform};
use super::recipe::InMemory;
use super::reference::Reference;
use super::registry::{Login, Options, Progress, Pulls};
use crate::model::ImageDigest;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The images of this box. Cheap to clone.
#[derive(Clone)]
pub struct ImageStore(Arc<Inner>);

struct Inner {
    layout: Arc<Layout>,
    layers: Layers,
    hello: InMemory,
    platform: Platform,
    pulls: Pulls,
    /// Layers that are being unpacked: one task does it, others wait for it.
    unpacking: Mutex<BTreeMap<Digest, Arc<Mutex<()>>>>,
}

impl fmt::Debug for ImageStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageStore").field("layout", &self.0.layout).finish_non_exhaustive()
    }
}

/// One line of a list of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSummary {
    /// The full name.
    pub name: String,
    /// The manifest's digest.
    pub digest: ImageDigest,
    /// Bytes of manifest, configuration and layers as stored.
    pub size: u64,
    /// `linux/amd64`.
    pub platform: String,
    /// When it was built, RFC 3339, if it says so.
    pub created: Option<String>,
}

/// An image ready to be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// The lower directories for overlayfs, top first.
    pub layers: Vec<PathBuf>,
    /// What a container of it runs by default.
    pub config: ImageConfig,
}

/// An image's defaults for containers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageConfig {
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    /// ENTRYPOINT.
    pub entrypoint: Vec<String>,
    /// CMD.
    pub cmd: Vec<String>,
    /// USER: name or id, with an optional group; empty for root.
    pub user: String,
    /// WORKDIR; empty for `/`.
    pub working_dir: String,
    /// STOPSIGNAL.
    pub stop_signal: Option<String>,
    /// LABEL.
    pub labels: BTreeMap<String, String>,
    /// EXPOSE: `80/tcp`.
    pub exposed_ports: Vec<String>,
}

impl ImageStore {
    /// Opens the store in the state directory, creating what is missing. Blocking.
    pub fn open(dir: &Path, options: Options) -> Result<Self, ImageError> {
        let layout = Arc::new(Layout::open(&dir.join("images"))?);
        let platform = Platform::host();
        Ok(Self(Arc::new(Inner {
            layers: Layers::open(&dir.join("layers"))?,
            hello: builtin::hello()?,
            pulls: Pulls::new(layout.clone(), platform.clone(), options),
            layout,
            platform,
            unpacking: Mutex::default(),
        })))
    }

    /// Every named image, the built-in one included, by name. Blocking.
    pub fn list(&self) -> Result<Vec<ImageSummary>, ImageError> {
        let mut list = Vec::new();
        for entry in self.entries()? {
            let name = entry.annotations.get(NAME).cloned().unwrap_or_default();
            // One damaged image must not hide the others.
            let (manifest_size, config, layers) = match self.0.describe(&entry) {
                Ok(described) => described,
                Err(error) => {
                    tracing::warn!(%name, %error, "the image is damaged and left out of the list");
                    continue;
                }
            };
            list.push(ImageSummary {
                name,
                digest: entry.digest.into(),
                size: manifest_size + layers,
                platform: config.platform.to_string(),
                created: config.created,
            });
        }
        list.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(list)
    }

    /// The image that a definition means by `name`, if it is here. A name with a digest is found whatever its tag.
    pub fn resolve(&self, name: &str) -> Option<ImageDigest> {
        let entries = self.entries_or_log();
        if let Ok(reference) = name.parse::<Reference>() {
            // With a digest, the tag is only a remark.
            let full = match reference.digest() {
                Some(digest) => reference.pinned(*digest).to_string(),
                None => reference.to_string(),
            };
            return entries
                .iter()
                .find(|entry| known_as(entry).contains(&full))
                .map(|e| e.digest.into());
        }
        // An image without a name is known by its digest.
        let digest: Digest = name.parse().ok()?;
        entries.iter().find(|entry| entry.digest == digest).map(|entry| entry.digest.into())
    }

    /// Every name by which an image can be meant: full and short forms, tags and digests.
    pub fn names(&self) -> BTreeMap<String, ImageDigest> {
        let mut names = BTreeMap::new();
        for entry in self.entries_or_log() {
            for full in known_as(&entry) {
                match full.parse::<Reference>() {
                    Ok(reference) => {
                        for spelling in reference.spellings() {
                            names.insert(spelling, entry.digest.into());
                        }
                    }
                    Err(_) => {
                        names.insert(full, entry.digest.into());
                    }
                }
            }
        }
        names
    }

    /// Brings the image here, from its registry unless it is built in. Concurrent pulls of one image are one download.
    pub async fn pull(
        &self,
        name: &str,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<ImageDigest, ImageError> {
        self.pull_as(name, None, progress).await
    }

    /// The same with a login for the image's registry, instead of what the files of credentials say. Pulls with
    /// different logins do not share a download, so nobody gets an image with the login of another.
    pub async fn pull_as(
        &self,
        name: &str,
        login: Option<Login>,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<ImageDigest, ImageError> {
        // An image without a name is only ever here.
        if let (Ok(_), Some(digest)) = (name.parse::<Digest>(), self.resolve(name)) {
            return Ok(digest);
        }
        let reference: Reference = name.parse()?;
        let built_in = self.0.hello.descriptor.digest.into();
        if self.resolve(name).as_ref() == Some(&built_in) {
            return Ok(built_in);
        }
        let digest =
            self.0.pulls.pull(reference, login, progress).await.map_err(ImageError::Pull)?;
        Ok(digest.into())
    }

    /// Loads the images of an archive; returns their names.
    pub async fn load(&self, archive: &Path) -> Result<Vec<(String, ImageDigest)>, ImageError> {
        let (inner, archive) = (self.0.clone(), archive.to_owned());
        let loaded = blocking(move || {
            archive::load(&inner.layout, &archive, &inner.platform).map_err(ImageError::from)
        })
        .await?;
        Ok(loaded.into_iter().map(|(name, digest)| (name, digest.into())).collect())
    }

    /// Unpacks what is not unpacked yet and returns the image ready to be mounted.
    pub async fn unpacked(&self, digest: &ImageDigest) -> Result<Unpacked, ImageError> {
        let (inner, digest) = (self.0.clone(), digest.clone());
        blocking(move || inner.unpacked(&digest)).await
    }

    /// What the index names, and the built-in image unless another one took its name.
    fn entries(&self) -> Result<Vec<Descriptor>, LayoutError> {
        let mut entries = self.0.layout.entries()?;
        let hello = &self.0.hello.descriptor;
        if !entries.iter().any(|entry| entry.annotations.get(NAME) == hello.annotations.get(NAME)) {
            entries.push(hello.clone());
        }
        Ok(entries)
    }

    /// For callers that have no use for an error: without an index there are no images.
    fn entries_or_log(&self) -> Vec<Descriptor> {
        self.entries().unwrap_or_else(|error| {
            tracing::error!(%error, "the image store's index cannot be read");
            Vec::new()
        })
    }
}

/// The full names of a stored image: its own, and its repository with the manifest's and the index's digest.
fn known_as(entry: &Descriptor) -> Vec<String> {
    let Some(name) = entry.annotations.get(NAME) else { return vec![entry.digest.to_string()] };
    let mut names = vec![name.clone()];
    if let Ok(reference) = name.parse::<Reference>() {
        names.push(reference.pinned(entry.digest).to_string());
        let index = entry.annotations.get(FROM_INDEX).and_then(|digest| digest.parse().ok());
        if let Some(index) = index {
            names.push(reference.pinned(index).to_string());
        }
    }
    names
}

impl Inner {
    /// Size of the manifest with its configuration, the configuration, size of the layers.
    fn describe(&self, entry: &Descriptor) -> Result<(u64, Configuration, u64), ImageError> {
        if entry.digest == self.hello.descriptor.digest {
            let sizes = self.hello.blobs.iter().map(|blob| blob.len() as u64);
            return Ok((0, self.hello.configuration.clone(), sizes.sum()));
        }
        let (manifest, config) = self.image(&entry.digest)?;
        let layers = manifest.layers.iter().map(|layer| layer.size).sum();
        Ok((entry.size + manifest.config.size, config, layers))
    }

    fn image(
        &self,
        digest: &Digest,
    ) -> Result<(super::manifest::Manifest, Configuration), ImageError> {
        let wrong = |source| ImageError::Document { digest: (*digest).into(), source };
        if !self.layout.path(digest).exists() {
            return Err(ImageError::Absent((*digest).into()));
        }
        let bytes = read_manifest(&self.layout, digest)?;
        let manifest = match Document::parse(&bytes).map_err(wrong)? {
            Document::Manifest(manifest) => manifest,
            Document::Index(_) => {
                return Err(wrong(DocumentError::MediaType("an index".to_owned())));
            }
        };
        let config = self.layout.read(&manifest.config.digest, CONFIG_LIMIT)?;
        let config = Configuration::parse(&config, &manifest).map_err(wrong)?;
        Ok((manifest, config))
    }

    fn unpacked(&self, digest: &ImageDigest) -> Result<Unpacked, ImageError> {
        let digest = Digest::from(digest);
        if digest == self.hello.descriptor.digest {
            for blob in &self.hello.blobs {
                self.layout.put(blob)?;
            }
        }
        let (manifest, config) = self.image(&digest)?;
        let mut layers: Vec<PathBuf> = Vec::new();
        let contents = manifest.layers.iter().zip(&config.rootfs.diff_ids);
        for (chain_id, (layer, diff_id)) in config.chain_ids().iter().zip(contents) {
            let path = self.layers.path(chain_id);
            if !path.is_dir() {
                let turn = self.turn(chain_id);
                let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
                let blob = self.layout.blob(&layer.digest)?;
                if let Err(error) = self.layers.add(chain_id, diff_id, blob, &layers) {
                    // Storage that forgets is the likelier reason than an image that lies.
                    self.layout.verify(&layer.digest)?;
                    return Err(error.into());
                }
            }
            layers.insert(0, path);
        }
        let defaults = config.config;
        Ok(Unpacked {
            layers,
            config: ImageConfig {
                env: defaults.env,
                entrypoint: defaults.entrypoint,
                cmd: defaults.cmd,
                user: defaults.user,
                working_dir: defaults.working_dir,
                stop_signal: defaults.stop_signal,
                labels: defaults.labels,
                exposed_ports: defaults.exposed_ports.into_keys().collect(),
            },
        })
    }

    /// The lock of one layer; those that nobody holds are forgotten.
    fn turn(&self, chain_id: &Digest) -> Arc<Mutex<()>> {
        let mut turns = self.unpacking.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns.entry(*chain_id).or_default().clone()
    }
}

/// Runs blocking work off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(ImageError::Ending),
    }
}
