//! Simulated boxes in virtual time; every step ends with `check`.

#![allow(clippy::needless_pass_by_value, reason = "what `json!` makes is handed over")]

use super::*;
use crate::model::container_instance::{Attribute, Capacity};
use crate::model::task::TaskOverride;
use crate::model::task_definition::TaskDefinitionContent;
use crate::model::{
    Assignment, ClusterName, ContainerStatus, DeploymentId, Generation, HealthStatus, OneTask,
    ServiceName, ServiceTasks, Task, TaskStatus, Wanted,
};
use crate::plan::command::{RegisterThisInstance, apply};
use crate::plan::{Command, Reply};
use proptest::prelude::*;
use std::time::Duration;

/// A simulation in virtual time.
struct Sim {
    world: World,
    now: Timestamp,
    ids: Ids,
    placed: usize,
}

impl Sim {
    fn new(rules: serde_json::Value) -> Self {
        let mut world = World::default();
        world.settings.simulated = true;
        let faults: FaultPlan =
            serde_json::from_value(serde_json::json!({ "rules": rules })).unwrap();
        faults.check().unwrap();
        begin(&mut world, faults);
        let (now, ids) = (Timestamp::from_secs(1_700_000_000), Ids::from_seed(7));
        let mut sim = Self { world, now, ids, placed: 0 };
        for (name, zone) in [("a", "east"), ("b", "west")] {
            sim.submit(Command::RegisterThisInstance(Box::new(RegisterThisInstance {
                id: ContainerInstanceId::new(name).unwrap(),
                cluster: ClusterName::default_cluster(),
                capacity: Capacity { cpu: 4096, memory: 1024, ..Capacity::default() },
                attributes: vec![Attribute { name: "zone".into(), value: Some(zone.into()) }],
                agent_version: "1".to_owned(),
            })));
        }
        sim
    }

    fn submit(&mut self, command: Command) -> Reply {
        let outcome = apply(&mut self.world, command, self.now, &mut self.ids).unwrap();
        outcome.changes.iter().for_each(|change| self.world.apply(change));
        self.plan();
        outcome.reply
    }

    /// Plans, and finds that planning again is quiet.
    fn plan(&mut self) -> Plan {
        let plan = plan(&mut self.world, self.now, &mut self.ids);
        let again = super::plan(&mut self.world, self.now, &mut self.ids);
        assert!(again.is_quiet(), "{again:?}");
        // To look at everything finds no more than to look at what changed.
        let mut world = self.world.clone();
        let all: Vec<_> = world.assignments.keys().cloned().collect();
        for id in &all {
            world.agenda.touch_assignment(id);
        }
        let whole = super::plan(&mut world, self.now, &mut self.ids.clone());
        assert!(whole.is_quiet(), "{whole:?}");
        assert_eq!((again.wake_at, whole.wake_at), (plan.wake_at, plan.wake_at));
        let mut broken = crate::plan::check::check(&self.world);
        // Boxes are tried here without those who assign to them.
        broken.retain(|line| !line.ends_with("is of no service"));
        assert_eq!(broken, Vec::<String>::new());
        assert!(plan.actions.is_empty());
        plan
    }

    /// Lets time pass, from one event to the next.
    fn pass(&mut self, time: Duration) {
        let end = self.now.plus(time);
        loop {
            let next = self.plan().wake_at.filter(|at| *at <= end);
            match next {
                Some(at) if at > self.now => self.now = at,
                _ => break,
            }
        }
        self.now = end;
        self.plan();
    }

    fn register(&mut self, content: serde_json::Value) {
        let content: TaskDefinitionContent = serde_json::from_value(content).unwrap();
        self.submit(Command::RegisterTaskDefinition {
            content: Box::new(content),
            tags: Vec::new(),
            registered_by: None,
        });
    }

    /// What RunTask of `count` tasks leaves, on one box after the other.
    fn run(&mut self, count: u32) -> Vec<TaskId> {
        let tasks: Vec<TaskId> = (0..count).map(|_| self.ids.task()).collect();
        for id in &tasks {
            let wanted = OneTask { desired_status: DesiredStatus::Running, stop: None };
            let on = if self.placed.is_multiple_of(2) { "a" } else { "b" };
            self.placed += 1;
            self.put(AssignmentId::of_task(id), on, Wanted::Task(wanted));
        }
        self.plan();
        tasks
    }

