//! `coracle image prune`, and images that go by age, with real agents: what goes, what is said of it, and what stays.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod agent;
mod stocked;

use agent::{Agent, Host};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Instant;
use stocked::registry::Registry;
use stocked::{
    FOREVER, busybox, configured, container, fails, found, in_time, listed, push, ran, unused,
};

fn json_of(host: &Host, arguments: &[&str]) -> Value {
    let all = [arguments, &["--output", "json"]].concat();
    serde_json::from_str(&host.cli(&all)).unwrap()
}

/// The digests of what went or would go.
fn digests(answer: &Value) -> BTreeSet<String> {
    let images = answer["images"].as_array().unwrap().iter();
    images.map(|image| image["digest"].as_str().unwrap().to_owned()).collect()
}

fn digest(host: &Host, part: &str) -> String {
    let image =
        found(host, part).unwrap_or_else(|| panic!("{part} is not here: {:?}", listed(host)));
    image["digest"].as_str().unwrap().to_owned()
}

fn blobs(host: &Host) -> usize {
    fs::read_dir(host.state_dir().join("images/blobs/sha256")).unwrap().count()
}

/// Starts a task that goes on, and one whose second container waits for its first; the latter.
fn occupy(agent: &Agent<'_>, runs: &str, waits: &str) -> (String, String) {
    let running = agent.run(&agent.register("runs", container("main", runs, FOREVER)));
    agent.wait(&running, "RUNNING");
    let mut first = container("first", runs, "while [ ! -e /go ]; do sleep 1; done");
    first["essential"] = false.into();
    let mut second = container("second", waits, "exit 7");
    second["dependsOn"] = json!([{"containerName": "first", "condition": "COMPLETE"}]);
    let waiting = agent.run(&agent.register_all("waits", json!([first, second])));
    (running, waiting)
}

#[test]
fn prune_removes_what_nobody_uses_and_says_what_that_was() {
    let Some(registry) = Registry::start() else { return };
    let host = Host::new();
    let base = busybox::layer(host.dir.path());
    let image = |name: &str, noise| push(&registry, &base, name, noise);
    let [runs, waits, hand, moves] =
        ["runs", "waits", "hand", "moves"].map(|name| image(name, 1000));
    let ended = image("ended", 3 << 20);
    let file = configured(&host, "");
    let agent = host.start_with(&["--config", file.to_str().unwrap()]);
    ran(&agent, "ended", &ended);
    // Wanted, and not begun.
    ran(&agent, "waits", &waits);
    let (running, waiting) = occupy(&agent, &runs, &waits);
    host.cli(&["image", "pull", &hand]);
    host.cli(&["image", "pull", &moves]);
    let lost = digest(&host, "/moves:1");
    image("moves", 2000);
    host.cli(&["image", "pull", &moves]);
    let newer = digest(&host, "/moves:1");
    assert_ne!(lost, newer);
    // What a pull left that nobody went on with.
    let unfinished = host.state_dir().join("images/partial").join("ab".repeat(32));
    fs::write(&unfinished, vec![1; 100_000]).unwrap();

    let said = fails(&host, &["image", "prune"]);
    assert!(said.contains("images without a tag") && said.contains("--force"), "{said}");
    let said = fails(&host, &["image", "prune", "--all"]);
    assert!(said.contains("all images that nobody uses"), "{said}");
    let said = fails(&host, &["image", "prune", "--older-than", "soon"]);
    assert!(said.contains("90m, 24h or 7d"), "{said}");
    in_time("they are old enough to go", || {
        ["/ended:1", "/hand:1", "/moves:1"].iter().all(|name| unused(&host, name) > 30)
            && unused(&host, &lost) > 30
    });

    // Without --all only what has lost its tag.
    let before = listed(&host);
    let told = host.cli(&["image", "prune", "--dry-run"]);
    assert!(told.contains(&format!("/moves@{lost}  {lost}\n")), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(unfinished.exists());
    assert_eq!(listed(&host).len(), before.len());
    let told = host.cli(&["image", "prune", "--force"]);
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines.len() == 2 && lines[0].contains(&lost), "{told}");
    assert!(lines[1].ends_with(" freed") && !lines[1].starts_with("0 "), "{told}");
    assert!(!unfinished.exists());
    assert_eq!(listed(&host).len(), before.len() - 1);
    assert_eq!(digest(&host, "/moves:1"), newer);

    // All that nobody uses, but for what somebody used in the last hour; and then that as well.
    let all = ["image", "prune", "--all", "--force"];
    let none = json_of(&host, &[&all[..], &["--older-than", "1h"]].concat());
    assert_eq!((digests(&none).len(), none["bytes"].as_u64()), (0, Some(0)), "{none}");
    let expected = BTreeSet::from([digest(&host, "/ended:1"), digest(&host, "/hand:1"), newer]);
    let would = json_of(&host, &[&all[..], &["--older-than", "30s", "--dry-run"]].concat());
    assert_eq!(digests(&would), expected, "{would}");
    let kept: BTreeSet<String> = ["/runs:1", "/waits:1"].map(|name| digest(&host, name)).into();
    let blobs_before = blobs(&host);
    let went = json_of(&host, &all);
    assert_eq!(digests(&went), expected, "{went}");
    let names =
        went["images"].as_array().unwrap().iter().flat_map(|i| i["names"].as_array().unwrap());
    let names: BTreeSet<&str> = names.map(|name| name.as_str().unwrap()).collect();
    assert_eq!(names, BTreeSet::from([&*ended, &*hand, &*moves]), "{went}");
    assert!(went["bytes"].as_u64().unwrap() > 6 << 20, "{went}");
    // Of each its own layer, its configuration and its manifest; busybox is shared with those that stay.
    assert_eq!(blobs(&host), blobs_before - 9);
    assert_eq!(went["layers"], 3, "{went}");
    let left = listed(&host);
    assert_eq!(
        left.iter().filter(|image| image.get("unusedSeconds").is_some()).count(),
        2,
        "{left:?}"
    );
    assert!(kept.iter().all(|digest| left.iter().any(|image| image["digest"] == **digest)));
    assert_eq!(host.cli(&all).lines().count(), 1);

    // Without a registry, what was wanted still runs.
    drop(registry);
    assert_eq!(agent.describe(&running)["lastStatus"], "RUNNING");
    let mut go = Command::new(env!("CARGO_BIN_EXE_coracle"));
    go.arg("exec").arg("--run-dir").arg(host.run_dir());
    go.args(["--container", "first", &waiting, "--", "touch", "/go"]);
    assert!(go.status().unwrap().success());
    let task = agent.wait(&waiting, "STOPPED");
    let second = task["containers"].as_array().unwrap().iter().find(|c| c["name"] == "second");
    assert_eq!(second.unwrap()["exitCode"], 7, "{task}");
}

