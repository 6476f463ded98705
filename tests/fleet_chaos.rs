//! A hub with its broker and three boxes, each in a network namespace of its own, for a minute and a half in which links
//! are cut and agents, hub and mosquitto are killed, while services are changed: in the end all is as it should be, and
//! what nobody touched was never touched. Needs root and mosquitto.
//!
//! `CHAOS_SEED=N` plays another script.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]
#![allow(clippy::disallowed_methods, reason = "it is about time, and may be told another seed")]
#![allow(
    clippy::print_stdout,
    clippy::format_push_string,
    clippy::needless_for_each,
    clippy::unused_self,
    clippy::semicolon_if_nothing_returned,
    clippy::duration_suboptimal_units,
    reason = "what happened is told"
)]

mod agent;

use agent::{Host, PATIENCE};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long everything goes wrong.
const CHAOS: Duration = Duration::from_secs(90);
const BOXES: usize = 3;
const API_PORT: u16 = 8080;
const MQTT_PORT: u16 = 8883;

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}

/// Namespaces of the hub and the boxes, and a cable from each box to the hub.
struct Cables {
    name: String,
    network: u32,
}

impl Cables {
    fn new() -> Self {
        let network = std::process::id() % 200;
        let cables = Self { name: format!("cfc{}", std::process::id()), network };
        let hub = cables.namespace(BOXES);
        ip(&format!("netns add {hub}"));
        ip(&format!("-n {hub} link set lo up"));
        ip(&format!("-n {hub} address add {}/32 dev lo", cables.hub_address()));
        for at in 0..BOXES {
            let name = cables.namespace(at);
            ip(&format!("netns add {name}"));
            ip(&format!("-n {hub} link add box{at} type veth peer name up0 netns {name}"));
            ip(&format!("-n {hub} address add 10.214.{network}.{}/30 dev box{at}", at * 4 + 5));
            ip(&format!("-n {name} address add 10.214.{network}.{}/30 dev up0", at * 4 + 6));
            ip(&format!("-n {name} link set lo up"));
            ip(&format!("-n {name} link set up0 up"));
            cables.mend(at);
            ip(&format!("-n {name} route add default via 10.214.{network}.{}", at * 4 + 5));
        }
        cables
    }

    /// Of a box; of the hub after the last of them.
    fn namespace(&self, at: usize) -> String {
        format!("{}-{at}", self.name)
    }

    fn hub_address(&self) -> String {
        format!("10.214.{}.1", self.network)
    }

    fn cut(&self, at: usize) {
        ip(&format!("-n {} link set box{at} down", self.namespace(BOXES)));
    }

    fn mend(&self, at: usize) {
        ip(&format!("-n {} link set box{at} up", self.namespace(BOXES)));
    }

    /// The command, in a namespace. Not `ip netns exec`: that would take the cgroups out of sight.
    fn inside(&self, at: usize, usual: &Command) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace(at))).arg(usual.get_program());
        command.args(usual.get_args());
        let set = usual.get_envs().filter_map(|(name, value)| Some((name, value?)));
        command.envs(set);
        command
    }
}

impl Drop for Cables {
    fn drop(&mut self) {
        for at in 0..=BOXES {
            let _ = Command::new("ip").args(["netns", "delete", &self.namespace(at)]).output();
        }
    }
}

fn log_to(command: &mut Command, path: PathBuf) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(path).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

/// One call of an ECS operation over a socket; none if nobody answers, or not with a success.
fn call(socket: &PathBuf, operation: &str, input: &Value) -> Result<Value, String> {
    let body = input.to_string();
    let head = format!(
        "POST / HTTP/1.0\r\nHost: hub\r\nContent-Type: application/x-amz-json-1.1\r\n\
         X-Amz-Target: AmazonEC2ContainerServiceV20141113.{operation}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let ask = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all((head + &body).as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    if head.starts_with("HTTP/1.0 200") {
        return serde_json::from_str(body).map_err(|error| error.to_string());
    }
    Err(answer)
}

struct Fleet {
    cables: Cables,
    directory: TempDir,
    hub: Option<Child>,
    boxes: Vec<Host>,
    agents: Vec<Option<Child>>,
}

