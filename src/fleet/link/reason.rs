//! The reason codes of MQTT 5, and the return codes of 3.1.1 in the same words.

use std::fmt;

/// Why the other end said no, or success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reason(pub u8);

impl Reason {
    /// All is well.
    pub const SUCCESS: Self = Self(0x00);
    /// A disconnection after which the broker publishes the last will.
    pub const DISCONNECT_WITH_WILL: Self = Self(0x04);
    /// Nobody listens there, which is no error.
    pub const NO_MATCHING_SUBSCRIBERS: Self = Self(0x10);
    /// An error without a name, and the only one of 3.1.1 for a subscription.
    pub const UNSPECIFIED: Self = Self(0x80);
    /// What was sent cannot be read.
    pub const MALFORMED_PACKET: Self = Self(0x81);
    /// What was sent is not allowed here.
    pub const PROTOCOL_ERROR: Self = Self(0x82);
    /// The broker does not speak this version of MQTT.
    pub const UNSUPPORTED_VERSION: Self = Self(0x84);
    /// The client id is not allowed.
    pub const CLIENT_ID: Self = Self(0x85);
    /// Wrong user or password.
    pub const CREDENTIALS: Self = Self(0x86);
    /// An access rule forbids it.
    pub const NOT_AUTHORISED: Self = Self(0x87);
    /// Not available.
    pub const UNAVAILABLE: Self = Self(0x88);
    /// Too busy.
    pub const BUSY: Self = Self(0x89);
    /// Another client has taken this client's id.
    pub const TAKEN_OVER: Self = Self(0x8e);
    /// Larger than the other end takes.
    pub const TOO_LARGE: Self = Self(0x95);
    /// Over a quota.
    pub const QUOTA: Self = Self(0x97);
    /// The broker keeps no messages.
    pub const NO_RETAIN: Self = Self(0x9a);
    /// Go to another broker for now.
    pub const USE_ANOTHER: Self = Self(0x9c);
    /// Go to another broker from now on.
    pub const MOVED: Self = Self(0x9d);
    /// Too many connections in too short a time.
    pub const CONNECTION_RATE: Self = Self(0x9f);

    /// The return code of a CONNACK of 3.1.1.
    pub(super) fn of_return_code(code: u8) -> Self {
        match code {
            0 => Self::SUCCESS,
            1 => Self::UNSUPPORTED_VERSION,
            2 => Self::CLIENT_ID,
            3 => Self::UNAVAILABLE,
            4 => Self::CREDENTIALS,
            5 => Self::NOT_AUTHORISED,
            _ => Self::UNSPECIFIED,
        }
    }

    /// True for what is no error.
    #[must_use]
    pub fn is_success(self) -> bool {
        self.0 < 0x80
    }

    /// True when the broker has too much to do: nobody is helped by coming back at once.
    pub(super) fn is_overload(self) -> bool {
        matches!(self, Self::BUSY | Self::QUOTA | Self::CONNECTION_RATE)
    }

    /// True when the broker does not want this client.
    #[must_use]
    pub fn is_authorisation(self) -> bool {
        // 0x8a: banned; 0x8c: a method of authentication.
        matches!(self, Self::CLIENT_ID | Self::CREDENTIALS | Self::NOT_AUTHORISED)
            || matches!(self.0, 0x8a | 0x8c)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self.0 {
            0x00 => "success",
            0x04 => "disconnected with the last will",
            0x10 => "nobody listens",
            0x81 => "malformed packet",
            0x82 => "protocol error",
            0x83 => "not accepted",
            0x84 => "this version of MQTT is not supported",
            0x85 => "the client id is not valid",
            0x86 => "wrong user or password",
            0x87 => "not authorised",
            0x88 => "server unavailable",
            0x89 => "server busy",
            0x8a => "banned",
            0x8b => "server shutting down",
            0x8c => "bad authentication method",
            0x8d => "keep-alive timeout",
            0x8e => "another client has taken over the session",
            0x8f => "the topic filter is not valid",
            0x90 => "the topic is not valid",
            0x91 => "packet identifier in use",
            0x93 => "receive maximum exceeded",
            0x95 => "packet too large",
            0x96 => "message rate too high",
            0x97 => "quota exceeded",
            0x98 => "administrative action",
            0x99 => "the payload is not valid",
            0x9a => "messages are not retained",
            0x9b => "this quality of service is not supported",
            0x9c => "use another server",
            0x9d => "server moved",
            0x9e => "shared subscriptions are not supported",
            0x9f => "connection rate exceeded",
            0xa0 => "maximum connect time",
            0xa1 => "subscription identifiers are not supported",
            0xa2 => "wildcards are not supported",
            _ => "unspecified error",
        };
        write!(f, "{words} (0x{:02x})", self.0)
    }
}
