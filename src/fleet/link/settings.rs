//! How to reach a broker, and what to say to it first.

use super::SessionId;
use super::message::Message;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// A broker's address: `mqtt://HOST[:PORT]`, `mqtts://HOST[:PORT]` or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerUrl {
    /// TCP without encryption: for a broker on the same box.
    Plain(Host),
    /// TLS.
    Secure(Host),
    /// A socket on the same box.
    Unix(PathBuf),
}

/// A host and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// A name, or an address without brackets.
    pub name: String,
    /// The port.
    pub port: u16,
}

/// Why a broker's URL was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerUrlError {
    /// No scheme, or one that is not spoken.
    #[error("{0:?} is no broker: mqtt://HOST[:PORT], mqtts://HOST[:PORT] or unix:PATH is")]
    Scheme(String),
    /// There is nothing to connect to.
    #[error("{0:?} names no host or an invalid one")]
    Host(String),
    /// The port is no port.
    #[error("{0:?} has no valid port")]
    Port(String),
    /// User and password are kept out of URLs, as these are logged.
    #[error("a broker's URL has no user and password: they are given apart")]
    Credentials,
    /// Something after the port.
    #[error("{0:?} has a path, which MQTT over TCP has not")]
    Path(String),
}

impl Host {
    /// Reads `HOST[:PORT]`, as in a URL or in a broker's reference to another.
    pub(super) fn parse(text: &str, default_port: u16) -> Result<Self, BrokerUrlError> {
        let bad = || BrokerUrlError::Host(text.to_owned());
        let (name, port) = if let Some(rest) = text.strip_prefix('[') {
            let (name, rest) = rest.split_once(']').ok_or_else(bad)?;
            name.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
            match rest {
                "" => (name, None),
                _ => (name, Some(rest.strip_prefix(':').ok_or_else(bad)?)),
            }
        } else {
            match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            }
        };
        let usual = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':');
        if name.is_empty() || name.len() > 253 || !name.bytes().all(usual) {
            return Err(bad());
        }
        let port = match port.map(u16::from_str) {
            None => default_port,
            Some(Ok(port)) if port != 0 => port,
            Some(_) => return Err(BrokerUrlError::Port(text.to_owned())),
        };
        Ok(Self { name: name.to_owned(), port })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

impl FromStr for BrokerUrl {
    type Err = BrokerUrlError;
    fn from_str(url: &str) -> Result<Self, BrokerUrlError> {
        let shown = || url.chars().take(256).collect::<String>();
        if let Some(path) = url.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.starts_with('/') {
                Ok(Self::Unix(PathBuf::from(path)))
            } else {
                Err(BrokerUrlError::Host(shown()))
            };
        }
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| BrokerUrlError::Scheme(shown()))?;
        let (make, port): (fn(Host) -> Self, _) = match scheme {
            "mqtt" => (Self::Plain, 1883),
            "mqtts" => (Self::Secure, 8883),
            _ => return Err(BrokerUrlError::Scheme(shown())),
        };
        if rest.contains('@') {
            return Err(BrokerUrlError::Credentials);
        }
        let host = rest.strip_suffix('/').unwrap_or(rest);
        if host.contains(['/', '?', '#']) {
            return Err(BrokerUrlError::Path(shown()));
        }
        Host::parse(host, port).map(make)
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(host) => write!(f, "mqtt://{host}"),
            Self::Secure(host) => write!(f, "mqtts://{host}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The version of MQTT to speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// 5, and 3.1.1 with a broker that does not know 5.
    #[default]
    Auto,
    /// 5.
    V5,
    /// 3.1.1. It tells no reasons, and a message that the broker refuses counts as delivered or costs the connection.
    V311,
}

/// A user's name and password at the broker.
#[derive(Clone)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// The password.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Whom to trust at the other end, and who this end is. Everything in PEM.
#[derive(Clone, Default)]
pub struct Tls {
    /// The authorities that may have issued the broker's certificate, and no others. `None`: the public ones.
    pub authorities: Option<Vec<u8>>,
    /// This end's certificate with what is between it and its authority, and its private key.
    pub identity: Option<(Vec<u8>, Zeroizing<Vec<u8>>)>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("pinned", &self.authorities.is_some())
            .field("identity", &self.identity.is_some())
            .finish()
    }
}

/// Makes the last will of a connection, which names the connection's session.
pub type Will = Arc<dyn Fn(&SessionId) -> Message + Send + Sync>;

