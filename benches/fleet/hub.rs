//! The hub as its operator starts it, and its API over the local socket.

use super::numbers;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_mins(5);
/// Between two looks at what has no event to wait for.
const GLANCE: Duration = Duration::from_millis(50);

pub(crate) struct Hub {
    child: Mutex<Child>,
    pid: u32,
    dir: tempfile::TempDir,
    coracle: PathBuf,
    /// Where boxes find it.
    pub(crate) url: String,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Hub {
    pub(crate) fn start(coracle: &Path) -> Self {
        let dir = tempfile::Builder::new().prefix("fleet-bench").tempdir_in("/var/tmp").unwrap();
        let (api, mqtt) = (free_port(), free_port());
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new(coracle)
            .args(["hub", "--listen", &format!("127.0.0.1:{api}")])
            .args(["--mqtt-listen", &format!("127.0.0.1:{mqtt}")])
            .arg("--state-dir")
            .arg(dir.path().join("state"))
            .arg("--run-dir")
            .arg(dir.path().join("run"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let url = format!("http://127.0.0.1:{api}");
        let pid = child.id();
        let hub = Self { child: Mutex::new(child), pid, dir, coracle: coracle.to_owned(), url };
        hub.until("the hub answers", || UnixStream::connect(hub.socket()).is_ok());
        hub.ecs("CreateCluster", &json!({}));
        hub.until("the broker runs", || hub.find_broker().is_some());
        hub
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("run/api.sock")
    }

    fn until(&self, what: &str, is: impl Fn() -> bool) {
        let begin = Instant::now();
        while !is() {
            if begin.elapsed() > PATIENCE
                || self.child.lock().unwrap().try_wait().unwrap().is_some()
            {
                let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap();
                panic!("{what}: not so after {:?}\n{log}", begin.elapsed());
            }
            std::thread::sleep(GLANCE);
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn cpu(&self) -> Duration {
        numbers::cpu(self.pid)
    }

    /// The broker's process.
    pub(crate) fn broker(&self) -> u32 {
        self.find_broker().unwrap()
    }

    pub(crate) fn broker_cpu(&self) -> Duration {
        numbers::cpu(self.broker())
    }

    fn find_broker(&self) -> Option<u32> {
        let parent = self.pid.to_string();
        let processes = std::fs::read_dir("/proc").unwrap();
        processes.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok()).find(
            |pid: &u32| {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                let parent_of =
                    stat.rsplit(')').next().unwrap_or_default().split_whitespace().nth(1);
                stat.contains("(mosquitto)") && parent_of == Some(parent.as_str())
            },
        )
    }

    pub(crate) fn kill_broker(&self) {
        let pid = rustix::process::Pid::from_raw(self.broker().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }

    /// A token that any number of boxes may join with.
    pub(crate) fn token(&self) -> String {
        let output = Command::new(&self.coracle)
            .args(["token", "create", "--uses", "1000000"])
            .arg("--run-dir")
            .arg(self.dir.path().join("run"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let token = said.split_whitespace().find(|word| word.starts_with("coracle1."));
        token.unwrap_or_else(|| panic!("no token: {output:?}")).to_owned()
    }

    /// An operation of the ECS API.
    pub(crate) fn ecs(&self, operation: &str, body: &Value) -> Value {
        let body = body.to_string();
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        write!(
            stream,
            "POST / HTTP/1.0\r\nHost: hub\r\nContent-Type: application/x-amz-json-1.1\r\n\
             X-Amz-Target: AmazonEC2ContainerServiceV20141113.{operation}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.split_whitespace().nth(1) == Some("200"), "{operation}: {answer}");
        serde_json::from_str(body).unwrap()
    }

    /// A new revision of what the boxes run.
    pub(crate) fn register_probe(&self, round: &str) -> u32 {
        let answer = self.ecs(
            "RegisterTaskDefinition",
            &json!({"family": "probe", "networkMode": "none", "containerDefinitions": [{
                "name": "main", "image": "coracle/busybox", "memory": 16, "command": ["sleep", "inf"],
                "environment": [{"name": "ROUND", "value": round}],
            }]}),
        );
        answer["taskDefinition"]["revision"].as_u64().unwrap().try_into().unwrap()
    }

    fn deployments(&self) -> Vec<Value> {
        let mut answer = self.ecs("DescribeServices", &json!({"services": ["all"]}));
        serde_json::from_value(answer["services"][0]["deployments"].take()).unwrap()
    }

    /// Waits until the hub has heard that the service runs as its newest revision on so many boxes.
    pub(crate) fn wait_running(&self, count: usize) {
        self.until("the service runs everywhere", || {
            let deployments = self.deployments();
            let primary = deployments.iter().find(|one| one["status"] == json!("PRIMARY"));
            primary.unwrap()["runningCount"] == json!(count)
        });
    }

    /// Waits until the roll-out is over: a task without a health check counts after five seconds.
    pub(crate) fn wait_settled(&self) {
        self.until("the roll-out is over", || {
            let deployments = self.deployments();
            deployments.len() == 1 && deployments[0]["rolloutState"] == json!("COMPLETED")
        });
    }

    /// Waits until the hub takes so many boxes for connected.
    pub(crate) fn wait_connected(&self, count: usize) {
        let listed = || {
            let mut arns = Vec::new();
            let mut next = Value::Null;
            loop {
                let mut request = json!({"maxResults": 100});
                if !next.is_null() {
                    request["nextToken"] = next;
                }
                let mut answer = self.ecs("ListContainerInstances", &request);
                arns.extend(answer["containerInstanceArns"].as_array().unwrap().iter().cloned());
                next = answer["nextToken"].take();
                if next.is_null() {
                    return arns;
                }
            }
        };
        self.until("all boxes are connected", || {
            let arns = listed();
            let connected: usize = arns
                .chunks(100)
                .map(|some| {
                    let answer = self
                        .ecs("DescribeContainerInstances", &json!({"containerInstances": some}));
                    let boxes = answer["containerInstances"].as_array().unwrap();
                    boxes.iter().filter(|one| one["agentConnected"] == json!(true)).count()
                })
                .sum();
            connected == count
        });
    }

    /// Ends it, and its broker with it.
    pub(crate) fn stop(&self) {
        let pid = rustix::process::Pid::from_raw(self.pid.cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.child.lock().unwrap().wait().unwrap().success());
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.lock().unwrap().kill();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            println!("{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}
