//! Packets as bytes, by rumqttc. Each function appends one whole packet.

use super::{Protocol, kind};
use crate::fleet::link::message::Message;
use crate::fleet::link::reason::Reason;
use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::{Protocol as Level, QoS, v4};
use rumqttc::v5::mqttbytes::v5;
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
    pub credentials: Option<(&'a str, &'a str)>,
    pub will: Option<&'a Message>,
}

pub(in crate::fleet::link) fn connect(
    out: &mut Vec<u8>,
    protocol: Protocol,
    connect: &Connect<'_>,
) {
    let client_id = connect.client_id.to_owned();
    match protocol {
        Protocol::V311 => {
            let will = connect.will.map(|will| {
                v4::LastWill::new(
                    will.topic.clone(),
                    will.payload.clone(),
                    QoS::AtLeastOnce,
                    will.retain,
                )
            });
            let packet = v4::Connect {
                protocol: Level::V4,
                keep_alive: connect.keep_alive,
                client_id,
                clean_session: connect.clean_start,
                last_will: will,
                login: connect.credentials.map(|(user, password)| v4::Login::new(user, password)),
            };
            write_v4(out, &v4::Packet::Connect(packet));
        }
        Protocol::V5 => {
            let will = connect.will.map(|will| v5::LastWill {
                topic: bytes(will.topic.as_bytes()),
                message: bytes(&will.payload),
                qos: rumqttc::v5::mqttbytes::QoS::AtLeastOnce,
                retain: will.retain,
                properties: will_properties(will),
            });
            let login = connect.credentials.map(|(user, password)| v5::Login {
                username: user.to_owned(),
                password: password.to_owned(),
            });
            let properties = v5::ConnectProperties {
                session_expiry_interval: Some(seconds(connect.session_expiry)),
                receive_maximum: Some(connect.receive_maximum.max(1)),
                max_packet_size: Some(u32::try_from(connect.max_packet).unwrap_or(u32::MAX)),
                ..v5::ConnectProperties::new()
            };
            let packet = v5::Connect {
                keep_alive: connect.keep_alive,
                client_id,
                clean_start: connect.clean_start,
                properties: Some(properties),
            };
            write_v5(out, &v5::Packet::Connect(packet, will, login));
        }
    }
}

/// With QoS 1.
pub(in crate::fleet::link) fn publish(
    out: &mut Vec<u8>,
    protocol: Protocol,
    id: u16,
    message: &Message,
) {
    let payload = bytes(&message.payload);
    match protocol {
        Protocol::V311 => {
            let packet = v4::Publish {
                dup: false,
                qos: QoS::AtLeastOnce,
                retain: message.retain,
                topic: message.topic.clone(),
                pkid: id,
                payload,
            };
            write_v4(out, &v4::Packet::Publish(packet));
        }
        Protocol::V5 => {
            let packet = v5::Publish {
                dup: false,
                qos: rumqttc::v5::mqttbytes::QoS::AtLeastOnce,
                retain: message.retain,
                topic: bytes(message.topic.as_bytes()),
                pkid: id,
                payload,
                properties: publish_properties(message),
            };
            write_v5(out, &v5::Packet::Publish(packet));
        }
    }
}

/// More than [`publish`] makes of a message.
pub(in crate::fleet::link) fn size_at_most(message: &Message) -> usize {
    let answer = message.response_topic.as_ref().map_or(0, String::len)
        + message.correlation.as_ref().map_or(0, Vec::len);
    message.topic.len() + message.payload.len() + answer + 32
}

/// The same in both versions.
pub(in crate::fleet::link) fn puback(out: &mut Vec<u8>, id: u16) {
    write_v4(out, &v4::Packet::PubAck(v4::PubAck::new(id)));
}

