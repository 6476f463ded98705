//! A hub and its boxes as users have them: real mosquitto, real agents in namespaces of their own, links that are cut, and
//! processes that are killed. Needs root and mosquitto.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod agent;
mod boxes;

use boxes::{Fleet, last, tasks};
use serde_json::{Value, json};
use std::path::Path;

/// A task definition of one container; its revision's ARN.
fn register(fleet: &Fleet, family: &str, container: &Value) -> String {
    let mut main = json!({ "name": "main", "image": "coracle/busybox", "memory": 16 });
    main.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
    let definition = json!({
        "family": family, "networkMode": "none", "containerDefinitions": [main],
        "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
    });
    let answer = fleet.ecs("RegisterTaskDefinition", &definition);
    answer["taskDefinition"]["taskDefinitionArn"].as_str().unwrap().to_owned()
}

fn create(fleet: &Fleet, name: &str, definition: &str, count: u32, at: &str) {
    let mut service = json!({
        "serviceName": name, "taskDefinition": definition, "desiredCount": count,
        "deploymentConfiguration": { "minimumHealthyPercent": 50, "maximumPercent": 200 },
    });
    if !at.is_empty() {
        let expression = format!("attribute:site == {at}");
        service["placementConstraints"] = json!([{ "type": "memberOf", "expression": expression }]);
    }
    fleet.ecs("CreateService", &service);
}

fn update(fleet: &Fleet, name: &str, definition: &str) {
    fleet.ecs("UpdateService", &json!({ "service": name, "taskDefinition": definition }));
}

const SLEEP: [&str; 2] = ["sleep", "1000000"];

/// What the hub knows of the tasks of each box is what the box knows.
fn agree(fleet: &Fleet) -> bool {
    let mut theirs: Vec<_> =
        fleet.boxes.iter().flat_map(|member| member.tasks("default")).collect();
    theirs.sort();
    let ours = tasks(&fleet.run_dir(), "default");
    ours == theirs
}

#[test]
fn a_service_over_boxes_survives_the_hub_and_the_broker() {
    if !boxes::possible() {
        return;
    }
    let mut fleet = Fleet::new(&["site=a", "site=a", "site=b"]);
    let first = register(&fleet, "web", &json!({ "command": SLEEP }));
    create(&fleet, "web", &first, 4, "a");
    fleet.stable("web");
    assert!(fleet.boxes[2].tasks("default").is_empty(), "the third box is elsewhere");
    let before = fleet.running("web");
    assert_eq!(before.len(), 4);
    fleet.until("hub and boxes know the same", || agree(&fleet));

    // The broker dies, with all that it kept in memory, and once more after it has written that: nothing happens to the
    // tasks, and what is wanted then arrives.
    for (dies, count) in [(Fleet::kill_broker as fn(&Fleet), 3), (Fleet::end_broker, 4)] {
        let was = fleet.broker();
        dies(&fleet);
        fleet.ecs("UpdateService", &json!({ "service": "web", "desiredCount": count }));
        fleet.until("another broker runs", || fleet.broker() != was);
        fleet.stable("web");
        let now = fleet.running("web");
        assert_eq!(before.iter().filter(|task| now.contains(task)).count(), 3);
    }
    let before = fleet.running("web");
    fleet.until("the boxes are back", || fleet.connected() == 3);

    // The hub dies in the middle of a roll-out, and its broker with it.
    let second = register(&fleet, "web", &json!({ "command": ["sleep", "2000000"] }));
    update(&fleet, "web", &second);
    fleet.until("the roll-out has begun", || fleet.running("web") != before);
    fleet.kill_hub();
    fleet.start_hub();
    fleet.stable("web");
    let after = fleet.running("web");
    assert_eq!(after.len(), 4);
    assert!(after.iter().all(|task| !before.contains(task)), "{after:?}");
    fleet.until("hub and boxes know the same", || agree(&fleet));

    // With nobody to tell it anything a box starts again what it had.
    fleet.kill_hub();
    fleet.boxes[0].kill();
    fleet.boxes[0].start();
    fleet.start_hub();
    fleet.until("the boxes are back", || fleet.connected() == 3);
    assert_eq!(fleet.running("web"), after);
    fleet.until("hub and boxes know the same", || agree(&fleet));
    assert!(!fleet.log().contains("an invariant does not hold"), "{}", fleet.log());
}