    fn put(&mut self, id: AssignmentId, on: &str, wanted: Wanted) {
        let (reference, definition) = self.world.task_definitions.last_key_value().unwrap();
        let awsvpc = definition.content.network_mode.as_deref() == Some("awsvpc");
        let network = serde_json::json!({ "subnets": ["subnet-1"] });
        let assignment = Assignment {
            id,
            cluster: ClusterName::default_cluster(),
            container_instance: ContainerInstanceId::new(on).unwrap(),
            task_definition: reference.clone(),
            generation: Generation(1),
            group: match &wanted {
                Wanted::Service(of) => Some(format!("service:{}", of.service)),
                Wanted::Task(_) => Some("family:web".to_owned()),
            },
            wanted,
            created_at: self.now,
            overrides: TaskOverride::default(),
            started_by: None,
            launch_type: "EC2".to_owned(),
            capacity_provider_name: None,
            network: awsvpc.then(|| serde_json::from_value(network).unwrap()),
            enable_execute_command: false,
            tags: Vec::new(),
        };
        self.world.apply(&Change::PutAssignment(Box::new(assignment)));
    }

    fn task(&self, id: &TaskId) -> &Task {
        &self.world.tasks[id]
    }

    fn stop(&mut self, task: &TaskId) {
        let (cluster, task) = (ClusterName::default_cluster(), task.clone());
        self.submit(Command::StopTask { cluster, task, reason: None });
    }

    /// `count` tasks of a deployment on the box `a`.
    fn assign(&mut self, count: u32) -> AssignmentId {
        let id = AssignmentId::new("1234567890123456789-a").unwrap();
        let wanted = ServiceTasks {
            service: ServiceName::new("shop").unwrap(),
            deployment: DeploymentId::new("1234567890123456789").unwrap(),
            count,
            stops: BTreeMap::new(),
            health_check_grace_period_seconds: None,
            images: BTreeMap::new(),
        };
        self.put(id.clone(), "a", Wanted::Service(wanted));
        self.plan();
        id
    }
}

fn web(container: serde_json::Value) -> serde_json::Value {
    let mut whole = serde_json::json!({ "name": "app", "image": "web:1", "memory": 16 });
    for (key, value) in container.as_object().unwrap() {
        whole[key] = value.clone();
    }
    serde_json::json!({ "family": "web", "containerDefinitions": [whole] })
}

fn none() -> serde_json::Value {
    serde_json::json!([])
}

#[test]
fn a_task_runs_at_once_with_all_that_a_box_would_tell() {
    let mut sim = Sim::new(none());
    sim.register(web(serde_json::json!({
        "portMappings": [{ "containerPort": 80 }, { "containerPort": 53, "hostPort": 5353, "protocol": "udp" }],
        "healthCheck": { "command": ["CMD", "true"] },
    })));
    let tasks = sim.run(2);
    for id in &tasks {
        let task = sim.task(id);
        assert_eq!(task.last_status, TaskStatus::Running);
        assert_eq!(task.health_status, HealthStatus::Healthy);
        assert_eq!(task.started_at, Some(sim.now));
        let container = &task.containers[0];
        assert!(container.runtime_id.is_some() && container.image_digest.is_some());
        let ports: Vec<_> =
            container.network_bindings.iter().map(|b| (b.host_port, b.protocol.as_str())).collect();
        assert_eq!(ports, [(Some(32_768), "tcp"), (Some(5353), "udp")]);
    }
    assert_ne!(sim.task(&tasks[0]).container_instance, sim.task(&tasks[1]).container_instance);
    sim.stop(&tasks[0]);
    let stopped = sim.task(&tasks[0]);
    assert_eq!(stopped.last_status, TaskStatus::Stopped);
    assert_eq!(stopped.containers[0].exit_code, Some(143));
    assert_eq!(stopped.stop_code, Some(crate::model::StopCode::UserInitiated));
    assert_eq!(sim.world.assignments.len(), 1);
    // Its ports are free again.
    let third = sim.run(1).remove(0);
    assert_eq!(sim.task(&third).containers[0].network_bindings[0].host_port, Some(32_768));
}

#[test]
fn tasks_of_awsvpc_mode_have_addresses_of_their_own() {
    let mut sim = Sim::new(none());
    let mut content = web(serde_json::json!({}));
    content["networkMode"] = "awsvpc".into();
    let second = serde_json::json!({ "name": "side", "image": "side", "memory": 16 });
    content["containerDefinitions"].as_array_mut().unwrap().push(second);
    sim.register(content);
    let mut addresses = BTreeSet::new();
    for id in sim.run(10) {
        let task = sim.task(&id);
        assert_eq!(task.attachments[0].status, "ATTACHED");
        let of: BTreeSet<_> = task
            .containers
            .iter()
            .map(|c| c.network_interfaces[0].private_ipv4_address.unwrap())
            .collect();
        assert_eq!(of.len(), 1, "containers of one task share its address");
        addresses.extend(of);
    }
    assert_eq!(addresses.len(), 10);
}

