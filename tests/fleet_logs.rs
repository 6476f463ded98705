//! Logs on their way from a box to its hub: a real agent with real containers, a real mosquitto, a real hub; the link is cut
//! while a container writes more than is kept, agent and hub are killed, and nothing is missing but what is said to be.
//! Needs root and mosquitto.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod agent;
mod boxes;

use boxes::Fleet;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Writes a hundred lines, and after each word in its pipe as many as the word says.
const SCRIPT: &str = "say() { i=0; while [ $i -lt $2 ]; do echo $1 $i of $2 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; \
    i=$((i+1)); done; echo end of $1; }; mkfifo /tmp/go; say first 100; \
    while :; do read name count < /tmp/go; say $name $count; done";

fn definition() -> Value {
    json!({
        "family": "talker", "networkMode": "none", "containerDefinitions": [
            {
                "name": "main", "image": "coracle/busybox", "memory": 64, "command": ["sh", "-c", SCRIPT],
                "dockerLabels": { "coracle.forward-logs": "true" },
                "logConfiguration": { "logDriver": "json-file", "options": { "max-size": "1m", "max-file": "2" } },
            },
            {
                "name": "quiet", "image": "coracle/busybox", "memory": 64,
                "command": ["sh", "-c", "echo nobody else hears this; sleep 100000"],
            },
        ],
    })
}

fn run(fleet: &Fleet) -> String {
    fleet.ecs("RegisterTaskDefinition", &definition());
    let answer = fleet.ecs("RunTask", &json!({ "taskDefinition": "talker" }));
    let arn = answer["tasks"][0]["taskArn"].as_str().unwrap_or_else(|| panic!("{answer}"));
    boxes::last(arn)
}

/// `coracle logs` on the hub.
fn logs(fleet: &Fleet, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_coracle"))
        .arg("logs")
        .args(arguments)
        .env("CORACLE_RUN_DIR", fleet.run_dir())
        .output()
        .unwrap()
}

/// What the hub stores of the container that talks.
fn stored(fleet: &Fleet, task: &str) -> String {
    let output = logs(fleet, &["--stored", "-c", "main", task]);
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8(text).unwrap()
}

/// Whether the hub has all that was said under a name.
fn is_stored(fleet: &Fleet, task: &str, name: &str) -> bool {
    let output = logs(fleet, &["--stored", "-c", "main", "--tail", "1", task]);
    output.stdout.starts_with(format!("end of {name}").as_bytes())
}

