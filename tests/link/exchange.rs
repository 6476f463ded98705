//! Without faults: what is sent arrives as it was sent, in both versions.

use crate::client::{BOTH, Client, settings};
use crate::mosquitto::{Mosquitto, Options, PATIENCE};
use coracle::fleet::link::{
    Credentials, Event, LinkError, Message, Outcome, PublishError, Reason, Version,
};
use coracle::fleet::topic::Filter;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use zeroize::Zeroizing;

#[tokio::test]
async fn messages_arrive_as_they_were_sent() {
    let broker = Mosquitto::plain();
    for version in BOTH {
        let mut hub = Client::listening(settings(&broker.url(), "hub", version), &["up/+"]).await;
        let mut device =
            Client::listening(settings(&broker.url(), "box", version), &["down/#"]).await;
        let large = vec![7; 100 * 1024];
        device.publish(Message::new("up/a", "small")).await;
        device.publish(Message::new("up/b", large.clone())).await;
        device.publish(Message::new("up/c", Vec::new())).await;
        for (topic, payload) in [("up/a", b"small".to_vec()), ("up/b", large), ("up/c", vec![])] {
            let got = hub.receive().await;
            assert_eq!((got.topic.as_str(), &got.payload, got.retain), (topic, &payload, false));
        }
        let message = Message {
            response_topic: Some("up/answer".to_owned()),
            correlation: Some(vec![0, 1, 255]),
            ..Message::new("down/x", "question").expires_in(Duration::from_mins(1))
        };
        hub.publish(message).await;
        let got = device.receive().await;
        let answer = (version == Version::V5).then(|| ("up/answer".to_owned(), vec![0, 1, 255]));
        assert_eq!(got.response_topic.zip(got.correlation), answer);
        hub.link.close().await;
        device.link.close().await;
        assert!(matches!(device.events.next().await, Some(Event::Disconnected { .. }) | None));
        assert_eq!(device.link.publish(Message::new("up/a", "")), Err(PublishError::Closed));
    }
}

#[tokio::test]
async fn what_is_kept_comes_at_each_subscription_and_not_to_whoever_sent_it() {
    let broker = Mosquitto::plain();
    let mut hub = Client::start(settings(&broker.url(), "hub", Version::V5));
    hub.publish(Message::retained("kept/1", "one")).await;
    let mut device =
        Client::listening(settings(&broker.url(), "box", Version::V5), &["kept/+"]).await;
    assert!(device.receive().await.retain);
    // Its own message does not come back to it, and the one after it does.
    device.publish(Message::new("kept/2", "mine")).await;
    hub.publish(Message::new("kept/3", "yours")).await;
    assert_eq!(device.receive().await.topic, "kept/3");
    // Again at the next connection, though the broker has the session.
    device.link.reconnect_now();
    assert!(matches!(device.until_disconnected().await, (LinkError::Asked, Duration::ZERO)));
    assert!(device.until_connected().await.1, "the session is kept");
    assert_eq!(device.receive().await.payload, b"one");
    // Taken back, and gone.
    device.link.unsubscribe([Filter::raw("kept/+")]);
    device.link.subscribe([Filter::raw("other")]);
    device.until_subscribed().await;
    hub.publish(Message::retained("kept/1", "")).await;
    hub.publish(Message::new("other", "")).await;
    assert_eq!(device.receive().await.topic, "other");
}

#[tokio::test]
async fn a_message_comes_again_until_it_is_acknowledged() {
    let broker = Mosquitto::plain();
    for version in BOTH {
        let mut hub = Client::start(settings(&broker.url(), "hub", version));
        let name = format!("{version:?}");
        let mut device =
            Client::listening(settings(&broker.url(), &name, version), &["down"]).await;
        for payload in ["1", "2", "3"] {
            hub.publish(Message::new("down", payload)).await;
        }
        let first = device.receive_only().await;
        let second = device.receive_only().await;
        let third = device.receive_only().await;
        // Out of order: the broker hears of none before the first.
        device.link.ack(third.ack);
        device.link.ack(second.ack);
        device.publish(Message::new("up", "the acks are on their way")).await;
        device.link.reconnect_now();
        let (session, present) = device.until_connected().await;
        assert!(present);
        for payload in [b"1", b"2", b"3"] {
            let got = device.receive().await;
            assert!(got.duplicate);
            assert_eq!(got.payload, payload);
        }
        // One of the connection before says nothing about this one.
        device.link.ack(first.ack);
        device.publish(Message::new("up", "all the acks are there").only_in(&session)).await;
        device.link.reconnect_now();
        device.until_subscribed().await;
        hub.publish(Message::new("down", "4")).await;
        let got = device.receive().await;
        assert_eq!((got.payload.as_slice(), got.duplicate), (b"4".as_slice(), false));
    }
}

