//! Asks the agent over its unix socket, without an asynchronous runtime, and waits for a time only.

use serde_json::Value;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// The longest answer.
const LONGEST: u64 = 8 << 20;

/// What came of a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    /// This status, and this content.
    Said(u16, Value),
    /// Nobody listens.
    Nobody,
    /// The socket is another user's.
    Forbidden,
    /// Somebody listens, and does not answer in time.
    Silent,
    /// Something else went wrong.
    Broken(String),
}

impl Answer {
    /// The content of a good answer.
    pub(super) fn content(&self) -> Option<&Value> {
        match self {
            Self::Said(200, content) => Some(content),
            _ => None,
        }
    }
}

/// Sends `request`, a method and a path, with `body`, and reads the answer.
pub(super) fn ask(socket: &Path, request: &str, body: &str, patience: Duration) -> Answer {
    match exchange(socket, request, body, patience) {
        Ok(answer) => answer,
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Answer::Nobody,
            io::ErrorKind::PermissionDenied => Answer::Forbidden,
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Answer::Silent,
            _ => Answer::Broken(error.to_string()),
        },
    }
}

fn exchange(socket: &Path, request: &str, body: &str, patience: Duration) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    // Version 1.0: the answer comes whole, and then the end.
    let (request, header) = request.split_once('\n').unwrap_or((request, ""));
    let kind = if header.is_empty() { "Content-Type: application/json" } else { header };
    let length = body.len();
    let head = format!(
        "{request} HTTP/1.0\r\nHost: coracle\r\n{kind}\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes())?;
    let mut text = String::new();
    stream.take(LONGEST).read_to_string(&mut text)?;
    Ok(parse(&text).unwrap_or_else(|| Answer::Broken("its answer is no HTTP".to_owned())))
}

fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(Answer::Said(status, serde_json::from_str(body).unwrap_or_default()))
}

/// A request of the ECS API, for [`ask`].
pub(super) fn ecs(operation: &str) -> String {
    format!(
        "POST /\nContent-Type: application/x-amz-json-1.1\r\nX-Amz-Target: AmazonEC2ContainerServiceV20141113.{operation}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn answers_silence_and_nobody_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let quick = |patience| ask(&path, "GET /", "", patience);
        assert_eq!(quick(Duration::from_secs(1)), Answer::Nobody);
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(quick(Duration::from_millis(20)), Answer::Silent);
        drop(listener.accept().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap();
            stream.write_all(b"HTTP/1.0 200 OK\r\na: b\r\n\r\n{\"x\":1}").unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let answer = ask(&path, &ecs("ListClusters"), "{}", Duration::from_secs(20));
        assert_eq!(answer.content().unwrap()["x"], 1);
        let request = server.join().unwrap();
        assert!(
            request.starts_with("POST / HTTP/1.0\r\n") && request.contains(".ListClusters\r\n")
        );
        assert_eq!(quick(Duration::from_secs(1)), Answer::Nobody);
    }
}
