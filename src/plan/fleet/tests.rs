//! A hub and a box, with nothing between them that could go wrong; what can is in `tests/fleet_sync.rs`.

use super::*;
use crate::model::container_instance::Capacity;
use crate::model::fleet::{
    AgentInformation, ContentHash, Desired, Event, JoinToken, Phase, Position, Presence, VERSION,
};
use crate::model::{
    AssignmentId, Cluster, ClusterName, ContainerInstanceId, DeploymentId, Family, ServiceName,
    ServiceTasks, TaskDefinition, TaskId, TaskStatus, Timestamp, Wanted,
};
use crate::plan::command::{self, RunTask};
use crate::plan::{Change, Command, CommandError, Ids, Reply, World, instance};
use serde_json::json;

fn device() -> ContainerInstanceId {
    ContainerInstanceId::new("b0").unwrap()
}

fn cluster() -> ClusterName {
    ClusterName::default_cluster()
}

/// A world and its clock.
struct Side {
    world: World,
    ids: Ids,
    now: Timestamp,
    /// Of a box: what is kept for the hub.
    events: Vec<Event>,
}

impl Side {
    fn new(seed: u64) -> Self {
        let mut world = World::default();
        world.apply(&Change::PutCluster(Cluster::new(cluster(), Timestamp(0))));
        world.observed.scanned = true;
        Self {
            world,
            ids: Ids::from_seed(seed.into()),
            now: Timestamp(1_000_000),
            events: Vec::new(),
        }
    }

    fn try_submit(&mut self, command: impl Into<Command>) -> Result<Reply, CommandError> {
        let before = self.world.clone();
        let outcome = command::apply(&mut self.world, command.into(), self.now, &mut self.ids)?;
        outcome.changes.iter().for_each(|change| self.world.apply(change));
        let mut changes = outcome.changes;
        for _ in 0..8 {
            let plan = if self.world.settings.this_instance.is_some() {
                let mut plan = instance::plan(&self.world, self.now, &mut self.ids);
                self.world.apply_plan(&plan);
                let progress = progress::plan(&self.world, self.now);
                self.world.apply_plan(&progress);
                plan.changes.extend(progress.changes);
                plan
            } else {
                hub::plan(&mut self.world, self.now, &mut self.ids)
            };
            changes.extend(plan.changes);
        }
        let kept = self.world.events.clone();
        for change in events::of_changes(&before, &kept, &changes, self.now) {
            self.world.apply(&change);
            if let Change::PutEvent(event) = change {
                self.events.push(*event);
            }
        }
        let broken = crate::plan::check::check(&self.world);
        assert!(broken.is_empty(), "{broken:?}");
        Ok(outcome.reply)
    }

    fn submit(&mut self, command: impl Into<Command>) -> Reply {
        self.try_submit(command).unwrap()
    }
}

fn agent() -> AgentInformation {
    let capacity = Capacity { cpu: 4096, memory: 1024, ..Capacity::default() };
    AgentInformation { version: "1".to_owned(), capacity, attributes: Vec::new() }
}

fn token(uses: u32) -> JoinToken {
    JoinToken {
        id: "t".to_owned(),
        secret_sha256: ContentHash::of(b"secret"),
        cluster: cluster(),
        uses_left: Some(uses),
        expires_at: None,
        attributes: Vec::new(),
        created_at: Timestamp(0),
        used: std::collections::BTreeMap::new(),
    }
}

fn enrol(device: &ContainerInstanceId, nonce: &str) -> FleetCommand {
    FleetCommand::Enrol(Box::new(Enrol {
        device: device.clone(),
        token: "t".to_owned(),
        nonce: nonce.to_owned(),
        agent: agent(),
        certificate: json!({}),
        sealing_key: "sealed".to_owned(),
    }))
}

fn up(session: &str) -> Presence {
    Presence { v: VERSION, session: session.to_owned(), up: true, agent: None }
}

