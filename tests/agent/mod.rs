//! A real agent under test: started as users start it, spoken to over its socket, killed by pid.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and shows the agent's log"
)]
#![allow(clippy::needless_pass_by_value, reason = "requests are written in place")]

use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How long anything may take before a test gives up; generous, since machines are shared.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// The directories of a box; agents come and go on it.
pub struct Host {
    pub dir: TempDir,
    pub cgroup_parent: String,
    port: u16,
}

/// One life of the agent on a [`Host`].
pub struct Agent<'a> {
    pub host: &'a Host,
    child: Child,
}

/// An ECS error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    pub kind: String,
    pub message: String,
}

impl Host {
    /// New directories, a free port and a cgroup parent of its own. None, with the reason printed, without root.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("coracle").tempdir_in("/var/tmp").unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        let cgroup_parent = format!("coracle-test-{}-{port}", std::process::id());
        Self { dir, cgroup_parent, port }
    }

    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// A bridge that no other host of a test has.
    pub fn bridge(&self) -> String {
        format!("ct{}", self.port)
    }

    /// A subnet with room for 29 addresses that no other host of a test has.
    pub fn subnet(&self) -> String {
        let address = u32::from(std::net::Ipv4Addr::new(172, 16, 0, 0));
        // The kernel's own ports begin with 32768; there are as many subnets from there on.
        let number = u32::from(self.port) % 32_768;
        format!("{}/27", std::net::Ipv4Addr::from(address + 32 * number))
    }

    /// The command line of the agent on this host.
    pub fn agent_command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
        command
            .arg("agent")
            .arg("--state-dir")
            .arg(self.state_dir())
            .arg("--run-dir")
            .arg(self.run_dir())
            .arg("--listen")
            .arg(format!("127.0.0.1:{}", self.port))
            .arg("--cgroup-parent")
            .arg(&self.cgroup_parent)
            .env("CORACLE_BRIDGE", self.bridge())
            .env("CORACLE_SUBNET", self.subnet());
        command
    }

    /// Starts the agent and waits until it answers. Its log goes to `agent.log` in the host's directory.
    pub fn start(&self) -> Agent<'_> {
        self.start_with(&[])
    }

    /// As [`Host::start`], with more arguments.
    pub fn start_with(&self, arguments: &[&str]) -> Agent<'_> {
        let mut command = self.agent_command();
        command.args(arguments);
        self.start_command(command)
    }

    /// As [`Host::start`], with another command line or environment.
    pub fn start_command(&self, mut command: Command) -> Agent<'_> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("agent.log"))
            .unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut agent = Agent { host: self, child };
        agent.wait_until_it_answers();
        agent
    }

    /// Runs a client verb of the CLI against this host and returns its standard output.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_coracle"))
            .args(arguments)
            .arg("--run-dir")
            .arg(self.run_dir())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "coracle {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Brings the busybox test image, made from `images/busybox`, into the agent's store.
    pub fn load_busybox(&self, _agent: &Agent<'_>) {
        let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("images/busybox");
        self.cli(&["image", "build", recipe.to_str().unwrap()]);
    }

    /// What the agents have logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("agent.log")).unwrap_or_default()
    }

    /// The pids of everything in the host's cgroups.
    pub fn pids_in_cgroups(&self) -> Vec<i32> {
        let mut pids = Vec::new();
        for root in cgroup_roots() {
            collect_pids(&root.join(&self.cgroup_parent), &mut pids);
        }
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// The first process of every container of this host, by its pid on the host. Unlike [`Host::pids_in_cgroups`] it
    /// never holds one that is only passing through: a creator, or a program that the container runs for a moment.
    pub fn container_pids(&self) -> Vec<i32> {
        let first = |pid: &i32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line =
                status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
            let ids: Vec<_> = line.split_whitespace().collect();
            ids.len() > 1 && ids.last() == Some(&"1")
        };
        self.pids_in_cgroups().into_iter().filter(first).collect()
    }

    /// The processes of this host's containers that are children of a shim.
    pub fn container_pids_in_any_namespace(&self) -> Vec<i32> {
        let shims = self.shims();
        let parent = |pid: &i32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.lines().find_map(|l| l.strip_prefix("PPid:")?.trim().parse::<i32>().ok())
        };
        let of_shim = |pid: &i32| parent(pid).is_some_and(|parent| shims.contains(&parent));
        self.pids_in_cgroups().into_iter().filter(of_shim).collect()
    }

    /// The groups of this host that are there, in every hierarchy.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let groups = cgroup_roots().into_iter().map(|root| root.join(&self.cgroup_parent));
        groups.filter(|group| group.is_dir()).collect()
    }

    /// The pids of the shims of this host.
    pub fn shims(&self) -> Vec<i32> {
        let run = self.run_dir().to_string_lossy().into_owned();
        processes()
            .filter(|pid| {
                let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let text = String::from_utf8_lossy(&arguments).into_owned();
                text.split('\0').nth(1) == Some("shim") && text.contains(&run)
            })
            .collect()
    }

    /// What a power cut leaves: no process, no run directory.
    pub fn cut_the_power(&self) {
        for pid in self.shims().into_iter().chain(self.pids_in_cgroups()) {
            kill(pid, 9);
        }
        wait_for("all processes to be gone", || {
            self.shims().is_empty() && self.pids_in_cgroups().is_empty()
        });
        std::fs::remove_dir_all(self.run_dir()).unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for pid in self.shims().into_iter().chain(self.pids_in_cgroups()) {
            kill(pid, 9);
        }
        if std::thread::panicking() {
            eprintln!("--- agent log ---\n{}", self.log());
        }
        let deadline = Deadline::new();
        while !self.pids_in_cgroups().is_empty() && !deadline.over() {
            std::thread::sleep(Duration::from_millis(5));
        }
        for root in cgroup_roots() {
            remove_cgroups(&root.join(&self.cgroup_parent));
        }
    }
}

