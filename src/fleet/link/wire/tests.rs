use super::decode::{ConnAck, Packet, Publish};
use super::encode::{self, Connect};
use super::frames::{Frame, Frames};
use super::{Protocol, WireError, kind};
use crate::fleet::link::message::Message;
use crate::fleet::link::reason::Reason;
use proptest::prelude::*;
use std::time::Duration;

/// All frames of bytes that come in pieces of a size.
fn frames(
    protocol: Protocol,
    max_packet: usize,
    bytes: &[u8],
    piece: usize,
) -> Result<Vec<Frame>, WireError> {
    let mut frames = Frames::new(protocol, max_packet);
    let mut found = Vec::new();
    for piece in bytes.chunks(piece) {
        frames.buffer().extend_from_slice(piece);
        while let Some(frame) = frames.next()? {
            found.push(frame);
        }
    }
    Ok(found)
}

fn one(protocol: Protocol, bytes: &[u8]) -> Packet {
    match frames(protocol, 1 << 20, bytes, bytes.len()).unwrap().pop() {
        Some(Frame::Packet(packet)) => packet,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_packet_is_as_the_standards_say() {
    let will = Message::retained("w", "gone");
    let connect = Connect {
        client_id: "box",
        clean_start: false,
        keep_alive: 60,
        session_expiry: Duration::from_hours(1),
        receive_maximum: 16,
        max_packet: 0x4_0000,
        credentials: Some(("u", "p")),
        will: Some(&will),
    };
    let mut old = Vec::new();
    encode::connect(&mut old, Protocol::V311, &connect);
    let expected = b"\x10\x1e\0\x04MQTT\x04\xec\0\x3c\0\x03box\0\x01w\0\x04gone\0\x01u\0\x01p";
    assert_eq!(old, expected);
    let mut new = Vec::new();
    encode::connect(&mut new, Protocol::V5, &connect);
    let expected = b"\x10\x2d\0\x04MQTT\x05\xec\0\x3c\x0d\x11\0\0\x0e\x10\x21\0\x10\x27\0\x04\0\0\
                     \0\x03box\0\0\x01w\0\x04gone\0\x01u\0\x01p";
    assert_eq!(new, expected);
}

#[test]
fn the_other_packets_are_as_the_standards_say() {
    let written = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        out
    };
    let filters = ["a/+".to_owned(), "$share/g/b".to_owned()];
    let (old, new) = (Protocol::V311, Protocol::V5);
    let cases: [(Vec<u8>, &[u8]); 10] = [
        (written(&|out| encode::puback(out, 258)), b"\x40\x02\x01\x02"),
        (written(&encode::ping), b"\xc0\0"),
        (written(&|out| encode::disconnect(out, old, Reason::PROTOCOL_ERROR)), b"\xe0\0"),
        (written(&|out| encode::disconnect(out, new, Reason::SUCCESS)), b"\xe0\0"),
        (written(&|out| encode::disconnect(out, new, Reason::PROTOCOL_ERROR)), b"\xe0\x01\x82"),
        (
            written(&|out| encode::subscribe(out, old, 7, &filters)),
            b"\x82\x15\0\x07\0\x03a/+\x01\0\x0a$share/g/b\x01",
        ),
        (
            written(&|out| encode::subscribe(out, new, 7, &filters)),
            b"\x82\x16\0\x07\0\0\x03a/+\x05\0\x0a$share/g/b\x01",
        ),
        (
            written(&|out| encode::unsubscribe(out, new, 7, &filters[..1])),
            b"\xa2\x08\0\x07\0\0\x03a/+",
        ),
        (
            written(&|out| encode::publish(out, old, 9, &Message::retained("t", "p"))),
            b"\x33\x06\0\x01t\0\x09p",
        ),
        (
            written(&|out| {
                let message = Message::new("t", "p").expires_in(Duration::from_secs(2));
                encode::publish(out, new, 9, &message);
            }),
            b"\x32\x0c\0\x01t\0\x09\x05\x02\0\0\0\x02p",
        ),
    ];
    for (written, expected) in cases {
        assert_eq!(written, expected);
    }
}

#[test]
fn answers_of_both_versions_are_read() {
    let welcome = ConnAck {
        session_present: true,
        reason: Reason::SUCCESS,
        text: None,
        server: None,
        keep_alive: None,
        receive_maximum: None,
        max_packet: None,
        qos1: true,
        retains: true,
    };
    assert_eq!(one(Protocol::V311, b"\x20\x02\x01\0"), Packet::ConnAck(welcome.clone()));
    assert_eq!(one(Protocol::V5, b"\x20\x03\x01\0\0"), Packet::ConnAck(welcome.clone()));
    let full = ConnAck {
        text: Some("hi".to_owned()),
        server: Some("b:1".to_owned()),
        keep_alive: Some(30),
        receive_maximum: Some(10),
        max_packet: Some(65_536),
        qos1: true,
        retains: false,
        ..welcome
    };
    let bytes = b"\x20\x24\x01\0\x21\x13\0\x1e\x21\0\x0a\x27\0\x01\0\0\x25\0\x24\x01\x1f\0\x02hi\
                  \x1c\0\x03b:1\x22\0\x05\x2a\x01\x28\x01";
    assert_eq!(one(Protocol::V5, bytes), Packet::ConnAck(full));
    let answer = |protocol, bytes: &[u8]| match one(protocol, bytes) {
        Packet::ConnAck(answer) => answer.reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(answer(Protocol::V311, b"\x20\x02\0\x05"), Reason::NOT_AUTHORISED);
    assert_eq!(answer(Protocol::V5, b"\x20\x03\0\x87\0"), Reason::NOT_AUTHORISED);
    // A broker that knows 3.1.1 alone, to a client that speaks 5.
    assert_eq!(answer(Protocol::V5, b"\x20\x02\0\x01"), Reason::UNSUPPORTED_VERSION);

    let done = Packet::PubAck { id: 258, reason: Reason::SUCCESS };
    assert_eq!(one(Protocol::V311, b"\x40\x02\x01\x02"), done);
    assert_eq!(one(Protocol::V5, b"\x40\x02\x01\x02"), done);
    let refused = Packet::PubAck { id: 258, reason: Reason::NOT_AUTHORISED };
    assert_eq!(one(Protocol::V5, b"\x40\x03\x01\x02\x87"), refused);
    assert_eq!(one(Protocol::V5, b"\x40\x09\x01\x02\x87\x05\x1f\0\x02no"), refused);
    let granted = Packet::SubAck { id: 1, reasons: vec![Reason(1), Reason(0x80)] };
    assert_eq!(one(Protocol::V311, b"\x90\x04\0\x01\x01\x80"), granted);
    assert_eq!(one(Protocol::V5, b"\x90\x05\0\x01\0\x01\x80"), granted);
    assert_eq!(one(Protocol::V311, b"\xb0\x02\0\x01"), Packet::UnsubAck { id: 1 });
    assert_eq!(one(Protocol::V5, b"\xb0\x04\0\x01\0\0"), Packet::UnsubAck { id: 1 });
    assert_eq!(one(Protocol::V5, b"\xd0\0"), Packet::PingResp);
    let moved =
        Packet::Disconnect { reason: Reason::MOVED, text: None, server: Some("b".to_owned()) };
    assert_eq!(one(Protocol::V5, b"\xe0\x06\x9d\x04\x1c\0\x01b"), moved);
    let mut old = Frames::new(Protocol::V311, 100);
    old.buffer().extend_from_slice(b"\xe0\0");
    assert_eq!(old.next(), Err(WireError::Type(kind::DISCONNECT)));
}

#[test]
fn a_large_message_is_skipped_in_whatever_pieces_it_comes() {
    let mut bytes = Vec::new();
    for (id, size) in [(1, 10), (2, 5000), (3, 10)] {
        encode::publish(&mut bytes, Protocol::V311, id, &Message::new("topic", vec![0; size]));
    }
    for piece in [1, 2, 3, 7, 100, bytes.len()] {
        let found = frames(Protocol::V311, 1000, &bytes, piece).unwrap();
        let large = Frame::Oversized { topic: "topic".to_owned(), id: Some(2), size: 5012 };
        assert_eq!(found.len(), 3);
        assert_eq!(found[1], large, "in pieces of {piece}");
        assert!(matches!(&found[2], Frame::Packet(Packet::Publish(Publish { id: Some(3), .. }))));
    }
    // Something else that is as large has no end that could be waited for.
    let refused = frames(Protocol::V311, 1000, b"\x90\xff\xff\x7f", 1);
    assert_eq!(refused, Err(WireError::Large(2_097_155)));
}

#[test]
fn no_more_memory_is_taken_than_a_packet_may_have() {
    let mut frames = Frames::new(Protocol::V5, 64 * 1024);
    // Says that it is as large as can be, and is skipped: only its beginning is ever held.
    frames.buffer().extend_from_slice(b"\x32\xff\xff\xff\x7f\0\x01t\0\x01\0");
    assert!(matches!(frames.next(), Ok(Some(Frame::Oversized { size: 268_435_460, .. }))));
    for _ in 0..1000 {
        frames.buffer().extend_from_slice(&[0; 4096]);
        assert_eq!(frames.next(), Ok(None));
    }
    assert!(frames.buffer().capacity() <= 16 * 1024);
    // One that is announced and does not come takes what it announced, and gives it back.
    let mut frames = Frames::new(Protocol::V5, 64 * 1024);
    frames.buffer().extend_from_slice(b"\x30\x80\xf0\x03");
    assert_eq!(frames.next(), Ok(None));
    let capacity = frames.buffer().capacity();
    assert!((62 * 1024..=64 * 1024).contains(&capacity), "{capacity}");
}

fn messages() -> impl Strategy<Value = Message> {
    let text = "[a-z0-9/]{1,20}";
    let bytes = || proptest::collection::vec(any::<u8>(), 0..200);
    (
        text,
        bytes(),
        any::<bool>(),
        proptest::option::of(text),
        proptest::option::of(bytes()),
        proptest::option::of(0..9u64),
    )
        .prop_map(|(topic, payload, retain, response_topic, correlation, expiry)| Message {
            topic,
            payload,
            retain,
            response_topic,
            correlation,
            expiry: expiry.map(Duration::from_secs),
            only_in: None,
        })
}

proptest! {
    #[test]
    fn what_is_written_is_read(messages in proptest::collection::vec(messages(), 1..5), v5: bool, piece in 1..300usize) {
        let protocol = if v5 { Protocol::V5 } else { Protocol::V311 };
        let mut bytes = Vec::new();
        for (id, message) in (1..).zip(&messages) {
            let before = bytes.len();
            encode::publish(&mut bytes, protocol, id, message);
            prop_assert!(bytes.len() - before <= encode::size_at_most(message));
        }
        let read = frames(protocol, 1 << 20, &bytes, piece).unwrap();
        let expected: Vec<Frame> = (1..).zip(messages).map(|(id, message)| {
            Frame::Packet(Packet::Publish(Publish {
                topic: message.topic,
                id: Some(id),
                payload: message.payload,
                retain: message.retain,
                duplicate: false,
                response_topic: message.response_topic.filter(|_| v5),
                correlation: message.correlation.filter(|_| v5),
            }))
        }).collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn whatever_comes_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), v5: bool, piece in 1..50usize, max in 0..200usize) {
        let protocol = if v5 { Protocol::V5 } else { Protocol::V311 };
        let _ = frames(protocol, max, &bytes, piece);
    }

    /// The same with packets that begin as they should.
    #[test]
    fn whatever_a_packet_holds_is_read_or_refused(first in 2..15u8, flags in 0..16u8, body in proptest::collection::vec(any::<u8>(), 0..120), v5: bool) {
        let protocol = if v5 { Protocol::V5 } else { Protocol::V311 };
        let flags = if first == kind::PUBLISH { flags } else { 0 };
        let mut bytes = vec![first << 4 | flags, u8::try_from(body.len()).unwrap()];
        bytes.extend(body);
        let whole = frames(protocol, 1 << 20, &bytes, bytes.len());
        let pieces = frames(protocol, 1 << 20, &bytes, 1);
        prop_assert_eq!(whole, pieces);
    }

    /// Whatever is cut short is waited for, and never taken for something else.
    #[test]
    fn a_part_of_a_packet_is_none(message in messages(), v5: bool, cut: prop::sample::Index) {
        let protocol = if v5 { Protocol::V5 } else { Protocol::V311 };
        let mut bytes = Vec::new();
        encode::publish(&mut bytes, protocol, 1, &message);
        let cut = cut.index(bytes.len());
        prop_assert_eq!(frames(protocol, 1 << 20, &bytes[..cut], 5), Ok(vec![]));
    }
}
