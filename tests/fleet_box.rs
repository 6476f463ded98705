//! A box of a fleet, with a real agent, real containers and a real broker; the hub is one that the test makes say what it
//! likes, so that it can lie, repeat itself and fall silent.

#![allow(clippy::unwrap_used, reason = "a test ends when something cannot be read or run")]
#![allow(unreachable_pub, reason = "modules of a test")]
#![allow(clippy::needless_pass_by_value, reason = "messages are written in place")]

mod agent;
#[path = "fleet_box/hub.rs"]
mod hub;
mod mosquitto;

use agent::{Agent, Host, kill};
use coracle::auth::fleet::{HubKey, Kind};
use coracle::fleet::link::Message;
use coracle::fleet::message;
use coracle::fleet::topic::{Filter, Topic};
use coracle::model::fleet::{Content, Phase, Position};
use coracle::model::{ContainerInstanceId, TaskStatus};
use hub::{Hub, definition, patient, service, statuses};
use mosquitto::{Mosquitto, Options};
use serde_json::json;

/// A box that has the test image and belongs to the hub's fleet, its agent not running yet.
fn enrolled(broker: &Mosquitto) -> (Host, Hub) {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let all = agent.ok("ListContainerInstances", &json!({}));
    let arn = all["containerInstanceArns"][0].as_str().unwrap().to_owned();
    agent.terminate();
    let hub = Hub::enrol(&host.state_dir(), arn.rsplit('/').next().unwrap(), broker);
    (host, hub)
}

/// The ids of the tasks that run, and when each was started.
fn running(agent: &Agent<'_>) -> Vec<(String, String)> {
    let arns = agent.ok("ListTasks", &json!({"cluster": "edge"}))["taskArns"].clone();
    if arns.as_array().unwrap().is_empty() {
        return Vec::new();
    }
    let tasks =
        agent.ok("DescribeTasks", &json!({"cluster": "edge", "tasks": arns}))["tasks"].clone();
    let mut all: Vec<_> = tasks
        .as_array()
        .unwrap()
        .iter()
        .map(|task| (task["taskArn"].to_string(), task["startedAt"].to_string()))
        .collect();
    all.sort();
    all
}

#[test]
fn a_document_becomes_containers_and_neither_death_nor_repetition_touches_them() {
    let broker = Mosquitto::start(Options { persistence: true, ..Options::default() });
    let (host, hub) = enrolled(&broker);
    let agent = host.start();
    hub.wait("the box", |said| said.presences.iter().find(|p| p.up && p.agent.is_some()).cloned());
    let web = patient("web", 1);
    hub.bodies(std::slice::from_ref(&web));
    let first = hub.document(1, std::slice::from_ref(&web), &[service(&web, 1, 2)]);
    hub.want(&first);
    let report = hub.applied(1);
    assert_eq!(
        (report.progress.phase, report.progress.hash),
        (Phase::Applied, Some(first.hash.clone()))
    );
    assert_eq!(report.tasks.len(), 2);
    hub.wait("both tasks' events", |said| (statuses(said, TaskStatus::Running) >= 2).then_some(()));
    let before = running(&agent);
    assert_eq!(before.len(), 2);

    // The same once more, and after a death: nothing restarts.
    hub.want(&first);
    let sessions = hub.wait("a session", |said| Some(said.presences.len()));
    agent.kill();
    let agent = host.start();
    hub.wait("the box to be back", |said| {
        (said.presences.len() > sessions && said.presences.last().unwrap().up).then_some(())
    });
    hub.report("a report of the new session", |report| report.tasks.len() == 2);
    assert_eq!(running(&agent), before);

    // A document that differs elsewhere touches nothing of these either.
    let once = definition("once", 1, "exit 0", json!({}));
    let task = json!({
        "id": "c".repeat(32), "taskDefinition": once.reference(), "desiredStatus": "RUNNING",
    });
    hub.bodies(std::slice::from_ref(&once));
    hub.want(&hub.document(2, &[web.clone(), once.clone()], &[service(&web, 1, 2), task]));
    hub.applied(2);
    assert_eq!(running(&agent), before);
    hub.wait("the end of the standalone task", |said| {
        said.events
            .values()
            .find(|e| {
                e.task.id.as_str() == "c".repeat(32) && e.task.last_status == TaskStatus::Stopped
            })
            .map(drop)
    });

    // What is no longer wanted stops.
    hub.want(&hub.document(3, &[], &[]));
    let report = hub.applied(3);
    assert!(report.tasks.is_empty(), "{report:?}");
    assert!(running(&agent).is_empty());
}