impl Agent<'_> {
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Waits until it has ended by what was done to it.
    pub fn wait_for_its_end(mut self) -> std::process::ExitStatus {
        self.child.wait().unwrap()
    }

    fn wait_until_it_answers(&mut self) {
        let deadline = Deadline::new();
        // Another process's socket cannot be awaited; this is the one place that polls for it. An answer counts, not a
        // connection: a shim about to be executed still holds the socket of the agent that was killed.
        while self.try_call("ListClusters", &json!({})).is_err() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the agent ended at its start: {status}\n{}", self.host.log());
            }
            assert!(!deadline.over(), "the agent does not answer\n{}", self.host.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and waits for its end.
    pub fn terminate(mut self) -> std::process::ExitStatus {
        kill(self.pid(), 15);
        self.child.wait().unwrap()
    }

    /// Calls an ECS operation over the socket.
    pub fn call(&self, operation: &str, input: &Value) -> Result<Value, ApiError> {
        self.try_call(operation, input).unwrap_or_else(|error| panic!("{operation}: {error}"))
    }

    fn try_call(&self, operation: &str, input: &Value) -> io::Result<Result<Value, ApiError>> {
        let body = input.to_string();
        let head = format!(
            "POST / HTTP/1.0\r\nHost: coracle\r\nContent-Type: application/x-amz-json-1.1\r\n\
             X-Amz-Target: AmazonEC2ContainerServiceV20141113.{operation}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut answer = String::new();
        self.exchange(&(head + &body))?.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let value: Value = serde_json::from_str(body)?;
        if head.split(' ').nth(1) == Some("200") {
            return Ok(Ok(value));
        }
        Ok(Err(ApiError {
            kind: value["__type"].as_str().unwrap_or_default().to_owned(),
            message: value["message"].as_str().unwrap_or_default().to_owned(),
        }))
    }

    /// As [`Agent::call`], which must succeed.
    pub fn ok(&self, operation: &str, input: &Value) -> Value {
        self.call(operation, input).unwrap_or_else(|e| panic!("{operation} {input}: {e:?}"))
    }

    /// A GET of the local interface, line by line.
    pub fn lines(&self, path: &str) -> impl Iterator<Item = Value> + use<> {
        let request = format!("GET {path} HTTP/1.0\r\nHost: coracle\r\n\r\n");
        let mut reader = BufReader::new(self.exchange(&request).unwrap());
        let mut status = String::new();
        reader.read_line(&mut status).unwrap();
        assert!(status.contains(" 200 "), "{path}: {status}");
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
        }
        reader.lines().map_while(Result::ok).map(|l| serde_json::from_str(&l).unwrap())
    }

    fn exchange(&self, request: &str) -> io::Result<UnixStream> {
        let mut stream = UnixStream::connect(self.host.run_dir().join("api.sock"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        Ok(stream)
    }

    /// Registers a definition with one container and returns `family:revision`.
    pub fn register(&self, family: &str, container: Value) -> String {
        self.register_all(family, json!([container]))
    }

    /// Registers a definition and returns `family:revision`.
    pub fn register_all(&self, family: &str, containers: Value) -> String {
        let input =
            json!({"family": family, "networkMode": "none", "containerDefinitions": containers});
        let answer = self.ok("RegisterTaskDefinition", &input);
        let revision = &answer["taskDefinition"]["revision"];
        format!("{family}:{revision}")
    }

    /// Runs one task and returns its ARN.
    pub fn run(&self, definition: &str) -> String {
        let answer = self.ok("RunTask", &json!({"taskDefinition": definition}));
        answer["tasks"][0]["taskArn"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// The task as DescribeTasks shows it.
    pub fn describe(&self, arn: &str) -> Value {
        self.ok("DescribeTasks", &json!({"tasks": [arn]}))["tasks"][0].clone()
    }

    /// Waits until the task has that `lastStatus`, or is STOPPED.
    pub fn wait(&self, arn: &str, status: &str) -> Value {
        let id = arn.rsplit('/').next().unwrap();
        let task = self
            .lines(&format!("/coracle/v1/tasks/{id}/watch"))
            .find(|task| task["lastStatus"] == status || task["lastStatus"] == "STOPPED");
        let task = task.unwrap_or_else(|| panic!("the watch of {arn} ended early"));
        assert_eq!(task["lastStatus"], status, "{task:#}");
        task
    }

    /// Follows the task until `holds` is true of it, and returns it as it was then.
    pub fn wait_until(&self, arn: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let id = arn.rsplit('/').next().unwrap();
        let mut last = Value::Null;
        for task in self.lines(&format!("/coracle/v1/tasks/{id}/watch")) {
            if holds(&task) {
                return task;
            }
            last = task;
        }
        panic!("it did not come to {what}: {last:#}")
    }

    /// All output of a task: (container, stream, text).
    pub fn output(&self, arn: &str) -> Vec<(String, String, String)> {
        let id = arn.rsplit('/').next().unwrap();
        let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
        self.lines(&format!("/coracle/v1/logs?task={id}"))
            .map(|line| (text(&line, "container"), text(&line, "stream"), text(&line, "log")))
            .collect()
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Polls for something outside the agent that cannot be awaited.
pub fn wait_for(what: &str, done: impl Fn() -> bool) {
    let deadline = Deadline::new();
    while !done() {
        assert!(!deadline.over(), "gave up waiting for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Signals a process that a test started.
pub fn kill(pid: i32, signal: i32) {
    let signal = nix::sys::signal::Signal::try_from(signal).unwrap();
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
}

struct Deadline(std::time::Instant);

impl Deadline {
    #[allow(clippy::disallowed_methods, reason = "a test's patience is real time")]
    fn new() -> Self {
        Self(std::time::Instant::now())
    }

    fn over(&self) -> bool {
        self.0.elapsed() > PATIENCE
    }
}

fn processes() -> impl Iterator<Item = i32> {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Every place where a cgroup hierarchy is mounted.
fn cgroup_roots() -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields.filter(|f| f[2].starts_with("cgroup")).map(|f| PathBuf::from(f[1])).collect()
}

fn collect_pids(dir: &Path, pids: &mut Vec<i32>) {
    let procs = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    pids.extend(procs.lines().filter_map(|line| line.parse::<i32>().ok()));
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            collect_pids(&entry.path(), pids);
        }
    }
}

fn remove_cgroups(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_cgroups(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(dir);
}
