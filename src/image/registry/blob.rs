//! The download of one blob: on from what is here, again after a cut, from the first byte when that was wrong.

use super::arriving::{Body, judge};
use super::error::{PullError, TransferError};
use super::patience::{Patience, Place};
use super::pull::{Pull, blocking};
use super::share::{End, Lead, Part, Stand, Watch};
use crate::image::layout::{Layout, LayoutError, Partial};
use crate::image::manifest::{CONFIG_LIMIT, Descriptor};
use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How much of a body is handed to the disk at once.
const BATCH: usize = 256 << 10;
/// Bytes of a slow network do not wait longer for others, in case the process ends.
const LONGEST_HELD: Duration = Duration::from_secs(1);

/// What kind of blob is brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Small: what is here is read again.
    Configuration,
    /// What is here with its full size is believed until it is unpacked.
    Layer,
}

impl Pull {
    /// Brings one blob, or waits for somebody who does. Whom it follows is told to `tell`; so is how far it is.
    pub(super) async fn blob(
        &self,
        blob: &Descriptor,
        kind: Kind,
        mut place: Option<Place>,
        tell: Option<&watch::Sender<Option<Watch>>>,
        report: &(dyn Fn(&Stand) + Send + Sync),
    ) -> Result<(), PullError> {
        loop {
            let mut watch = match self.shared.downloads.join(blob.digest) {
                Part::Lead(lead, watch) => {
                    if let Some(tell) = tell {
                        tell.send_replace(Some(watch));
                    }
                    let place = match place {
                        None if kind == Kind::Layer => Some(self.place().await?),
                        place => place,
                    };
                    return self.lead(blob, kind, lead, place, report).await;
                }
                Part::Follow(watch) => watch,
            };
            place = None;
            if let Some(tell) = tell {
                tell.send_replace(Some(watch.clone()));
            }
            let end = loop {
                let (end, stand) = {
                    let stand = watch.borrow_and_update();
                    (stand.end.clone(), stand.clone())
                };
                report(&stand);
                if end.is_some() || watch.changed().await.is_err() {
                    break watch.borrow().end.clone();
                }
            };
            match end {
                Some(End::Whole) => return Ok(()),
                // The same registry would say the same. To another login it might not.
                Some(End::Failed { host, error })
                    if host == self.session.host() && error.concerns_everybody() =>
                {
                    return Err(PullError::Shared(error));
                }
                Some(End::Failed { .. }) | None => {}
            }
        }
    }

    /// Waits until not too many layers are downloaded.
    pub(super) async fn place(&self) -> Result<Place, PullError> {
        Place::among(&self.shared.places).await.ok_or(PullError::Abandoned)
    }

    /// True when the blob is in the store.
    pub(super) async fn is_here(&self, blob: &Descriptor, kind: Kind) -> Result<bool, PullError> {
        let (shared, blob, grip) = (self.shared.clone(), blob.clone(), self.grip.clone());
        blocking(move || {
            grip.pin(&blob.digest);
            Ok(match kind {
                Kind::Configuration => shared.layout.read(&blob.digest, CONFIG_LIMIT).is_ok(),
                Kind::Layer => shared.layout.has(&blob),
            })
        })
        .await
    }

    async fn lead(
        &self,
        blob: &Descriptor,
        kind: Kind,
        lead: Lead,
        mut place: Option<Place>,
        report: &(dyn Fn(&Stand) + Send + Sync),
    ) -> Result<(), PullError> {
        // Somebody may have finished it between our look and our turn.
        if self.is_here(blob, kind).await? {
            lead.ends(End::Whole);
            return Ok(());
        }
        let (shared, digest, size) = (self.shared.clone(), blob.digest, blob.size);
        let opened = blocking(move || {
            let opened = shared.layout.partial(digest, size).and_then(|partial| {
                let file = Arc::new(partial.reader()?);
                Ok((partial, file))
            });
            let (partial, file) = match opened {
                Ok(opened) => opened,
                Err(error) => return Ok((None, lead, Err(error.into()))),
            };
            lead.says(|stand| {
                stand.file = Some(file);
                (stand.written, stand.resumed) = (partial.written(), partial.resumed());
            });
            Ok((Some(partial), lead, Ok(())))
        });
        let (partial, lead, result) = opened.await?;
        let (lead, result) = match (partial, result) {
            (Some(partial), Ok(())) => {
                let layout = self.shared.layout.clone();
                let writer = Some(Writer { partial, lead });
                let mut sink = Sink {
                    layout,
                    writer,
                    batch: Vec::new(),
                    held: 0,
                    flushed: Instant::now(),
                    report,
                };
                let result = self.bring(blob, &mut sink, place.as_mut()).await;
                sink.close(result).await?
            }
            (_, result) => (lead, result),
        };
        match result {
            Ok(()) => {
                lead.ends(End::Whole);
                Ok(())
            }
            Err(error) => {
                let error = Arc::new(error);
                lead.ends(End::Failed { host: self.session.host(), error: error.clone() });
                Err(PullError::Shared(error))
            }
        }
    }

