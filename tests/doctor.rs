//! `coracle doctor` on boxes that are really broken: each test breaks one thing, and reads what the doctor says of it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says why it is skipped"
)]

mod agent;
mod port;

use agent::{Host, kill, wait_for};
use coracle::auth::fleet::{
    Authority, DeviceIdentity, DeviceKey, Enrolment, HubKey, PLAUSIBLE, SealingKey, Subject,
};
use coracle::model::fleet::Position;
use coracle::model::{ClusterName, ContainerInstanceId, Scope, Timestamp};
use port::bound_soon;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// A box with a configuration file, so that what else runs on this machine does not matter.
struct Patient {
    host: Host,
    file: PathBuf,
    listen: SocketAddr,
}

/// What the doctor said.
struct Said {
    code: i32,
    all: Value,
}

impl Patient {
    fn new() -> Self {
        Self::with("")
    }

    fn with(more: &str) -> Self {
        let host = Host::new();
        let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let file = host.dir.path().join("agent.toml");
        let text =
            format!("listen = \"{listen}\"\ncgroup_parent = \"{}\"\n{more}", host.cgroup_parent);
        fs::write(&file, text).unwrap();
        Self { host, file, listen }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
        command
            .arg("doctor")
            .args([Path::new("--config"), &self.file])
            .args([Path::new("--state-dir"), &self.host.state_dir()])
            .args([Path::new("--run-dir"), &self.host.run_dir()]);
        for proxy in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
            command.env_remove(proxy);
        }
        command
    }

    fn examine(&self) -> Said {
        Said::of(&self.command().args(["--output", "json"]).output().unwrap())
    }
}

impl Said {
    fn of(output: &Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout);
        let all = serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr))
        });
        Self { code: output.status.code().unwrap(), all }
    }

    fn check(&self, name: &str) -> &Value {
        let checks = self.all["checks"].as_array().unwrap();
        checks
            .iter()
            .find(|check| check["name"] == name)
            .unwrap_or_else(|| panic!("no check {name}"))
    }

    /// The check came out so, and its text and remedy have these words.
    fn expect(&self, name: &str, status: &str, found: &str, remedy: &str) {
        let check = self.check(name);
        let text = |member: &str| check[member].as_str().unwrap_or_default();
        assert_eq!(text("status"), status, "{check:#}");
        assert!(text("found").contains(found), "{found}: {check:#}");
        assert!(text("remedy").contains(remedy), "{remedy}: {check:#}");
        assert_eq!(self.code, 1 - i32::from(self.all["summary"]["error"] == 0), "{}", self.all);
    }
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
}

/// Every file below a directory, with its size, times and mode.
fn everything(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(path) = pending.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        let modified = metadata.modified().unwrap();
        let mode = metadata.permissions().mode();
        if metadata.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        found.insert(path, format!("{} {modified:?} {mode:o}", metadata.len()));
    }
    found
}

#[test]
fn a_box_that_works_and_then_loses_its_agent() {
    if !is_root() {
        return;
    }
    let patient = Patient::new();
    let host = &patient.host;
    patient.examine().expect(
        "agent",
        "warning",
        "none ever ran here",
        "systemctl enable --now coracle",
    );
    assert!(!host.state_dir().exists(), "the doctor makes no directory");

    let agent = host.start();
    host.load_busybox(&agent);
    let definition = agent.register(
        "doctor",
        json!({
            "name": "main", "image": "coracle/busybox", "memory": 16, "command": ["sleep", "600"],
        }),
    );
    let task = agent.run(&definition);
    wait_for("the task to run", || agent.describe(&task)["lastStatus"] == "RUNNING");
    let before = everything(&host.state_dir());
    let said = patient.examine();
    said.expect("agent", "ok", "its engine moves", "");
    said.expect("shims", "ok", "1 task runs", "");
    said.expect("store", "ok", "all sound", "");
    said.expect("leftovers", "ok", "", "");
    said.expect("images", "ok", "all parts are there", "");
    said.expect("state-dir", "ok", "private", "");
    said.expect("program", "ok", env!("CARGO_PKG_VERSION"), "");
    said.expect("broker", "ok", "no fleet", "");
    assert_eq!(everything(&host.state_dir()), before, "the doctor changes nothing");

    // Stopped: it still listens, and says nothing.
    kill(agent.pid(), 19);
    let said = patient.examine();
    kill(agent.pid(), 18);
    said.expect("agent", "error", "does not answer in time", "journalctl -u coracle");
    said.expect("shims", "ok", "1 task runs", "");
    said.expect("ports", "ok", "", "");

    agent.kill();
    let said = patient.examine();
    said.expect("agent", "error", "no agent answers", "systemctl start coracle");
    said.expect("shims", "warning", "1 task runs without an agent", "takes them over");
    said.expect("leftovers", "ok", "", "");
    let agent = host.start();
    patient.examine().expect("shims", "ok", "1 task runs", "");
    agent.ok("StopTask", &json!({ "task": task }));
    wait_for("the task to be gone", || agent.describe(&task)["lastStatus"] == "STOPPED");
    agent.terminate();
}

