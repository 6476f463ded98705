//! A registry with images of busybox, and agents that are to have them. A test that uses this has the harness as `agent`.
//!
//! Without the `docker-registry` binary the tests say so and pass; `tests/run` installs it.

#![allow(dead_code, reason = "each test uses its part")]

#[path = "../image_registry/busybox.rs"]
pub(crate) mod busybox;
#[path = "../image_registry/front.rs"]
pub(crate) mod front;
#[path = "../image_registry/images.rs"]
pub(crate) mod images;
#[path = "../image_registry/registry.rs"]
pub(crate) mod registry;

use crate::agent::{Agent, Host};
use coracle::image::manifest::Platform;
use registry::Registry;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// What a container does that goes on until it is stopped.
pub(crate) const FOREVER: &str = "trap 'exit 0' TERM; while :; do sleep 1; done";

/// Pushes `NAME:1`: busybox, whose layer `base` is, and so many bytes that do not compress. Returns its full name.
pub(crate) fn push(registry: &Registry, base: &[u8], name: &str, noise: usize) -> String {
    let mut own = images::noise(noise);
    own.extend_from_slice(name.as_bytes());
    let own = images::layer(&format!("data-{name}"), &own);
    let layers = [(LAYER, base.to_vec(), base.to_vec()), (LAYER, own.clone(), own)];
    images::push(registry, name, "1", &Platform::host(), &layers);
    format!("{}/{name}:1", registry.address)
}

/// A container of one of these images.
pub(crate) fn container(name: &str, image: &str, command: &str) -> Value {
    json!({
        "name": name, "image": image, "memory": 32, "essential": true,
        "entryPoint": ["/bin/sh", "-c", command],
    })
}

/// Writes a configuration file for the agent of `host`. However full the disk of the machine is, that is no reason to remove
/// anything, unless `text` says at what it is.
pub(crate) fn configured(host: &Host, text: &str) -> PathBuf {
    let file = host.dir.path().join("agent.toml");
    let any_disk =
        if text.contains("image_disk_high") { "" } else { "image_disk_high = \"100%\"\n" };
    fs::write(&file, format!("{any_disk}{text}")).unwrap();
    file
}

/// The images of the box, as the command line tells them.
pub(crate) fn listed(host: &Host) -> Vec<Value> {
    let listed = host.cli(&["image", "ls", "--output", "json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    listed["images"].as_array().unwrap().clone()
}

/// The first image that has this in its name.
pub(crate) fn found(host: &Host, part: &str) -> Option<Value> {
    listed(host).into_iter().find(|image| image["name"].as_str().unwrap().contains(part))
}

/// For how many seconds nobody has used it; 0 if it is not here.
pub(crate) fn unused(host: &Host, part: &str) -> u64 {
    found(host, part).and_then(|image| image["unusedSeconds"].as_u64()).unwrap_or(0)
}

/// What a verb says that must fail. Nobody sits at its terminal.
pub(crate) fn fails(host: &Host, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
    command.args(arguments).arg("--run-dir").arg(host.run_dir()).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Runs a container that ends well, by a task.
pub(crate) fn ran(agent: &Agent<'_>, family: &str, image: &str) {
    let definition = agent.register(family, container("main", image, "exit 0"));
    let task = agent.wait(&agent.run(&definition), "STOPPED");
    assert_eq!(task["containers"][0]["exitCode"], 0, "{task}");
}

/// Waits for what only time brings about, such as age: there is nothing that would tell.
pub(crate) fn in_time(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..600 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(400));
    }
    panic!("gave up waiting until {what}");
}
