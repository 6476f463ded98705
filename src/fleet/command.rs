//! Commands: what the hub tells one device for now, and not for good. They go on `cmd`, each signed by the hub.
//!
//! ```text
//! JWS( {"v":1,"device":…,"session":…,"series":S,"number":N,"purpose":…,"id":…} ⏎ body )
//! ```
//!
//! A command counts for one connection of the device, its *session*, and only once: within a session `(series, number)`
//! must grow. A session is a fresh random id that the device itself makes for each connection, so a command that was
//! recorded is worth nothing in the next one, and no clock has a say. `series` grows with each start of the hub and
//! `number` with each command, because a device stays connected to its broker while its hub restarts.
//!
//! [`Commander`] is the hub's end, [`Acceptor`] the device's. What is refused changes nothing; whoever holds the acceptor
//! counts it by [`Refused::counter`].

use super::topic::{Part, Topic};
use crate::auth::fleet::{HubKeys, JwsError, Kind, VerifyingKey};
use crate::model::{ClusterName, ContainerInstanceId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc};

/// The longest command, signed.
pub const COMMAND_LIMIT: usize = 64 << 10;
/// The longest head of one.
const HEAD_LIMIT: usize = 2048;
const VERSION: u8 = 1;

/// What a command is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Purpose {
    /// A frame of a tunnel; `id` is the tunnel's.
    Tunnel,
    /// The hub's answer to a request for a new certificate, as [`super::join::device::renewed`] reads it.
    Certificate,
}

/// One device, as long as it stays connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Its cluster.
    pub cluster: ClusterName,
    /// Its id.
    pub device: ContainerInstanceId,
    /// Its connection.
    pub session: String,
}

/// A command that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// What it is about.
    pub purpose: Purpose,
    /// Of what; answers go to `rpc/ID`.
    pub id: Part,
    /// The rest, for whoever knows the purpose.
    pub body: Vec<u8>,
}

/// Why a command was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not signed by the hub as a command, or too large.
    #[error("a command was refused: {0}")]
    Signature(#[from] JwsError),
    /// Signed, and yet nothing that this version understands.
    #[error("a command cannot be read: a newer hub may have sent it")]
    Unreadable,
    /// For another device.
    #[error("a command for another device was refused")]
    Foreign,
    /// For a connection that is over, or none.
    #[error("a command for another connection was refused")]
    Stale,
    /// It has come before, or one that was sent later has.
    #[error("a command was refused because it came twice or too late")]
    Replayed,
}

impl Refused {
    /// The name of its counter.
    #[must_use]
    pub const fn counter(self) -> &'static str {
        match self {
            Self::Signature(error) => error.counter(),
            Self::Unreadable => "unreadable",
            Self::Foreign => "foreign",
            Self::Stale => "stale",
            Self::Replayed => "replayed",
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Head<'a> {
    v: u8,
    device: &'a str,
    session: &'a str,
    series: u64,
    number: u64,
    purpose: Purpose,
    id: &'a str,
}

/// A message on its way to the link, and with it to the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Where.
    pub topic: Topic,
    /// What.
    pub payload: Vec<u8>,
    /// The session of the device that it is about; it is worth nothing in another.
    pub session: String,
}

/// The link takes no more messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the link to the broker is closed")]
pub struct LinkClosed;

/// The hub's end: signs commands and sends them in the order of their numbers.
#[derive(Debug)]
pub struct Commander {
    keys: Arc<HubKeys>,
    series: u64,
    /// The next number. Held while a command is queued, so that none overtakes another.
    next: Mutex<u64>,
    outgoing: mpsc::Sender<Outgoing>,
}

impl Commander {
    /// A commander whose commands go to `outgoing`. `series` must be greater at each start of the hub.
    #[must_use]
    pub fn new(keys: Arc<HubKeys>, series: u64, outgoing: mpsc::Sender<Outgoing>) -> Self {
        Self { keys, series, next: Mutex::new(0), outgoing }
    }

    /// Sends a command; waits for room.
    ///
    /// # Errors
    /// [`LinkClosed`].
    pub async fn send(
        &self,
        to: &Address,
        purpose: Purpose,
        id: &Part,
        body: &[u8],
    ) -> Result<(), LinkClosed> {
        let mut next = self.next.lock().await;
        let number = *next;
        *next += 1;
        let head = Head {
            v: VERSION,
            device: to.device.as_str(),
            session: &to.session,
            series: self.series,
            number,
            purpose,
            id: id.as_str(),
        };
        let mut payload = serde_json::to_vec(&head).unwrap_or_default();
        payload.push(b'\n');
        payload.extend_from_slice(body);
        let outgoing = Outgoing {
            topic: Topic::cmd(&to.cluster, &to.device),
            payload: self.keys.sign(Kind::Command, &payload),
            session: to.session.clone(),
        };
        self.outgoing.send(outgoing).await.map_err(|_| LinkClosed)
    }
}

/// The device's end: takes what its hub signed for this device and this connection, once.
#[derive(Debug)]
pub struct Acceptor {
    key: VerifyingKey,
    device: ContainerInstanceId,
    session: Option<String>,
    /// What the next command must be beyond.
    last: Option<(u64, u64)>,
}

impl Acceptor {
    /// An acceptor without a session: it accepts nothing yet.
    #[must_use]
    pub fn new(key: VerifyingKey, device: ContainerInstanceId) -> Self {
        Self { key, device, session: None, last: None }
    }

    /// A new connection, or none any more.
    pub fn session_changed(&mut self, session: Option<&str>) {
        self.session = session.map(str::to_owned);
        self.last = None;
    }

