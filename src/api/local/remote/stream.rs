//! Answers without an end: lines and sessions. Whatever cuts them is told in their own form, as the last of them.

use super::name;
use crate::model::ContainerInstanceId;
use crate::model::session::{End, Frame, FrameReader};
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::error::Error;
use std::future::Future;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The longest line that is passed on.
const LINE_LIMIT: usize = 1 << 20;
/// Passed on at once.
const CHUNK: usize = 16 << 10;

/// Whether an answer comes line by line.
pub(super) fn is_lines(response: &Response<Incoming>) -> bool {
    let kind = response.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-ndjson"))
}

/// The last word of a chain of errors: what went wrong, and not where it was noticed.
pub(super) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// The lines of a box, several at once if they come so; what ends them early is a last line `{"error"}`.
#[derive(Debug)]
pub(super) struct Lines {
    of: String,
    body: Option<Incoming>,
    rest: Vec<u8>,
}

impl Lines {
    pub(super) fn new(to: &ContainerInstanceId, body: Incoming) -> Self {
        Self { of: name(to), body: Some(body), rest: Vec::new() }
    }

    /// Whole lines, or none after the last.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            let body = self.body.as_mut()?;
            let frame = match body.frame().await {
                None if self.rest.is_empty() => return None,
                None => return Some(self.broken("it ended within a line")),
                Some(Err(error)) => return Some(self.broken(&root_cause(&error))),
                Some(Ok(frame)) => frame,
            };
            // Trailers hold nothing for us.
            let Ok(data) = frame.into_data() else { continue };
            let Some(end) = data.iter().rposition(|byte| *byte == b'\n') else {
                self.rest.extend_from_slice(&data);
                if self.rest.len() > LINE_LIMIT {
                    return Some(self.broken("it sent a line that is too long"));
                }
                continue;
            };
            let mut whole = std::mem::take(&mut self.rest);
            whole.extend_from_slice(&data[..=end]);
            self.rest.extend_from_slice(&data[end + 1..]);
            return Some(whole.into());
        }
    }

    /// Nothing more is read.
    fn broken(&mut self, why: &str) -> Bytes {
        self.body = None;
        self.rest.clear();
        failure(&format!("the connection to {} ended: {why}", self.of))
    }
}

/// A last line.
pub(super) fn failure(text: &str) -> Bytes {
    format!("{}\n", json!({ "error": text })).into()
}

/// Passes frames of a session between its two ends, until one is gone.
pub(super) async fn session(
    to: &ContainerInstanceId,
    of_client: Upgraded,
    of_box: Upgraded,
    stopping: impl Future<Output = ()>,
) {
    let (mut from_client, mut to_client) = tokio::io::split(TokioIo::new(of_client));
    let (mut from_box, mut to_box) = tokio::io::split(TokioIo::new(of_box));
    let up = async {
        let mut buffer = vec![0; CHUNK];
        loop {
            match from_client.read(&mut buffer).await {
                Ok(count @ 1..) => {
                    if to_box.write_all(&buffer[..count]).await.is_err() {
                        // The box is gone, which the other direction tells.
                        return std::future::pending().await;
                    }
                }
                Ok(0) | Err(_) => return,
            }
        }
    };
    let down = async {
        let mut buffer = vec![0; CHUNK];
        let mut frames = FrameReader::default();
        let mut whole = Vec::new();
        loop {
            let why = match from_box.read(&mut buffer).await {
                Ok(0) => "it closed the connection".to_owned(),
                Ok(count) => {
                    frames.push(&buffer[..count]);
                    String::new()
                }
                Err(error) => root_cause(&error),
            };
            whole.clear();
            let mut over = !why.is_empty();
            let mut why = why;
            loop {
                match frames.next_frame() {
                    Ok(Some(frame)) => {
                        frame.encode(&mut whole);
                        if matches!(frame, Frame::End(_)) {
                            (over, why) = (true, String::new());
                            break;
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        (over, why) = (true, error.to_string());
                        break;
                    }
                }
            }
            if over && !why.is_empty() {
                let reason = Some(format!("the connection to {} ended: {why}", name(to)));
                Frame::End(End { exit_code: None, reason }).encode(&mut whole);
            }
            if to_client.write_all(&whole).await.is_err() {
                return;
            }
            if over {
                let _ = to_client.shutdown().await;
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
        () = stopping => {}
    }
}
