//! Services on a real box: kept at their count through kills, power cuts and deployments, and asked by a client that
//! notices every request that is lost.

#![allow(clippy::unwrap_used, reason = "a test ends when something cannot be read or run")]
#![allow(clippy::needless_pass_by_value, reason = "requests are written in place")]

mod agent;
mod netbox;

use agent::{Agent, Host, PATIENCE, kill, wait_for};
use netbox::{inside, on_a_box, snapshot};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

const PORT: u16 = 8080;

/// Who listens on this machine is connected by its kernel, however busy it is. Where a task has just gone, nobody refuses, for
/// as long as the kernel remembers whose the address was.
const CONNECT: Duration = Duration::from_secs(2);

/// A container that runs until it is told to stop.
fn patient() -> Value {
    json!({"name": "main", "image": "coracle/busybox", "memory": 16, "stopTimeout": 2,
        "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"]})
}

/// A container that answers whoever connects with `word`.
fn answering(word: &str) -> Value {
    let script = format!("exec nc -ll -p {PORT} -e echo {word}");
    json!({"name": "main", "image": "coracle/busybox", "memory": 16, "stopTimeout": 2, "command": ["sh", "-c", script]})
}

fn register(agent: &Agent<'_>, family: &str, mode: &str, container: Value) -> String {
    let input = json!({"family": family, "networkMode": mode, "containerDefinitions": [container]});
    let answer = agent.ok("RegisterTaskDefinition", &input);
    answer["taskDefinition"]["taskDefinitionArn"].as_str().unwrap().to_owned()
}

/// Creates a service of `definition` with more members.
fn create(agent: &Agent<'_>, name: &str, definition: &str, members: Value) -> Value {
    let mut input = json!({"serviceName": name, "taskDefinition": definition});
    input.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    agent.ok("CreateService", &input)["service"].clone()
}

fn describe(agent: &Agent<'_>, name: &str) -> Value {
    let answer = agent.ok("DescribeServices", &json!({"services": [name]}));
    answer["services"][0].clone()
}

/// Waits until `holds` is true of the service, and returns it as it was then.
fn until(agent: &Agent<'_>, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let seen = std::cell::RefCell::new(&mut last);
    wait_for(&format!("{name} to be {what}"), || {
        let service = describe(agent, name);
        let there = holds(&service);
        **seen.borrow_mut() = service;
        // A service cannot be awaited; asking without a pause would take the time that it needs.
        there || {
            std::thread::sleep(Duration::from_millis(20));
            false
        }
    });
    last
}

/// As the waiter `ServicesStable` has it.
fn stable(service: &Value) -> bool {
    service["deployments"].as_array().unwrap().len() == 1
        && service["runningCount"] == service["desiredCount"]
}

fn until_stable(agent: &Agent<'_>, name: &str) -> Value {
    until(agent, name, "stable", stable)
}

/// Waits until the service says that it is steady: its tasks have shown that they stay up.
fn until_steady(agent: &Agent<'_>, name: &str) -> Value {
    until(agent, name, "steady", |service| {
        stable(service)
            && messages(service)
                .first()
                .is_some_and(|text| text.contains("has reached a steady state"))
    })
}

fn tasks_of(agent: &Agent<'_>, name: &str) -> BTreeSet<String> {
    let answer = agent.ok("ListTasks", &json!({"serviceName": name}));
    let arns = answer["taskArns"].as_array().unwrap();
    arns.iter().map(|arn| arn.as_str().unwrap().to_owned()).collect()
}

fn scale(agent: &Agent<'_>, name: &str, count: u32) -> Value {
    agent.ok("UpdateService", &json!({"service": name, "desiredCount": count}));
    until(agent, name, &format!("at {count}"), |s| s["desiredCount"] == count && stable(s))
}

fn delete(agent: &Agent<'_>, name: &str) {
    agent.ok("DeleteService", &json!({"service": name, "force": true}));
    until(agent, name, "INACTIVE", |s| s["status"] == "INACTIVE");
    assert_eq!(tasks_of(agent, name), BTreeSet::new());
}

