//! Bytes as packets. What comes is not trusted: every length is checked against what is there.

use super::{Protocol, WireError, kind, property};
use crate::fleet::link::reason::Reason;

/// A packet of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::fleet::link) enum Packet {
    ConnAck(ConnAck),
    Publish(Publish),
    PubAck { id: u16, reason: Reason },
    SubAck { id: u16, reasons: Vec<Reason> },
    UnsubAck { id: u16 },
    PingResp,
    Disconnect { reason: Reason, text: Option<String>, server: Option<String> },
}

/// The broker's answer to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::fleet::link) struct ConnAck {
    pub session_present: bool,
    pub reason: Reason,
    pub text: Option<String>,
    pub server: Option<String>,
    pub keep_alive: Option<u16>,
    pub receive_maximum: Option<u16>,
    pub max_packet: Option<u32>,
    /// False when it takes QoS 0 alone.
    pub qos1: bool,
    pub retains: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::fleet::link) struct Publish {
    pub topic: String,
    /// `None` with QoS 0.
    pub id: Option<u16>,
    pub payload: Vec<u8>,
    pub retain: bool,
    pub duplicate: bool,
    pub response_topic: Option<String>,
    pub correlation: Option<Vec<u8>>,
}

/// Reads one whole packet: its first byte, and what follows the length.
pub(in crate::fleet::link) fn packet(
    protocol: Protocol,
    first: u8,
    body: &[u8],
) -> Result<Packet, WireError> {
    let (kind, flags) = (first >> 4, first & 0x0f);
    if kind != kind::PUBLISH && flags != 0 {
        return Err(WireError::Flags(kind, flags));
    }
    let mut rest = Cursor(body);
    let v5 = protocol == Protocol::V5;
    let packet = match kind {
        kind::CONNACK => Packet::ConnAck(connack(v5, &mut rest)?),
        kind::PUBLISH => return publish(v5, flags, rest).map(Packet::Publish),
        kind::PUBACK => {
            let id = rest.u16()?;
            let mut reason = Reason::SUCCESS;
            if v5 && !rest.0.is_empty() {
                reason = Reason(rest.u8()?);
                if !rest.0.is_empty() {
                    rest.properties()?;
                }
            }
            Packet::PubAck { id, reason }
        }
        kind::SUBACK => {
            let id = rest.u16()?;
            if v5 {
                rest.properties()?;
            }
            let reasons = rest.rest().iter().copied().map(Reason).collect();
            Packet::SubAck { id, reasons }
        }
        kind::UNSUBACK => {
            let id = rest.u16()?;
            // Whatever the reasons are: nothing is subscribed to any more.
            rest.rest();
            Packet::UnsubAck { id }
        }
        kind::PINGRESP => Packet::PingResp,
        kind::DISCONNECT if v5 => {
            let reason = if rest.0.is_empty() { Reason::SUCCESS } else { Reason(rest.u8()?) };
            let properties =
                if rest.0.is_empty() { Properties::default() } else { rest.properties()? };
            Packet::Disconnect { reason, text: properties.text, server: properties.server }
        }
        other => return Err(WireError::Type(other)),
    };
    if rest.0.is_empty() { Ok(packet) } else { Err(WireError::Spare) }
}

fn connack(v5: bool, rest: &mut Cursor<'_>) -> Result<ConnAck, WireError> {
    let flags = rest.u8()?;
    if flags > 1 {
        return Err(WireError::Flags(kind::CONNACK, flags));
    }
    let code = rest.u8()?;
    // A broker that knows 3.1.1 alone answers in its own words.
    let old = !v5 || (rest.0.is_empty() && (1..0x80).contains(&code));
    let reason = if old { Reason::of_return_code(code) } else { Reason(code) };
    let properties =
        if old || rest.0.is_empty() { Properties::default() } else { rest.properties()? };
    Ok(ConnAck {
        session_present: flags == 1,
        reason,
        text: properties.text,
        server: properties.server,
        keep_alive: properties.keep_alive,
        receive_maximum: properties.receive_maximum,
        max_packet: properties.max_packet,
        qos1: properties.maximum_qos != Some(0),
        retains: properties.retains != Some(0),
    })
}

