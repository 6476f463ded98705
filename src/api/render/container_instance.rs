//! Container instances, with what remains of their capacity at that moment.

use super::tags;
use crate::model::{ContainerInstance, Task, TaskStatus};
use crate::plan::World;
use crate::plan::command::placement::Needs;
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
    let used = used(world, instance);
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
            u64::from(capacity.cpu),
            u64::from(capacity.memory),
            &with(&capacity.reserved_ports, &none),
            &with(&capacity.reserved_ports_udp, &none),
        ),
    );
    object.insert(
        "remainingResources".into(),
        resources(
            u64::from(capacity.cpu).saturating_sub(used.cpu),
            u64::from(capacity.memory).saturating_sub(used.memory),
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

/// What is assigned to a box takes of it, as placement counts it.
#[derive(Default)]
struct Used {
    cpu: u64,
    memory: u64,
    ports: BTreeSet<u16>,
    ports_udp: BTreeSet<u16>,
}

fn used(world: &World, instance: &ContainerInstance) -> Used {
    let mut used = Used::default();
    let here = world.assignments.values().filter(|a| a.container_instance == instance.id);
    for assignment in here {
        let Some(definition) = world.task_definitions.get(&assignment.task_definition) else {
            continue;
        };
        let needs = Needs::of_assignment(definition, assignment);
        used.cpu += needs.cpu;
        used.memory += needs.memory;
        for (port, udp) in needs.ports {
            if udp {
                used.ports_udp.insert(port);
            } else {
                used.ports.insert(port);
            }
        }
    }
    used
}

fn resources(cpu: u64, memory: u64, ports: &BTreeSet<u16>, ports_udp: &BTreeSet<u16>) -> Value {
    let number = |name: &str, value: u64| json!({ "name": name, "type": "INTEGER", "doubleValue": 0.0, "longValue": 0, "integerValue": value });
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
