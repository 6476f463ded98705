//! Bytes as packets, read by rumqttc. What comes is not trusted: a packet is handed over whole, and the beginning of one that
//! is too large is read here, with every length checked against what is there.

use super::{Protocol, WireError, kind};
use crate::fleet::link::reason::Reason;
use bytes::BytesMut;
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

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

/// Reads one whole packet: all its bytes, of which `head` are the first byte and the length.
///
/// rumqttc reads it; the reasons are taken as they came, since it knows them by name only, and what it does not expect
/// from a broker, or refuses though the standard has it, is looked at here.
pub(in crate::fleet::link) fn packet(
    protocol: Protocol,
    whole: &[u8],
    head: usize,
) -> Result<Packet, WireError> {
    let (first, body) = (whole[0], &whole[head..]);
    let (kind, flags) = (first >> 4, first & 0x0f);
    if kind != kind::PUBLISH && flags != 0 {
        return Err(WireError::Flags(kind, flags));
    }
    match (protocol, kind, body) {
        (_, kind::CONNACK, [2..=u8::MAX, ..]) => Err(WireError::Flags(kind, body[0])),
        // A broker that knows 3.1.1 alone answers in its own words; and rumqttc knows five of them.
        (Protocol::V5, kind::CONNACK, [0, code @ 1..0x80])
        | (Protocol::V311, kind::CONNACK, [0, code @ 6..=u8::MAX]) => {
            Ok(Packet::ConnAck(ConnAck::old(false, Reason::of_return_code(*code))))
        }
        // A reason, if any, and no properties: rumqttc wants some.
        (Protocol::V5, kind::DISCONNECT, [] | [_]) => {
            let reason = body.first().map_or(Reason::SUCCESS, |code| Reason(*code));
            Ok(Packet::Disconnect { reason, text: None, server: None })
        }
        (
            _,
            kind::CONNACK
            | kind::PUBLISH
            | kind::PUBACK
            | kind::SUBACK
            | kind::UNSUBACK
            | kind::PINGRESP,
            _,
        )
        | (Protocol::V5, kind::DISCONNECT, _) => {
            let mut stream = BytesMut::from(whole);
            match protocol {
                Protocol::V311 => v4::Packet::read(&mut stream, whole.len())
                    .map_err(|error| WireError::Packet(kind, error.to_string()))
                    .and_then(|packet| of_v4(packet, body)),
                Protocol::V5 => v5::Packet::read(&mut stream, None)
                    .map_err(|error| WireError::Packet(kind, error.to_string()))
                    .and_then(|packet| of_v5(packet, body)),
            }
        }
        _ => Err(WireError::Type(kind)),
    }
}

impl ConnAck {
    /// In the words of 3.1.1.
    fn old(session_present: bool, reason: Reason) -> Self {
        Self {
            session_present,
            reason,
            text: None,
            server: None,
            keep_alive: None,
            receive_maximum: None,
            max_packet: None,
            qos1: true,
            retains: true,
        }
    }
}

/// The reason that stands at a place of a packet's body; without one all is well.
fn reason_at(body: &[u8], at: usize) -> Reason {
    body.get(at).map_or(Reason::SUCCESS, |code| Reason(*code))
}

/// The reasons at the end of a packet's body.
fn last_reasons(body: &[u8], count: usize) -> Vec<Reason> {
    body[body.len().saturating_sub(count)..].iter().copied().map(Reason).collect()
}

fn of_v4(packet: v4::Packet, body: &[u8]) -> Result<Packet, WireError> {
    Ok(match packet {
        v4::Packet::ConnAck(ack) => {
            let reason = Reason::of_return_code(reason_at(body, 1).0);
            Packet::ConnAck(ConnAck::old(ack.session_present, reason))
        }
        v4::Packet::Publish(publish) => Packet::Publish(Publish {
            id: identifier(publish.qos as u8, publish.pkid)?,
            topic: publish.topic,
            payload: publish.payload.to_vec(),
            retain: publish.retain,
            duplicate: publish.dup,
            response_topic: None,
            correlation: None,
        }),
        v4::Packet::PubAck(ack) => Packet::PubAck { id: ack.pkid, reason: Reason::SUCCESS },
        v4::Packet::SubAck(ack) => {
            Packet::SubAck { id: ack.pkid, reasons: last_reasons(body, ack.return_codes.len()) }
        }
        v4::Packet::UnsubAck(ack) => Packet::UnsubAck { id: ack.pkid },
        v4::Packet::PingResp => Packet::PingResp,
        _ => return Err(WireError::Spare),
    })
}

fn of_v5(packet: v5::Packet, body: &[u8]) -> Result<Packet, WireError> {
    Ok(match packet {
        v5::Packet::ConnAck(ack) => {
            let plain = ConnAck::old(ack.session_present, reason_at(body, 1));
            Packet::ConnAck(match ack.properties {
                None => plain,
                Some(properties) => ConnAck {
                    text: properties.reason_string,
                    server: properties.server_reference,
                    keep_alive: properties.server_keep_alive,
                    receive_maximum: properties.receive_max,
                    max_packet: properties.max_packet_size,
                    qos1: properties.max_qos != Some(0),
                    retains: properties.retain_available != Some(0),
                    ..plain
                },
            })
        }
        v5::Packet::Publish(publish) => {
            let properties = publish.properties.unwrap_or_default();
            if properties.topic_alias.is_some() {
                return Err(WireError::TopicAlias);
            }
            Packet::Publish(Publish {
                id: identifier(publish.qos as u8, publish.pkid)?,
                topic: String::from_utf8(publish.topic.to_vec()).map_err(|_| WireError::Text)?,
                payload: publish.payload.to_vec(),
                retain: publish.retain,
                duplicate: publish.dup,
                response_topic: properties.response_topic,
                correlation: properties.correlation_data.map(|bytes| bytes.to_vec()),
            })
        }
        v5::Packet::PubAck(ack) => Packet::PubAck { id: ack.pkid, reason: reason_at(body, 2) },
        v5::Packet::SubAck(ack) => {
            Packet::SubAck { id: ack.pkid, reasons: last_reasons(body, ack.return_codes.len()) }
        }
        v5::Packet::UnsubAck(ack) => Packet::UnsubAck { id: ack.pkid },
        v5::Packet::PingResp(_) => Packet::PingResp,
        v5::Packet::Disconnect(ended) => {
            let properties = ended.properties;
            let (text, server) =
                properties.map_or((None, None), |p| (p.reason_string, p.server_reference));
            Packet::Disconnect { reason: reason_at(body, 0), text, server }
        }
        _ => return Err(WireError::Spare),
    })
}

/// The identifier of a message; none with QoS 0. QoS 2 was not asked for.
fn identifier(qos: u8, id: u16) -> Result<Option<u16>, WireError> {
    match qos {
        0 => Ok(None),
        1 => Ok(Some(id)),
        _ => Err(WireError::Flags(kind::PUBLISH, qos << 1)),
    }
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

/// What is left to read.
#[derive(Debug)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, WireError> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn binary(&mut self) -> Result<&'a [u8], WireError> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    fn text(&mut self) -> Result<String, WireError> {
        let text = std::str::from_utf8(self.binary()?).map_err(|_| WireError::Text)?;
        Ok(text.to_owned())
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
