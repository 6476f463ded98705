//! What the body of an answer is, as its head tells: all of a blob, what follows what is here, or neither.

use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderValue};
use std::fmt;
use std::str::FromStr;

/// What a body is, by its header.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// What follows what is here.
    Onward,
    /// The blob from its first byte.
    Whole,
    /// A piece that was not asked for.
    Other,
    /// As many bytes as the blob does not have: a page of somebody in between, perhaps. What is here is none the worse.
    Wrong(u64),
}

/// Tells what the answer to a request for all from `start` on brings of a blob of `size` bytes.
pub(super) fn judge(status: StatusCode, headers: &HeaderMap, start: u64, size: u64) -> Body {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if status != StatusCode::PARTIAL_CONTENT {
        return match text(header::CONTENT_LENGTH).and_then(number) {
            Some(length) if length != size => Body::Wrong(length),
            _ => Body::Whole,
        };
    }
    match text(header::CONTENT_RANGE).and_then(|text| text.parse::<ContentRange>().ok()) {
        Some(range) if range.is_from(start, size) => {
            if start == 0 {
                Body::Whole
            } else {
                Body::Onward
            }
        }
        _ => Body::Other,
    }
}

/// `Content-Range: bytes 5-9/10`: which bytes of the whole a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// The number of its first byte.
    pub first: u64,
    /// And of its last.
    pub last: u64,
    /// How many bytes the whole has, if that is told.
    pub whole: Option<u64>,
}

/// Text that is no range of bytes with a beginning and an end, of a whole that has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a range of bytes")]
pub struct ContentRangeError;

impl ContentRange {
    /// Whether it is of a whole of `size` bytes, from `start` on.
    #[must_use]
    pub fn is_from(&self, start: u64, size: u64) -> bool {
        self.first == start && self.last < size && self.whole.is_none_or(|whole| whole == size)
    }
}

impl FromStr for ContentRange {
    type Err = ContentRangeError;

    fn from_str(text: &str) -> Result<Self, ContentRangeError> {
        let read = || {
            let (unit, range) = text.trim().split_once(' ')?;
            let (range, whole) = range.split_once('/')?;
            let (first, last) = range.split_once('-')?;
            let (first, last) = (number(first.trim())?, number(last.trim())?);
            let whole = match whole.trim() {
                "*" => None,
                whole => Some(number(whole)?),
            };
            let makes_sense = first <= last && whole.is_none_or(|whole| last < whole);
            (unit.eq_ignore_ascii_case("bytes") && makes_sense).then_some(Self {
                first,
                last,
                whole,
            })
        };
        read().ok_or(ContentRangeError)
    }
}

impl fmt::Display for ContentRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bytes {}-{}/", self.first, self.last)?;
        match self.whole {
            Some(whole) => whole.fmt(f),
            None => f.write_str("*"),
        }
    }
}

/// Digits alone: without a sign, which the standard library would take.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        [(name, value.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn only_what_follows_is_appended() {
        let partial = StatusCode::PARTIAL_CONTENT;
        for (range, expected) in [
            ("bytes 5-9/10", Body::Onward),
            ("Bytes 5-7/10", Body::Onward),
            ("bytes 5-9/*", Body::Onward),
            ("bytes 5-9/11", Body::Other),
            ("bytes 4-9/10", Body::Other),
            ("bytes 9-5/10", Body::Other),
            ("bytes 5-10/10", Body::Other),
            ("bytes 5-10/*", Body::Other),
            ("bytes +5-9/10", Body::Other),
            ("bytes 5--9/10", Body::Other),
            ("bytes 5-/10", Body::Other),
            ("bytes */10", Body::Other),
            ("bytes 5-99999999999999999999/10", Body::Other),
            ("lines 5-9/10", Body::Other),
            ("", Body::Other),
        ] {
            let found = judge(partial, &headers(header::CONTENT_RANGE, range), 5, 10);
            assert_eq!(found, expected, "{range}");
        }
        let from_the_first = headers(header::CONTENT_RANGE, "bytes 0-9/10");
        assert_eq!(judge(partial, &from_the_first, 0, 10), Body::Whole);
        assert_eq!(judge(partial, &HeaderMap::new(), 5, 10), Body::Other);
        let length = |length| headers(header::CONTENT_LENGTH, length);
        assert_eq!(judge(StatusCode::OK, &length("10"), 5, 10), Body::Whole);
        assert_eq!(judge(StatusCode::OK, &length("5"), 5, 10), Body::Wrong(5));
        assert_eq!(judge(StatusCode::OK, &HeaderMap::new(), 5, 10), Body::Whole);
    }
}