#[test]
fn rules_match_in_order_and_only_the_first_so_many() {
    let mut sim = Sim::new(serde_json::json!([
        { "family": "web", "first": 1, "fails_to_start": "CannotPullContainerError: no such image" },
        { "family": "web", "attributes": { "zone": "west" }, "exits_after": "5s", "exit_code": 3 },
        { "family": "other", "exits_after": 0 },
    ]));
    sim.register(web(serde_json::json!({})));
    let failed = sim.run(1).remove(0);
    let task = sim.task(&failed);
    assert_eq!(task.last_status, TaskStatus::Stopped);
    assert_eq!(task.stop_code, Some(crate::model::StopCode::TaskFailedToStart));
    assert_eq!(task.stopped_reason.as_deref(), Some("CannotPullContainerError: no such image"));
    let tasks = sim.run(2);
    assert!(tasks.iter().all(|id| sim.task(id).last_status == TaskStatus::Running));
    sim.pass(Duration::from_secs(10));
    for id in &tasks {
        let task = sim.task(id);
        let west = task.container_instance.as_str() == "b";
        assert_eq!(task.last_status == TaskStatus::Stopped, west);
        assert_eq!(task.containers[0].exit_code, west.then_some(3));
    }
}

#[test]
fn labels_count_where_no_rule_does_and_wrong_ones_are_refused() {
    let mut sim = Sim::new(none());
    sim.register(web(serde_json::json!({ "dockerLabels": {
        "coracle.simulate.start-after": "2s", "coracle.simulate.exits-after": "3000", "coracle.simulate.exit-code": "7",
    } })));
    let id = sim.run(1).remove(0);
    assert_eq!(sim.task(&id).last_status, TaskStatus::Pending);
    sim.pass(Duration::from_secs(2));
    assert_eq!(sim.task(&id).last_status, TaskStatus::Running);
    sim.pass(Duration::from_secs(3));
    assert_eq!(sim.task(&id).containers[0].exit_code, Some(7));
    for (name, value) in [("exits-after", "soon"), ("exit-code", "1"), ("exits", "1s")] {
        let label = format!("coracle.simulate.{name}");
        let content = web(serde_json::json!({ "dockerLabels": { label: value } }));
        let command = Command::RegisterTaskDefinition {
            content: Box::new(serde_json::from_value(content).unwrap()),
            tags: Vec::new(),
            registered_by: None,
        };
        let refused = apply(&mut sim.world, command, sim.now, &mut sim.ids).unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("coracle.simulate.") && text.contains("app"), "{text}");
    }
}

#[test]
fn a_stop_is_ignored_for_a_while_and_killed_after_its_timeout() {
    let mut sim = Sim::new(serde_json::json!([
        { "first": 1, "ignores_stop_for": "4s" }, { "first": 1, "ignores_stop_for": "never" },
    ]));
    sim.register(web(serde_json::json!({ "stopTimeout": 10 })));
    let tasks = [sim.run(1).remove(0), sim.run(1).remove(0)];
    for id in &tasks {
        sim.stop(id);
    }
    sim.pass(Duration::from_secs(3));
    assert_eq!(sim.task(&tasks[0]).last_status, TaskStatus::Stopping);
    sim.pass(Duration::from_secs(1));
    assert_eq!(sim.task(&tasks[0]).containers[0].exit_code, Some(143));
    assert_eq!(sim.task(&tasks[1]).last_status, TaskStatus::Stopping);
    sim.pass(Duration::from_secs(6));
    assert_eq!(sim.task(&tasks[1]).containers[0].exit_code, Some(137));
    assert_eq!(sim.task(&tasks[1]).last_status, TaskStatus::Stopped);
}

#[test]
fn a_start_that_never_ends_can_be_stopped() {
    let mut sim = Sim::new(serde_json::json!([{ "start_after": "never" }]));
    sim.register(web(serde_json::json!({})));
    let id = sim.run(1).remove(0);
    sim.pass(Duration::from_hours(1));
    assert_eq!(sim.task(&id).last_status, TaskStatus::Pending);
    sim.stop(&id);
    let task = sim.task(&id);
    assert_eq!(task.last_status, TaskStatus::Stopped);
    assert_eq!(task.containers[0].last_status, ContainerStatus::Stopped);
    assert_eq!(task.containers[0].exit_code, None);
    assert!(sim.world.observed.in_flight.is_empty());
}

