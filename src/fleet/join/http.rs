//! One request to a hub, over HTTP/1.1 or HTTPS.
//!
//! HTTPS is for hubs behind a proxy with a public certificate; what is said is proved by token and signature either way.

use super::LARGEST;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// How long one request may take, from the name of the hub to the last byte of the answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a hub's API is: `http://HOST:PORT` or `https://HOST[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubUrl {
    secure: bool,
    /// A name, or an address without brackets.
    host: String,
    port: u16,
}

/// A text that is no hub's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not the address of a hub: http://HOST:PORT is, for example http://hub.example:51678, or https://HOST"
)]
pub struct UrlError(String);

impl HubUrl {
    /// The host, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Host and port as in a URL.
    #[must_use]
    pub fn authority(host: &str, port: u16) -> String {
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl FromStr for HubUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let bad = || UrlError(text.chars().take(256).collect());
        let trimmed = text.trim().trim_end_matches('/');
        let (secure, rest) = match trimmed.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(bad()),
        };
        let (host, port) = match rest.strip_prefix('[').map(|rest| rest.split_once(']')) {
            Some(Some((host, port))) => {
                host.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
                (host, port.strip_prefix(':').or_else(|| port.is_empty().then_some("")))
            }
            Some(None) => return Err(bad()),
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, Some("")),
            },
        };
        let port = match (port.ok_or_else(bad)?, secure) {
            ("", true) => 443,
            // Not the 80 that it would mean elsewhere: no hub listens there.
            ("", false) => return Err(bad()),
            (port, _) => port.parse().ok().filter(|port| *port != 0).ok_or_else(bad)?,
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        if host.is_empty() || host.len() > 253 || !host.chars().all(fits) {
            return Err(bad());
        }
        Ok(Self { secure, host: host.to_owned(), port })
    }
}

impl fmt::Display for HubUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}", Self::authority(&self.host, self.port))
    }
}

/// Why there was no answer; another attempt may have one.
#[derive(Debug, thiserror::Error)]
#[error("cannot reach the hub at {url}: {why}")]
pub struct Unanswered {
    url: String,
    why: String,
}

/// Posts `body`; the status and the body of the answer.
pub(super) async fn post(
    url: &HubUrl,
    path: &str,
    body: &[u8],
) -> Result<(StatusCode, Bytes), Unanswered> {
    ask(url, Method::POST, path, Bytes::copy_from_slice(body), LARGEST).await
}

/// Gets what is at `path`, of `at_most` bytes; the status and the body of the answer.
pub(in crate::fleet) async fn get(
    url: &HubUrl,
    path: &str,
    at_most: usize,
) -> Result<(StatusCode, Bytes), Unanswered> {
    ask(url, Method::GET, path, Bytes::new(), at_most).await
}

async fn ask(
    url: &HubUrl,
    method: Method,
    path: &str,
    body: Bytes,
    at_most: usize,
) -> Result<(StatusCode, Bytes), Unanswered> {
    let unanswered = |why: String| Unanswered { url: url.to_string(), why };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, HubUrl::authority(&url.host, url.port))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONNECTION, "close")
        .body(Full::new(body))
        .map_err(|e| unanswered(e.to_string()))?;
    match tokio::time::timeout(PATIENCE, attempt(url, request, at_most)).await {
        Ok(answered) => answered.map_err(unanswered),
        Err(_) => Err(unanswered(format!("no answer within {} seconds", PATIENCE.as_secs()))),
    }
}

async fn attempt(
    url: &HubUrl,
    request: Request<Full<Bytes>>,
    at_most: usize,
) -> Result<(StatusCode, Bytes), String> {
    let tcp = TcpStream::connect((url.host.as_str(), url.port)).await.map_err(|e| e.to_string())?;
    if !url.secure {
        return exchange(tcp, request, at_most).await;
    }
    let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots.collect::<rustls::RootCertStore>())
        .with_no_client_auth();
    let name = ServerName::try_from(url.host.clone()).map_err(|e| e.to_string())?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, tcp).await.map_err(|e| e.to_string())?;
    exchange(stream, request, at_most).await
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
    at_most: usize,
) -> Result<(StatusCode, Bytes), String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    // Ends by itself with the answer; what goes wrong in it shows in the answer.
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let status = response.status();
    let body = Limited::new(response.into_body(), at_most).collect().await;
    Ok((status, body.map_err(|e| e.to_string())?.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hubs_are_named_with_their_port() {
        for (text, written) in [
            ("http://hub.example:51678", "http://hub.example:51678"),
            ("http://10.0.0.1:1/", "http://10.0.0.1:1"),
            ("https://hub.example", "https://hub.example:443"),
            ("https://[fd00::1]", "https://[fd00::1]:443"),
            (" http://[::1]:51678 ", "http://[::1]:51678"),
        ] {
            assert_eq!(text.parse::<HubUrl>().unwrap().to_string(), written);
        }
        for bad in [
            "",
            "hub:1",
            "http://hub",
            "mqtt://hub:1",
            "http://:1",
            "http://hub:0",
            "http://hub:99999",
            "http://hub:1/path",
            "http://user@hub:1",
            "http://[::1:1",
            "http://[x]:1",
            "http://a b:1",
        ] {
            assert!(bad.parse::<HubUrl>().is_err(), "{bad}");
        }
    }
}
