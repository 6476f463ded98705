//! `cpu`, `memory`, `memoryReservation`, `maxSwap`, `swappiness`, `ulimits`: read back where the kernel keeps them.

use super::{Agent, Host, register, run, run_task, shell, with};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// What stands in a file of a task's group, or of one of its containers': the file of v1 or that of v2.
fn limit(host: &Host, group: &str, v1: &str, v2: &str) -> String {
    let (controller, file) = v1.split_once('/').unwrap();
    let root = Path::new("/sys/fs/cgroup");
    let paths: [PathBuf; 2] = [
        root.join(controller).join(&host.cgroup_parent).join(group).join(file),
        root.join(&host.cgroup_parent).join(group).join(v2),
    ];
    let found = paths.iter().find_map(|path| fs::read_to_string(path).ok());
    found.unwrap_or_else(|| panic!("{paths:?}")).trim().to_owned()
}

fn is_v1() -> bool {
    Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists()
}

fn accounts_swap() -> bool {
    Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists() || !is_v1()
}

/// Runs a task that lasts and returns its id.
fn running(agent: &Agent<'_>, family: &str, task: Value) -> String {
    let arn = agent.run(&register(agent, family, task));
    agent.wait(&arn, "RUNNING");
    arn.rsplit('/').next().unwrap().to_owned()
}

#[test]
fn limits_stand_at_the_container_and_at_the_task() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let lasting = |members: Value| with(shell("exec sleep 1000"), members);
    let task = running(
        &agent,
        "limits",
        json!({
            "cpu": "256", "memory": "256",
            "containerDefinitions": [
                lasting(json!({"name": "a", "cpu": 128, "memory": 64, "memoryReservation": 32})),
                lasting(json!({"name": "b", "cpu": 64, "memory": 48, "linuxParameters": {"maxSwap": 0}})),
                lasting(json!({"name": "c", "memory": 40, "linuxParameters": {"maxSwap": 100, "swappiness": 30}})),
                lasting(json!({"name": "d", "memory": 40, "linuxParameters": {"swappiness": 31}})),
            ],
        }),
    );
    let of = |name: &str, v1: &str, v2: &str| limit(&host, &format!("{task}/{name}"), v1, v2);
    let mib = |n: u64| (n << 20).to_string();
    assert_eq!(limit(&host, &task, "memory/memory.limit_in_bytes", "memory.max"), mib(256));
    let quota = limit(&host, &task, "cpu/cpu.cfs_quota_us", "cpu.max");
    assert!(quota == "25000" || quota == "25000 100000", "{quota}");
    let shares = limit(&host, &task, "cpu/cpu.shares", "cpu.weight");
    assert!(["256", "10"].contains(&&*shares), "{shares}");

    assert_eq!(of("a", "memory/memory.limit_in_bytes", "memory.max"), mib(64));
    assert_eq!(of("a", "memory/memory.soft_limit_in_bytes", "memory.low"), mib(32));
    assert!(["128", "5"].contains(&&*of("a", "cpu/cpu.shares", "cpu.weight")));
    assert!(["64", "3"].contains(&&*of("b", "cpu/cpu.shares", "cpu.weight")));
    assert!(["2", "1"].contains(&&*of("c", "cpu/cpu.shares", "cpu.weight")));
    assert_eq!(of("a", "pids/pids.max", "pids.max"), "4096");

    if accounts_swap() {
        // v1 counts both together, v2 swap alone.
        let swap = |name: &str, memory: u64, swap: u64| {
            let found = of(name, "memory/memory.memsw.limit_in_bytes", "memory.swap.max");
            assert_eq!(found, mib(if is_v1() { memory + swap } else { swap }), "{name}");
        };
        swap("b", 48, 0);
        swap("c", 40, 100);
        // As Docker: as much as there is memory.
        swap("a", 64, 64);
    }
    if is_v1() {
        let inherited = fs::read_to_string("/sys/fs/cgroup/memory/memory.swappiness").unwrap();
        assert_eq!(of("c", "memory/memory.swappiness", "-"), "30");
        // Without maxSwap it does not count.
        assert_eq!(of("d", "memory/memory.swappiness", "-"), inherited.trim());
    } else {
        assert!(host.log().contains("swappiness has no effect"), "{}", host.log());
    }
    assert_eq!(host.log().contains("does not account swap"), !accounts_swap());
}

#[test]
fn limits_are_overridden_and_validated() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let definition =
        register(&agent, "overridden", json!({"containerDefinitions": [shell("exec sleep 1000")]}));
    let answer = agent.ok("RunTask", &json!({
        "taskDefinition": definition,
        "overrides": {"cpu": "512", "memory": "128", "containerOverrides": [{"name": "main", "cpu": 99, "memory": 50, "memoryReservation": 20}]},
    }));
    let arn = answer["tasks"][0]["taskArn"].as_str().unwrap();
    agent.wait(arn, "RUNNING");
    let task = arn.rsplit('/').next().unwrap();
    let main = format!("{task}/main");
    assert_eq!(
        limit(&host, task, "memory/memory.limit_in_bytes", "memory.max"),
        (128 << 20).to_string()
    );
    assert_eq!(
        limit(&host, &main, "memory/memory.limit_in_bytes", "memory.max"),
        (50 << 20).to_string()
    );
    assert_eq!(
        limit(&host, &main, "memory/memory.soft_limit_in_bytes", "memory.low"),
        (20 << 20).to_string()
    );
    assert!(limit(&host, task, "cpu/cpu.cfs_quota_us", "cpu.max").starts_with("50000"));

    for (members, names) in [
        (json!({"linuxParameters": {"maxSwap": -1}}), "maxSwap"),
        (json!({"linuxParameters": {"swappiness": 101}}), "swappiness"),
        (
            json!({"memory": null, "memoryReservation": 16, "linuxParameters": {"maxSwap": 1}}),
            "maxSwap",
        ),
    ] {
        let mut container = with(shell("true"), members);
        container.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let input = json!({"family": "refused", "containerDefinitions": [container]});
        let error = agent.call("RegisterTaskDefinition", &input).unwrap_err();
        assert!(error.message.contains(names), "{error:?}");
    }
}

