//! [`ImageStore`]: what the rest of the program sees of images.

mod archives;
mod bring;
mod contents;
mod describe;
mod keep;
mod memory;
mod names;
mod reserve;
mod unpacked;

pub use archives::Saved;
pub use describe::{ImageSpace, Space};
pub use keep::{Collection, Sweep, Swept};
pub use unpacked::{ImageConfig, Unpacked};

use super::builtin;
use super::collect::lock;
use super::digest::Digest;
use super::directory::Directory;
use super::error::ImageError;
use super::layers::Layers;
use super::layout::{Layout, LayoutError, NAME, name_of, read_manifest};
use super::manifest::{
    CONFIG_LIMIT, Configuration, Descriptor, Document, DocumentError, Manifest, Platform,
};
use super::recipe::InMemory;
use super::registry::{Access, Options, Pulls};
use crate::model::ImageDigest;
use names::find;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use tokio::sync::{mpsc, oneshot};

/// The images of this box. Cheap to clone.
#[derive(Clone)]
pub struct ImageStore(Arc<Inner>);

struct Inner {
    layout: Arc<Layout>,
    layers: Arc<Layers>,
    hello: InMemory,
    platform: Platform,
    access: Arc<Access>,
    pulls: Pulls,
    /// Archives that somebody put on this box.
    directory: OnceLock<Directory>,
    memory: Mutex<memory::Memory>,
    /// Names that are about to go: nobody finds them any more.
    leaving: Mutex<BTreeSet<String>>,
    turn_to_collect: Arc<tokio::sync::Mutex<()>>,
    shared: lock::Shared,
    /// Who makes room when the disk is full.
    collector: OnceLock<mpsc::Sender<oneshot::Sender<()>>>,
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

impl ImageStore {
    /// Opens the store in the state directory, creating what is missing. Blocking.
    pub fn open(dir: &Path, options: Options) -> Result<Self, ImageError> {
        let layout = Arc::new(Layout::open(&dir.join("images"))?);
        reserve::set_aside(layout.root());
        layout.drop_unfinished(false)?;
        let layers = Arc::new(Layers::open(&dir.join("layers"))?);
        let platform = Platform::host();
        let access = Arc::new(Access::new(options, dir.join("registries")));
        Ok(Self(Arc::new(Inner {
            hello: builtin::hello()?,
            memory: Mutex::new(memory::Memory::read(layout.root())),
            shared: lock::Shared::open(layout.root())?,
            pulls: Pulls::new(layout.clone(), layers.clone(), platform.clone(), access.clone()),
            access,
            layout,
            layers,
            platform,
            directory: OnceLock::new(),
            leaving: Mutex::default(),
            turn_to_collect: Arc::default(),
            collector: OnceLock::new(),
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

    /// What the index names, and the built-in image unless another one took its name.
    fn entries(&self) -> Result<Vec<Descriptor>, LayoutError> {
        let mut entries = self.0.layout.entries()?;
        {
            let leaving = self.0.leaving();
            if !leaving.is_empty() {
                entries.retain(|entry| !leaving.contains(&name_of(entry)));
            }
        }
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

    fn image(&self, digest: &Digest) -> Result<(Manifest, Configuration), ImageError> {
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

    /// Brings the built-in image to where the others are.
    fn put_hello(&self) -> Result<(), LayoutError> {
        self.hello.blobs.iter().try_for_each(|blob| self.layout.put(blob).map(drop))
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
