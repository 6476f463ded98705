//! Boxes that join a hub and leave it: a real hub with its mosquitto, real agents, and the network in between when it loses
//! answers and keeps what it saw. Needs root and mosquitto.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::needless_pass_by_value,
    reason = "a test may fail by panicking, shows why it was skipped, and hands over what `json!` makes"
)]

mod agent;

use agent::{Host, PATIENCE, kill, wait_for};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use tempfile::TempDir;

fn coracle() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
    command.stdin(Stdio::null());
    command
}

fn output(mut command: Command) -> Result<String, String> {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    if status.success() { Ok(stdout) } else { Err(stderr) }
}

/// The directories of a hub, and where it listens; hubs come and go in them.
struct Place {
    dir: TempDir,
    listen: SocketAddr,
    mqtt: SocketAddr,
}

/// An address that nobody listens on.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Place {
    /// None, with the reason printed, where no hub can run.
    fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        if !["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"]
            .iter()
            .any(|p| PathBuf::from(p).exists())
        {
            println!("skipped: needs mosquitto (apt-get install mosquitto)");
            return None;
        }
        let dir = tempfile::Builder::new().prefix("coracle").tempdir_in("/var/tmp").unwrap();
        // mosquitto runs as a user of its own.
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        Some(Self { dir, listen: free(), mqtt: free() })
    }

    fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn start(&self) -> Hub<'_> {
        let mut command = coracle();
        command
            .args(["hub", "--listen", &self.listen.to_string()])
            .args(["--mqtt-listen", &self.mqtt.to_string()])
            .arg("--state-dir")
            .arg(self.state_dir())
            .arg("--run-dir")
            .arg(self.run_dir());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut text = String::new();
        let address = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the hub ended at its start:\n{text}");
            text += &line;
            if line.contains("the hub answers") {
                let rest = line.split("listen=").nth(1).unwrap();
                break rest.split_whitespace().next().unwrap().parse().unwrap();
            }
        };
        // What it says from here on is not to fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Hub { place: self, child, address }
    }
}

struct Hub<'a> {
    place: &'a Place,
    child: Child,
    address: SocketAddr,
}

impl Hub<'_> {
    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn cli(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = coracle();
        command.args(arguments).arg("--run-dir").arg(self.place.run_dir());
        output(command)
    }

    fn token(&self, arguments: &[&str]) -> String {
        self.call("CreateCluster", json!({}));
        self.cli(&[&["token", "create"], arguments].concat()).unwrap().trim().to_owned()
    }

    fn tokens(&self) -> Value {
        let text = self.cli(&["token", "ls", "--output", "json"]).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["tokens"].take()
    }

    fn call(&self, operation: &str, input: Value) -> Value {
        let body = input.to_string();
        let mut stream = UnixStream::connect(self.place.run_dir().join("api.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let head = format!(
            "POST / HTTP/1.0\r\nX-Amz-Target: AmazonEC2ContainerServiceV20141113.{operation}\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200 "), "{operation}: {answer}");
        serde_json::from_str(body).unwrap()
    }

    /// The boxes, as DescribeContainerInstances shows them.
    fn boxes(&self) -> Vec<Value> {
        let list = self.call("ListContainerInstances", json!({}));
        if list["containerInstanceArns"].as_array().unwrap().is_empty() {
            return Vec::new();
        }
        let input = json!({ "containerInstances": list["containerInstanceArns"] });
        let all = self.call("DescribeContainerInstances", input);
        all["containerInstances"].as_array().unwrap().clone()
    }

    /// Waits until there is one box, and that is so.
    fn wait(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let boxes = std::cell::RefCell::new(Vec::new());
        wait_for(what, || {
            boxes.replace(self.boxes());
            matches!(boxes.borrow().as_slice(), [one] if holds(one))
        });
        boxes.into_inner().remove(0)
    }

    /// kill -9.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Hub<'_> {
    fn drop(&mut self) {
        kill(i32::try_from(self.child.id()).unwrap(), 15);
        let _ = self.child.wait();
    }
}

/// `coracle join` on a box.
fn join_command(host: &Host, url: &str, token: &str) -> Command {
    let mut command = coracle();
    command
        .args(["join", url, "--token", token, "--attribute", "room=1"])
        .arg("--state-dir")
        .arg(host.state_dir())
        .arg("--run-dir")
        .arg(host.run_dir());
    command
}

fn join(host: &Host, url: &str, token: &str) -> Result<String, String> {
    output(join_command(host, url, token))
}

