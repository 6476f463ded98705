//! Attributes, capacity providers, cluster updates, and how container instances come and go.

use super::{NOW, Reply, submit, tag, this_box};
use crate::model::container_instance::{Attribute, Capacity};
use crate::model::{
    CapacityProviderStrategyItem, ClusterName, ContainerInstanceId, InstanceStatus, Timestamp,
    capacity_provider,
};
use crate::plan::command::{
    Command, CommandError, CreateCluster, RegisterContainerInstance, RegisterThisInstance,
    UpdateCluster, apply,
};
use crate::plan::{Ids, World};
use serde_json::json;

fn cluster() -> ClusterName {
    ClusterName::new("dock").unwrap()
}

fn id() -> ContainerInstanceId {
    ContainerInstanceId::new("box").unwrap()
}

fn attribute(name: &str, value: &str) -> Attribute {
    let value = Some(value.to_owned()).filter(|value| !value.is_empty());
    Attribute { name: name.to_owned(), value }
}

fn world() -> World {
    let mut world = World::default();
    submit(&mut world, this_box("dock", 1024)).unwrap();
    world
}

fn put(attributes: &[Attribute]) -> Command {
    let attributes = attributes.iter().map(|a| (id(), a.clone())).collect();
    Command::PutAttributes { cluster: cluster(), attributes }
}

fn delete(attributes: &[Attribute]) -> Command {
    let attributes = attributes.iter().map(|a| (id(), a.clone())).collect();
    Command::DeleteAttributes { cluster: cluster(), attributes }
}

fn registers(attributes: Vec<Attribute>) -> Command {
    Command::RegisterThisInstance(Box::new(RegisterThisInstance {
        id: id(),
        cluster: cluster(),
        capacity: Capacity::default(),
        attributes,
        agent_version: "1".to_owned(),
    }))
}

fn all(world: &World) -> Vec<Attribute> {
    world.container_instances[&id()].attributes.clone()
}

#[test]
fn attributes_that_were_put_survive_a_registration() {
    let mut world = world();
    let told = vec![attribute("ecs.os-type", "linux"), attribute("rack", "a")];
    submit(&mut world, registers(told.clone())).unwrap();
    submit(&mut world, put(&[attribute("rack", "b"), attribute("ssd", "")])).unwrap();
    let now = [attribute("ecs.os-type", "linux"), attribute("rack", "b"), attribute("ssd", "")];
    assert_eq!(all(&world), now);
    let before = world.clone();
    submit(&mut world, registers(told.clone())).unwrap();
    submit(&mut world, put(&[attribute("ssd", "")])).unwrap();
    assert_eq!(world, before, "what was put wins over what is told, and is there already");

    submit(&mut world, delete(&[attribute("rack", "other")])).unwrap();
    assert_eq!(all(&world), now, "another value is not meant");
    submit(&mut world, delete(&[attribute("rack", ""), attribute("nothing", "")])).unwrap();
    assert_eq!(all(&world), [attribute("ecs.os-type", "linux"), attribute("ssd", "")]);
    submit(&mut world, registers(told)).unwrap();
    assert!(all(&world).contains(&attribute("rack", "a")), "the box tells its own again");
}

#[test]
fn attributes_have_limits() {
    let mut world = world();
    for bad in [
        attribute("", "x"),
        attribute("a b", "x"),
        attribute(&"n".repeat(129), "x"),
        attribute("n", " x"),
        attribute("n", "a*"),
        attribute("n", &"v".repeat(129)),
        attribute("ecs.os-type", "plan9"),
        attribute("com.amazonaws.ecs.capability.privileged-container", ""),
    ] {
        let refused = submit(&mut world, put(std::slice::from_ref(&bad)));
        assert!(matches!(refused, Err(CommandError::InvalidParameter(_))), "{bad:?}");
    }
    let many: Vec<_> = (0..11).map(|n| attribute(&format!("a{n}"), "x")).collect();
    assert!(matches!(submit(&mut world, put(&many)), Err(CommandError::InvalidParameter(_))));
    submit(&mut world, put(&many[..10])).unwrap();
    let eleventh = submit(&mut world, put(&many[10..]));
    assert_eq!(eleventh, Err(CommandError::AttributeLimitExceeded));
    submit(&mut world, put(&[attribute("a0", "other")])).unwrap();
    let stranger = ContainerInstanceId::new("nobody").unwrap();
    let attributes = vec![(stranger, attribute("a", "b"))];
    let elsewhere = Command::PutAttributes { cluster: cluster(), attributes };
    assert_eq!(submit(&mut world, elsewhere), Err(CommandError::TargetNotFound));
    let unknown = Command::DeleteAttributes {
        cluster: ClusterName::new("nowhere").unwrap(),
        attributes: Vec::new(),
    };
    assert_eq!(submit(&mut world, unknown), Err(CommandError::ClusterNotFound));
}

fn item(name: &str, weight: u32, base: u32) -> CapacityProviderStrategyItem {
    CapacityProviderStrategyItem { capacity_provider: name.to_owned(), weight, base }
}

