//! A real broker under test: mosquitto with a configuration of its own on a free port of the loopback, killed and started
//! again on the same port with the same data. And certificates to go with it.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses its part")]
#![allow(missing_debug_implementations, reason = "only tests hold these")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test's patience is real time")]

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take before a test gives up; generous, since machines are shared.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// How a broker is set up.
#[derive(Clone, Default)]
pub struct Options {
    /// Keeps sessions and retained messages over a death; written at each change.
    pub persistence: bool,
    /// Asks every client for a certificate of these authorities, whose common name becomes the user's name.
    pub tls: Option<Authority>,
    /// The names in the broker's certificate; `127.0.0.1` and `localhost` when there are none.
    pub names: Vec<String>,
    /// The access rules; without them everybody may do all.
    pub acl: Option<String>,
    /// A user and a password; without them everybody may come.
    pub user: Option<(String, String)>,
    /// More lines.
    pub more: Vec<String>,
}

/// A running mosquitto, or one that was killed.
pub struct Mosquitto {
    dir: TempDir,
    pub port: u16,
    options: Options,
    child: Option<Child>,
    log: Arc<Log>,
}

/// The lines that the broker wrote, over all its lives.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

fn program() -> &'static str {
    // Debian's is not in the path of everybody.
    if Path::new("/usr/sbin/mosquitto").exists() { "/usr/sbin/mosquitto" } else { "mosquitto" }
}

impl Mosquitto {
    /// Without encryption and rules.
    pub fn plain() -> Self {
        Self::start(Options::default())
    }

    /// Starts one on a free port and waits until it listens.
    pub fn start(options: Options) -> Self {
        let dir = tempfile::Builder::new().prefix("coracle").tempdir_in("/var/tmp").unwrap();
        let mut broker = Self { dir, port: 0, options, child: None, log: Arc::default() };
        for _ in 0..20 {
            // Free now, but somebody else may take it first.
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            broker.port = free.local_addr().unwrap().port();
            drop(free);
            broker.configure();
            if broker.launch() {
                return broker;
            }
        }
        panic!("mosquitto does not start:\n{}", broker.log());
    }

    /// Its URL for clients.
    pub fn url(&self) -> String {
        let scheme = if self.options.tls.is_some() { "mqtts" } else { "mqtt" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again after [`kill`](Self::kill).
    pub fn restart(&mut self) {
        self.kill();
        let started = Instant::now();
        while !self.launch() {
            assert!(started.elapsed() < PATIENCE, "mosquitto is not back:\n{}", self.log());
        }
    }

    /// Changes the set-up for the next life.
    pub fn reconfigure(&mut self, change: impl FnOnce(&mut Options)) {
        change(&mut self.options);
        self.configure();
    }

    /// Waits for a line that holds all of these words, counted from the beginning of the first life.
    pub fn wait_for_log(&self, words: &[&str]) -> String {
        let found = |lines: &Vec<String>| {
            lines.iter().find(|line| words.iter().all(|word| line.contains(word))).cloned()
        };
        let lines = self.log.lines.lock().unwrap();
        let (lines, _) = self
            .log
            .more
            .wait_timeout_while(lines, PATIENCE, |lines| found(lines).is_none())
            .unwrap();
        found(&lines).unwrap_or_else(|| panic!("no line with {words:?} in:\n{}", lines.join("\n")))
    }

    /// All that it wrote.
    pub fn log(&self) -> String {
        self.log.lines.lock().unwrap().join("\n")
    }

    fn configure(&self) {
        let dir = self.dir.path();
        let mut text = String::new();
        let mut line = |words: &str| writeln!(text, "{words}").unwrap();
        line("user root");
        line("log_dest stderr");
        line("log_type all");
        line(&format!("listener {} 127.0.0.1", self.port));
        line(&format!("allow_anonymous {}", self.options.user.is_none()));
        line("max_queued_messages 10000");
        if self.options.persistence {
            line("persistence true");
            line(&format!("persistence_location {}/", dir.display()));
            line("autosave_on_changes true");
            line("autosave_interval 1");
        }
        if let Some((user, password)) = &self.options.user {
            let file = dir.join("passwords");
            std::fs::write(&file, "").unwrap();
            let mut make = Command::new("mosquitto_passwd");
            assert!(make.arg("-b").arg(&file).args([user, password]).status().unwrap().success());
            line(&format!("password_file {}", file.display()));
        }
        if let Some(acl) = &self.options.acl {
            let file = dir.join("acl");
            std::fs::write(&file, acl).unwrap();
            line(&format!("acl_file {}", file.display()));
        }
        if let Some(authority) = &self.options.tls {
            let usual = ["127.0.0.1".to_owned(), "localhost".to_owned()];
            let names =
                if self.options.names.is_empty() { &usual[..] } else { &self.options.names[..] };
            let (certificate, key) = authority.server(names);
            for (option, name, contents) in [
                ("cafile", "ca.pem", authority.pem()),
                ("certfile", "server.pem", certificate),
                ("keyfile", "server.key", key),
            ] {
                let file = dir.join(name);
                std::fs::write(&file, contents).unwrap();
                line(&format!("{option} {}", file.display()));
            }
            line("require_certificate true");
            line("use_identity_as_username true");
        }
        for more in &self.options.more {
            line(more);
        }
        std::fs::write(dir.join("mosquitto.conf"), text).unwrap();
    }

    /// False when it ends instead of listening.
    fn launch(&mut self) -> bool {
        let before = self.log.lines.lock().unwrap().len();
        let mut child = Command::new(program())
            .arg("-c")
            .arg(self.dir.path().join("mosquitto.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("mosquitto is installed");
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = self.log.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                log.lines.lock().unwrap().push(line);
                log.more.notify_all();
            }
            log.lines.lock().unwrap().push(ENDED.to_owned());
            log.more.notify_all();
        });
        let lines = self.log.lines.lock().unwrap();
        let is_up = |line: &String| line.contains(" running");
        let is_over = |line: &String| line == ENDED;
        let news = |lines: &Vec<String>| lines[before..].iter().any(|l| is_up(l) || is_over(l));
        let (lines, _) =
            self.log.more.wait_timeout_while(lines, PATIENCE, |lines| !news(lines)).unwrap();
        let up = lines[before..].iter().any(is_up);
        drop(lines);
        if up {
            self.child = Some(child);
        } else {
            let _ = child.kill();
            let _ = child.wait();
        }
        up
    }
}

/// What stands in the log where a life ends.
const ENDED: &str = "(mosquitto has ended)";

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Authorities that issue certificates for tests.
#[derive(Clone)]
pub struct Authority(Arc<Issued>);

struct Issued {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self(Arc::new(Issued { pem, issuer: Issuer::new(params, key) }))
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        self.0.pem.clone()
    }

    /// A server's certificate for names and addresses, and its key.
    pub fn server(&self, names: &[String]) -> (String, String) {
        let mut params = CertificateParams::new(names.to_vec()).unwrap();
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        self.issue(params, "broker")
    }

    /// A client's certificate and its key.
    pub fn client(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::default();
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        self.issue(params, name)
    }

    fn issue(&self, mut params: CertificateParams, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.0.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}
