//! What planning costs in a large fleet: `cargo run --release --example plan_bench [INSTANCES [TASKS]]`.
//!
//! A made-up fleet, with nothing below the pure core: no store, no API. First it is filled by RunTask, then single tasks
//! are placed in the full fleet, each by another strategy. A placement is one RunTask: the search, its assignment, and
//! the index that is kept in step. Then the same for services (`services`): what the cluster planner costs when all of them
//! are new, when nothing is to be done, and after one change in a small and in a large fleet.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::disallowed_methods,
    clippy::needless_for_each,
    clippy::needless_pass_by_value,
    clippy::unused_self,
    reason = "a measurement, of small numbers, with a clock of its own"
)]
#![allow(clippy::print_stdout, reason = "a bench prints its numbers")]
#![allow(clippy::unwrap_used, reason = "a bench may end by panicking")]
#![allow(clippy::cast_precision_loss, reason = "rates are rounded")]

mod fleet;
mod services;

use fleet::{Fleet, rule};
use std::time::{Duration, Instant};

/// Single placements of each kind.
const SINGLE: usize = 2_000;

fn main() {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<usize>().unwrap());
    let instances = numbers.next().unwrap_or(5_000);
    let tasks = numbers.next().unwrap_or(50_000);
    println!("{instances} instances, {tasks} tasks");

    let before = resident();
    let mut fleet = Fleet::default();
    let registering = timed(|| (0..instances).for_each(|number| fleet.register(number)));
    tell("RegisterContainerInstance", instances, registering);

    let (mut placing, mut running, mut placed) = (Duration::ZERO, Duration::ZERO, 0);
    while placed < tasks {
        let count = (tasks - placed).min(10);
        let family = fleet::FAMILIES[placed / 10 % fleet::FAMILIES.len()];
        placing += timed(|| fleet.run(fleet.task(family, count)));
        running += timed(|| fleet.settle());
        placed += count;
    }
    tell("RunTask by tens into the empty fleet", tasks, placing);
    tell("its tasks made up until they are RUNNING", tasks, running);
    println!("{:<58}{:>10} MiB", "memory of the world", (resident() - before) / 1024);

    for (what, rules) in [
        ("no strategy", vec![]),
        ("spread over instanceId", vec![rule("spread", "instanceId")]),
        (
            "spread over a zone, then instanceId",
            vec![rule("spread", "attribute:zone"), rule("spread", "instanceId")],
        ),
        (
            "spread over a zone, then binpack on memory",
            vec![rule("spread", "attribute:zone"), rule("binpack", "memory")],
        ),
        ("binpack on memory", vec![rule("binpack", "memory")]),
        ("binpack on cpu", vec![rule("binpack", "cpu")]),
        ("random", vec![rule("random", "")]),
    ] {
        let mut run = fleet.task("probe", 1);
        run.placement_strategy = rules;
        run.group = Some(what.to_owned());
        single(&mut fleet, what, &run);
    }
    let mut run = fleet.task("probe", 1);
    run.placement_constraints =
        vec![fleet::member_of("attribute:site == site-7 and attribute:zone exists")];
    single(&mut fleet, "memberOf one instance in a hundred", &run);
    let mut run = fleet.task("probe", 1);
    run.placement_constraints = vec![fleet::distinct()];
    run.group = Some("distinct".to_owned());
    let each = SINGLE.min(instances / 2);
    let time = timed(|| (0..each).for_each(|_| fleet.run(run.clone())));
    tell("RunTask in the full fleet: distinctInstance", each, time);

    let refused =
        timed(|| (0..20).for_each(|_| assert_eq!(fleet.failures("huge"), instances.min(1000))));
    tell("RunTask that fits nowhere, with failures[]", 20, refused);
    drop(fleet);
    println!();
    services::measure(instances / 10, tasks / 10);
    println!();
    services::measure(instances, tasks);
}

fn single(fleet: &mut Fleet, what: &str, run: &coracle::plan::command::RunTask) {
    let time = timed(|| (0..SINGLE).for_each(|_| fleet.run(run.clone())));
    tell(&format!("RunTask in the full fleet: {what}"), SINGLE, time);
}

pub(crate) fn timed(work: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    work();
    begin.elapsed()
}

pub(crate) fn tell(what: &str, count: usize, time: Duration) {
    let each = time.as_secs_f64() / count as f64;
    println!("{what:<58}{:>10.1} µs each {:>9.0} a second", each * 1e6, 1.0 / each);
}

/// Resident memory in KiB.
pub(crate) fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