#[test]
fn what_the_hub_did_not_mean_changes_nothing_and_is_counted() {
    let broker = Mosquitto::plain();
    let (host, hub) = enrolled(&broker);
    let agent = host.start();
    let web = patient("web", 1);
    hub.bodies(std::slice::from_ref(&web));
    let old = hub.document(4, &[], &[]);
    let now = hub.document(5, std::slice::from_ref(&web), &[service(&web, 1, 1)]);
    hub.want(&now);
    hub.applied(5);
    let before = running(&agent);

    let newer = hub.document(9, &[], &[]);
    hub.want_bytes(message::write(&newer));
    hub.refused("unsigned", 1);
    hub.want_bytes(HubKey::ephemeral().sign(Kind::Document, &message::write(&newer)));
    hub.refused("signature", 1);
    hub.want_bytes(hub.key.sign(Kind::Command, &message::write(&newer)));
    hub.refused("signature", 2);
    hub.want(&old);
    hub.refused("replayed", 1);
    let mut foreign = newer.clone();
    foreign.device = ContainerInstanceId::new("f".repeat(32)).unwrap();
    hub.want(&foreign);
    hub.refused("foreign", 1);
    hub.want_bytes(hub.key.sign(Kind::Document, &vec![b' '; 10 * message::INLINE]));
    hub.refused("oversized", 1);
    hub.want_bytes(vec![b'['; 60_000]);
    hub.refused("nested", 1);
    let deep = format!("{{\"v\":1,\"x\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    hub.want_bytes(hub.key.sign(Kind::Document, deep.as_bytes()));
    hub.refused("nested", 2);
    hub.want_bytes(b"rubbish".to_vec());
    hub.refused("malformed", 1);
    let mut lies = newer.clone();
    lies.content.settings.draining = true;
    hub.want(&lies);
    hub.refused("hash", 1);
    // A format of another time is told of, and nothing stops.
    hub.want_bytes(hub.key.sign(Kind::Document, b"{\"v\":2,\"epoch\":9,\"generation\":9}"));
    let report = hub.report("an unknown format", |r| r.progress.phase == Phase::Unsupported);
    assert_eq!(report.progress.position, Position { epoch: 1, generation: 5 });
    assert_eq!(running(&agent), before);
    assert_eq!(report.tasks.len(), 1);

    // A document that counts still counts, and so does a key that it brings.
    let next = HubKey::ephemeral();
    let mut rotation = hub.of(6, now.content.clone());
    rotation.next_key = Some(String::from(next.verifying_key()));
    hub.want(&rotation);
    hub.applied(6);
    let trusted = Some(next.verifying_key().fingerprint().to_string());
    hub.report("which key it trusts", |report| report.hub_key == trusted);
    hub.want(&hub.document(7, &[], &[]));
    hub.refused("signature", 3);
    hub.want_bytes(next.sign(Kind::Document, &message::write(&hub.of(7, Content::default()))));
    let report = hub.applied(7);
    assert!(report.tasks.is_empty());
}

#[test]
fn without_a_broker_dead_tasks_are_replaced_and_their_history_is_whole_afterwards() {
    let mut broker = Mosquitto::plain();
    let (host, hub) = enrolled(&broker);
    let agent = host.start();
    let web = patient("web", 1);
    hub.bodies(std::slice::from_ref(&web));
    hub.want(&hub.document(1, std::slice::from_ref(&web), &[service(&web, 1, 1)]));
    let id = hub.applied(1).tasks.keys().next().unwrap().clone();
    hub.wait("its events", |said| (statuses(said, TaskStatus::Running) == 1).then_some(()));

    broker.kill();
    let mut last = id.to_string();
    for _ in 0..3 {
        let arn = format!("arn:aws:ecs:local:000000000000:task/edge/{last}");
        let pid = *host.container_pids().first().unwrap();
        kill(pid, 9);
        agent.wait_until(&arn, "its end", |task| task["lastStatus"] == "STOPPED");
        agent::wait_for("another task", || {
            running(&agent).iter().any(|(arn, started)| !arn.contains(&last) && started != "null")
                && host.container_pids().len() == 1
        });
        last = running(&agent)[0].0.rsplit('/').next().unwrap().trim_matches('"').to_owned();
    }
    // And the agent dies while nobody listens.
    agent.kill();
    let agent = host.start();
    let before = running(&agent);
    broker.restart();
    hub.wait("the history", |said| {
        let stopped = statuses(said, TaskStatus::Stopped) == 3;
        (stopped && statuses(said, TaskStatus::Running) >= 4).then_some(())
    });
    hub.wait("no hole", |said| {
        said.events.keys().zip(0..).all(|(have, want)| *have == want).then_some(())
    });
    assert_eq!(running(&agent), before, "nothing restarts because the broker is back");
    let report = hub.report("the one that runs", |report| report.tasks.len() == 1);
    assert_eq!(report.tasks.keys().next().unwrap().as_str(), last);
}

#[test]
fn the_broker_hears_of_a_document_once_it_is_durable() {
    let broker = Mosquitto::plain();
    let (host, hub) = enrolled(&broker);
    let web = patient("web", 1);
    // The body is not there yet: the document cannot be durable.
    hub.want(&hub.document(1, std::slice::from_ref(&web), &[service(&web, 1, 1)]));
    let agent = host.start();
    let waiting = hub.report("a body to be missed", |report| !report.missing.is_empty());
    assert_eq!(waiting.progress.position, Position::default());
    agent.kill();

    // It comes again to the next life. The moment it is acknowledged the agent dies, and the broker for good.
    hub.bodies(std::slice::from_ref(&web));
    let lives = broker.log().lines().count();
    let agent = host.start();
    let device = hub.device.as_str();
    agent::wait_for("the document to be acknowledged", || {
        let log = broker.log();
        let mut of_life = log.lines().skip(lives).filter(|line| line.contains(device));
        let sent = of_life.find(|l| l.contains("Sending PUBLISH") && l.contains("/want'"));
        let Some(number) = sent.and_then(|line| line.split(", m").nth(1)?.split(',').next()) else {
            return false;
        };
        let answer = format!("Mid: {number},");
        of_life.any(|line| line.contains("Received PUBACK") && line.contains(&answer))
    });
    agent.kill();
    drop(broker);
    let agent = host.start();
    agent::wait_for("what the document says", || running(&agent).len() == 1);
}

#[test]
fn the_workloads_start_without_a_network_and_without_a_hub() {
    let broker = Mosquitto::plain();
    let (host, hub) = enrolled(&broker);
    let agent = host.start();
    let web = definition(
        "web",
        1,
        "test \"$WORD\" = one && while :; do sleep 0.05; done",
        json!({
            "secrets": [{"name": "WORD", "valueFrom": "word"}],
        }),
    );
    hub.bodies(std::slice::from_ref(&web));
    let document = hub.document(1, std::slice::from_ref(&web), &[service(&web, 1, 1)]);
    let version = "1".repeat(32);
    hub.want(&hub.with_secret(document, "secret/word", &version, "one"));
    let report = hub.applied(1);
    assert_eq!(report.progress.phase, Phase::Applied, "{report:?}");
    agent.kill();
    drop(broker);
    host.cut_the_power();
    let agent = host.start();
    agent::wait_for("the task to be back", || host.container_pids().len() == 1);
    // Nobody was there to ask, and the box says so.
    let node = host.cli(&["node", "show"]);
    assert!(node.contains("connected"), "{node}");
    assert!(node.contains("cannot be reached") || node.contains("broke"), "{node}");
    // It can leave all the same, and its secrets go with the fleet.
    host.cli(&["leave"]);
    agent::wait_for("the fleet's task to end", || host.container_pids().is_empty());
    agent::wait_for("the fleet's secret to be gone", || {
        !host.cli(&["secret", "ls"]).contains("word")
    });
    agent.terminate();
}

#[test]
fn a_box_listens_to_what_concerns_it_alone() {
    let broker = Mosquitto::plain();
    let (host, hub) = enrolled(&broker);
    let _agent = host.start();
    hub.report("a report", |_| true);
    let device = hub.device.as_str();
    let own = [
        Topic::want(&hub.cluster, &hub.device),
        Topic::cmd(&hub.cluster, &hub.device),
        Topic::ack(&hub.cluster, &hub.device),
        Topic::Hub(hub.cluster.clone()),
    ];
    for topic in &own {
        broker.wait_for_log(&[device, Filter::exact(topic).as_str()]);
    }
    assert!(!broker.log().contains("doc/+"), "{}", broker.log());
    // What is acknowledged, taken back and garbled on its other topics does no harm.
    hub.publish(Message::new(&own[1], b"{}".to_vec()));
    hub.publish(Message::new(&own[2], vec![b'{'; 5000]));
    hub.publish(Message::new(&own[2], hub.key.sign(Kind::Ack, b"{\"v\":1}")));
    hub.publish(Message::retained(&own[0], Vec::new()));
    hub.refused("malformed", 1);
    hub.refused("oversized", 1);
}
