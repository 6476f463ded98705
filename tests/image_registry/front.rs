//! An HTTP server that stands before a registry, records what it is asked, and answers as a test wants.

use super::registry::{exchange, header};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) head: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        header(&self.head, name)
    }
}

/// What to answer.
pub(crate) enum Reply {
    /// What the registry behind answers, its body changed by a function.
    Changed(fn(&mut Vec<u8>)),
    /// What the registry behind answers.
    Same,
    /// The registry's answer, broken off after so many bytes of the body.
    Cut(usize),
    /// What the registry answers to a request for all of it, whatever part was asked for.
    Unranged,
    /// An answer of our own: status line, header lines, body.
    Own(&'static str, String, Vec<u8>),
}

/// The server; it runs until the test's process ends.
pub(crate) struct Front {
    pub(crate) address: String,
    pub(crate) requests: Arc<Mutex<Vec<Request>>>,
    sent: Arc<Sent>,
}

/// Bytes of the blobs that were asked for, as far as they were sent.
#[derive(Default)]
struct Sent {
    count: Mutex<usize>,
    grown: Condvar,
}

impl Front {
    /// Starts on `host` before the registry at `behind`.
    pub(crate) fn start(
        host: &str,
        behind: &str,
        decide: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (seen, behind, decide) = (requests.clone(), behind.to_owned(), Arc::new(decide));
        let sent: Arc<Sent> = Arc::default();
        let counted = sent.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, behind, decide) = (seen.clone(), behind.clone(), decide.clone());
                let counted = counted.clone();
                std::thread::spawn(move || {
                    serve(stream.unwrap(), &behind, &seen, &counted, &*decide);
                });
            }
        });
        Self { address, requests, sent }
    }

    /// Bytes of blobs that were sent.
    pub(crate) fn sent(&self) -> usize {
        *self.sent.count.lock().unwrap()
    }

    /// Waits until so many are.
    pub(crate) fn wait_sent(&self, least: usize) {
        let count = self.sent.count.lock().unwrap();
        drop(self.sent.grown.wait_while(count, |count| *count < least).unwrap());
    }

    /// The `Range` of each request for a blob, from the first.
    pub(crate) fn ranges(&self, blob: &str) -> Vec<Option<String>> {
        self.asked(blob).iter().map(|request| request.header("range")).collect()
    }

    /// The requests whose path holds `part`.
    pub(crate) fn asked(&self, part: &str) -> Vec<Request> {
        self.requests.lock().unwrap().iter().filter(|r| r.path.contains(part)).cloned().collect()
    }
}

fn serve(
    stream: TcpStream,
    behind: &str,
    seen: &Mutex<Vec<Request>>,
    sent: &Sent,
    decide: &dyn Fn(&Request, usize) -> Reply,
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    let mut head = String::new();
    // One request for each connection: each answer closes it.
    while reader.read_line(&mut head).unwrap_or(0) > 0 && !head.ends_with("\r\n\r\n") {}
    let Some(path) = head.split(' ').nth(1).map(str::to_owned) else { return };
    let request = Request { path, head };
    let before = {
        let mut seen = seen.lock().unwrap();
        let before = seen.iter().filter(|earlier| earlier.path == request.path).count();
        seen.push(request.clone());
        before
    };
    let reply = decide(&request, before);
    if let Reply::Own(status, fields, body) = reply {
        let head = format!(
            "HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let _ = writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(&body));
        return;
    }
    let fields = request.head.trim_end().lines();
    let left_out = |line: &str| {
        let line = line.to_ascii_lowercase();
        line.starts_with("connection:")
            || (matches!(reply, Reply::Unranged) && line.starts_with("range:"))
    };
    let kept = fields.filter(|line| !left_out(line));
    let head = kept.collect::<Vec<_>>().join("\r\n");
    let forwarded = format!("{head}\r\nConnection: close\r\n\r\n");
    // At the end of a test the registry goes first.
    let Some((_, head, mut body)) = exchange(behind, forwarded.as_bytes(), &[]) else { return };
    if let Reply::Changed(change) = &reply {
        change(&mut body);
    }
    let end = if let Reply::Cut(end) = reply { end.min(body.len()) } else { body.len() };
    let _ = writer.write_all(format!("{head}\r\n\r\n").as_bytes());
    // No more on its way than a slow receiver takes: what was sent has nearly come.
    rustix::net::sockopt::set_socket_send_buffer_size(&writer, 64 << 10).unwrap();
    for piece in body[..end].chunks(16 << 10) {
        if writer.write_all(piece).is_err() {
            return;
        }
        if request.path.contains("/blobs/") {
            *sent.count.lock().unwrap() += piece.len();
            sent.grown.notify_all();
        }
    }
}