fn messages(service: &Value) -> Vec<String> {
    let events = service["events"].as_array().unwrap();
    events.iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

/// An agent of its own, with the test image.
fn with_agent(test: impl FnOnce(&Host, Agent<'_>)) {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    test(&host, agent);
}

#[test]
fn a_service_goes_from_none_to_five_and_back() {
    with_agent(|host, agent| {
        let definition = register(&agent, "web", "none", patient());
        let service = create(&agent, "web", &definition, json!({"desiredCount": 0}));
        assert_eq!((&service["status"], &service["runningCount"]), (&json!("ACTIVE"), &json!(0)));
        scale(&agent, "web", 5);
        let five = tasks_of(&agent, "web");
        assert_eq!((five.len(), host.container_pids().len()), (5, 5));
        for arn in &five {
            let task = agent.describe(arn);
            assert_eq!(task["group"], "service:web", "{task:#}");
            assert!(task["startedBy"].as_str().unwrap().starts_with("ecs-svc/"), "{task:#}");
        }
        scale(&agent, "web", 2);
        let two = tasks_of(&agent, "web");
        assert!(two.len() == 2 && two.is_subset(&five), "who stays goes on as it was");
        let gone = agent.describe(five.difference(&two).next().unwrap());
        assert_eq!(gone["stopCode"], "ServiceSchedulerInitiated");
        assert!(
            gone["stoppedReason"].as_str().unwrap().starts_with("Scaling activity initiated by"),
            "{gone:#}"
        );
        scale(&agent, "web", 0);
        wait_for("the containers to end", || host.container_pids().is_empty());
        scale(&agent, "web", 1);
        delete(&agent, "web");
        wait_for("the last container to end", || host.container_pids().is_empty());
    });
}

#[test]
fn a_task_that_dies_is_replaced() {
    with_agent(|host, agent| {
        let definition = register(&agent, "web", "none", patient());
        create(&agent, "web", &definition, json!({"desiredCount": 3}));
        let deployment = until_stable(&agent, "web")["deployments"][0]["id"].clone();
        let before = tasks_of(&agent, "web");
        kill(host.container_pids()[0], 9);
        until(&agent, "web", "with another task", |s| {
            stable(s) && tasks_of(&agent, "web") != before
        });
        let after = tasks_of(&agent, "web");
        let killed = agent.describe(before.difference(&after).next().unwrap());
        assert_eq!(killed["stopCode"], "EssentialContainerExited", "{killed:#}");
        assert_eq!(killed["containers"][0]["exitCode"], 137);
        assert_eq!((after.len(), after.intersection(&before).count()), (3, 2));

        // Stopped by hand, it is replaced as well.
        let by_hand = after.first().unwrap();
        agent.ok("StopTask", &json!({"task": by_hand, "reason": "by hand"}));
        assert_eq!(agent.wait(by_hand, "STOPPED")["stoppedReason"], "by hand");
        let service = until(&agent, "web", "whole again", |s| {
            let now = tasks_of(&agent, "web");
            stable(s) && now.len() == 3 && !now.contains(by_hand)
        });
        assert_eq!(service["deployments"][0]["id"], deployment, "no deployment was needed for it");
    });
}

#[test]
fn a_box_that_lost_its_power_has_all_tasks_back() {
    with_agent(|host, agent| {
        let definition = register(&agent, "web", "none", patient());
        create(&agent, "web", &definition, json!({"desiredCount": 3}));
        until_stable(&agent, "web");
        let before = tasks_of(&agent, "web");
        let runs = |agent: &Agent<'_>| -> BTreeSet<String> {
            let run = |arn: &String| agent.describe(arn)["containers"][0]["runtimeId"].to_string();
            tasks_of(agent, "web").iter().map(run).collect()
        };
        let first = runs(&agent);
        agent.kill();
        host.cut_the_power();
        let agent = host.start();
        until(&agent, "web", "back", |s| {
            stable(s) && host.container_pids().len() == 3 && runs(&agent).is_disjoint(&first)
        });
        assert_eq!(tasks_of(&agent, "web"), before, "they are the same tasks, started over");
    });
}

#[test]
fn a_killed_agent_goes_on_with_a_deployment() {
    with_agent(|host, agent| {
        let first = register(&agent, "web", "none", patient());
        create(&agent, "web", &first, json!({"desiredCount": 3}));
        until_stable(&agent, "web");
        let before = tasks_of(&agent, "web");
        let second = register(&agent, "web", "none", patient());
        agent.ok("UpdateService", &json!({"service": "web", "taskDefinition": second}));
        agent.kill();
        let agent = host.start();
        until(&agent, "web", "in the middle of the deployment", |s| {
            s["deployments"][0]["runningCount"].as_u64() > Some(0)
        });
        agent.kill();
        let agent = host.start();
        let service = until_stable(&agent, "web");
        assert_eq!(service["taskDefinition"], json!(second));
        let after = tasks_of(&agent, "web");
        assert!(after.len() == 3 && after.is_disjoint(&before), "{after:?}");
        wait_for("the old containers to be gone", || host.container_pids().len() == 3);
        for arn in &after {
            assert_eq!(agent.describe(arn)["taskDefinitionArn"], json!(second));
        }
    });
}

#[test]
fn a_drained_box_keeps_what_must_stay_healthy_and_gets_the_rest_back() {
    with_agent(|_, agent| {
        let definition = register(&agent, "web", "none", patient());
        let all_may_go = json!({"minimumHealthyPercent": 0, "maximumPercent": 200});
        create(
            &agent,
            "free",
            &definition,
            json!({"desiredCount": 2, "deploymentConfiguration": all_may_go}),
        );
        create(&agent, "kept", &definition, json!({"desiredCount": 2}));
        create(&agent, "each", &definition, json!({"schedulingStrategy": "DAEMON"}));
        for service in ["free", "kept"] {
            until_steady(&agent, service);
        }
        let daemon = until(&agent, "each", "on the box", |s| s["runningCount"] == 1);
        assert_eq!(
            (&daemon["desiredCount"], &daemon["schedulingStrategy"]),
            (&json!(1), &json!("DAEMON"))
        );
        let kept = tasks_of(&agent, "kept");

        let instances =
            agent.ok("ListContainerInstances", &json!({}))["containerInstanceArns"].clone();
        let state = |status: &str| {
            let input = json!({"containerInstances": instances, "status": status});
            assert_eq!(agent.ok("UpdateContainerInstancesState", &input)["failures"], json!([]));
        };
        state("DRAINING");
        until(&agent, "free", "away", |s| s["runningCount"] == 0);
        assert_eq!(tasks_of(&agent, "kept"), kept, "there is nowhere else to go");
        assert_eq!(describe(&agent, "kept")["runningCount"], 2);
        let events = messages(&describe(&agent, "free"));
        assert!(
            events.iter().any(|text| text.contains("was unable to place a task")),
            "{events:#?}"
        );
        state("ACTIVE");
        until_stable(&agent, "free");
        until(&agent, "each", "on the box", |s| s["runningCount"] == 1);
        assert_eq!(tasks_of(&agent, "kept"), kept);
    });
}

#[test]
fn a_protected_task_is_not_scaled_in() {
    with_agent(|_, agent| {
        let definition = register(&agent, "web", "none", patient());
        create(&agent, "web", &definition, json!({"desiredCount": 3}));
        until_stable(&agent, "web");
        let protected = tasks_of(&agent, "web").last().unwrap().clone();
        let protect = |enabled: bool| {
            let input =
                json!({"cluster": "default", "tasks": [protected], "protectionEnabled": enabled});
            let answer = agent.ok("UpdateTaskProtection", &input);
            assert_eq!(answer["protectedTasks"][0]["protectionEnabled"], enabled, "{answer}");
        };
        protect(true);
        scale(&agent, "web", 1);
        assert_eq!(tasks_of(&agent, "web"), BTreeSet::from([protected.clone()]));
        agent.ok("UpdateService", &json!({"service": "web", "desiredCount": 0}));
        let service = until(&agent, "web", "told of", |s| s["desiredCount"] == 0);
        assert_eq!(service["runningCount"], 1, "a protected task stays");
        protect(false);
        until(&agent, "web", "empty", |s| s["runningCount"] == 0);
        assert_eq!(tasks_of(&agent, "web"), BTreeSet::new());
    });
}

/// Asks a service over and over by the addresses of its tasks, and counts what came of it.
struct Client {
    answers: AtomicU32,
    lost: AtomicU32,
    done: AtomicBool,
}

impl Client {
    fn new() -> Self {
        Self { answers: AtomicU32::new(0), lost: AtomicU32::new(0), done: AtomicBool::new(false) }
    }

    /// Goes on until it is done. A request goes to one task after the other until one answers; when none does, it is
    /// lost.
    fn ask_on(&self, agent: &Agent<'_>, service: &str, word: &str) {
        while !self.done.load(Ordering::Relaxed) {
            // Whoever is connected must be answered; only what cannot be connected may be tried elsewhere.
            let stream = addresses(agent, service).into_iter().find_map(|a| connect(a).ok());
            let answered = stream.is_some_and(|stream| {
                assert_eq!(answer(stream).unwrap(), word);
                true
            });
            let count = if answered { &self.answers } else { &self.lost };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits for so many more answers.
    fn wait_for_more(&self, more: u32) {
        let enough = self.answers.load(Ordering::Relaxed) + more;
        wait_for("more answers", || self.answers.load(Ordering::Relaxed) >= enough);
    }
}

/// Ends a client, also when a test fails while it asks.
struct Done<'a>(&'a Client);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.done.store(true, Ordering::Relaxed);
    }
}