#[test]
fn what_happens_while_the_link_is_cut_is_told_afterwards() {
    if !boxes::possible() {
        return;
    }
    let fleet = Fleet::new(&["site=a", "site=b"]);
    let steady = register(&fleet, "steady", &json!({ "command": SLEEP }));
    let restless =
        register(&fleet, "restless", &json!({ "command": ["sh", "-c", "sleep 3; exit 1"] }));
    create(&fleet, "steady", &steady, 2, "a");
    fleet.stable("steady");
    let before = fleet.running("steady");
    create(&fleet, "restless", &restless, 1, "a");
    fleet.until("the restless one runs", || fleet.running("restless").len() == 1);

    let known = fleet.boxes[0].tasks("default").len();
    fleet.boxes[0].cable.cut();
    // Its tasks die and are replaced without anybody's help.
    fleet.until("the box has gone on alone", || fleet.boxes[0].tasks("default").len() >= known + 3);
    // What comes meanwhile is for later; and what the connection was is gone when the link is back.
    let newer = register(&fleet, "restless", &json!({ "command": SLEEP }));
    update(&fleet, "restless", &newer);
    fleet.kill_broker();
    fleet.boxes[0].cable.mend();

    fleet.stable("restless");
    fleet.until("hub and boxes know the same", || agree(&fleet));
    assert_eq!(fleet.running("steady"), before, "nothing restarts because the link is back");
    // The hub has the whole story of those that came and went meanwhile.
    let gone =
        fleet.boxes[0].tasks("default").into_iter().filter(|(_, status)| status == "STOPPED");
    let gone: Vec<_> = gone.map(|(task, _)| task).collect();
    let shown = fleet.ecs("DescribeTasks", &json!({ "tasks": gone }));
    let ended = shown["tasks"].as_array().unwrap().iter().filter(|task| {
        let container = &task["containers"][0];
        container["exitCode"] == 1 && !task["startedAt"].is_null() && !task["stoppedAt"].is_null()
    });
    assert!(ended.count() >= 3, "{shown}");
}