fn providers(names: &[&str], strategy: Vec<CapacityProviderStrategyItem>) -> Command {
    Command::PutClusterCapacityProviders {
        cluster: cluster(),
        capacity_providers: names.iter().map(ToString::to_string).collect(),
        strategy,
    }
}

#[test]
fn a_pool_is_there_when_a_box_or_the_configuration_names_it() {
    let mut world = world();
    let refused = |world: &mut World, command| match submit(world, command) {
        Err(CommandError::InvalidParameter(text)) => text,
        other => panic!("{other:?}"),
    };
    assert!(refused(&mut world, providers(&["quay"], vec![])).contains("'quay' was not found"));
    assert!(refused(&mut world, providers(&["FARGATE"], vec![])).contains("FARGATE"));
    submit(&mut world, put(&[attribute(capacity_provider::ATTRIBUTE, "quay")])).unwrap();
    world.settings.capacity_providers.insert("yard".to_owned());
    submit(&mut world, providers(&["quay", "yard"], vec![item("quay", 1, 2)])).unwrap();
    let record = &world.clusters[&cluster()];
    assert_eq!(record.capacity_providers, ["quay", "yard"]);
    assert_eq!(record.default_capacity_provider_strategy, [item("quay", 1, 2)]);

    let twice = vec![item("quay", 1, 0), item("quay", 1, 0)];
    let bases = vec![item("quay", 1, 1), item("yard", 1, 1)];
    for (names, strategy, part) in [
        (&["quay"][..], vec![item("yard", 1, 0)], "not associated"),
        (&["quay", "quay"], vec![], "more than once"),
        (&["quay", "yard"], twice, "more than once"),
        (&["quay", "yard"], bases, "base"),
        (&["quay"], vec![item("quay", 1001, 0)], "weight"),
        (&["quay"], vec![item("quay", 1, 100_001)], "base"),
    ] {
        let text = refused(&mut world, providers(names, strategy));
        assert!(text.contains(part), "{text}");
    }
    let record = world.clusters[&cluster()].clone();
    let check = super::super::capacity_provider::check_usable;
    assert!(check(&record, &[item("quay", 0, 0), item("yard", 0, 0)]).is_err());
    assert_eq!(check(&record, &[item("quay", 0, 0)]), Ok(()));

    // The pool stays associated when its last box leaves it.
    submit(&mut world, delete(&[attribute(capacity_provider::ATTRIBUTE, "")])).unwrap();
    submit(&mut world, providers(&["quay"], vec![])).unwrap();
    submit(&mut world, providers(&[], vec![])).unwrap();
    assert!(world.clusters[&cluster()].capacity_providers.is_empty());
}

fn create(name: &str) -> CreateCluster {
    CreateCluster {
        name: ClusterName::new(name).unwrap(),
        tags: Vec::new(),
        settings: Vec::new(),
        configuration: None,
        capacity_providers: Vec::new(),
        default_capacity_provider_strategy: Vec::new(),
        service_connect_defaults: None,
    }
}

#[test]
fn a_cluster_is_made_once_and_then_updated() {
    let mut world = world();
    let settings = |value: &str| vec![json!({ "name": "containerInsights", "value": value })];
    let first = CreateCluster { settings: settings("enhanced"), ..create("pier") };
    let submit_it = |world: &mut World, create: &CreateCluster| {
        submit(world, Command::CreateCluster(Box::new(create.clone())))
    };
    submit_it(&mut world, &first).unwrap();
    submit_it(&mut world, &first).unwrap();
    submit_it(&mut world, &create("pier")).unwrap();
    let other = CreateCluster { settings: settings("disabled"), ..create("pier") };
    assert!(matches!(submit_it(&mut world, &other), Err(CommandError::InvalidParameter(_))));
    let pools = CreateCluster { capacity_providers: vec!["x".to_owned()], ..create("other") };
    assert!(matches!(submit_it(&mut world, &pools), Err(CommandError::InvalidParameter(_))));

    let name = ClusterName::new("pier").unwrap();
    let update = UpdateCluster {
        name: name.clone(),
        settings: None,
        configuration: Some(json!({ "executeCommandConfiguration": { "logging": "NONE" } })),
        service_connect_defaults: Some(json!({ "namespace": "harbour" })),
    };
    submit(&mut world, Command::UpdateCluster(Box::new(update.clone()))).unwrap();
    let record = &world.clusters[&name];
    assert_eq!(record.settings, settings("enhanced"), "what is not given stays");
    assert_eq!(record.configuration, update.configuration);
    assert_eq!(record.service_connect_defaults, update.service_connect_defaults);
    let nowhere = UpdateCluster { name: ClusterName::new("nowhere").unwrap(), ..update };
    let refused = submit(&mut world, Command::UpdateCluster(Box::new(nowhere)));
    assert_eq!(refused, Err(CommandError::ClusterNotFound));
}

#[test]
fn a_new_cluster_follows_the_accounts_setting_for_container_insights() {
    let mut world = World::default();
    let principal = "arn:aws:iam::000000000000:root".to_owned();
    let (name, value) = ("containerInsights".to_owned(), "on".to_owned());
    submit(&mut world, Command::PutAccountSetting { principal, name, value }).unwrap();
    submit(&mut world, Command::CreateCluster(Box::new(create("pier")))).unwrap();
    let settings = &world.clusters[&ClusterName::new("pier").unwrap()].settings;
    assert_eq!(*settings, [json!({ "name": "containerInsights", "value": "enabled" })]);
}

