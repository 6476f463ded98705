//! A hub with its broker, and boxes behind links of their own: agents in network namespaces, which nobody can connect to.

#![allow(clippy::unwrap_used, dead_code, reason = "a test fails by panicking, and uses its part")]

#[path = "../cable/mod.rs"]
mod cable;

use crate::agent::{Host, PATIENCE};
pub(crate) use cable::{Cable, possible};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A box: its directories, its link, and its agent.
pub(crate) struct Member {
    agent: Option<Child>,
    pub(crate) host: Host,
    pub(crate) cable: Cable,
    /// Its configuration file, from its next start on.
    pub(crate) settings: Option<String>,
}

impl Member {
    fn new() -> Self {
        let (host, cable) = (Host::new(), Cable::next());
        let mut member = Self { agent: None, host, cable, settings: None };
        member.start();
        member
    }

    /// Starts the agent; it must not run.
    pub(crate) fn start(&mut self) {
        let mut usual = self.host.agent_command();
        if let Some(settings) = &self.settings {
            let file = self.host.dir.path().join("agent.toml");
            std::fs::write(&file, settings).unwrap();
            usual.arg("--config").arg(file);
        }
        // Not `ip netns exec`: that would take the cgroups out of sight.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.cable.name)).arg(usual.get_program());
        command.args(usual.get_args());
        for (name, value) in usual.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        let log = self.host.dir.path().join("agent.log");
        let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.agent = Some(command.spawn().unwrap());
        let socket = self.host.run_dir().join("api.sock");
        until("the agent of the box answers", || UnixStream::connect(&socket).is_ok());
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.kill().unwrap();
            agent.wait().unwrap();
        }
    }

    /// The box's id in the fleet.
    pub(crate) fn id(&self) -> String {
        let list = ecs(&self.host.run_dir(), "ListContainerInstances", &json!({}));
        last(list["containerInstanceArns"][0].as_str().unwrap())
    }

    /// Its own tasks, by its own account: id and last status.
    pub(crate) fn tasks(&self, cluster: &str) -> Vec<(String, String)> {
        tasks(&self.host.run_dir(), cluster)
    }

    /// What it keeps of what the hub said when it joined, as it is now.
    pub(crate) fn enrolment(&self) -> Value {
        let file = self.host.state_dir().join("fleet/enrolment.json");
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
        // What its containers are: nothing stays.
        self.start();
        let _ = Command::new(env!("CARGO_BIN_EXE_coracle"))
            .args(["leave", "--run-dir"])
            .arg(self.host.run_dir())
            .output();
        self.kill();
    }
}

/// A hub, which may die and come back, and its boxes.
pub(crate) struct Fleet {
    pub(crate) boxes: Vec<Member>,
    directory: TempDir,
    hub: Option<Child>,
    ports: (u16, u16),
    /// The hub's command line, beyond where it is.
    arguments: Vec<String>,
    /// What the boxes joined with.
    pub(crate) tokens: Vec<String>,
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
}

impl Fleet {
    /// A hub and as many boxes as there are attributes, each joined with its own.
    pub(crate) fn new(attributes: &[&str]) -> Self {
        Self::with(attributes, "", |_, _| Vec::new())
    }

    /// As [`Self::new`], of a hub with these settings and with what `more` makes of the port of its broker and the addresses
    /// that the boxes see it by.
    pub(crate) fn with(
        attributes: &[&str],
        settings: &str,
        more: impl FnOnce(u16, &[&str]) -> Vec<String>,
    ) -> Self {
        Self::with_boxes(attributes, settings, |port, addresses| (more(port, addresses), None))
    }

