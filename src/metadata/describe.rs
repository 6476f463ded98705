//! Tasks and containers as the task metadata endpoint shows them: `CamelCase`, times as RFC 3339, absent rather than
//! null.

use super::route::Version;
use crate::model::task_definition::{ContainerDefinition, TaskDefinitionContent};
use crate::model::{
    Container, ContainerStatus, HealthStatus, Tag, Task, TaskDefinition, TaskStatus, Timestamp,
};
use crate::plan::{World, effective};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// CPU shares of a container that asks for none.
const LEAST_CPU: u32 = 2;

/// The definition that a task runs.
pub(super) fn definition<'a>(world: &'a World, task: &Task) -> Option<&'a TaskDefinition> {
    world.task_definitions.get(&task.task_definition)
}

/// A time as Go writes it.
pub(super) fn time(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.millis())
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_string()
}

/// Adds a member if there is a value for it.
pub(super) fn put(object: &mut Map<String, Value>, name: &str, value: Option<impl Serialize>) {
    if let Some(value) = value {
        object.insert(name.to_owned(), json!(value));
    }
}

/// The network mode of a task.
fn network_mode(content: Option<&TaskDefinitionContent>) -> &str {
    content.and_then(|content| content.network_mode.as_deref()).unwrap_or("bridge")
}

/// What Docker would call the container: unique on the box, and telling.
pub(super) fn docker_name(task: &Task, container: &Container) -> String {
    task.long_name(container)
}

/// ECS's agent tells more stages than the API does.
pub(super) fn known_status(container: &Container) -> &'static str {
    match container.last_status {
        ContainerStatus::Running => "RUNNING",
        ContainerStatus::Stopped => "STOPPED",
        ContainerStatus::Pending if container.runtime_id.is_some() => "CREATED",
        ContainerStatus::Pending if container.image_digest.is_some() => "PULLED",
        ContainerStatus::Pending => "NONE",
    }
}

/// A container.
pub(super) fn container(
    world: &World,
    task: &Task,
    container: &Container,
    version: Version,
) -> Value {
    let record = definition(world, task);
    let content = record.map(|record| &record.content);
    let effective = record
        .and_then(|record| record.container(container.name.as_str()))
        .map(|definition| effective::container(definition, &task.overrides));
    let of = effective.unwrap_or_default();

    let mut object = Map::new();
    object.insert("DockerId".into(), json!(container.runtime_id));
    object.insert("Name".into(), json!(container.name));
    object.insert("DockerName".into(), json!(docker_name(task, container)));
    object.insert("Image".into(), json!(container.image));
    object.insert("ImageID".into(), json!(container.image_digest));
    if container.runtime_id.is_none() {
        object.insert("DockerId".into(), json!(""));
    }
    if container.image_digest.is_none() {
        object.insert("ImageID".into(), json!(""));
    }
    let ports = ports(container, network_mode(content), &of, version);
    put(&mut object, "Ports", Some(ports).filter(|ports| !ports.is_empty()));
    object.insert("Labels".into(), labels(world, task, container, &of));
    object.insert("DesiredStatus".into(), json!(task.desired_status.as_str()));
    object.insert("KnownStatus".into(), json!(known_status(container)));
    put(&mut object, "ExitCode", container.exit_code);
    let cpu = of.cpu.and_then(|cpu| u32::try_from(cpu).ok()).unwrap_or(0).max(LEAST_CPU);
    object.insert("Limits".into(), json!({ "CPU": cpu, "Memory": of.memory.unwrap_or(0) }));
    put(&mut object, "CreatedAt", container.started_at.map(time));
    put(&mut object, "StartedAt", container.started_at.map(time));
    put(&mut object, "FinishedAt", container.finished_at.map(time));
    object.insert("Type".into(), json!("NORMAL"));
    if of.health_check.is_some() {
        let known = Some(container.health_status).filter(|s| *s != HealthStatus::Unknown);
        let mut health = Map::new();
        put(&mut health, "status", known);
        object.insert("Health".into(), Value::Object(health));
    }
    let volumes = volumes(content, &of);
    put(&mut object, "Volumes", Some(volumes).filter(|volumes| !volumes.is_empty()));
    let networks = networks(task, container, network_mode(content), version);
    put(&mut object, "Networks", Some(networks).filter(|networks| !networks.is_empty()));
    if of.restart_policy.as_ref().is_some_and(|policy| policy.enabled == Some(true)) {
        object.insert("RestartCount".into(), json!(container.restart_count));
    }
    if version == Version::Four {
        let log = of.log_configuration.as_ref();
        let driver = log.and_then(|log| log.log_driver.as_deref()).unwrap_or("json-file");
        object.insert("LogDriver".into(), json!(driver));
        let options = log.and_then(|log| log.options.as_ref());
        put(&mut object, "LogOptions", options.filter(|options| !options.is_empty()));
        let arn = world.settings.scope.container(&task.cluster, &task.id, &container.id);
        object.insert("ContainerARN".into(), json!(arn));
    }
    Value::Object(object)
}

