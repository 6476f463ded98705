//! Why there is no connection: one text per kind of failure, so that whoever reads it knows where to look.

use super::reason::Reason;
use super::wire::WireError;
use rustls::{AlertDescription, CertificateError};
use std::io;
use std::time::Duration;

/// Why a connection was not made or came to its end.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The name is not known, or nobody can be asked.
    #[error("the broker's name {host} cannot be resolved: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// Nobody listens there, or there is no way to it.
    #[error("the broker at {address} cannot be reached: {source}")]
    Connect {
        /// An address and its port, or a path.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Nothing came for too long while the connection was being made.
    #[error("the broker at {address} did not answer in time ({phase})")]
    Timeout {
        /// Where.
        address: String,
        /// What was waited for.
        phase: &'static str,
    },
    /// The broker's certificate is another's.
    #[error("the broker's certificate is not for {host}: it must name what the URL names")]
    TlsName {
        /// The name in the URL.
        host: String,
    },
    /// The broker's certificate is not of an authority that is trusted here, or no longer valid.
    #[error("the broker's certificate is not to be trusted: {reason}")]
    TlsUntrusted {
        /// Why.
        reason: CertificateError,
    },
    /// The broker does not take this end's certificate.
    #[error("the broker refuses this client's certificate ({alert:?})")]
    TlsRefused {
        /// In the words of TLS.
        alert: AlertDescription,
    },
    /// The certificates and keys given for TLS cannot be used.
    #[error("TLS cannot be used: {0}")]
    TlsSettings(String),
    /// TLS failed in another way.
    #[error("TLS with the broker failed: {0}")]
    Tls(rustls::Error),
    /// The broker knows this client and does not want it, or does not know it.
    #[error("the broker refuses this client: {reason}{}", said(.text.as_ref()))]
    NotAuthorised {
        /// Why.
        reason: Reason,
        /// In its own words.
        text: Option<String>,
    },
    /// The broker refused the connection for another reason, which may go away.
    #[error("the broker refused the connection: {reason}{}", said(.text.as_ref()))]
    Refused {
        /// Why.
        reason: Reason,
        /// In its own words.
        text: Option<String>,
        /// Another broker to go to.
        server: Option<String>,
    },
    /// The broker ended a connection that was up.
    #[error("the broker ended the connection: {reason}{}", said(.text.as_ref()))]
    Ended {
        /// Why.
        reason: Reason,
        /// In its own words.
        text: Option<String>,
        /// Another broker to go to.
        server: Option<String>,
    },
    /// The broker cannot do what is needed.
    #[error("this broker cannot be used: {0}")]
    Unfit(&'static str),
    /// The connection was closed without a word.
    #[error("the broker closed the connection without a word")]
    Closed,
    /// The connection broke.
    #[error("the connection to the broker broke: {0}")]
    Broken(io::Error),
    /// The other end is gone without closing, or the way to it.
    #[error("nothing came from the broker for {} s", .0.as_secs())]
    Silent(Duration),
    /// What the broker sent is no MQTT.
    #[error("the broker breaks the protocol: {0}")]
    Wire(#[from] WireError),
    /// What the broker sent has no place here.
    #[error("the broker breaks the protocol: {0}")]
    Protocol(&'static str),
    /// This end wanted a new connection.
    #[error("a new connection was asked for")]
    Asked,
}

fn said(text: Option<&String>) -> String {
    text.map(|text| format!(" ({})", text.chars().take(256).collect::<String>()))
        .unwrap_or_default()
}

impl LinkError {
    /// What went wrong on an open connection, or while TLS was beginning.
    pub(super) fn of_stream(host: &str, error: io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Self::TlsName { host: host.to_owned() },
            Some(rustls::Error::InvalidCertificate(reason)) => {
                Self::TlsUntrusted { reason: reason.clone() }
            }
            Some(rustls::Error::AlertReceived(alert)) if is_refusal(*alert) => {
                Self::TlsRefused { alert: *alert }
            }
            Some(other) => Self::Tls(other.clone()),
            None if error.kind() == io::ErrorKind::UnexpectedEof => Self::Closed,
            None => Self::Broken(error),
        }
    }

    /// True when the broker asked for fewer attempts.
    pub(super) fn is_overload(&self) -> bool {
        matches!(self, Self::Refused { reason, .. } | Self::Ended { reason, .. } if reason.is_overload())
    }

    /// The broker to go to instead.
    pub(super) fn server(&self) -> Option<&str> {
        match self {
            Self::Refused { reason, server, .. } | Self::Ended { reason, server, .. }
                if matches!(*reason, Reason::USE_ANOTHER | Reason::MOVED) =>
            {
                server.as_deref()
            }
            _ => None,
        }
    }

    /// What to tell a broker that breaks the protocol.
    pub(super) fn complaint(&self) -> Option<Reason> {
        match self {
            Self::Wire(WireError::Large(_)) => Some(Reason::TOO_LARGE),
            Self::Wire(_) => Some(Reason::MALFORMED_PACKET),
            Self::Protocol(_) => Some(Reason::PROTOCOL_ERROR),
            _ => None,
        }
    }
}

/// The alerts with which a server turns down a client's certificate, or the lack of one.
fn is_refusal(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::HandshakeFailure
    )
}
