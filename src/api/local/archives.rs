//! Images as archives: loaded from a file of this machine or from the request, saved into the answer.

use super::query::Query;
use super::{Answer, Api, LocalError, text, whole};
use crate::api::body;
use crate::api::server::told_to_stop;
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Response, StatusCode};
use serde_json::{Value, json};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use tokio::sync::mpsc;

/// What an archive in a body is called.
const TAR: HeaderValue = HeaderValue::from_static("application/x-tar");
/// Pieces of an archive between the socket and the disk.
const AHEAD: usize = 4;
/// The size of a piece.
const PIECE: usize = 128 << 10;
/// How much of a name is of use.
const NAME_LIMIT: usize = 255;

/// Whether the body of this request is an archive, which is not read as a whole.
pub(super) fn is_upload(method: &Method, path: &str, headers: &HeaderMap) -> bool {
    method == Method::POST && path == "images/load" && headers.get(CONTENT_TYPE) == Some(&TAR)
}

/// Loads the images of a file or folder of this machine. When the client says which file it means (`device`, `inode`)
/// and that is not what stands there, nothing is loaded: they live in different mount namespaces.
pub(super) async fn load(api: &Api, content: &Value) -> Answer {
    let path = Path::new(text(content, "path")?);
    if !path.is_absolute() {
        return Err(LocalError::bad(format!("the path {} is not absolute", path.display())));
    }
    if let (Some(device), Some(inode)) = (content["device"].as_u64(), content["inode"].as_u64()) {
        let path = path.to_owned();
        let here = tokio::task::spawn_blocking(move || fs::metadata(path)).await;
        let same = here.is_ok_and(|m| m.is_ok_and(|m| (m.dev(), m.ino()) == (device, inode)));
        if !same {
            return Ok(whole(&json!({ "images": [], "elsewhere": true })));
        }
    }
    let loaded =
        api.engine.images()?.load(path).await.map_err(|e| LocalError::bad(e.to_string()))?;
    let names: Vec<&str> = loaded.iter().map(|(name, _)| name.as_str()).collect();
    Ok(whole(&json!({ "images": names })))
}

/// Loads the images of an archive that comes with the request.
pub(super) async fn upload(api: &Api, query: &Query, mut incoming: Incoming) -> Answer {
    query.only(&["name"])?;
    // It is only said, and stands for the repository of images that have none.
    let name: String = query.get("name").unwrap_or("archive").chars().take(NAME_LIMIT).collect();
    let store = match api.engine.images() {
        Ok(store) => store.clone(),
        Err(why) => {
            drain(incoming);
            return Err(why.into());
        }
    };
    let (sender, pieces) = mpsc::channel(AHEAD);
    let arriving = Arriving { pieces, rest: Bytes::new(), ended: false };
    let loading = tokio::spawn(async move { store.load_stream(name.into(), arriving).await });
    let stopping = told_to_stop(api.stopping.clone());
    let feed = async {
        while let Some(frame) = incoming.frame().await {
            let piece = match frame {
                // Trailers hold nothing for us.
                Ok(frame) => frame.into_data().map_err(drop),
                Err(error) => {
                    let broken = io::Error::new(io::ErrorKind::ConnectionAborted, error);
                    let _ = sender.send(Err(broken)).await;
                    return;
                }
            };
            let Ok(piece) = piece else { continue };
            // Whoever reads has failed, and says why.
            if sender.send(Ok(Some(piece))).await.is_err() {
                return;
            }
        }
        // What follows the end of the archive in its last block is nobody's business; an early end is noticed.
        let _ = sender.send(Ok(None)).await;
    };
    tokio::select! {
        () = feed => {}
        () = stopping => {
            return Err(LocalError::new(StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping"));
        }
    }
    drop(sender);
    // The client gets to see the answer only when what it still sends is taken.
    drain(incoming);
    let loaded = loading
        .await
        .map_err(|e| LocalError::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?
        .map_err(|e| LocalError::bad(e.to_string()))?;
    let names: Vec<&str> = loaded.iter().map(|(name, _)| name.as_str()).collect();
    Ok(whole(&json!({ "images": names })))
}

/// Takes what comes and throws it away, until the client has its answer and goes.
fn drain(mut incoming: Incoming) {
    tokio::spawn(async move { while let Some(Ok(_)) = incoming.frame().await {} });
}

/// A body as it arrives, read by a thread that may block.
struct Arriving {
    /// None is the end; without it the client was cut off.
    pieces: mpsc::Receiver<io::Result<Option<Bytes>>>,
    rest: Bytes,
    ended: bool,
}

impl Read for Arriving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Ok(Some(piece))) => self.rest = piece,
                Some(Ok(None)) => self.ended = true,
                Some(Err(error)) => return Err(error),
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        let count = buffer.len().min(self.rest.len());
        let taken = self.rest.split_to(count);
        buffer[..count].copy_from_slice(&taken);
        Ok(count)
    }
}

/// Sends images as one archive. Its size is told first: an archive that ends early is not one.
pub(super) async fn save(api: &Api, content: &Value) -> Answer {
    let names: Vec<String> = serde_json::from_value(content["images"].clone())
        .map_err(|e| LocalError::bad(format!("\"images\" must be a list of names: {e}")))?;
    let store = api.engine.images()?.clone();
    let saved = store.save(names).await.map_err(|e| LocalError::bad(e.to_string()))?;
    let (sender, pieces) = mpsc::channel(AHEAD);
    let mut response = Response::new(body::streamed(pieces));
    response.headers_mut().insert(CONTENT_TYPE, TAR);
    response.headers_mut().insert(CONTENT_LENGTH, saved.size().into());
    tokio::task::spawn_blocking(move || {
        let leaving = Leaving { sender, batch: Vec::new() };
        if let Err(error) = saved.write(leaving) {
            tracing::warn!(%error, "an archive of images was not written to its end");
        }
    });
    Ok(response)
}

/// A body as it leaves, written by a thread that may block.
struct Leaving {
    sender: mpsc::Sender<Bytes>,
    batch: Vec<u8>,
}

impl Write for Leaving {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.batch.extend_from_slice(bytes);
        if self.batch.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        self.sender.blocking_send(batch.into()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
