//! `coracle logs`, `exec`, `stats`, `top`, `why` and `image ls|rm|prune` on a hub, for a box that nobody can connect to: through a
//! real mosquitto, to a real agent in a namespace of its own, whose link is cut. Needs root and mosquitto.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod agent;
mod far_box;
mod terminal;

use far_box::{Fleet, fleet};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Output, Stdio};
use terminal::Typist;

/// Says a line each time that somebody in it asks for one.
fn speaker() -> Value {
    json!({
        "name": "main", "image": "coracle/busybox", "memory": 128,
        "command": ["sh", "-c", "mkfifo /tmp/say; echo ready; while :; do cat /tmp/say; done"],
    })
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `coracle logs -f`, read line by line.
struct Followed {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Followed {
    fn start(fleet: &Fleet, arguments: &[&str]) -> Self {
        let all = [&["logs", "-f"], arguments].concat();
        let mut command = fleet.coracle(&all);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    /// What it says at its end, which must be a failure.
    fn fails(mut self) -> String {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
        let output = self.child.wait_with_output().unwrap();
        assert!(!output.status.success(), "{output:?}");
        said(&output)
    }

    fn goes_away(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn say(fleet: &Fleet, task: &str, text: &str) {
    let script = format!("echo {text} > /tmp/say");
    fleet.cli(&["exec", task, "--", "sh", "-c", &script]);
}

/// Loads an image that nobody uses into the box.
fn spare(fleet: &Fleet, name: &str) {
    let folder = fleet.host.dir.path().join("spare");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("file"), name).unwrap();
    let files = json!([{ "path": "/file", "source": "file", "mode": "0644" }]);
    let recipe = json!({ "cmd": ["x"], "files": files }).to_string();
    std::fs::write(folder.join("recipe.json"), recipe).unwrap();
    fleet.host.cli(&["image", "build", "--tag", name, folder.to_str().unwrap()]);
}

/// What nobody uses goes from the box, and what its task runs does not.
fn removes_images(fleet: &Fleet, instance: &str) {
    let fails = |arguments: &[&str]| {
        let output = fleet.coracle(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}: {output:?}");
        said(&output)
    };
    let here = |name: &str| fleet.host.cli(&["image", "ls"]).contains(name);
    let on_box = ["--instance", instance];
    spare(fleet, "spare:1");
    spare(fleet, "spare:2");

    let removed = fleet.cli(&[&["image", "rm", "spare:1"][..], &on_box].concat());
    assert!(removed.contains("docker.io/library/spare:1  sha256:"), "{removed}");
    assert!(removed.contains(" freed"), "{removed}");
    assert!(!here("spare:1") && here("spare:2"));
    let error = fails(&[&["image", "rm", "spare:1"][..], &on_box].concat());
    assert!(
        error.contains("container instance") && error.contains("there is no image spare:1"),
        "{error}"
    );
    let error = fails(&[&["image", "rm", "coracle/busybox"][..], &on_box].concat());
    assert!(error.contains("is in use by task"), "{error}");

    // Nobody sits there to be asked, a hub itself has none, and a box has no other boxes.
    let prune = ["image", "prune", "--all"];
    let error = fails(&[&prune[..], &on_box].concat());
    assert!(error.contains("--force") && error.contains(instance), "{error}");
    for arguments in [&["image", "rm", "spare:2"][..], &["image", "prune", "--force"]] {
        let error = fails(arguments);
        assert!(error.contains("name a box with --instance"), "{error}");
    }
    let error = fails(&["image", "rm", "spare:2", "--instance", "0123456789"]);
    assert!(error.contains("there is no container instance 0123456789"), "{error}");
    let mut directly = fleet.coracle(&["image", "rm", "spare:2"]);
    let output = directly.args(on_box).arg("--run-dir").arg(fleet.host.run_dir()).output().unwrap();
    assert!(
        !output.status.success() && said(&output).contains("leave --instance out"),
        "{output:?}"
    );

    // It came a moment ago, so at first it stays.
    let all = [&prune[..], &["--force"], &on_box].concat();
    let would = || fleet.cli(&[&all[..], &["--dry-run"]].concat());
    fleet.until("the image is old enough to go", || would().contains("/spare:2  sha256:"));
    assert!(!would().contains("busybox") && here("spare:2"));
    let pruned = fleet.cli(&all);
    assert!(pruned.contains("/spare:2  sha256:") && !pruned.contains("busybox"), "{pruned}");
    assert!(!here("spare:2") && here("coracle/busybox"));
}

#[test]
fn a_box_behind_its_own_network_is_within_reach_of_its_hub() {
    let Some(mut fleet) = fleet() else { return };
    let task = fleet.run("speaker", &speaker());
    let short = &task[..12];

    // Two follow at once, one by the task, one by the family.
    let mut one = Followed::start(&fleet, &[short]);
    let mut other = Followed::start(&fleet, &["speaker"]);
    assert_eq!(one.line(), "ready\n");
    assert!(other.line().ends_with("ready\n"));
    for text in ["first", "second"] {
        say(&fleet, &task, text);
        assert_eq!(one.line(), format!("{text}\n"));
        assert!(other.line().ends_with(&format!("{text}\n")));
    }
    assert_eq!(fleet.cli(&["logs", "--tail", "1", &task]), "second\n");
    assert!(fleet.cli(&["logs", "speaker"]).ends_with("second\n"));

    // Codes, both streams, and what is wrong.
    let script = "echo out; echo err >&2; exit 7";
    let output = fleet.coracle(&["exec", short, "--", "sh", "-c", script]).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!((&*output.stdout, &*output.stderr), (&b"out\n"[..], &b"err\n"[..]));
    let output = fleet.coracle(&["exec", short, "--", "nosuch"]).output().unwrap();
    assert_eq!(output.status.code(), Some(127), "{output:?}");
    assert!(said(&output).contains("container instance"), "{output:?}");
    let output = fleet.coracle(&["exec", "0123456789", "--", "true"]).output().unwrap();
    assert!(said(&output).contains("there is no task 0123456789"), "{output:?}");

    // More than all windows on the way, both ways.
    let bytes: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
    let mut child = fleet
        .coracle(&["exec", "-i", &task, "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, sent) = (child.stdin.take().unwrap(), bytes.clone());
    let writer = std::thread::spawn(move || stdin.write_all(&sent).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success() && output.stdout == bytes, "{} bytes", output.stdout.len());

    let mut typist = Typist::start(&fleet.run_dir(), &["exec", "-it", short, "--", "sh"]);
    typist.types("stty size\n");
    typist.sees("31 97");
    typist.resizes(40, 120);
    typist.types("until [ \"$(stty size)\" = '40 120' ]; do :; done; echo gro''wn\n");
    typist.sees("grown");
    typist.types("exit 42\n");
    assert_eq!(typist.ends(), Some(42));

    for arguments in [&["stats", "--no-stream"][..], &["stats", "--no-stream", short]] {
        let shown = fleet.cli(arguments);
        assert!(shown.contains(short) && shown.contains("main"), "{shown}");
    }
    assert!(fleet.cli(&["top", &task]).contains("sh"));
    let instance = fleet.ecs("DescribeTasks", &json!({ "tasks": [task] }));
    let instance = instance["tasks"][0]["containerInstanceArn"].as_str().unwrap().to_owned();
    assert!(fleet.cli(&["image", "ls", "--instance", &instance]).contains("coracle/busybox"));
    removes_images(&fleet, &instance);
    let why = fleet.cli(&["why", &task]);
    assert!(why.contains("says of it:"), "{why}");
    // What a hub has itself needs no box.
    assert!(fleet.cli(&["ps"]).contains(short));

    // Whoever goes away leaves nothing behind on the box.
    other.goes_away();
    let listening = fleet.coracle(&["exec", short, "--", "sleep", "77777"]).spawn().unwrap();
    let sleeps = || {
        fleet.host.pids_in_cgroups().into_iter().any(|pid| {
            let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&arguments).contains("77777")
        })
    };
    fleet.until("the command runs", sleeps);
    let mut listening = listening;
    listening.kill().unwrap();
    listening.wait().unwrap();
    fleet.until("the command is ended", || !sleeps());

    // The box's agent dies: its tunnels end, its containers go on, and it comes back.
    fleet.restart_agent();
    let error = one.fails();
    assert!(error.contains("container instance") && error.contains("connection"), "{error}");
    fleet.until("the box is back", || {
        fleet.coracle(&["logs", "--tail", "1", &task]).output().unwrap().stdout == b"second\n"
    });

    // The link is cut.
    let mut one = Followed::start(&fleet, &["--tail", "1", &task]);
    assert_eq!(one.line(), "second\n");
    fleet.cable.cut();
    let error = one.fails();
    assert!(error.contains("container instance"), "{error}");
    fleet.until("the hub knows", || !fleet.is_connected());
    for arguments in [&["logs", &task][..], &["exec", &task, "--", "true"], &["top", &task]] {
        let output = fleet.coracle(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(said(&output).contains("is not connected since"), "{output:?}");
    }
    let output = fleet.coracle(&["stats", "--no-stream"]).output().unwrap();
    assert!(output.status.success() && said(&output).contains("not connected"), "{output:?}");
    let why = fleet.cli(&["why", &task]);
    assert!(why.contains("it has not been connected for"), "{why}");

    fleet.cable.mend();
    fleet.until("the box is back", || {
        fleet.coracle(&["exec", &task, "--", "true"]).output().unwrap().status.success()
    });
    say(&fleet, &task, "third");
    fleet.until("the line is there", || {
        fleet.cli(&["logs", &task]) == "ready\nfirst\nsecond\nthird\n"
    });
    fleet.cli(&["stop", &task]);
}
