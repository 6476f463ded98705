//! A fleet over a broker of another make, which knows MQTT 3.1.1 alone and asks for passwords: aMQTT, in Python. A document,
//! reports, events, a tunnel, a death of the broker. Needs root, and `amqtt` of the virtual environment that `tests/run` makes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod agent;
mod boxes;

use boxes::Fleet;
use serde_json::json;
use std::cell::RefCell;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// The program; none, with the reason printed, when it is not installed.
#[expect(clippy::print_stdout, reason = "whoever runs the tests must see what is skipped")]
fn amqtt() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = set("CORACLE_CACHE").or_else(|| Some(set("XDG_CACHE_HOME")?.join("coracle")));
    let cache = cache.or_else(|| Some(set("HOME")?.join(".cache/coracle")));
    let found = cache.map(|cache| cache.join("venv/bin/amqtt")).filter(|path| path.exists());
    if found.is_none() {
        println!("skipped: amqtt is not in the virtual environment of tests/run");
    }
    found
}

struct Amqtt {
    directory: TempDir,
    program: PathBuf,
    child: Option<Child>,
}

/// The user and the password.
const LOGIN: &str = "fleet:wordless";

impl Amqtt {
    fn new(program: PathBuf, port: u16) -> Self {
        let directory = tempfile::Builder::new().prefix("coracle").tempdir_in("/var/tmp").unwrap();
        let passwords = directory.path().join("passwords");
        // As the broker itself hashes them.
        let python = program.with_file_name("python");
        let script = "from pwdlib.hashers.argon2 import Argon2Hasher as H; print('fleet:' + H().hash('wordless'))";
        let hashed = Command::new(python).args(["-c", script]).output().unwrap();
        assert!(hashed.status.success(), "{hashed:?}");
        std::fs::write(&passwords, hashed.stdout).unwrap();
        let settings = format!(
            "listeners:\n  default:\n    type: tcp\n    bind: 0.0.0.0:{port}\nplugins:\n  \
             amqtt.plugins.authentication.FileAuthPlugin:\n    password_file: {}\n",
            passwords.display()
        );
        std::fs::write(directory.path().join("broker.yaml"), settings).unwrap();
        let mut broker = Self { directory, program, child: None };
        broker.start();
        broker
    }

    fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.log_file()).unwrap();
        let child = Command::new(&self.program)
            .arg("-c")
            .arg(self.directory.path().join("broker.yaml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    fn log_file(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap()
    }

    fn login(&self) -> PathBuf {
        let file = self.directory.path().join("login");
        std::fs::write(&file, LOGIN).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        file
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Amqtt {
    fn drop(&mut self) {
        self.kill();
    }
}

#[test]
fn a_broker_of_another_make_will_do() {
    let Some(program) = amqtt() else { return };
    if !boxes::possible() {
        return;
    }
    let started = RefCell::new(None);
    let fleet = Fleet::with_boxes(&["site=a"], "", |port, addresses| {
        let broker = Amqtt::new(program, port);
        let login = broker.login().display().to_string();
        started.replace(Some(broker));
        let url = format!("mqtt://{}:{port}", addresses[0]);
        let of_boxes = format!("[fleet]\nbroker_credentials = \"{login}\"\n");
        let hub = ["--broker", &url, "--broker-credentials", &login];
        (hub.map(str::to_owned).to_vec(), Some(of_boxes))
    });
    let mut broker = started.take().unwrap();
    let register = |value: &str| {
        let main = json!({
            "name": "main", "image": "coracle/busybox", "memory": 16,
            "command": ["sh", "-c", format!("echo {value}; exec sleep 1000000")],
        });
        let definition =
            json!({ "family": "web", "networkMode": "none", "containerDefinitions": [main] });
        let answer = fleet.ecs("RegisterTaskDefinition", &definition);
        answer["taskDefinition"]["taskDefinitionArn"].as_str().unwrap().to_owned()
    };
    let logs = |task: &str| fleet.cli(&["logs", task], "");
    let first = register("one");
    fleet.ecs(
        "CreateService",
        &json!({
            "serviceName": "web", "taskDefinition": first, "schedulingStrategy": "DAEMON",
        }),
    );
    // The document went down; the report and the events came up.
    fleet.stable("web");
    let before = fleet.running("web");
    // A tunnel, both ways.
    fleet.until("its output is there", || logs(&before[0]) == "one\n");

    // The broker dies, and has forgotten everything when it comes back.
    broker.kill();
    let second = register("two");
    fleet.ecs("UpdateService", &json!({ "service": "web", "taskDefinition": second }));
    fleet.until("the hub knows that the broker is gone", || {
        fleet.log().contains("there is no connection to the broker")
    });
    broker.start();
    fleet.stable("web");
    let after = fleet.running("web");
    assert_ne!(after, before);
    fleet.until("its output is there", || logs(&after[0]) == "two\n");
    // A dead task is told of, and replaced.
    let id = fleet.boxes[0].id();
    fleet.ecs("StopTask", &json!({ "task": after[0] }));
    fleet.until("another one runs", || {
        let running = fleet.running("web");
        running.len() == 1 && running != after
    });
    assert!(!broker.log().is_empty());
    let shown = fleet.cli(&["node", "show", &id], "");
    assert!(!shown.contains("events missed"), "{shown}");
}
