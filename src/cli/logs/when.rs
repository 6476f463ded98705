//! Times as people give them.

use crate::model::Timestamp;
use crate::sys;
use std::fmt;
use std::time::Duration;

/// A moment; shown as RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(jiff::Timestamp);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `10m`, `2026-01-31T12:00:00+01:00`, `2026-01-31`, `1769860800`.
pub(super) fn parse(text: &str) -> Result<Moment, String> {
    parse_at(text, sys::now())
        .ok_or_else(|| "a time such as 10m, 2026-01-31T12:00:00Z or 1769860800 is expected".into())
}

fn parse_at(text: &str, now: Timestamp) -> Option<Moment> {
    if let Ok(moment) = text.parse() {
        return Some(Moment(moment));
    }
    if let Some(ago) = duration(text) {
        let millis = now.millis().checked_sub(i64::try_from(ago.as_millis()).ok()?)?;
        return jiff::Timestamp::from_millisecond(millis).ok().map(Moment);
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return jiff::Timestamp::from_duration(
            jiff::SignedDuration::try_from_secs_f64(seconds).ok()?,
        )
        .ok()
        .map(Moment);
    }
    // A day, or a time without a zone, which is UTC's.
    let zoned = if text.contains('T') { format!("{text}Z") } else { format!("{text}T00:00:00Z") };
    zoned.parse().ok().map(Moment)
}

/// Numbers with units, `1h30m`; the units are d, h, m, s and ms.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let millis: u64 = match unit {
            "d" => 86_400_000,
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return None,
        };
        let part = number.parse::<u64>().ok()?.checked_mul(millis)?;
        total = total.checked_add(Duration::from_millis(part))?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_give_them() {
        let now = Timestamp(1_769_860_800_000);
        for (text, expected) in [
            ("10m", "2026-01-31T11:50:00Z"),
            ("1d1h", "2026-01-30T11:00:00Z"),
            ("500ms", "2026-01-31T11:59:59.5Z"),
            ("2026-01-31T12:00:00+01:00", "2026-01-31T11:00:00Z"),
            ("2026-01-31T12:00:00", "2026-01-31T12:00:00Z"),
            ("2026-01-31", "2026-01-31T00:00:00Z"),
            ("1769860800.25", "2026-01-31T12:00:00.25Z"),
            ("0", "1970-01-01T00:00:00Z"),
        ] {
            let found = parse_at(text, now).map(|moment| moment.to_string());
            assert_eq!(found.as_deref(), Some(expected), "{text}");
        }
        for text in ["", "soon", "10", "10x", "m", "99999999999999999999d", "2026-13-01"] {
            assert!(text == "10" || parse_at(text, now).is_none(), "{text}");
        }
    }
}
