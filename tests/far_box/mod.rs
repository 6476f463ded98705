//! A hub with its broker, and a box behind a link that can be cut: an agent in a network namespace of its own, to which
//! nobody can connect.

#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../cable/mod.rs"]
mod cable;

use crate::agent::{Host, PATIENCE};
pub(crate) use cable::{Cable, possible};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// The hub, the cable and the box.
pub(crate) struct Fleet {
    directory: TempDir,
    hub: Child,
    /// Of the hub's log, read to where it is known.
    _log: BufReader<std::process::ChildStderr>,
    box_agent: Child,
    pub(crate) host: Host,
    pub(crate) cable: Cable,
}

/// None, with the reason printed, where it cannot be.
pub(crate) fn fleet() -> Option<Fleet> {
    possible().then(|| Fleet::start(None))
}

/// The same with somebody else's broker: told the address that box and hub see, it answers with its URL.
pub(crate) fn fleet_with(broker: &mut dyn FnMut(&str) -> String) -> Option<Fleet> {
    possible().then(|| Fleet::start(Some(broker)))
}

impl Fleet {
    fn start(broker: Option<&mut dyn FnMut(&str) -> String>) -> Self {
        let cable = Cable::next();
        let broker = broker.map(|broker| broker(&cable.near));
        let directory = tempfile::Builder::new().prefix("coracle").tempdir_in("/var/tmp").unwrap();
        // Mosquitto gives up root and still has to reach its files.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).unwrap();
        let at = |name: &str| directory.path().join(name);
        let any = format!("{}:0", cable.near);
        let mut hub = Command::new(env!("CARGO_BIN_EXE_coracle"))
            .args(["hub", "--listen", &any])
            .args(match &broker {
                Some(url) => ["--broker", url],
                None => ["--mqtt-listen", &any],
            })
            .arg("--state-dir")
            .arg(at("state"))
            .arg("--run-dir")
            .arg(at("run"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(hub.stderr.take().unwrap());
        let mut text = String::new();
        let address = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the hub ended at its start:\n{text}");
            text += &line;
            if line.contains("the hub answers") {
                let rest = line.split("listen=").nth(1).unwrap();
                break rest.split_whitespace().next().unwrap().to_owned();
            }
        };
        let host = Host::new();
        let box_agent = start_agent(&host, &cable);
        let fleet = Self { directory, hub, _log: log, box_agent, host, cable };
        fleet.until("the agent of the box answers", || {
            UnixStream::connect(fleet.host.run_dir().join("api.sock")).is_ok()
        });
        let token = fleet.cli(&["token", "create", "--uses", "1"]);
        let recipe = format!("{}/images/busybox", env!("CARGO_MANIFEST_DIR"));
        fleet.host.cli(&["image", "build", &recipe]);
        fleet.host.cli(&["join", &format!("http://{address}"), "--token", token.trim()]);
        fleet.until("the box is connected", || fleet.is_connected());
        fleet
    }

    /// Whether the hub takes the box for connected.
    pub(crate) fn is_connected(&self) -> bool {
        let list = self.ecs("ListContainerInstances", &json!({}));
        let arns = &list["containerInstanceArns"];
        if arns[0].is_null() {
            return false;
        }
        let shown = self.ecs("DescribeContainerInstances", &json!({ "containerInstances": arns }));
        shown["containerInstances"][0]["agentConnected"] == true
    }

    /// Kills the box's agent and starts another.
    pub(crate) fn restart_agent(&mut self) {
        self.box_agent.kill().unwrap();
        self.box_agent.wait().unwrap();
        self.box_agent = start_agent(&self.host, &self.cable);
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// A verb on the hub.
    pub(crate) fn coracle(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
        command.args(arguments).env("CORACLE_RUN_DIR", self.run_dir()).stdin(Stdio::null());
        command
    }

    /// A verb on the hub, which must succeed; what it says.
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        let output = self.coracle(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// An operation of the hub's ECS API, which must succeed.
    pub(crate) fn ecs(&self, operation: &str, input: &Value) -> Value {
        let body = input.to_string();
        let head = format!(
            "POST / HTTP/1.0\r\nHost: hub\r\nContent-Type: application/x-amz-json-1.1\r\n\
             X-Amz-Target: AmazonEC2ContainerServiceV20141113.{operation}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = UnixStream::connect(self.run_dir().join("api.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all((head + &body).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.0 200"), "{operation}: {answer}");
        serde_json::from_str(body).unwrap()
    }

    /// Runs a task of one container on the box; its id, once the hub knows that it runs.
    pub(crate) fn run(&self, family: &str, container: &Value) -> String {
        let definition = json!({
            "family": family, "networkMode": "none", "containerDefinitions": [container]
        });
        self.ecs("RegisterTaskDefinition", &definition);
        let answer = self.ecs("RunTask", &json!({ "taskDefinition": family }));
        let arn = answer["tasks"][0]["taskArn"].as_str().unwrap_or_else(|| panic!("{answer}"));
        let describe = || self.ecs("DescribeTasks", &json!({ "tasks": [arn] }));
        self.until("the task runs", || describe()["tasks"][0]["lastStatus"] == "RUNNING");
        arn.rsplit('/').next().unwrap().to_owned()
    }

    /// Polls for what another process comes to.
    pub(crate) fn until(&self, what: &str, done: impl Fn() -> bool) {
        // A lost connection shows after the keep-alive of MQTT, so a minute is not always enough.
        for _ in 0..1800 {
            if done() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("gave up waiting until {what}\n--- agent ---\n{}", self.host.log());
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for child in [&mut self.box_agent, &mut self.hub] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn start_agent(host: &Host, cable: &Cable) -> Child {
    let usual = host.agent_command();
    // Not `ip netns exec`: that would take the cgroups out of sight.
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{}", cable.name)).arg(usual.get_program());
    command.args(usual.get_args());
    for (name, value) in usual.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(host.dir.path().join("agent.log"))
        .unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}
