//! Where a broker is: one that runs elsewhere, for the hub; and under which names boxes find it.

use super::ConfigError;
use super::value::{Given, is_host};
use std::fmt;
use std::path::PathBuf;

/// A broker that runs elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteBroker {
    /// `mqtt://HOST[:PORT]` or `mqtts://HOST[:PORT]`.
    pub url: String,
    /// A file with one line `USER:PASSWORD`.
    pub credentials: Option<PathBuf>,
    /// The authority of its certificate, in PEM.
    pub ca: Option<PathBuf>,
}

/// A name or an address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerHost {
    /// A name or an address; one of IPv6 stands in brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl BrokerHost {
    /// The host as certificates name it: without brackets.
    #[must_use]
    pub fn name(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

impl fmt::Display for BrokerHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

pub(super) fn broker_hosts(
    texts: Vec<String>,
    origin: &str,
) -> Result<Vec<BrokerHost>, ConfigError> {
    let read = |value: String| {
        let given = Given { value, origin: origin.to_owned() };
        let text = given.value.trim();
        let parts = text.rsplit_once(':').filter(|_| is_host(text));
        parts
            .and_then(|(host, port)| {
                Some(BrokerHost { host: host.to_owned(), port: port.parse().ok()? })
            })
            .ok_or_else(|| given.invalid("it must be HOST:PORT, for example hub.example:8883"))
    };
    texts.into_iter().map(read).collect()
}

pub(super) fn broker_url(given: &Given) -> Result<String, ConfigError> {
    let url = given.value.trim().trim_end_matches('/');
    let host = url.strip_prefix("mqtts://").or_else(|| url.strip_prefix("mqtt://"));
    if host.is_some_and(is_host) {
        return Ok(url.to_owned());
    }
    Err(given.invalid(
        "it must be mqtts://HOST[:PORT] or mqtt://HOST[:PORT]; user and password are in --broker-credentials",
    ))
}
