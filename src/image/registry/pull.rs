//! The pull of one image: manifest, configuration, layers; then, and only then, its name.

use super::address::Url;
use super::auth::{self, Login};
use super::error::PullError;
use super::session::{Session, TRIES, pause};
use super::transfer::Client;
use super::{Progress, Shared};
use crate::image::digest::Digest;
use crate::image::layout::{BlobWriter, FROM_INDEX, Layout, LayoutError, NAME, read_manifest};
use crate::image::manifest::{
    CONFIG_LIMIT, Configuration, DOCKER_LIST, DOCKER_MANIFEST, Descriptor, Document, DocumentError,
    MANIFEST_LIMIT, Manifest, OCI_INDEX, OCI_MANIFEST,
};
use crate::image::reference::{DEFAULT_REGISTRY, Reference};
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};

const CONCURRENT_LAYERS: usize = 3;
const INDEX_DEPTH: usize = 3;
/// How much of a body is handed to the disk at once.
const BATCH: usize = 256 << 10;
const HUB: &str = "registry-1.docker.io";

type Report = Arc<dyn Fn(Progress) + Send + Sync>;

/// Brings the image here and names it.
pub(super) async fn pull(
    shared: &Arc<Shared>,
    image: &Reference,
    login: Option<Login>,
    report: Report,
) -> Result<Digest, PullError> {
    if let Some(digest) = pinned_and_here(shared, image).await? {
        return Ok(digest);
    }
    let mirrors = shared.options.mirrors.get(image.registry()).map_or(&[][..], Vec::as_slice);
    for mirror in mirrors {
        let endpoint = if mirror.contains("://") {
            Url::parse(mirror)?
        } else {
            Url::of_host(mirror, is_plain(shared, mirror)?)?
        };
        // A login is for the registry alone.
        match from_endpoint(shared, endpoint, mirror, image, None, &report).await {
            Err(error) if error.is_of_the_remote() => {
                tracing::warn!(%mirror, %image, %error, "the mirror is passed over");
            }
            other => return other,
        }
    }
    let registry = image.registry();
    let host = if registry == DEFAULT_REGISTRY { HUB } else { registry };
    let endpoint = Url::of_host(host, is_plain(shared, host)?)?;
    from_endpoint(shared, endpoint, registry, image, login, &report).await
}

