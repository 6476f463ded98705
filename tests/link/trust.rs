//! TLS with certificates at both ends: who is let in, who is not, and what is said about it.

use crate::client::{Client, settings};
use crate::mosquitto::{Authority, Mosquitto, Options};
use coracle::fleet::link::{LinkError, Message, Settings, Tls, Version};
use zeroize::Zeroizing;

fn identity(authority: &Authority, name: &str) -> (Vec<u8>, Zeroizing<Vec<u8>>) {
    let (certificate, key) = authority.client(name);
    (certificate.into_bytes(), Zeroizing::new(key.into_bytes()))
}

fn tls(trusted: &Authority, issuer: &Authority, name: &str) -> Tls {
    Tls { authorities: Some(trusted.pem().into_bytes()), identity: Some(identity(issuer, name)) }
}

fn secured(broker: &Mosquitto, tls: Tls) -> Settings {
    Settings { tls, ..settings(&broker.url(), "box", Version::Auto) }
}

async fn failure(settings: Settings) -> LinkError {
    Client::start(settings).until_disconnected().await.0
}

#[tokio::test]
async fn both_ends_know_each_other() {
    let ours = Authority::new("ours");
    for version in ["tlsv1.2", "tlsv1.3"] {
        let broker = Mosquitto::start(Options {
            tls: Some(ours.clone()),
            more: vec![format!("tls_version {version}")],
            ..Options::default()
        });
        let mut device =
            Client::listening(secured(&broker, tls(&ours, &ours, "first")), &["down"]).await;
        let mut hub = Client::start(Settings {
            client_id: "hub".to_owned(),
            ..secured(&broker, tls(&ours, &ours, "hub"))
        });
        let large = vec![7; 100 * 1024];
        hub.publish(Message::new("down", large.clone())).await;
        assert_eq!(device.receive().await.payload, large);
        broker.wait_for_log(&["New client connected", "u'first'"]);
        // A renewed certificate counts from the next connection on.
        device.link.set_tls(tls(&ours, &ours, "second"));
        device.link.reconnect_now();
        device.until_connected().await;
        broker.wait_for_log(&["New client connected", "u'second'"]);
    }
}

#[tokio::test]
async fn a_broker_that_is_not_ours_is_told_by_what_is_wrong_with_it() {
    let (ours, foreign) = (Authority::new("ours"), Authority::new("foreign"));
    let broker = Mosquitto::start(Options { tls: Some(ours.clone()), ..Options::default() });
    let why = failure(secured(&broker, tls(&foreign, &ours, "box"))).await;
    assert!(matches!(why, LinkError::TlsUntrusted { .. }), "{why}");
    // Nor do the public authorities know it.
    let public = Tls { authorities: None, identity: Some(identity(&ours, "box")) };
    let why = failure(secured(&broker, public)).await;
    assert!(matches!(why, LinkError::TlsUntrusted { .. }), "{why}");

    let other = Mosquitto::start(Options {
        tls: Some(ours.clone()),
        names: vec!["other.example".to_owned()],
        ..Options::default()
    });
    let why = failure(secured(&other, tls(&ours, &ours, "box"))).await;
    assert!(matches!(why, LinkError::TlsName { .. }), "{why}");

    // A broker without TLS.
    let plain = Mosquitto::plain();
    let mut settings = secured(&broker, tls(&ours, &ours, "box"));
    settings.broker = format!("mqtts://127.0.0.1:{}", plain.port).parse().unwrap();
    let why = failure(settings).await;
    assert!(matches!(why, LinkError::Closed | LinkError::Tls(_) | LinkError::Broken(_)), "{why}");
}

#[tokio::test]
async fn a_client_that_is_not_theirs_is_told_so() {
    let (ours, foreign) = (Authority::new("ours"), Authority::new("foreign"));
    for version in ["tlsv1.2", "tlsv1.3"] {
        let broker = Mosquitto::start(Options {
            tls: Some(ours.clone()),
            more: vec![format!("tls_version {version}")],
            ..Options::default()
        });
        let nameless = Tls { authorities: Some(ours.pem().into_bytes()), identity: None };
        for tls in [tls(&ours, &foreign, "box"), nameless] {
            let why = failure(secured(&broker, tls)).await;
            assert!(matches!(why, LinkError::TlsRefused { .. }), "{version}: {why}");
        }
    }
}

#[tokio::test]
async fn certificates_that_are_none_are_refused_before_anything_is_sent() {
    let ours = Authority::new("ours");
    let broker = Mosquitto::start(Options { tls: Some(ours.clone()), ..Options::default() });
    let good = tls(&ours, &ours, "box");
    let (certificate, key) = good.identity.clone().unwrap();
    let other_key = ours.client("box").1.into_bytes();
    for bad in [
        Tls { identity: Some((b"none".to_vec(), key.clone())), ..good.clone() },
        Tls {
            identity: Some((certificate.clone(), Zeroizing::new(b"none".to_vec()))),
            ..good.clone()
        },
        Tls { identity: Some((certificate, Zeroizing::new(other_key))), ..good.clone() },
        Tls { authorities: Some(b"none".to_vec()), ..good.clone() },
    ] {
        let why = failure(secured(&broker, bad)).await;
        assert!(matches!(why, LinkError::TlsSettings(_)), "{why}");
    }
}
