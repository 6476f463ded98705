//! Makes one connection: the name, TCP, TLS, and the first two packets. Every step ends within a time.

use super::SessionId;
use super::error::LinkError;
use super::reason::Reason;
use super::settings::{BrokerUrl, Host, Settings};
use super::wire::Protocol;
use super::wire::decode::{ConnAck, Packet};
use super::wire::encode::{self, Connect};
use super::wire::frames::{Frame, Frames};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Packets up to so many times as large as what is taken are thrown away here, larger ones by the broker.
const TOLD_OF: usize = 4;

/// The last step.
pub(super) const CONNACK: &str = "CONNACK";
/// For each step.
const PATIENCE: Duration = Duration::from_secs(15);
/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 4;

/// Bytes both ways.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that the broker has taken.
pub(super) struct Opened {
    pub stream: Box<dyn Stream>,
    /// What came after the broker's answer is in here already.
    pub frames: Frames,
    pub protocol: Protocol,
    pub answer: ConnAck,
    /// For messages.
    pub host: String,
}

/// Makes a connection.
pub(super) async fn open(
    settings: &Settings,
    broker: &BrokerUrl,
    tls: Option<Arc<ClientConfig>>,
    protocol: Protocol,
    session: &SessionId,
) -> Result<Opened, LinkError> {
    let (stream, host): (Box<dyn Stream>, String) = match (broker, tls) {
        (BrokerUrl::Plain(host), _) => (Box::new(tcp(host).await?), host.name.clone()),
        (BrokerUrl::Secure(host), Some(tls)) => (secure(host, tls).await?, host.name.clone()),
        (BrokerUrl::Secure(_), None) => {
            return Err(LinkError::TlsSettings("none are given".to_owned()));
        }
        (BrokerUrl::Unix(path), _) => {
            let address = path.display().to_string();
            let stream = UnixStream::connect(path)
                .await
                .map_err(|source| LinkError::Connect { address: address.clone(), source })?;
            (Box::new(stream), address)
        }
    };
    let greeting = greet(settings, stream, protocol, session, host);
    let late = |_| LinkError::Timeout { address: broker.to_string(), phase: CONNACK };
    timeout(PATIENCE, greeting).await.map_err(late)?
}

async fn tcp(host: &Host) -> Result<TcpStream, LinkError> {
    let late = |phase| LinkError::Timeout { address: host.to_string(), phase };
    let resolve = |source| LinkError::Resolve { host: host.name.clone(), source };
    let addresses = timeout(PATIENCE, lookup_host((host.name.as_str(), host.port)))
        .await
        .map_err(|_| late("name resolution"))?
        .map_err(resolve)?;
    let mut failure = resolve(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
    for address in addresses.take(MOST_ADDRESSES) {
        match timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Small packets that somebody waits for.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(source)) => {
                failure = LinkError::Connect { address: address.to_string(), source }
            }
            Err(_) => failure = LinkError::Timeout { address: address.to_string(), phase: "TCP" },
        }
    }
    Err(failure)
}

async fn secure(host: &Host, tls: Arc<ClientConfig>) -> Result<Box<dyn Stream>, LinkError> {
    let name = ServerName::try_from(host.name.clone())
        .map_err(|_| LinkError::TlsName { host: host.name.clone() })?;
    let handshake = TlsConnector::from(tls).connect(name, tcp(host).await?);
    match timeout(PATIENCE, handshake).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(error)) => Err(LinkError::of_stream(&host.name, error)),
        Err(_) => Err(LinkError::Timeout { address: host.to_string(), phase: "TLS" }),
    }
}

/// Says who this is, and waits for the answer.
async fn greet(
    settings: &Settings,
    mut stream: Box<dyn Stream>,
    protocol: Protocol,
    session: &SessionId,
    host: String,
) -> Result<Opened, LinkError> {
    let broken = |error| LinkError::of_stream(&host, error);
    let mut out = Vec::new();
    let will = settings.will.as_ref().map(|will| will(session));
    let connect = Connect {
        client_id: &settings.client_id,
        clean_start: settings.clean_start,
        keep_alive: u16::try_from(settings.keep_alive.as_secs()).unwrap_or(u16::MAX).max(1),
        session_expiry: settings.session_expiry,
        receive_maximum: settings.receive_maximum,
        // A broker keeps back what is larger without a word to anybody. What is somewhat larger is to be told of.
        max_packet: settings.max_packet.saturating_mul(TOLD_OF),
        credentials: settings.credentials.as_ref().map(|c| (c.user.as_str(), c.password.as_str())),
        will: will.as_ref(),
    };
    encode::connect(&mut out, protocol, &connect);
    stream.write_all(&out).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut frames = Frames::new(protocol, settings.max_packet);
    let frame = loop {
        if let Some(frame) = frames.next()? {
            break frame;
        }
        if stream.read_buf(frames.buffer()).await.map_err(broken)? == 0 {
            return Err(LinkError::Closed);
        }
        if !frames.begin_with_connack() {
            return Err(LinkError::Protocol("its first packet is no CONNACK"));
        }
    };
    let Frame::Packet(Packet::ConnAck(answer)) = frame else {
        return Err(LinkError::Protocol("its first packet is no CONNACK"));
    };
    if answer.reason != Reason::SUCCESS {
        let (reason, text) = (answer.reason, answer.text);
        return Err(if reason.is_authorisation() {
            LinkError::NotAuthorised { reason, text }
        } else {
            LinkError::Refused { reason, text, server: answer.server }
        });
    }
    if !answer.qos1 {
        return Err(LinkError::Unfit("it takes messages with QoS 0 alone"));
    }
    Ok(Opened { stream, frames, protocol, answer, host })
}
