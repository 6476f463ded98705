//! A broker of a test, with an authority of its own, and mosquitto's own clients to speak to it.

#![allow(unreachable_pub, missing_docs, reason = "a part of one test binary")]

use coracle::auth::fleet::{Authority, DEVICE_LIFETIME, PrivateKey, Subject};
use coracle::fleet::broker::{Broker, BrokerError, Door, Roster, Settings, Tls};
use coracle::model::{ClusterName, ContainerInstanceId};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

/// The line that is waited for.
pub const LAST: &str = "that is all";

/// A directory that any user reaches, as mosquitto is another one.
pub fn directory() -> TempDir {
    let dir = tempfile::Builder::new().prefix("coracle").tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

pub fn id(digit: char) -> ContainerInstanceId {
    ContainerInstanceId::new(digit.to_string().repeat(32)).unwrap()
}

pub fn cluster(name: &str) -> ClusterName {
    ClusterName::new(name).unwrap()
}

/// Where a broker and its authority live.
pub struct Place {
    pub dir: TempDir,
    authority: Arc<Authority>,
}

/// A certificate and its key in files.
#[derive(Clone)]
pub struct Identity {
    pub serial: String,
    certificate: PathBuf,
    key: PathBuf,
}

impl Place {
    pub fn new() -> Self {
        let dir = directory();
        for below in ["run", "state"] {
            std::fs::create_dir(dir.path().join(below)).unwrap();
        }
        // Where a hub has it.
        let state = dir.path().join("state");
        let authority = Arc::new(Authority::open(&state, coracle::sys::now()).unwrap());
        std::fs::write(dir.path().join("ca.pem"), authority.certificate().pem()).unwrap();
        Self { dir, authority }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn settings(&self) -> Settings {
        let key = PrivateKey::generate();
        let names = vec!["127.0.0.1".to_owned()];
        let now = coracle::sys::now();
        let certificate = self.authority.issue(&Subject::Broker(names), key.public(), now);
        let signer = Arc::clone(&self.authority);
        Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
            run_dir: self.path().join("run/broker"),
            data_dir: self.path().join("state/broker"),
            tls: Tls {
                authority: self.authority.certificate().pem(),
                certificate: certificate.pem(),
                key: key.pem(),
                revocation_list: Arc::new(move |serials| {
                    signer.revocation_list(serials.iter().map(String::as_str), coracle::sys::now())
                }),
            },
            search_path: std::env::var_os("PATH"),
            memory: 256 << 20,
        }
    }

    /// A broker, or None with the reason printed when mosquitto is not installed.
    pub async fn start(&self, roster: Roster) -> Option<Broker> {
        match Broker::start(self.settings(), roster).await {
            Err(BrokerError::NotInstalled) => {
                println!("skipped: mosquitto is not installed");
                None
            }
            broker => Some(broker.unwrap()),
        }
    }

    /// A new certificate of a device.
    pub fn identity(&self, device: &ContainerInstanceId, in_cluster: &str) -> Identity {
        let key = PrivateKey::generate();
        let subject = Subject::Device {
            id: device.clone(),
            cluster: cluster(in_cluster),
            lifetime: DEVICE_LIFETIME,
        };
        let certificate = self.authority.issue(&subject, key.public(), coracle::sys::now());
        let serial = certificate.info().serial;
        let identity = Identity {
            certificate: self.path().join(format!("{serial}.pem")),
            key: self.path().join(format!("{serial}.key")),
            serial,
        };
        std::fs::write(&identity.certificate, certificate.pem()).unwrap();
        std::fs::write(&identity.key, key.pem().as_bytes()).unwrap();
        identity
    }

    /// A client of a device: `mosquitto_pub` or `mosquitto_sub`.
    pub fn device(&self, program: &str, at: SocketAddr, who: &Identity) -> Command {
        let mut command = Command::new(program);
        // Whatever client id it gives, its certificate says another.
        command.args(["-V", "5", "-q", "1", "-i", "any", "-h", "127.0.0.1"]);
        command.args(["-p", &at.port().to_string()]);
        command.arg("--cafile").arg(self.path().join("ca.pem"));
        command.arg("--cert").arg(&who.certificate).arg("--key").arg(&who.key);
        command
    }
}

/// A client that comes in by the hub's door.
pub fn hub(program: &str, door: &Door) -> Command {
    let mut command = Command::new(program);
    // Of several at once, each needs a name of its own.
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("test{}", COUNT.fetch_add(1, Ordering::Relaxed));
    command.args(["-V", "5", "-q", "1", "-i", &name, "-u", door.user, "-P", &door.password]);
    command.arg("--unix").arg(&door.socket);
    command
}

/// Publishes as the hub.
pub fn publish(door: &Door, topic: &str, text: &str, retained: bool) {
    let mut command = hub("mosquitto_pub", door);
    command.args(["-t", topic, "-m", text]);
    if retained {
        command.arg("-r");
    }
    let output = command.output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{topic}: {output:?}");
}

/// Publishes and hopes for the best.
pub fn try_publish(mut command: Command, topic: &str) -> Output {
    command.args(["-t", topic, "-m", "from a thief"]).output().unwrap()
}

/// Whether the broker said that this is not allowed (PUBACK 0x87).
pub fn denied(output: &Output) -> bool {
    String::from_utf8_lossy(&output.stderr).contains("Not authorized")
}

/// A `mosquitto_sub` that is subscribed.
pub struct Listener {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Listener {
    pub fn start(mut command: Command, topics: &[&str]) -> Self {
        for topic in topics {
            command.args(["-t", topic]);
        }
        command.args(["-d", "-F", "got %t %p"]);
        // It keeps lines back when nobody is at a terminal.
        let mut lines = Command::new("stdbuf");
        lines.arg("-oL").arg(command.get_program()).args(command.get_args());
        let mut command = lines;
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut listener = Self { child, lines };
        while !listener.line().expect("it is let in").starts_with("Subscribed") {}
        listener
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).unwrap();
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// The topics of what comes before the last message.
    pub fn topics_until_last(&mut self) -> Vec<String> {
        let mut topics = Vec::new();
        while let Some(line) = self.line() {
            let Some((topic, text)) = line.strip_prefix("got ").and_then(|l| l.split_once(' '))
            else {
                continue;
            };
            if text == LAST {
                return topics;
            }
            topics.push(topic.to_owned());
        }
        panic!("the connection ended after {topics:?}");
    }

    /// Reads until the client ends by itself.
    pub fn cut(mut self) {
        while self.line().is_some() {}
        self.child.wait().unwrap();
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processes that run mosquitto with the configuration in this directory.
pub fn mosquittos(run_dir: &Path) -> Vec<i32> {
    let configuration = run_dir.join("broker/mosquitto.conf");
    let wanted = format!("-c\0{}\0", configuration.display());
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        String::from_utf8_lossy(&line).ends_with(&wanted).then_some(id)
    });
    ids.collect()
}
