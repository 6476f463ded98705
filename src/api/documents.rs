//! Documents that are too large for a message, which boxes of a hub fetch instead. They are sealed for their box, and
//! nobody guesses their names: there is nothing to sign.

use super::body::{self, AnswerBody};
use super::error::{ApiError, Exception};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use std::fmt;
use std::sync::Arc;

/// Where they are; the SHA-256 of the sealed bytes follows.
pub(super) const PREFIX: &str = "/coracle/v1/fleet/documents/";

/// The documents of a hub.
pub trait Documents: fmt::Debug + Send + Sync {
    /// The sealed document of this hash, as long as its box has not taken it.
    fn sealed(&self, sha256: &str) -> Option<Arc<[u8]>>;
}

/// A document, or that there is none (any more).
pub(super) fn answer(
    documents: Option<&Arc<dyn Documents>>,
    sha256: &str,
) -> Result<Response<AnswerBody>, ApiError> {
    let sealed = documents.and_then(|documents| documents.sealed(sha256));
    let sealed = sealed.ok_or_else(|| {
        ApiError::new(Exception::UnknownPath, "There is no such document (any more).")
    })?;
    let mut response = Response::new(body::whole(sealed.to_vec()));
    *response.status_mut() = StatusCode::OK;
    let bytes = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(CONTENT_TYPE, bytes);
    Ok(response)
}
