//! Answers that come line by line, one JSON value each.

use crate::api::body::{self, AnswerBody};
use crate::api::http;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;

const LINES: HeaderValue = HeaderValue::from_static("application/x-ndjson");
/// Lines on their way to a client that is slower than what makes them.
const AHEAD: usize = 64;

/// Where lines are sent to.
#[derive(Debug, Clone)]
pub(super) struct Sender(mpsc::Sender<Bytes>);

/// The client went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

impl Sender {
    /// Sends one line, waiting for room.
    pub(super) async fn send(&self, line: &impl Serialize) -> Result<(), Gone> {
        self.0.send(encode(line)).await.map_err(|_| Gone)
    }

    /// The same from a thread that may block.
    pub(super) fn send_blocking(&self, line: &impl Serialize) -> Result<(), Gone> {
        self.0.blocking_send(encode(line)).map_err(|_| Gone)
    }

    /// Sends a line if there is room for it, for progress that the next line replaces.
    pub(super) fn offer(&self, line: &impl Serialize) {
        // Full or gone: this line is not needed.
        let _ = self.0.try_send(encode(line));
    }

    /// Sends what is lines already, waiting for room.
    pub(super) async fn pass(&self, lines: Bytes) -> Result<(), Gone> {
        self.0.send(lines).await.map_err(|_| Gone)
    }

    /// Resolves when the client went away.
    pub(super) async fn gone(&self) {
        self.0.closed().await;
    }
}

fn encode(line: &impl Serialize) -> Bytes {
    let mut bytes = serde_json::to_vec(line)
        .unwrap_or_else(|e| json!({ "error": e.to_string() }).to_string().into_bytes());
    bytes.push(b'\n');
    bytes.into()
}

/// An answer, and where its lines are sent to; it ends when all senders are dropped.
pub(super) fn answer() -> (Sender, Response<AnswerBody>) {
    let (sender, pieces) = mpsc::channel(AHEAD);
    let mut response = http::plain(StatusCode::OK, LINES, String::new());
    *response.body_mut() = body::streamed(pieces);
    response.headers_mut().insert(CONTENT_TYPE, LINES);
    (Sender(sender), response)
}