impl Fleet {
    fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("coracle").tempdir_in("/var/tmp").unwrap();
        // Mosquitto gives up root and still has to reach its files.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).unwrap();
        let boxes: Vec<Host> = (0..BOXES).map(|_| Host::new()).collect();
        let agents = boxes.iter().map(|_| None).collect();
        let mut fleet = Self { cables: Cables::new(), directory, hub: None, boxes, agents };
        fleet.start_hub();
        fleet.until("the hub answers", |fleet| fleet.try_ecs("ListClusters", &json!({})).is_ok());
        fleet.ecs("CreateCluster", &json!({}));
        let token = fleet.hub_cli(&["token", "create"]);
        let recipe = format!("{}/images/busybox", env!("CARGO_MANIFEST_DIR"));
        for at in 0..BOXES {
            fleet.start_agent(at);
            fleet.until("an agent answers", |fleet| {
                call(&fleet.box_socket(at), "ListClusters", &json!({})).is_ok()
            });
            fleet.boxes[at].cli(&["image", "build", &recipe]);
            let url = format!("http://{}:{API_PORT}", fleet.cables.hub_address());
            fleet.boxes[at].cli(&["join", &url, "--token", token.trim()]);
        }
        fleet.until("all are connected", |fleet| fleet.connected() == BOXES);
        fleet
    }

    fn start_hub(&mut self) {
        let at = |name: &str| self.directory.path().join(name);
        let address = self.cables.hub_address();
        let mut hub = Command::new(env!("CARGO_BIN_EXE_coracle"));
        hub.args(["hub", "--listen", &format!("{address}:{API_PORT}")])
            .args(["--mqtt-listen", &format!("{address}:{MQTT_PORT}"), "--state-dir"])
            .arg(at("state"))
            .arg("--run-dir")
            .arg(at("run"));
        let mut command = self.cables.inside(BOXES, &hub);
        self.hub = Some(log_to(&mut command, at("hub.log")));
    }

    fn start_agent(&mut self, at: usize) {
        let host = &self.boxes[at];
        let mut command = self.cables.inside(at, &host.agent_command());
        self.agents[at] = Some(log_to(&mut command, host.dir.path().join("agent.log")));
    }

    fn hub_socket(&self) -> PathBuf {
        self.directory.path().join("run/api.sock")
    }

    fn box_socket(&self, at: usize) -> PathBuf {
        self.boxes[at].run_dir().join("api.sock")
    }

    fn hub_cli(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
        command.args(arguments).env("CORACLE_RUN_DIR", self.directory.path().join("run"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn try_ecs(&self, operation: &str, input: &Value) -> Result<Value, String> {
        call(&self.hub_socket(), operation, input)
    }

    fn ecs(&self, operation: &str, input: &Value) -> Value {
        self.try_ecs(operation, input).unwrap_or_else(|error| panic!("{operation}: {error}"))
    }

    /// How many boxes the hub takes for connected.
    fn connected(&self) -> usize {
        let list = self.ecs("ListContainerInstances", &json!({}));
        let arns = list["containerInstanceArns"].as_array().unwrap();
        if arns.is_empty() {
            return 0;
        }
        let shown = self.ecs("DescribeContainerInstances", &json!({ "containerInstances": arns }));
        let shown = shown["containerInstances"].as_array().unwrap();
        shown.iter().filter(|instance| instance["agentConnected"] == true).count()
    }

    /// Tasks by their id, as one side has them.
    fn tasks(&self, socket: &PathBuf) -> Result<BTreeMap<String, Value>, String> {
        let mut tasks = BTreeMap::new();
        for status in ["RUNNING", "STOPPED"] {
            let mut next = Value::Null;
            loop {
                let mut input = json!({ "desiredStatus": status, "maxResults": 100 });
                if !next.is_null() {
                    input["nextToken"] = next;
                }
                let list = call(socket, "ListTasks", &input)?;
                let arns = list["taskArns"].as_array().unwrap();
                if !arns.is_empty() {
                    let shown = call(socket, "DescribeTasks", &json!({ "tasks": arns }))?;
                    for task in shown["tasks"].as_array().unwrap() {
                        let id = task["taskArn"].as_str().unwrap().rsplit('/').next().unwrap();
                        tasks.insert(id.to_owned(), task.clone());
                    }
                }
                next = list["nextToken"].clone();
                if next.is_null() {
                    break;
                }
            }
        }
        Ok(tasks)
    }

    /// The hub's mosquitto.
    fn broker(&self) -> Option<i32> {
        let hub = self.hub.as_ref()?.id();
        let children = std::fs::read_to_string(format!("/proc/{hub}/task/{hub}/children")).ok();
        let of_any_thread = || {
            let threads = std::fs::read_dir(format!("/proc/{hub}/task")).ok()?;
            let texts = threads
                .flatten()
                .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
            Some(texts.collect::<String>())
        };
        let children = of_any_thread().or(children)?;
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(|pid: &i32| {
            std::fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|name| name.trim() == "mosquitto")
        })
    }

    /// Polls for what other processes come to.
    fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + Duration::from_mins(4);
        while !done(self) {
            assert!(Instant::now() < end, "gave up waiting until {what}\n{}", self.everything());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// What hub and boxes say of themselves and of each other, and what they logged.
    fn everything(&self) -> String {
        let mut text = format!("{:#?}\n", differences(self));
        if let Ok(services) = self.try_ecs("DescribeServices", &json!({ "services": ["moving"] })) {
            text += &format!("{services:#}\n");
        }
        let run = self.directory.path().join("run");
        for run in self.boxes.iter().map(Host::run_dir).chain([run]) {
            let mut show = Command::new(env!("CARGO_BIN_EXE_coracle"));
            let of_hub = run.starts_with(self.directory.path());
            show.args(if of_hub { ["node", "ls"] } else { ["node", "show"] }).arg("--json");
            let shown = show.env("CORACLE_RUN_DIR", run).output().unwrap();
            text += &format!("{}\n", String::from_utf8_lossy(&shown.stdout));
        }
        text + &self.logs()
    }

    fn logs(&self) -> String {
        let hub = std::fs::read_to_string(self.directory.path().join("hub.log"));
        let last = |text: String| {
            let lines: Vec<_> = text.lines().rev().take(60).collect();
            lines.into_iter().rev().collect::<Vec<_>>().join("\n")
        };
        let mut text = format!("--- hub ---\n{}\n", last(hub.unwrap_or_default()));
        for (at, host) in self.boxes.iter().enumerate() {
            text += &format!("--- box {at} ---\n{}\n", last(host.log()));
        }
        text
    }

    fn kill_hub(&mut self) {
        let mut hub = self.hub.take().unwrap();
        hub.kill().unwrap();
        hub.wait().unwrap();
    }

    fn kill_agent(&mut self, at: usize) {
        let mut agent = self.agents[at].take().unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let broker = self.broker();
        for child in self.agents.iter_mut().chain([&mut self.hub]).flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
        broker.into_iter().for_each(|pid| agent::kill(pid, 9));
    }
}

/// A container that says when it starts, and whether it was started again.
fn container(name: &str) -> Value {
    json!({
        "name": name, "image": "coracle/busybox", "memory": 32, "stopTimeout": 2,
        "command": ["sh", "-c", "echo started; exec sleep 100000"],
    })
}

fn number(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ (z >> 31)) % below
}

/// What runs where, by task: its box and when it started.
type Running = BTreeMap<String, (String, String)>;

fn running<'a>(tasks: impl IntoIterator<Item = (&'a String, &'a Value)>, group: &str) -> Running {
    let of_group = tasks
        .into_iter()
        .filter(|(_, task)| task["group"] == group && task["lastStatus"] == "RUNNING");
    let told = of_group.map(|(id, task)| {
        let text = |name: &str| task[name].to_string();
        (id.clone(), (text("containerInstanceArn"), text("startedAt")))
    });
    told.collect()
}

