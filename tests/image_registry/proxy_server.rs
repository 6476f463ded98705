//! A small HTTP proxy: tunnels and whole URLs, with or without a login; it knows hosts that no resolver knows.

use crate::registry::{exchange, header};
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The proxy; it runs until the test's process ends.
pub(crate) struct ProxyServer {
    pub(crate) address: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl ProxyServer {
    /// Starts; `hosts` are pairs of `HOST:PORT` and where that is. Others it answers with 502.
    pub(crate) fn start(login: Option<String>, hosts: Vec<(String, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let (seen, known) = (heads.clone(), Arc::new((login, hosts)));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, known) = (seen.clone(), known.clone());
                std::thread::spawn(move || {
                    serve(stream.unwrap(), &seen, known.0.as_deref(), &known.1);
                });
            }
        });
        Self { address, heads }
    }

    /// The first lines of what was asked.
    pub(crate) fn asked(&self) -> Vec<String> {
        let heads = self.heads.lock().unwrap();
        heads.iter().map(|head| head.lines().next().unwrap_or_default().to_owned()).collect()
    }
}

fn serve(
    mut stream: TcpStream,
    seen: &Mutex<Vec<String>>,
    login: Option<&str>,
    hosts: &[(String, String)],
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while reader.read_line(&mut head).unwrap_or(0) > 0 && !head.ends_with("\r\n\r\n") {}
    seen.lock().unwrap().push(head.clone());
    if login.is_some() && header(&head, "proxy-authorization").as_deref() != login {
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let _ = stream.write_all(refusal.as_bytes());
        return;
    }
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap_or_default());
    let (place, path) = match target.strip_prefix("http://") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => (target, ""),
    };
    let place = if place.contains(':') { place.to_owned() } else { format!("{place}:80") };
    let Some((_, behind)) = hosts.iter().find(|(host, _)| *host == place) else {
        let _ = stream.write_all(
            b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
        return;
    };
    if method != "CONNECT" {
        let fields = head.lines().skip(1).filter(|line| {
            let line = line.to_ascii_lowercase();
            !line.is_empty() && !line.starts_with("connection:") && !line.starts_with("proxy-")
        });
        let fields: Vec<&str> = fields.collect();
        let request = format!(
            "{method} {path} HTTP/1.1\r\n{}\r\nConnection: close\r\n\r\n",
            fields.join("\r\n")
        );
        let Some((_, head, body)) = exchange(behind, request.as_bytes(), &[]) else { return };
        let _ = stream.write_all(format!("{head}\r\n\r\n").as_bytes());
        let _ = stream.write_all(&body);
        return;
    }
    let mut far = TcpStream::connect(behind.as_str()).unwrap();
    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
    let (mut back, mut near) = (far.try_clone().unwrap(), stream.try_clone().unwrap());
    let answers = std::thread::spawn(move || {
        let _ = std::io::copy(&mut back, &mut near);
        let _ = near.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut stream, &mut far);
    let _ = far.shutdown(Shutdown::Write);
    answers.join().unwrap();
}
