//! HTTP/1.1 requests over TCP or TLS: connections kept for reuse, redirects, time limits, bounded bodies.
//!
//! `Authorization` is sent to the origin it was made for and to no other: a redirect elsewhere loses it, and a redirect
//! from `https` to `http` is refused. Nothing is retried here.

use super::address::{Origin, Url, UrlError};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

const CONNECT: Duration = Duration::from_secs(15);
const HEADERS: Duration = Duration::from_mins(1);
/// Longest silence within a body.
const STALL: Duration = Duration::from_mins(1);
const REDIRECTS: usize = 5;
const IDLE_CONNECTIONS: usize = 4;
const AGENT: &str = concat!("coracle/", env!("CARGO_PKG_VERSION"));
/// Where distributions keep the certificates of their authorities.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The name has no address.
    #[error("lookup {host}: no such host ({source})")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Nobody answers there.
    #[error("dial {host}: {source}")]
    Connect {
        /// Host and port.
        host: String,
        /// Why not.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to {host} broke: {source}")]
    Broken {
        /// Host and port.
        host: String,
        /// How.
        source: hyper::Error,
    },
    /// Nothing came for too long.
    #[error("{host} did not answer in time ({phase})")]
    Timeout {
        /// Host and port.
        host: String,
        /// What was waited for.
        phase: &'static str,
    },
    /// A redirect that is not followed.
    #[error("{from} redirects {reason}")]
    Redirect {
        /// Who redirects.
        from: Url,
        /// Why it is not followed.
        reason: &'static str,
    },
    /// A redirect to something that is no URL.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The body is larger than it may be.
    #[error("{url} sends more than {limit} bytes")]
    Large {
        /// What was asked for.
        url: Url,
        /// The bound.
        limit: u64,
    },
    /// The request cannot be made.
    #[error("the request to {0} is not valid HTTP")]
    Request(Url),
    /// A file of certificate authorities has none.
    #[error("{} holds no certificate authority: {reason}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The program ends.
    #[error("the program is ending")]
    Ending,
    /// The TLS provider refuses to start.
    #[error("TLS cannot be used: {0}")]
    Tls(rustls::Error),
}

impl TransferError {
    /// True when trying again may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { source, .. } => source.kind() != io::ErrorKind::InvalidData,
            Self::Broken { .. } | Self::Timeout { .. } => true,
            Self::Resolve { .. }
            | Self::Redirect { .. }
            | Self::Url(_)
            | Self::Large { .. }
            | Self::Request(_)
            | Self::Authorities { .. }
            | Self::Ending
            | Self::Tls(_) => false,
        }
    }
}

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
    tls: OnceLock<Arc<ClientConfig>>,
    /// PEM files with certificate authorities beside the system's.
    authorities: Vec<PathBuf>,
    idle: Mutex<Vec<(Origin, SendRequest<Full<Bytes>>)>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// No connection yet; trusts the certificate authorities of the system and of these PEM files.
    pub(super) fn new(authorities: Vec<PathBuf>) -> Self {
        Self { tls: OnceLock::new(), authorities, idle: Mutex::default() }
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
        let host = ask.url.authority();
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
        let fresh = timeout(CONNECT, self.connect(&ask.url))
            .await
            .map_err(|_| TransferError::Timeout { host, phase: "connecting" })??;
        self.send(fresh, ask).await
    }

    async fn send(
        &self,
        mut connection: SendRequest<Full<Bytes>>,
        ask: &Ask,
    ) -> Result<Answer, TransferError> {
        let host = ask.url.authority();
        let mut request = Request::builder()
            .method(if ask.form.is_some() { Method::POST } else { Method::GET })
            .uri(&ask.url.path)
            .header(header::HOST, &host)
            .header(header::USER_AGENT, AGENT);
        if let Some(authorization) = &ask.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
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
        let failed = |source| TransferError::Connect { host: host.clone(), source };
        let addresses: Vec<_> = tokio::net::lookup_host((url.host.as_str(), url.port))
            .await
            .map_err(|source| TransferError::Resolve { host: url.host.clone(), source })?
            .collect();
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        let mut stream = None;
        // One dead address must not use up the time of the others.
        let each = CONNECT / u32::try_from(addresses.len().max(1)).unwrap_or(1);
        for address in addresses {
            match timeout(each, TcpStream::connect(address)).await {
                Ok(Ok(connected)) => {
                    stream = Some(connected);
                    break;
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        let stream = stream.ok_or_else(|| failed(last))?;
        stream.set_nodelay(true).map_err(failed)?;
        if !url.secure {
            return start(stream, host).await;
        }
        let name = ServerName::try_from(url.host.clone())
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let tls = TlsConnector::from(self.tls().await?);
        start(tls.connect(name, stream).await.map_err(failed)?, host.clone()).await
    }

    /// The TLS settings, made when they are first needed: reading all certificates takes time and memory.
    async fn tls(&self) -> Result<Arc<ClientConfig>, TransferError> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls.clone());
        }
        let authorities = self.authorities.clone();
        let roots = match tokio::task::spawn_blocking(move || roots(&authorities)).await {
            Ok(roots) => roots?,
            Err(_) => return Err(TransferError::Ending),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TransferError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(self.tls.get_or_init(|| Arc::new(config)).clone())
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
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE_CONNECTIONS {
                idle.push((answer.url.origin(), connection));
            }
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

/// The system's certificate authorities, or those built in when the system has none, and those of the files.
fn roots(files: &[PathBuf]) -> Result<RootCertStore, TransferError> {
    let system = BUNDLES.iter().find_map(|bundle| {
        let mut roots = RootCertStore::empty();
        let certificates = CertificateDer::pem_file_iter(Path::new(bundle)).ok()?;
        let (added, _) = roots.add_parsable_certificates(certificates.filter_map(Result::ok));
        (added > 0).then_some(roots)
    });
    let mut roots =
        system.unwrap_or_else(|| RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
    for path in files {
        let failed = |reason: String| TransferError::Authorities { path: path.clone(), reason };
        let certificates = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| failed(error.to_string()))?;
        if certificates.is_empty() {
            return Err(failed("the file has no certificate".to_owned()));
        }
        for certificate in certificates {
            roots.add(certificate).map_err(|error| failed(error.to_string()))?;
        }
    }
    Ok(roots)
}
