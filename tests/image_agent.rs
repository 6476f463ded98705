//! An agent that is killed while images come: from a registry for a task that waits, and from the images directory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod agent;
mod stocked;

use agent::{Agent, Host, wait_for};
use coracle::image::digest::Digest;
use coracle::image::manifest::Platform;
use serde_json::json;
use std::fs;
use std::path::Path;
use stocked::front::{Front, Reply};
use stocked::registry::Registry;
use stocked::{LAYER, busybox, configured, images};

/// Bytes of each of the layers that do not compress.
const EACH: usize = 12 << 20;
const LAYERS: usize = 3;

/// Pushes `big:1`: busybox, and large files.
fn push(registry: &Registry, work: &Path) {
    let base = busybox::layer(work);
    let noise = images::noise(EACH * LAYERS);
    let mut layers = vec![(LAYER, base.clone(), base)];
    for (number, noise) in noise.chunks(EACH).enumerate() {
        let layer = images::layer(&format!("content{number}"), noise);
        layers.push((LAYER, layer.clone(), layer));
    }
    images::push(registry, "big", "1", &Platform::host(), &layers);
}

/// Starts a task that looks at all of its image.
fn run(agent: &Agent<'_>, image: &str) -> String {
    let definition = agent.register(
        "big",
        json!({
            "name": "main", "image": image, "memory": 32, "essential": true,
            "entryPoint": ["/bin/sh", "-c"], "command": ["cat /content? | sha256sum"],
        }),
    );
    agent.run(&definition)
}

fn assert_ran(agent: &Agent<'_>, task: &str) {
    let ended = agent.wait(task, "STOPPED");
    assert_eq!(ended["containers"][0]["exitCode"], 0, "{ended}");
    let expected = Digest::of(&images::noise(EACH * LAYERS));
    let said = agent.output(task);
    assert!(said.iter().any(|(_, _, line)| line.starts_with(&expected.hex())), "{said:?}");
}

/// Whoever is killed has named nothing that is not whole.
fn assert_blobs_whole(state: &Path) {
    let Ok(blobs) = fs::read_dir(state.join("images/blobs/sha256")) else { return };
    for blob in blobs.map(Result::unwrap) {
        let digest = Digest::of(&fs::read(blob.path()).unwrap());
        assert_eq!(digest.hex(), blob.file_name().to_str().unwrap());
    }
}

/// What lies below `directory`, with its sizes in sum.
fn below(directory: &Path) -> (usize, u64) {
    let mut found = (0, 0);
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        let (count, size) =
            if metadata.is_dir() { below(&entry.path()) } else { (0, metadata.len()) };
        found = (found.0 + 1 + count, found.1 + size);
    }
    found
}

#[test]
fn a_task_gets_its_image_though_the_agent_is_killed_in_its_pull() {
    const KILLS: usize = 3;
    let Some(registry) = Registry::start() else { return };
    let host = Host::new();
    push(&registry, host.dir.path());
    let front = Front::start("127.0.0.1", &registry.address, |_, _| Reply::Same);
    let slow = configured(&host, "pull_bandwidth = \"16m\"\n");
    let slow = ["--config", slow.to_str().unwrap()];

    let mut agent = host.start_with(&slow);
    let task = run(&agent, &format!("{}/big:1", front.address));
    for kill in 1..=KILLS {
        front.wait_sent(EACH * LAYERS * kill / (KILLS + 1));
        agent.kill();
        assert_blobs_whole(&host.state_dir());
        agent = host.start_with(&slow);
    }
    assert_ran(&agent, &task);
    // Begun anew, each time would cost what had come: all of it once and a half more. Lost is what three sockets hold of what
    // an agent that is busy has not read, which may be megabytes.
    let all = EACH * LAYERS;
    assert!(front.sent() <= 2 * all, "{} of {all}", front.sent());
    let state = host.state_dir();
    assert_eq!(below(&state.join("images/partial")), (0, 0));
    assert_eq!(below(&state.join("images/tmp")), (0, 0));
}

#[test]
fn the_images_directory_is_loaded_though_the_agent_is_killed_in_it() {
    let Some(registry) = Registry::start() else { return };
    let host = Host::new();
    push(&registry, host.dir.path());
    let name = format!("{}/big:1", registry.address);
    let archives = host.dir.path().join("images.d");
    fs::create_dir(&archives).unwrap();
    let archive = archives.join("big.tar");
    {
        let other = Host::new();
        let _agent = other.start();
        other.cli(&["image", "pull", &name]);
        other.cli(&["image", "save", "-o", archive.to_str().unwrap(), &name]);
    }
    drop(registry);

    let config = configured(&host, &format!("images = {archives:?}\n"));
    let config = ["--config", config.to_str().unwrap()];
    let (staged, state) = (host.state_dir().join("images/tmp"), host.state_dir());
    let is_named = || {
        fs::read_to_string(state.join("images/index.json"))
            .is_ok_and(|text| text.contains("/big:1"))
    };
    let mut in_the_middle = 0;
    for kill in 0..4 {
        let agent = host.start_with(&config);
        let enough = (EACH * kill) as u64;
        wait_for("the archive to be read", || below(&staged).1 > enough || is_named());
        in_the_middle += usize::from(!is_named());
        agent.kill();
        assert_blobs_whole(&state);
    }
    assert!(in_the_middle > 0, "it was never killed in the middle");
    let agent = host.start_with(&config);
    let task = run(&agent, &name);
    assert_ran(&agent, &task);
    assert_eq!(below(&staged), (0, 0));
}
