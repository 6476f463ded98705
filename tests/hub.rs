//! `coracle hub --simulate` as users start it: boxes that are made up, faults, restarts, kill -9, reset. No root needed.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::needless_pass_by_value,
    reason = "a test may fail by panicking, shows the log then, and hands over what `json!` makes"
)]

mod agent;

use agent::{PATIENCE, kill};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

fn coracle() -> Command {
    Command::new(env!("CARGO_BIN_EXE_coracle"))
}

/// The directories of a hub; hubs come and go in them.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::Builder::new().prefix("coracle").tempdir_in("/var/tmp").unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = coracle();
        command
            .args(["hub", "--simulate", "--listen", "127.0.0.1:0"])
            .args(["--account", "123456789012", "--region", "eu-west-1"])
            .arg("--state-dir")
            .arg(self.path().join("state"))
            .arg("--run-dir")
            .arg(self.path().join("run"))
            .args(more)
            .stdin(Stdio::null());
        command
    }

    fn start(&self) -> Hub<'_> {
        self.start_with(&[])
    }

    /// Starts a hub and waits for the line of its log that says where it answers.
    fn start_with(&self, more: &[&str]) -> Hub<'_> {
        let mut child = self.command(more).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut text = String::new();
        let address = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the hub ended at its start:\n{text}");
            text += &line;
            if line.contains("the simulation answers") {
                let rest = line.split("listen=").nth(1).unwrap();
                break rest.split_whitespace().next().unwrap().to_owned();
            }
        };
        Hub { place: self, child, log: Some(log), address }
    }

    /// A start that must fail; what it says.
    fn refused(&self, more: &[&str]) -> String {
        said(&self.command(more).output().unwrap())
    }
}

/// The complaint of a command that failed.
fn said(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// One life of a hub.
struct Hub<'a> {
    place: &'a Place,
    child: Child,
    log: Option<BufReader<std::process::ChildStderr>>,
    address: String,
}