fn registration() -> RegisterContainerInstance {
    RegisterContainerInstance {
        cluster: cluster(),
        id: None,
        capacity: Capacity { cpu: 4096, memory: 8192, ..Capacity::default() },
        attributes: vec![attribute("rack", "a")],
        agent_version: "1.90.0".to_owned(),
        agent_hash: None,
        docker_version: None,
        ec2_instance_id: Some("i-1".to_owned()),
        tags: vec![tag("a", "1")],
    }
}

fn simulated(world: &mut World, registration: RegisterContainerInstance) -> ContainerInstanceId {
    let command = Command::RegisterContainerInstance(Box::new(registration));
    match submit(world, command).unwrap() {
        Reply::ContainerInstances { mut instances, .. } => instances.remove(0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn instances_without_a_box_are_for_simulations() {
    let mut world = world();
    let command = Command::RegisterContainerInstance(Box::new(registration()));
    assert!(matches!(submit(&mut world, command), Err(CommandError::Client(_))));
    world.settings.simulated = true;
    let id = simulated(&mut world, registration());
    let there = world.container_instances[&id].clone();
    assert!(there.simulated);
    assert_eq!((there.capacity.cpu, there.tags.len()), (4096, 1));
    let again = RegisterContainerInstance {
        id: Some(id.clone()),
        tags: vec![tag("b", "2")],
        ..registration()
    };
    assert_eq!(simulated(&mut world, again.clone()), id);
    assert_eq!(world.container_instances[&id].tags.len(), 2);
    assert_eq!(world.container_instances[&id].version, there.version + 1);

    let gone = Command::DeregisterContainerInstance {
        cluster: cluster(),
        instance: id.clone(),
        force: false,
    };
    submit(&mut world, gone).unwrap();
    assert_eq!(world.container_instances[&id].status(), InstanceStatus::Inactive);
    let command = Command::RegisterContainerInstance(Box::new(again));
    assert!(matches!(submit(&mut world, command), Err(CommandError::Client(_))));
}

#[test]
fn instances_that_are_gone_are_forgotten_in_the_end() {
    let mut world = world();
    world.settings.simulated = true;
    let first = simulated(&mut world, registration());
    let leaves = |instance| Command::DeregisterContainerInstance {
        cluster: cluster(),
        instance,
        force: false,
    };
    submit(&mut world, leaves(first.clone())).unwrap();
    assert!(world.container_instances.contains_key(&first));
    let second = RegisterContainerInstance { ec2_instance_id: None, ..registration() };
    let second = {
        let command = Command::RegisterContainerInstance(Box::new(second));
        let outcome = apply(&mut world, command, NOW, &mut Ids::from_seed(7)).unwrap();
        outcome.changes.iter().for_each(|change| world.apply(change));
        world.container_instances.keys().find(|i| **i != first && **i != id()).unwrap().clone()
    };
    let later = Timestamp::from_secs(NOW.millis() / 1000 + 3601);
    let outcome = apply(&mut world, leaves(second.clone()), later, &mut Ids::from_seed(1)).unwrap();
    outcome.changes.iter().for_each(|change| world.apply(change));
    assert!(!world.container_instances.contains_key(&first));
    assert!(world.container_instances.contains_key(&second));
}

#[test]
fn a_box_drains_leaves_and_comes_back() {
    let mut world = world();
    let status = |world: &World| world.container_instances[&id()].status();
    let drain = |draining| Command::UpdateContainerInstancesState {
        cluster: cluster(),
        instances: vec![id(), id(), ContainerInstanceId::new("nobody").unwrap()],
        draining,
    };
    let reply = submit(&mut world, drain(true)).unwrap();
    let Reply::ContainerInstances { instances, failures } = reply else { panic!("{reply:?}") };
    assert_eq!(instances, [id()]);
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].reason.as_deref(), Some("MISSING"));
    assert_eq!(status(&world), InstanceStatus::Draining);
    submit(&mut world, this_box("dock", 1024)).unwrap();
    assert_eq!(status(&world), InstanceStatus::Draining, "a restart changes nothing about that");

    let leave =
        Command::DeregisterContainerInstance { cluster: cluster(), instance: id(), force: false };
    submit(&mut world, leave.clone()).unwrap();
    assert_eq!(status(&world), InstanceStatus::Inactive);
    submit(&mut world, leave).unwrap();
    let reply = submit(&mut world, drain(false)).unwrap();
    let Reply::ContainerInstances { instances, failures } = reply else { panic!("{reply:?}") };
    assert!(instances.is_empty());
    assert_eq!(failures[0].reason.as_deref(), Some("INACTIVE"));
    submit(&mut world, Command::DeleteCluster(cluster())).unwrap();
    submit(&mut world, this_box("dock", 1024)).unwrap();
    assert_eq!(status(&world), InstanceStatus::Active);
}
