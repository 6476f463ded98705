//! What goes over the wire and stays at the broker, captured: over TLS nothing can be read but the request to join; over a
//! broker without TLS, as who runs the broker sees it, all is signed or sealed. Neither has a secret, a private key or a join
//! token in it, in any writing. Needs root, mosquitto and tcpdump.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod agent;
mod boxes;
#[path = "capture/wire.rs"]
mod wire;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use boxes::Fleet;
use coracle::auth::fleet::{HubKeys, Kind};
use serde_json::json;
use std::cell::RefCell;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;
use wire::{Capture, count, holds, packets_of_mqtt};

const SECRET: &str = "a-value-that-nobody-reads-93b1e6";
const OPEN: &str = "a-value-that-everybody-may-read";

/// Half a minute in the life of a fleet of one box: a task with a secret, its output, a renewal of the secret.
fn live(fleet: &Fleet) {
    fleet.cli(&["secret", "set", "prod/token"], SECRET);
    let main = json!({
        "name": "main", "image": "coracle/busybox", "memory": 16,
        "command": ["sh", "-c", "echo \"${#TOKEN} characters\"; exec sleep 1000000"],
        "environment": [{ "name": "OPEN", "value": OPEN }],
        "secrets": [{ "name": "TOKEN", "valueFrom": "prod/token" }],
    });
    fleet.ecs(
        "RegisterTaskDefinition",
        &json!({
            "family": "user", "networkMode": "none", "containerDefinitions": [main],
            "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
        }),
    );
    let answer = fleet.ecs("RunTask", &json!({ "taskDefinition": "user" }));
    let arn = answer["tasks"][0]["taskArn"].as_str().unwrap().to_owned();
    fleet.until("the task runs", || {
        fleet.ecs("DescribeTasks", &json!({ "tasks": [arn] }))["tasks"][0]["lastStatus"]
            == "RUNNING"
    });
    // Through a tunnel.
    let said = format!("{} characters\n", SECRET.len());
    fleet.until("its output is there", || fleet.cli(&["logs", &boxes::last(&arn)], "") == said);
}

/// What must not be anywhere: by name, each in all the ways in which it may be written.
fn secrets(fleet: &Fleet) -> Vec<(String, Vec<Vec<u8>>)> {
    let mut all = vec![("the value of a secret".to_owned(), wire::writings(SECRET.as_bytes()))];
    let token = &fleet.tokens[0];
    let secret = token.split('.').nth(2).unwrap();
    all.push(("a join token".to_owned(), vec![secret.as_bytes().to_vec()]));
    all.push((
        "a join token's secret".to_owned(),
        wire::writings(&URL_SAFE_NO_PAD.decode(secret).unwrap()),
    ));
    let (hub, member) = (fleet.state_dir(), fleet.boxes[0].host.state_dir());
    // The private half of a key in PKCS #8, as it is written here: Ed25519 and P-256.
    for (path, part) in [
        (hub.join("keys/hub.pk8"), 16..48),
        (hub.join("keys/ca.pk8"), 36..68),
        (hub.join("keys/fleet.key"), 0..32),
        (hub.join("secret.key"), 0..16),
        (member.join("keys/device.pk8"), 36..68),
        (member.join("fleet/sealing.key"), 0..32),
    ] {
        let bytes = std::fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        all.push((name, wire::writings(&bytes[part])));
    }
    all
}

fn is_free_of(what: &str, bytes: &[u8], secrets: &[(String, Vec<Vec<u8>>)]) {
    for (name, writings) in secrets {
        assert!(!writings.iter().any(|writing| holds(bytes, writing)), "{name} is in {what}");
    }
}

/// The stores of hub, box and broker. The files of keys are beside them, for their owner alone.
fn stores_are_free_of(fleet: &Fleet, broker: &Path, secrets: &[(String, Vec<Vec<u8>>)]) {
    let (hub, member) = (fleet.state_dir(), fleet.boxes[0].host.state_dir());
    for store in [hub.join("store/data.mdb"), member.join("store/data.mdb"), broker.to_owned()] {
        let bytes = std::fs::read(&store).unwrap();
        assert!(bytes.len() > 1000, "{} is empty", store.display());
        is_free_of(&store.display().to_string(), &bytes, secrets);
    }
}

