//! Packets as bytes. Each function appends one whole packet.

use super::{Protocol, kind, property};
use crate::fleet::link::message::Message;
use crate::fleet::link::reason::Reason;
use std::time::Duration;

/// More than this a packet cannot hold.
pub(in crate::fleet::link) const LARGEST: usize = 268_435_455;

/// What a connection begins with.
#[derive(Debug)]
pub(in crate::fleet::link) struct Connect<'a> {
    pub client_id: &'a str,
    pub clean_start: bool,
    pub keep_alive: u16,
    pub session_expiry: Duration,
    pub receive_maximum: u16,
    pub max_packet: usize,
    pub credentials: Option<(&'a str, &'a [u8])>,
    pub will: Option<&'a Message>,
}

pub(in crate::fleet::link) fn connect(
    out: &mut Vec<u8>,
    protocol: Protocol,
    connect: &Connect<'_>,
) {
    let mut body = Vec::with_capacity(128);
    text(&mut body, "MQTT");
    body.push(if protocol == Protocol::V5 { 5 } else { 4 });
    let mut flags = u8::from(connect.clean_start) << 1;
    if let Some(will) = connect.will {
        // A last will with QoS 1.
        flags |= 0b1100 | (u8::from(will.retain) << 5);
    }
    if connect.credentials.is_some() {
        flags |= 0b1100_0000;
    }
    body.push(flags);
    body.extend(connect.keep_alive.to_be_bytes());
    if protocol == Protocol::V5 {
        let mut properties = Vec::new();
        properties.push(property::SESSION_EXPIRY);
        properties.extend(seconds(connect.session_expiry).to_be_bytes());
        properties.push(property::RECEIVE_MAXIMUM);
        properties.extend(connect.receive_maximum.max(1).to_be_bytes());
        properties.push(property::MAXIMUM_PACKET);
        properties.extend(u32::try_from(connect.max_packet).unwrap_or(u32::MAX).to_be_bytes());
        prefixed(&mut body, &properties);
    }
    text(&mut body, connect.client_id);
    if let Some(will) = connect.will {
        if protocol == Protocol::V5 {
            prefixed(&mut body, &message_properties(will));
        }
        text(&mut body, &will.topic);
        binary(&mut body, &will.payload);
    }
    if let Some((user, password)) = connect.credentials {
        text(&mut body, user);
        binary(&mut body, password);
    }
    packet(out, kind::CONNECT << 4, &body, &[]);
}

/// With QoS 1.
pub(in crate::fleet::link) fn publish(
    out: &mut Vec<u8>,
    protocol: Protocol,
    id: u16,
    message: &Message,
) {
    let mut head = Vec::with_capacity(message.topic.len() + 32);
    text(&mut head, &message.topic);
    head.extend(id.to_be_bytes());
    if protocol == Protocol::V5 {
        prefixed(&mut head, &message_properties(message));
    }
    let first = kind::PUBLISH << 4 | 0b0010 | u8::from(message.retain);
    packet(out, first, &head, &message.payload);
}

/// More than [`publish`] makes of a message.
pub(in crate::fleet::link) fn size_at_most(message: &Message) -> usize {
    let answer = message.response_topic.as_ref().map_or(0, String::len)
        + message.correlation.as_ref().map_or(0, Vec::len);
    message.topic.len() + message.payload.len() + answer + 32
}

pub(in crate::fleet::link) fn puback(out: &mut Vec<u8>, id: u16) {
    packet(out, kind::PUBACK << 4, &id.to_be_bytes(), &[]);
}

/// With at most QoS 1, and in MQTT 5 without what this client publishes itself.
pub(in crate::fleet::link) fn subscribe(
    out: &mut Vec<u8>,
    protocol: Protocol,
    id: u16,
    filters: &[String],
) {
    let mut body = Vec::with_capacity(64 * filters.len());
    body.extend(id.to_be_bytes());
    if protocol == Protocol::V5 {
        body.push(0);
    }
    for filter in filters {
        text(&mut body, filter);
        // A shared subscription must not leave out anybody's messages.
        let no_local = protocol == Protocol::V5 && !filter.starts_with("$share/");
        body.push(1 | u8::from(no_local) << 2);
    }
    packet(out, kind::SUBSCRIBE << 4 | 0b0010, &body, &[]);
}

pub(in crate::fleet::link) fn unsubscribe(
    out: &mut Vec<u8>,
    protocol: Protocol,
    id: u16,
    filters: &[String],
) {
    let mut body = Vec::with_capacity(64 * filters.len());
    body.extend(id.to_be_bytes());
    if protocol == Protocol::V5 {
        body.push(0);
    }
    for filter in filters {
        text(&mut body, filter);
    }
    packet(out, kind::UNSUBSCRIBE << 4 | 0b0010, &body, &[]);
}

pub(in crate::fleet::link) fn ping(out: &mut Vec<u8>) {
    out.extend([kind::PINGREQ << 4, 0]);
}

/// Success ends the session's connection without its last will; 3.1.1 knows nothing else.
pub(in crate::fleet::link) fn disconnect(out: &mut Vec<u8>, protocol: Protocol, reason: Reason) {
    if protocol == Protocol::V5 && reason != Reason::SUCCESS {
        out.extend([kind::DISCONNECT << 4, 1, reason.0]);
    } else {
        out.extend([kind::DISCONNECT << 4, 0]);
    }
}

fn message_properties(message: &Message) -> Vec<u8> {
    let mut properties = Vec::new();
    if let Some(expiry) = message.expiry {
        properties.push(property::MESSAGE_EXPIRY);
        properties.extend(seconds(expiry).max(1).to_be_bytes());
    }
    if let Some(topic) = &message.response_topic {
        properties.push(property::RESPONSE_TOPIC);
        text(&mut properties, topic);
    }
    if let Some(correlation) = &message.correlation {
        properties.push(property::CORRELATION);
        binary(&mut properties, correlation);
    }
    properties
}

fn packet(out: &mut Vec<u8>, first: u8, head: &[u8], tail: &[u8]) {
    out.reserve(head.len() + tail.len() + 5);
    out.push(first);
    number(out, head.len() + tail.len());
    out.extend_from_slice(head);
    out.extend_from_slice(tail);
}

/// Seven bits per byte, the lowest first.
fn number(out: &mut Vec<u8>, mut value: usize) {
    loop {
        #[expect(clippy::cast_possible_truncation, reason = "seven bits")]
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn prefixed(out: &mut Vec<u8>, properties: &[u8]) {
    number(out, properties.len());
    out.extend_from_slice(properties);
}

fn text(out: &mut Vec<u8>, text: &str) {
    binary(out, text.as_bytes());
}

/// Whoever calls has checked the length; what is longer would be cut, not corrupt the packet.
fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend(length.to_be_bytes());
    out.extend_from_slice(&bytes[..usize::from(length)]);
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
