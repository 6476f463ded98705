//! The canonical request: the one spelling that both sides sign.

use super::{AuthError, SignedRequest};
use hyper::HeaderMap;
use std::fmt::Write;

/// The canonical form of `request`.
pub(super) fn request(
    request: &SignedRequest<'_>,
    signed_headers: &[&str],
    body_hash: &str,
) -> Result<String, AuthError> {
    let mut text =
        format!("{}\n{}\n{}\n", request.method, path(request.path), query(request.query));
    let mut names = signed_headers.to_vec();
    names.sort_unstable();
    for name in &names {
        let value = header(request.headers, name)?;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name}:{value}");
    }
    let _ = write!(text, "\n{}\n{body_hash}", names.join(";"));
    Ok(text)
}

/// All values of a header, each with its white space collapsed.
fn header(headers: &HeaderMap, name: &str) -> Result<String, AuthError> {
    let mut values = Vec::new();
    for value in headers.get_all(name) {
        let text = std::str::from_utf8(value.as_bytes()).map_err(|_| {
            AuthError::IncompleteSignature(format!("The header '{name}' is not UTF-8."))
        })?;
        values.push(text.split_ascii_whitespace().collect::<Vec<_>>().join(" "));
    }
    if values.is_empty() {
        return Err(AuthError::IncompleteSignature(format!(
            "The header '{name}' is signed but was not sent."
        )));
    }
    Ok(values.join(","))
}

/// The path without `.`, `..` and empty segments, encoded once more: services other than S3 encode twice.
pub(super) fn path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let mut text = String::from("/");
    for (i, segment) in segments.iter().enumerate() {
        if i > 0 {
            text.push('/');
        }
        encode(segment.as_bytes(), &mut text);
    }
    if path.ends_with('/') && !segments.is_empty() {
        text.push('/');
    }
    text
}

/// The pairs of the query, each decoded and encoded the one right way, sorted.
pub(super) fn query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (recode(name), recode(value))
        })
        .collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn recode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    encode(&decode(text.as_bytes()), &mut encoded);
    encoded
}

/// Resolves `%XX`; a `%` that begins none stands for itself.
fn decode(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|b| char::from(*b).to_digit(16));
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        if text[at] == b'%'
            && let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2))
            && let Ok(byte) = u8::try_from(high * 16 + low)
        {
            bytes.push(byte);
            at += 3;
        } else {
            bytes.push(text[at]);
            at += 1;
        }
    }
    bytes
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn encode(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(*byte));
            }
            other => {
                // Writing to a String cannot fail.
                let _ = write!(text, "%{other:02X}");
            }
        }
    }
}
