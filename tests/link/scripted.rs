//! A broker of a few lines that says what a real one says only in trouble.

use crate::client::{Client, settings};
use crate::mosquitto::{Mosquitto, PATIENCE};
use coracle::fleet::link::{Event, LinkError, Reason, Version};
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// What is said to a client that has sent its first packet.
#[derive(Clone)]
struct Says {
    bytes: Vec<u8>,
    /// Whether the connection is left open after it.
    stays: bool,
}

fn says(bytes: impl Into<Vec<u8>>) -> Says {
    Says { bytes: bytes.into(), stays: false }
}

/// Says one thing to each connection, and the last one to all that follow.
struct Scripted {
    port: u16,
    /// The level of the protocol in each first packet.
    levels: mpsc::UnboundedReceiver<u8>,
    task: JoinHandle<()>,
}

impl Scripted {
    async fn start(script: Vec<Says>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, levels) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let mut open = Vec::new();
            for number in 0.. {
                let Ok((mut stream, _)) = listener.accept().await else { return };
                let says = &script[number.min(script.len() - 1)];
                let Some(level) = level(&mut stream).await else { continue };
                let _ = tell.send(level);
                let _ = stream.write_all(&says.bytes).await;
                if says.stays {
                    open.push(stream);
                }
            }
        });
        Self { port, levels, task }
    }

    fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    async fn level(&mut self) -> u8 {
        timeout(PATIENCE, self.levels.recv()).await.unwrap().unwrap()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads a CONNECT, of less than 128 bytes.
async fn level(stream: &mut TcpStream) -> Option<u8> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.ok()?;
    assert!(head[0] == 0x10 && head[1] < 128, "no short CONNECT: {head:?}");
    let mut body = vec![0; head[1].into()];
    stream.read_exact(&mut body).await.ok()?;
    Some(body[6])
}

/// CONNACKs.
const WELCOME: [u8; 5] = [0x20, 3, 0, 0, 0];
const OLD_WELCOME: [u8; 4] = [0x20, 2, 0, 0];
const OLD_UNKNOWN_VERSION: [u8; 4] = [0x20, 2, 0, 1];

fn refusal(reason: u8) -> Says {
    says([0x20, 3, 0, reason, 0])
}

fn elsewhere(reason: u8, server: &str) -> Vec<u8> {
    let length = u8::try_from(server.len()).unwrap();
    let mut bytes = vec![0x20, length + 6, 0, reason, length + 3, 0x1c, 0, length];
    bytes.extend(server.as_bytes());
    bytes
}

async fn failure(says: Says) -> LinkError {
    let broker = Scripted::start(vec![says]).await;
    let mut client = Client::start(settings(&broker.url(), "box", Version::V5));
    client.until_disconnected().await.0
}

#[tokio::test]
async fn every_refusal_has_its_word() {
    for (reason, authorisation) in
        [(0x85, true), (0x86, true), (0x87, true), (0x8a, true), (0x88, false), (0x97, false)]
    {
        match failure(refusal(reason)).await {
            LinkError::NotAuthorised { reason: got, .. } if authorisation => {
                assert_eq!(got.0, reason);
            }
            LinkError::Refused { reason: got, .. } if !authorisation => {
                assert_eq!(got.0, reason);
            }
            other => panic!("{reason:#x}: {other}"),
        }
    }
    // QoS 0 alone.
    assert!(matches!(failure(says([0x20, 5, 0, 0, 2, 0x24, 0])).await, LinkError::Unfit(_)));
}

