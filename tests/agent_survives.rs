//! What the agent's death costs: nothing. Containers go on, output is whole, exit codes are kept, nothing runs twice.

#![allow(clippy::unwrap_used, reason = "a test ends when something cannot be read or run")]
#![allow(clippy::disallowed_methods, reason = "the environment says how long the storm lasts")]

mod agent;

use agent::{Host, kill, wait_for};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Kills in the storm; more with `CORACLE_STORM=N`.
const KILLS: u32 = 200;

/// A container that notes its start and its end in `/out`, prints `lines` lines and exits with `code`.
fn noting(out: &Path, name: &str, seconds: &str, lines: u32, code: i32) -> (Value, Value) {
    let script = format!(
        "echo start $NAME >> /out/notes; i=0; while [ $i -lt {lines} ]; do echo line $i; i=$((i+1)); done; \
         sleep {seconds}; echo end $NAME >> /out/notes; exit {code}"
    );
    let container = json!({
        "name": "main", "image": "coracle/busybox", "memory": 32, "stopTimeout": 1,
        "command": ["sh", "-c", script],
        "environment": [{"name": "NAME", "value": name}],
        "mountPoints": [{"sourceVolume": "out", "containerPath": "/out"}]
    });
    let volumes = json!([{"name": "out", "host": {"sourcePath": out.to_str().unwrap()}}]);
    (container, volumes)
}

fn register(agent: &agent::Agent<'_>, family: &str, parts: (Value, Value)) -> String {
    let (container, volumes) = parts;
    let input = json!({
        "family": family, "networkMode": "none",
        "containerDefinitions": [container], "volumes": volumes
    });
    agent.ok("RegisterTaskDefinition", &input);
    family.to_owned()
}

/// How often each note was made.
fn notes(out: &Path) -> BTreeMap<String, u32> {
    let text = std::fs::read_to_string(out.join("notes")).unwrap_or_default();
    let mut count = BTreeMap::new();
    for line in text.lines() {
        *count.entry(line.to_owned()).or_default() += 1;
    }
    count
}

#[test]
fn a_killed_agent_leaves_containers_running_and_finds_them_again() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let arn = agent.run(&agent.register(
        "ticks",
        json!({"name": "main", "image": "coracle/busybox", "memory": 32, "stopTimeout": 1,
               "command": ["sh", "-c", "trap 'exit 7' TERM; i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.02; done"]}),
    ));
    let before = agent.wait(&arn, "RUNNING");
    let pids = host.container_pids();
    agent.kill();
    let agent = host.start();
    let after = agent.wait(&arn, "RUNNING");
    assert_eq!(
        host.container_pids().first(),
        pids.first(),
        "the container's process is another one"
    );
    assert_eq!(before["containers"][0]["runtimeId"], after["containers"][0]["runtimeId"]);
    agent.ok("StopTask", &json!({"task": arn}));
    let stopped = agent.wait(&arn, "STOPPED");
    assert_eq!(stopped["containers"][0]["exitCode"], 7);
    assert_eq!(stopped["stopCode"], "UserInitiated");

    let ticks: Vec<_> = agent.output(&arn).into_iter().map(|(_, _, text)| text).collect();
    let expected: Vec<_> = (0..ticks.len()).map(|i| format!("tick {i}\n")).collect();
    assert!(!ticks.is_empty());
    assert_eq!(ticks, expected, "output has holes");
    assert!(host.shims().is_empty() && host.pids_in_cgroups().is_empty());
}

#[test]
fn an_exit_while_no_agent_is_there_is_reported_by_the_next() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let arn = agent.run(&agent.register(
        "gap",
        json!({"name": "main", "image": "coracle/busybox", "memory": 32,
               "command": ["sh", "-c", "sleep 0.3; echo last words; exit 42"]}),
    ));
    agent.wait(&arn, "RUNNING");
    agent.kill();
    wait_for("the container to end", || host.pids_in_cgroups().is_empty());
    let agent = host.start();
    let task = agent.wait(&arn, "STOPPED");
    assert_eq!(task["containers"][0]["exitCode"], 42);
    assert_eq!(task["stopCode"], "EssentialContainerExited");
    assert_eq!(agent.output(&arn), [("main".into(), "stdout".into(), "last words\n".into())]);
}