/// A name with a digest means the same for ever: when all of it is here, nobody need be asked.
async fn pinned_and_here(
    shared: &Arc<Shared>,
    image: &Reference,
) -> Result<Option<Digest>, PullError> {
    let Some(digest) = image.digest().copied() else { return Ok(None) };
    let (shared, name) = (shared.clone(), image.to_string());
    blocking(move || {
        let here = shared.layout.entries()?.into_iter().find(|entry| {
            let index = entry.annotations.get(FROM_INDEX).and_then(|index| index.parse().ok());
            entry.annotations.get(NAME) == Some(&name)
                && (entry.digest == digest || index == Some(digest))
        });
        Ok(here.map(|entry| entry.digest).filter(|digest| is_whole(&shared.layout, digest)))
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

fn is_plain(shared: &Shared, host: &str) -> Result<bool, PullError> {
    Ok(shared.options.insecure.contains(host) || Url::of_host(host, true)?.is_loopback())
}

async fn from_endpoint(
    shared: &Arc<Shared>,
    endpoint: Url,
    registry: &str,
    image: &Reference,
    login: Option<Login>,
    report: &Report,
) -> Result<Digest, PullError> {
    let (files, named, about) =
        (shared.options.docker_configs.clone(), registry.to_owned(), image.clone());
    let credentials = match login {
        Some(login) => Some(login.credentials()),
        None => {
            blocking(move || {
                auth::stored(&files, &named, &about)
                    .map_err(|source| PullError::Auth { image: about.to_string(), source })
            })
            .await?
        }
    };
    let authorities = shared.options.certificate_authorities.get(image.registry());
    let client = Client::new(authorities.cloned().into_iter().collect());
    let pull = Pull {
        shared: shared.clone(),
        session: Arc::new(Session::new(client, endpoint, image.clone(), credentials)),
        report: report.clone(),
    };
    pull.run().await
}

/// A pull from one endpoint.
#[derive(Clone)]
struct Pull {
    shared: Arc<Shared>,
    session: Arc<Session>,
    report: Report,
}

/// The manifest that was chosen.
struct Chosen {
    digest: Digest,
    bytes: Vec<u8>,
    manifest: Manifest,
    /// The index it was chosen from.
    index: Option<Digest>,
}

impl Pull {
    async fn run(&self) -> Result<Digest, PullError> {
        let image = self.session.image().to_string();
        let chosen = self.choose().await?;
        self.blob(chosen.manifest.config.clone(), false).await?;
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
        self.layers(&chosen.manifest.layers).await?;

        let mut entry = Descriptor {
            media_type: chosen.manifest.media_type.unwrap_or_else(|| OCI_MANIFEST.to_owned()),
            digest: chosen.digest,
            size: chosen.bytes.len() as u64,
            platform: Some(config.platform),
            annotations: BTreeMap::from([(NAME.to_owned(), image.to_string())]),
        };
        if let Some(index) = chosen.index {
            entry.annotations.insert(FROM_INDEX.to_owned(), index.to_string());
        }
        let shared = self.shared.clone();
        blocking(move || {
            shared.layout.put(&chosen.bytes)?;
            shared.layout.record(&entry)?;
            Ok(entry.digest)
        })
        .await
    }

    /// Finds the manifest for this box behind the name.
    async fn choose(&self) -> Result<Chosen, PullError> {
        let image = self.session.image();
        let mut wanted = image.digest().copied();
        let mut index = None;
        for _ in 0..=INDEX_DEPTH {
            let bytes = match wanted {
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
                    index.get_or_insert(digest);
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
            let answer = self.session.get("manifests", name, &headers).await?;
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

    /// Brings the layers, a few at a time; the first failure ends the others.
    async fn layers(&self, layers: &[Descriptor]) -> Result<(), PullError> {
        let places = Arc::new(Semaphore::new(CONCURRENT_LAYERS));
        let mut downloads = JoinSet::new();
        let mut known = BTreeSet::new();
        for layer in layers.iter().filter(|layer| known.insert(layer.digest)) {
            let (pull, layer, places) = (self.clone(), layer.clone(), places.clone());
            downloads.spawn(async move {
                let _place = places.acquire_owned().await.map_err(|_| PullError::Abandoned)?;
                pull.blob(layer, true).await
            });
        }
        while let Some(ended) = downloads.join_next().await {
            match ended {
                Ok(result) => result?,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => return Err(PullError::Abandoned),
            }
        }
        Ok(())
    }

    /// Brings one blob, going on where a broken connection left it.
    async fn blob(&self, blob: Descriptor, reported: bool) -> Result<(), PullError> {
        if !reported && blob.size > CONFIG_LIMIT {
            let source = DocumentError::Config(blob.size);
            return Err(PullError::Document { image: self.session.image().to_string(), source });
        }
        let report = |done| {
            if reported {
                (self.report)(Progress { layer: blob.digest.to_string(), done, total: blob.size });
            }
        };
        let (shared, wanted) = (self.shared.clone(), blob.clone());
        let writer = blocking(move || {
            // The configuration is small enough to be read again.
            let here = if reported {
                shared.layout.has(&wanted)
            } else {
                shared.layout.read(&wanted.digest, CONFIG_LIMIT).is_ok()
            };
            Ok(if here { None } else { Some(shared.layout.writer(wanted.digest, wanted.size)?) })
        })
        .await?;
        let Some(writer) = writer else {
            report(blob.size);
            return Ok(());
        };
        report(0);
        let mut sink = Sink {
            layout: self.shared.layout.clone(),
            writer: Some(writer),
            batch: Vec::new(),
            held: 0,
        };
        let mut tries = 0;
        loop {
            tries += 1;
            let before = sink.written();
            match self.stream(&blob, &mut sink, &report).await {
                Ok(()) => break,
                Err(error) if error.is_transient() => {
                    sink.flush().await?;
                    // Only tries that brought nothing count.
                    if sink.written() > before {
                        tries = 1;
                    }
                    if tries >= TRIES {
                        return Err(error);
                    }
                    pause(tries, None).await;
                }
                Err(error) => return Err(error),
            }
        }
        sink.commit().await?;
        report(blob.size);
        Ok(())
    }

    /// Reads what is missing of a blob, as far as the connection lasts.
    async fn stream(
        &self,
        blob: &Descriptor,
        sink: &mut Sink,
        report: &impl Fn(u64),
    ) -> Result<(), PullError> {
        let mut headers = HeaderMap::new();
        let start = sink.written();
        if start == blob.size {
            return Ok(());
        }
        if start > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={start}-"))
        {
            headers.insert(header::RANGE, range);
        }
        let mut answer = self.session.get("blobs", &blob.digest.to_string(), &headers).await?;
        if start > 0 && !continues(answer.status, &answer.headers, start) {
            sink.restart().await?;
        }
        while let Some(piece) = self
            .session
            .client()
            .piece(&mut answer)
            .await
            .map_err(|error| self.session.transfer_failed(error))?
        {
            if sink.add(piece).await? {
                report(sink.written());
            }
        }
        sink.flush().await
    }
}

/// True when the answer goes on at `start`.
fn continues(status: StatusCode, headers: &HeaderMap, start: u64) -> bool {
    let range = headers.get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    status == StatusCode::PARTIAL_CONTENT
        && range.is_some_and(|range| range.starts_with(&format!("bytes {start}-")))
}

/// Carries a body to the disk in batches, off the async threads.
struct Sink {
    layout: Arc<Layout>,
    /// Absent only while a batch is being written, or after that was cut short by the end of the program.
    writer: Option<BlobWriter>,
    batch: Vec<Bytes>,
    held: usize,
}

impl Sink {
    /// Bytes on disk.
    fn written(&self) -> u64 {
        self.writer.as_ref().map_or(0, BlobWriter::written)
    }

    /// Takes a piece; true when a batch went to the disk.
    async fn add(&mut self, piece: Bytes) -> Result<bool, PullError> {
        self.held += piece.len();
        self.batch.push(piece);
        if self.held < BATCH {
            return Ok(false);
        }
        self.flush().await?;
        Ok(true)
    }

    async fn flush(&mut self) -> Result<(), PullError> {
        let batch = std::mem::take(&mut self.batch);
        self.held = 0;
        self.with_writer(move |writer| batch.iter().try_for_each(|piece| writer.write(piece))).await
    }

    async fn restart(&mut self) -> Result<(), PullError> {
        self.batch.clear();
        self.held = 0;
        self.with_writer(BlobWriter::restart).await
    }

    async fn commit(mut self) -> Result<(), PullError> {
        let writer = self.writer.take().ok_or(PullError::Abandoned)?;
        let layout = self.layout.clone();
        blocking(move || Ok(writer.commit(&layout)?)).await
    }

    async fn with_writer(
        &mut self,
        work: impl FnOnce(&mut BlobWriter) -> Result<(), LayoutError> + Send + 'static,
    ) -> Result<(), PullError> {
        let mut writer = self.writer.take().ok_or(PullError::Abandoned)?;
        let (writer, result) = blocking(move || {
            let result = work(&mut writer);
            Ok((writer, result))
        })
        .await?;
        self.writer = Some(writer);
        Ok(result?)
    }
}

/// Runs blocking work off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PullError> + Send + 'static,
) -> Result<T, PullError> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(PullError::Abandoned),
    }
}
