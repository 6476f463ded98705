//! The broker dies, the network goes: the link comes back, and says what it does not know.

use crate::client::{BOTH, Client, settings};
use crate::fault_proxy::{Fault, FaultProxy};
use crate::mosquitto::{Mosquitto, Options};
use coracle::fleet::link::{LinkError, Message, Outcome, Reason, Settings, Version};
use std::time::Duration;

#[tokio::test]
async fn a_broker_that_dies_is_found_again_with_or_without_its_memory() {
    for persistence in [true, false] {
        for version in BOTH {
            let mut broker = Mosquitto::start(Options { persistence, ..Options::default() });
            let mut device =
                Client::listening(settings(&broker.url(), "box", version), &["down"]).await;
            if persistence {
                broker.wait_for_log(&["Saving in-memory database"]);
            }
            broker.kill();
            let (why, _) = device.until_disconnected().await;
            assert!(matches!(why, LinkError::Closed | LinkError::Broken(_)), "{why}");
            // While nobody listens there.
            let why = loop {
                match device.until_disconnected().await.0 {
                    LinkError::Closed | LinkError::Broken(_) => {}
                    why => break why,
                }
            };
            assert!(matches!(why, LinkError::Connect { .. }), "{why}");
            broker.restart();
            device.until_connected().await;
            device.until_subscribed().await;
            let mut hub = Client::start(settings(&broker.url(), "hub", version));
            hub.publish(Message::new("down", "back")).await;
            assert_eq!(device.receive().await.payload, b"back");
        }
    }
}

#[tokio::test]
async fn a_connection_without_anybody_at_the_other_end_is_given_up() {
    let broker = Mosquitto::plain();
    let proxy = FaultProxy::start(broker.port).await;
    for version in BOTH {
        let mut short = settings(&proxy.url(), "box", version);
        short.keep_alive = Duration::from_secs(2);
        let mut device = Client::start(short);
        device.until_connected().await;
        proxy.freeze(true);
        let lost = device.link.publish(Message::new("up", "")).unwrap();
        assert_eq!(device.outcome(lost).await, Outcome::Unknown);
        let (why, _) = device.until_disconnected().await;
        assert!(matches!(why, LinkError::Silent(_)), "{why}");
        proxy.freeze(false);
        device.until_connected().await;
        device.publish(Message::new("up", "")).await;
    }
}

#[tokio::test]
async fn a_slow_network_is_no_dead_one() {
    let broker = Mosquitto::plain();
    let proxy = FaultProxy::start(broker.port).await;
    proxy.break_next(Fault { delay: Duration::from_millis(300), ..Fault::default() });
    let mut patient = settings(&proxy.url(), "box", Version::V5);
    patient.keep_alive = Duration::from_secs(1);
    let mut device = Client::listening(patient, &["down"]).await;
    let mut hub = Client::start(settings(&broker.url(), "hub", Version::V5));
    for _ in 0..10 {
        hub.publish(Message::new("down", vec![0; 10_000])).await;
        assert_eq!(device.receive().await.payload.len(), 10_000);
    }
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn a_network_that_comes_and_goes() {
    let broker = Mosquitto::plain();
    let proxy = FaultProxy::start(broker.port).await;
    let mut device = Client::listening(settings(&proxy.url(), "box", Version::V5), &["down"]).await;
    let mut sessions = std::collections::BTreeSet::new();
    for _ in 0..20 {
        proxy.sever();
        device.until_disconnected().await;
        let (session, present) = device.until_connected().await;
        assert!(present && sessions.insert(session));
        device.publish(Message::new("up", "")).await;
    }
    proxy.refuse(true);
    proxy.sever();
    for _ in 0..5 {
        let (why, wait) = device.until_disconnected().await;
        assert!(matches!(why, LinkError::Closed | LinkError::Broken(_)), "{why}");
        assert!(wait <= Duration::from_millis(50));
    }
    proxy.refuse(false);
    device.until_connected().await;
}

#[tokio::test]
async fn a_second_client_of_the_same_id_takes_over() {
    let broker = Mosquitto::plain();
    let mut first = Client::start(settings(&broker.url(), "box", Version::V5));
    first.until_connected().await;
    let mut second = Client::start(settings(&broker.url(), "box", Version::V5));
    second.until_connected().await;
    let (why, _) = first.until_disconnected().await;
    // MQTT 5 has a word for it, which not every broker says.
    let taken = match &why {
        LinkError::Ended { reason, .. } => *reason == Reason::TAKEN_OVER,
        LinkError::Closed | LinkError::Broken(_) => true,
        _ => false,
    };
    assert!(taken, "{why}");
    first.link.close().await;
}

#[tokio::test]
async fn nobody_there_is_told_from_nobody_known() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut client =
        Client::start(settings(&format!("mqtt://127.0.0.1:{port}"), "box", Version::Auto));
    let (why, _) = client.until_disconnected().await;
    assert!(matches!(why, LinkError::Connect { .. }), "{why}");
    let mut client = Client::start(settings("mqtt://broker.invalid", "box", Version::Auto));
    let (why, _) = client.until_disconnected().await;
    let not_found = matches!(why, LinkError::Resolve { .. } | LinkError::Timeout { .. });
    assert!(not_found, "{why}");
    let mut client = Client::start(settings("unix:/nowhere/broker.sock", "box", Version::Auto));
    let (why, _) = client.until_disconnected().await;
    assert!(matches!(why, LinkError::Connect { .. }), "{why}");
}

#[tokio::test]
async fn other_brokers_are_tried_before_the_link_waits() {
    let dead = || {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("mqtt://{}", free.local_addr().unwrap())
    };
    let mut broker = Mosquitto::plain();
    let mut client = Client::start(Settings {
        others: vec![dead().parse().unwrap(), broker.url().parse().unwrap()],
        ..settings(&dead(), "box", Version::Auto)
    });
    for _ in 0..2 {
        let (why, wait) = client.until_disconnected().await;
        assert!(matches!(why, LinkError::Connect { .. }), "{why}");
        assert_eq!(wait, Duration::ZERO, "there is another one");
    }
    client.until_connected().await;
    broker.kill();
    // All of them, time and again.
    for _ in 0..4 {
        client.until_disconnected().await;
    }
    broker.restart();
    client.until_connected().await;
}