/// The addresses of the tasks of a service that are RUNNING, as DescribeTasks tells them.
fn addresses(agent: &Agent<'_>, service: &str) -> Vec<IpAddr> {
    let arns: Vec<String> = tasks_of(agent, service).into_iter().collect();
    if arns.is_empty() {
        return Vec::new();
    }
    let answer = agent.ok("DescribeTasks", &json!({"tasks": arns}));
    let running =
        answer["tasks"].as_array().unwrap().iter().filter(|t| t["lastStatus"] == "RUNNING");
    running
        .filter_map(|task| {
            let interface = &task["containers"][0]["networkInterfaces"][0];
            interface["privateIpv4Address"].as_str()?.parse().ok()
        })
        .collect()
}

fn connect(address: IpAddr) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&SocketAddr::new(address, PORT), CONNECT)
}

fn answer(mut stream: TcpStream) -> io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.trim_end().to_owned())
}

#[test]
fn a_broken_image_is_rolled_back_without_a_lost_request() {
    let machine: OwnedFd = File::open("/proc/thread-self/ns/net").unwrap().into();
    on_a_box(async move |ground| {
        let host = Host::new();
        let agent = host.start();
        // The image is made of packages, which are not to be had on this box.
        inside(&machine, || host.load_busybox(&agent));
        broken_images(&agent);
        drop(agent);
        drop(host);
        wait_for("the box to be as before", || snapshot() == ground.before);
    });
}

