//! Signature Version 4, the server's side, for a service other than S3.
//!
//! Only the header form is taken (`Authorization: AWS4-HMAC-SHA256 …`); presigned addresses are refused. The body is
//! always part of the signature. The region of the credential scope may be any; the service must be `ecs`.
//!
//! A request must be at most 15 minutes off this box's clock. Boxes without a clock that survives power cuts may be
//! far off, so the error names the server's time (and `api` sends `Date`), from which SDKs correct themselves.

mod authorization;
mod canonical;
mod date;

use super::Keys;
use crate::model::Timestamp;
use authorization::Authorization;
use hyper::HeaderMap;
use ring::{digest, hmac};
use std::time::Duration;

/// The only algorithm there is.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The service that credentials must be scoped to.
const SERVICE: &str = "ecs";
/// How far a request's date may be from the clock.
const SKEW: Duration = Duration::from_mins(15);

/// What was signed, as it came over the wire.
#[derive(Debug, Clone, Copy)]
pub struct SignedRequest<'a> {
    /// `POST`.
    pub method: &'a str,
    /// The path, still percent-encoded.
    pub path: &'a str,
    /// The query without `?`, still percent-encoded.
    pub query: &'a str,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a [u8],
}

/// Why a request is not believed. The variants are named as the exceptions that AWS answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// `MissingAuthenticationTokenException`.
    #[error("Missing Authentication Token")]
    MissingAuthenticationToken,
    /// `IncompleteSignatureException`: the header is not what it should be.
    #[error("{0}")]
    IncompleteSignature(String),
    /// `UnrecognizedClientException`: nobody has this key.
    #[error("The security token included in the request is invalid.")]
    UnrecognizedClient,
    /// `InvalidSignatureException`: wrong signature, date or scope.
    #[error("{0}")]
    InvalidSignature(String),
}

/// Checks that `request` was signed with one of `keys` at about `now`; answers the id of that key.
///
/// # Errors
/// [`AuthError`].
pub fn verify<'k>(
    request: &SignedRequest<'_>,
    keys: &'k Keys,
    now: Timestamp,
) -> Result<&'k str, AuthError> {
    let authorization = Authorization::of(request)?;
    let scope = &authorization.scope;
    if scope.service != SERVICE {
        return Err(AuthError::InvalidSignature(format!(
            "Credential should be scoped to correct service: '{SERVICE}'. "
        )));
    }
    let key = keys.find(scope.access_key_id).ok_or(AuthError::UnrecognizedClient)?;
    if request.headers.contains_key("x-amz-security-token") {
        return Err(AuthError::UnrecognizedClient);
    }
    let (date, at) = date::of(request.headers)?;
    if !date.starts_with(scope.date) {
        return Err(AuthError::InvalidSignature(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: \
             '{}' != '{}', from '{date}'.",
            scope.date,
            date.get(..8).unwrap_or(&date)
        )));
    }
    check_skew(&date, at, now)?;

    let body_hash = hex(digest::digest(&digest::SHA256, request.body).as_ref());
    if let Some(claimed) = request.headers.get("x-amz-content-sha256")
        && !claimed.as_bytes().eq_ignore_ascii_case(body_hash.as_bytes())
    {
        return Err(AuthError::InvalidSignature(
            "The value of x-amz-content-sha256 is not the SHA-256 of the body; unsigned and streamed bodies are not accepted.".to_owned(),
        ));
    }
    let canonical = canonical::request(request, &authorization.signed_headers, &body_hash)?;
    let to_sign = format!(
        "{ALGORITHM}\n{date}\n{}/{}/{}/aws4_request\n{}",
        scope.date,
        scope.region,
        scope.service,
        hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref()),
    );
    let signing_key = signing_key(&key.secret_access_key, scope.date, scope.region, scope.service);
    // `verify` compares in constant time.
    hmac::verify(&signing_key, to_sign.as_bytes(), &authorization.signature).map_err(|_| {
        AuthError::InvalidSignature(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
             Access Key and signing method. Consult the service documentation for details."
                .to_owned(),
        )
    })?;
    Ok(&key.access_key_id)
}

fn check_skew(date: &str, at: Timestamp, now: Timestamp) -> Result<(), AuthError> {
    let server = date::basic(now);
    if now.since(at) > SKEW {
        let earliest = date::basic(Timestamp(now.0.saturating_sub(skew_millis())));
        return Err(AuthError::InvalidSignature(format!(
            "Signature expired: {date} is now earlier than {earliest} ({server} - 15 min.)"
        )));
    }
    if at.since(now) > SKEW {
        let latest = date::basic(now.plus(SKEW));
        return Err(AuthError::InvalidSignature(format!(
            "Signature not yet current: {date} is still later than {latest} ({server} + 15 min.)"
        )));
    }
    Ok(())
}

fn skew_millis() -> i64 {
    i64::try_from(SKEW.as_millis()).unwrap_or(i64::MAX)
}

/// The key of one day, region and service.
fn signing_key(secret: &str, date: &str, region: &str, service: &str) -> hmac::Key {
    let mut key = hmac::Key::new(hmac::HMAC_SHA256, format!("AWS4{secret}").as_bytes());
    for part in [date, region, service, "aws4_request"] {
        let tag = hmac::sign(&key, part.as_bytes());
        key = hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref());
    }
    key
}

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of hexadecimal digits.
fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests;