#[test]
fn a_box_keeps_the_tasks_of_a_service() {
    let mut sim =
        Sim::new(serde_json::json!([{ "first": 1, "exits_after": "2s", "exit_code": 1 }]));
    sim.register(web(serde_json::json!({ "healthCheck": { "command": ["CMD", "true"] } })));
    let id = sim.assign(3);
    let running = |sim: &Sim| {
        sim.world.live(&id).filter(|task| task.last_status == TaskStatus::Running).count()
    };
    assert_eq!(running(&sim), 3);
    sim.pass(Duration::from_secs(2));
    assert_eq!(running(&sim), 2, "the replacement backs off");
    sim.pass(Duration::from_secs(1));
    assert_eq!(running(&sim), 3);
    sim.assign(1);
    assert_eq!(running(&sim), 1);
    let unhealthy = serde_json::from_value(serde_json::json!(
        { "rules": [{ "service": "shop", "first": 1, "unhealthy_after": "1s" }] }
    ));
    sim.submit(Command::SetFaults(Box::new(unhealthy.unwrap())));
    let last = sim.world.live(&id).next().unwrap().id.clone();
    sim.stop(&last);
    assert_eq!(running(&sim), 1);
    let sick = sim.world.live(&id).next().unwrap().id.clone();
    assert_ne!(last, sick);
    sim.pass(Duration::from_secs(5));
    assert_eq!(sim.task(&sick).last_status, TaskStatus::Stopped);
    assert_eq!(sim.task(&sick).health_status, HealthStatus::Unhealthy);
    assert_eq!(running(&sim), 1);
}

/// A replacement waits for what the task before it still holds.
#[test]
fn what_waits_for_room_is_looked_at_when_there_is_some() {
    let mut sim = Sim::new(serde_json::json!([{ "first": 1, "ignores_stop_for": "20s" }]));
    sim.register(web(serde_json::json!({ "memory": 800 })));
    let first = sim.run(1).remove(0);
    sim.stop(&first);
    let id = sim.assign(1);
    let status = |sim: &Sim| sim.world.live(&id).next().map(|task| task.last_status);
    assert_eq!(status(&sim), Some(TaskStatus::Pending));
    sim.pass(Duration::from_secs(19));
    assert_eq!(status(&sim), Some(TaskStatus::Pending));
    sim.pass(Duration::from_secs(1));
    assert_eq!(sim.task(&first).last_status, TaskStatus::Stopped);
    assert_eq!(status(&sim), Some(TaskStatus::Running));
}

/// What a restart of the hub finds: the records, and nothing that was made up.
#[test]
fn after_a_restart_everything_goes_on() {
    let mut sim = Sim::new(
        serde_json::json!([{ "exits_after": "10s", "exit_code": 2, "ignores_stop_for": "60s" }]),
    );
    sim.register(web(serde_json::json!({ "portMappings": [{ "containerPort": 80 }] })));
    let tasks = sim.run(2);
    sim.stop(&tasks[0]);
    sim.pass(Duration::from_secs(4));
    let faults = sim.world.observed.simulation.faults.clone();
    sim.world.observed = crate::plan::Observed::default();
    begin(&mut sim.world, faults);
    sim.plan();
    assert_eq!(sim.task(&tasks[0]).last_status, TaskStatus::Stopping);
    assert_eq!(sim.task(&tasks[1]).last_status, TaskStatus::Running);
    sim.pass(Duration::from_secs(6));
    for id in &tasks {
        assert_eq!(sim.task(id).containers[0].exit_code, Some(2));
        assert_eq!(sim.task(id).last_status, TaskStatus::Stopped);
    }
    assert_eq!(sim.world.observed.simulation.runs, BTreeMap::new());
    assert_eq!(sim.world.observed.simulation.queue.next(), None);
    sim.pass(Duration::from_hours(4));
    assert!(sim.world.tasks.is_empty(), "stopped tasks are forgotten in time");
}