#[test]
fn a_term_signal_ends_the_agent_and_not_the_tasks() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let arn = agent.run(&agent.register(
        "stays",
        json!({"name": "main", "image": "coracle/busybox", "memory": 32, "stopTimeout": 1, "command": ["sleep", "1000"]}),
    ));
    agent.wait(&arn, "RUNNING");
    // The process that made the container may outlast the news of its start by a moment.
    wait_for("the container to be alone", || host.container_pids().len() == 1);
    let pids = host.container_pids();
    assert!(agent.terminate().success());
    assert_eq!(host.container_pids(), pids);

    let agent = host.start_with(&["--stop-tasks-on-exit"]);
    agent.wait(&arn, "RUNNING");
    assert!(agent.terminate().success());
    assert!(host.pids_in_cgroups().is_empty());
    assert!(host.cgroups().is_empty(), "cgroups are left: {:?}", host.cgroups());
    let agent = host.start();
    assert_eq!(agent.describe(&arn)["lastStatus"], "STOPPED");
}

#[test]
fn a_killed_shim_ends_its_task_with_a_reason_and_no_process_stays() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let arn = agent.run(&agent.register(
        "shimless",
        json!({"name": "main", "image": "coracle/busybox", "memory": 32, "command": ["sleep", "1000"]}),
    ));
    agent.wait(&arn, "RUNNING");
    let shims = host.shims();
    assert_eq!(shims.len(), 1);
    kill(shims[0], 9);
    let task = agent.wait(&arn, "STOPPED");
    let reason = task["stoppedReason"].as_str().unwrap();
    assert!(reason.contains("shim"), "{reason}");
    wait_for("the orphans to be gone", || host.pids_in_cgroups().is_empty());

    // The same while no agent looks.
    let arn = agent.run("shimless");
    agent.wait(&arn, "RUNNING");
    agent.kill();
    kill(host.shims()[0], 9);
    let agent = host.start();
    let task = agent.wait(&arn, "STOPPED");
    assert!(task["stoppedReason"].as_str().unwrap().contains("shim"), "{task:#}");
    wait_for("the orphans to be gone", || host.pids_in_cgroups().is_empty());
}

#[test]
fn after_a_reboot_what_should_run_runs_and_what_had_ended_stays_ended() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let out = host.dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    register(&agent, "long", noting(&out, "long", "1000", 1, 0));
    register(&agent, "short", noting(&out, "short", "0", 1, 3));
    let long = agent.run("long");
    let short = agent.run("short");
    let before = agent.wait(&long, "RUNNING");
    agent.wait(&short, "STOPPED");
    agent.kill();
    host.cut_the_power();

    let agent = host.start();
    // Until the agent has looked around, it tells what it knew.
    let id = long.rsplit('/').next().unwrap();
    let again = agent.lines(&format!("/coracle/v1/tasks/{id}/watch")).find(|task| {
        task["lastStatus"] == "RUNNING"
            && task["containers"][0]["runtimeId"] != before["containers"][0]["runtimeId"]
    });
    assert!(again.is_some(), "the task did not start over");
    wait_for("the second start", || notes(&out).get("start long") == Some(&2));
    let short = agent.describe(&short);
    assert_eq!(short["lastStatus"], "STOPPED");
    assert_eq!(short["containers"][0]["exitCode"], 3);
    assert_eq!(notes(&out).get("start short"), Some(&1));
}