#[test]
fn the_text_for_people_ends_with_a_summary() {
    let patient = Patient::new();
    let output = patient.command().output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines.iter().any(|line| line.starts_with("warning  agent ")), "{text}");
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("         -> sudo systemctl enable --now coracle")),
        "{text}"
    );
    assert!(lines.last().unwrap().ends_with(" skipped"), "{text}");
    let strict = patient.command().arg("--strict").status().unwrap();
    assert_eq!(strict.code(), Some(1));
    let hub = patient.command().args(["--hub", "--output", "json"]).output().unwrap();
    let hub = Said::of(&hub);
    // The file is an agent's, and a hub has no such key.
    hub.expect("configuration", "error", "cgroup_parent", "sudoedit");
    assert!(hub.all["checks"].as_array().unwrap().iter().all(|check| check["name"] != "shims"));
    hub.check("hub-broker");
}

#[test]
fn who_is_not_root_is_told_what_only_root_can_see() {
    use std::os::unix::process::CommandExt;
    if !is_root() {
        return;
    }
    let patient = Patient::new();
    fs::set_permissions(patient.host.dir.path(), Permissions::from_mode(0o755)).unwrap();
    let agent = patient.host.start();
    let mut command = patient.command();
    command.args(["--output", "json"]).uid(65534).gid(65534);
    match command.output() {
        Ok(output) => {
            let said = Said::of(&output);
            said.expect("store", "skipped", "sudo coracle doctor", "");
            said.expect("agent", "skipped", "may not be used by this user", "");
            said.expect("configuration", "ok", "is right", "");
        }
        Err(error) => println!("skipped: the program cannot be run by another user: {error}"),
    }
    agent.terminate();
}

#[test]
fn a_full_disk_in_memory() {
    if !is_root() {
        return;
    }
    let patient = Patient::new();
    let state = patient.host.state_dir();
    fs::create_dir_all(&state).unwrap();
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "sh", "-c"]);
    // The arguments of the doctor are those of the shell.
    shell.arg("mount -t tmpfs -o size=1m tmpfs \"$0\" && { dd if=/dev/zero of=\"$0/x\" bs=64k 2>/dev/null; exec \"$@\"; }");
    shell.arg(&state).arg(env!("CARGO_BIN_EXE_coracle"));
    let command = patient.command();
    shell.args(command.get_args()).args(["--output", "json"]);
    let said = Said::of(&shell.output().unwrap());
    said.expect("disk", "error", "the disk is full: 0 MiB are free", "coracle image prune");
    said.expect("file-system", "warning", "is on tmpfs", "ext4");
}

#[test]
fn a_state_directory_that_others_may_read() {
    if !is_root() {
        return;
    }
    let patient = Patient::new();
    patient.host.start().terminate();
    let store = patient.host.state_dir().join("store");
    fs::set_permissions(&store, Permissions::from_mode(0o755)).unwrap();
    let remedy = format!("sudo chmod 0700 {}", store.display());
    patient.examine().expect("state-dir", "error", "mode 0755", &remedy);
    assert_eq!(fs::metadata(&store).unwrap().permissions().mode() & 0o777, 0o755);
}

#[test]
fn a_port_that_somebody_else_has() {
    if !is_root() {
        return;
    }
    let patient = Patient::new();
    let listener = bound_soon(|| TcpListener::bind(patient.listen));
    let port = format!("TCP port {}, which the agent wants, is taken by", patient.listen.port());
    let said = patient.examine();
    said.expect("ports", "error", &port, "set listen in");
    let own = format!("(process {})", std::process::id());
    said.expect("ports", "error", &own, "stop ");
    drop(listener);
    patient.examine().expect("ports", "ok", "", "");
}