#[test]
fn memory_without_swap_ends_at_its_limit() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let hog = "x=a; while :; do x=$x$x; done";
    let container = with(shell(hog), json!({"memory": 16, "linuxParameters": {"maxSwap": 0}}));
    let ended = run(&agent, "hog", container);
    assert_eq!(ended.exit_code(), 137);
    assert!(ended.reason().starts_with("OutOfMemoryError"), "{:#}", ended.task);
}

/// Every name, and the line of `/proc/<pid>/limits` that shows it.
const ULIMITS: [(&str, &str); 15] = [
    ("core", "Max core file size"),
    ("cpu", "Max cpu time"),
    ("data", "Max data size"),
    ("fsize", "Max file size"),
    ("locks", "Max file locks"),
    ("memlock", "Max locked memory"),
    ("msgqueue", "Max msgqueue size"),
    ("nice", "Max nice priority"),
    ("nofile", "Max open files"),
    ("nproc", "Max processes"),
    ("rss", "Max resident set"),
    ("rtprio", "Max realtime priority"),
    ("rttime", "Max realtime timeout"),
    ("sigpending", "Max pending signals"),
    ("stack", "Max stack size"),
];

/// The soft and the hard limit in a text like `/proc/<pid>/limits`.
fn shown<'a>(limits: &'a str, label: &str) -> (&'a str, &'a str) {
    let line = limits.lines().find_map(|line| line.strip_prefix(label));
    let mut words = line.unwrap_or_else(|| panic!("{label} in {limits}")).split_whitespace();
    (words.next().unwrap(), words.next().unwrap())
}

#[test]
fn every_ulimit_is_set() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let own = fs::read_to_string("/proc/self/limits").unwrap();
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    // Small enough for any box, large enough for a shell.
    let (mut limits, mut expected) = (Vec::new(), Vec::new());
    for (name, label) in ULIMITS {
        let most = number(shown(&own, label).1);
        let (soft, hard) = match name {
            "data" | "fsize" | "stack" => (64 << 20, 128 << 20),
            "nofile" | "nproc" | "cpu" | "sigpending" => (100, 200),
            _ => (most.min(1), most.min(2)),
        };
        limits.push(json!({"name": name, "softLimit": soft, "hardLimit": hard}));
        expected.push((label, soft.to_string(), hard.to_string()));
    }
    let ended =
        run(&agent, "ulimits", with(shell("cat /proc/self/limits"), json!({"ulimits": limits})));
    let text = ended.text("main");
    for (label, soft, hard) in expected {
        assert_eq!(shown(&text, label), (&*soft, &*hard), "{label}");
    }

    // -1 is unlimited: taken where this box may, else refused by name.
    let can_raise = caps_has_resource();
    for (name, label) in [
        ("core", "Max core file size"),
        ("memlock", "Max locked memory"),
        ("nofile", "Max open files"),
    ] {
        let unlimited = json!({"ulimits": [{"name": name, "softLimit": -1, "hardLimit": -1}]});
        let ended = run(&agent, "unlimited", with(shell("cat /proc/self/limits"), unlimited));
        let allowed = name != "nofile" && (can_raise || shown(&own, label).1 == "unlimited");
        if allowed {
            assert_eq!(shown(&ended.text("main"), label), ("unlimited", "unlimited"), "{name}");
        } else {
            assert!(ended.reason().contains(&format!("ulimit {name}")), "{name}: {:#}", ended.task);
        }
    }

    for (ulimit, names) in [
        (json!({"name": "files", "softLimit": 1, "hardLimit": 1}), "UlimitName"),
        (json!({"name": "nofile", "softLimit": 2, "hardLimit": 1}), "nofile"),
        (json!({"name": "nofile", "softLimit": -1, "hardLimit": 1}), "nofile"),
        (json!({"name": "nofile", "softLimit": -2, "hardLimit": 1}), "nofile"),
    ] {
        let container = with(shell("true"), json!({"ulimits": [ulimit]}));
        let input = json!({"family": "refused", "containerDefinitions": [container]});
        let error = agent.call("RegisterTaskDefinition", &input).unwrap_err();
        assert!(error.message.contains(names), "{error:?}");
    }
}

fn caps_has_resource() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    u64::from_str_radix(super::status(&status, "CapEff"), 16).unwrap() & (1 << 24) != 0
}

#[test]
fn a_limit_on_processes_holds_for_the_container_alone() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    // As many at once as the group may have, and one more.
    let script = "n=0; while [ $n -lt 30 ]; do sleep 1000 & n=$((n+1)); done 2>&1; echo started";
    let limited = with(
        shell(script),
        json!({"user": "4242", "ulimits": [{"name": "nproc", "softLimit": 10, "hardLimit": 10}]}),
    );
    let ended = run_task(
        &agent,
        "nproc",
        json!({"containerDefinitions": [
        limited, with(shell("n=0; while [ $n -lt 20 ]; do sleep 0.1 & n=$((n+1)); done; wait; echo all"),
            json!({"name": "other", "user": "4243", "essential": false}))]}),
    );
    assert!(
        ended.text("main").contains("Resource temporarily unavailable"),
        "{}",
        ended.text("main")
    );
}