fn leave(host: &Host) -> Result<String, String> {
    let mut command = coracle();
    command.arg("leave").arg("--state-dir").arg(host.state_dir());
    command.arg("--run-dir").arg(host.run_dir());
    output(command)
}

fn is_member(host: &Host) -> bool {
    host.state_dir().join("fleet/enrolment.json").exists()
}

fn attribute<'a>(of: &'a Value, name: &str) -> &'a str {
    let all = of["attributes"].as_array().unwrap();
    all.iter().find(|a| a["name"] == name).map_or("", |a| a["value"].as_str().unwrap_or(""))
}

#[test]
fn a_running_agent_joins_goes_on_as_a_member_and_leaves() {
    let Some(place) = Place::new() else { return };
    let hub = place.start();
    let token = hub.token(&["--uses", "1", "--attribute", "site=north"]);
    let host = Host::new();
    let agent = host.start();
    let own = agent.ok("ListContainerInstances", &json!({}));
    let said = join(&host, &hub.url(), &token).unwrap();
    assert!(said.contains("joined the cluster default"), "{said}");
    let boxes = hub.boxes();
    assert_eq!(boxes.len(), 1, "{boxes:?}");
    assert_eq!(attribute(&boxes[0], "site"), "north");
    assert_eq!(attribute(&boxes[0], "room"), "1");
    assert_eq!(attribute(&boxes[0], "ecs.os-type"), "linux");
    // It has found the broker, and the broker has let it in.
    hub.wait("the box to connect", |one| one["agentConnected"] == true);
    // It keeps its name, and is no longer asked what its hub decides.
    let id = |arn: &Value| arn.as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    assert_eq!(id(&boxes[0]["containerInstanceArn"]), id(&own["containerInstanceArns"][0]));
    let refused = agent.call("CreateCluster", &json!({ "clusterName": "x" })).unwrap_err();
    assert!(refused.message.contains("belongs to a fleet"), "{refused:?}");
    let again = join(&host, &hub.url(), &token).unwrap_err();
    assert!(again.contains("already") && again.contains("coracle leave"), "{again}");

    // The same after a restart, also one by force.
    agent.kill();
    let agent = host.start();
    let refused = agent.call("CreateCluster", &json!({ "clusterName": "x" })).unwrap_err();
    assert!(refused.message.contains("belongs to a fleet"), "{refused:?}");

    leave(&host).unwrap();
    assert!(!is_member(&host));
    agent.ok("CreateCluster", &json!({ "clusterName": "x" }));
    assert!(hub.boxes().is_empty(), "the hub was told");
    assert!(leave(&host).unwrap_err().contains("belongs to no fleet"));
    // With what it has, it does not come back; with a new token it does.
    let refused = join(&host, &hub.url(), &token).unwrap_err();
    assert!(refused.contains("was deregistered"), "{refused}");
    join(&host, &hub.url(), &hub.token(&[])).unwrap();
    assert_eq!(hub.boxes().len(), 1);
    assert!(agent.terminate().success());
}

#[test]
fn a_box_joins_and_leaves_without_its_agent_and_where_that_was_cut_short() {
    let Some(place) = Place::new() else { return };
    let hub = place.start();
    let token = hub.token(&[]);
    let host = Host::new();
    // Only the files are there: as if the power had gone before the agent knew.
    join(&host, &hub.url(), &token).unwrap();
    assert!(is_member(&host));
    let agent = host.start();
    let refused = agent.call("CreateCluster", &json!({ "clusterName": "x" })).unwrap_err();
    assert!(refused.message.contains("belongs to a fleet"), "{refused:?}");
    agent.kill();
    // It left, and the hub is out of reach.
    let reachable = hub.url();
    hub.kill();
    let said = leave(&host).unwrap();
    assert!(said.contains(&reachable), "{said}");
    let agent = host.start();
    agent.ok("CreateCluster", &json!({ "clusterName": "x" }));
    assert!(!host.state_dir().join("fleet.old").exists());
    assert!(agent.terminate().success());
}