    /// Brings what is missing, and verifies all of it.
    async fn bring(
        &self,
        blob: &Descriptor,
        sink: &mut Sink<'_>,
        mut place: Option<&mut Place>,
    ) -> Result<(), PullError> {
        let mut patience = Patience::new(sink.written());
        let mut source = Source { etag: None, in_pieces: sink.written() > 0 };
        let mut anew = false;
        loop {
            let streamed = self.stream(blob, sink, &mut source, place.as_deref_mut()).await;
            // What came before the cut is worth keeping.
            sink.flush().await?;
            let error = match streamed {
                Ok(()) if sink.written() == blob.size => match sink.commit().await {
                    // A power cut tore what was here, or two servers do not agree: all of it from one.
                    Err(PullError::Store(LayoutError::Digest { .. }))
                        if source.in_pieces && !anew =>
                    {
                        tracing::info!(blob = %blob.digest, "what was here of the layer is damaged, it is brought again");
                        anew = true;
                        sink.restart().await?;
                        source.in_pieces = false;
                        patience = Patience::new(0);
                        continue;
                    }
                    committed => return committed,
                },
                // Not all that was promised, without a word about it.
                Ok(()) => LayoutError::Size {
                    digest: blob.digest,
                    expected: blob.size,
                    actual: sink.written(),
                }
                .into(),
                Err(error) if is_a_cut(&error) => error,
                Err(error) => return Err(error),
            };
            tracing::debug!(blob = %blob.digest, here = sink.written(), %error, "the download was cut");
            if !patience.again(sink.written(), place.as_deref_mut()).await {
                return Err(error);
            }
        }
    }

    /// Reads what is missing of a blob, as far as the connection lasts.
    async fn stream(
        &self,
        blob: &Descriptor,
        sink: &mut Sink<'_>,
        source: &mut Source,
        place: Option<&mut Place>,
    ) -> Result<(), PullError> {
        let start = sink.written();
        if start == blob.size {
            return Ok(());
        }
        let mut headers = HeaderMap::new();
        if start > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={start}-"))
        {
            headers.insert(header::RANGE, range);
        }
        let name = blob.digest.to_string();
        let mut answer = match self.session.get("blobs", &name, &headers, place).await {
            // It has less than we do: what is here is not what it has.
            Err(PullError::Status { status: 416, .. }) if start > 0 => {
                return sink.restart().await;
            }
            answer => answer?,
        };
        match judge(answer.status, &answer.headers, start, blob.size) {
            Body::Onward if source.is_same(&answer.url.authority(), &answer.headers) => {
                source.in_pieces |= start > 0;
            }
            Body::Onward | Body::Other => return sink.restart().await,
            Body::Whole => {
                source.is_same(&answer.url.authority(), &answer.headers);
                if start > 0 {
                    sink.restart().await?;
                }
                source.in_pieces = false;
            }
            Body::Wrong(actual) => {
                let (digest, expected) = (blob.digest, blob.size);
                return Err(LayoutError::Size { digest, expected, actual }.into());
            }
        }
        while let Some(piece) = self
            .session
            .client()
            .piece(&mut answer)
            .await
            .map_err(|error| self.session.transfer_failed(error))?
        {
            let count = piece.len();
            sink.add(piece).await?;
            self.shared.bandwidth.take(count).await;
        }
        Ok(())
    }
}

/// True when the network, and nothing else, is to blame. The host was found when the manifest was asked for, so that its
/// name has no address now is the network's fault as well.
fn is_a_cut(error: &PullError) -> bool {
    error.is_transient()
        || matches!(error, PullError::Transfer { source: TransferError::Resolve { .. }, .. })
}