#[test]
fn a_configuration_with_an_unknown_key() {
    let patient = Patient::with("lisen = \"127.0.0.1:1\"\n");
    let file = patient.file.display().to_string();
    patient.examine().expect("configuration", "error", "lisen", &format!("sudoedit {file}"));
    let patient = Patient::new();
    let mut command = patient.command();
    let output = command.args(["--output", "json"]).env("CORACLE_LISEN", "1").output().unwrap();
    Said::of(&output).expect("configuration", "warning", "CORACLE_LISEN", "environment");
}

#[test]
fn a_damaged_store() {
    if !is_root() {
        return;
    }
    let patient = Patient::new();
    patient.host.start().terminate();
    patient.examine().expect("store", "ok", "all sound", "");
    let data = patient.host.state_dir().join("store/data.mdb");
    let file = fs::File::options().write(true).open(&data).unwrap();
    let pages = file.metadata().unwrap().len() / 4096;
    for page in 2..pages {
        file.write_all_at(&[0xff; 32], page * 4096).unwrap();
    }
    let said = patient.examine();
    said.expect("store", "error", "data.mdb is damaged", "mv ");
    said.expect("leftovers", "skipped", "see the check store", "");
}

/// What a hub would say to a box that joins, with a certificate that was issued then and lasts so long.
fn join(state: &Path, broker: &str, issued: Timestamp, lasts: Duration) {
    let hub = tempfile::tempdir().unwrap();
    let authority = Authority::open(hub.path(), issued).unwrap();
    let device = ContainerInstanceId::new("a".repeat(32)).unwrap();
    let cluster = ClusterName::default_cluster();
    let key = DeviceKey::open(state).unwrap();
    let subject = Subject::Device { id: device.clone(), cluster: cluster.clone(), lifetime: lasts };
    let certificate = authority.issue(&subject, key.public(), issued);
    let enrolment = Enrolment {
        device,
        cluster,
        scope: Scope::default(),
        hub_key: HubKey::open(hub.path()).unwrap().verifying_key(),
        hub: "http://127.0.0.1:1".to_owned(),
        broker: broker.to_owned(),
        more_brokers: Vec::new(),
        broker_authorities: None,
        certificate,
        position: Position::default(),
        attributes: BTreeMap::new(),
    };
    DeviceIdentity::create(state, &enrolment, &SealingKey::from_bytes(&[7; 32]).unwrap()).unwrap();
}

#[test]
fn a_broker_that_refuses_and_a_certificate_that_has_ended() {
    if !is_root() {
        return;
    }
    let patient = Patient::new();
    let state = patient.host.state_dir();
    fs::create_dir_all(&state).unwrap();
    let broker = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mqtt://{}", broker.local_addr().unwrap());
    join(&state, &url, PLAUSIBLE, Duration::from_hours(24));
    let refusing = std::thread::spawn(move || {
        let (mut stream, _) = broker.accept().unwrap();
        let mut connect = [0; 1024];
        let length = stream.read(&mut connect).unwrap();
        // CONNACK of MQTT 5: not authorised.
        stream.write_all(&[0x20, 3, 0, 0x87, 0]).unwrap();
        connect[..length].to_vec()
    });
    let said = patient.examine();
    let connect = refusing.join().unwrap();
    // The flags: neither a clean start nor a last will.
    assert_eq!((connect[0], connect[9]), (0x10, 0), "{connect:?}");
    said.expect("broker", "error", "refuses this client", "coracle leave");
    said.expect("certificates", "error", "the certificate ended", "coracle join");
    // Nobody listens there any more.
    patient.examine().expect("broker", "warning", "cannot be reached", "nc -vz 127.0.0.1");
}

#[test]
fn a_control_group_that_nobody_knows() {
    if !is_root() {
        return;
    }
    let patient = Patient::new();
    let agent = patient.host.start();
    let tasks = patient.host.run_dir().join("tasks/0123456789abcdef");
    fs::create_dir_all(&tasks).unwrap();
    patient.examine().expect(
        "leftovers",
        "warning",
        "0123456789abcdef",
        "systemctl restart coracle",
    );
    agent.terminate();
    patient.host.start().terminate();
    assert!(!tasks.exists(), "the agent removes at its start what it does not know");
    patient.examine().expect("leftovers", "ok", "", "");
}