#[test]
fn tokens_that_do_not_count_make_no_member() {
    let (Some(place), Some(elsewhere)) = (Place::new(), Place::new()) else { return };
    let (hub, other) = (place.start(), elsewhere.start());
    let host = Host::new();
    let refused = |url: &str, token: &str, word: &str| {
        let why = join(&host, url, token).unwrap_err();
        assert!(why.contains(word), "{token}: {why}");
        assert!(!is_member(&host));
    };
    let good = hub.token(&["--uses", "1"]);
    refused(&hub.url(), "password", "not a join token");
    refused(&hub.url(), &good[..good.len() - 3], "not whole");
    refused("hub:1", &good, "not the address of a hub");
    refused("http://127.0.0.1:1", &good, "cannot reach the hub");
    // The token of one hub at another, which does not have it; and one that would take anything, but has another key.
    refused(&other.url(), &good, "does not know the token");
    let parts: Vec<&str> = good.split('.').collect();
    let swapped = other.token(&[]);
    let theirs: Vec<&str> = swapped.split('.').collect();
    let mixed = [theirs[0], theirs[1], theirs[2], parts[3]].join(".");
    refused(&other.url(), &mixed, "is not the hub that made the token");
    let mut wrong = theirs.clone();
    wrong[2] = parts[2];
    refused(&other.url(), &wrong.join("."), "not whole, or was changed");
    let short = hub.token(&["--expires", "1s"]);
    wait_for("the token to expire", || hub.cli(&["token", "ls"]).unwrap().contains("expired"));
    refused(&hub.url(), &short, "expired");
    let removed = hub.token(&[]);
    hub.cli(&["token", "rm", &removed]).unwrap();
    refused(&hub.url(), &removed, "does not know the token");
    assert!(hub.cli(&["token", "rm", &removed]).is_err());
    assert!(hub.cli(&["token", "create", "--cluster", "no-such"]).is_err());
    assert!(hub.boxes().is_empty());

    let second = Host::new();
    join(&second, &hub.url(), &good).unwrap();
    refused(&hub.url(), &good, "as often as it may be");
    assert_eq!(hub.boxes().len(), 1);

    // A box that has something of its own.
    let agent = host.start();
    let container = json!({ "name": "app", "image": "none", "memory": 16 });
    let definition = agent.register("own", container);
    let service = json!({ "serviceName": "own", "taskDefinition": definition, "desiredCount": 0 });
    agent.ok("CreateService", &service);
    let fresh = hub.token(&[]);
    refused(&hub.url(), &fresh, "of its own");
    agent.ok("DeleteService", &json!({ "service": "own" }));
    wait_for("the service to be gone", || {
        let found = agent.ok("DescribeServices", &json!({ "services": ["own"] }));
        found["services"][0]["status"] == "INACTIVE"
    });
    assert_eq!(hub.boxes().len(), 1, "the hub was not even asked");
    join(&host, &hub.url(), &fresh).unwrap();
    assert_eq!(hub.boxes().len(), 2);
}

/// A network between box and hub that keeps what it saw, and may keep answers to itself.
struct Wire {
    address: SocketAddr,
    requests: mpsc::Receiver<Vec<u8>>,
}

impl Wire {
    /// Loses the first `lost` answers: the connection breaks once the hub has given them.
    fn new(hub: SocketAddr, mut lost: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, requests) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut client, mut hub) = (stream.unwrap(), TcpStream::connect(hub).unwrap());
                let request = request(&mut client);
                hub.write_all(&request).unwrap();
                let mut answer = Vec::new();
                hub.read_to_end(&mut answer).unwrap();
                if lost > 0 {
                    lost -= 1;
                } else {
                    let _ = client.write_all(&answer);
                }
                if seen.send(request).is_err() {
                    return;
                }
            }
        });
        Self { address, requests }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// One request with a body.
fn request(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let read = stream.read(&mut piece).unwrap();
        bytes.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.to_lowercase().lines().find_map(|line| {
            line.strip_prefix("content-length:").map(|n| n.trim().parse::<usize>().unwrap())
        });
        if body.len() >= length.unwrap() {
            return bytes;
        }
    }
}

/// Sends what was recorded; the status and body of the answer.
fn send(hub: SocketAddr, request: &[u8]) -> (String, String) {
    let mut stream = TcpStream::connect(hub).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
}

