//! Connections: to a name with many addresses, and through a proxy.

use super::address::Url;
use super::error::TransferError;
use super::transfer::{AGENT, CONNECT};
use crate::config::Proxy;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The longest head of a proxy's answer.
const HEAD_LIMIT: usize = 16 << 10;

/// Connects to the first address of `host` that answers; `shown` is its name in errors.
pub(super) async fn dial(host: &str, port: u16, shown: &str) -> Result<TcpStream, TransferError> {
    let failed = |source| TransferError::Connect { host: shown.to_owned(), source };
    let addresses: Vec<_> = tokio::net::lookup_host((host, port))
        .await
        .map_err(|source| TransferError::Resolve { host: host.to_owned(), source })?
        .collect();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    // One dead address must not use up the time of the others.
    let each = CONNECT / u32::try_from(addresses.len().max(1)).unwrap_or(1);
    for address in addresses {
        match timeout(each, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true).map_err(failed)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failed(last))
}

/// Has the proxy at the other end of `stream` connect to `url`; from then on the stream is a connection to there.
pub(super) async fn tunnel(
    mut stream: TcpStream,
    proxy: &Proxy,
    url: &Url,
) -> Result<TcpStream, TransferError> {
    let broken = |source| TransferError::Connect { host: format!("the proxy {proxy}"), source };
    let place = if url.host.contains(':') {
        format!("[{}]:{}", url.host, url.port)
    } else {
        format!("{}:{}", url.host, url.port)
    };
    let mut request =
        format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\nUser-Agent: {AGENT}\r\n");
    if let Some(login) = &proxy.login {
        for part in ["Proxy-Authorization: Basic ", &STANDARD.encode(login), "\r\n"] {
            request.push_str(part);
        }
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    // With TLS the client speaks first: nothing comes after the head of the answer.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD_LIMIT {
            return Err(broken(io::Error::other("its answer is too long")));
        }
        let mut piece = [0; 1024];
        let count = stream.read(&mut piece).await.map_err(broken)?;
        if count == 0 {
            return Err(broken(io::ErrorKind::UnexpectedEof.into()));
        }
        head.extend_from_slice(&piece[..count]);
        // A refusal may bring a page with it, which nobody reads.
        if status(&head).is_some_and(|status| !(200..300).contains(&status)) {
            break;
        }
    }
    match status(&head) {
        Some(200..300) => Ok(stream),
        Some(status) => Err(proxy_refuses(proxy, status)),
        None => Err(broken(io::Error::other("it does not answer as an HTTP proxy"))),
    }
}

/// The code of the status line, if it has come.
fn status(head: &[u8]) -> Option<u16> {
    let rest = head.strip_prefix(b"HTTP/1.")?;
    let code = rest.get(2..5).filter(|_| rest.get(1) == Some(&b' '))?;
    std::str::from_utf8(code).ok()?.parse().ok()
}

/// What the proxy is told who we are with.
pub(super) fn proxy_login(proxy: &Proxy) -> Option<HeaderValue> {
    let login = STANDARD.encode(proxy.login.as_ref()?);
    let mut value = HeaderValue::from_str(&format!("Basic {login}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The error of a proxy that answers with `status`.
pub(super) fn proxy_refuses(proxy: &Proxy, status: u16) -> TransferError {
    let hint = match (status, proxy.login.is_some()) {
        (407, true) => ": it does not take the login that its URL holds",
        (407, false) => {
            ": it wants a login; write http://USER:PASSWORD@HOST:PORT in http_proxy and https_proxy"
        }
        (403, _) => ": it does not allow this host",
        _ => "",
    };
    TransferError::Proxy { proxy: proxy.to_string(), status, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines() {
        assert_eq!(status(b"HTTP/1.1 200 Connection established\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 407"), Some(407));
        for text in ["", "HTTP/1.1 20", "HTTP/1.1  200", "SSH-2.0-x", "HTTP/2 200"] {
            assert_eq!(status(text.as_bytes()), None, "{text}");
        }
    }
}
