//! The pull of one image: manifest, configuration, layers; then, and only then, its name.

use super::auth::Login;
use super::blob::Kind;
use super::error::PullError;
use super::patience::{TRIES, pause};
use super::session::Session;
use super::{Progress, Shared};
use crate::image::collect::pins::Grip;
use crate::image::digest::Digest;
use crate::image::layout::{FROM_INDEX, Layout, LayoutError, NAME, read_manifest};
use crate::image::manifest::{
    CONFIG_LIMIT, Configuration, DOCKER_LIST, DOCKER_MANIFEST, Descriptor, Document, DocumentError,
    MANIFEST_LIMIT, Manifest, OCI_INDEX, OCI_MANIFEST,
};
use crate::image::reference::Reference;
use hyper::header::{self, HeaderMap, HeaderValue};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::spawn_blocking;

const INDEX_DEPTH: usize = 3;

type Report = Arc<dyn Fn(Progress) + Send + Sync>;

/// Brings the image here and names it.
pub(super) async fn pull(
    shared: &Arc<Shared>,
    image: &Reference,
    login: Option<Login>,
    report: Report,
) -> Result<Digest, PullError> {
    // With a login of its own a pull must show that it may have the image.
    if login.is_none()
        && let Some(digest) = pinned_and_here(shared, image).await?
    {
        return Ok(digest);
    }
    for source in shared.access.sources(image)? {
        let mirror = source.is_mirror.then(|| source.name.clone());
        let session = shared.access.session(source, image, login.clone());
        let pull = Pull {
            shared: shared.clone(),
            session: Arc::new(session),
            report: report.clone(),
            grip: Arc::new(shared.layout.grip()),
            proven: login.is_none(),
        };
        match (pull.run().await, mirror) {
            (Err(error), Some(mirror)) if error.is_of_the_remote() => {
                tracing::warn!(%mirror, %image, %error, "the mirror is passed over");
            }
            (other, _) => return other,
        }
    }
    Err(PullError::Abandoned)
}

/// A name with a digest means the same for ever: when all of it is here, nobody need be asked.
async fn pinned_and_here(
    shared: &Arc<Shared>,
    image: &Reference,
) -> Result<Option<Digest>, PullError> {
    let Some(digest) = image.digest().copied() else { return Ok(None) };
    let (shared, name) = (shared.clone(), image.to_string());
    blocking(move || {
        let grip = shared.layout.grip();
        grip.pin(&digest);
        let here = shared.layout.entries()?.into_iter().find(|entry| {
            let index = entry.annotations.get(FROM_INDEX).and_then(|index| index.parse().ok());
            entry.annotations.get(NAME) == Some(&name)
                && (entry.digest == digest || index == Some(digest))
        });
        let here = here.map(|entry| entry.digest);
        if let Some(digest) = &here {
            grip.pin(digest);
        }
        Ok(here.filter(|digest| is_whole(&shared.layout, digest)))
    })
    .await
}

/// True when manifest, configuration and layers are there.
fn is_whole(layout: &Layout, manifest: &Digest) -> bool {
    let document = read_manifest(layout, manifest).map(|bytes| Document::parse(&bytes));
    let Ok(Ok(Document::Manifest(manifest))) = document else { return false };
    layout.read(&manifest.config.digest, CONFIG_LIMIT).is_ok()
        && manifest.layers.iter().all(|layer| layout.has(layer))
}

/// A pull from one source.
#[derive(Clone)]
pub(super) struct Pull {
    pub shared: Arc<Shared>,
    pub session: Arc<Session>,
    pub report: Report,
    /// Holds what is here already until it is named.
    pub grip: Arc<Grip>,
    /// False when the registry must be asked although the manifest is here.
    proven: bool,
}

/// The manifest that was chosen.
struct Chosen {
    digest: Digest,
    bytes: Vec<u8>,
    manifest: Manifest,
    /// The index it was chosen from, which proves that on another box when the image is carried there.
    index: Option<Vec<u8>>,
}