/// The definition's labels, and those that ECS's agent adds.
fn labels(world: &World, task: &Task, container: &Container, of: &ContainerDefinition) -> Value {
    let mut labels = of.docker_labels.clone().unwrap_or_default();
    let reference = &task.task_definition;
    let mut add = |name: &str, value: String| {
        labels.insert(format!("com.amazonaws.ecs.{name}"), value);
    };
    add("cluster", task.cluster.to_string());
    add("container-name", container.name.to_string());
    add("task-arn", world.settings.scope.task(&task.cluster, &task.id));
    add("task-definition-family", reference.family.to_string());
    add("task-definition-version", reference.revision.to_string());
    json!(labels)
}

/// Ports that are published on the box; in host mode those of the definition, which are the box's own.
pub(super) fn ports(
    container: &Container,
    mode: &str,
    of: &ContainerDefinition,
    version: Version,
) -> Vec<Value> {
    let port = |inside: Value, outside: Value, protocol: &str, address: Option<&str>| {
        let mut port = Map::new();
        port.insert("ContainerPort".into(), inside);
        port.insert("Protocol".into(), json!(protocol));
        port.insert("HostPort".into(), outside);
        put(&mut port, "HostIp", address.filter(|_| version == Version::Four));
        Value::Object(port)
    };
    if mode != "host" {
        let single = container.network_bindings.iter().filter_map(|binding| {
            let (inside, outside) = (binding.container_port?, binding.host_port?);
            Some(port(json!(inside), json!(outside), &binding.protocol, Some(&binding.bind_ip)))
        });
        return single.collect();
    }
    let mapped = of.port_mappings.iter().flatten().filter_map(|mapping| {
        let inside = mapping.container_port?;
        let protocol = mapping.protocol.as_deref().unwrap_or("tcp");
        Some(port(json!(inside), json!(inside), protocol, None))
    });
    mapped.collect()
}

/// The volumes that the container mounts.
pub(super) fn volumes(
    content: Option<&TaskDefinitionContent>,
    of: &ContainerDefinition,
) -> Vec<Value> {
    let volumes = content.and_then(|content| content.volumes.as_deref()).unwrap_or_default();
    let mounted = of.mount_points.iter().flatten().map(|mount| {
        let source = volumes
            .iter()
            .find(|volume| volume.name == mount.source_volume)
            .and_then(|volume| volume.host.as_ref()?.source_path.as_deref());
        let mut object = Map::new();
        put(&mut object, "DockerName", mount.source_volume.as_deref());
        put(&mut object, "Source", source);
        put(&mut object, "Destination", mount.container_path.as_deref());
        Value::Object(object)
    });
    mounted.collect()
}