/// What the pieces of a blob came from.
struct Source {
    /// Who sent the last piece, and what it called the content.
    etag: Option<(String, HeaderValue)>,
    /// What is here did not come in one piece.
    in_pieces: bool,
}

impl Source {
    /// False when the same server calls the content something else than before.
    fn is_same(&mut self, host: &str, headers: &HeaderMap) -> bool {
        let Some(etag) = headers.get(header::ETAG) else { return true };
        let before = self.etag.replace((host.to_owned(), etag.clone()));
        before.is_none_or(|(server, before)| server != host || before == *etag)
    }
}

/// The file and the word that goes with it. The file is closed, and its lock free, before the others hear of the end.
struct Writer {
    partial: Partial,
    lead: Lead,
}

/// Carries a body to the disk in batches, off the async threads.
struct Sink<'a> {
    layout: Arc<Layout>,
    /// Absent only while a batch is being written, or after that was cut short by the end of the program.
    writer: Option<Writer>,
    batch: Vec<Bytes>,
    held: usize,
    flushed: Instant,
    report: &'a (dyn Fn(&Stand) + Send + Sync),
}

impl Sink<'_> {
    /// Bytes on disk.
    fn written(&self) -> u64 {
        self.writer.as_ref().map_or(0, |writer| writer.partial.written())
    }

    async fn add(&mut self, piece: Bytes) -> Result<(), PullError> {
        self.held += piece.len();
        self.batch.push(piece);
        let waits = self.held < BATCH && self.flushed.elapsed() < LONGEST_HELD;
        if waits { Ok(()) } else { self.flush().await }
    }

    async fn flush(&mut self) -> Result<(), PullError> {
        self.flushed = Instant::now();
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        self.held = 0;
        self.with_writer(move |writer, _| {
            let written = batch.iter().try_for_each(|piece| writer.partial.write(piece));
            writer.lead.says(|stand| stand.written = writer.partial.written());
            written
        })
        .await
    }

    async fn restart(&mut self) -> Result<(), PullError> {
        self.batch.clear();
        self.held = 0;
        self.with_writer(|writer, _| {
            // Readers are told before the file is cut under them.
            writer.lead.says(|stand| {
                (stand.written, stand.resumed, stand.turn) = (0, 0, stand.turn + 1);
            });
            writer.partial.restart()
        })
        .await
    }

    async fn commit(&mut self) -> Result<(), PullError> {
        self.with_writer(|writer, layout| writer.partial.commit(layout)).await
    }

    /// Closes the file; what nothing can be made of goes.
    async fn close(
        mut self,
        result: Result<(), PullError>,
    ) -> Result<(Lead, Result<(), PullError>), PullError> {
        let Some(Writer { partial, lead }) = self.writer.take() else {
            return Err(PullError::Abandoned);
        };
        blocking(move || {
            let result = match result {
                Err(PullError::Store(error @ LayoutError::Digest { .. })) => {
                    let discarded = partial.discard();
                    Err(discarded.err().unwrap_or(error).into())
                }
                other => {
                    drop(partial);
                    other
                }
            };
            Ok((lead, result))
        })
        .await
    }

    async fn with_writer(
        &mut self,
        work: impl FnOnce(&mut Writer, &Layout) -> Result<(), LayoutError> + Send + 'static,
    ) -> Result<(), PullError> {
        let mut writer = self.writer.take().ok_or(PullError::Abandoned)?;
        let layout = self.layout.clone();
        let (writer, result) = blocking(move || {
            let result = work(&mut writer, &layout);
            Ok((writer, result))
        })
        .await?;
        (self.report)(&writer.lead.stand());
        self.writer = Some(writer);
        Ok(result?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(header::HeaderName, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn content_of_another_name_is_other_content_on_the_same_server_only() {
        let mut source = Source { etag: None, in_pieces: false };
        let tagged = |etag| headers(&[(header::ETAG, etag)]);
        assert!(source.is_same("a", &HeaderMap::new()));
        assert!(source.is_same("a", &tagged("\"1\"")));
        assert!(source.is_same("a", &tagged("\"1\"")));
        assert!(source.is_same("b", &tagged("\"2\"")));
        assert!(!source.is_same("b", &tagged("\"3\"")));
        assert!(source.is_same("b", &tagged("\"3\"")));
    }
}
