//! HTTP/1.1 requests over TCP or TLS: connections kept for reuse, redirects, time limits, bounded bodies.
//!
//! `Authorization` is sent to the origin it was made for and to no other: a redirect elsewhere loses it, and a redirect
//! from `https` to `http` is refused. Nothing is retried here.

use super::address::{Origin, Url};
use super::connect;
use super::error::TransferError;
use super::tls::{self, Tls, Trust};
use crate::config::{Proxies, Proxy};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

pub(super) const CONNECT: Duration = Duration::from_secs(15);
const HEADERS: Duration = Duration::from_mins(1);
/// Longest silence within a body.
const STALL: Duration = Duration::from_mins(1);
const REDIRECTS: usize = 5;
const IDLE_CONNECTIONS: usize = 4;
pub(super) const AGENT: &str = concat!("coracle/", env!("CARGO_PKG_VERSION"));
/// What to ask for.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    /// Where.
    pub url: Url,
    /// Header fields but `Authorization`.
    pub headers: HeaderMap,
    /// For the URL's origin only.
    pub authorization: Option<HeaderValue>,
    /// A form to post; without it, GET.
    pub form: Option<String>,
}

/// An answer whose body is still to be read.
pub(super) struct Answer {
    /// The status line's code.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// Who answered, after redirects.
    pub url: Url,
    body: Incoming,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Makes requests; belongs to one pull.
pub(super) struct Client {
    tls: Tls,
    proxies: Proxies,
    idle: Mutex<Vec<(Origin, SendRequest<Full<Bytes>>)>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// No connection yet.
    pub(super) fn new(trust: Trust, proxies: Proxies) -> Self {
        Self { tls: Tls::new(trust), proxies, idle: Mutex::default() }
    }

    /// Asks, following redirects.
    pub(super) async fn ask(&self, mut ask: Ask) -> Result<Answer, TransferError> {
        for _ in 0..=REDIRECTS {
            let answer = self.ask_once(&ask).await?;
            let redirected = matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308);
            let Some(location) = answer.headers.get(header::LOCATION).filter(|_| redirected) else {
                return Ok(answer);
            };
            let refuse = |reason| TransferError::Redirect { from: ask.url.clone(), reason };
            if ask.form.is_some() {
                return Err(refuse("a request that carries credentials"));
            }
            let location = location.to_str().map_err(|_| refuse("to something that is no URL"))?;
            let next = ask.url.join(location)?;
            if ask.url.secure && !next.secure {
                return Err(refuse("from https to http"));
            }
            if next.origin() != ask.url.origin() {
                ask.authorization = None;
            }
            ask.url = next;
        }
        Err(TransferError::Redirect { from: ask.url, reason: "too often" })
    }

    async fn ask_once(&self, ask: &Ask) -> Result<Answer, TransferError> {
        // A kept connection may have been closed by the other side in the meantime: then a fresh one is used.
        if let Some(kept) = self.kept(&ask.url.origin()) {
            match self.send(kept, ask).await {
                Err(TransferError::Broken { source, .. })
                    if source.is_canceled()
                        || source.is_closed()
                        || source.is_incomplete_message() => {}
                other => return other,
            }
        }
        let fresh = self.connect_in_time(&ask.url).await?;
        self.send(fresh, ask).await
    }