#[test]
fn a_document_of_any_size_arrives() {
    if !boxes::possible() {
        return;
    }
    let fleet = Fleet::new(&["site=a"]);
    let definition = register(&fleet, "large", &json!({ "command": SLEEP }));
    let text = "x".repeat(7_500);
    let overrides = json!({ "containerOverrides": [{
        "name": "main", "environment": [{ "name": "TEXT", "value": text }]
    }] });
    let mut arns = Vec::new();
    for _ in 0..10 {
        let run = json!({ "taskDefinition": definition, "overrides": overrides });
        let answer = fleet.ecs("RunTask", &run);
        arns.push(
            answer["tasks"][0]["taskArn"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned(),
        );
    }
    fleet.until("all of them run", || {
        let shown = fleet.ecs("DescribeTasks", &json!({ "tasks": arns }));
        shown["tasks"].as_array().unwrap().iter().all(|task| task["lastStatus"] == "RUNNING")
    });
    // They stop as well, and none comes back.
    for arn in &arns {
        fleet.ecs("StopTask", &json!({ "task": arn, "reason": "enough" }));
    }
    fleet.until("all of them have stopped", || {
        let shown = fleet.ecs("DescribeTasks", &json!({ "tasks": arns }));
        shown["tasks"].as_array().unwrap().iter().all(|task| task["lastStatus"] == "STOPPED")
    });
    fleet.until("hub and box know the same", || agree(&fleet));
}

/// Whether these bytes are in a file.
fn holds(path: &Path, needle: &str) -> bool {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(!bytes.is_empty());
    bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
}

fn database(state_dir: &Path) -> std::path::PathBuf {
    let found = walk(state_dir).into_iter().find(|path| path.ends_with("data.mdb"));
    found.unwrap_or_else(|| panic!("{:?}", walk(state_dir)))
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(walk(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn a_secret_reaches_the_container_alone_and_is_rotated_without_a_redeploy() {
    if !boxes::possible() {
        return;
    }
    let fleet = Fleet::new(&["site=a"]);
    let (old, new) = ("a-value-nobody-reads-1f0c", "a-value-nobody-reads-77d2");
    fleet.cli(&["secret", "set", "prod/token"], old);
    let definition = register(
        &fleet,
        "user",
        &json!({
            "command": ["sh", "-c", "echo \"${#TOKEN} ${TOKEN##*-}\"; sleep 4"],
            "secrets": [{ "name": "TOKEN", "valueFrom": "arn:aws:secretsmanager:us-east-1:123456789012:secret:prod/token-AbCdEf" }],
        }),
    );
    create(&fleet, "user", &definition, 1, "a");
    let said = |wanted: &str| {
        let tasks = fleet.boxes[0].tasks("default");
        tasks.iter().any(|(task, _)| {
            let output = std::process::Command::new(env!("CARGO_BIN_EXE_coracle"))
                .args(["logs", task, "--run-dir"])
                .arg(fleet.boxes[0].host.run_dir())
                .output()
                .unwrap();
            String::from_utf8_lossy(&output.stdout).contains(wanted)
        })
    };
    fleet.until("the container has the value", || said("25 1f0c"));
    fleet.cli(&["secret", "set", "prod/token"], new);
    // No deployment: the next container that starts has it.
    fleet.until("a container has the new value", || said("25 77d2"));
    assert_eq!(fleet.service("user")["deployments"].as_array().unwrap().len(), 1);

    // Mosquitto writes all that it keeps when it is asked to.
    let persisted = fleet.state_dir().join("broker/mosquitto.db");
    fleet.signal_broker(rustix::process::Signal::USR1);
    let id = fleet.boxes[0].id();
    fleet.until("the broker has written", || persisted.exists() && holds(&persisted, &id));
    for value in [old, new] {
        assert!(!holds(&persisted, value));
        assert!(!holds(&database(&fleet.state_dir()), value));
        assert!(!holds(&database(&fleet.boxes[0].host.state_dir()), value));
    }
}

#[test]
fn a_box_that_is_deregistered_is_forgotten_by_the_broker() {
    if !boxes::possible() {
        return;
    }
    let fleet = Fleet::new(&["site=a", "site=a"]);
    let definition = register(&fleet, "web", &json!({ "command": SLEEP }));
    create(&fleet, "web", &definition, 2, "");
    fleet.stable("web");
    let gone = fleet.boxes[0].id();
    fleet.ecs("DeregisterContainerInstance", &json!({ "containerInstance": gone, "force": true }));
    // All of the service is on the other box then.
    fleet.until("the other box has all of it", || {
        let running = fleet.running("web");
        let shown = fleet.ecs("DescribeTasks", &json!({ "tasks": running }));
        let tasks = shown["tasks"].as_array().cloned().unwrap_or_default();
        running.len() == 2
            && tasks.iter().all(|task| last(task["containerInstanceArn"].as_str().unwrap()) != gone)
    });
    let persisted = fleet.state_dir().join("broker/mosquitto.db");
    fleet.until("the broker keeps nothing of the box", || {
        let _ = std::fs::remove_file(&persisted);
        fleet.signal_broker(rustix::process::Signal::USR1);
        let written = || persisted.exists() && holds(&persisted, &fleet.boxes[1].id());
        boxes::until("the broker has written", written);
        !holds(&persisted, &format!("{gone}/want"))
    });
}
