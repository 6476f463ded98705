//! Everything that reads bytes of a fleet from outside, given rubbish, what was true once and is changed a little, what is
//! huge and what is nested deeply: no panic, no more memory than a bound, an answer at once; and a signature or a seal is
//! believed for the bytes it was made for, and no others.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![allow(clippy::disallowed_methods, reason = "it takes the time")]
#![allow(
    clippy::needless_for_each,
    clippy::duration_suboptimal_units,
    reason = "as short as it can be said"
)]

use coracle::auth::fleet::{
    Certificate, CertifiedKey, HubKey, HubKeys, JoinToken, Kind, PrivateKey, SealingKey,
};
use coracle::fleet::command::{Acceptor, Address, Commander, Purpose, Refused};
use coracle::fleet::link::BrokerUrl;
use coracle::fleet::log_batch::{self, LogBatch};
use coracle::fleet::message::{self, EventBatch, EventsAck, HubWord, UP_LIMIT, WORD_LIMIT, Want};
use coracle::fleet::topic::{Part, Topic};
use coracle::model::fleet::{Content, ContentHash, Desired, Position, Presence, Report, VERSION};
use coracle::model::{ClusterName, ContainerInstanceId, TaskDefinition};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

fn device() -> ContainerInstanceId {
    ContainerInstanceId::new("0123456789abcdef0123456789abcdef").unwrap()
}

fn key() -> &'static HubKey {
    static KEY: OnceLock<HubKey> = OnceLock::new();
    KEY.get_or_init(HubKey::ephemeral)
}

fn sealing() -> &'static SealingKey {
    static KEY: OnceLock<SealingKey> = OnceLock::new();
    KEY.get_or_init(|| SealingKey::from_bytes(&[7; 32]).unwrap())
}

fn state() -> Topic {
    Topic::state(&ClusterName::default_cluster(), &device())
}

fn desired() -> Desired {
    let content: Content = serde_json::from_value(json!({
        "assignments": [{
            "id": "1-b", "cluster": "default", "containerInstance": device(),
            "taskDefinition": {"family": "web", "revision": 1}, "generation": 3,
            "service": "web", "deployment": "1", "count": 2, "createdAt": 1.5, "launchType": "EC2",
        }],
        "taskDefinitions": [{
            "taskDefinition": {"family": "web", "revision": 1}, "sha256": ContentHash::of(b"x"), "size": 9,
        }],
        "secrets": [{"name": "secret/a", "version": "1"}],
        "settings": {"draining": true},
    }))
    .unwrap_or_default();
    Desired {
        v: VERSION,
        cluster: ClusterName::default_cluster(),
        device: device(),
        position: Position { epoch: 1, generation: 7 },
        prev_hash: Some(ContentHash::of(b"before")),
        hash: coracle::plan::fleet::content::hash(&content),
        content,
        sealed: BTreeMap::from([("secret/a".to_owned(), "AAAA".to_owned())]),
        next_key: None,
    }
}

fn report() -> serde_json::Value {
    json!({
        "v": 1, "session": "s", "seq": 4, "epoch": 1, "generation": 7, "hash": ContentHash::of(b"x"),
        "phase": "FAILED", "reason": "it does", "applied": {"epoch": 1, "generation": 6, "hash": ContentHash::of(b"y")},
        "tasks": {"0123": 4}, "events": {"log": "l", "first": 3, "next": 9},
        "missing": [ContentHash::of(b"z")], "refused": {"unsigned": 3},
    })
}

fn presence() -> Presence {
    serde_json::from_value(json!({
        "v": 1, "session": "s", "up": true,
        "agent": {"version": "1", "capacity": {"cpu": 1, "memory": 2}, "attributes": []},
    }))
    .unwrap_or(Presence { v: VERSION, session: "s".to_owned(), up: true, agent: None })
}

fn batch() -> EventBatch {
    EventBatch { v: VERSION, log: "l".to_owned(), dropped: Some(2), events: Vec::new() }
}

fn log() -> Topic {
    let task = Part::new("0123456789abcdef").unwrap();
    Topic::log(&ClusterName::default_cluster(), &device(), task)
}

