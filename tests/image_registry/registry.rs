//! Starts `docker-registry` on a free loopback port, and pushes to it.

use coracle::image::digest::Digest;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running registry with a directory of its own; gone when dropped.
pub(crate) struct Registry {
    process: Child,
    pub(crate) address: String,
    authorization: Option<String>,
    /// Removed with the registry.
    directories: Vec<tempfile::TempDir>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where the binary is, or a line that says that the test is skipped.
fn program() -> Option<PathBuf> {
    let found = ["/usr/bin/docker-registry", "/usr/local/bin/docker-registry"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.exists());
    if found.is_none() {
        println!("skipped: docker-registry is not installed (Debian package docker-registry)");
    }
    found
}

impl Registry {
    /// Without authentication.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with("", None)
    }

    /// With a user for basic authentication; `htpasswd` makes the file.
    pub(crate) fn start_with_user(user: &str, password: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("htpasswd");
        let made =
            Command::new("htpasswd").args(["-Bbc"]).arg(&file).args([user, password]).output();
        let Ok(made) = made else {
            println!("skipped: htpasswd is not installed (Debian package apache2-utils)");
            return None;
        };
        assert!(made.status.success(), "{made:?}");
        let auth = format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", file.display());
        let mut registry = Self::start_with(&auth, Some(basic(user, password)))?;
        // The registry reads the file when the first request comes.
        registry.directories.push(directory);
        Some(registry)
    }

    /// With an `auth:` section of its configuration; pushes use `authorization`.
    pub(crate) fn start_with(auth: &str, authorization: Option<String>) -> Option<Self> {
        Self::start_on("", auth, authorization, None)
    }

    /// With the data of another registry, which may go on, and TLS.
    pub(crate) fn start_with_tls(&self, certificate: &Path, key: &Path) -> Option<Self> {
        let tls =
            format!(", tls: {{certificate: {}, key: {}}}", certificate.display(), key.display());
        Self::start_on(&tls, "", None, Some(self.directories[0].path().join("data")))
    }

    /// The same, for clients with a certificate of that authority only.
    pub(crate) fn start_with_clients(
        &self,
        certificate: &Path,
        key: &Path,
        authority: &Path,
    ) -> Option<Self> {
        let tls = format!(
            ", tls: {{certificate: {}, key: {}, clientcas: [{}]}}",
            certificate.display(),
            key.display(),
            authority.display()
        );
        Self::start_on(&tls, "", None, Some(self.directories[0].path().join("data")))
    }

    fn start_on(
        tls: &str,
        auth: &str,
        authorization: Option<String>,
        data: Option<PathBuf>,
    ) -> Option<Self> {
        let program = program()?;
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: info, formatter: text}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:0\", secret: test{tls}}}\n{auth}",
            data.unwrap_or_else(|| directory.path().join("data")).display()
        );
        std::fs::write(&config, text).unwrap();
        let mut process = Command::new(program)
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let address = loop {
            let line =
                lines.next().unwrap_or_else(|| panic!("the registry ended:\n{said}")).unwrap();
            if let Some((_, rest)) = line.split_once("listening on ") {
                let end = rest.find(|c: char| c != '.' && c != ':' && !c.is_ascii_digit());
                break rest[..end.unwrap_or(rest.len())].to_owned();
            }
            said.push_str(&line);
            said.push('\n');
        };
        // Its log must be read on, or it blocks.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { process, address, authorization, directories: vec![directory] })
    }

    /// Ends the process; the data stays.
    pub(crate) fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Pushes a blob.
    pub(crate) fn push_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let (status, headers, _) =
            self.ask("POST", &format!("/v2/{repository}/blobs/uploads/"), "", &[]);
        assert_eq!(status, 202, "{headers}");
        let location = header(&headers, "location").unwrap();
        let path = location
            .split_once("://")
            .map_or(location.as_str(), |(_, rest)| &rest[rest.find('/').unwrap()..]);
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}digest={digest}");
        let (status, headers, _) = self.ask("PUT", &path, "application/octet-stream", bytes);
        assert_eq!(status, 201, "{headers}");
        digest
    }

    /// Pushes a manifest or an index under a tag.
    pub(crate) fn push_manifest(&self, repository: &str, tag: &str, kind: &str, bytes: &[u8]) {
        let path = format!("/v2/{repository}/manifests/{tag}");
        let (status, headers, body) = self.ask("PUT", &path, kind, bytes);
        assert_eq!(status, 201, "{headers}\n{}", String::from_utf8_lossy(&body));
    }

    fn ask(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
        let kind =
            if kind.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
        let authorization = self.authorization.as_ref();
        let authorization =
            authorization.map_or_else(String::new, |value| format!("Authorization: {value}\r\n"));
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n{kind}{authorization}\r\n",
            self.address,
            body.len()
        );
        exchange(&self.address, request.as_bytes(), body).unwrap()
    }
}

/// `Authorization` for a user.
pub(crate) fn basic(user: &str, password: &str) -> String {
    use base64::Engine;
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))
    )
}

/// Sends a request that closes its connection; returns status, header and body. None when nobody answers.
pub(crate) fn exchange(address: &str, head: &[u8], body: &[u8]) -> Option<(u16, String, Vec<u8>)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(head).ok()?;
    stream.write_all(body).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Some((status, head, answer.split_off(end + 4)))
}

/// The value of a header field.
pub(crate) fn header(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}
