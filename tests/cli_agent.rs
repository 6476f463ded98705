//! The client verbs against a real agent, and `coracle run` with an engine of its own. Needs root.

#![allow(clippy::unwrap_used, reason = "a test ends when something cannot be read or run")]
#![allow(clippy::print_stdout, reason = "a test that skips says why")]

mod agent;

use agent::{Agent, Host};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A host with the busybox image, when we may have one.
fn host() -> Option<Host> {
    if rustix::process::geteuid().is_root() {
        return Some(Host::new());
    }
    println!("skipped: running containers needs root");
    None
}

/// `coracle` with the directories of `host`, whether an agent is up there or not.
fn coracle(host: &Host, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .env("CORACLE_RUN_DIR", host.run_dir())
        .env("CORACLE_STATE_DIR", host.state_dir())
        .env("CORACLE_CGROUP_PARENT", &host.cgroup_parent);
    command
}

fn output(host: &Host, arguments: &[&str]) -> Output {
    coracle(host, arguments).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// The path of an example of the repository.
fn example(name: &str) -> String {
    format!("{}/configs/examples/{name}.json", env!("CARGO_MANIFEST_DIR"))
}

/// Writes a definition into the host's directory.
fn definition(host: &Host, name: &str, containers: &Value) -> String {
    let path = host.dir.path().join(format!("{name}.json"));
    let definition =
        json!({ "family": name, "networkMode": "none", "containerDefinitions": containers });
    std::fs::write(&path, definition.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn shell(name: &str, script: &str) -> Value {
    json!({
        "name": name, "image": "busybox", "memory": 32, "stopTimeout": 2,
        "command": ["sh", "-c", script],
    })
}

/// Loads the image of `images/busybox` into the agent of `host`, under the name that the examples use.
fn load_busybox(host: &Host) {
    let folder = host.dir.path().join("busybox-recipe");
    let images = concat!(env!("CARGO_MANIFEST_DIR"), "/images/busybox");
    let copied = Command::new("cp").args(["-r", images]).arg(&folder).status();
    assert!(copied.unwrap().success());
    let recipe = folder.join("recipe.json");
    let mut named: Value = serde_json::from_slice(&std::fs::read(&recipe).unwrap()).unwrap();
    named["name"] = json!("busybox");
    std::fs::write(&recipe, named.to_string()).unwrap();
    let built = host.cli(&["image", "build", folder.to_str().unwrap()]);
    assert!(built.contains("busybox") && built.contains("@sha256:"), "{built}");
}

/// Starts an agent, loads busybox and ends it again: the images stay on the host.
fn with_busybox(host: &Host) {
    let agent = host.start();
    load_busybox(host);
    assert!(agent.terminate().success());
}

/// Everything that an engine of its own could have left behind.
fn leftovers(host: &Host, pid: u32) -> Vec<PathBuf> {
    let name = format!("coracle-run-{pid}");
    let cgroup = format!("{}-run-{pid}", host.cgroup_parent);
    let mut found = vec![PathBuf::from("/var/tmp").join(&name), host.dir.path().join(&name)];
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    for mount in mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()) {
        if mount[2].starts_with("cgroup") {
            found.push(PathBuf::from(mount[1]).join(&cgroup));
        }
        assert!(!mount[1].contains(&name), "still mounted: {}", mount[1]);
    }
    found.retain(|path| path.exists());
    found
}

/// Runs to the end without an agent and looks for what was left.
fn alone(host: &Host, arguments: &[&str]) -> Output {
    let child =
        coracle(host, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    assert_eq!(leftovers(host, pid), Vec::<PathBuf>::new(), "{output:?}");
    output
}

#[test]
fn the_example_of_the_readme_runs_without_an_agent() {
    let Some(host) = host() else { return };
    let ran = alone(&host, &["run", &example("hello")]);
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    assert!(stdout(&ran).to_lowercase().contains("hello"), "{ran:?}");
    assert_eq!(stderr(&ran), "");

    let ran = alone(&host, &["run", "-e", "EXIT_CODE=7", "--output", "json", &example("hello")]);
    assert_eq!(ran.status.code(), Some(7), "{ran:?}");
    let end = stdout(&ran).find("{\n").unwrap();
    let told: Value = serde_json::from_str(&stdout(&ran)[end..]).unwrap();
    assert_eq!(told["lastStatus"], "STOPPED");
    assert_eq!(told["stopCode"], "EssentialContainerExited");
    assert_eq!(told["stoppedReason"], "Essential container in task exited");
    assert_eq!(told["containers"][0]["name"], "hello");
    assert_eq!(told["containers"][0]["exitCode"], 7);
    assert!(told["taskArn"].as_str().unwrap().starts_with("arn:aws:ecs:"), "{told}");
}

#[test]
fn every_example_runs() {
    let Some(host) = host() else { return };
    with_busybox(&host);
    let ran = alone(&host, &["run", &example("depends-on")]);
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    assert_eq!(stdout(&ran), "main | hello from prepare\n");

    let ran = alone(&host, &["run", &example("limits")]);
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    for expected in ["uid=1000 gid=1000", "\n256\n", "CapBnd:\t0000000000000000", "/tmp"] {
        assert!(stdout(&ran).contains(expected), "{expected}: {ran:?}");
    }
    assert!(stderr(&ran).contains("Read-only file system"), "{ran:?}");
}

#[test]
fn what_cannot_start_is_125_and_says_why() {
    let Some(host) = host() else { return };
    with_busybox(&host);
    let missing =
        json!([{ "name": "a", "image": "busybox", "memory": 16, "command": ["/no/such/file"] }]);
    let ran = alone(&host, &["run", &definition(&host, "missing", &missing)]);
    assert_eq!(ran.status.code(), Some(125), "{ran:?}");
    assert!(
        stderr(&ran).contains("CannotStartContainerError")
            || stderr(&ran).contains("CannotCreateContainerError"),
        "{ran:?}"
    );

    let unknown = json!([{ "name": "a", "image": "127.0.0.1:1/none", "memory": 16 }]);
    let ran = alone(&host, &["run", "--output", "json", &definition(&host, "unknown", &unknown)]);
    assert_eq!(ran.status.code(), Some(125), "{ran:?}");
    assert!(stderr(&ran).contains("CannotPullContainerError"), "{ran:?}");
    assert_eq!(json_of(&ran)["stopCode"], "TaskFailedToStart");

    let invalid = json!([{ "name": "a", "image": "busybox" }]);
    let ran = alone(&host, &["run", &definition(&host, "invalid", &invalid)]);
    assert_eq!(ran.status.code(), Some(125), "{ran:?}");
    assert!(stderr(&ran).contains("ClientException: "), "{ran:?}");
    assert!(stderr(&ran).contains("memory"), "{ran:?}");
}

#[test]
fn streams_stay_apart_and_several_containers_are_named() {
    let Some(host) = host() else { return };
    with_busybox(&host);
    let one = json!([shell("main", "printf half; echo ' line'; echo wrong >&2; exit 3")]);
    let ran = alone(&host, &["run", &definition(&host, "one", &one)]);
    assert_eq!(ran.status.code(), Some(3));
    assert_eq!((stdout(&ran), stderr(&ran)), ("half line\n", "wrong\n"));

    // Much output, none of it lost: the last line comes right before the end.
    let much = json!([shell("main", "seq 1 50000")]);
    let ran = alone(&host, &["run", &definition(&host, "much", &much)]);
    assert_eq!(stdout(&ran).lines().count(), 50_000);
    assert!(stdout(&ran).ends_with("\n50000\n"));

    let mut side = shell("side", "echo from side");
    side["essential"] = json!(false);
    let mut main = shell("main", "echo from main; exit 4");
    main["dependsOn"] = json!([{ "containerName": "side", "condition": "COMPLETE" }]);
    let ran = alone(&host, &["run", &definition(&host, "two", &json!([main, side]))]);
    assert_eq!(ran.status.code(), Some(4), "{ran:?}");
    assert_eq!(stdout(&ran), "side | from side\nmain | from main\n");
}

#[test]
fn a_signal_stops_the_task() {
    let Some(host) = host() else { return };
    with_busybox(&host);
    let waits = json!([shell(
        "main",
        "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.05; done"
    )]);
    let file = definition(&host, "waits", &waits);
    for with_agent in [false, true] {
        let agent = with_agent.then(|| host.start());
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let mut child = coracle(&host, &["run", &file]).stdout(Stdio::piped()).spawn().unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            assert_eq!(lines.next().unwrap().unwrap(), "up");
            kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
            assert_eq!(lines.next().unwrap().unwrap(), "bye");
            assert_eq!(child.wait().unwrap().code(), Some(9), "{signal} {with_agent}");
            assert_eq!(leftovers(&host, child.id()), Vec::<PathBuf>::new());
        }
        drop(agent);
    }
}

/// `coracle run … | head -1` ends the task as well.
#[test]
fn a_task_that_nobody_reads_is_stopped() {
    let Some(host) = host() else { return };
    let agent = host.start();
    load_busybox(&host);
    let talks = json!([shell("main", "while :; do echo again; sleep 0.05; done")]);
    let file = definition(&host, "talks", &talks);
    let mut child = coracle(&host, &["run", &file]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "again\n");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let stopped = agent.ok("ListTasks", &json!({ "desiredStatus": "STOPPED" }));
    assert_eq!(stopped["taskArns"].as_array().unwrap().len(), 1, "{stopped}");
}

#[test]
fn a_missing_privilege_is_one_clear_line() {
    let Some(host) = host() else { return };
    let folder = host.dir.path().join("open");
    std::fs::create_dir(&folder).unwrap();
    for path in [host.dir.path(), &folder] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777))
            .unwrap();
    }
    // Copied by a child, so that no fork of another test holds it open for writing.
    let binary = folder.join("coracle");
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_coracle")).arg(&binary).status();
    assert!(copied.unwrap().success());
    let file = folder.join("hello.json");
    std::fs::copy(example("hello"), &file).unwrap();
    let mut command = Command::new(&binary);
    command.arg("run").arg(&file).env("CORACLE_RUN_DIR", folder.join("run"));
    std::os::unix::process::CommandExt::uid(&mut command, 65_534);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let ran = child.wait_with_output().unwrap();
    let own = PathBuf::from(format!("/var/tmp/coracle-run-{pid}"));
    assert!(!own.exists(), "{} was left behind", own.display());
    assert_eq!(ran.status.code(), Some(125), "{ran:?}");
    assert_eq!(stderr(&ran).lines().count(), 1, "{ran:?}");
    assert!(stderr(&ran).contains("root"), "{ran:?}");
}