    /// As [`Self::with`]; what `more` makes beside it are settings of the boxes.
    pub(crate) fn with_boxes(
        attributes: &[&str],
        settings: &str,
        more: impl FnOnce(u16, &[&str]) -> (Vec<String>, Option<String>),
    ) -> Self {
        let mut boxes: Vec<Member> = attributes.iter().map(|_| Member::new()).collect();
        let directory = tempfile::Builder::new().prefix("coracle").tempdir_in("/var/tmp").unwrap();
        // Mosquitto gives up root and still has to reach its files.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).unwrap();
        let ports = (free_port(), free_port());
        let addresses: Vec<&str> = boxes.iter().map(|member| &*member.cable.near).collect();
        let (mut arguments, of_boxes) = more(ports.1, &addresses);
        for member in boxes.iter_mut().filter(|_| of_boxes.is_some()) {
            member.kill();
            member.settings.clone_from(&of_boxes);
            member.start();
        }
        let file = directory.path().join("hub.toml");
        std::fs::write(&file, settings).unwrap();
        arguments.extend(["--config".to_owned(), file.display().to_string()]);
        if !arguments.contains(&"--broker".to_owned()) {
            arguments.extend(["--mqtt-listen".to_owned(), format!("0.0.0.0:{}", ports.1)]);
        }
        let mut fleet = Self { boxes, directory, hub: None, ports, arguments, tokens: Vec::new() };
        fleet.start_hub();
        ecs(&fleet.run_dir(), "CreateCluster", &json!({}));
        let recipe = format!("{}/images/busybox", env!("CARGO_MANIFEST_DIR"));
        for (member, attribute) in fleet.boxes.iter().zip(attributes) {
            let token =
                fleet.cli(&["token", "create", "--uses", "1", "--attribute", attribute], "");
            member.host.cli(&["image", "build", &recipe]);
            fleet.join(member, token.trim());
            fleet.tokens.push(token.trim().to_owned());
        }
        fleet.until("all boxes are connected", || fleet.connected() == attributes.len());
        fleet
    }

    /// Has a box join.
    pub(crate) fn join(&self, member: &Member, token: &str) {
        let url = format!("http://{}:{}", member.cable.near, self.ports.0);
        member.host.cli(&["join", &url, "--token", token]);
    }

    /// Starts the hub; it must not run.
    pub(crate) fn start_hub(&mut self) {
        let at = |name: &str| self.directory.path().join(name);
        let log = std::fs::File::options().create(true).append(true).open(at("hub.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_coracle"))
            .args(["hub", "--listen", &format!("0.0.0.0:{}", self.ports.0)])
            .args(&self.arguments)
            .arg("--state-dir")
            .arg(at("state"))
            .arg("--run-dir")
            .arg(at("run"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.hub = Some(child);
        let socket = self.run_dir().join("api.sock");
        self.until("the hub answers", || answers(&socket));
    }

    /// kill -9 of the hub; its broker goes with it.
    pub(crate) fn kill_hub(&mut self) {
        let mut hub = self.hub.take().unwrap();
        hub.kill().unwrap();
        hub.wait().unwrap();
    }

    /// kill -9 of its broker: what it kept is lost.
    pub(crate) fn kill_broker(&self) {
        self.signal_broker(rustix::process::Signal::KILL);
    }

    /// Ends its broker in order: it writes what it keeps, and has it when the hub starts it again.
    pub(crate) fn end_broker(&self) {
        self.signal_broker(rustix::process::Signal::TERM);
    }

    pub(crate) fn signal_broker(&self, signal: rustix::process::Signal) {
        let process = rustix::process::Pid::from_raw(self.broker()).unwrap();
        rustix::process::kill_process(process, signal).unwrap();
    }

    /// The process of its broker.
    pub(crate) fn broker(&self) -> i32 {
        let ours = self.run_dir().display().to_string();
        let mut found = None;
        self.until("the broker runs", || {
            let processes = std::fs::read_dir("/proc").unwrap().flatten();
            found_in(processes, &ours).is_some()
        });
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            found = found.or_else(|| found_in(std::iter::once(entry), &ours));
        }
        found.unwrap()
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("hub.log")).unwrap_or_default()
    }