/// Lines of a container.
fn lines() -> LogBatch {
    let head = json!({
        "v": 1, "task": "0123456789abcdef", "container": "web", "from": 9, "hole": {"from": 3},
    });
    LogBatch { head: serde_json::from_value(head).unwrap(), lines: b"{\"log\":\"a\"}\n".to_vec() }
}

/// A request for a certificate; it takes a moment to make.
fn request() -> &'static [u8] {
    static REQUEST: OnceLock<Vec<u8>> = OnceLock::new();
    REQUEST.get_or_init(|| PrivateKey::generate().request())
}

/// Valid messages of every kind: what is changed a little below.
fn valid() -> Vec<Vec<u8>> {
    let document = message::write(&desired());
    let ack = EventsAck {
        v: VERSION,
        device: device(),
        session: "s".to_owned(),
        stream: "events".to_owned(),
        log: "l".to_owned(),
        up_to: 4,
        tell_again: true,
    };
    let word = HubWord {
        v: VERSION,
        cluster: ClusterName::default_cluster(),
        up: true,
        epoch: 1,
        spread_over: 9,
    };
    vec![
        key().sign(Kind::Document, &document),
        key().sign(Kind::Ack, &message::write(&ack)),
        key().sign(Kind::Command, b"{\"v\":1}\nbody"),
        document,
        message::write(&ack),
        message::write(&word),
        message::write(&presence()),
        report().to_string().into_bytes(),
        batch().seal_up(sealing(), &state()),
        lines().seal_up(sealing(), &log()),
        message::seal_up(sealing(), &state(), b"{\"v\":1}"),
        request().to_vec(),
        state().to_string().into_bytes(),
        b"coracle1.0123456789abcdef.AAAA.BBBB".to_vec(),
        b"mqtts://hub:8883".to_vec(),
    ]
}

/// Gives bytes to every reader.
fn read_all(bytes: &[u8]) {
    let verifying = key().verifying_key();
    for kind in [Kind::Document, Kind::Body, Kind::Command, Kind::Ack, Kind::Hub, Kind::Join] {
        let _ = verifying.verify(kind, bytes, 96 << 10);
    }
    let _ = Want::read(bytes);
    let _ = message::read::<Report>(bytes, UP_LIMIT);
    let _ = message::read::<Presence>(bytes, UP_LIMIT);
    let _ = message::read::<EventsAck>(bytes, WORD_LIMIT);
    let _ = message::read::<HubWord>(bytes, WORD_LIMIT);
    let _ = message::read::<EventBatch>(bytes, message::INFLATED_LIMIT);
    let _ = serde_json::from_slice::<TaskDefinition>(bytes);
    let _ = message::open_up(sealing(), &state(), bytes);
    let _ = EventBatch::open_up(sealing(), &state(), bytes);
    let _ = LogBatch::open_up(sealing(), &log(), bytes);
    let _ = message::open_document(sealing(), &device(), Position::default(), bytes);
    let _ = sealing().open(b"context", bytes);
    let _ = CertifiedKey::of_request(bytes);
    let _ = Certificate::read(bytes);
    let mut acceptor = Acceptor::new(verifying, device());
    acceptor.session_changed(Some("s"));
    assert!(acceptor.accept(bytes).is_err());
    let text = String::from_utf8_lossy(bytes);
    let _ = Topic::parse(&text);
    let _ = log_batch::of_stream(&text);
    let _ = text.parse::<JoinToken>();
    let _ = text.parse::<BrokerUrl>();
    let _ = message::open_secret(sealing(), &device(), "a", "1", &text);
}

fn runner(seed: u64, cases: u32) -> TestRunner {
    let config =
        ProptestConfig { cases, rng_seed: RngSeed::Fixed(seed), ..ProptestConfig::default() };
    TestRunner::new(config)
}

/// A change of valid bytes.
#[derive(Debug, Clone)]
enum Change {
    Flip(usize, u8),
    Cut(usize),
    Double(usize, usize),
    Insert(usize, Vec<u8>),
}

