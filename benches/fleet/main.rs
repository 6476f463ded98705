//! What a fleet costs: a real `coracle hub` with its mosquitto, and boxes that are made up, all of them in this process.
//!
//! ```text
//! fleet_bench ── RegisterTaskDefinition, CreateService, StartTask ──► coracle hub ◄──► mosquitto
//!      └── 5,000 boxes: join, TLS, MQTT, signatures, reports, events ────────────────────┘
//! ```
//!
//! A made-up box joins with a real token, gets a real certificate, keeps a TLS connection of its own, verifies what it is
//! sent and is driven by the planner of a real box; only its containers are made up, they start and stop at once, and
//! nothing is written to a disk. MQTT is 3.1.1 by rumqttc's codec, and the pace that of `fleet/device`: a report a second at
//! most, one in 40 to 60 s when nothing changes, full jitter between attempts to connect.
//!
//! `cargo run --release --example fleet_bench -- [--devices N] [--idle SECONDS] [--singles N] [--coracle PATH]`, as root in a
//! network namespace of its own when the bytes are to count:
//! `unshare --net sh -c 'ip link set lo up; exec target/release/examples/fleet_bench'`.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::missing_panics_doc,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement with a clock of its own, which prints its numbers and may end by panicking"
)]

mod device;
mod drive;
mod hub;
mod numbers;
mod wire;

use drive::{Fleet, News, What};
use hub::Hub;
use numbers::{Times, usage};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long anything may take before the bench gives up.
const PATIENCE: Duration = Duration::from_mins(10);

struct Options {
    devices: usize,
    idle: Duration,
    singles: usize,
    coracle: PathBuf,
}

fn options() -> Options {
    let beside = std::env::current_exe().unwrap();
    let beside = beside.parent().and_then(|examples| examples.parent()).unwrap().join("coracle");
    let mut options =
        Options { devices: 5000, idle: Duration::from_mins(5), singles: 200, coracle: beside };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().unwrap_or_else(|| panic!("{name} has no value"));
        match name.as_str() {
            "--devices" => options.devices = value.parse().unwrap(),
            "--idle" => options.idle = Duration::from_secs(value.parse().unwrap()),
            "--singles" => options.singles = value.parse().unwrap(),
            "--coracle" => options.coracle = value.into(),
            _ => panic!("{name} is no option"),
        }
    }
    options
}

fn main() {
    let options = options();
    let devices = options.devices;
    println!("{devices} boxes");
    let hub = Hub::start(&options.coracle);
    tell_weight("with no box", &hub, None);

    let begin = Instant::now();
    let (fleet, news) = Fleet::join(&hub, devices);
    println!("joined, TLS certificates and all: {:.1} s", begin.elapsed().as_secs_f64());
    let mut watch = Watch { news, devices };
    let connected = watch.all(Instant::now(), |what| matches!(what, What::Connected));
    println!("the last connected {:.1} s after the last joined", connected.largest());
    hub.wait_connected(devices);
    tell_weight("all connected, nothing to run", &hub, Some(devices));

    // One service on all boxes.
    let revision = hub.register_probe("one");
    let begin = Instant::now();
    hub.ecs(
        "CreateService",
        &json!({"serviceName": "all", "taskDefinition": "probe", "schedulingStrategy": "DAEMON",
            "deploymentConfiguration": {"minimumHealthyPercent": 0, "maximumPercent": 100}}),
    );
    let accepted = begin.elapsed();
    tell("a new service on all boxes", &watch.applied(begin, revision), accepted);
    hub.wait_running(devices);
    println!("  the hub knows of the last: {:.2} s", begin.elapsed().as_secs_f64());
    hub.wait_settled();

    for round in ["two", "three"] {
        let revision = hub.register_probe(round);
        let begin = Instant::now();
        let (cpu_hub, cpu_broker) = (hub.cpu(), hub.broker_cpu());
        hub.ecs("UpdateService", &json!({"service": "all", "taskDefinition": "probe"}));
        let accepted = begin.elapsed();
        tell("the service changed on all boxes", &watch.applied(begin, revision), accepted);
        hub.wait_running(devices);
        println!(
            "  the hub knows of the last: {:.2} s; processor time: hub {:.2} s, broker {:.2} s",
            begin.elapsed().as_secs_f64(),
            hub.cpu().saturating_sub(cpu_hub).as_secs_f64(),
            hub.broker_cpu().saturating_sub(cpu_broker).as_secs_f64(),
        );
        hub.wait_settled();
    }

    single(&hub, &fleet, &mut watch, options.singles);
    idle(&hub, &fleet, options.idle);
    storm(&hub, &mut watch);
    tell_weight("after the storm", &hub, Some(devices));
    hub.stop();
}

/// One box is changed, and the others are not; many times.
fn single(hub: &Hub, fleet: &Fleet, watch: &mut Watch, count: usize) {
    let mut times = Times::default();
    for at in 0..count {
        let device = at * 7919 % fleet.ids.len();
        let begin = Instant::now();
        let answer = hub.ecs(
            "StartTask",
            &json!({"taskDefinition": "probe", "containerInstances": [fleet.ids[device].as_str()]}),
        );
        assert_eq!(answer["failures"], json!([]), "{answer}");
        times.push(watch.applied_on(device, begin));
    }
    tell("one box changed", &times, Duration::ZERO);
}

