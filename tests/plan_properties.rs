//! Properties of the pure core over random commands, faults, crashes, power cuts and clock steps in virtual time.
//!
//! [`Node`] checks after every single step: no broken invariant, no status that goes back within a generation, no change
//! that changes nothing, no action that is in flight already, rest after a bounded number of rounds. Its box refuses to
//! run one container twice, or a run that was started before. Every crash puts all records through JSON.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod node;

use coracle::model::task::TaskOverride;
use coracle::model::task_definition::{
    ContainerDefinition, ContainerDependency, HealthCheck, PortMapping, RestartPolicy,
    TaskDefinitionContent,
};
use coracle::model::{
    ClusterName, ContainerStatus, DesiredStatus, Family, Revision, TaskDefinitionRef, TaskStatus,
};
use coracle::plan::command::RunTask;
use coracle::plan::world::PullBehavior;
use coracle::plan::{Command, Reply, instance};
use node::{Node, digest_of};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use std::time::Duration;

/// The containers that the definitions are made of.
const CONTAINERS: [&str; 5] = ["app", "side", "init", "db", "job"];
const IMAGES: [&str; 2] = ["near", "far"];
/// In minutes: a box without a battery jumps by decades.
const YEAR: i64 = 365 * 24 * 60;
const FAMILIES: [&str; 6] = ["lone", "pair", "waits", "healthy", "chain", "returns"];

#[derive(Debug, Clone)]
enum Op {
    Run { family: usize, count: u32, token: Option<u8> },
    Stop { task: usize },
    Advance { ms: u64 },
    Exit { run: usize, code: i32, out_of_memory: bool },
    LoseShim { task: usize },
    Crash { rebooted: bool, power_cut: bool, run_before_scan: bool, down_ms: u64 },
    Clock { minutes: i64, told: bool },
    TellAgain { observation: usize },
    Register { family: usize },
    Deregister { family: usize, revision: u32 },
    Delete { family: usize, revision: u32 },
    PullFails { image: usize, fails: bool },
    StartFails { container: usize, fails: bool },
    IgnoresStop { container: usize, ignores: bool },
    Answers { container: usize, code: Option<i32> },
    Exits { container: usize, after_ms: u64, code: i32 },
    Pulls { behavior: usize },
    Box { change: BoxChange },
}

/// What becomes of the box as a container instance.
#[derive(Debug, Clone, Copy)]
enum BoxChange {
    Drains,
    IsActive,
    Leaves { force: bool },
    ComesBack,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (0..FAMILIES.len(), 1..4_u32, proptest::option::weighted(0.2, 0..3_u8))
            .prop_map(|(family, count, token)| Op::Run { family, count, token }),
        4 => (0..20_usize).prop_map(|task| Op::Stop { task }),
        8 => prop_oneof![0..20_u64, 500..3000_u64, 10_000..60_000_u64]
            .prop_map(|ms| Op::Advance { ms }),
        3 => (0..20_usize, prop_oneof![Just(0), Just(1), Just(139)], any::<bool>())
            .prop_map(|(run, code, out_of_memory)| Op::Exit { run, code, out_of_memory }),
        1 => (0..20_usize).prop_map(|task| Op::LoseShim { task }),
        3 => (any::<bool>(), any::<bool>(), any::<bool>(), 0..20_000_u64).prop_map(
            |(rebooted, power_cut, run_before_scan, down_ms)| Op::Crash {
                rebooted,
                power_cut,
                run_before_scan,
                down_ms
            }
        ),
        2 => (prop_oneof![-3000..3000_i64, -70 * YEAR..70 * YEAR], any::<bool>())
            .prop_map(|(minutes, told)| Op::Clock { minutes, told }),
        2 => (0..100_usize).prop_map(|observation| Op::TellAgain { observation }),
        1 => (0..FAMILIES.len()).prop_map(|family| Op::Register { family }),
        1 => (0..FAMILIES.len(), 1..4_u32)
            .prop_map(|(family, revision)| Op::Deregister { family, revision }),
        1 => (0..FAMILIES.len(), 1..4_u32)
            .prop_map(|(family, revision)| Op::Delete { family, revision }),
        1 => (0..IMAGES.len(), any::<bool>())
            .prop_map(|(image, fails)| Op::PullFails { image, fails }),
        1 => (0..CONTAINERS.len(), any::<bool>())
            .prop_map(|(container, fails)| Op::StartFails { container, fails }),
        1 => (0..CONTAINERS.len(), any::<bool>())
            .prop_map(|(container, ignores)| Op::IgnoresStop { container, ignores }),
        1 => (0..CONTAINERS.len(), prop_oneof![Just(None), Just(Some(0)), Just(Some(1))])
            .prop_map(|(container, code)| Op::Answers { container, code }),
        1 => (0..CONTAINERS.len(), 0..5000_u64, prop_oneof![Just(0), Just(3)])
            .prop_map(|(container, after_ms, code)| Op::Exits { container, after_ms, code }),
        1 => (0..4_usize).prop_map(|behavior| Op::Pulls { behavior }),
        2 => prop_oneof![
            Just(BoxChange::Drains),
            Just(BoxChange::IsActive),
            any::<bool>().prop_map(|force| BoxChange::Leaves { force }),
            Just(BoxChange::ComesBack),
        ]
        .prop_map(|change| Op::Box { change }),
    ];
    proptest::collection::vec(op, 1..60)
}

