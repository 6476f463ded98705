//! The packets of MQTT 5 and 3.1.1 that a client with QoS 1 needs: bytes out ([`encode`]), bytes in ([`decode`]), and the
//! borders between packets ([`frames`]). Pure: no socket, no state of a session.
//!
//! rumqttc writes and reads the packets. Its event loop is not used: it sends again over the next connection what was not
//! answered, or throws it away with the session, and tells neither; it ends the connection at a message that is too
//! large, again and again if that is a retained one; and it has no place for our TLS. So who asks, waits and gives up is in
//! [`session`](super::session) and [`run`](super::run).
//!
//! Not here, and never asked for by this client: QoS 2, topic aliases, subscription identifiers, enhanced authentication.
//! A broker that sends one of those breaks the protocol.

pub(super) mod decode;
pub(super) mod encode;
pub(super) mod frames;

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    V5,
    V311,
}

/// What is wrong with the bytes of the other end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A packet ends before its contents do.
    #[error("a packet is cut short")]
    Short,
    /// A packet goes on after its contents.
    #[error("a packet has bytes to spare")]
    Spare,
    /// The length of a packet is no number.
    #[error("the length of a packet is not valid")]
    Length,
    /// A text is none.
    #[error("a text is not valid UTF-8")]
    Text,
    /// A kind of packet that a broker does not send to this client.
    #[error("a packet of type {0} is not expected")]
    Type(u8),
    /// Flags that this kind of packet has not.
    #[error("a packet of type {0} has the flags {1:#06b}")]
    Flags(u8, u8),
    /// A short name for a topic, which this client has not allowed.
    #[error("a message has a topic alias, which was not allowed")]
    TopicAlias,
    /// The contents of a packet.
    #[error("a packet of type {0} cannot be read: {1}")]
    Packet(u8, String),
    /// A packet that cannot be thrown away is larger than this client takes.
    #[error("a packet of {0} bytes is larger than asked for")]
    Large(usize),
}

/// The types of packets, as in the upper half of the first byte.
mod kind {
    pub(super) const CONNACK: u8 = 2;
    pub(super) const PUBLISH: u8 = 3;
    pub(super) const PUBACK: u8 = 4;
    pub(super) const SUBACK: u8 = 9;
    pub(super) const UNSUBACK: u8 = 11;
    pub(super) const PINGRESP: u8 = 13;
    pub(super) const DISCONNECT: u8 = 14;
}

#[cfg(test)]
mod tests;
