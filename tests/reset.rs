//! `coracle reset` on a box with real containers: nothing is left that was not to stay. Needs root.

#![allow(clippy::unwrap_used, reason = "a test ends when something cannot be read or run")]
#![allow(clippy::print_stdout, reason = "a test that skips says why")]

mod agent;

use agent::{Host, wait_for};
use serde_json::json;
use std::process::{Command, Output};

/// A host with the busybox image, when we may have one.
fn host() -> Option<Host> {
    if rustix::process::geteuid().is_root() {
        return Some(Host::new());
    }
    println!("skipped: running containers needs root");
    None
}

fn reset(host: &Host, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
    command.arg("reset").args(more).env("CORACLE_CGROUP_PARENT", &host.cgroup_parent);
    command.env("CORACLE_RUN_DIR", host.run_dir()).env("CORACLE_STATE_DIR", host.state_dir());
    command.output().unwrap()
}

/// Starts an agent with a service of one task that says when it was told to stop, and kills the agent.
fn box_without_an_agent(host: &Host) {
    let agent = host.start();
    host.load_busybox(&agent);
    let told = "trap 'echo told; exit 0' TERM; echo up; while :; do sleep 0.1; done";
    let container = json!({
        "name": "main", "image": "coracle/busybox", "memory": 32, "stopTimeout": 20,
        "command": ["sh", "-c", told],
    });
    let definition =
        json!({ "family": "stays", "networkMode": "none", "containerDefinitions": [container] });
    agent.ok("RegisterTaskDefinition", &definition);
    let service = json!({ "serviceName": "stays", "taskDefinition": "stays", "desiredCount": 1 });
    agent.ok("CreateService", &service);
    let listed = || agent.ok("ListTasks", &json!({}))["taskArns"][0].as_str().map(str::to_owned);
    wait_for("the task of the service", || listed().is_some());
    let task = listed().unwrap();
    agent.wait(&task, "RUNNING");
    // From here on the shell hears what it is told.
    wait_for("its first word", || {
        agent.output(&task).iter().any(|(_, _, line)| line.trim_end() == "up")
    });

    // Not while an agent would start it all again.
    let refused = reset(host, &["--purge"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("systemctl stop coracle"), "{said}");
    assert!(!host.container_pids().is_empty());
    agent.kill();
}

fn nothing_runs(host: &Host) {
    assert_eq!(host.shims(), Vec::<i32>::new());
    assert_eq!(host.cgroups(), Vec::<std::path::PathBuf>::new());
    assert!(!host.run_dir().exists());
}

#[test]
fn tasks_stop_and_services_come_back_with_the_next_agent() {
    let Some(host) = host() else { return };
    box_without_an_agent(&host);
    let done = reset(&host, &["--output", "json"]);
    assert!(done.status.success(), "{done:?}");
    let said: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&said["tasks"], &said["purged"]), (&json!("stopped"), &json!(false)));
    nothing_runs(&host);
    // There is nothing to do any more, and that is done.
    assert!(reset(&host, &[]).status.success());

    let agent = host.start();
    wait_for("the service to come back", || !host.container_pids().is_empty());
    let stopped = agent.ok("ListTasks", &json!({ "desiredStatus": "STOPPED" }));
    // Neither of the two resets has started a task in order to stop it.
    assert_eq!(stopped["taskArns"].as_array().unwrap().len(), 1, "{stopped:#}");
    let stopped = agent.describe(stopped["taskArns"][0].as_str().unwrap());
    assert_eq!(stopped["containers"][0]["exitCode"], 0, "it was told to stop: {stopped:#}");
    agent.kill();
    let done = reset(&host, &["--purge"]);
    assert!(done.status.success(), "{done:?}");
    nothing_runs(&host);
    assert!(!host.state_dir().exists());
}

#[test]
fn a_damaged_store_keeps_nothing_alive() {
    let Some(host) = host() else { return };
    box_without_an_agent(&host);
    let store = host.state_dir().join("store/data.mdb");
    std::fs::write(&store, "no store at all").unwrap();
    std::fs::remove_dir_all(host.state_dir().join("store/copies")).unwrap_or_default();
    let done = reset(&host, &[]);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success() && said.contains("not stopped but killed"), "{said}");
    nothing_runs(&host);
    assert!(store.exists(), "what is damaged is for a person to look at");
    // What somebody else put there stays, and is named.
    std::fs::write(host.state_dir().join("notes"), "mine").unwrap();
    let left = reset(&host, &["--purge"]);
    let said = String::from_utf8_lossy(&left.stderr).into_owned();
    assert!(!left.status.success() && said.contains("notes"), "{said}");
    std::fs::remove_file(host.state_dir().join("notes")).unwrap();
    assert!(reset(&host, &["--purge"]).status.success());
    assert!(!host.state_dir().exists());
}