/// The network of the container: in `awsvpc` mode that of the task.
pub(super) fn networks(
    task: &Task,
    container: &Container,
    mode: &str,
    version: Version,
) -> Vec<Value> {
    let mut network = Map::new();
    network.insert("NetworkMode".into(), json!(mode));
    let interfaces = &container.network_interfaces;
    let v4: Vec<_> = interfaces.iter().filter_map(|i| i.private_ipv4_address).collect();
    let v6: Vec<_> = interfaces.iter().filter_map(|i| i.ipv6_address).collect();
    put(&mut network, "IPv4Addresses", Some(v4).filter(|all| !all.is_empty()));
    put(&mut network, "IPv6Addresses", Some(v6).filter(|all| !all.is_empty()));
    if mode == "awsvpc" && version == Version::Four {
        network.insert("AttachmentIndex".into(), json!(0));
        let mac = interfaces.iter().find_map(|interface| interface.mac_address.as_deref());
        put(&mut network, "MACAddress", mac);
        let details = task.attachments.iter().flat_map(|attachment| &attachment.details);
        let name = details
            .filter(|detail| detail.name.as_deref() == Some("privateDnsName"))
            .find_map(|detail| detail.value.as_deref());
        put(&mut network, "PrivateDNSName", name);
    }
    vec![Value::Object(network)]
}

/// A task with its containers, and with tags if they are asked for.
pub(super) fn task(world: &World, task: &Task, version: Version, tags: bool) -> Value {
    let content = definition(world, task).map(|definition| &definition.content);
    let containers: Vec<Value> =
        task.containers.iter().map(|c| container(world, task, c, version)).collect();
    let attribute = |name: &str| {
        let instance = world.container_instances.get(&task.container_instance)?;
        instance.attributes.iter().find(|a| a.name == name)?.value.as_deref()
    };

    let mut object = Map::new();
    object.insert("Cluster".into(), json!(task.cluster));
    object.insert("TaskARN".into(), json!(world.settings.scope.task(&task.cluster, &task.id)));
    object.insert("Family".into(), json!(task.task_definition.family));
    object.insert("Revision".into(), json!(task.task_definition.revision.to_string()));
    object.insert("DesiredStatus".into(), json!(task.desired_status.as_str()));
    object.insert("KnownStatus".into(), json!(known_status_of_task(task)));
    put(&mut object, "Limits", content.and_then(|content| limits(task, content)));
    put(&mut object, "PullStartedAt", task.pull_started_at.map(time));
    put(&mut object, "PullStoppedAt", task.pull_stopped_at.map(time));
    put(&mut object, "ExecutionStoppedAt", task.execution_stopped_at.map(time));
    put(&mut object, "AvailabilityZone", attribute("ecs.availability-zone"));
    if version == Version::Four {
        object.insert("LaunchType".into(), json!(task.launch_type));
        put(&mut object, "VPCID", attribute("ecs.vpc-id"));
        put(&mut object, "ServiceName", task.service.as_ref().map(|service| service.name.as_str()));
        object.insert("FaultInjectionEnabled".into(), json!(false));
    }
    object.insert("Containers".into(), json!(containers));
    if tags {
        let instance = world.container_instances.get(&task.container_instance);
        put(&mut object, "TaskTags", tag_map(&task.tags));
        put(&mut object, "ContainerInstanceTags", instance.and_then(|i| tag_map(&i.tags)));
    }
    Value::Object(object)
}

fn known_status_of_task(task: &Task) -> &'static str {
    match task.last_status {
        TaskStatus::Stopped => "STOPPED",
        status if status >= TaskStatus::Running => "RUNNING",
        _ => task.containers.iter().map(known_status).find(|s| *s == "NONE").unwrap_or("CREATED"),
    }
}

/// CPU in cores and memory in MiB, when the task states them.
fn limits(task: &Task, content: &TaskDefinitionContent) -> Option<Value> {
    let cpu = effective::task_cpu(content, &task.overrides).map(|units| f64::from(units) / 1024.0);
    let memory = effective::task_memory(content, &task.overrides);
    let mut limits = Map::new();
    put(&mut limits, "CPU", cpu);
    put(&mut limits, "Memory", memory);
    Some(Value::Object(limits)).filter(|limits| limits.as_object().is_some_and(|l| !l.is_empty()))
}

fn tag_map(tags: &[Tag]) -> Option<Value> {
    let pairs = tags.iter().map(|tag| {
        let key = tag.key.clone().unwrap_or_default();
        (key, json!(tag.value.as_deref().unwrap_or_default()))
    });
    let map: Map<String, Value> = pairs.collect();
    Some(Value::Object(map)).filter(|map| map.as_object().is_some_and(|map| !map.is_empty()))
}
