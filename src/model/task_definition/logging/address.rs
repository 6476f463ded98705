//! Where a receiver listens.

use super::LogProblem;
use super::values::{Values, problem};
use std::fmt;

/// Where a receiver listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A stream over the network: host and port.
    Tcp(String, u16),
    /// Datagrams over the network: host and port.
    Udp(String, u16),
    /// A stream socket of this box.
    Unix(String),
    /// A datagram socket of this box; the first of the paths that there is.
    UnixDatagram(Vec<String>),
}

impl Address {
    /// True when messages keep their bounds on the way.
    #[must_use]
    pub const fn is_datagram(&self) -> bool {
        matches!(self, Self::Udp(..) | Self::UnixDatagram(_))
    }

    /// Reads `SCHEME://HOST[:PORT]` or `SCHEME:///PATH`, where the scheme is one of `schemes`; the first of them when
    /// none is given.
    pub(super) fn read(
        values: &Values<'_>,
        name: &str,
        schemes: &[&str],
        port: Option<u16>,
    ) -> Result<Option<Self>, LogProblem> {
        let Some(text) = values.text(name) else { return Ok(None) };
        let default = schemes.first().copied().unwrap_or_default();
        let (scheme, rest) = text.split_once("://").unwrap_or((default, text));
        if scheme == "tcp+tls" || scheme == "tls" {
            return Err(problem(name, "TLS is not supported: use tcp://"));
        }
        if !schemes.contains(&scheme) {
            let forms = schemes.join("://, ");
            return Err(problem(name, format!("it must begin with one of {forms}://")));
        }
        let address = match scheme {
            "unix" => rest.starts_with('/').then(|| Self::Unix(rest.to_owned())),
            "unixgram" => rest.starts_with('/').then(|| Self::UnixDatagram(vec![rest.to_owned()])),
            _ => host_and_port(rest, port).map(|(host, port)| match scheme {
                "udp" => Self::Udp(host, port),
                _ => Self::Tcp(host, port),
            }),
        };
        address.map(Some).ok_or_else(|| {
            let form = if scheme.starts_with("unix") { "/PATH" } else { "HOST:PORT" };
            problem(name, format!("{scheme}:// is followed by {form}: correct it"))
        })
    }
}

fn host_and_port(text: &str, default: Option<u16>) -> Option<(String, u16)> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        (host, rest.strip_prefix(':').or_else(|| rest.is_empty().then_some(""))?)
    } else {
        text.split_once(':').unwrap_or((text, ""))
    };
    let port = if port.is_empty() { default? } else { port.parse().ok().filter(|p| *p > 0)? };
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
    (!host.is_empty() && host.len() < 256 && host.chars().all(plain))
        .then(|| (host.to_owned(), port))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) => write!(f, "tcp://{host}:{port}"),
            Self::Udp(host, port) => write!(f, "udp://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix://{path}"),
            Self::UnixDatagram(paths) => {
                write!(f, "unixgram://{}", paths.first().map_or("", String::as_str))
            }
        }
    }
}