/// What hub and boxes do not agree on.
fn differences(fleet: &Fleet) -> Vec<String> {
    let mut said = Vec::new();
    let hub = match fleet.tasks(&fleet.hub_socket()) {
        Ok(hub) => hub,
        Err(error) => return vec![error],
    };
    let mut here = BTreeSet::new();
    for at in 0..BOXES {
        let tasks = match fleet.tasks(&fleet.box_socket(at)) {
            Ok(tasks) => tasks,
            Err(error) => return vec![error],
        };
        for (id, task) in tasks {
            let status = |task: &Value| task["lastStatus"].clone();
            if status(&task) != "RUNNING" && status(&task) != "STOPPED" {
                said.push(format!("{id} is {} on box {at}", status(&task)));
            }
            match hub.get(&id) {
                Some(there) if status(there) == status(&task) => {}
                Some(there) => said.push(format!("{id}: {} and {}", status(&task), status(there))),
                None => said.push(format!("the hub does not know {id} of box {at}")),
            }
            if !here.insert(id.clone()) {
                said.push(format!("{id} is on two boxes"));
            }
        }
    }
    for (id, task) in &hub {
        if task["lastStatus"] != "STOPPED" && !here.contains(id) {
            said.push(format!("no box knows {id}, which is {}", task["lastStatus"]));
        }
    }
    said
}