#[test]
fn a_restarted_container_keeps_its_ports() {
    let mut sim =
        Sim::new(serde_json::json!([{ "first": 2, "exits_after": "90s", "exit_code": 1 }]));
    sim.register(web(serde_json::json!({
        "portMappings": [{ "containerPort": 80 }],
        "restartPolicy": { "enabled": true, "restartAttemptPeriod": 60 },
    })));
    let id = sim.run(1).remove(0);
    sim.pass(Duration::from_secs(400));
    let container = &sim.task(&id).containers[0];
    assert_eq!((container.restart_count, container.last_status), (2, ContainerStatus::Running));
    assert_eq!(container.network_bindings.len(), 1);
    assert_eq!(container.network_bindings[0].host_port, Some(32_768));
}

/// A step of a random life.
#[derive(Debug, Clone)]
enum Step {
    Run(u32),
    Stop(usize),
    Assign(u32),
    Pass(u64),
    Faults(Vec<(u32, serde_json::Value)>),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let fault = prop_oneof![
        (0..4_u32).prop_map(|s| serde_json::json!({ "start_after": s * 1000 })),
        Just(serde_json::json!({ "start_after": "never" })),
        (0..5_u32).prop_map(|s| serde_json::json!({ "exits_after": s * 1500, "exit_code": s })),
        Just(serde_json::json!({ "fails_to_start": "CannotPullContainerError: no" })),
        (0..5_u32).prop_map(|s| serde_json::json!({ "unhealthy_after": s * 700 })),
        (0..60_u32).prop_map(|s| serde_json::json!({ "ignores_stop_for": s * 1000 })),
    ];
    prop_oneof![
        (1..4_u32).prop_map(Step::Run),
        any::<usize>().prop_map(Step::Stop),
        (0..5_u32).prop_map(Step::Assign),
        (1..90_u64).prop_map(Step::Pass),
        prop::collection::vec((1..4_u32, fault), 0..3).prop_map(Step::Faults),
        Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// `Sim::plan` holds each step against the invariants; once nothing befalls tasks any more, all is as wanted.
    #[test]
    fn whatever_befalls_it_a_simulation_settles(steps in prop::collection::vec(step(), 1..25)) {
        let mut sim = Sim::new(none());
        sim.register(web(serde_json::json!({
            "portMappings": [{ "containerPort": 80 }],
            "healthCheck": { "command": ["CMD", "true"] },
            "memory": 4,
        })));
        let mut wanted = 0;
        for step in steps {
            match step {
                Step::Run(count) => drop(sim.run(count)),
                Step::Stop(at) => {
                    let live: Vec<_> = sim.world.live_tasks().map(|t| t.id.clone()).collect();
                    if !live.is_empty() {
                        sim.stop(&live[at % live.len()]);
                    }
                }
                Step::Assign(count) => {
                    wanted = count as usize;
                    sim.assign(count);
                }
                Step::Pass(seconds) => sim.pass(Duration::from_secs(seconds)),
                Step::Faults(rules) => {
                    let rule = |(first, mut rule): (u32, serde_json::Value)| {
                        rule["first"] = first.into();
                        rule
                    };
                    let rules: Vec<_> = rules.into_iter().map(rule).collect();
                    let faults = serde_json::from_value(serde_json::json!({ "rules": rules }));
                    sim.submit(Command::SetFaults(Box::new(faults.unwrap())));
                }
                Step::Restart => {
                    let faults = sim.world.observed.simulation.faults.clone();
                    sim.world.observed = crate::plan::Observed::default();
                    begin(&mut sim.world, faults);
                    let all: Vec<_> = sim.world.assignments.keys().cloned().collect();
                    for id in &all {
                        sim.world.agenda.touch_assignment(id);
                    }
                    sim.plan();
                }
            }
        }
        sim.submit(Command::SetFaults(Box::default()));
        sim.pass(Duration::from_mins(30));
        let of_service = |task: &&Task| task.service.is_some();
        let running = |task: &&Task| task.last_status == TaskStatus::Running;
        let stuck = sim.world.live_tasks().filter(|task| !running(task)).count();
        // What was told never to start stays so.
        let never = sim.world.observed.simulation.starting.len();
        prop_assert_eq!(stuck, never);
        let live = sim.world.live_tasks().filter(of_service).count();
        prop_assert!(live >= wanted.min(5) || never > 0, "{live} of {wanted}");
    }
}

#[test]
fn the_same_seed_makes_the_same_world() {
    let make = || {
        let mut sim = Sim::new(serde_json::json!([{ "exits_after": "3s", "first": 5 }]));
        sim.register(web(serde_json::json!({})));
        sim.run(8);
        sim.assign(4);
        sim.pass(Duration::from_secs(30));
        sim.world
    };
    assert_eq!(make(), make());
}