/// Nothing changes.
fn idle(hub: &Hub, fleet: &Fleet, time: Duration) {
    let devices = fleet.ids.len() as f64;
    // What the changes left over is over.
    std::thread::sleep(Duration::from_secs(70));
    let (bytes, packets) = numbers::loopback();
    let (hub_cpu, broker_cpu) = (hub.cpu(), hub.broker_cpu());
    let begin = Instant::now();
    std::thread::sleep(time);
    let seconds = begin.elapsed().as_secs_f64();
    let (bytes_after, packets_after) = numbers::loopback();
    let bytes = (bytes_after - bytes) as f64 / devices / seconds * 86_400.0;
    let packets = (packets_after - packets) as f64 / devices / seconds * 86_400.0;
    println!("nothing changes, {seconds:.0} s:");
    println!(
        "  {:.0} KB and {packets:.0} IP packets a box and day, headers of IP and TCP included",
        bytes / 1e3
    );
    for (who, before, after) in
        [("hub", hub_cpu, hub.cpu()), ("broker", broker_cpu, hub.broker_cpu())]
    {
        let share = after.saturating_sub(before).as_secs_f64() / seconds;
        println!(
            "  {who}: {:.2} % of a core, {:.1} ms of processor time a box and hour",
            share * 100.0,
            share / devices * 3600.0 * 1000.0,
        );
    }
    tell_weight("idle", hub, Some(fleet.ids.len()));
}

/// The broker is killed, and something changes while it is away.
fn storm(hub: &Hub, watch: &mut Watch) {
    let revision = hub.register_probe("storm");
    let (cpu_hub, begin) = (hub.cpu(), Instant::now());
    hub.kill_broker();
    hub.ecs("UpdateService", &json!({"service": "all", "taskDefinition": "probe"}));
    let (mut connected, mut applied) = (Times::default(), Times::default());
    let (mut awaited, mut unchanged) = (watch.everybody(), watch.everybody());
    while !(awaited.is_empty() && unchanged.is_empty()) {
        let news = watch.next();
        let Some(after) = news.at.checked_duration_since(begin) else { continue };
        match news.what {
            What::Connected if awaited.remove(&news.device) => connected.push(after),
            What::Applied(now) if now == revision && unchanged.remove(&news.device) => {
                applied.push(after);
            }
            _ => {}
        }
    }
    println!("the broker killed, and a service changed while it was away:");
    println!("  connected again: {}", connected.line());
    println!("  at most {} connections in a second", connected.busiest_second());
    println!("  changed: {}", applied.line());
    hub.wait_running(watch.devices);
    hub.wait_connected(watch.devices);
    println!(
        "  the hub knows of all: {:.1} s after the kill; its processor time: {:.2} s",
        begin.elapsed().as_secs_f64(),
        hub.cpu().saturating_sub(cpu_hub).as_secs_f64(),
    );
}

fn tell(what: &str, times: &Times, accepted: Duration) {
    println!("{what}: {} (accepted after {:.0} ms)", times.line(), accepted.as_secs_f64() * 1e3);
}

fn tell_weight(when: &str, hub: &Hub, devices: Option<usize>) {
    let (own, broker) = (usage(hub.pid()), usage(hub.broker()));
    println!("memory {when}: hub {:.1} MiB, broker {:.1} MiB", own.mib(), broker.mib());
    if let Some(devices) = devices {
        let each = |kib: u64| kib as f64 / devices as f64;
        println!(
            "  {:.1} KiB of the hub and {:.1} KiB of the broker a box",
            each(own.pss),
            each(broker.pss)
        );
    }
}

/// Hears what becomes of the boxes.
struct Watch {
    news: Receiver<News>,
    devices: usize,
}

impl Watch {
    fn everybody(&self) -> BTreeSet<usize> {
        (0..self.devices).collect()
    }

    fn next(&mut self) -> News {
        match self.news.recv_timeout(PATIENCE) {
            Ok(News { what: What::Failed(why), device, .. }) => panic!("box {device}: {why}"),
            Ok(news) => news,
            Err(RecvTimeoutError::Timeout) => panic!("nothing happens"),
            Err(RecvTimeoutError::Disconnected) => panic!("the boxes are gone"),
        }
    }

    /// When each box was first told of so, from `begin`.
    fn all(&mut self, begin: Instant, is: impl Fn(&What) -> bool) -> Times {
        let mut awaited = self.everybody();
        let mut times = Times::default();
        while !awaited.is_empty() {
            let news = self.next();
            if is(&news.what) && awaited.remove(&news.device) {
                times.push(news.at.saturating_duration_since(begin));
            }
        }
        times
    }

    fn applied(&mut self, begin: Instant, revision: u32) -> Times {
        self.all(begin, |what| matches!(what, What::Applied(now) if *now == revision))
    }

    fn applied_on(&mut self, device: usize, begin: Instant) -> Duration {
        loop {
            let news = self.next();
            let after = news.at.checked_duration_since(begin);
            if let (true, What::Applied(_), Some(after)) = (news.device == device, news.what, after)
            {
                return after;
            }
        }
    }
}