/// A hub with one box that is connected, and the box.
fn joined() -> (Side, Side) {
    let mut hub = Side::new(1);
    hub.submit(FleetCommand::CreateToken(token(1)));
    hub.submit(enrol(&device(), "n"));
    hub.submit(FleetCommand::Presence(device(), up("s1")));
    let mut member = Side::new(2);
    member.world.settings.this_instance = Some(device());
    member.submit(FleetCommand::Join(Box::new(NewMember {
        cluster: cluster(),
        device: device(),
        hub: "http://hub".to_owned(),
        position: Position::default(),
        events: "log".to_owned(),
        capacity: agent().capacity,
        attributes: Vec::new(),
        agent_version: "1".to_owned(),
    })));
    (hub, member)
}

/// What the hub would send.
fn desired(hub: &Side) -> (Desired, Vec<TaskDefinition>) {
    let record = &hub.world.devices[&device()];
    let content = content::of(&hub.world, &device(), &mut content::Bodies::new());
    assert_eq!(record.hash.as_ref(), Some(&content::hash(&content)));
    let definitions = content
        .task_definitions
        .iter()
        .map(|body| {
            let bytes = content::body(&hub.world.task_definitions[&body.task_definition]);
            assert_eq!(ContentHash::of(&bytes), body.sha256);
            serde_json::from_slice(&bytes).unwrap()
        })
        .collect();
    let desired = Desired {
        v: VERSION,
        cluster: cluster(),
        device: device(),
        position: record.position,
        prev_hash: record.prev_hash.clone(),
        hash: content::hash(&content),
        content,
        sealed: std::collections::BTreeMap::new(),
        next_key: None,
    };
    let bytes = serde_json::to_vec(&desired).unwrap();
    (serde_json::from_slice(&bytes).unwrap(), definitions)
}

fn accept(member: &mut Side, (desired, definitions): (Desired, Vec<TaskDefinition>)) -> Reply {
    member.submit(FleetCommand::Accept(Box::new(desired), definitions))
}

fn tell(hub: &mut Side, member: &Side) {
    hub.submit(FleetCommand::Events {
        device: device(),
        log: "log".to_owned(),
        dropped: None,
        events: member.events.clone(),
    });
}