#[test]
fn lost_answers_and_recorded_requests_make_one_box() {
    let Some(place) = Place::new() else { return };
    let hub = place.start();
    let token = hub.token(&["--uses", "2"]);
    let host = Host::new();
    let wire = Wire::new(hub.address, 2);
    join(&host, &wire.url(), &token).unwrap();
    assert_eq!(hub.boxes().len(), 1);
    assert_eq!(hub.tokens()[0]["usesLeft"], 1);
    let sent: Vec<Vec<u8>> = wire.requests.try_iter().collect();
    assert_eq!(sent.len(), 3);
    assert!(sent[0] == sent[1] && sent[1] == sent[2], "the same request, so that it is one join");
    // Nothing on the wire lets anybody join.
    let secret = token.split('.').nth(2).unwrap();
    assert!(!String::from_utf8_lossy(&sent[0]).contains(secret));

    // Sent again by somebody who saw it: the answer from before, and nothing changes.
    let (status, first) = send(hub.address, &sent[0]);
    assert_eq!(status, "200");
    assert_eq!(send(hub.address, &sent[0]).1, first);
    assert_eq!((hub.boxes().len(), hub.tokens()[0]["usesLeft"].as_u64()), (1, Some(1)));
    // Once the box has left, it is refused; and a changed one at any time.
    leave(&host).unwrap();
    assert!(hub.boxes().is_empty());
    let (status, said) = send(hub.address, &sent[0]);
    assert_eq!(status, "403", "{said}");
    let changed = String::from_utf8(sent[0].clone()).unwrap().replace("room", "roof");
    assert_eq!(send(hub.address, changed.as_bytes()).0, "403");
    let (status, _) = send(
        hub.address,
        format!("POST /coracle/v1/join HTTP/1.1\r\nHost: hub\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n{}", "x".repeat(100_000)).as_bytes(),
    );
    assert_eq!(status, "413");
    assert!(hub.boxes().is_empty());
}

#[test]
fn a_join_that_is_killed_in_the_middle_is_done_again() {
    let Some(place) = Place::new() else { return };
    let hub = place.start();
    let token = hub.token(&["--uses", "1"]);
    let host = Host::new();
    // The hub has taken it, and the box never hears: all its attempts are lost until it is killed.
    let wire = Wire::new(hub.address, usize::MAX);
    let mut child = join_command(&host, &wire.url(), &token).stderr(Stdio::null()).spawn().unwrap();
    wire.requests.recv_timeout(PATIENCE).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!is_member(&host));
    assert_eq!(hub.boxes().len(), 1);
    // The hub as well.
    hub.kill();
    let hub = place.start();
    join(&host, &hub.url(), &token).unwrap();
    assert!(is_member(&host));
    assert_eq!(hub.boxes().len(), 1, "it is the same box");
    // Another box with the id of this one is not let in, whatever token it has.
    let thief = Host::new();
    std::fs::create_dir_all(thief.state_dir()).unwrap();
    let copy = |from: &str| {
        let (from, to) = (host.state_dir().join(from), thief.state_dir().join(from));
        let status = Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap();
        assert!(status.success());
    };
    copy("store");
    let refused = join(&thief, &hub.url(), &hub.token(&[])).unwrap_err();
    assert!(refused.contains("member already, with another key"), "{refused}");
    assert!(!is_member(&thief));
}

/// The epoch and the generation of the document that a box has applied.
fn applied(of: &Value) -> (u64, u64) {
    let text = attribute(of, "coracle.applied");
    let (epoch, generation) = text.split_once('.').unwrap_or(("0", "0"));
    (epoch.parse().unwrap(), generation.parse().unwrap())
}

#[test]
fn a_restored_hub_counts_as_newer_than_all_that_it_forgot() {
    let Some(place) = Place::new() else { return };
    let hub = place.start();
    let host = Host::new();
    let agent = host.start();
    join(&host, &hub.url(), &hub.token(&[])).unwrap();
    let before = hub.wait("the box to be there", |one| one["agentConnected"] == true);
    let file = place.dir.path().join("backup.tar");
    let path = file.to_str().unwrap();
    hub.cli(&["hub", "backup", path]).unwrap();
    assert!(hub.cli(&["hub", "backup", path]).is_err(), "nothing is overwritten");
    // What the hub does after that is forgotten by it, and not by the box.
    let drain = |status: &str| {
        let arn = &before["containerInstanceArn"];
        let input = json!({ "containerInstances": [arn], "status": status });
        hub.call("UpdateContainerInstancesState", input);
    };
    for status in ["DRAINING", "ACTIVE", "DRAINING"] {
        let known = applied(&hub.boxes()[0]);
        drain(status);
        hub.wait("the box to follow", |one| applied(one) > known);
    }
    let known = applied(&hub.boxes()[0]);
    drop(hub);

    let restore = |state: &std::path::Path| {
        let mut command = coracle();
        command.args(["hub", "restore", path, "--state-dir"]).arg(state);
        output(command)
    };
    assert!(restore(&place.state_dir()).unwrap_err().contains("not empty"));
    std::fs::rename(place.state_dir(), place.dir.path().join("lost")).unwrap();
    restore(&place.state_dir()).unwrap();
    let hub = place.start();
    let after = hub.wait("the box to take the restored hub at its word", |one| {
        one["agentConnected"] == true && applied(one).0 > known.0
    });
    assert_eq!(after["status"], "ACTIVE", "as it was when the backup was made");
    assert!(agent.terminate().success());
}
