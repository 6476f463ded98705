//! Commands in short: only what a test cares about is named.

use coracle::model::container_instance::{Attribute, Capacity};
use coracle::model::network::AwsvpcConfiguration;
use coracle::model::service::{PropagateTags, SchedulingStrategy};
use coracle::model::task::TaskOverride;
use coracle::model::{
    CapacityProviderStrategyItem, ClusterName, ContainerInstanceId, Family, PlacementStrategy,
    Revision, TaskDefinitionRef,
};
use coracle::plan::Command;
use coracle::plan::command::service::{WantedDefinition, WantedDeploymentConfiguration};
use coracle::plan::command::{
    CreateCluster, CreateService, RegisterContainerInstance, RegisterThisInstance, RunTask,
};

pub(crate) fn create_cluster() -> Command {
    Command::CreateCluster(Box::new(CreateCluster::named(ClusterName::default_cluster())))
}

/// What makes a made-up box of this id, in two steps: its id is told as by a real one, and then that there is no box.
pub(crate) fn register(
    id: &str,
    cpu: u32,
    memory: u32,
    attributes: &[(&str, &str)],
) -> [Command; 2] {
    let attributes: Vec<Attribute> = attributes
        .iter()
        .map(|(name, value)| Attribute { name: (*name).into(), value: Some((*value).into()) })
        .collect();
    let capacity = Capacity { cpu, memory, ..Capacity::default() };
    let this = RegisterThisInstance {
        id: instance(id),
        cluster: ClusterName::default_cluster(),
        capacity: capacity.clone(),
        attributes: attributes.clone(),
        agent_version: "1.0.0".to_owned(),
    };
    let made_up = RegisterContainerInstance {
        cluster: ClusterName::default_cluster(),
        id: Some(instance(id)),
        capacity,
        attributes,
        agent_version: "1.0.0".to_owned(),
        agent_hash: None,
        docker_version: None,
        ec2_instance_id: None,
        tags: Vec::new(),
    };
    [
        Command::RegisterThisInstance(Box::new(this)),
        Command::RegisterContainerInstance(Box::new(made_up)),
    ]
}

pub(crate) fn instance(id: &str) -> ContainerInstanceId {
    ContainerInstanceId::new(id).unwrap()
}

/// A task definition from JSON, as in the API.
pub(crate) fn definition(content: serde_json::Value) -> Command {
    Command::RegisterTaskDefinition {
        content: Box::new(serde_json::from_value(content).unwrap()),
        tags: Vec::new(),
        registered_by: None,
    }
}

/// `FAMILY` or `FAMILY:REVISION`.
pub(crate) fn wanted(definition: &str) -> WantedDefinition {
    let (family, revision) = match definition.split_once(':') {
        Some((family, revision)) => (family, Some(Revision(revision.parse().unwrap()))),
        None => (definition, None),
    };
    WantedDefinition { family: Family::new(family).unwrap(), revision }
}

pub(crate) fn reference(family: &str, revision: u32) -> TaskDefinitionRef {
    TaskDefinitionRef { family: Family::new(family).unwrap(), revision: Revision(revision) }
}

/// A REPLICA service without anything special.
pub(crate) fn create(name: &str, definition: &str, count: i64) -> CreateService {
    CreateService {
        key: super::key(name),
        task_definition: wanted(definition),
        scheduling_strategy: SchedulingStrategy::Replica,
        desired_count: Some(count),
        launch_type: None,
        capacity_provider_strategy: Vec::new(),
        platform_version: None,
        network: None,
        deployment_configuration: WantedDeploymentConfiguration::default(),
        placement_constraints: Vec::new(),
        placement_strategy: Vec::new(),
        health_check_grace_period_seconds: None,
        availability_zone_rebalancing: None,
        enable_ecs_managed_tags: false,
        propagate_tags: PropagateTags::None,
        enable_execute_command: false,
        role: None,
        service_registries: Vec::new(),
        service_connect_configuration: None,
        tags: Vec::new(),
        created_by: None,
        client_token: None,
    }
}

pub(crate) fn run(definition: &str, count: u32) -> RunTask {
    let WantedDefinition { family, revision } = wanted(definition);
    RunTask {
        cluster: ClusterName::default_cluster(),
        family,
        revision,
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
        client_token: None,
    }
}

/// The network of tasks of awsvpc mode.
pub(crate) fn network() -> AwsvpcConfiguration {
    AwsvpcConfiguration {
        subnets: Some(vec!["subnet-1".to_owned()]),
        ..AwsvpcConfiguration::default()
    }
}

pub(crate) fn rank(kind: &str, field: Option<&str>) -> PlacementStrategy {
    PlacementStrategy { kind: Some(kind.to_owned()), field: field.map(str::to_owned) }
}

pub(crate) fn pool(name: &str, base: u32, weight: u32) -> CapacityProviderStrategyItem {
    CapacityProviderStrategyItem { capacity_provider: name.to_owned(), base, weight }
}