/// Has the container write so many lines, and waits until the box has them.
fn say(fleet: &Fleet, task: &str, name: &str, count: u32) {
    let script = format!("echo {name} {count} > /tmp/go");
    let host = &fleet.boxes[0].host;
    let mut exec = Command::new(env!("CARGO_BIN_EXE_coracle"));
    exec.args(["exec", "-c", "main", task, "--", "sh", "-c", &script]);
    let output = exec.env("CORACLE_RUN_DIR", host.run_dir()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let end = format!("end of {name}");
    boxes::until(&end, || host.cli(&["logs", "-c", "main", "--tail", "1", task]).starts_with(&end));
}

/// The lines in the files of a log, the oldest first.
fn files(directory: &Path) -> Vec<Value> {
    let mut lines = Vec::new();
    for name in ["main.log.2", "main.log.1", "main.log"] {
        let text = std::fs::read_to_string(directory.join(name)).unwrap_or_default();
        lines.extend(text.lines().map(|line| serde_json::from_str(line).unwrap()));
    }
    lines
}

/// How many bytes the box has written, those that are gone included.
fn written(directory: &Path) -> u64 {
    let path = directory.join("main.log");
    let text = std::fs::read_to_string(&path).unwrap();
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    first["from"].as_u64().unwrap_or_default() + text.len() as u64
}

/// What is stored, and what is said to be missing, is together what was written; how many bytes are missing.
fn check(stored: &[Value]) -> (u64, u64) {
    let (mut place, mut missing) = (0, 0);
    let mut seen: BTreeMap<(String, u64), u32> = BTreeMap::new();
    let mut last: Option<(String, u64)> = None;
    for line in stored {
        let (text, to) = (line["log"].as_str().unwrap(), line["told"]["to"].as_u64().unwrap());
        assert!(to > place, "{line}");
        if text.starts_with("---") {
            let gone = to - place;
            assert!(text.contains(&format!("({gone} bytes) lost between 20")), "{text}: {gone}");
            missing += gone;
            last = None;
        } else if let Some((name, number)) = text.split_once(' ').and_then(|(name, rest)| {
            Some((name.to_owned(), rest.split(' ').next()?.parse::<u64>().ok()?))
        }) {
            if let Some((before, at)) = &last
                && *before == name
            {
                assert_eq!(number, at + 1, "nothing is missing in between: {line}");
            }
            *seen.entry((name.clone(), number)).or_default() += 1;
            last = Some((name, number));
        }
        place = to;
    }
    assert!(seen.values().all(|times| *times == 1), "nothing is there twice");
    (place, missing)
}

#[test]
fn what_a_box_wrote_while_it_was_away_arrives_and_what_is_gone_is_said() {
    if !boxes::possible() {
        return;
    }
    let mut fleet = Fleet::new(&["site=north"]);
    let task = run(&fleet);
    fleet.until("the first lines are stored", || is_stored(&fleet, &task, "first"));
    let quiet = logs(&fleet, &["--stored", "-c", "quiet", &task]);
    assert!(!quiet.status.success() && quiet.stdout.is_empty(), "{quiet:?}");
    let why = String::from_utf8(quiet.stderr).unwrap();
    assert!(why.contains("coracle.forward-logs=true"), "{why}");

    // A box that is away: what the hub has is shown, and how far that goes.
    fleet.boxes[0].cable.cut();
    say(&fleet, &task, "second", 45_000);
    fleet.until("the box counts as away", || fleet.connected() == 0);
    let away = logs(&fleet, &["-c", "main", "--tail", "1", &task]);
    let note = String::from_utf8(away.stderr).unwrap();
    assert!(away.status.success(), "{note}");
    assert_eq!(away.stdout, b"end of first\n");
    assert!(
        note.contains("stored by the hub: main to byte") && note.contains("is away since 20"),
        "{note}"
    );
    let follow = logs(&fleet, &["-f", &task]);
    let why = String::from_utf8(follow.stderr).unwrap();
    assert!(!follow.status.success() && why.contains("is not connected since"), "{why}");

    // Both die before they meet again.
    fleet.boxes[0].kill();
    fleet.kill_hub();
    fleet.start_hub();
    fleet.boxes[0].start();
    fleet.boxes[0].cable.mend();
    fleet.until("the tail is stored", || is_stored(&fleet, &task, "second"));
    let text = stored(&fleet, &task);
    assert!(
        text.contains("MB (") && text.contains("lost between 20"),
        "the hole is shown: {}",
        &text[..2000]
    );

    // And die again, and again, while more comes than goes at once.
    for name in ["third", "fourth"] {
        say(&fleet, &task, name, 4_000);
        fleet.boxes[0].kill();
        fleet.kill_hub();
        fleet.start_hub();
        fleet.boxes[0].start();
    }
    say(&fleet, &task, "fifth", 50);
    fleet.until("the end is stored", || is_stored(&fleet, &task, "fifth"));

    let of_box = fleet.boxes[0].host.state_dir().join("logs").join(&task);
    let of_hub: PathBuf = fleet.state_dir().join("logs").join(fleet.boxes[0].id()).join(&task);
    let lines = files(&of_hub);
    let (place, lost) = check(&lines);
    assert_eq!(place, written(&of_box), "to the last byte");
    assert!(lost > 3_000_000, "{lost} of what rotation took");
    assert!(!of_hub.join("quiet.log").exists());
    let kept = files(&of_box);
    let there: BTreeSet<&str> = lines.iter().map(|line| line["log"].as_str().unwrap()).collect();
    assert!(kept.iter().all(|line| there.contains(line["log"].as_str().unwrap())));

    // It ends, is forgotten by nobody, and reads the same.
    fleet.ecs("StopTask", &json!({ "task": task }));
    fleet.until("the task is over", || {
        let shown = fleet.ecs("DescribeTasks", &json!({ "tasks": [task] }));
        shown["tasks"][0]["lastStatus"] == "STOPPED"
    });
    assert!(stored(&fleet, &task).contains("end of fifth"));
}