fn container(
    name: &str,
    image: &str,
    essential: bool,
    after: &[(&str, &str)],
) -> ContainerDefinition {
    ContainerDefinition {
        name: Some(name.to_owned()),
        image: Some(image.to_owned()),
        memory: Some(32),
        essential: Some(essential),
        depends_on: Some(
            after
                .iter()
                .map(|(name, condition)| ContainerDependency {
                    container_name: Some((*name).to_owned()),
                    condition: Some((*condition).to_owned()),
                })
                .collect(),
        ),
        ..ContainerDefinition::default()
    }
}

fn content(family: &str) -> TaskDefinitionContent {
    let containers = match family {
        "lone" => vec![ContainerDefinition {
            stop_timeout: Some(3),
            port_mappings: Some(vec![PortMapping {
                container_port: Some(8080),
                ..PortMapping::default()
            }]),
            ..container("app", "near", true, &[])
        }],
        "pair" => vec![
            container("app", "near", true, &[("side", "START")]),
            container("side", "far", false, &[]),
        ],
        "waits" => vec![
            ContainerDefinition { start_timeout: Some(4), ..container("init", "near", false, &[]) },
            container("job", "far", false, &[("init", "COMPLETE")]),
            container("app", "near", true, &[("init", "SUCCESS")]),
        ],
        "healthy" => vec![
            ContainerDefinition {
                health_check: Some(HealthCheck {
                    command: Some(vec!["CMD".to_owned(), "check".to_owned()]),
                    interval: Some(5),
                    retries: Some(2),
                    ..HealthCheck::default()
                }),
                ..container("db", "near", true, &[])
            },
            container("app", "far", true, &[("db", "HEALTHY")]),
        ],
        "returns" => vec![
            ContainerDefinition {
                restart_policy: Some(RestartPolicy {
                    enabled: Some(true),
                    ignored_exit_codes: Some(vec![0]),
                    restart_attempt_period: Some(60),
                }),
                ..container("app", "near", true, &[("side", "START")])
            },
            container("side", "far", false, &[]),
        ],
        _ => vec![
            container("app", "near", true, &[("side", "START"), ("db", "START")]),
            container("side", "near", true, &[("db", "START")]),
            container("db", "far", true, &[]),
        ],
    };
    TaskDefinitionContent {
        family: Some(family.to_owned()),
        network_mode: Some("host".to_owned()),
        container_definitions: Some(containers),
        ..TaskDefinitionContent::default()
    }
}

fn register(node: &mut Node, family: usize) {
    let registered = node.submit(Command::RegisterTaskDefinition {
        content: Box::new(content(FAMILIES[family])),
        tags: Vec::new(),
        registered_by: None,
    });
    assert!(registered.is_ok(), "{registered:?}");
}

fn reference(family: usize, revision: u32) -> TaskDefinitionRef {
    TaskDefinitionRef {
        family: Family::new(FAMILIES[family]).unwrap(),
        revision: Revision(revision),
    }
}

fn run(family: usize, count: u32, token: Option<u8>) -> Command {
    Command::RunTask(Box::new(RunTask {
        cluster: ClusterName::default_cluster(),
        family: Family::new(FAMILIES[family]).unwrap(),
        revision: None,
        count,
        container_instances: None,
        overrides: TaskOverride::default(),
        placement_constraints: Vec::new(),
        placement_strategy: Vec::new(),
        capacity_provider_strategy: Vec::new(),
        group: None,
        started_by: None,
        launch_type: None,
        network: None,
        enable_execute_command: false,
        enable_ecs_managed_tags: false,
        propagate_tags_from_task_definition: false,
        tags: Vec::new(),
        client_token: token.map(|token| format!("token-{token}")),
    }))
}

