//! One attempt to connect, by who only wants to know whether that works.

use super::connect::{self, Stream};
use super::error::LinkError;
use super::message::SessionId;
use super::reason::Reason;
use super::settings::{Settings, Version};
use super::tls;
use super::wire::{Protocol, encode};
use tokio::io::AsyncWriteExt;

/// Connects to the broker, or else to one of the others, and leaves.
///
/// A connection that this client has is ended by the broker; its session stays, with all that waits in it, and there is no
/// last will. So this is for a client that is not connected.
///
/// # Errors
/// Why the first of the brokers cannot be used, when none of them can.
pub async fn probe(settings: &Settings) -> Result<(), LinkError> {
    let settings = Settings { will: None, clean_start: false, ..settings.clone() };
    let tls = tls::client(&settings.tls)?;
    let protocols: &[Protocol] = match settings.version {
        Version::Auto => &[Protocol::V5, Protocol::V311],
        Version::V5 => &[Protocol::V5],
        Version::V311 => &[Protocol::V311],
    };
    let mut first = None;
    for broker in std::iter::once(&settings.broker).chain(&settings.others) {
        for protocol in protocols {
            let session = SessionId::random();
            let tried = connect::open(&settings, broker, Some(tls.clone()), *protocol, &session);
            match tried.await {
                Ok(opened) => {
                    leave(opened.stream, *protocol).await;
                    return Ok(());
                }
                Err(error) => {
                    let other_version = matches!(
                        error,
                        LinkError::Refused { reason: Reason::UNSUPPORTED_VERSION, .. }
                            | LinkError::Closed
                            | LinkError::Protocol(_)
                            | LinkError::Wire(_)
                    );
                    first.get_or_insert(error);
                    if !other_version {
                        break;
                    }
                }
            }
        }
    }
    Err(first.unwrap_or(LinkError::Closed))
}

/// Says good-bye. That the broker does not hear it is its own business.
async fn leave(mut stream: Box<dyn Stream>, protocol: Protocol) {
    let mut out = Vec::new();
    encode::disconnect(&mut out, protocol, Reason::SUCCESS);
    let _ = stream.write_all(&out).await;
    let _ = stream.shutdown().await;
}