impl Hub<'_> {
    /// kill -9; the log since the start.
    fn kill(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.rest_of_log()
    }

    /// SIGTERM, which must end it well; the log since the start.
    fn terminate(mut self) -> String {
        kill(i32::try_from(self.child.id()).unwrap(), 15);
        let log = self.rest_of_log();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}\n{log}");
        log
    }

    fn rest_of_log(&mut self) -> String {
        let mut text = String::new();
        self.log.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(!text.contains("invariant"), "{text}");
        text
    }

    fn http(&self, head: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let request = format!("{head}\r\nHost: hub\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap())
    }

    fn post(&self, path: &str, body: &str) -> (u16, Value) {
        self.http(&format!("POST {path} HTTP/1.0"), body)
    }

    /// An operation without any signature.
    fn call(&self, operation: &str, input: Value) -> (u16, Value) {
        let head = format!(
            "POST / HTTP/1.0\r\nX-Amz-Target: AmazonEC2ContainerServiceV20141113.{operation}"
        );
        self.http(&head, &input.to_string())
    }

    fn ok(&self, operation: &str, input: Value) -> Value {
        let (status, answer) = self.call(operation, input);
        assert_eq!(status, 200, "{operation}: {answer}");
        answer
    }

    /// Registers so many boxes, in the zones a, b and c in turn; their ARNs.
    fn boxes(&self, count: usize) -> Vec<String> {
        let register = |number: usize| {
            let zone = ["a", "b", "c"][number % 3];
            let answer = self.ok(
                "RegisterContainerInstance",
                json!({ "attributes": [{ "name": "zone", "value": zone }] }),
            );
            text(&answer["containerInstance"]["containerInstanceArn"])
        };
        (0..count).map(register).collect()
    }

    fn define(&self, family: &str, container: Value) {
        let mut whole = json!({ "name": "app", "image": "nowhere.invalid/app:1", "memory": 64 });
        whole.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
        self.ok(
            "RegisterTaskDefinition",
            json!({ "family": family, "containerDefinitions": [whole] }),
        );
    }

    /// Runs tasks; their ARNs.
    fn run(&self, family: &str, count: u32) -> Vec<String> {
        let answer = self.ok("RunTask", json!({ "taskDefinition": family, "count": count }));
        assert_eq!(answer["failures"], json!([]), "{answer}");
        answer["tasks"].as_array().unwrap().iter().map(|task| text(&task["taskArn"])).collect()
    }

    fn describe(&self, task: &str) -> Value {
        self.ok("DescribeTasks", json!({ "tasks": [task] }))["tasks"][0].clone()
    }

    fn list(&self, desired: &str) -> usize {
        let mut input = json!({ "desiredStatus": desired });
        let mut found = 0;
        loop {
            let answer = self.ok("ListTasks", input.clone());
            found += answer["taskArns"].as_array().unwrap().len();
            match &answer["nextToken"] {
                Value::Null => return found,
                token => input["nextToken"] = token.clone(),
            }
        }
    }

    /// Waits until the task has stopped, as `coracle run` would.
    fn stopped(&self, task: &str) -> Value {
        let id = task.rsplit('/').next().unwrap();
        let mut stream = UnixStream::connect(self.place.path().join("run/api.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET /coracle/v1/tasks/{id}/watch HTTP/1.0\r\nHost: hub\r\n\r\n").unwrap();
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        let shown = lines.skip_while(|line| !line.is_empty()).skip(1);
        let last = shown.last().unwrap();
        let task: Value = serde_json::from_str(&last).unwrap();
        assert_eq!(task["lastStatus"], "STOPPED");
        task
    }
}

impl Drop for Hub<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(log) = self.log.as_mut().filter(|_| std::thread::panicking()) {
            let mut text = String::new();
            let _ = log.read_to_string(&mut text);
            println!("--- log of the hub ---\n{text}");
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

#[test]
fn boxes_are_made_up_and_run_tasks_at_once() {
    let place = Place::new();
    let hub = place.start();
    let clusters = hub.ok("ListClusters", json!({}));
    assert_eq!(clusters["clusterArns"], json!([]), "a simulation begins with nothing");
    let boxes = hub.boxes(50);
    hub.define("web", json!({ "portMappings": [{ "containerPort": 80 }] }));

    let tasks = hub.run("web", 10);
    let mut homes = std::collections::BTreeSet::new();
    for task in &tasks {
        let task = hub.describe(task);
        assert_eq!(task["lastStatus"], "RUNNING");
        let container = &task["containers"][0];
        assert_eq!(container["lastStatus"], "RUNNING");
        assert_eq!(container["networkBindings"][0]["hostPort"], 32_768);
        assert!(text(&container["imageDigest"]).starts_with("sha256:"));
        homes.insert(text(&task["containerInstanceArn"]));
    }
    assert_eq!(homes.len(), 10, "tasks go to the emptiest box");

    let input = json!({ "taskDefinition": "web", "containerInstances": [boxes[7], boxes[8]] });
    let started = hub.ok("StartTask", input);
    assert_eq!(started["tasks"][1]["containerInstanceArn"], json!(boxes[8]));

    let input = json!({ "containerInstances": [boxes[0]], "status": "DRAINING" });
    hub.ok("UpdateContainerInstancesState", input);
    let input = json!({ "taskDefinition": "web", "containerInstances": [boxes[0]] });
    let refused = hub.ok("StartTask", input);
    assert_eq!(refused["tasks"], json!([]));

    hub.ok("StopTask", json!({ "task": tasks[0], "reason": "enough" }));
    let stopped = hub.stopped(&tasks[0]);
    assert_eq!(stopped["stoppedReason"], "enough");
    assert_eq!(stopped["containers"][0]["exitCode"], 143);
    assert_eq!(hub.list("RUNNING"), 11);
    hub.terminate();
}

#[test]
fn the_state_outlives_restarts_and_kill_9_until_it_is_reset() {
    let place = Place::new();
    let hub = place.start();
    hub.boxes(3);
    hub.define("web", json!({}));
    let tasks = hub.run("web", 6);
    hub.terminate();

    let hub = place.start();
    assert_eq!(hub.list("RUNNING"), 6);
    hub.ok("StopTask", json!({ "task": tasks[0] }));
    hub.kill();

    let hub = place.start();
    assert_eq!((hub.list("RUNNING"), hub.list("STOPPED")), (5, 1));
    assert_eq!(hub.describe(&tasks[0])["containers"][0]["exitCode"], 143);
    hub.run("web", 1);
    assert_eq!(hub.post("/_simulate/reset", ""), (200, json!({ "reset": true })));
    hub.kill();

    let hub = place.start();
    for (operation, list) in
        [("ListClusters", "clusterArns"), ("ListTaskDefinitionFamilies", "families")]
    {
        assert_eq!(hub.ok(operation, json!({}))[list], json!([]), "{operation}");
    }
    // The first box brings the cluster, and revisions count from 1 again: as on a new installation.
    hub.boxes(1);
    assert_eq!(hub.list("RUNNING") + hub.list("STOPPED"), 0);
    assert_eq!(hub.ok("ListServices", json!({}))["serviceArns"], json!([]));
    hub.define("web", json!({}));
    let task = hub.run("web", 1).remove(0);
    assert!(text(&hub.describe(&task)["taskDefinitionArn"]).ends_with("web:1"));
    hub.terminate();
}

#[test]
fn faults_come_from_a_file_a_request_or_labels() {
    let place = Place::new();
    let file = place.path().join("faults.toml");
    let rules = "[[rules]]\nfamily = \"broken\"\n\
                 fails_to_start = \"CannotPullContainerError: no such image\"\n\
                 [[rules]]\nfamily = \"job\"\nexits_after = \"50ms\"\nexit_code = 3\n";
    std::fs::write(&file, rules).unwrap();
    let hub = place.start_with(&["--faults", file.to_str().unwrap()]);
    hub.boxes(1);
    for family in ["broken", "job", "web"] {
        hub.define(family, json!({}));
    }
    let label = json!({ "dockerLabels": { "coracle.simulate.exits-after": "20" } });
    hub.define("labelled", label);

    let broken = hub.run("broken", 1).remove(0);
    let broken = hub.describe(&broken);
    assert_eq!(broken["stopCode"], "TaskFailedToStart");
    assert_eq!(broken["stoppedReason"], "CannotPullContainerError: no such image");
    let job = hub.run("job", 1).remove(0);
    let job = hub.stopped(&job);
    assert_eq!(job["containers"][0]["exitCode"], 3);
    assert_eq!(job["stopCode"], "EssentialContainerExited");
    let labelled = hub.run("labelled", 1).remove(0);
    assert_eq!(hub.stopped(&labelled)["containers"][0]["exitCode"], 0);

    let (status, plan) =
        hub.post("/_simulate/faults", r#"{"rules": [{"family": "web", "exits_after": 30}]}"#);
    assert_eq!((status, &plan["rules"][0]["exits_after"]), (200, &json!("30ms")));
    let web = hub.run("web", 1).remove(0);
    hub.stopped(&web);
    let healed = hub.run("broken", 1).remove(0);
    assert_eq!(hub.describe(&healed)["lastStatus"], "RUNNING", "the plan was replaced");
    let (status, error) = hub.post("/_simulate/faults", r#"{"rules": [{"familie": "web"}]}"#);
    assert_eq!((status, &error["__type"]), (400, &json!("InvalidParameterException")));
    assert!(text(&error["message"]).contains("familie"), "{error}");

    // What a label says that cannot be is refused where it is written.
    let wrong = json!({ "family": "wrong", "containerDefinitions": [{
        "name": "app", "image": "i", "memory": 64, "dockerLabels": { "coracle.simulate.exits-after": "soon" },
    }] });
    let (status, error) = hub.call("RegisterTaskDefinition", wrong);
    assert_eq!(status, 400);
    assert!(text(&error["message"]).contains("coracle.simulate.exits-after"), "{error}");

    // The plan of the file comes back with a reset.
    hub.post("/_simulate/reset", "");
    hub.boxes(1);
    hub.define("broken", json!({}));
    let broken = hub.run("broken", 1).remove(0);
    assert_eq!(hub.describe(&broken)["lastStatus"], "STOPPED");
    hub.terminate();
}

#[test]
fn what_is_to_happen_later_happens_after_kill_9_as_well() {
    let place = Place::new();
    let hub = place.start();
    hub.boxes(1);
    hub.define(
        "job",
        json!({ "dockerLabels": {
        "coracle.simulate.exits-after": "700ms", "coracle.simulate.exit-code": "5",
    } }),
    );
    let task = hub.run("job", 1).remove(0);
    hub.kill();
    let hub = place.start();
    assert_eq!(hub.stopped(&task)["containers"][0]["exitCode"], 5);
    hub.terminate();
}

#[test]
fn services_are_kept_on_boxes_that_are_made_up() {
    let place = Place::new();
    let hub = place.start();
    hub.boxes(3);
    hub.define("shop", json!({ "healthCheck": { "command": ["CMD", "true"] } }));
    let input = json!({ "serviceName": "shop", "taskDefinition": "shop", "desiredCount": 6 });
    hub.ok("CreateService", input);
    let counts = |hub: &Hub| {
        let service = &hub.ok("DescribeServices", json!({ "services": ["shop"] }))["services"][0];
        (service["runningCount"].clone(), service["pendingCount"].clone())
    };
    assert_eq!(counts(&hub), (json!(6), json!(0)));
    hub.kill();

    let hub = place.start();
    assert_eq!(counts(&hub), (json!(6), json!(0)));
    let tasks = hub.ok("ListTasks", json!({ "serviceName": "shop" }))["taskArns"].clone();
    hub.ok("StopTask", json!({ "task": tasks[0] }));
    hub.stopped(tasks[0].as_str().unwrap());
    assert_eq!(counts(&hub), (json!(6), json!(0)), "it is replaced on its box");
    let checked = json!({ "command": ["CMD", "true"] });
    hub.define("shop", json!({ "image": "nowhere.invalid/app:2", "healthCheck": checked }));
    hub.ok("UpdateService", json!({ "service": "shop", "taskDefinition": "shop:2" }));
    assert_eq!(counts(&hub).0, json!(6));
    for task in hub.ok("ListTasks", json!({}))["taskArns"].as_array().unwrap() {
        let task = hub.describe(task.as_str().unwrap());
        assert!(text(&task["taskDefinitionArn"]).ends_with("shop:2"), "{task}");
    }
    hub.ok("DeleteService", json!({ "service": "shop", "force": true }));
    assert_eq!(hub.list("RUNNING"), 0);
    hub.terminate();
}

#[test]
fn a_thousand_boxes_are_nothing_special() {
    let place = Place::new();
    let hub = place.start();
    hub.boxes(1000);
    hub.define("web", json!({ "portMappings": [{ "containerPort": 80 }] }));
    for _ in 0..50 {
        hub.run("web", 10);
    }
    assert_eq!(hub.list("RUNNING"), 500);
    let cluster = &hub.ok("DescribeClusters", json!({}))["clusters"][0];
    assert_eq!(cluster["registeredContainerInstancesCount"], 1000);
    assert_eq!(cluster["runningTasksCount"], 500);
    hub.terminate();
}

#[test]
fn the_command_line_shows_a_simulation_and_says_what_it_has_not() {
    let place = Place::new();
    let hub = place.start();
    hub.boxes(1);
    hub.define("web", json!({}));
    let task = hub.run("web", 1).remove(0);
    let verb = |arguments: &[&str]| {
        coracle().args(arguments).env("CORACLE_RUN_DIR", place.path().join("run")).output().unwrap()
    };
    let shown = verb(&["ps"]);
    assert!(shown.status.success());
    assert!(String::from_utf8_lossy(&shown.stdout).contains("web"));
    let id = task.rsplit('/').next().unwrap();
    for arguments in [
        &["image", "ls"][..],
        &["volume", "ls"],
        &["stats", "--no-stream"],
        &["logs", id],
        &["top", id],
        &["exec", id, "true"],
    ] {
        let complaint = said(&verb(arguments));
        assert!(complaint.contains("this is a hub"), "{arguments:?}: {complaint}");
    }
    assert!(verb(&["stop", id]).status.success());
    hub.terminate();
}

#[test]
fn a_simulation_and_an_agent_do_not_share_a_state_directory() {
    let place = Place::new();
    place.start().terminate();
    if nix::unistd::geteuid().is_root() {
        let agent = coracle()
            .arg("agent")
            .arg("--state-dir")
            .arg(place.path().join("state"))
            .arg("--run-dir")
            .arg(place.path().join("run"))
            .args(["--listen", "127.0.0.1:0"])
            .output()
            .unwrap();
        assert!(said(&agent).contains("that of a simulation"), "{agent:?}");
    }

    let other = Place::new();
    let store = other.path().join("state/store");
    std::fs::create_dir_all(&store).unwrap();
    let store = coracle::store::Store::open(&store, coracle::store::Options::default()).unwrap();
    store.put_meta("containerInstance", &json!("0123456789abcdef0123456789abcdef")).unwrap();
    drop(store);
    assert!(other.refused(&[]).contains("that of an agent"));
}

#[test]
fn what_a_hub_cannot_be_is_refused() {
    let without = coracle().args(["hub", "--faults", "faults.json"]).output().unwrap();
    assert!(said(&without).contains("--simulate"));
    let place = Place::new();
    // A simulation has no broker.
    for more in [["--mqtt-listen", "127.0.0.1:0"], ["--broker", "mqtt://127.0.0.1"]] {
        assert!(place.refused(&more).contains(more[0]));
    }
    let file = place.path().join("faults.json");
    std::fs::write(&file, r#"{"rules": [{"exit_code": 1}]}"#).unwrap();
    let complaint = place.refused(&["--faults", file.to_str().unwrap()]);
    assert!(complaint.contains("rules[0]"), "{complaint}");
    let complaint = place.refused(&["--faults", "/nowhere/faults.toml"]);
    assert!(complaint.contains("/nowhere/faults.toml"), "{complaint}");
    let hub = place.start();
    let second = place.refused(&[]);
    assert!(second.contains("in use") || second.contains("another"), "{second}");
    hub.terminate();
}