/// What may be refused is; the node has checked that a refusal changes nothing.
fn may_refuse(node: &mut Node, command: Command) {
    let before = node.world.tasks.len();
    // The tasks of a request that came before may be forgotten by now.
    let repeats = matches!(&command, Command::RunTask(run) if run.client_token.is_some());
    if let Ok(Reply::Tasks { tasks, failures }) = node.submit(command) {
        assert!(tasks.iter().all(|id| node.world.tasks.contains_key(id)));
        assert!(node.world.tasks.len() <= before + tasks.len());
        assert!(!tasks.is_empty() || !failures.is_empty() || repeats);
    }
}

fn begin(seed: u64) -> Node {
    let mut node = Node::new(u128::from(seed));
    node.faults.local_images.insert("near".to_owned(), digest_of("near"));
    node.world.observed.images.clone_from(&node.faults.local_images);
    node.faults.exits.insert("init".to_owned(), (Duration::from_secs(1), 0, false));
    for family in 0..FAMILIES.len() {
        register(&mut node, family);
    }
    node
}

fn play(node: &mut Node, op: &Op) {
    match op.clone() {
        Op::Run { family, count, token } => may_refuse(node, run(family, count, token)),
        Op::Stop { task } => {
            let ids: Vec<_> = node.world.tasks.keys().cloned().collect();
            if let Some(id) = ids.get(task % ids.len().max(1)) {
                let cluster = ClusterName::default_cluster();
                let stop = Command::StopTask { cluster, task: id.clone(), reason: None };
                assert_eq!(node.submit(stop), Ok(Reply::Done));
                assert_eq!(node.world.tasks[id].desired_status, DesiredStatus::Stopped);
            }
        }
        Op::Advance { ms } => node.advance(Duration::from_millis(ms)),
        Op::Exit { run, code, out_of_memory } => {
            let alive: Vec<_> = node.ground.alive().cloned().collect();
            if let Some(run) = alive.get(run % alive.len().max(1)) {
                node.exit(run, code, out_of_memory);
            }
        }
        Op::LoseShim { task } => {
            let ids: Vec<_> = node.world.tasks.keys().cloned().collect();
            if let Some(id) = ids.get(task % ids.len().max(1)) {
                node.lose_shim(id, "killed by signal 9");
            }
        }
        Op::Crash { rebooted, power_cut, run_before_scan, down_ms } => {
            if power_cut {
                node.power_cut();
            } else {
                node.crash();
            }
            node.advance(Duration::from_millis(down_ms));
            if run_before_scan {
                may_refuse(node, run(0, 1, None));
            }
            node.scan(power_cut || rebooted);
        }
        Op::Clock { minutes, told } => node.set_clock(minutes * 60_000, told),
        Op::TellAgain { observation } => {
            let again = node.told.get(observation % node.told.len().max(1)).cloned();
            if let Some(observation) = again {
                node.observe(observation);
            }
        }
        Op::Register { family } => register(node, family),
        Op::Deregister { family, revision } => {
            may_refuse(node, Command::DeregisterTaskDefinition(reference(family, revision)));
        }
        Op::Delete { family, revision } => {
            may_refuse(node, Command::DeleteTaskDefinitions(vec![reference(family, revision)]));
        }
        Op::PullFails { image, fails } => {
            let (image, reason) = (IMAGES[image].to_owned(), "CannotPullContainerError: refused");
            if fails {
                node.faults.pull_fails.insert(image, reason.to_owned());
            } else {
                node.faults.pull_fails.remove(&image);
            }
        }
        Op::StartFails { container, fails } => {
            let name = CONTAINERS[container].to_owned();
            if fails {
                let reason = "CannotStartContainerError: refused".to_owned();
                node.faults.start_fails.insert(name, reason);
            } else {
                node.faults.start_fails.remove(&name);
            }
        }
        Op::IgnoresStop { container, ignores } => {
            let name = CONTAINERS[container].to_owned();
            if ignores {
                node.faults.ignores_stop.insert(name);
            } else {
                node.faults.ignores_stop.remove(&name);
            }
        }
        Op::Answers { container, code } => {
            node.faults.probes.insert(CONTAINERS[container].to_owned(), code);
        }
        Op::Exits { container, after_ms, code } => {
            let exit = (Duration::from_millis(after_ms), code, false);
            node.faults.exits.insert(CONTAINERS[container].to_owned(), exit);
        }
        Op::Pulls { behavior } => {
            node.world.settings.pull_behavior = [
                PullBehavior::Default,
                PullBehavior::Always,
                PullBehavior::Once,
                PullBehavior::PreferCached,
            ][behavior];
        }
        Op::Box { change } => change_box(node, change),
    }
}

