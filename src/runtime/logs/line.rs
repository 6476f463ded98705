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
}

impl LogLine {
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
        let line =
            LogLine { log: "x\n".into(), stream: Stream::Stdout, attrs: None, time: rfc3339(at) };
        assert_eq!(line.at(), Some(at));
        let json = serde_json::to_string(&line).unwrap();
        assert_eq!(json, r#"{"log":"x\n","stream":"stdout","time":"2025-11-21T04:40:00.123Z"}"#);
    }
}