fn seed() -> u64 {
    std::env::var("CHAOS_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(7)
}

fn possible() -> bool {
    let found = |program: &str| {
        let look = format!("PATH=$PATH:/usr/sbin command -v {program}");
        Command::new("sh").args(["-c", &look]).output().is_ok_and(|output| output.status.success())
    };
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return false;
    }
    for program in ["mosquitto", "ip", "nsenter"] {
        if !found(program) {
            println!("skipped: {program} is not installed");
            return false;
        }
    }
    true
}

/// Lets everything go wrong for a while, and mends it. Answers what happened.
fn rage(fleet: &mut Fleet, dice: &mut u64) -> Vec<String> {
    let mut told = Vec::new();
    let begun = Instant::now();
    let mut cut = [false; BOXES];
    while begun.elapsed() < CHAOS {
        let at = usize::try_from(number(dice, BOXES as u64)).unwrap();
        let what = match number(dice, 12) {
            0..=2 => {
                if cut[at] {
                    fleet.cables.mend(at)
                } else {
                    fleet.cables.cut(at)
                }
                cut[at] = !cut[at];
                format!("the link of box {at} is {}", if cut[at] { "cut" } else { "mended" })
            }
            3..=4 => {
                fleet.kill_agent(at);
                fleet.start_agent(at);
                format!("the agent of box {at} is killed")
            }
            5 => {
                fleet.kill_hub();
                // Dead for a moment.
                std::thread::sleep(Duration::from_millis(number(dice, 3000)));
                fleet.start_hub();
                "the hub is killed".to_owned()
            }
            6 => {
                let broker = fleet.broker();
                broker.into_iter().for_each(|pid| agent::kill(pid, 9));
                format!("mosquitto {broker:?} is killed")
            }
            7..=8 => {
                let count = 1 + number(dice, 5);
                let update = json!({ "service": "moving", "desiredCount": count });
                let done = fleet.try_ecs("UpdateService", &update).is_ok();
                format!("{count} tasks are wanted: {done}")
            }
            9 => {
                let update = json!({ "service": "moving", "forceNewDeployment": true });
                let done = fleet.try_ecs("UpdateService", &update).is_ok();
                format!("a deployment: {done}")
            }
            10 => {
                let pids = fleet.boxes[at].pids_in_cgroups();
                let mortal = pids.into_iter().find(|pid| {
                    std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
                        .is_ok_and(|text| text.contains("99999"))
                });
                mortal.into_iter().for_each(|pid| agent::kill(pid, 9));
                format!("a process on box {at} dies: {mortal:?}")
            }
            _ => {
                let run = json!({ "taskDefinition": "once" });
                let done = fleet.try_ecs("RunTask", &run).is_ok();
                format!("a task is wanted: {done}")
            }
        };
        told.push(format!("{:>5.1} s  {what}", begun.elapsed().as_secs_f32()));
        // The script's own pace.
        std::thread::sleep(Duration::from_millis(300 + number(dice, 2500)));
    }
    for at in 0..BOXES {
        fleet.cables.mend(at);
    }
    told
}