/// The number of the line of the agent's log that tells that this image went.
fn told_to_go(host: &Host, part: &str) -> Option<usize> {
    host.log().lines().position(|line| line.contains("image cleanup: ") && line.contains(part))
}

#[test]
#[allow(clippy::disallowed_methods, reason = "how often the test looks is a matter of real time")]
fn what_tasks_brought_goes_by_age_and_nothing_else() {
    const AGE: u64 = 40;
    let Some(registry) = Registry::start() else { return };
    let host = Host::new();
    let base = busybox::layer(host.dir.path());
    let image = |name: &str| push(&registry, &base, name, 1000);
    let [runs, waits, serves, hand, older, old] =
        ["runs", "waits", "serves", "hand", "older", "old"].map(image);
    let settings =
        "image_cleanup_interval = \"10s\"\nimage_minimum_age = \"40s\"\nimages_per_cleanup = 1\n";
    let file = configured(&host, settings);
    let arguments = ["--config", file.to_str().unwrap()];
    let mut agent = host.start_with(&arguments);
    host.cli(&["image", "pull", &hand]);
    ran(&agent, "older", &older);
    // Ages are counted from look to look.
    in_time("it is older than the next", || unused(&host, "/older:1") > 5);
    ran(&agent, "waits", &waits);
    let (running, _) = occupy(&agent, &runs, &waits);
    let definition = agent.register("serves", container("main", &serves, FOREVER));
    agent.ok(
        "CreateService",
        &json!({"serviceName": "web", "taskDefinition": definition, "desiredCount": 1}),
    );
    ran(&agent, "old", &old);
    let here = |name: &str| found(&host, name).is_some();

    // An age outlives the agent: what a cycle wrote, at least.
    in_time("it has an age that a cycle wrote", || unused(&host, "/older:1") > 21);
    agent.kill();
    agent = host.start_with(&arguments);
    let age = unused(&host, "/older:1");
    assert!(age > 5, "after the restart it is {age} s old");

    // Not before its age, as far as can be seen between two looks.
    let (mut looked, mut age) = (Instant::now(), unused(&host, "/older:1"));
    in_time("the oldest has gone", || {
        let now = Instant::now();
        match found(&host, "/older:1") {
            Some(image) => {
                (looked, age) = (now, image["unusedSeconds"].as_u64().unwrap());
                false
            }
            None => true,
        }
    });
    let most = age + looked.elapsed().as_secs() + 2;
    assert!(most >= AGE, "it went when it was not unused for more than {most} s");
    // Told once all of it is gone.
    in_time("the next has gone", || !here("/old:1") && told_to_go(&host, "/old:1").is_some());
    // One in a cycle, the longest unused first.
    let log = host.log();
    let lines = ["/older:1", "/old:1"].map(|name| told_to_go(&host, name));
    assert!(matches!(lines, [Some(first), Some(second)] if first < second), "{lines:?} in {log}");

    // By hand it came, and so it stays, however old; what is wanted is never old.
    in_time("a cycle has passed it over", || unused(&host, "/hand:1") > AGE + 12);
    for name in ["/runs:1", "/waits:1", "/serves:1"] {
        assert!(unused(&host, name) < 5, "{name}: {:?}", found(&host, name));
    }
    agent.terminate();
    let text = format!("{settings}image_cleanup_untracked = true\n");
    configured(&host, &text);
    agent = host.start_with(&arguments);
    in_time("it goes when that is set", || !here("/hand:1"));
    for name in ["/runs:1", "/waits:1", "/serves:1"] {
        assert!(here(name), "{name} went: {}", host.log());
    }
    assert_eq!(agent.describe(&running)["lastStatus"], "RUNNING");
    let service = agent.ok("DescribeServices", &json!({"services": ["web"]}));
    assert_eq!(service["services"][0]["runningCount"], 1, "{service}");
    let space = json_of(&host, &["image", "df"]);
    assert_eq!(space["loose"], 0, "{space}");
}