    /// The hub has another key from now on.
    pub fn key_changed(&mut self, key: VerifyingKey) {
        self.key = key;
    }

    /// The command in `payload`, if it counts.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed then.
    pub fn accept(&mut self, payload: &[u8]) -> Result<Command, Refused> {
        let mut payload = self.key.verify(Kind::Command, payload, COMMAND_LIMIT)?;
        let end = payload.iter().take(HEAD_LIMIT).position(|byte| *byte == b'\n');
        let body = payload.split_off(end.ok_or(Refused::Unreadable)? + 1);
        let head: Head<'_> = serde_json::from_slice(&payload).map_err(|_| Refused::Unreadable)?;
        if head.v != VERSION {
            return Err(Refused::Unreadable);
        }
        if head.device != self.device.as_str() {
            return Err(Refused::Foreign);
        }
        if self.session.as_deref() != Some(head.session) {
            return Err(Refused::Stale);
        }
        let place = (head.series, head.number);
        if self.last.is_some_and(|last| place <= last) {
            return Err(Refused::Replayed);
        }
        let id = Part::new(head.id).map_err(|_| Refused::Unreadable)?;
        self.last = Some(place);
        Ok(Command { purpose: head.purpose, id, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(session: &str) -> Address {
        Address {
            cluster: ClusterName::default_cluster(),
            device: ContainerInstanceId::new("0123456789abcdef0123456789abcdef").unwrap(),
            session: session.to_owned(),
        }
    }

    struct Hub {
        key: Arc<HubKeys>,
        commander: Commander,
        sent: mpsc::Receiver<Outgoing>,
    }

    impl Hub {
        fn start(key: Arc<HubKeys>, series: u64) -> Self {
            let (outgoing, sent) = mpsc::channel(8);
            Self { commander: Commander::new(Arc::clone(&key), series, outgoing), key, sent }
        }

        async fn command(&mut self, to: &Address, body: &[u8]) -> Vec<u8> {
            let id = Part::new("a").unwrap();
            self.commander.send(to, Purpose::Tunnel, &id, body).await.unwrap();
            let sent = self.sent.try_recv().unwrap();
            assert_eq!(sent.topic, Topic::cmd(&to.cluster, &to.device));
            sent.payload
        }
    }

    #[tokio::test]
    async fn a_command_counts_once_and_in_its_session_only() {
        let mut hub = Hub::start(Arc::new(HubKeys::ephemeral()), 1);
        let to = address("one");
        let mut device = Acceptor::new(hub.key.verifying_key(), to.device.clone());
        let first = hub.command(&to, b"1\n2").await;
        assert_eq!(device.accept(&first), Err(Refused::Stale), "there is no session yet");
        device.session_changed(Some("one"));
        assert_eq!(device.accept(&first).unwrap().body, b"1\n2");
        assert_eq!(device.accept(&first), Err(Refused::Replayed));
        let (second, third) = (hub.command(&to, b"2").await, hub.command(&to, b"3").await);
        assert_eq!(device.accept(&third).unwrap().body, b"3");
        assert_eq!(device.accept(&second), Err(Refused::Replayed), "it was overtaken");
        // The hub starts again, and counts from the beginning.
        hub = Hub::start(Arc::clone(&hub.key), 2);
        let fourth = hub.command(&to, b"4").await;
        assert_eq!(device.accept(&fourth).unwrap().body, b"4");
        device.session_changed(Some("two"));
        let late = hub.command(&to, b"5").await;
        assert_eq!(device.accept(&late), Err(Refused::Stale));
        let fifth = hub.command(&address("two"), b"6").await;
        assert_eq!(device.accept(&fifth).unwrap().body, b"6");
        device.session_changed(None);
        let sixth = hub.command(&address("two"), b"7").await;
        assert_eq!(device.accept(&sixth), Err(Refused::Stale));
    }

    #[tokio::test]
    async fn what_is_not_the_hubs_or_not_for_this_device_is_refused() {
        let mut hub = Hub::start(Arc::new(HubKeys::ephemeral()), 1);
        let to = address("one");
        let other = ContainerInstanceId::new("f".repeat(32)).unwrap();
        let mut device = Acceptor::new(hub.key.verifying_key(), other);
        device.session_changed(Some("one"));
        let command = hub.command(&to, b"1").await;
        assert_eq!(device.accept(&command), Err(Refused::Foreign));
        let mut device = Acceptor::new(HubKeys::ephemeral().verifying_key(), to.device.clone());
        device.session_changed(Some("one"));
        assert!(matches!(device.accept(&command), Err(Refused::Signature(_))));
        let mut device = Acceptor::new(hub.key.verifying_key(), to.device.clone());
        device.session_changed(Some("one"));
        let document = hub.key.sign(Kind::Document, b"{}\n");
        assert!(matches!(device.accept(&document), Err(Refused::Signature(_))));
        for body in [&b""[..], b"{}\n", b"{\"v\":1}", &[b'['; HEAD_LIMIT], b"\n\n"] {
            let signed = hub.key.sign(Kind::Command, body);
            assert_eq!(device.accept(&signed), Err(Refused::Unreadable));
        }
        let large = hub.key.sign(Kind::Command, &vec![0; COMMAND_LIMIT]);
        assert!(matches!(
            device.accept(&large),
            Err(Refused::Signature(JwsError::TooLarge { .. }))
        ));
        for at in 0..command.len() {
            let mut changed = command.clone();
            changed[at] ^= 1;
            assert!(device.accept(&changed).is_err(), "byte {at}");
        }
        // All that left it as it was.
        assert!(device.accept(&command).is_ok());
    }
}