fn run(hub: &mut Side) -> TaskId {
    hub.submit(Command::RegisterTaskDefinition {
        content: serde_json::from_value(json!({
            "family": "web",
            "containerDefinitions": [{"name": "web", "image": "i", "memory": 64, "essential": true}],
        }))
        .unwrap(),
        tags: Vec::new(),
        registered_by: None,
    });
    let run = RunTask {
        cluster: cluster(),
        family: Family::new("web").unwrap(),
        revision: None,
        count: 1,
        container_instances: None,
        overrides: serde_json::from_value(json!({})).unwrap(),
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
        client_token: None,
    };
    match hub.submit(Command::RunTask(Box::new(run))) {
        Reply::Tasks { tasks, failures } => {
            assert!(failures.is_empty(), "{failures:?}");
            tasks[0].clone()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_token_brings_the_default_cluster_and_no_other() {
    let mut hub = Side::new(1);
    hub.world.clusters.clear();
    let other = JoinToken { cluster: ClusterName::new("other").unwrap(), ..token(1) };
    let refused = hub.try_submit(FleetCommand::CreateToken(other)).unwrap_err();
    assert_eq!(refused, CommandError::ClusterNotFound);
    hub.submit(FleetCommand::CreateToken(token(1)));
    assert!(hub.world.clusters[&cluster()].active);
}

#[test]
fn a_token_is_used_up_and_a_repeated_request_costs_nothing() {
    let mut hub = Side::new(1);
    hub.submit(FleetCommand::CreateToken(token(1)));
    hub.submit(enrol(&device(), "n"));
    hub.submit(enrol(&device(), "n"));
    let other = ContainerInstanceId::new("b1").unwrap();
    let refused = hub.try_submit(enrol(&other, "m")).unwrap_err();
    assert_eq!(refused.to_string(), "The join token was used as often as it may be.");
    assert_eq!(hub.world.devices.len(), 1);
    assert!(!hub.world.container_instances.contains_key(&other));
}

#[test]
fn a_task_runs_on_a_box_and_ends_there() {
    let (mut hub, mut member) = joined();
    let task = run(&mut hub);
    assert_eq!(hub.world.tasks[&task].last_status, TaskStatus::Pending);
    let document = desired(&hub);
    assert_eq!(accept(&mut member, document.clone()), Reply::Document(Acceptance::Accepted));
    assert_eq!(accept(&mut member, document), Reply::Document(Acceptance::Known));
    let membership = member.world.membership.clone().unwrap();
    assert_eq!(membership.progress.phase, Phase::Applying);
    assert!(member.world.tasks.contains_key(&task));

    let stop = Command::StopTask { cluster: cluster(), task: task.clone(), reason: None };
    member.submit(stop);
    for _ in 0..4 {
        let release = member.world.observed.in_flight.clone();
        for key in release {
            if let crate::plan::ActionKey::Release(task) = key {
                let generation = crate::model::Generation(1);
                let released = crate::plan::Observation::Released { task, generation };
                member.submit(Command::Observe(released));
            }
        }
    }
    assert_eq!(member.world.tasks[&task].last_status, TaskStatus::Stopped);
    let progress = member.world.membership.clone().unwrap().progress;
    assert!(matches!(progress.phase, Phase::Applied | Phase::Failed), "{progress:?}");
    tell(&mut hub, &member);
    assert_eq!(hub.world.tasks[&task].last_status, TaskStatus::Stopped);
    assert!(hub.world.assignments.is_empty());
    // Told again, nothing changes.
    let before = hub.world.clone();
    tell(&mut hub, &member);
    assert_eq!(hub.world.tasks, before.tasks);

    // The document that still names it does not bring it back.
    let next = desired(&hub);
    accept(&mut member, next);
    assert_eq!(member.world.tasks[&task].last_status, TaskStatus::Stopped);
    assert!(member.world.assignments.is_empty());
}

#[test]
fn what_is_older_foreign_or_changed_is_refused_and_changes_nothing() {
    let (mut hub, mut member) = joined();
    let first = desired(&hub);
    run(&mut hub);
    let second = desired(&hub);
    assert!(second.0.position > first.0.position);
    accept(&mut member, second.clone());
    let before = member.world.clone();
    assert_eq!(accept(&mut member, first), Reply::Document(Acceptance::Old));

    let mut later = second;
    later.0.position.generation += 1;
    let mut foreign = later.clone();
    foreign.0.device = ContainerInstanceId::new("b9").unwrap();
    assert_eq!(accept(&mut member, foreign), Reply::Document(Acceptance::Foreign));
    let mut changed = later.clone();
    changed.0.content.settings.draining = true;
    assert_eq!(accept(&mut member, changed), Reply::Document(Acceptance::Foreign));
    let mut lacking = later;
    lacking.1.clear();
    assert_eq!(accept(&mut member, lacking), Reply::Document(Acceptance::Foreign));
    assert_eq!(member.world, before);
}

#[test]
fn a_will_of_an_older_connection_changes_nothing() {
    let (mut hub, _) = joined();
    hub.submit(FleetCommand::Presence(device(), up("s2")));
    let down = |session: &str| Presence { up: false, ..up(session) };
    hub.submit(FleetCommand::Presence(device(), down("s1")));
    assert!(hub.world.devices[&device()].connected);
    hub.submit(FleetCommand::Presence(device(), down("s2")));
    assert!(!hub.world.devices[&device()].connected);
}

#[test]
fn a_box_that_is_deregistered_is_refused_and_its_tasks_are_over() {
    let (mut hub, _) = joined();
    let task = run(&mut hub);
    hub.submit(Command::DeregisterContainerInstance {
        cluster: cluster(),
        instance: device(),
        force: true,
    });
    assert!(hub.world.devices[&device()].revoked_at.is_some());
    assert_eq!(hub.world.tasks[&task].last_status, TaskStatus::Stopped);
    assert!(hub.world.assignments.is_empty());
    let refused = hub.try_submit(FleetCommand::Presence(device(), up("s3")));
    assert!(refused.is_err());
}

#[test]
fn a_member_is_asked_at_its_hub_for_what_its_hub_decides() {
    let (_, mut member) = joined();
    let delete = Command::DeleteCluster(cluster());
    let refused = member.try_submit(delete).unwrap_err().to_string();
    assert!(refused.contains("http://hub"), "{refused}");
    member.submit(FleetCommand::Leave);
    assert!(member.world.membership.is_none());
    assert!(member.world.events.is_empty());
}

#[test]
fn a_box_that_joins_again_takes_no_document_from_before() {
    let (mut hub, mut member) = joined();
    run(&mut hub);
    let old = desired(&hub);
    accept(&mut member, old.clone());
    member.submit(FleetCommand::Leave);
    member.world.assignments.clear();
    member.world.tasks.clear();
    member.world.index = crate::plan::index::Index::of(&member.world);
    hub.submit(FleetCommand::CreateToken(token(1)));
    hub.submit(enrol(&device(), "again"));
    let newest = hub.world.devices[&device()].position;
    member.submit(FleetCommand::Join(Box::new(NewMember {
        cluster: cluster(),
        device: device(),
        hub: "http://hub".to_owned(),
        position: newest.before(),
        events: "log2".to_owned(),
        capacity: agent().capacity,
        attributes: Vec::new(),
        agent_version: "1".to_owned(),
    })));
    assert_eq!(accept(&mut member, old), Reply::Document(Acceptance::Old));
    assert_eq!(accept(&mut member, desired(&hub)), Reply::Document(Acceptance::Accepted));
}

#[test]
fn a_box_that_leaves_keeps_nothing_of_the_services_of_its_fleet() {
    let (mut hub, mut member) = joined();
    let task = run(&mut hub);
    accept(&mut member, desired(&hub));
    let mut assignment = member.world.assignments.values().next().unwrap().clone();
    let deployment = DeploymentId::new("1234567890123456789").unwrap();
    assignment.id = AssignmentId::of_deployment(&deployment, &device(), 0);
    assignment.wanted = Wanted::Service(ServiceTasks {
        service: ServiceName::new("web").unwrap(),
        deployment,
        count: 2,
        stops: std::collections::BTreeMap::new(),
        health_check_grace_period_seconds: None,
        images: std::collections::BTreeMap::new(),
    });
    member.world.apply(&Change::PutAssignment(Box::new(assignment.clone())));
    member.submit(FleetCommand::Acknowledged { log: "log".to_owned(), up_to: 0 });
    assert_eq!(member.world.live(&assignment.id).count(), 2);
    member.submit(FleetCommand::Leave);
    assert_eq!(member.world.assignments, std::collections::BTreeMap::new());
    assert_eq!(member.world.tasks[&task].last_status, TaskStatus::Stopped);
}

#[test]
fn what_is_told_again_and_what_comes_with_it_have_numbers_of_their_own() {
    let (mut hub, mut member) = joined();
    let task = run(&mut hub);
    accept(&mut member, desired(&hub));
    // In the round in which all is told again a task comes to its end.
    let before = member.world.clone();
    let mut changes = events::of_all(&before, member.now);
    let mut ended = before.tasks[&task].clone();
    ended.last_status = TaskStatus::Stopped;
    changes.push(Change::PutTask(Box::new(ended)));
    for change in &changes {
        member.world.apply(change);
    }
    let kept = member.world.events.clone();
    changes.extend(events::of_changes(&before, &kept, &changes, member.now));
    let numbers: Vec<u64> = changes
        .iter()
        .filter_map(|change| match change {
            Change::PutEvent(event) => Some(event.offset),
            _ => None,
        })
        .collect();
    assert_eq!(numbers, [before.events.end, before.events.end + 1]);
}
