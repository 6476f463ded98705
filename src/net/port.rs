//! Ports, ranges of them and their protocols.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

/// A transport protocol whose ports can be published.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Its number in an IP header.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// One port or a range of ports, none of them 0: `80`, `8000-8010`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    first: NonZeroU16,
    last: NonZeroU16,
}

/// What is not a range of ports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no port and no range FIRST-LAST of ports")]
pub struct PortRangeError(pub String);

impl PortRange {
    /// What the kernel gives to programs that ask for any port, unless it is told otherwise.
    pub(super) const EPHEMERAL: Self = match (NonZeroU16::new(32768), NonZeroU16::new(60999)) {
        (Some(first), Some(last)) => Self { first, last },
        _ => Self { first: NonZeroU16::MIN, last: NonZeroU16::MAX },
    };

    /// From `first` to `last`, both included.
    #[must_use]
    pub fn new(first: u16, last: u16) -> Option<Self> {
        let (first, last) = (NonZeroU16::new(first)?, NonZeroU16::new(last)?);
        (first <= last).then_some(Self { first, last })
    }

    /// One port.
    #[must_use]
    pub fn single(port: u16) -> Option<Self> {
        Self::new(port, port)
    }

    /// The range of `length` ports from `first` on, if there are as many.
    #[must_use]
    pub fn of_length(first: u16, length: u16) -> Option<Self> {
        Self::new(first, first.checked_add(length.checked_sub(1)?)?)
    }

    /// Its first port.
    #[must_use]
    pub fn first(self) -> u16 {
        self.first.get()
    }

    /// Its last port.
    #[must_use]
    pub fn last(self) -> u16 {
        self.last.get()
    }

    /// How many ports it has, at least one.
    #[must_use]
    pub fn length(self) -> u16 {
        // 65535 at most, as 0 is no port.
        self.last() - self.first() + 1
    }

    /// Whether it is one port.
    #[must_use]
    pub fn is_single(self) -> bool {
        self.first == self.last
    }

    /// Its ports, in order.
    pub fn ports(self) -> impl Iterator<Item = u16> {
        self.first()..=self.last()
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_single() {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl FromStr for PortRange {
    type Err = PortRangeError;

    fn from_str(text: &str) -> Result<Self, PortRangeError> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| {
            text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u16>().ok()).flatten()
        };
        port(first)
            .zip(port(last))
            .and_then(|(first, last)| Self::new(first, last))
            .ok_or_else(|| PortRangeError(text.to_owned()))
    }
}

impl TryFrom<String> for PortRange {
    type Error = PortRangeError;

    fn try_from(text: String) -> Result<Self, PortRangeError> {
        text.parse()
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> Self {
        range.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_written_as_it_is_read() {
        for text in ["1", "80", "8000-8010", "1-65535"] {
            assert_eq!(text.parse::<PortRange>().unwrap().to_string(), text);
        }
        assert_eq!("80-80".parse::<PortRange>().unwrap().to_string(), "80");
        for bad in ["", "0", "0-5", "5-4", "-", "1-", "-1", "+1", "65536", "1-65536", "1-2-3", " 1"]
        {
            assert!(bad.parse::<PortRange>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_range_ends_with_the_last_port() {
        assert_eq!(PortRange::of_length(65535, 1), PortRange::single(65535));
        assert_eq!(PortRange::of_length(65535, 2), None);
        assert_eq!(PortRange::of_length(1, 0), None);
        assert_eq!(PortRange::new(1, 65535).unwrap().length(), 65535);
    }
}