    async fn send(
        &self,
        mut connection: SendRequest<Full<Bytes>>,
        ask: &Ask,
    ) -> Result<Answer, TransferError> {
        let host = ask.url.authority();
        // A proxy is told the whole URL; where there is TLS, it has made a tunnel and sees nothing.
        let proxy = self.proxy(&ask.url).filter(|_| !ask.url.secure);
        let target = match proxy {
            Some(_) => format!("http://{host}{}", ask.url.path),
            None => ask.url.path.clone(),
        };
        let mut request = Request::builder()
            .method(if ask.form.is_some() { Method::POST } else { Method::GET })
            .uri(target)
            .header(header::HOST, &host)
            .header(header::USER_AGENT, AGENT);
        if let Some(authorization) = &ask.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if let Some(login) = proxy.and_then(connect::proxy_login) {
            request = request.header(header::PROXY_AUTHORIZATION, login);
        }
        if ask.form.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        let body = Full::from(ask.form.clone().unwrap_or_default());
        let mut request =
            request.body(body).map_err(|_| TransferError::Request(ask.url.clone()))?;
        for (name, value) in &ask.headers {
            request.headers_mut().append(name, value.clone());
        }
        let answer = timeout(HEADERS, connection.send_request(request))
            .await
            .map_err(|_| TransferError::Timeout { host: host.clone(), phase: "response header" })?
            .map_err(|source| TransferError::Broken { host, source })?;
        let (parts, body) = answer.into_parts();
        if let Some(proxy) = proxy
            && parts.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED
        {
            return Err(connect::proxy_refuses(proxy, parts.status.as_u16()));
        }
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            url: ask.url.clone(),
            body,
            connection: Some(connection),
        })
    }

    async fn connect(&self, url: &Url) -> Result<SendRequest<Full<Bytes>>, TransferError> {
        let host = url.authority();
        let stream = match self.proxy(url) {
            None => connect::dial(&url.host, url.port, &host).await?,
            Some(proxy) => {
                let stream =
                    connect::dial(&proxy.host, proxy.port, &format!("the proxy {proxy}")).await?;
                if url.secure { connect::tunnel(stream, proxy, url).await? } else { stream }
            }
        };
        if !url.secure {
            return start(stream, host).await;
        }
        let name = ServerName::try_from(url.host.clone()).map_err(|error| {
            let source = io::Error::new(io::ErrorKind::InvalidInput, error);
            TransferError::Connect { host: host.clone(), source }
        })?;
        let tls = TlsConnector::from(self.tls.settings(&url.host).await?);
        let stream = tls.connect(name, stream).await.map_err(|e| tls::refused(&host, e))?;
        start(stream, host).await
    }

    /// The proxy that requests to `url` go through.
    fn proxy(&self, url: &Url) -> Option<&Proxy> {
        self.proxies.of(url.secure, &url.host, url.port)
    }

    /// Connects to `url`, TLS included. The connection is kept for the first request.
    pub(super) async fn reach(&self, url: &Url) -> Result<(), TransferError> {
        let connection = self.connect_in_time(url).await?;
        self.keep(url.origin(), connection);
        Ok(())
    }

    async fn connect_in_time(&self, url: &Url) -> Result<SendRequest<Full<Bytes>>, TransferError> {
        timeout(CONNECT, self.connect(url))
            .await
            .map_err(|_| TransferError::Timeout { host: url.authority(), phase: "connecting" })?
    }

    fn keep(&self, origin: Origin, connection: SendRequest<Full<Bytes>>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_CONNECTIONS {
            idle.push((origin, connection));
        }
    }

    fn kept(&self, origin: &Origin) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(_, connection)| !connection.is_closed());
        let at =
            idle.iter().position(|(kept, connection)| kept == origin && connection.is_ready())?;
        Some(idle.swap_remove(at).1)
    }

    /// The next piece of a body; `None` at its end, when the connection is kept for the next request.
    pub(super) async fn piece(&self, answer: &mut Answer) -> Result<Option<Bytes>, TransferError> {
        loop {
            let host = || answer.url.authority();
            let frame = timeout(STALL, answer.body.frame())
                .await
                .map_err(|_| TransferError::Timeout { host: host(), phase: "body" })?;
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|source| TransferError::Broken { host: host(), source })?;
            if let Ok(bytes) = frame.into_data() {
                return Ok(Some(bytes));
            }
        }
        if let Some(mut connection) = answer.connection.take()
            && connection.ready().await.is_ok()
        {
            self.keep(answer.url.origin(), connection);
        }
        Ok(None)
    }

    /// A whole body of at most `limit` bytes.
    pub(super) async fn body(
        &self,
        mut answer: Answer,
        limit: u64,
    ) -> Result<Vec<u8>, TransferError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece(&mut answer).await? {
            if (bytes.len() + piece.len()) as u64 > limit {
                return Err(TransferError::Large { url: answer.url, limit });
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }
}

/// Starts HTTP on a connected stream.
async fn start<S>(stream: S, host: String) -> Result<SendRequest<Full<Bytes>>, TransferError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(128 << 10)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|source| TransferError::Broken { host, source })?;
    // It ends when the sender and the body are dropped; what goes wrong, the request reports.
    tokio::spawn(connection);
    Ok(sender)
}
