//! Container instances, with what remains of their capacity at that moment.

use super::{put, tags};
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
    let count = |statuses: &[TaskStatus]| {
        tasks.iter().filter(|t| statuses.contains(&t.last_status)).count()
    };
    let pending = [TaskStatus::Provisioning, TaskStatus::Pending, TaskStatus::Activating];
    let capacity = &instance.capacity;
    let used = used(world, instance);
    let with = |reserved: &[u16], used: &BTreeSet<u16>| -> BTreeSet<u16> {
        reserved.iter().chain(used).copied().collect()
    };
    let none = BTreeSet::new();

    let mut object = Map::new();
    let arn = world.settings.scope.container_instance(&instance.cluster, &instance.id);
    object.insert("containerInstanceArn".into(), json!(arn));
    put(&mut object, "ec2InstanceId", instance.ec2_instance_id.as_ref());
    put(&mut object, "capacityProviderName", instance.capacity_provider());
    let connected = instance.is_registered()
        && (instance.simulated || world.settings.this_instance.as_ref() == Some(&instance.id));
    object.insert("status".into(), json!(instance.status().as_str()));
    object.insert("agentConnected".into(), json!(connected));
    object.insert("version".into(), json!(instance.version));
    let mut version = Map::new();
    version.insert("agentVersion".into(), json!(instance.agent_version));
    put(&mut version, "agentHash", instance.agent_hash.as_ref());
    put(&mut version, "dockerVersion", instance.docker_version.as_ref());
    object.insert("versionInfo".into(), Value::Object(version));
    object.insert(
        "registeredResources".into(),
        resources(
            u64::from(capacity.cpu),
            u64::from(capacity.memory),
            &with(&capacity.reserved_ports, &none),
            &with(&capacity.reserved_ports_udp, &none),
            &capacity.gpus,
        ),
    );
    object.insert(
        "remainingResources".into(),
        resources(
            u64::from(capacity.cpu).saturating_sub(used.cpu),
            u64::from(capacity.memory).saturating_sub(used.memory),
            &with(&capacity.reserved_ports, &used.ports),
            &with(&capacity.reserved_ports_udp, &used.ports_udp),
            &capacity.gpus,
        ),
    );
    object.insert("runningTasksCount".into(), json!(count(&[TaskStatus::Running])));
    object.insert("pendingTasksCount".into(), json!(count(&pending)));
    object.insert("attributes".into(), json!(instance.attributes));
    object.insert("attachments".into(), json!([]));
    object.insert("registeredAt".into(), json!(instance.registered_at));
    object.insert("tags".into(), if with_tags { tags(&instance.tags) } else { json!([]) });
    if with_health {
        // A box that answers is well: nothing more is measured.
        let status = if connected { "OK" } else { "INSUFFICIENT_DATA" };
        object.insert("healthStatus".into(), json!({ "overallStatus": status, "details": [] }));
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

fn resources(
    cpu: u64,
    memory: u64,
    ports: &BTreeSet<u16>,
    ports_udp: &BTreeSet<u16>,
    gpus: &[String],
) -> Value {
    let number = |name: &str, value: u64| {
        json!({
            "name": name, "type": "INTEGER", "doubleValue": 0.0, "longValue": 0, "integerValue": value
        })
    };
    let texts = |ports: &BTreeSet<u16>| ports.iter().map(ToString::to_string).collect();
    let set = |name: &str, texts: Vec<String>| {
        json!({
            "name": name, "type": "STRINGSET", "doubleValue": 0.0, "longValue": 0, "integerValue": 0,
            "stringSetValue": texts
        })
    };
    let mut all = vec![
        number("CPU", cpu),
        number("MEMORY", memory),
        set("PORTS", texts(ports)),
        set("PORTS_UDP", texts(ports_udp)),
    ];
    if !gpus.is_empty() {
        all.push(set("GPU", gpus.to_vec()));
    }
    Value::Array(all)
}