fn publish(v5: bool, flags: u8, mut rest: Cursor<'_>) -> Result<Publish, WireError> {
    let head = publish_head(flags, &mut rest)?;
    let properties = if v5 { rest.properties()? } else { Properties::default() };
    if properties.topic_alias {
        return Err(WireError::Property(property::TOPIC_ALIAS));
    }
    Ok(Publish {
        topic: head.topic,
        id: head.id,
        payload: rest.0.to_vec(),
        retain: flags & 1 == 1,
        duplicate: flags & 8 == 8,
        response_topic: properties.response_topic,
        correlation: properties.correlation,
    })
}

/// What a message begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PublishHead {
    pub topic: String,
    pub id: Option<u16>,
}

/// Reads the topic and the identifier; `Err(Short)` when they are not all there yet.
pub(super) fn publish_head(flags: u8, rest: &mut Cursor<'_>) -> Result<PublishHead, WireError> {
    let topic = rest.text()?;
    let id = match (flags >> 1) & 3 {
        0 => None,
        1 => match rest.u16()? {
            0 => return Err(WireError::Length),
            id => Some(id),
        },
        // QoS 2 was not asked for, and 3 does not exist.
        _ => return Err(WireError::Flags(kind::PUBLISH, flags)),
    };
    Ok(PublishHead { topic, id })
}

/// Of all properties those that mean something here.
#[derive(Debug, Default)]
struct Properties {
    text: Option<String>,
    server: Option<String>,
    keep_alive: Option<u16>,
    receive_maximum: Option<u16>,
    max_packet: Option<u32>,
    maximum_qos: Option<u8>,
    retains: Option<u8>,
    response_topic: Option<String>,
    correlation: Option<Vec<u8>>,
    topic_alias: bool,
}

/// What is left to read.
#[derive(Debug)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, WireError> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn number(&mut self) -> Result<usize, WireError> {
        let (value, used) = length(self.0)?.ok_or(WireError::Short)?;
        self.take(used)?;
        Ok(value)
    }

    fn binary(&mut self) -> Result<&'a [u8], WireError> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    fn text(&mut self) -> Result<String, WireError> {
        let text = std::str::from_utf8(self.binary()?).map_err(|_| WireError::Text)?;
        Ok(text.to_owned())
    }

    fn properties(&mut self) -> Result<Properties, WireError> {
        let length = self.number()?;
        let mut rest = Cursor(self.take(length)?);
        let mut found = Properties::default();
        while !rest.0.is_empty() {
            match rest.u8()? {
                property::RESPONSE_TOPIC => found.response_topic = Some(rest.text()?),
                property::CORRELATION => found.correlation = Some(rest.binary()?.to_vec()),
                property::SERVER_KEEP_ALIVE => found.keep_alive = Some(rest.u16()?),
                property::SERVER_REFERENCE => found.server = Some(rest.text()?),
                property::REASON_STRING => found.text = Some(rest.text()?),
                property::RECEIVE_MAXIMUM => found.receive_maximum = Some(rest.u16()?),
                property::MAXIMUM_QOS => found.maximum_qos = Some(rest.u8()?),
                property::RETAIN_AVAILABLE => found.retains = Some(rest.u8()?),
                property::MAXIMUM_PACKET => found.max_packet = Some(rest.u32()?),
                property::TOPIC_ALIAS => {
                    rest.u16()?;
                    found.topic_alias = true;
                }
                // A byte: payload format, and what else the broker can do.
                0x01 | 0x28 | 0x29 | 0x2a => drop(rest.u8()?),
                // Topic alias maximum.
                0x22 => drop(rest.u16()?),
                property::MESSAGE_EXPIRY | property::SESSION_EXPIRY => drop(rest.u32()?),
                // Content type, assigned client id, authentication method, response information.
                0x03 | 0x12 | 0x15 | 0x1a => drop(rest.text()?),
                // Authentication data.
                0x16 => drop(rest.binary()?),
                // A user's property: a pair.
                0x26 => {
                    rest.text()?;
                    rest.text()?;
                }
                other => return Err(WireError::Property(other)),
            }
        }
        Ok(found)
    }
}

/// Reads a number of one to four bytes: it, and how many they are. `None` when they are not all there yet.
pub(super) fn length(bytes: &[u8]) -> Result<Option<(usize, usize)>, WireError> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(WireError::Length) }
}
