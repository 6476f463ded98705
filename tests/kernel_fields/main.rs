//! What a task definition asks of the kernel, observed inside of a real container: capabilities, namespaces, limits,
//! devices, and what a container must not be able to do.
//!
//! Each test has an agent of its own. The binary is static, so a container can run it as well: [`inside`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::needless_pass_by_value,
    reason = "a test that cannot go on must fail; definitions are written in place"
)]

#[path = "../agent/mod.rs"]
mod agent;
#[path = "../rootfs/mod.rs"]
mod rootfs;

mod fence;
mod inside;
mod limits;
mod namespaces;
mod privileges;
mod processes;

use agent::{Agent, Host};
use serde_json::{Value, json};

/// `base` with the members of `members`.
fn with(mut base: Value, members: Value) -> Value {
    let members = members.as_object().unwrap().clone();
    base.as_object_mut().unwrap().extend(members);
    base
}

/// A container of busybox that runs `script`.
fn shell(script: &str) -> Value {
    json!({"name": "main", "image": "coracle/busybox", "memory": 32, "stopTimeout": 2, "command": ["sh", "-c", script]})
}

/// Registers what `task` says, without a network unless it says otherwise, and returns `family:revision`.
fn register(agent: &Agent<'_>, family: &str, task: Value) -> String {
    let input = with(json!({"family": family, "networkMode": "none"}), task);
    let answer = agent.ok("RegisterTaskDefinition", &input);
    format!("{family}:{}", answer["taskDefinition"]["revision"])
}

/// A task that has ended.
struct Ended {
    task: Value,
    output: Vec<(String, String, String)>,
}

impl Ended {
    /// What a container wrote, both streams.
    fn text(&self, container: &str) -> String {
        self.output.iter().filter(|(of, _, _)| of == container).map(|(_, _, t)| &**t).collect()
    }

    /// What `main` wrote to its standard output, line by line.
    fn lines(&self) -> Vec<&str> {
        let of_main =
            |(of, stream, _): &&(String, String, String)| of == "main" && stream == "stdout";
        self.output.iter().filter(of_main).map(|(_, _, text)| text.trim_end()).collect()
    }

    fn container(&self, name: &str) -> &Value {
        self.task["containers"].as_array().unwrap().iter().find(|c| c["name"] == name).unwrap()
    }

    fn exit_code(&self) -> i64 {
        self.container("main")["exitCode"].as_i64().unwrap_or_else(|| panic!("{:#}", self.task))
    }

    fn reason(&self) -> &str {
        self.container("main")["reason"].as_str().unwrap_or_default()
    }
}

/// Runs the task to its end.
fn run_task(agent: &Agent<'_>, family: &str, task: Value) -> Ended {
    let arn = agent.run(&register(agent, family, task));
    let task = agent.wait(&arn, "STOPPED");
    Ended { output: agent.output(&arn), task }
}

/// Runs one container to its end.
fn run(agent: &Agent<'_>, family: &str, container: Value) -> Ended {
    run_task(agent, family, json!({"containerDefinitions": [container]}))
}

/// Waits for a line of a running task's output and returns it.
fn wait_for_line(agent: &Agent<'_>, arn: &str, container: &str, text: &str) -> String {
    let id = arn.rsplit('/').next().unwrap();
    let found = agent.lines(&format!("/coracle/v1/logs?task={id}&follow=true")).find(|line| {
        line["container"] == container && line["log"].as_str().unwrap().contains(text)
    });
    found.unwrap_or_else(|| panic!("{container} never wrote {text}"))["log"]
        .as_str()
        .unwrap()
        .trim_end()
        .to_owned()
}

/// The value after `key:` among lines of `/proc/<pid>/status`.
fn status<'a>(text: &'a str, key: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {key} in {text}")).trim()
}

/// An agent whose configuration file has these lines, on a host with the test image.
fn configured<'a>(host: &'a Host, lines: &str) -> Agent<'a> {
    let file = host.dir.path().join("agent.toml");
    std::fs::write(&file, lines).unwrap();
    let agent = host.start_with(&["--config", file.to_str().unwrap()]);
    host.load_busybox(&agent);
    agent
}
