//! Container instances, with what remains of their capacity at that moment.

use super::{put, tags};
use crate::model::{ContainerInstance, Timestamp};
use crate::plan::World;
use crate::plan::placement::{Room, is_connected};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// A box as DescribeContainerInstances shows it.
pub(crate) fn instance(
    world: &World,
    instance: &ContainerInstance,
    with_tags: bool,
    with_health: bool,
) -> Value {
    let room = world.index.rooms.get(&instance.id);
    let count = |of: fn(&Room) -> u64| room.map_or(0, of);
    let capacity = &instance.capacity;
    let used = used(room);
    let with = |reserved: &[u16], used: &BTreeSet<u16>| -> BTreeSet<u16> {
        reserved.iter().chain(used).copied().collect()
    };
    let none = BTreeSet::new();

    let mut object = Map::new();
    let arn = world.settings.scope.container_instance(&instance.cluster, &instance.id);
    object.insert("containerInstanceArn".into(), json!(arn));
    put(&mut object, "ec2InstanceId", instance.ec2_instance_id.as_ref());
    put(&mut object, "capacityProviderName", instance.capacity_provider());
    let connected = is_connected(world, instance);
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
    object.insert("runningTasksCount".into(), json!(count(Room::running)));
    object.insert("pendingTasksCount".into(), json!(count(Room::pending)));
    object.insert("attributes".into(), attributes(world, instance));
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

/// What a value of an attribute may be long.
const VALUE_AT_MOST: usize = 128;

/// Its attributes; and, of a box of a fleet, what ECS has no member for. These are shown and cannot be placed by.
fn attributes(world: &World, instance: &ContainerInstance) -> Value {
    let mut all = json!(instance.attributes);
    let (Some(list), Some(device)) = (all.as_array_mut(), world.devices.get(&instance.id)) else {
        return all;
    };
    let mut tell = |name: &str, value: String| {
        let value: String = value.chars().take(VALUE_AT_MOST).collect();
        list.push(json!({ "name": format!("coracle.{name}"), "value": value }));
    };
    let time = |at: Timestamp| {
        jiff::Timestamp::from_millisecond(at.millis()).map(|at| at.to_string()).unwrap_or_default()
    };
    let since = if device.connected { "connected-since" } else { "disconnected-since" };
    tell(since, time(device.connected_changed_at));
    if let Some(at) = world.observed.heard.get(&device.id) {
        tell("last-seen", time(*at));
    }
    if device.hash.is_some() {
        tell("document", device.position.to_string());
    }
    let reported = &device.reported;
    if reported.hash.is_some() {
        tell("seen", reported.position.to_string());
        tell("phase", reported.phase.as_str().to_owned());
    }
    if let Some(applied) = &reported.applied {
        tell("applied", applied.position.to_string());
    }
    if let Some(reason) = &reported.reason {
        tell("reason", reason.clone());
    }
    all
}

/// What is assigned to a box takes of it, as placement counts it.
#[derive(Default)]
struct Used {
    cpu: u64,
    memory: u64,
    ports: BTreeSet<u16>,
    ports_udp: BTreeSet<u16>,
}

fn used(room: Option<&Room>) -> Used {
    let mut used = Used::default();
    let Some(room) = room else { return used };
    (used.cpu, used.memory) = (room.taken_cpu(), room.taken_memory());
    for (port, udp) in room.ports() {
        if udp {
            used.ports_udp.insert(port);
        } else {
            used.ports.insert(port);
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