impl Pull {
    async fn run(&self) -> Result<Digest, PullError> {
        let image = self.session.image().to_string();
        let chosen = self.choose().await?;
        let described = &chosen.manifest.config;
        if described.size > CONFIG_LIMIT {
            let source = DocumentError::Config(described.size);
            return Err(PullError::Document { image, source });
        }
        if !self.is_here(described, Kind::Configuration).await? {
            self.blob(described, Kind::Configuration, None, None, &|_| {}).await?;
        }
        let (shared, manifest) = (self.shared.clone(), chosen.manifest.clone());
        let config = blocking(move || {
            let bytes = shared.layout.read(&manifest.config.digest, CONFIG_LIMIT)?;
            Configuration::parse(&bytes, &manifest)
                .map_err(|source| PullError::Document { image, source })
        })
        .await?;
        let image = self.session.image();
        self.shared
            .platform
            .accept(&config.platform)
            .map_err(|source| PullError::Platform { image: image.to_string(), source })?;
        self.layers(&chosen.manifest.layers, &config).await?;

        let mut entry = Descriptor {
            media_type: chosen.manifest.media_type.unwrap_or_else(|| OCI_MANIFEST.to_owned()),
            digest: chosen.digest,
            size: chosen.bytes.len() as u64,
            platform: Some(config.platform),
            annotations: BTreeMap::from([(NAME.to_owned(), image.to_string())]),
        };
        let source = chosen.index.as_deref().map_or(chosen.digest, Digest::of);
        entry.annotations.insert(FROM_INDEX.to_owned(), source.to_string());
        let (shared, grip) = (self.shared.clone(), self.grip.clone());
        blocking(move || {
            grip.pin(&entry.digest);
            grip.pin(&source);
            if let Some(index) = &chosen.index {
                shared.layout.put(index)?;
            }
            shared.layout.put(&chosen.bytes)?;
            shared.layout.settle()?;
            shared.layout.record(&entry)?;
            if let Err(error) = shared.layout.drop_unfinished(false) {
                tracing::warn!(%error, "unfinished downloads that nobody wants stay");
            }
            Ok(entry.digest)
        })
        .await
    }

    /// Finds the manifest for this box behind the name.
    async fn choose(&self) -> Result<Chosen, PullError> {
        let image = self.session.image();
        let mut wanted = image.digest().copied();
        let mut index = None;
        for depth in 0..=INDEX_DEPTH {
            let bytes = match wanted {
                Some(digest) if depth == 0 && !self.proven => {
                    self.manifest(&digest.to_string(), Some(digest)).await?
                }
                Some(digest) => self.manifest_by_digest(digest).await?,
                None => self.manifest(image.tag().unwrap_or("latest"), None).await?,
            };
            let digest = Digest::of(&bytes);
            let wrong = |source| PullError::Document { image: image.to_string(), source };
            match Document::parse(&bytes).map_err(wrong)? {
                Document::Manifest(manifest) => {
                    return Ok(Chosen { digest, bytes, manifest, index });
                }
                Document::Index(document) => {
                    let chosen =
                        self.shared.platform.choose(&document.manifests).map_err(|source| {
                            PullError::Platform { image: image.to_string(), source }
                        })?;
                    index.get_or_insert(bytes);
                    wanted = Some(chosen.digest);
                }
            }
        }
        Err(PullError::Nested { image: image.to_string() })
    }

    /// A manifest that may be here already.
    async fn manifest_by_digest(&self, digest: Digest) -> Result<Vec<u8>, PullError> {
        let shared = self.shared.clone();
        // One that is damaged is brought anew.
        let here = blocking(move || Ok(read_manifest(&shared.layout, &digest).ok())).await?;
        match here {
            Some(bytes) => Ok(bytes),
            None => self.manifest(&digest.to_string(), Some(digest)).await,
        }
    }

    /// Asks for a manifest or an index.
    async fn manifest(&self, name: &str, expected: Option<Digest>) -> Result<Vec<u8>, PullError> {
        let mut headers = HeaderMap::new();
        for kind in [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST] {
            headers.append(header::ACCEPT, HeaderValue::from_static(kind));
        }
        let mut tries = 0;
        loop {
            tries += 1;
            let answer = self.session.get("manifests", name, &headers, None).await?;
            let promised = answer.headers.get("docker-content-digest").cloned();
            let bytes = match self.session.client().body(answer, MANIFEST_LIMIT).await {
                Ok(bytes) => bytes,
                Err(error) if error.is_transient() && tries < TRIES => {
                    pause(tries, None).await;
                    continue;
                }
                Err(error) => return Err(self.session.transfer_failed(error)),
            };
            let actual = Digest::of(&bytes);
            // By tag the registry may say what it sends; a digest of an unknown kind cannot be held against it.
            let promised = promised.and_then(|value| value.to_str().ok()?.parse().ok());
            if let Some(expected) = expected.or(promised)
                && expected != actual
            {
                return Err(LayoutError::Digest { expected, actual }.into());
            }
            return Ok(bytes);
        }
    }
}

/// Runs blocking work off the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PullError> + Send + 'static,
) -> Result<T, PullError> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(PullError::Abandoned),
    }
}