fn changed(bytes: &mut Vec<u8>, change: &Change) {
    let at = |n: usize| if bytes.is_empty() { 0 } else { n % bytes.len() };
    match change {
        Change::Flip(n, bits) if !bytes.is_empty() => {
            let at = at(*n);
            bytes[at] ^= bits;
        }
        Change::Flip(..) => {}
        Change::Cut(n) => bytes.truncate(at(*n)),
        Change::Double(from, to) => {
            let (from, to) = (at(*from).min(at(*to)), at(*from).max(at(*to)));
            let piece = bytes[from..to].to_vec();
            bytes.splice(from..from, piece);
        }
        Change::Insert(n, piece) => {
            let at = at(*n);
            bytes.splice(at..at, piece.iter().copied());
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<usize>(), 1..=u8::MAX).prop_map(|(n, bits)| Change::Flip(n, bits)),
        any::<usize>().prop_map(Change::Cut),
        (any::<usize>(), any::<usize>()).prop_map(|(a, b)| Change::Double(a, b)),
        (any::<usize>(), proptest::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(n, piece)| Change::Insert(n, piece)),
        (any::<usize>(), "[\\[{\"\\\\:,0-9e+.-]{1,30}")
            .prop_map(|(n, piece)| Change::Insert(n, piece.into_bytes())),
    ]
}

#[test]
fn rubbish_is_refused() {
    let text = "[ -~]{0,200}".prop_map(String::into_bytes);
    let rubbish = prop_oneof![proptest::collection::vec(any::<u8>(), 0..400), text];
    runner(1, 2000)
        .run(&rubbish, |bytes| {
            read_all(&bytes);
            prop_assert!(key().verifying_key().verify(Kind::Document, &bytes, 1 << 20).is_err());
            prop_assert!(message::open_up(sealing(), &state(), &bytes).is_err());
            prop_assert!(CertifiedKey::of_request(&bytes).is_err());
            Ok(())
        })
        .unwrap();
}