#[test]
fn with_tls_nothing_can_be_read_but_the_request_to_join() {
    if !boxes::possible() || !wire::possible() {
        return;
    }
    let capture = RefCell::new(None);
    let fleet = Fleet::with(&["site=a"], "", |_, addresses| {
        capture.replace(Some(Capture::start(addresses[0])));
        Vec::new()
    });
    live(&fleet);
    let secrets = secrets(&fleet);
    let persisted = fleet.state_dir().join("broker/mosquitto.db");
    fleet.signal_broker(rustix::process::Signal::USR1);
    let id = fleet.boxes[0].id();
    fleet.until("the broker has written", || {
        std::fs::read(&persisted).is_ok_and(|bytes| holds(&bytes, id.as_bytes()))
    });
    stores_are_free_of(&fleet, &persisted, &secrets);
    let flows = capture.take().unwrap().end();
    let all: Vec<u8> = flows.iter().flat_map(|flow| flow.bytes.clone()).collect();
    is_free_of("what was captured", &all, &secrets);
    // That it was captured: the join in the clear, and TLS.
    assert!(holds(&all, b"POST /coracle/v1/join"));
    assert!(flows.iter().any(|flow| flow.bytes.starts_with(&[22, 3]) && flow.bytes.len() > 5000));
    for text in ["coracle/1/", OPEN, "containerDefinitions", "taskArn", "coracle/busybox"] {
        assert_eq!(count(&all, text.as_bytes()), 0, "{text} can be read");
    }
}

/// A broker without TLS that lets everybody do anything.
struct Plain {
    directory: TempDir,
    child: Child,
}

impl Plain {
    fn start(port: u16) -> Self {
        let directory = tempfile::Builder::new().prefix("coracle").tempdir_in("/var/tmp").unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(directory.path(), open).unwrap();
        let dir = directory.path().display();
        let settings = format!(
            "allow_anonymous true\nlistener {port} 0.0.0.0\npersistence true\npersistence_location {dir}/\n"
        );
        let configuration = directory.path().join("mosquitto.conf");
        std::fs::write(&configuration, settings).unwrap();
        let child = Command::new("sh")
            .args(["-c", "PATH=$PATH:/usr/sbin exec mosquitto -c \"$0\""])
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { directory, child }
    }

    fn write(&self) -> std::path::PathBuf {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, rustix::process::Signal::USR1).unwrap();
        self.directory.path().join("mosquitto.db")
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn who_runs_the_broker_reads_what_is_signed_and_nothing_that_is_sealed() {
    if !boxes::possible() || !wire::possible() {
        return;
    }
    let started = RefCell::new(None);
    let fleet = Fleet::with(&["site=a"], "", |port, addresses| {
        let capture = Capture::start(addresses[0]);
        started.replace(Some((capture, Plain::start(port))));
        vec!["--broker".to_owned(), format!("mqtt://{}:{port}", addresses[0])]
    });
    let (capture, broker) = started.take().unwrap();
    live(&fleet);
    let secrets = secrets(&fleet);
    let persisted = broker.write();
    let id = fleet.boxes[0].id();
    fleet.until("the broker has written", || {
        std::fs::read(&persisted).is_ok_and(|bytes| holds(&bytes, id.as_bytes()))
    });
    stores_are_free_of(&fleet, &persisted, &secrets);
    let flows = capture.end();
    let all: Vec<u8> = flows.iter().flat_map(|flow| flow.bytes.clone()).collect();
    is_free_of("what was captured", &all, &secrets);

    // Every message is the hub's and signed as what it is, or a box's and sealed.
    let keys = HubKeys::open(&fleet.state_dir()).unwrap();
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    for (topic, payload) in flows.iter().flat_map(|flow| packets_of_mqtt(&flow.bytes)) {
        let parts: Vec<&str> = topic.split('/').collect();
        assert_eq!(parts[..2], ["coracle", "1"], "{topic}");
        let channel = match parts[3..] {
            ["hub"] => "hub",
            ["doc", _] => "doc",
            [_, channel, ..] => channel,
            _ => panic!("{topic}"),
        };
        *seen.entry(channel.to_owned()).or_default() += 1;
        if payload.is_empty() {
            continue;
        }
        let kind = match channel {
            "hub" => Some(Kind::Hub),
            "doc" => Some(Kind::Body),
            "want" => Some(Kind::Document),
            "ack" => Some(Kind::Ack),
            "cmd" => Some(Kind::Command),
            "state" | "live" | "log" | "rpc" => None,
            _ => panic!("{topic}"),
        };
        if let Some(kind) = kind {
            let signed = keys.verifying_key().verify(kind, &payload, 1 << 20);
            signed.unwrap_or_else(|error| panic!("{topic}: {error}"));
            continue;
        }
        // As good as random: no text, and about as many ones as zeros.
        let ones: usize = payload.iter().map(|byte| byte.count_ones() as usize).sum();
        let share = ones * 100 / (payload.len() * 8);
        assert!(payload.len() >= 28 && (35..65).contains(&share), "{topic}: {share} %");
        for text in [&b"session"[..], b"taskArn", b"coracle", b"RUNNING"] {
            assert!(!holds(&payload, text), "{topic}");
        }
    }
    for channel in ["hub", "doc", "want", "ack", "cmd", "state", "live", "log", "rpc"] {
        assert!(seen.contains_key(channel), "no message on {channel} was captured: {seen:?}");
    }
    // What is no secret is signed, and can be read: put nothing secret into `environment`.
    let doc = URL_SAFE_NO_PAD.encode(OPEN);
    assert!(wire::writings(OPEN.as_bytes()).iter().any(|writing| holds(&all, writing)), "{doc}");
}