#[test]
fn a_definition_that_did_not_change_is_registered_once() {
    let Some(host) = host() else { return };
    let agent = host.start();
    load_busybox(&host);
    let containers = |script| json!([shell("main", script)]);
    let first = definition(&host, "job", &containers("exit 0"));
    for _ in 0..2 {
        assert!(output(&host, &["run", &first]).status.success());
    }
    assert_eq!(revisions(&agent, "job"), 1);
    // What the caller wants of one run does not make a revision either.
    let other = output(&host, &["run", "-e", "A=1", &first, "sh", "-c", "exit 6"]);
    assert_eq!(other.status.code(), Some(6), "{other:?}");
    assert_eq!(revisions(&agent, "job"), 1);
    let second = definition(&host, "job", &containers("exit 5"));
    assert_eq!(output(&host, &["run", &second]).status.code(), Some(5));
    assert_eq!(revisions(&agent, "job"), 2);

    for script in ["echo $A", "exit 2"] {
        let ran = output(&host, &["run", "-e", "A=b c", "busybox", "sh", "-c", script]);
        assert!(stdout(&ran) == "b c\n" || ran.status.code() == Some(2), "{ran:?}");
    }
    assert_eq!(revisions(&agent, "run-busybox"), 1);
}

fn revisions(agent: &Agent<'_>, family: &str) -> usize {
    let listed = agent.ok("ListTaskDefinitions", &json!({ "familyPrefix": family }));
    listed["taskDefinitionArns"].as_array().unwrap().len()
}