fn change_box(node: &mut Node, change: BoxChange) {
    let cluster = ClusterName::default_cluster();
    let state = |draining| Command::UpdateContainerInstancesState {
        cluster: cluster.clone(),
        instances: vec![node::this_instance()],
        draining,
    };
    match change {
        BoxChange::Drains => may_refuse(node, state(true)),
        BoxChange::IsActive => may_refuse(node, state(false)),
        BoxChange::Leaves { force } => {
            let instance = node::this_instance();
            may_refuse(node, Command::DeregisterContainerInstance { cluster, instance, force });
        }
        BoxChange::ComesBack => node.register(2048, 1024),
    }
}

/// Once faults stop, every task comes to run or to an end; stopped, everything goes; forgotten, nothing is left.
fn converges(node: &mut Node) {
    let local = std::mem::take(&mut node.faults.local_images);
    node.faults = node::ground::Faults { local_images: local, ..Default::default() };
    node.faults.exits.insert("init".to_owned(), (Duration::from_secs(1), 0, false));
    node.advance(Duration::from_mins(3));
    for task in node.live() {
        assert_eq!(task.desired_status, DesiredStatus::Running, "{task:#?}\n{}", node.trace);
        assert_eq!(task.last_status, TaskStatus::Running, "{task:#?}\n{}", node.trace);
        // Whatever the clock did, nothing waits for longer than it was to wait at first.
        let waits = task.containers.iter().any(|c| c.last_status == ContainerStatus::Pending);
        assert!(!waits, "{task:#?}\n{}", node.trace);
    }
    assert_what_is_recorded_runs(node);
    assert_quiet(node);

    let live: Vec<_> = node.live().map(|task| task.id.clone()).collect();
    for task in live {
        let cluster = ClusterName::default_cluster();
        let stop = Command::StopTask { cluster, task, reason: Some("the end".to_owned()) };
        assert_eq!(node.submit(stop), Ok(Reply::Done));
    }
    node.advance(Duration::from_mins(2));
    assert_eq!(node.live().count(), 0, "{}", node.trace);
    assert!(node.world.assignments.is_empty());
    assert!(node.ground.is_bare(), "something is left on the box\n{}", node.trace);
    assert_quiet(node);

    // Much longer than anything is kept, and much less than what the clock was set by.
    node.advance(Duration::from_hours(24 * 365));
    assert!(node.world.tasks.is_empty(), "{}", node.trace);
    assert!(node.world.client_tokens.is_empty());
    assert!(node.world.index.deleting.is_empty(), "a deleted definition stays");
    assert!(node.ground.logs().is_empty(), "logs are left\n{}", node.trace);
    assert!(node.world.observed.orphans.is_empty());
    assert_quiet(node);
}

/// The box runs exactly what the records say.
fn assert_what_is_recorded_runs(node: &Node) {
    let recorded: Vec<_> = node
        .live()
        .flat_map(|task| &task.containers)
        .filter(|container| container.last_status == ContainerStatus::Running)
        .map(|container| container.runtime_id.clone().unwrap())
        .collect();
    let mut alive: Vec<_> = node.ground.alive().map(|run| run.runtime_id.clone()).collect();
    let mut recorded = recorded;
    alive.sort();
    recorded.sort();
    assert_eq!(recorded, alive, "{}", node.trace);
}

fn assert_quiet(node: &Node) {
    let mut ids = coracle::plan::Ids::from_seed(0);
    let plan = instance::plan(&node.world, node.now(), &mut ids);
    assert!(plan.is_quiet(), "{plan:#?}\n{}", node.trace);
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_happens_it_converges(seed in any::<u64>(), ops in ops()) {
        let mut node = begin(seed);
        for op in &ops {
            play(&mut node, op);
        }
        converges(&mut node);
    }

    #[test]
    fn the_same_seed_gives_the_same_trace(seed in any::<u64>(), ops in ops()) {
        let told = |ops: &[Op]| {
            let mut node = begin(seed);
            for op in ops {
                play(&mut node, op);
            }
            (node.trace, node.world)
        };
        let (first, second) = (told(&ops), told(&ops));
        prop_assert_eq!(first.0, second.0);
        prop_assert!(first.1 == second.1);
    }
}

#[test]
fn an_image_at_hand_is_started_in_the_round_of_the_request() {
    let mut node = begin(1);
    let before = node.commits;
    may_refuse(&mut node, run(0, 1, None));
    assert_eq!(node.commits, before + 1, "one commit for the request and the decision to start");
    assert!(node.trace.contains("→ start app of task 1"), "{}", node.trace);
    node.advance(Duration::from_secs(1));
    assert_eq!(node.commits, before + 2, "one commit more until it runs");
    let id = node.names.id(1).unwrap();
    assert_eq!(node.world.tasks[&id].last_status, TaskStatus::Running);
}
