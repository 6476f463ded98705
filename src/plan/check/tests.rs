//! Every invariant is broken once, and is reported.

use super::check;
use crate::model::container_instance::Capacity;
use crate::model::task::TaskOverride;
use crate::model::task_definition::{ContainerDefinition, PortMapping, TaskDefinitionContent};
use crate::model::{
    AssignmentId, ClusterName, ContainerInstanceId, ContainerStatus, DesiredStatus, Family,
    Generation, ImageDigest, Revision, RuntimeId, TaskId, TaskStatus, Timestamp,
};
use crate::plan::command::{RegisterThisInstance, RunTask, apply};
use crate::plan::{Change, Command, Ids, Observation, Reply, World, instance};

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn submit(world: &mut World, ids: &mut Ids, command: Command) -> Reply {
    let outcome = apply(world, command, NOW, ids).unwrap();
    outcome.changes.iter().for_each(|change| world.apply(change));
    let plan = instance::plan(world, NOW, ids);
    plan.changes.iter().for_each(|change| world.apply(change));
    outcome.reply
}

/// A world with a task of two containers whose Start is in flight.
fn world() -> (World, TaskId) {
    let mut world = World::default();
    let mut ids = Ids::from_seed(3);
    let this = ContainerInstanceId::new("box").unwrap();
    world.settings.this_instance = Some(this.clone());
    let digest = ImageDigest::new(format!("sha256:{}", "a".repeat(64))).unwrap();
    world.observed.images.insert("image".to_owned(), digest);
    let capacity = Capacity { cpu: 1024, memory: 1024, ..Capacity::default() };
    submit(
        &mut world,
        &mut ids,
        Command::RegisterThisInstance(Box::new(RegisterThisInstance {
            id: this,
            cluster: ClusterName::default_cluster(),
            capacity,
            attributes: Vec::new(),
            agent_version: "1".to_owned(),
        })),
    );
    submit(&mut world, &mut ids, Command::Observe(Observation::Scanned { rebooted: true }));
    let container = |name: &str, port| ContainerDefinition {
        name: Some(name.to_owned()),
        image: Some("image".to_owned()),
        memory: Some(16),
        port_mappings: Some(vec![PortMapping {
            container_port: Some(port),
            ..PortMapping::default()
        }]),
        ..ContainerDefinition::default()
    };
    let content = TaskDefinitionContent {
        family: Some("web".to_owned()),
        network_mode: Some("host".to_owned()),
        container_definitions: Some(vec![container("a", 80), container("b", 81)]),
        ..TaskDefinitionContent::default()
    };
    submit(
        &mut world,
        &mut ids,
        Command::RegisterTaskDefinition {
            content: Box::new(content),
            tags: Vec::new(),
            registered_by: None,
        },
    );
    let reply = submit(
        &mut world,
        &mut ids,
        Command::RunTask(Box::new(RunTask {
            cluster: ClusterName::default_cluster(),
            family: Family::new("web").unwrap(),
            revision: None,
            count: 1,
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
            client_token: None,
        })),
    );
    let Reply::Tasks { tasks, .. } = reply else { panic!("{reply:?}") };
    (world, tasks[0].clone())
}

/// Asserts that what `damage` does to a sound world is reported with a line that contains `says`.
fn reported(says: &str, damage: impl FnOnce(&mut World, &TaskId)) {
    let (mut world, id) = world();
    assert_eq!(check(&world), Vec::<String>::new(), "the world is sound before");
    damage(&mut world, &id);
    let broken = check(&world);
    assert!(broken.iter().any(|line| line.contains(says)), "{says:?} is not among {broken:#?}");
}

#[test]
fn references_must_lead_somewhere() {
    reported("refers to no task definition", |world, _| world.task_definitions.clear());
    reported("unknown container instance", |world, _| world.container_instances.clear());
    reported("in an unknown cluster", |world, _| world.clusters.clear());
    reported("has no assignment of its own", |world, _| world.assignments.clear());
    reported("has no task", |world, _| world.tasks.clear());
    reported("above the family's highest revision", |world, _| {
        world.revisions.insert(Family::new("web").unwrap(), Revision(0));
    });
}

#[test]
fn statuses_must_fit_each_other() {
    let status = |status| {
        move |world: &mut World, id: &TaskId| {
            world.tasks.get_mut(id).unwrap().last_status = status;
        }
    };
    reported("is RUNNING with 2 containers pending", status(TaskStatus::Running));
    reported("is STOPPING though it should run", status(TaskStatus::Stopping));
    reported("has stopped without a time", status(TaskStatus::Stopped));
    reported("of a task that has stopped", status(TaskStatus::Stopped));
    reported("stops without a reason", |world, id| {
        world.tasks.get_mut(id).unwrap().desired_status = DesiredStatus::Stopped;
    });
    reported("cannot be RUNNING as it is recorded", |world, id| {
        world.tasks.get_mut(id).unwrap().containers[0].last_status = ContainerStatus::Running;
    });
    reported("cannot be PENDING as it is recorded", |world, id| {
        world.tasks.get_mut(id).unwrap().containers[0].exit_code = Some(0);
    });
    reported("is started from no image", |world, id| {
        world.tasks.get_mut(id).unwrap().containers[0].image_digest = None;
    });
    reported("has other containers than its task definition", |world, id| {
        world.tasks.get_mut(id).unwrap().containers.pop();
    });
    reported("has no generation", |world, id| {
        world.tasks.get_mut(id).unwrap().generation = Generation(0);
    });
}

#[test]
fn what_must_be_unique_is() {
    reported("is given twice", |world, id| {
        let task = world.tasks.get_mut(id).unwrap();
        task.containers[1].runtime_id = task.containers[0].runtime_id.clone();
    });
    reported("has host port 80 that another task has", |world, id| {
        let mut other = world.assignments[&AssignmentId::of_task(id)].clone();
        other.id = AssignmentId::new("another").unwrap();
        world.apply(&Change::PutAssignment(Box::new(other)));
    });
    reported("not recorded as running", |world, _| {
        world.observed.running.insert(RuntimeId::new("stray").unwrap());
    });
    reported("the index does not agree", |world, _| {
        world.index.client_tokens.insert((NOW, "stray".to_owned()));
    });
}