#[test]
fn a_task_is_seen_read_and_stopped() {
    let Some(host) = host() else { return };
    let agent = host.start();
    load_busybox(&host);
    let waits = json!([shell(
        "main",
        "echo up; echo err >&2; trap 'exit 0' TERM; while :; do sleep 0.05; done"
    )]);
    let id = host.cli(&["run", "--detach", &definition(&host, "waits", &waits)]);
    let id = id.trim_end();
    assert_eq!(id.len(), 32, "{id}");
    let arn =
        host.cli(&["run", "--detach", "--output", "json", &definition(&host, "other", &waits)]);
    let other: Value = serde_json::from_str(&arn).unwrap();
    let other = other["task"]["taskArn"].as_str().unwrap().to_owned();
    agent.wait(&other, "RUNNING");
    let listed: Value = serde_json::from_str(&host.cli(&["ps", "--output", "json"])).unwrap();
    assert_eq!(listed["tasks"].as_array().unwrap().len(), 2);
    let arn = listed["tasks"][1]["taskArn"].as_str().unwrap();
    assert!(arn.ends_with(id), "the newest comes first: {listed:#}");
    agent.wait(arn, "RUNNING");

    let table = host.cli(&["ps"]);
    let row = table.lines().find(|line| line.starts_with(&id[..12])).unwrap();
    assert!(
        row.contains("waits:1") && row.contains("RUNNING") && row.contains("main running"),
        "{table}"
    );

    // By a prefix, and following until the end.
    let follow = coracle(&host, &["logs", "--follow", &id[..8]])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(host.cli(&["stop", "--reason", "enough", &id[..8]]).trim_end(), id);
    let task = agent.describe(arn);
    assert_eq!(
        (&task["lastStatus"], &task["stoppedReason"]),
        (&json!("STOPPED"), &json!("enough"))
    );
    let followed = follow.wait_with_output().unwrap();
    assert!(followed.status.success());
    assert_eq!((stdout(&followed), stderr(&followed)), ("up\n", "err\n"));

    // After the end as well, and as JSON.
    let lines = host.cli(&["logs", "--output", "json", "--tail", "1", "--container", "main", id]);
    let line: Value = serde_json::from_str(lines.trim_end()).unwrap();
    assert_eq!(line["container"], "main");
    assert_eq!(host.cli(&["ps"]).lines().count(), 2);
    assert!(host.cli(&["ps", "--all"]).contains("enough"));
    host.cli(&["stop", &other]);

    for (wrong, said) in [("abc", "too short"), ("ffffffffffff", "there is no task")] {
        let refused = output(&host, &["stop", wrong]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(stderr(&refused).contains(said), "{refused:?}");
    }
}

#[test]
fn definitions_and_images_are_listed() {
    let Some(host) = host() else { return };
    let _agent = host.start();
    load_busybox(&host);
    let images = host.cli(&["image", "ls"]);
    assert!(images.lines().any(|line| line.contains("busybox") && line.contains("iB")), "{images}");
    let refused = output(&host, &["image", "pull", "127.0.0.1:1/none"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("CannotPullContainerError"), "{refused:?}");

    let file = definition(&host, "web", &json!([shell("main", "exit 0")]));
    assert_eq!(host.cli(&["task-def", "register", &file]), "web:1\n");
    assert_eq!(host.cli(&["td", "register", &file]), "web:2\n");
    let rows = |arguments: &[&str]| host.cli(arguments).lines().count() - 1;
    assert_eq!(rows(&["td", "ls"]), 2);
    assert_eq!(rows(&["td", "ls", "--newest", "we"]), 1);
    assert_eq!(rows(&["td", "ls", "other"]), 0);
    let shown = host.cli(&["task-def", "show", "web"]);
    assert!(
        shown.contains("web:2") && shown.contains("busybox") && shown.contains("32 MiB"),
        "{shown}"
    );
    let refused = output(&host, &["task-def", "show", "no-such-family"]);
    assert!(stderr(&refused).starts_with("error: ClientException: "), "{refused:?}");

    let members = r#"{"family":"odd","networkMode":"none","containerDefinitions":[{"name":"a","image":"b","memory":16,"colour":"red"}]}"#;
    let path = host.dir.path().join("odd.json");
    std::fs::write(&path, members).unwrap();
    let odd = output(&host, &["td", "register", path.to_str().unwrap()]);
    assert!(odd.status.success());
    assert!(stderr(&odd).contains("warning: ") && stderr(&odd).contains("colour"), "{odd:?}");
}

#[test]
fn the_environment_reaches_the_agent() {
    let Some(host) = host() else { return };
    let _agent = host.start();
    let exports = host.cli(&["env"]);
    let names: Vec<&str> = exports
        .lines()
        .filter_map(|line| line.strip_prefix("export ")?.split_once('=').map(|(name, _)| name))
        .collect();
    assert_eq!(
        names,
        [
            "AWS_ENDPOINT_URL_ECS",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_REGION",
            "AWS_DEFAULT_REGION",
        ]
    );
    let values: Value = serde_json::from_str(&host.cli(&["env", "--output", "json"])).unwrap();
    assert!(exports.contains(values["AWS_ACCESS_KEY_ID"].as_str().unwrap()));
    let told: Value = serde_json::from_str(&host.cli(&["version", "--output", "json"])).unwrap();
    assert_eq!(told["client"], told["agent"]);
}
