//! A length of time in a fault plan: milliseconds, or a text such as `"2s"`, `"1m30s"`, `"never"`.

use crate::model::Timestamp;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time, or for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// So long.
    Lasts(Duration),
    /// Without an end.
    Never,
}

/// A text that is no length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no length of time: give milliseconds, or a text such as 500ms, 2s, 1m30s, 1h or never"
)]
pub struct SpanError(String);

impl Span {
    /// When it is over, having begun at `from`.
    #[must_use]
    pub fn after(self, from: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Lasts(duration) => Some(from.plus(duration)),
            Self::Never => None,
        }
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        match text {
            "never" => Ok(Self::Never),
            _ => duration(text).map(Self::Lasts).ok_or_else(|| SpanError(text.to_owned())),
        }
    }
}

/// Numbers with units, or one without: milliseconds.
fn duration(text: &str) -> Option<Duration> {
    if let Ok(milliseconds) = text.parse() {
        return Some(Duration::from_millis(milliseconds));
    }
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, after) =
            after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        let part = number.parse::<u64>().ok()?.checked_mul(milliseconds)?;
        total = total.checked_add(Duration::from_millis(part))?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lasts(duration) => write!(f, "{}ms", duration.as_millis()),
            Self::Never => f.write_str("never"),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("milliseconds, or a text such as \"2s\" or \"never\"")
            }

            fn visit_u64<E: Error>(self, milliseconds: u64) -> Result<Span, E> {
                Ok(Span::Lasts(Duration::from_millis(milliseconds)))
            }

            fn visit_i64<E: Error>(self, milliseconds: i64) -> Result<Span, E> {
                match u64::try_from(milliseconds) {
                    Ok(milliseconds) => self.visit_u64(milliseconds),
                    Err(_) => Err(E::custom(SpanError(milliseconds.to_string()))),
                }
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_numbers_with_units() {
        let lasts = |milliseconds| Ok(Span::Lasts(Duration::from_millis(milliseconds)));
        assert_eq!("250".parse(), lasts(250));
        assert_eq!("0s".parse(), lasts(0));
        assert_eq!("1m30s5ms".parse(), lasts(90_005));
        assert_eq!("2h".parse(), lasts(7_200_000));
        assert_eq!("never".parse(), Ok(Span::Never));
        for wrong in ["", "s", "-1s", "1d", "1s2", "99999999999999999999s"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
        let span: Span = "1m30s".parse().unwrap();
        assert_eq!(span.to_string().parse(), Ok(span));
    }
}
