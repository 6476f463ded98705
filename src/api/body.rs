//! Bodies: reading a bounded one, writing a whole one, writing one piece by piece.

use super::error::{ApiError, Exception};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Bytes, Frame, Incoming};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

/// The largest request body that is looked at.
pub(super) const BODY_LIMIT: usize = 1024 * 1024;
/// How much of a larger one is read and thrown away, so that its sender gets to see the answer.
const DRAIN_LIMIT: usize = 16 * 1024 * 1024;
/// How long a client may take to send its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The body of an answer.
pub(super) type AnswerBody = UnsyncBoxBody<Bytes, Infallible>;

/// A body that is there already.
pub(super) fn whole(bytes: impl Into<Bytes>) -> AnswerBody {
    http_body_util::Full::new(bytes.into()).boxed_unsync()
}

/// A body whose pieces come out of `pieces`, until all senders are gone.
pub(super) fn streamed(pieces: mpsc::Receiver<Bytes>) -> AnswerBody {
    Pieces(pieces).boxed_unsync()
}

struct Pieces(mpsc::Receiver<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Reads all of a request's body.
pub(super) async fn read(body: Incoming) -> Result<Vec<u8>, ApiError> {
    read_up_to(body, BODY_LIMIT).await
}

/// Reads all of a body of at most `limit` bytes.
pub(super) async fn read_up_to(body: Incoming, limit: usize) -> Result<Vec<u8>, ApiError> {
    tokio::time::timeout(BODY_TIMEOUT, read_all(body, limit)).await.map_err(|_| {
        ApiError::new(Exception::RequestTimeout, "The body of the request did not arrive in time.")
    })?
}

async fn read_all(mut body: Incoming, limit: usize) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    let mut size = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| {
            ApiError::new(
                Exception::Serialization,
                format!("The body of the request is broken: {e}"),
            )
        })?;
        let Ok(data) = frame.into_data() else { continue };
        size = size.saturating_add(data.len());
        if size <= limit {
            bytes.extend_from_slice(&data);
        } else if size > DRAIN_LIMIT {
            break;
        }
    }
    if size > limit {
        return Err(ApiError::new(
            Exception::RequestEntityTooLarge,
            format!("The body of the request is larger than {limit} bytes."),
        ));
    }
    Ok(bytes)
}
