//! What goes over a link, and what becomes of it.

use super::error::LinkError;
use super::reason::Reason;
use crate::sys;
use std::fmt;
use std::time::Duration;

/// One connection of a client to its broker. Each connection has a fresh random one, so that a last will or a command
/// that belongs to an earlier connection can be told from what belongs to this one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(String);

impl SessionId {
    /// A new one.
    pub(super) fn random() -> Self {
        let mut bytes = [0; 16];
        sys::random(&mut bytes);
        Self(format!("{:032x}", u128::from_le_bytes(bytes)))
    }

    /// As 32 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A message to publish, always with QoS 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Where.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
    /// Whether the broker keeps it for whoever subscribes later. An empty one that is kept removes what was kept.
    pub retain: bool,
    /// How long the broker may hold it back for a client that is away (MQTT 5; 3.1.1 holds it back forever).
    pub expiry: Option<Duration>,
    /// Where an answer is wanted (MQTT 5).
    pub response_topic: Option<String>,
    /// What the answer is to carry (MQTT 5).
    pub correlation: Option<Vec<u8>>,
    /// Send it over this connection or not at all.
    pub only_in: Option<SessionId>,
}

impl Message {
    /// A message that the broker does not keep.
    #[must_use]
    pub fn new(topic: impl fmt::Display, payload: impl Into<Vec<u8>>) -> Self {
        Self { topic: topic.to_string(), payload: payload.into(), ..Self::default() }
    }

    /// A message that the broker keeps in the place of the last one of this topic.
    #[must_use]
    pub fn retained(topic: impl fmt::Display, payload: impl Into<Vec<u8>>) -> Self {
        Self { retain: true, ..Self::new(topic, payload) }
    }

    /// Bound to one connection.
    #[must_use]
    pub fn only_in(mut self, session: &SessionId) -> Self {
        self.only_in = Some(session.clone());
        self
    }

    /// Not to be held back for longer than this.
    #[must_use]
    pub fn expires_in(mut self, expiry: Duration) -> Self {
        self.expiry = Some(expiry);
        self
    }
}

/// The number of a published message, to find its [`Outcome`] with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(super) u64);

/// What became of a published message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The broker has it.
    Done,
    /// The broker does not take it, or would not: it is not sent again.
    Refused(Reason),
    /// The connection was lost before the broker answered: it has it or not.
    Unknown,
}

/// A message that came.
#[derive(Debug, PartialEq, Eq)]
pub struct Received {
    /// Where from.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
    /// True when the broker had kept it from before the subscription.
    pub retain: bool,
    /// True when the broker has sent it before.
    pub duplicate: bool,
    /// Where an answer is wanted.
    pub response_topic: Option<String>,
    /// What the answer is to carry.
    pub correlation: Option<Vec<u8>>,
    /// To be given back with [`Link::ack`](super::Link::ack) once the message needs not come again.
    pub ack: Ack,
}

/// The right to acknowledge a message. The broker hears of it in the order in which the messages came, whatever the order
/// in which they are given back: one that is never given back stops all that came after it.
#[must_use = "the broker sends a message again until it is acknowledged"]
#[derive(Debug, PartialEq, Eq)]
pub struct Ack {
    /// Which connection of the link; those of an earlier one have no meaning any more.
    pub(super) connection: u64,
    /// The packet; 0 for a message that wants none.
    pub(super) packet: u16,
}

/// What happens on a link.
#[derive(Debug)]
pub enum Event {
    /// The broker has taken the connection. All filters are being subscribed to again.
    Connected {
        /// Of this connection; the last will names it.
        session: SessionId,
        /// Whether the broker kept what was subscribed to, and what came meanwhile.
        session_present: bool,
    },
    /// All filters of the link are subscribed to, or refused.
    Subscribed,
    /// The broker does not let this client listen there.
    SubscribeRefused {
        /// To what.
        filter: String,
        /// Why.
        reason: Reason,
    },
    /// A message.
    Received(Received),
    /// A message that was larger than [`Settings::max_packet`](super::Settings::max_packet): it was thrown away, and
    /// acknowledged so that it does not come again.
    Oversized {
        /// Where from.
        topic: String,
        /// How large the packet was.
        size: usize,
    },
    /// What became of a published message.
    Published {
        /// Which.
        ticket: Ticket,
        /// What.
        outcome: Outcome,
    },
    /// There is no connection (any more). Whatever was published and not answered for has had its outcome by now.
    Disconnected {
        /// Why.
        why: LinkError,
        /// When the next attempt is made.
        next_attempt_in: Duration,
    },
}