fn broken_images(agent: &Agent<'_>) {
    let good = register(agent, "web", "awsvpc", answering("good"));
    let vpc = json!({"awsvpcConfiguration": {"subnets": ["subnet-1"]}});
    let breaker = json!({"deploymentCircuitBreaker": {"enable": true, "rollback": true},
        "minimumHealthyPercent": 100, "maximumPercent": 200});
    create(
        agent,
        "web",
        &good,
        json!({"desiredCount": 2, "networkConfiguration": vpc, "deploymentConfiguration": breaker}),
    );
    until_steady(agent, "web");
    let before = tasks_of(agent, "web");
    wait_for("both to answer", || {
        let addresses = addresses(agent, "web");
        addresses.len() == 2
            && addresses.iter().all(|address| connect(*address).and_then(answer).is_ok())
    });

    // One image is not to be had, the other ends as soon as it has started.
    let mut absent = answering("bad");
    absent["image"] = json!("127.0.0.1:1/nothing:1");
    let mut failing = answering("bad");
    failing["command"] = json!(["sh", "-c", "exit 3"]);
    let client = Client::new();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| client.ask_on(agent, "web", "good"));
        let at_the_end = Done(&client);
        for broken in [absent, failing] {
            client.wait_for_more(20);
            let broken = register(agent, "web", "awsvpc", broken);
            agent.ok("UpdateService", &json!({"service": "web", "taskDefinition": broken}));
            let service = until(agent, "web", "rolled back", |s| {
                s["taskDefinition"] == json!(good) && stable(s)
            });
            let told = messages(&service);
            assert!(
                told.iter().any(|text| text.contains("deployment failed: tasks failed to start")),
                "{told:#?}"
            );
            assert!(
                told.iter().any(|text| text.contains("rolling back to deployment ecs-svc/")),
                "{told:#?}"
            );
            assert!(tasks_of(agent, "web").is_superset(&before), "the good tasks were touched");
            wait_for("the others to go", || tasks_of(agent, "web") == before);
            client.wait_for_more(20);
        }
        drop(at_the_end);
        asking.join().unwrap();
    });
    assert_eq!(client.lost.into_inner(), 0, "requests were lost");
    let history =
        agent.ok("ListServiceDeployments", &json!({"service": "web"}))["serviceDeployments"]
            .clone();
    let statuses: Vec<&str> =
        history.as_array().unwrap().iter().map(|d| d["status"].as_str().unwrap()).collect();
    assert!(statuses.contains(&"ROLLBACK_SUCCESSFUL"), "{history:#}");
    delete(agent, "web");
}
