//! One line of a log file.

use jiff::Timestamp as Moment;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line, or a part of one that was too long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// The text with its newline; without one when the line goes on in the next.
    pub log: String,
    /// Where it came from.
    pub stream: Stream,
    /// Variables and labels that the definition wants with each line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attrs: Option<BTreeMap<String, String>>,
    /// When it was read, RFC 3339 in UTC.
    pub time: String,
    /// In the first line of a file, unless it is the log's first: how many bytes of the log came before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// In the log of a box as its hub stores it: how far the box's log is told with this line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<Told>,
}

/// How far a log is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Which numbering: a log that was set back begins another.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub epoch: u64,
    /// Bytes of the log on the box, up to here.
    pub to: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl LogLine {
    /// A line with nothing beside it.
    pub(super) fn new(stream: Stream, log: String, at: crate::model::Timestamp) -> Self {
        Self { log, stream, attrs: None, time: rfc3339(at), from: None, told: None }
    }

    /// When it was read.
    #[must_use]
    pub fn at(&self) -> Option<crate::model::Timestamp> {
        let moment: Moment = self.time.parse().ok()?;
        Some(crate::model::Timestamp(moment.as_millisecond()))
    }
}

/// RFC 3339 in UTC.
pub(super) fn rfc3339(at: crate::model::Timestamp) -> String {
    Moment::from_millisecond(at.millis()).unwrap_or(Moment::UNIX_EPOCH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_docker_compatible() {
        let at = crate::model::Timestamp(1_763_700_000_123);
        assert_eq!(rfc3339(at), "2025-11-21T04:40:00.123Z");
        let line = LogLine::new(Stream::Stdout, "x\n".to_owned(), at);
        assert_eq!(line.at(), Some(at));
        let json = serde_json::to_string(&line).unwrap();
        assert_eq!(json, r#"{"log":"x\n","stream":"stdout","time":"2025-11-21T04:40:00.123Z"}"#);
    }
}