#[test]
fn what_is_changed_a_little_is_not_believed() {
    let valid = valid();
    let which = 0..valid.len();
    let changes = proptest::collection::vec(change(), 1..4);
    runner(2, 6000)
        .run(&(which, changes), |(which, changes)| {
            let before = &valid[which];
            let mut after = before.clone();
            changes.iter().for_each(|change| changed(&mut after, change));
            read_all(&after);
            let payload =
                |bytes: &[u8]| key().verifying_key().verify(Kind::Document, bytes, 1 << 20);
            // Signed is the payload: the same may be written otherwise, but another one is not signed.
            if let Ok(read) = payload(&after) {
                prop_assert_eq!(read, payload(before).unwrap());
            }
            if &after != before {
                prop_assert!(message::open_up(sealing(), &state(), &after).is_err());
                prop_assert!(EventBatch::open_up(sealing(), &state(), &after).is_err());
                prop_assert!(LogBatch::open_up(sealing(), &log(), &after).is_err());
            }
            if let Ok(read) = CertifiedKey::of_request(&after) {
                prop_assert_eq!(read, CertifiedKey::of_request(before).unwrap());
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn what_is_valid_is_read_and_only_as_what_it_is() {
    let signed = key().sign(Kind::Document, &message::write(&desired()));
    let verifying = key().verifying_key();
    let payload = verifying.verify(Kind::Document, &signed, message::WANT_LIMIT).unwrap();
    let Want::Document(read) = Want::read(&payload).unwrap() else { panic!() };
    assert_eq!(*read, desired());
    for kind in [Kind::Body, Kind::Command, Kind::Ack, Kind::Hub, Kind::Join] {
        assert!(verifying.verify(kind, &signed, 1 << 20).is_err(), "{kind:?}");
    }
    assert!(HubKey::ephemeral().verifying_key().verify(Kind::Document, &signed, 1 << 20).is_err());
    assert!(verifying.verify(Kind::Document, &signed, signed.len() - 1).is_err());
    assert!(message::read::<Report>(report().to_string().as_bytes(), UP_LIMIT).is_ok());
    assert!(CertifiedKey::of_request(request()).is_ok());

    // What one box sealed for one topic is nothing on another.
    let sealed = batch().seal_up(sealing(), &state());
    assert_eq!(EventBatch::open_up(sealing(), &state(), &sealed).unwrap(), batch());
    let live = Topic::live(&ClusterName::default_cluster(), &device());
    assert!(EventBatch::open_up(sealing(), &live, &sealed).is_err());
    let sealed = lines().seal_up(sealing(), &log());
    assert_eq!(LogBatch::open_up(sealing(), &log(), &sealed).unwrap(), lines());
    assert!(LogBatch::open_up(sealing(), &state(), &sealed).is_err());
    let sealed = batch().seal_up(sealing(), &state());
    let other = SealingKey::from_bytes(&[8; 32]).unwrap();
    assert!(EventBatch::open_up(&other, &state(), &sealed).is_err());
}

#[test]
fn what_is_huge_or_deep_costs_no_time() {
    let megabytes = 8 << 20;
    let huge: Vec<Vec<u8>> = vec![
        vec![0; megabytes],
        vec![b'['; megabytes],
        b"{\"v\":1,\"x\":".repeat(megabytes / 11),
        format!("{{\"v\":1,\"tasks\":{{{}}}}}", "\"a\":1,".repeat(megabytes / 6)).into_bytes(),
        format!("{{\"payload\":\"{}\"}}", "A".repeat(megabytes)).into_bytes(),
        b"a/".repeat(megabytes / 2),
        // DER that says it goes on for ever.
        [&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff][..], &vec![0x30; megabytes]].concat(),
    ];
    let begun = Instant::now();
    for bytes in &huge {
        read_all(bytes);
    }
    // Each is refused by its size or its first wrong byte; a slow machine has a hundredfold of that.
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    for at_most in [0, 1, 100] {
        assert!(message::read::<Report>(report().to_string().as_bytes(), at_most).is_err());
    }
}

/// Commands as they come over a bad network, and connections that come and go: one counts once, in the connection it was
/// made for, and never after one that was made later.
#[tokio::test]
async fn a_command_counts_once_and_in_its_own_connection() {
    let (outgoing, mut sent) = tokio::sync::mpsc::channel(64);
    let hub = Arc::new(HubKeys::ephemeral());
    let mut made = Vec::new();
    for series in 1..=2_u64 {
        let commander = Commander::new(Arc::clone(&hub), series, outgoing.clone());
        for number in 0..6_u64 {
            for session in ["s1", "s2", "s3"] {
                let to = Address {
                    cluster: ClusterName::default_cluster(),
                    device: device(),
                    session: session.to_owned(),
                };
                let body = format!("{session} {series} {number}");
                let id = Part::new("t").unwrap();
                commander.send(&to, Purpose::Tunnel, &id, body.as_bytes()).await.unwrap();
                let payload = sent.recv().await.unwrap().payload;
                made.push((session, (series, number), payload));
            }
        }
    }
    let order = proptest::collection::vec((0..made.len(), 0..4_usize), 1..60);
    runner(3, 300)
        .run(&order, |order| {
            let mut acceptor = Acceptor::new(hub.verifying_key(), device());
            let mut session = None;
            let mut last = None;
            for (which, change) in order {
                if change == 0 {
                    session = [Some("s1"), Some("s2"), Some("s3"), None][which % 4];
                    acceptor.session_changed(session);
                    last = None;
                    continue;
                }
                let (of, at, payload) = &made[which];
                let counts = session == Some(*of) && last.is_none_or(|last| last < *at);
                match acceptor.accept(payload) {
                    Ok(_) => {
                        prop_assert!(counts, "{of} {at:?} in {session:?} after {last:?}");
                        last = Some(*at);
                    }
                    Err(Refused::Stale) => prop_assert!(session != Some(*of)),
                    Err(Refused::Replayed) => prop_assert!(!counts),
                    Err(other) => prop_assert!(false, "{other}"),
                }
            }
            Ok(())
        })
        .unwrap();
}
