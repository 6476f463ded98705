//! A broker's administrator, who reads and writes every topic of a fleet and has the broker's files: nothing runs, nothing
//! stops, no secret is read, all is counted, and the hub is still obeyed. Needs root, mosquitto and its clients.
//!
//! What a stolen certificate of a box opens at the hub's own broker is in `tests/broker.rs`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod agent;
mod far_box;

use coracle::auth::fleet::{HubKey, Kind};
use coracle::fleet::message::{EventsAck, HubWord};
use coracle::model::fleet::{Content, Desired, Position, Presence, Report, VERSION};
use coracle::model::{ClusterName, ContainerInstanceId};
use coracle::plan::fleet::content;
use far_box::{Fleet, fleet_with};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const SECRET: &str = "correct-horse-battery-staple";

/// A broker that lets anybody do anything, and writes down all that passes.
struct Broker {
    directory: TempDir,
    mosquitto: Child,
    listener: Option<Child>,
    address: String,
    port: u16,
}

impl Broker {
    fn start(address: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("coracle").tempdir_in("/var/tmp").unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(directory.path(), open).unwrap();
        let free = std::net::TcpListener::bind((address, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let dir = directory.path().display();
        // Whatever changes is written to the disk at once, so that it can be searched.
        let settings = format!(
            "allow_anonymous true\nlistener {port} {address}\npersistence true\n\
             persistence_location {dir}/\nautosave_on_changes true\nautosave_interval 1\n"
        );
        let configuration = directory.path().join("mosquitto.conf");
        std::fs::write(&configuration, settings).unwrap();
        let mosquitto = Command::new("sh")
            .args(["-c", "PATH=$PATH:/usr/sbin exec mosquitto -c \"$0\""])
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = address.to_owned();
        let mut broker = Self { directory, mosquitto, listener: None, address, port };
        // It answers once it listens.
        for _ in 0..600 {
            if std::net::TcpStream::connect((&*broker.address, port)).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let captured = std::fs::File::create(broker.captured()).unwrap();
        let mut listener = broker.client("mosquitto_sub");
        listener.args(["-t", "#", "-F", "%t %x"]).stdout(captured);
        broker.listener = Some(listener.spawn().unwrap());
        broker
    }

    fn captured(&self) -> PathBuf {
        self.directory.path().join("captured")
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["-h", &self.address, "-p", &self.port.to_string(), "-q", "1", "-V", "5"]);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn publish(&self, topic: &str, payload: &[u8], retained: bool) {
        let mut command = self.client("mosquitto_pub");
        command.args(["-t", topic, "-s"]).stdin(Stdio::piped());
        if retained {
            command.arg("-r");
        }
        let mut child = command.spawn().unwrap();
        // One that is refused for its size is cut off while it is written.
        let _ = child.stdin.take().unwrap().write_all(payload);
        child.wait().unwrap();
    }

    /// What passed, by topic, in order.
    fn messages(&self) -> BTreeMap<String, Vec<Vec<u8>>> {
        let text = std::fs::read_to_string(self.captured()).unwrap();
        let mut messages: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        for line in text.lines() {
            let Some((topic, hex)) = line.split_once(' ') else { continue };
            let digits = hex.as_bytes().chunks_exact(2);
            let bytes = digits
                .filter_map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
            messages.entry(topic.to_owned()).or_default().push(bytes.collect());
        }
        messages
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        for child in self.listener.iter_mut().chain([&mut self.mosquitto]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether a file, or one below a directory, holds the secret.
fn holds_the_secret(path: &Path) -> bool {
    if path.is_dir() {
        return std::fs::read_dir(path).unwrap().flatten().any(|e| holds_the_secret(&e.path()));
    }
    let bytes = if path.is_file() { std::fs::read(path).unwrap_or_default() } else { Vec::new() };
    bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
}

/// A document for `device` that wants nothing to run.
fn nothing(device: &ContainerInstanceId, cluster: &ClusterName, generation: u64) -> Vec<u8> {
    let content = Content::default();
    let desired = Desired {
        v: VERSION,
        cluster: cluster.clone(),
        device: device.clone(),
        position: Position { epoch: 9, generation },
        prev_hash: None,
        hash: content::hash(&content),
        content,
        sealed: BTreeMap::new(),
        next_key: None,
    };
    serde_json::to_vec(&desired).unwrap()
}

/// What the box says that it refused, by why.
fn refused(fleet: &Fleet) -> BTreeMap<String, u64> {
    let shown = fleet.host.cli(&["node", "show"]);
    let line = shown.lines().find(|line| line.trim_start().starts_with("refused"));
    let line = line.unwrap_or_default().trim_start().trim_start_matches("refused");
    let each = line.split(',').filter_map(|one| {
        let (count, why) = one.trim().split_once(' ')?;
        Some((why.to_owned(), count.parse().ok()?))
    });
    each.collect()
}

fn stands(fleet: &Fleet, task: &str) -> (String, String, Vec<i32>) {
    let shown = fleet.ecs("DescribeTasks", &json!({ "tasks": [task] }));
    let task = &shown["tasks"][0];
    let text = |name: &str| task[name].to_string();
    (text("lastStatus"), text("startedAt"), fleet.host.container_pids())
}

#[test]
fn a_broker_that_belongs_to_somebody_else_runs_nothing_and_reads_nothing() {
    let mut broker = None;
    let Some(fleet) = fleet_with(&mut |address| {
        let started = Broker::start(address);
        let url = format!("mqtt://{address}:{}", started.port);
        broker = Some(started);
        url
    }) else {
        return;
    };
    let broker = broker.unwrap();
    let mut set = fleet.coracle(&["secret", "set", "db"]).stdin(Stdio::piped()).spawn().unwrap();
    set.stdin.take().unwrap().write_all(SECRET.as_bytes()).unwrap();
    assert!(set.wait().unwrap().success());
    let container = json!({
        "name": "main", "image": "coracle/busybox", "memory": 64,
        "secrets": [{ "name": "DB", "valueFrom": "db" }],
        "command": ["sh", "-c", "echo \"${#DB} characters\"; exec sleep 100000"],
    });
    let task = run(&fleet, "victim", &container);
    fleet.until("the secret is there", || {
        let output = fleet.coracle(&["logs", &task]).output().unwrap();
        output.stdout == format!("{} characters\n", SECRET.len()).as_bytes()
    });
    fleet.until("the hub has heard that it runs", || stands(&fleet, &task).0 == "\"RUNNING\"");
    let before = stands(&fleet, &task);
    assert_eq!(before.2.len(), 1);

    // What there is to replay.
    let messages = broker.messages();
    let wants: Vec<&String> = messages.keys().filter(|topic| topic.ends_with("/want")).collect();
    let [want] = wants[..] else { panic!("{wants:?}") };
    let base = want.trim_end_matches("/want");
    let of = |channel: &str| format!("{base}/{channel}");
    let device = ContainerInstanceId::new(base.rsplit('/').next().unwrap()).unwrap();
    let cluster = ClusterName::new(base.split('/').nth(2).unwrap()).unwrap();
    let other = ContainerInstanceId::new("0123456789abcdef0123456789abcdef").unwrap();
    let thief = HubKey::ephemeral();
    // Even somebody who got the hub's key once for something else: one kind does not pass for another.
    let hub = HubKey::open(&fleet.state_dir()).unwrap();

    let evil = nothing(&device, &cluster, 100);
    broker.publish(want, &evil, true);
    broker.publish(want, &thief.sign(Kind::Document, &evil), true);
    broker.publish(want, &hub.sign(Kind::Body, &evil), true);
    broker.publish(want, &hub.sign(Kind::Document, &nothing(&other, &cluster, 100)), true);
    broker.publish(want, "[".repeat(100_000).as_bytes(), true);
    broker.publish(
        want,
        &hub.sign(Kind::Document, "{\"v\":1,\"x\":".repeat(5000).as_bytes()),
        true,
    );
    broker.publish(want, &vec![b'x'; 200_000], true);
    broker.publish(want, &vec![b'x'; 2_000_000], true);
    broker.publish(want, b"\xff\xfe\x00", true);
    let documents = &messages[want];
    broker.publish(want, documents.first().unwrap(), true);
    let mut torn = documents.last().unwrap().clone();
    let middle = torn.len() / 2;
    torn[middle] ^= 1;
    broker.publish(want, &torn, true);
    for channel in ["cmd", "ack", "rpc/00"] {
        broker.publish(&of(channel), b"{}", false);
        broker.publish(&of(channel), &thief.sign(Kind::Command, b"{\"v\":1}"), false);
        broker.publish(&of(channel), &vec![b'{'; 150_000], false);
        for old in messages.get(&of(channel)).into_iter().flatten() {
            broker.publish(&of(channel), old, false);
        }
    }
    let ack = EventsAck {
        v: VERSION,
        device: device.clone(),
        session: String::new(),
        stream: "events".to_owned(),
        log: String::new(),
        up_to: u64::MAX,
        tell_again: true,
    };
    broker.publish(&of("ack"), &thief.sign(Kind::Ack, &serde_json::to_vec(&ack).unwrap()), false);
    let word =
        HubWord { v: VERSION, cluster: cluster.clone(), up: true, epoch: 99, spread_over: 1 };
    let word = serde_json::to_vec(&word).unwrap();
    broker.publish(&format!("coracle/1/{cluster}/hub"), &thief.sign(Kind::Hub, &word), true);

    // In the name of the box, to the hub.
    let down = Presence { v: VERSION, session: "x".to_owned(), up: false, agent: None };
    broker.publish(&of("live"), &serde_json::to_vec(&down).unwrap(), true);
    let report: Value = json!({
        "v": 1, "session": "x", "seq": 9, "epoch": 0, "generation": 0, "phase": "APPLIED", "tasks": {},
        "events": { "log": "x", "first": 0, "next": 0 },
    });
    assert!(serde_json::from_value::<Report>(report.clone()).is_ok());
    broker.publish(&of("state"), report.to_string().as_bytes(), true);
    for old in messages.get(&of("state")).into_iter().flatten().take(3) {
        broker.publish(&of("state"), old, true);
        broker.publish(&of("log/events"), old, false);
    }
    broker.publish(&of("log/events"), &vec![0; 100_000], false);
    let log = of(&format!("log/{task}"));
    broker.publish(&log, b"{\"v\":1}\n", false);
    broker.publish(&log, &vec![0; 250_000], false);
    broker.publish(&of("log/..%2f..%2fkeys"), b"x", false);
    for old in messages.get(&of("log/events")).into_iter().flatten().take(3) {
        broker.publish(&log, old, false);
    }
    for topic in messages.keys() {
        broker.publish(topic, b"", true);
    }

    // All that is counted by the one who refuses it.
    fleet.until("all is counted", || {
        let counted = refused(&fleet);
        ["unsigned", "signature", "foreign", "nested", "oversized", "malformed"]
            .iter()
            .all(|why| counted.contains_key(*why))
    });
    let counted = refused(&fleet);
    assert!(counted.values().sum::<u64>() >= 10, "{counted:?}");

    // The hub counts what came in the name of the box, and stores none of it.
    let at_hub = || {
        let shown = fleet.cli(&["node", "show", device.as_str(), "--output", "json"]);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        shown["refusedByHub"].clone()
    };
    fleet.until("the hub counts as well", || {
        let counted = at_hub();
        ["forged", "oversized", "topic"].iter().all(|why| counted[why].as_u64() > Some(0))
    });
    assert!(!fleet.state_dir().join("logs").exists());

    // Nothing came of it, and the hub's own word still counts.
    assert_eq!(stands(&fleet, &task), before);
    let second = run(
        &fleet,
        "second",
        &json!({
            "name": "main", "image": "coracle/busybox", "memory": 64, "command": ["sleep", "100000"],
        }),
    );
    fleet.until("the second task runs", || stands(&fleet, &second).0 == "\"RUNNING\"");
    let now = stands(&fleet, &task);
    assert_eq!((&now.0, &now.1), (&before.0, &before.1));
    assert!(now.2.contains(&before.2[0]));
    fleet.ecs("StopTask", &json!({ "task": second }));
    fleet.until("the second task stops", || stands(&fleet, &second).0 == "\"STOPPED\"");

    // The secret went through, and is nowhere in the clear.
    for path in [broker.directory.path(), &fleet.state_dir(), &fleet.host.state_dir()] {
        assert!(!holds_the_secret(path), "{} holds the secret", path.display());
    }
    let captured = broker.messages();
    assert!(captured.values().flatten().count() > 20);
    let clear = |bytes: &Vec<u8>| bytes.windows(SECRET.len()).any(|w| w == SECRET.as_bytes());
    assert!(!captured.values().flatten().any(clear));
}

/// Runs a task of one container; with the role that secrets ask for.
fn run(fleet: &Fleet, family: &str, container: &Value) -> String {
    let definition = json!({
        "family": family, "networkMode": "none", "containerDefinitions": [container],
        "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
    });
    fleet.ecs("RegisterTaskDefinition", &definition);
    let answer = fleet.ecs("RunTask", &json!({ "taskDefinition": family }));
    let arn = answer["tasks"][0]["taskArn"].as_str().unwrap_or_else(|| panic!("{answer}"));
    arn.rsplit('/').next().unwrap().to_owned()
}