#[test]
fn three_boxes_come_through_a_storm() {
    if !possible() {
        return;
    }
    let mut dice = seed();
    let mut fleet = Fleet::start();
    let register = |family: &str, container: Value| {
        let definition = json!({
            "family": family, "networkMode": "none", "containerDefinitions": [container]
        });
        fleet.ecs("RegisterTaskDefinition", &definition);
    };
    register("steady", container("main"));
    register("alone", container("main"));
    let mut mortal = container("main");
    mortal["command"] = json!(["sh", "-c", "echo started; exec sleep 99999"]);
    register("moving", mortal);
    let mut once = container("main");
    once["command"] = json!(["sh", "-c", "echo started; sleep 5"]);
    register("once", once);
    let create = |name: &str, input: Value| {
        let mut service = json!({ "serviceName": name, "taskDefinition": name });
        service.as_object_mut().unwrap().extend(input.as_object().unwrap().clone());
        fleet.ecs("CreateService", &service);
    };
    create("steady", json!({ "schedulingStrategy": "DAEMON" }));
    let keep = json!([{ "key": "coracle.when-disconnected", "value": "keep" }]);
    create("moving", json!({ "desiredCount": 3, "tags": keep }));
    fleet.ecs("RunTask", &json!({ "taskDefinition": "alone", "count": 2 }));
    let at_hub = |fleet: &Fleet, group: &str| {
        running(&fleet.tasks(&fleet.hub_socket()).unwrap_or_default(), group)
    };
    fleet.until("all runs", |fleet| {
        at_hub(fleet, "service:steady").len() == BOXES
            && at_hub(fleet, "service:moving").len() == 3
            && at_hub(fleet, "family:alone").len() == 2
    });
    let untouched = |fleet: &Fleet| {
        let mut all = at_hub(fleet, "service:steady");
        all.extend(at_hub(fleet, "family:alone"));
        all
    };
    let before = untouched(&fleet);

    let told = rage(&mut fleet, &mut dice);
    println!("{}", told.join("\n"));

    fleet.until("the hub answers", |fleet| fleet.try_ecs("ListClusters", &json!({})).is_ok());
    fleet.until("all are connected", |fleet| fleet.connected() == BOXES);
    let moving = |fleet: &Fleet| {
        let shown = fleet.ecs("DescribeServices", &json!({ "services": ["moving"] }));
        shown["services"][0].clone()
    };
    fleet.until("the service is as it should be", |fleet| {
        let moving = moving(fleet);
        moving["runningCount"] == moving["desiredCount"]
            && moving["pendingCount"] == 0
            && moving["deployments"].as_array().unwrap().len() == 1
    });
    let once_ended = |fleet: &Fleet| at_hub(fleet, "family:once").is_empty();
    fleet.until("what runs once has ended", once_ended);
    fleet.until("hub and boxes agree", |fleet| {
        let differences = differences(fleet);
        if !differences.is_empty() {
            println!("{differences:?}");
        }
        differences.is_empty()
    });

    assert_eq!(untouched(&fleet), before, "something was started again\n{}", fleet.logs());
    let all = fleet.tasks(&fleet.hub_socket()).unwrap();
    // Each task has said once that it started, and the boxes run what is recorded and nothing else.
    let mut recorded = 0;
    for (at, host) in fleet.boxes.iter().enumerate() {
        let tasks = fleet.tasks(&fleet.box_socket(at)).unwrap();
        recorded += tasks.values().filter(|task| task["lastStatus"] == "RUNNING").count();
        let alive = host.container_pids().len();
        let running = tasks.values().filter(|task| task["lastStatus"] == "RUNNING").count();
        assert_eq!(alive, running, "box {at}");
        for (id, task) in &tasks {
            let said = host.cli(&["logs", id]);
            let starts = said.matches("started").count();
            assert!(starts <= 1, "task {id} was started {starts} times: {task}");
        }
    }
    let at_hub = all.values().filter(|task| task["lastStatus"] == "RUNNING").count();
    assert_eq!(recorded, at_hub);
}
