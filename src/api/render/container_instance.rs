//! Container instances, with what remains of their capacity at that moment.

use super::tags;
use crate::model::{ContainerInstance, Task, TaskStatus};
use crate::plan::World;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// A box as DescribeContainerInstances shows it.
pub(crate) fn instance(
    world: &World,
    instance: &ContainerInstance,
    with_tags: bool,
    with_health: bool,
) -> Value {
    let tasks: Vec<&Task> =
        world.tasks.values().filter(|t| t.container_instance == instance.id).collect();
    let count = |status| tasks.iter().filter(|t| t.last_status == status).count();
    let capacity = &instance.capacity;
    let used = used(world, &tasks);
    let with = |reserved: &[u16], used: &BTreeSet<u16>| -> BTreeSet<u16> {
        reserved.iter().chain(used).copied().collect()
    };
    let none = BTreeSet::new();

    let mut object = Map::new();
    let arn = world.settings.scope.container_instance(&instance.cluster, &instance.id);
    object.insert("containerInstanceArn".into(), json!(arn));
    object.insert("status".into(), json!(if instance.draining { "DRAINING" } else { "ACTIVE" }));
    object.insert("agentConnected".into(), json!(true));
    object.insert("version".into(), json!(instance.version));
    object.insert("versionInfo".into(), json!({ "agentVersion": instance.agent_version }));
    object.insert(
        "registeredResources".into(),
        resources(
            i64::from(capacity.cpu),
            i64::from(capacity.memory),
            &with(&capacity.reserved_ports, &none),
            &with(&capacity.reserved_ports_udp, &none),
        ),
    );
    object.insert(
        "remainingResources".into(),
        resources(
            i64::from(capacity.cpu) - used.cpu,
            i64::from(capacity.memory) - used.memory,
            &with(&capacity.reserved_ports, &used.ports),
            &with(&capacity.reserved_ports_udp, &used.ports_udp),
        ),
    );
    object.insert("runningTasksCount".into(), json!(count(TaskStatus::Running)));
    object.insert("pendingTasksCount".into(), json!(count(TaskStatus::Pending)));
    object.insert("attributes".into(), json!(instance.attributes));
    object.insert("attachments".into(), json!([]));
    object.insert("registeredAt".into(), json!(instance.registered_at));
    object.insert("tags".into(), if with_tags { tags(&instance.tags) } else { json!([]) });
    if with_health {
        // The box answers this request itself, and nothing more is measured.
        object.insert("healthStatus".into(), json!({ "overallStatus": "OK", "details": [] }));
    }
    Value::Object(object)
}

/// What the tasks on a box take of it.
#[derive(Default)]
struct Used {
    cpu: i64,
    memory: i64,
    ports: BTreeSet<u16>,
    ports_udp: BTreeSet<u16>,
}

fn used(world: &World, tasks: &[&Task]) -> Used {
    let mut used = Used::default();
    for task in tasks.iter().filter(|t| t.last_status != TaskStatus::Stopped) {
        let Some(definition) = world.task_definitions.get(&task.task_definition) else { continue };
        let of_task = |text: Option<&String>| text.and_then(|t| t.parse::<i64>().ok());
        let (mut cpu, mut memory) = (0, 0);
        for container in definition.containers() {
            let given = task.overrides.container_overrides.iter().flatten();
            let overridden = given.into_iter().find(|o| o.name == container.name);
            let of_override = |get: fn(&crate::model::task::ContainerOverride) -> Option<i64>| {
                overridden.and_then(get)
            };
            cpu += of_override(|o| o.cpu).or(container.cpu).unwrap_or(0);
            memory += of_override(|o| o.memory_reservation)
                .or(container.memory_reservation)
                .or(of_override(|o| o.memory))
                .or(container.memory)
                .unwrap_or(0);
            for mapping in container.port_mappings.iter().flatten() {
                let port = mapping.host_port.filter(|p| *p != 0).or(mapping.container_port);
                if let Some(port) = port.and_then(|p| u16::try_from(p).ok()) {
                    match mapping.protocol.as_deref() {
                        Some("udp") => used.ports_udp.insert(port),
                        _ => used.ports.insert(port),
                    };
                }
            }
        }
        used.cpu += of_task(task.cpu.as_ref()).unwrap_or(cpu);
        used.memory += of_task(task.memory.as_ref()).unwrap_or(memory);
    }
    used
}

fn resources(cpu: i64, memory: i64, ports: &BTreeSet<u16>, ports_udp: &BTreeSet<u16>) -> Value {
    let number = |name: &str, value: i64| json!({ "name": name, "type": "INTEGER", "doubleValue": 0.0, "longValue": 0, "integerValue": value });
    let set = |name: &str, ports: &BTreeSet<u16>| {
        let texts: Vec<String> = ports.iter().map(ToString::to_string).collect();
        json!({
            "name": name, "type": "STRINGSET", "doubleValue": 0.0, "longValue": 0, "integerValue": 0,
            "stringSetValue": texts
        })
    };
    json!([
        number("CPU", cpu),
        number("MEMORY", memory),
        set("PORTS", ports),
        set("PORTS_UDP", ports_udp),
    ])
}
