//! The packets of MQTT 5 and 3.1.1 that a client with QoS 1 needs: bytes out ([`encode`]), bytes in ([`decode`]), and the
//! borders between packets ([`frames`]). Pure: no socket, no state of a session.
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
    /// A property that nobody knows, or that this client has not allowed.
    #[error("the property {0:#04x} is not expected")]
    Property(u8),
    /// A packet that cannot be thrown away is larger than this client takes.
    #[error("a packet of {0} bytes is larger than asked for")]
    Large(usize),
}

/// The types of packets, as in the upper half of the first byte.
mod kind {
    pub(super) const CONNECT: u8 = 1;
    pub(super) const CONNACK: u8 = 2;
    pub(super) const PUBLISH: u8 = 3;
    pub(super) const PUBACK: u8 = 4;
    pub(super) const SUBSCRIBE: u8 = 8;
    pub(super) const SUBACK: u8 = 9;
    pub(super) const UNSUBSCRIBE: u8 = 10;
    pub(super) const UNSUBACK: u8 = 11;
    pub(super) const PINGREQ: u8 = 12;
    pub(super) const PINGRESP: u8 = 13;
    pub(super) const DISCONNECT: u8 = 14;
}

/// The identifiers of properties.
mod property {
    pub(super) const MESSAGE_EXPIRY: u8 = 0x02;
    pub(super) const RESPONSE_TOPIC: u8 = 0x08;
    pub(super) const CORRELATION: u8 = 0x09;
    pub(super) const SESSION_EXPIRY: u8 = 0x11;
    pub(super) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(super) const SERVER_REFERENCE: u8 = 0x1c;
    pub(super) const REASON_STRING: u8 = 0x1f;
    pub(super) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(super) const TOPIC_ALIAS: u8 = 0x23;
    pub(super) const MAXIMUM_QOS: u8 = 0x24;
    pub(super) const RETAIN_AVAILABLE: u8 = 0x25;
    pub(super) const MAXIMUM_PACKET: u8 = 0x27;
}

#[cfg(test)]
mod tests;