/// With at most QoS 1, and in MQTT 5 without what this client publishes itself.
pub(in crate::fleet::link) fn subscribe(
    out: &mut Vec<u8>,
    protocol: Protocol,
    id: u16,
    filters: &[String],
) {
    match protocol {
        Protocol::V311 => {
            let filter = |path: &String| v4::SubscribeFilter::new(path.clone(), QoS::AtLeastOnce);
            let filters = filters.iter().map(filter).collect();
            write_v4(out, &v4::Packet::Subscribe(v4::Subscribe { pkid: id, filters }));
        }
        Protocol::V5 => {
            let filter = |path: &String| v5::Filter {
                // A shared subscription must not leave out anybody's messages.
                nolocal: !path.starts_with("$share/"),
                ..v5::Filter::new(path.clone(), rumqttc::v5::mqttbytes::QoS::AtLeastOnce)
            };
            let filters = filters.iter().map(filter).collect();
            let packet = v5::Subscribe { pkid: id, filters, properties: None };
            write_v5(out, &v5::Packet::Subscribe(packet));
        }
    }
}

pub(in crate::fleet::link) fn unsubscribe(
    out: &mut Vec<u8>,
    protocol: Protocol,
    id: u16,
    filters: &[String],
) {
    let filters = filters.to_vec();
    match protocol {
        Protocol::V311 => {
            let packet = v4::Unsubscribe { pkid: id, topics: filters };
            write_v4(out, &v4::Packet::Unsubscribe(packet));
        }
        Protocol::V5 => {
            let packet = v5::Unsubscribe { pkid: id, filters, properties: None };
            write_v5(out, &v5::Packet::Unsubscribe(packet));
        }
    }
}

pub(in crate::fleet::link) fn ping(out: &mut Vec<u8>) {
    write_v4(out, &v4::Packet::PingReq);
}

/// Success ends the session's connection without its last will; 3.1.1 knows nothing else.
pub(in crate::fleet::link) fn disconnect(out: &mut Vec<u8>, protocol: Protocol, reason: Reason) {
    if protocol == Protocol::V5 && reason != Reason::SUCCESS {
        // rumqttc 0.25 writes one byte more than the length it gives.
        out.extend([kind::DISCONNECT << 4, 1, reason.0]);
    } else {
        write_v4(out, &v4::Packet::Disconnect);
    }
}

fn publish_properties(message: &Message) -> Option<v5::PublishProperties> {
    has_properties(message).then(|| v5::PublishProperties {
        message_expiry_interval: message.expiry.map(at_least_a_second),
        response_topic: message.response_topic.clone(),
        correlation_data: message.correlation.as_deref().map(bytes),
        ..v5::PublishProperties::default()
    })
}

fn will_properties(message: &Message) -> Option<v5::LastWillProperties> {
    has_properties(message).then(|| v5::LastWillProperties {
        delay_interval: None,
        payload_format_indicator: None,
        message_expiry_interval: message.expiry.map(at_least_a_second),
        content_type: None,
        response_topic: message.response_topic.clone(),
        correlation_data: message.correlation.as_deref().map(bytes),
        user_properties: Vec::new(),
    })
}

fn has_properties(message: &Message) -> bool {
    message.expiry.is_some() || message.response_topic.is_some() || message.correlation.is_some()
}

fn bytes(slice: &[u8]) -> Bytes {
    Bytes::copy_from_slice(slice)
}

/// What is too large for a packet was turned away before it came here, so nothing is left out in silence.
fn write_v4(out: &mut Vec<u8>, packet: &v4::Packet) {
    let mut written = BytesMut::with_capacity(packet.size());
    if let Err(error) = packet.write(&mut written, LARGEST) {
        tracing::error!(%error, "a packet that cannot be written");
        return;
    }
    out.extend_from_slice(&written);
}

fn write_v5(out: &mut Vec<u8>, packet: &v5::Packet) {
    let mut written = BytesMut::with_capacity(packet.size());
    if let Err(error) = packet.write(&mut written, None) {
        tracing::error!(%error, "a packet that cannot be written");
        return;
    }
    out.extend_from_slice(&written);
}

fn at_least_a_second(duration: Duration) -> u32 {
    seconds(duration).max(1)
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