#[tokio::test]
async fn rules_and_passwords_of_the_broker_surface() {
    let acl = "user box\ntopic readwrite own/#\n";
    let user = ("box".to_owned(), "secret".to_owned());
    let broker = Mosquitto::start(Options {
        acl: Some(acl.to_owned()),
        user: Some(user),
        ..Options::default()
    });
    let with = |password: &str, version| {
        let mut settings = settings(&broker.url(), "box", version);
        let password = Zeroizing::new(password.to_owned());
        settings.credentials = Some(Credentials { user: "box".to_owned(), password });
        settings
    };
    for version in BOTH {
        let mut device = Client::start(with("secret", version));
        device.until_connected().await;
        let own = device.link.publish(Message::new("own/x", "")).unwrap();
        assert_eq!(device.outcome(own).await, Outcome::Done);
        let foreign = device.link.publish(Message::new("foreign/x", "")).unwrap();
        let outcome = match version {
            Version::V311 => Outcome::Done,
            _ => Outcome::Refused(Reason::NOT_AUTHORISED),
        };
        assert_eq!(device.outcome(foreign).await, outcome, "{version:?}");
        drop(device);

        let mut device = Client::start(with("wrong", version));
        let (why, _) = device.until_disconnected().await;
        assert!(matches!(why, LinkError::NotAuthorised { .. }), "{why}");
        let mut device = Client::start(settings(&broker.url(), "box", version));
        let (why, _) = device.until_disconnected().await;
        assert!(matches!(why, LinkError::NotAuthorised { .. }), "{why}");
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_is_passed_over() {
    let broker = Mosquitto::plain();
    for version in BOTH {
        let mut hub = Client::start(settings(&broker.url(), "hub", version));
        let mut small = settings(&broker.url(), "box", version);
        small.max_packet = 32 * 1024;
        let mut device = Client::listening(small, &["down"]).await;
        hub.publish(Message::new("down", vec![1; 30 * 1024])).await;
        hub.publish(Message::new("down", vec![2; 1_000_000])).await;
        hub.publish(Message::new("down", vec![3; 30 * 1024])).await;
        assert_eq!(device.receive().await.payload[0], 1);
        if version == Version::V311 {
            // This broker does not know what is too large for us.
            let size = device
                .until(|event| match event {
                    Event::Oversized { topic, size } if topic == "down" => Some(*size),
                    _ => None,
                })
                .await;
            assert!(size > 1_000_000);
        }
        assert_eq!(device.receive().await.payload[0], 3);
        // It was acknowledged: it does not come at the next connection.
        device.publish(Message::new("up", "")).await;
        device.link.reconnect_now();
        device.until_subscribed().await;
        hub.publish(Message::new("down", "end")).await;
        assert_eq!(device.receive().await.payload, b"end");
    }
}

#[tokio::test]
async fn nothing_is_taken_that_has_no_way() {
    let broker = Mosquitto::plain();
    let mut few = settings(&broker.url(), "box", Version::V5);
    few.queue = 2;
    let mut device = Client::start(few);
    let message = || Message::new("up", "");
    assert_eq!(device.link.publish(message()), Err(PublishError::Offline));
    let (session, present) = device.until_connected().await;
    assert!(!present);
    for topic in ["", "up/+", "#", "a\0b"] {
        assert_eq!(device.link.publish(Message::new(topic, "")), Err(PublishError::Topic));
    }
    let first = device.link.publish(message()).unwrap();
    device.link.publish(message().only_in(&session)).unwrap();
    // Room is made by whoever takes the outcomes.
    assert_eq!(device.link.publish(message()), Err(PublishError::Full));
    assert_eq!(device.outcome(first).await, Outcome::Done);
    timeout(PATIENCE, device.link.ready()).await.unwrap().unwrap();
    device.link.publish(message()).unwrap();
    device.link.reconnect_now();
    let (next, _) = device.until_connected().await;
    assert_ne!(session, next);
    let late = device.link.publish(message().only_in(&session));
    assert_eq!(late, Err(PublishError::Offline));
}

#[tokio::test]
async fn the_last_will_names_the_connection_and_comes_when_it_breaks_off() {
    let broker = Mosquitto::plain();
    for version in BOTH {
        let mut hub = Client::listening(settings(&broker.url(), "hub", version), &["live"]).await;
        let mut with_will = settings(&broker.url(), "box", version);
        with_will.will = Some(Arc::new(|session| Message::new("live", session.as_str())));
        let mut device = Client::start(with_will.clone());
        let (session, _) = device.until_connected().await;
        // Dropped: as if the program had died.
        drop(device);
        assert_eq!(hub.receive().await.payload, session.as_str().as_bytes());
        // Closed: nothing comes of the second, but of the third.
        let mut device = Client::start(with_will.clone());
        device.until_connected().await;
        device.link.close().await;
        let mut device = Client::start(with_will);
        let (third, _) = device.until_connected().await;
        drop(device.events);
        assert_eq!(hub.receive().await.payload, third.as_str().as_bytes());
    }
}

#[tokio::test]
async fn whoever_does_not_read_events_stays_connected_and_misses_nothing() {
    let broker = Mosquitto::plain();
    for version in BOTH {
        let mut hub = Client::start(settings(&broker.url(), "hub", version));
        let mut slow = settings(&broker.url(), "box", version);
        slow.keep_alive = Duration::from_secs(1);
        let mut device = Client::listening(slow, &["down"]).await;
        for number in 0..300_u16 {
            hub.publish(Message::new("down", number.to_be_bytes())).await;
        }
        // Longer than the broker waits for somebody who says nothing: this is about what happens as time passes.
        tokio::time::sleep(Duration::from_secs(4)).await;
        for number in 0..300_u16 {
            let got = device.receive().await;
            assert_eq!((got.payload, got.duplicate), (number.to_be_bytes().to_vec(), false));
        }
        let ticket = device.link.publish(Message::new("up", "")).unwrap();
        assert_eq!(device.outcome(ticket).await, Outcome::Done, "the same connection");
    }
}