#[tokio::test]
async fn whatever_is_no_mqtt_ends_the_connection_and_nothing_else() {
    let welcome_and = |more: &[u8]| says([&WELCOME[..], more].concat());
    for broken in [
        says(*b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        says([0x20, 0xff, 0xff, 0xff, 0xff]),
        says([0x20, 3, 2, 0, 0]),
        says([0x20, 3, 0, 0, 9]),
        says([0x30, 5, 0, 1, b'a', 0, 0]),
        // A packet far larger than asked for, that is no message.
        welcome_and(&[0x90, 0xff, 0xff, 0xff, 0x7f]),
        // The same as a message whose topic is none.
        welcome_and(&[0x32, 0xff, 0xff, 0xff, 0x7f, 0, 1, 0xff, 0, 1]),
        welcome_and(&WELCOME),
        welcome_and(&[0x40, 1, 0]),
        welcome_and(&[0x90, 4, 0, 9, 0, 0]),
        welcome_and(&[0x34, 6, 0, 1, b'a', 0, 1, 0]),
        welcome_and(&[0x32, 6, 0, 1, b'a', 0, 0, 0]),
        welcome_and(&[0x30, 5, 0, 1, b'a', 1, 0x77]),
        welcome_and(&[0x30, 7, 0, 1, b'a', 3, 0x23, 0, 1]),
        welcome_and(&[0x00, 0]),
        welcome_and(&[0xf0, 0]),
    ] {
        let shown = format!("{:02x?}", broken.bytes);
        match failure(broken).await {
            LinkError::Wire(_) | LinkError::Protocol(_) => {}
            other => panic!("{shown}: {other}"),
        }
    }
}

#[tokio::test]
async fn a_broker_that_asks_for_less_gets_less() {
    for bytes in
        [refusal(0x97).bytes, refusal(0x9f).bytes, [&WELCOME[..], &[0xe0, 2, 0x97, 0]].concat()]
    {
        let broker = Scripted::start(vec![says(bytes)]).await;
        let mut patient = settings(&broker.url(), "box", Version::V5);
        patient.back_off_cap = Duration::from_mins(5);
        let mut client = Client::start(patient);
        let (why, wait) = client.until_disconnected().await;
        assert!(wait >= Duration::from_secs(150), "{why}: {wait:?}");
    }
}

#[tokio::test]
async fn whoever_is_kicked_at_once_backs_off() {
    let kicks = says([&WELCOME[..], &[0xe0, 2, 0x98, 0]].concat());
    let broker = Scripted::start(vec![kicks]).await;
    let mut kicked = settings(&broker.url(), "box", Version::V5);
    kicked.back_off_cap = Duration::from_hours(1);
    let mut client = Client::start(kicked);
    let mut waits = Vec::new();
    for _ in 0..12 {
        let (why, wait) = client.until_disconnected().await;
        assert!(matches!(why, LinkError::Ended { reason: Reason(0x98), .. }), "{why}");
        waits.push(wait);
        if wait > Duration::from_secs(2) {
            return;
        }
    }
    panic!("each wait is short: {waits:?}");
}

#[tokio::test]
async fn another_broker_is_gone_to_once() {
    let real = Mosquitto::plain();
    let server = format!("127.0.0.1:{}", real.port);
    for reason in [0x9c, 0x9d] {
        // Sent away by the answer to the first packet, and by a later word.
        let later = [&WELCOME[..], &{
            let mut bytes = elsewhere(reason, &server);
            bytes[0] = 0xe0;
            bytes.remove(2);
            bytes[1] -= 1;
            bytes
        }]
        .concat();
        for bytes in [elsewhere(reason, &server), later] {
            let broker = Scripted::start(vec![says(bytes)]).await;
            let mut client = Client::start(settings(&broker.url(), "box", Version::V5));
            loop {
                match client.next().await {
                    // Of the broker that sends us away in a later word.
                    Event::Connected { .. } => {}
                    Event::Disconnected { next_attempt_in, .. } => {
                        assert_eq!(next_attempt_in, Duration::ZERO);
                        break;
                    }
                    other => panic!("{other:?}"),
                }
            }
            client.until_connected().await;
            real.wait_for_log(&["New client connected", "box"]);
            client.link.close().await;
        }
    }
    // One broker sends to another, which sends back: that is not followed.
    let second = Scripted::start(vec![says(elsewhere(0x9c, "127.0.0.1:1"))]).await;
    let to_second = elsewhere(0x9c, &format!("127.0.0.1:{}", second.port));
    let first = Scripted::start(vec![says(to_second)]).await;
    let mut lost = settings(&first.url(), "box", Version::V5);
    lost.back_off_cap = Duration::from_hours(1);
    let mut client = Client::start(lost);
    assert_eq!(client.until_disconnected().await.1, Duration::ZERO);
    let (_, wait) = client.until_disconnected().await;
    assert_ne!(wait, Duration::ZERO);
}

#[tokio::test]
async fn an_old_broker_is_spoken_to_in_its_version() {
    let open = |bytes: &[u8]| Says { bytes: bytes.to_vec(), stays: true };
    // It says so, in the old words or in the new; or it says nothing.
    for first in [says(OLD_UNKNOWN_VERSION), refusal(0x84), says([])] {
        let mut broker = Scripted::start(vec![first, open(&OLD_WELCOME)]).await;
        let mut client = Client::start(settings(&broker.url(), "box", Version::Auto));
        client.until_connected().await;
        assert_eq!((broker.level().await, broker.level().await), (5, 4));
        // It is remembered.
        client.link.reconnect_now();
        client.until_connected().await;
        assert_eq!(broker.level().await, 4);
    }
    // Nothing is tried behind the back of whoever wants one version.
    let mut broker = Scripted::start(vec![says(OLD_UNKNOWN_VERSION)]).await;
    let mut client = Client::start(settings(&broker.url(), "box", Version::V5));
    for _ in 0..2 {
        let (why, _) = client.until_disconnected().await;
        assert!(matches!(why, LinkError::Refused { reason: Reason::UNSUPPORTED_VERSION, .. }));
        assert_eq!(broker.level().await, 5);
    }
}