    /// A verb on the hub, which must succeed; what it says.
    pub(crate) fn cli(&self, arguments: &[&str], input: &str) -> String {
        let mut child = Command::new(env!("CARGO_BIN_EXE_coracle"))
            .args(arguments)
            .env("CORACLE_RUN_DIR", self.run_dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// An operation of the hub's ECS API, which must succeed.
    pub(crate) fn ecs(&self, operation: &str, input: &Value) -> Value {
        ecs(&self.run_dir(), operation, input)
    }

    /// How many boxes the hub takes for connected.
    pub(crate) fn connected(&self) -> usize {
        self.instances().iter().filter(|i| i["agentConnected"] == true).count()
    }

    pub(crate) fn instances(&self) -> Vec<Value> {
        let list = self.ecs("ListContainerInstances", &json!({}));
        let arns = &list["containerInstanceArns"];
        if arns[0].is_null() {
            return Vec::new();
        }
        let shown = self.ecs("DescribeContainerInstances", &json!({ "containerInstances": arns }));
        shown["containerInstances"].as_array().unwrap().clone()
    }

    pub(crate) fn service(&self, name: &str) -> Value {
        let shown = self.ecs("DescribeServices", &json!({ "services": [name] }));
        shown["services"][0].clone()
    }

    /// The tasks of a service that the hub takes for running, sorted.
    pub(crate) fn running(&self, service: &str) -> Vec<String> {
        let listed = self.ecs("ListTasks", &json!({ "serviceName": service }));
        let arns = listed["taskArns"].as_array().unwrap();
        if arns.is_empty() {
            return Vec::new();
        }
        let shown = self.ecs("DescribeTasks", &json!({ "tasks": arns }));
        let tasks = shown["tasks"].as_array().unwrap().iter();
        let running = tasks.filter(|task| task["lastStatus"] == "RUNNING");
        let mut ids: Vec<_> = running.map(|task| last(task["taskArn"].as_str().unwrap())).collect();
        ids.sort();
        ids
    }

    /// Waits until the service is steady: one deployment, as many tasks as wanted.
    pub(crate) fn stable(&self, name: &str) {
        self.until(&format!("{name} is steady"), || {
            let service = self.service(name);
            let deployments = service["deployments"].as_array().map_or(0, Vec::len);
            deployments == 1
                && service["runningCount"] == service["desiredCount"]
                && service["deployments"][0]["rolloutState"] == "COMPLETED"
        });
    }

    /// Polls for what other processes come to.
    pub(crate) fn until(&self, what: &str, done: impl Fn() -> bool) {
        if !comes(&done) {
            let agents =
                self.boxes.iter().map(|b| b.host.log()).collect::<Vec<_>>().join("\n---\n");
            panic!(
                "gave up waiting until {what}\n--- hub ---\n{}\n--- boxes ---\n{agents}",
                self.log()
            );
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Some(mut hub) = self.hub.take() {
            let _ = hub.kill();
            let _ = hub.wait();
        }
    }
}

fn found_in(entries: impl Iterator<Item = std::fs::DirEntry>, ours: &str) -> Option<i32> {
    for entry in entries {
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains("mosquitto -c") && line.contains(ours) {
            return entry.file_name().to_str()?.parse().ok();
        }
    }
    None
}

fn answers(socket: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else { return false };
    let asked = stream.write_all(b"GET / HTTP/1.0\r\nHost: hub\r\n\r\n");
    let mut line = String::new();
    asked.is_ok() && BufReader::new(stream).read_line(&mut line).is_ok_and(|read| read > 0)
}

fn comes(done: &impl Fn() -> bool) -> bool {
    for _ in 0..1200 {
        if done() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    false
}

pub(crate) fn until(what: &str, done: impl Fn() -> bool) {
    assert!(comes(&done), "gave up waiting until {what}");
}

/// The last part of an ARN.
pub(crate) fn last(arn: &str) -> String {
    arn.rsplit('/').next().unwrap().to_owned()
}

/// All tasks that whoever answers there knows, by id, with their last status.
pub(crate) fn tasks(run_dir: &Path, cluster: &str) -> Vec<(String, String)> {
    let mut arns: Vec<Value> = Vec::new();
    for status in ["RUNNING", "STOPPED"] {
        let wanted = json!({ "cluster": cluster, "desiredStatus": status });
        let listed = ecs(run_dir, "ListTasks", &wanted);
        arns.extend(listed["taskArns"].as_array().unwrap().iter().cloned());
    }
    let mut found = Vec::new();
    for arns in arns.chunks(100) {
        let shown = ecs(run_dir, "DescribeTasks", &json!({ "cluster": cluster, "tasks": arns }));
        for task in shown["tasks"].as_array().unwrap() {
            let status = task["lastStatus"].as_str().unwrap().to_owned();
            found.push((last(task["taskArn"].as_str().unwrap()), status));
        }
    }
    found.sort();
    found
}

/// What the API that is not ECS's answers over a socket.
pub(crate) fn get(run_dir: &Path, path: &str) -> Value {
    let mut stream = UnixStream::connect(run_dir.join("api.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("GET {path} HTTP/1.0\r\nHost: hub\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200"), "{path}: {answer}");
    serde_json::from_str(body).unwrap()
}

/// An operation of the ECS API over a socket, which must succeed.
pub(crate) fn ecs(run_dir: &Path, operation: &str, input: &Value) -> Value {
    let body = input.to_string();
    let head = format!(
        "POST / HTTP/1.0\r\nHost: hub\r\nContent-Type: application/x-amz-json-1.1\r\n\
         X-Amz-Target: AmazonEC2ContainerServiceV20141113.{operation}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = UnixStream::connect(run_dir.join("api.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200"), "{operation}: {answer}");
    serde_json::from_str(body).unwrap()
}
