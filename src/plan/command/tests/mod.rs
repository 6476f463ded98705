//! Commands against small worlds; the life of tasks is in `tests/plan_scenarios.rs`.

use super::*;
use crate::model::Generation;

mod resources;
mod state_change;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn submit(world: &mut World, command: Command) -> Result<Reply, CommandError> {
    let outcome = apply(world, command, NOW, &mut Ids::from_seed(1))?;
    outcome.changes.iter().for_each(|change| world.apply(change));
    Ok(outcome.reply)
}

fn this_box(cluster: &str, cpu: u32) -> Command {
    Command::RegisterThisInstance(Box::new(RegisterThisInstance {
        id: ContainerInstanceId::new("box").unwrap(),
        cluster: ClusterName::new(cluster).unwrap(),
        capacity: Capacity { cpu, ..Capacity::default() },
        attributes: Vec::new(),
        agent_version: "1".to_owned(),
    }))
}

fn tag(key: &str, value: &str) -> Tag {
    Tag { key: Some(key.to_owned()), value: Some(value.to_owned()) }
}

#[test]
fn a_box_registers_again_without_losing_what_it_is() {
    let mut world = World::default();
    submit(&mut world, this_box("dock", 1024)).unwrap();
    let id = ContainerInstanceId::new("box").unwrap();
    let cluster = ClusterName::new("dock").unwrap();
    assert!(world.clusters[&cluster].active, "the cluster is made");
    let tags = vec![tag("a", "1")];
    let resource = Resource::ContainerInstance(id.clone());
    submit(&mut world, Command::TagResource { resource, tags: tags.clone() }).unwrap();

    let before = world.clone();
    submit(&mut world, this_box("dock", 1024)).unwrap();
    assert_eq!(world, before, "the same once more changes nothing");

    submit(&mut world, this_box("dock", 2048)).unwrap();
    let instance = &world.container_instances[&id];
    assert_eq!((instance.capacity.cpu, &instance.tags), (2048, &tags));
    assert_eq!(instance.version, before.container_instances[&id].version + 1);
}

#[test]
fn a_deleted_cluster_comes_back_with_the_box_that_joins_it() {
    let mut world = World::default();
    let cluster = ClusterName::new("dock").unwrap();
    submit(&mut world, this_box("other", 1024)).unwrap();
    let create = Command::CreateCluster(Box::new(CreateCluster {
        name: cluster.clone(),
        tags: vec![tag("a", "1")],
        settings: Vec::new(),
        configuration: None,
        capacity_providers: Vec::new(),
        default_capacity_provider_strategy: Vec::new(),
        service_connect_defaults: None,
    }));
    submit(&mut world, create).unwrap();
    submit(&mut world, Command::DeleteCluster(cluster.clone())).unwrap();
    assert!(!world.clusters[&cluster].active);
    submit(&mut world, this_box("dock", 1024)).unwrap();
    assert!(world.clusters[&cluster].active);
    assert_eq!(
        submit(&mut world, Command::DeleteCluster(cluster)),
        Err(CommandError::ClusterContainsContainerInstances)
    );
}

#[test]
fn tags_are_added_changed_and_taken_away() {
    let mut world = World::default();
    submit(&mut world, this_box("dock", 1024)).unwrap();
    let cluster = ClusterName::new("dock").unwrap();
    let resource = Resource::Cluster(cluster.clone());
    let mut put = |tags: Vec<Tag>| {
        let outcome = submit(&mut world, Command::TagResource { resource: resource.clone(), tags });
        outcome.map(|_| world.clusters[&cluster].tags.clone())
    };
    assert_eq!(put(vec![tag("a", "1"), tag("b", "2")]), Ok(vec![tag("a", "1"), tag("b", "2")]));
    assert_eq!(put(vec![tag("a", "3")]), Ok(vec![tag("b", "2"), tag("a", "3")]));
    for bad in [tag("", "x"), tag("aws:x", "x"), tag("a;b", "x"), tag("a", &"x".repeat(257))] {
        assert!(matches!(put(vec![bad]), Err(CommandError::InvalidParameter(_))));
    }
    assert!(matches!(
        put(vec![tag("a", "1"), tag("a", "2")]),
        Err(CommandError::InvalidParameter(_))
    ));
    let many = (0..49).map(|n| tag(&format!("k{n}"), "")).collect();
    assert!(matches!(put(many), Err(CommandError::LimitExceeded(_))));

    let untag = Command::UntagResource { resource, keys: vec!["b".to_owned(), "none".to_owned()] };
    submit(&mut world, untag).unwrap();
    assert_eq!(world.clusters[&cluster].tags, vec![tag("a", "3")]);
    let unknown = Resource::Task(TaskId::new("nothing").unwrap());
    let refused = submit(&mut world, Command::TagResource { resource: unknown, tags: Vec::new() });
    assert!(matches!(refused, Err(CommandError::InvalidParameter(_))));
}

#[test]
fn account_settings_are_kept_by_principal() {
    let mut world = World::default();
    let put = |name: &str, value: &str| Command::PutAccountSetting {
        principal: "arn:aws:iam::0:root".to_owned(),
        name: name.to_owned(),
        value: value.to_owned(),
    };
    submit(&mut world, put("containerInsights", "enabled")).unwrap();
    assert_eq!(world.account_settings.values().collect::<Vec<_>>(), ["enabled"]);
    assert!(submit(&mut world, put("tasteOfCoffee", "strong")).is_err());
    assert!(submit(&mut world, put("containerInsights", "")).is_err());
    let delete = Command::DeleteAccountSetting {
        principal: "arn:aws:iam::0:root".to_owned(),
        name: "containerInsights".to_owned(),
    };
    submit(&mut world, delete.clone()).unwrap();
    assert!(world.account_settings.is_empty());
    assert_eq!(submit(&mut world, delete), Ok(Reply::Done), "there is nothing left to delete");
}

#[test]
fn what_runs_for_a_task_that_no_record_knows_is_released_and_forgotten() {
    use crate::plan::action::ContainerRun;
    use crate::plan::{Action, instance};
    let mut world = World::default();
    world.settings.this_instance = Some(ContainerInstanceId::new("box").unwrap());
    submit(&mut world, this_box("dock", 1024)).unwrap();
    let task = TaskId::new("stray").unwrap();
    let run = ContainerRun {
        task: task.clone(),
        generation: Generation(4),
        container: crate::model::ContainerName::new("c").unwrap(),
        runtime_id: crate::model::RuntimeId::new("stray-1").unwrap(),
    };
    let observe = |world: &mut World, observation| {
        submit(world, Command::Observe(observation)).unwrap();
        instance::plan(world, NOW, &mut Ids::from_seed(1)).actions
    };
    let nothing = observe(&mut world, Observation::Started { run, at: NOW, network: None });
    assert_eq!(nothing, [], "before the scan is done nothing is touched");
    let generation = Generation(4);
    assert_eq!(
        observe(&mut world, Observation::Scanned { rebooted: false }),
        [Action::Release { task: task.clone(), generation }]
    );
    assert_eq!(
        observe(&mut world, Observation::Released { task: task.clone(), generation }),
        [Action::Forget { task: task.clone() }]
    );
    assert_eq!(observe(&mut world, Observation::Forgotten { task }), []);
}
