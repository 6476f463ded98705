//! Tasks and their containers.

use super::{put, tags};
use crate::model::task_definition::{ContainerDefinition, PortMapping};
use crate::model::{Container, ContainerStatus, NetworkInterface, Task};
use crate::plan::World;
use serde_json::{Map, Value, json};

/// The attribute of a box that tasks show.
const ARCHITECTURE: &str = "ecs.cpu-architecture";

/// The attribute of a box that tells where it is.
const ZONE: &str = "ecs.availability-zone";

/// A task as DescribeTasks shows it.
pub(crate) fn task(world: &World, task: &Task, with_tags: bool) -> Value {
    let scope = &world.settings.scope;
    let containers: Vec<Value> =
        task.containers.iter().map(|c| container(world, task, c)).collect();
    let instance = world.container_instances.get(&task.container_instance);
    let attributes: Vec<_> = instance
        .map(|i| i.attributes.iter().filter(|a| a.name == ARCHITECTURE).collect())
        .unwrap_or_default();

    let mut object = Map::new();
    object.insert("taskArn".into(), json!(scope.task(&task.cluster, &task.id)));
    object.insert("clusterArn".into(), json!(scope.cluster(&task.cluster)));
    object.insert("taskDefinitionArn".into(), json!(scope.task_definition(&task.task_definition)));
    object.insert(
        "containerInstanceArn".into(),
        json!(scope.container_instance(&task.cluster, &task.container_instance)),
    );
    object.insert("attachments".into(), json!(task.attachments));
    object.insert("attributes".into(), json!(attributes));
    object.insert("connectivity".into(), json!("CONNECTED"));
    object.insert("containers".into(), json!(containers));
    object.insert("desiredStatus".into(), json!(task.desired_status.as_str()));
    object.insert("lastStatus".into(), json!(task.last_status.as_str()));
    object.insert("healthStatus".into(), json!(task.health_status));
    object.insert("enableExecuteCommand".into(), json!(task.enable_execute_command));
    object.insert("launchType".into(), json!(task.launch_type));
    put(&mut object, "capacityProviderName", task.capacity_provider_name.as_ref());
    let zone = instance.and_then(|i| i.attribute(ZONE)?.value.as_ref());
    put(&mut object, "availabilityZone", zone);
    if task.launch_type == "FARGATE" {
        object.insert("platformVersion".into(), json!("1.4.0"));
        object.insert("platformFamily".into(), json!("Linux"));
    }
    object.insert("overrides".into(), overrides(task));
    object.insert("version".into(), json!(task.version));
    object.insert("createdAt".into(), json!(task.created_at));
    object.insert("tags".into(), if with_tags { tags(&task.tags) } else { json!([]) });
    put(&mut object, "cpu", task.cpu.as_ref());
    put(&mut object, "memory", task.memory.as_ref());
    put(&mut object, "group", task.group.as_ref());
    put(&mut object, "startedBy", task.started_by.as_ref());
    put(&mut object, "pullStartedAt", task.pull_started_at);
    put(&mut object, "pullStoppedAt", task.pull_stopped_at);
    put(&mut object, "startedAt", task.started_at);
    put(&mut object, "stoppingAt", task.stopping_at);
    put(&mut object, "executionStoppedAt", task.execution_stopped_at);
    put(&mut object, "stoppedAt", task.stopped_at);
    put(&mut object, "stopCode", task.stop_code);
    put(&mut object, "stoppedReason", task.stopped_reason.as_ref());
    Value::Object(object)
}

fn container(world: &World, task: &Task, container: &Container) -> Value {
    let scope = &world.settings.scope;
    let record = world.task_definitions.get(&task.task_definition);
    let definition = record.and_then(|d| d.container(container.name.as_str()));
    let host_mode = record.is_some_and(|d| d.content.network_mode.as_deref() == Some("host"));
    let overridden = task
        .overrides
        .container_overrides
        .iter()
        .flatten()
        .find(|o| o.name.as_deref() == Some(container.name.as_str()));
    let number = |of_override: Option<i64>, of_definition: Option<i64>| {
        of_override.or(of_definition).map(|n| n.to_string())
    };
    let cpu = number(overridden.and_then(|o| o.cpu), definition.and_then(|d| d.cpu));
    let memory = number(overridden.and_then(|o| o.memory), definition.and_then(|d| d.memory));
    let reservation = number(
        overridden.and_then(|o| o.memory_reservation),
        definition.and_then(|d| d.memory_reservation),
    );
    let bindings = match definition {
        Some(definition) if host_mode && container.last_status == ContainerStatus::Running => {
            bindings(definition)
        }
        _ => container.network_bindings.iter().map(|binding| json!(binding)).collect(),
    };
    let interfaces: Vec<Value> =
        container.network_interfaces.iter().filter_map(interface).collect();

    let mut object = Map::new();
    let arn = scope.container(&task.cluster, &task.id, &container.id);
    object.insert("containerArn".into(), json!(arn));
    object.insert("taskArn".into(), json!(scope.task(&task.cluster, &task.id)));
    object.insert("name".into(), json!(container.name));
    object.insert("image".into(), json!(container.image));
    object.insert("lastStatus".into(), json!(container.last_status.as_str()));
    object.insert("healthStatus".into(), json!(container.health_status));
    object.insert("networkBindings".into(), json!(bindings));
    object.insert("networkInterfaces".into(), json!(interfaces));
    object.insert("cpu".into(), json!(cpu.unwrap_or_else(|| "0".to_owned())));
    put(&mut object, "memory", memory);
    put(&mut object, "memoryReservation", reservation);
    put(&mut object, "imageDigest", container.image_digest.as_ref());
    put(&mut object, "runtimeId", container.runtime_id.as_ref());
    put(&mut object, "exitCode", container.exit_code);
    put(&mut object, "reason", container.reason.as_ref());
    Value::Object(object)
}

/// The addresses of a container of awsvpc mode; in bridge mode ECS shows none.
fn interface(interface: &NetworkInterface) -> Option<Value> {
    let mut object = Map::new();
    object.insert("attachmentId".into(), json!(interface.attachment_id.as_ref()?));
    put(&mut object, "privateIpv4Address", interface.private_ipv4_address);
    put(&mut object, "ipv6Address", interface.ipv6_address);
    Some(Value::Object(object))
}

/// The ports of a container that shares the box's network.
fn bindings(definition: &ContainerDefinition) -> Vec<Value> {
    let binding = |mapping: &PortMapping| {
        let port = mapping.container_port?;
        let protocol = mapping.protocol.as_deref().unwrap_or("tcp");
        Some(json!({
            "bindIP": "0.0.0.0", "containerPort": port, "hostPort": port, "protocol": protocol
        }))
    };
    definition.port_mappings.iter().flatten().filter_map(binding).collect()
}

/// The overrides as given, with an entry for every container, as ECS shows them.
fn overrides(task: &Task) -> Value {
    let mut object = match serde_json::to_value(&task.overrides) {
        Ok(Value::Object(object)) => object,
        // A structure with text keys always becomes an object.
        _ => Map::new(),
    };
    let given = task.overrides.container_overrides.as_deref().unwrap_or_default();
    let of_each: Vec<Value> = task
        .containers
        .iter()
        .map(|container| {
            let name = container.name.as_str();
            given
                .iter()
                .find(|o| o.name.as_deref() == Some(name))
                .map_or_else(|| json!({ "name": name }), |o| json!(o))
        })
        .collect();
    object.insert("containerOverrides".into(), json!(of_each));
    object.entry("inferenceAcceleratorOverrides").or_insert_with(|| json!([]));
    Value::Object(object)
}