#[test]
fn a_run_after_a_reboot_begins_with_the_image() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let script = "if [ -e /left ]; then echo stale; else echo clean; fi; touch /left; sleep 1000";
    let arn = agent.run(&agent.register(
        "clean",
        json!({"name": "main", "image": "coracle/busybox", "memory": 32, "command": ["sh", "-c", script]}),
    ));
    let id = arn.rsplit('/').next().unwrap().to_owned();
    let path = format!("/coracle/v1/logs?task={id}&follow=true");
    assert_eq!(agent.lines(&path).next().unwrap()["log"], "clean\n");
    agent.kill();
    host.cut_the_power();
    let agent = host.start();
    assert_eq!(agent.lines(&path).nth(1).unwrap()["log"], "clean\n");
}

#[test]
fn what_a_power_cut_brings_back_of_a_stopped_task_goes_again() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let arn = agent.run(&agent.register(
        "over",
        json!({"name": "main", "image": "coracle/busybox", "memory": 32, "command": ["true"]}),
    ));
    agent.wait(&arn, "STOPPED");
    agent.kill();
    host.cut_the_power();
    // As if the disk had not been told yet that it was removed.
    let task = host.state_dir().join("tasks").join(arn.rsplit('/').next().unwrap());
    let written = task.join("main/upper/written");
    assert!(!written.parent().unwrap().exists());
    std::fs::create_dir_all(written.parent().unwrap()).unwrap();
    std::fs::write(&written, "much").unwrap();

    let agent = host.start();
    wait_for("the writable layer to be gone", || !task.join("main").exists());
    assert_eq!(agent.describe(&arn)["containers"][0]["exitCode"], 0);
}

#[test]
fn a_storm_of_kills_loses_nothing_and_runs_nothing_twice() {
    let kills = std::env::var("CORACLE_STORM").ok().map_or(KILLS, |n| n.parse().unwrap());
    let host = Host::new();
    let mut agent = host.start();
    host.load_busybox(&agent);
    let out = host.dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let kinds = [("0", 50, 0), ("0.05", 200, 3), ("0.2", 1, 9), ("0", 1, 0)];
    for (kind, (seconds, lines, code)) in kinds.iter().enumerate() {
        register(&agent, &format!("kind{kind}"), noting(&out, "unset", seconds, *lines, *code));
    }
    // A small generator, so that a failure can be run again with the same seed.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };

    let mut accepted: Vec<(String, usize, String)> = Vec::new();
    for kill in 0..kills {
        for n in 0..=random(2) {
            let kind = usize::try_from(random(4)).unwrap();
            let name = format!("{kill}-{n}");
            let input = json!({
                "taskDefinition": format!("kind{kind}"), "clientToken": name,
                "overrides": {"containerOverrides": [
                    {"name": "main", "environment": [{"name": "NAME", "value": name}]}
                ]}
            });
            let answer = agent.ok("RunTask", &input);
            let arn = answer["tasks"][0]["taskArn"].as_str().unwrap_or_else(|| panic!("{answer}"));
            accepted.push((arn.to_owned(), kind, name));
        }
        std::thread::sleep(Duration::from_micros(random(60_000)));
        agent.kill();
        agent = host.start();
    }

    for (arn, kind, name) in &accepted {
        let task = agent.wait(arn, "STOPPED");
        let (_, lines, code) = kinds[*kind];
        assert_eq!(task["containers"][0]["exitCode"], code, "{name}: {task:#}");
        assert_eq!(task["stopCode"], "EssentialContainerExited", "{name}: {task:#}");
        let output: Vec<_> = agent.output(arn).into_iter().map(|(_, _, text)| text).collect();
        let expected: Vec<_> = (0..lines).map(|i| format!("line {i}\n")).collect();
        assert_eq!(output, expected, "{name}");
    }
    let notes = notes(&out);
    for (_, _, name) in &accepted {
        for note in [format!("start {name}"), format!("end {name}")] {
            assert_eq!(notes.get(&note), Some(&1), "{note}");
        }
    }
    assert_eq!(notes.len(), accepted.len() * 2, "something ran that was never accepted");
    wait_for("all shims to be gone", || host.shims().is_empty());
    assert!(host.pids_in_cgroups().is_empty());
    assert!(!host.log().contains("an invariant does not hold"), "{}", host.log());
}