/// All that a [`Link`](super::Link) needs to know.
#[derive(Clone)]
pub struct Settings {
    /// Where the broker is.
    pub broker: BrokerUrl,
    /// Where else it is: all are tried in turn before the link waits.
    pub others: Vec<BrokerUrl>,
    /// Who this is; unique at the broker, as a second client of the same id ends the connection of the first.
    pub client_id: String,
    /// For a broker that asks for them.
    pub credentials: Option<Credentials>,
    /// For `mqtts`.
    pub tls: Tls,
    /// What to speak.
    pub version: Version,
    /// Silence after which each end asks whether the other is still there. 5 s to 65 535 s.
    pub keep_alive: Duration,
    /// True: begin anew at each connection. False: the broker keeps subscriptions and what comes meanwhile.
    pub clean_start: bool,
    /// How long the broker keeps them (MQTT 5; with 3.1.1 the broker decides).
    pub session_expiry: Duration,
    /// How many messages may wait for their [`Ack`](super::Ack) (MQTT 5; with 3.1.1 the broker decides).
    pub receive_maximum: u16,
    /// The largest packet that is taken; a larger one is thrown away, acknowledged and told of.
    pub max_packet: usize,
    /// How many messages may be under way or wait to be.
    pub queue: usize,
    /// The longest wait between two attempts to connect.
    pub back_off_cap: Duration,
    /// What the broker says when this end is gone without a word.
    pub will: Option<Will>,
}

impl Settings {
    /// Settings with the usual numbers and without will, credentials and certificates.
    #[must_use]
    pub fn new(broker: BrokerUrl, client_id: impl Into<String>) -> Self {
        Self {
            broker,
            others: Vec::new(),
            client_id: client_id.into(),
            credentials: None,
            tls: Tls::default(),
            version: Version::Auto,
            keep_alive: Duration::from_mins(1),
            clean_start: false,
            session_expiry: Duration::from_hours(24),
            receive_maximum: 16,
            max_packet: 256 * 1024,
            queue: 64,
            back_off_cap: Duration::from_mins(5),
            will: None,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("broker", &self.broker)
            .field("client_id", &self.client_id)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_written() {
        for (text, written) in [
            ("mqtt://127.0.0.1", "mqtt://127.0.0.1:1883"),
            ("mqtts://hub.example/", "mqtts://hub.example:8883"),
            ("mqtts://hub.example:443", "mqtts://hub.example:443"),
            ("mqtt://[::1]", "mqtt://[::1]:1883"),
            ("mqtts://[fd00::1]:8884", "mqtts://[fd00::1]:8884"),
            ("unix:///run/broker.sock", "unix:/run/broker.sock"),
            ("unix:/run/broker.sock", "unix:/run/broker.sock"),
        ] {
            assert_eq!(text.parse::<BrokerUrl>().unwrap().to_string(), written);
        }
    }

    #[test]
    fn other_urls_are_refused_for_what_is_wrong() {
        let read = |url: &str| url.parse::<BrokerUrl>().unwrap_err();
        assert!(matches!(read("hub.example:1883"), BrokerUrlError::Scheme(_)));
        assert!(matches!(read("wss://hub.example"), BrokerUrlError::Scheme(_)));
        assert!(matches!(read("mqtt://"), BrokerUrlError::Host(_)));
        assert!(matches!(read("mqtt://a b"), BrokerUrlError::Host(_)));
        assert!(matches!(read("mqtt://[::1"), BrokerUrlError::Host(_)));
        assert!(matches!(read("mqtt://[box]:1"), BrokerUrlError::Host(_)));
        assert!(matches!(read("unix:run"), BrokerUrlError::Host(_)));
        assert!(matches!(read("mqtt://hub:0"), BrokerUrlError::Port(_)));
        assert!(matches!(read("mqtt://hub:65536"), BrokerUrlError::Port(_)));
        assert!(matches!(read("mqtt://hub:"), BrokerUrlError::Port(_)));
        assert!(matches!(read("mqtt://me:secret@hub"), BrokerUrlError::Credentials));
        assert!(matches!(read("mqtt://hub/mqtt"), BrokerUrlError::Path(_)));
    }

    #[test]
    fn passwords_and_keys_are_not_shown() {
        let secret = || Zeroizing::new(b"hunter2".to_vec());
        let password = Zeroizing::new("hunter2".to_owned());
        let credentials = Credentials { user: "box".to_owned(), password };
        let tls = Tls { authorities: None, identity: Some((b"hunter2".to_vec(), secret())) };
        let shown = format!("{credentials:?} {tls:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("104, 117"), "{shown}");
    }
}
