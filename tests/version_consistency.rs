//! `versionConsistency` against a real registry: all tasks of a deployment run what its tag meant when it began, wherever
//! the tag has moved since, also once the box has nothing of the image but its digest.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test that is skipped says why")]

mod agent;
#[allow(dead_code, reason = "the tests of the registry use more of it")]
#[path = "image_registry/images.rs"]
mod images;
#[allow(dead_code, reason = "the tests of the registry use more of it")]
#[path = "image_registry/registry.rs"]
mod registry;

use agent::{Agent, Host, wait_for};
use coracle::image::manifest::Platform;
use registry::Registry;
use serde_json::{Value, json};
use std::path::Path;

/// An image with a shell whose file `/version` holds `version`; returns its digest.
fn push(registry: &Registry, tag: &str, version: &str) -> String {
    let mut builder = tar::Builder::new(Vec::new());
    let busybox = std::fs::read("/bin/busybox").unwrap();
    for (name, mode, content) in
        [("busybox", 0o755, busybox.as_slice()), ("version", 0o644, version.as_bytes())]
    {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, content).unwrap();
    }
    let layer = builder.into_inner().unwrap();
    let kind = "application/vnd.oci.image.layer.v1.tar";
    let layers = [(kind, layer.clone(), layer)];
    images::push(registry, "app", tag, &Platform::host(), &layers).0.to_string()
}

fn definition(agent: &Agent<'_>, registry: &Registry, members: &Value) -> String {
    let mut container = json!({
        "name": "main", "image": format!("{}/app:stable", registry.address), "memory": 16,
        "stopTimeout": 2,
        "command": ["/busybox", "sh", "-c",
            "/busybox cat /version; trap 'exit 0' TERM; while :; do /busybox sleep 0.1; done"],
    });
    container.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    agent.register("app", container)
}

/// Which version each running task of the service printed, sorted.
fn versions(agent: &Agent<'_>) -> Vec<String> {
    let listed = agent.ok("ListTasks", &json!({"serviceName": "app"}));
    let mut versions = Vec::new();
    for arn in listed["taskArns"].as_array().unwrap() {
        let arn = arn.as_str().unwrap();
        if agent.describe(arn)["lastStatus"] == "RUNNING" {
            versions
                .extend(agent.output(arn).into_iter().map(|(_, _, line)| line.trim().to_owned()));
        }
    }
    versions.sort();
    versions
}

fn until_they_are(agent: &Agent<'_>, wanted: &[&str]) {
    wait_for(&format!("the tasks to be {wanted:?}"), || versions(agent) == wanted);
}

fn scale(agent: &Agent<'_>, count: u32) {
    agent.ok("UpdateService", &json!({"service": "app", "desiredCount": count}));
}

fn start<'a>(host: &'a Host, config: &Path) -> Agent<'a> {
    // Asks the registry at every start, so that a moved tag would be noticed at once.
    std::fs::write(config, "image_pull_behavior = \"default\"\n").unwrap();
    host.start_with(&["--config", config.to_str().unwrap()])
}

#[test]
fn all_tasks_of_a_deployment_run_what_its_tag_meant() {
    let Some(registry) = Registry::start() else { return };
    let host = Host::new();
    let agent = start(&host, &host.dir.path().join("agent.toml"));
    let first = push(&registry, "stable", "one\n");
    let app = definition(&agent, &registry, &json!({}));
    let input = json!({"serviceName": "app", "taskDefinition": app, "desiredCount": 1});
    agent.ok("CreateService", &input);
    until_they_are(&agent, &["one"]);

    let second = push(&registry, "stable", "two\n");
    assert_ne!(first, second);
    // Somebody pulls the tag by hand: the name means the new image now, and the old one stays for whom it was promised to.
    let image = format!("{}/app:stable", registry.address);
    assert!(host.cli(&["image", "pull", &image]).contains(&second));
    scale(&agent, 3);
    until_they_are(&agent, &["one", "one", "one"]);
    let service =
        agent.ok("DescribeServices", &json!({"services": ["app"]}))["services"][0].clone();
    let revision = agent.ok(
        "DescribeServiceRevisions",
        &json!({"serviceRevisionArns": [service["currentServiceRevisions"][0]["arn"]]}),
    );
    assert_eq!(revision["serviceRevisions"][0]["containerImages"][0]["imageDigest"], first);

    // A task that RunTask starts is of no deployment.
    let alone = agent.run(&app);
    agent.wait(&alone, "RUNNING");
    wait_for("its output", || !agent.output(&alone).is_empty());
    assert_eq!(agent.output(&alone)[0].2.trim(), "two");

    // The promise outlives the agent and the last task.
    scale(&agent, 0);
    until_they_are(&agent, &[]);
    agent.kill();
    let agent = start(&host, &host.dir.path().join("agent.toml"));
    scale(&agent, 2);
    until_they_are(&agent, &["one", "one"]);

    // A new deployment asks anew.
    agent.ok("UpdateService", &json!({"service": "app", "forceNewDeployment": true}));
    until_they_are(&agent, &["two", "two"]);
    agent.ok("DeleteService", &json!({"service": "app", "force": true}));
    agent.terminate();
}

#[test]
fn disabled_it_is_the_tag_that_counts() {
    let Some(registry) = Registry::start() else { return };
    let host = Host::new();
    let agent = start(&host, &host.dir.path().join("agent.toml"));
    push(&registry, "stable", "one\n");
    let app = definition(&agent, &registry, &json!({"versionConsistency": "disabled"}));
    let input = json!({"serviceName": "app", "taskDefinition": app, "desiredCount": 1});
    agent.ok("CreateService", &input);
    until_they_are(&agent, &["one"]);
    push(&registry, "stable", "two\n");
    scale(&agent, 2);
    until_they_are(&agent, &["one", "two"]);
    agent.ok("DeleteService", &json!({"service": "app", "force": true}));
    agent.terminate();
}
