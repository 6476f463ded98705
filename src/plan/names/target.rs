//! Where a task is reached, and at which ports.

use crate::model::task_definition::{ContainerDefinition, PortMapping};
use crate::model::{
    Container, DesiredStatus, HealthStatus, NetworkInterface, Task, TaskDefinition, TaskStatus,
};
use crate::plan::World;
use crate::plan::connection;
use core::net::{Ipv4Addr, Ipv6Addr};
use serde_json::Value;

/// The longest label of a name.
const LONGEST_LABEL: usize = 63;

/// Where somebody is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// A name that is its own.
    pub host: String,
    /// Its address.
    pub place: Place,
    /// What it serves.
    pub ports: Vec<Port>,
}

/// An address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Its own.
    Own {
        /// IPv4.
        ipv4: Option<Ipv4Addr>,
        /// IPv6.
        ipv6: Option<Ipv6Addr>,
    },
    /// The box's, wherever whoever asks finds the box.
    Box,
}

/// A port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its number, there.
    pub number: u16,
    /// UDP rather than TCP.
    pub udp: bool,
    /// `portMappings[].name`.
    pub name: Option<String>,
}

/// What is asked of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish<'a> {
    /// Whatever it serves.
    Any,
    /// A container.
    Container(&'a str),
    /// A port by its name.
    PortName(&'a str),
    /// A port of a container by its number.
    PortOf(&'a str, u16),
}

impl<'a> Wish<'a> {
    pub(super) fn of_registry(registry: &'a Value) -> Self {
        let container = registry.get("containerName").and_then(Value::as_str);
        let port = registry.get("containerPort").and_then(Value::as_u64);
        let port = port.and_then(|port| u16::try_from(port).ok());
        container.zip(port).map_or(Self::Any, |(container, port)| Self::PortOf(container, port))
    }

    /// The ports of `container` that are meant.
    fn ports(&self, container: &ContainerDefinition) -> Vec<Port> {
        let meant = |port: &Port| match self {
            Self::Any | Self::Container(_) => true,
            Self::PortName(name) => port.name.as_deref() == Some(*name),
            Self::PortOf(named, number) => is_called(container, named) && port.number == *number,
        };
        connection::mappings(container).filter_map(port).filter(meant).collect()
    }
}

fn is_called(container: &ContainerDefinition, name: &str) -> bool {
    container.name.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name))
}

/// Whether a task is to be found by the name of its service: it runs, is to go on running, and is healthy if that is
/// checked.
pub(super) fn is_serving(world: &World, task: &Task) -> bool {
    let runs =
        task.last_status == TaskStatus::Running && task.desired_status == DesiredStatus::Running;
    let checked = || {
        let definition = world.task_definitions.get(&task.task_definition);
        definition.is_some_and(|definition| {
            let containers = definition.content.container_definitions.iter().flatten();
            containers.filter(|c| c.is_essential()).any(is_checked)
        })
    };
    runs && (task.health_status == HealthStatus::Healthy
        || (task.health_status == HealthStatus::Unknown && !checked()))
}

fn is_checked(container: &ContainerDefinition) -> bool {
    let command = container.health_check.as_ref().and_then(|check| check.command.as_ref());
    command.and_then(|command| command.first()).is_some_and(|kind| kind != "NONE")
}

/// Where `task` serves what is wished for; nothing if it does not, has no network, or is on another box.
pub(super) fn of_task(world: &World, task: &Task, wish: &Wish<'_>, zone: &str) -> Vec<Target> {
    let Some(definition) = world.task_definitions.get(&task.task_definition) else {
        return Vec::new();
    };
    let here = world.settings.this_instance.as_ref();
    if here.is_some_and(|here| *here != task.container_instance) {
        return Vec::new();
    }
    let containers = definition.content.container_definitions.as_deref().unwrap_or_default();
    match definition.content.network_mode.as_deref() {
        Some("none") => Vec::new(),
        Some("host") => shared(task, containers, wish, Place::Box, zone),
        Some("awsvpc") => {
            let interface = task.containers.iter().find_map(|c| c.network_interfaces.first());
            let place = interface.map(own);
            place.map_or_else(Vec::new, |place| shared(task, containers, wish, place, zone))
        }
        _ => separate(task, definition, containers, wish, zone),
    }
}

/// Of a task whose containers share an address.
fn shared(
    task: &Task,
    containers: &[ContainerDefinition],
    wish: &Wish<'_>,
    place: Place,
    zone: &str,
) -> Vec<Target> {
    let mut ports: Vec<Port> = Vec::new();
    for container in containers {
        for port in wish.ports(container) {
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
    }
    let is_there = match wish {
        Wish::Any => true,
        Wish::Container(name) => containers.iter().any(|container| is_called(container, name)),
        Wish::PortName(_) | Wish::PortOf(..) => !ports.is_empty(),
    };
    if !is_there {
        return Vec::new();
    }
    vec![Target { host: format!("{}.{zone}", task.id), place, ports }]
}

/// Of a task each of whose containers has an address: those that serve ports, or else the essential ones.
fn separate(
    task: &Task,
    definition: &TaskDefinition,
    containers: &[ContainerDefinition],
    wish: &Wish<'_>,
    zone: &str,
) -> Vec<Target> {
    let connected = task.containers.iter().filter_map(|container| {
        let place = own(container.network_interfaces.first()?);
        let name = Some(container.name.as_str());
        let defined = containers.iter().find(|defined| defined.name.as_deref() == name)?;
        let ports = wish.ports(defined);
        let host = host(task, definition, container, zone);
        Some((defined, Target { host, place, ports }))
    });
    let connected: Vec<_> = connected.collect();
    let serves = connected.iter().any(|(_, target)| !target.ports.is_empty());
    let meant = |defined: &ContainerDefinition, target: &Target| match wish {
        Wish::Any if !serves => defined.is_essential(),
        Wish::Container(name) => is_called(defined, name),
        Wish::Any | Wish::PortName(_) | Wish::PortOf(..) => !target.ports.is_empty(),
    };
    let meant = connected.into_iter().filter(|(defined, target)| meant(defined, target));
    meant.map(|(_, target)| target).collect()
}

/// A name for where a container is: the task's, unless other containers of it are elsewhere.
pub(super) fn host(
    task: &Task,
    definition: &TaskDefinition,
    container: &Container,
    zone: &str,
) -> String {
    let separate =
        !matches!(definition.content.network_mode.as_deref(), Some("host" | "none" | "awsvpc"));
    let name = container.name.as_str();
    if separate && task.containers.len() > 1 && name.len() <= LONGEST_LABEL {
        format!("{name}.{}.{zone}", task.id)
    } else {
        format!("{}.{zone}", task.id)
    }
}

fn own(interface: &NetworkInterface) -> Place {
    Place::Own { ipv4: interface.private_ipv4_address, ipv6: interface.ipv6_address }
}

/// A single port; ranges have no place in a record.
fn port(mapping: &PortMapping) -> Option<Port> {
    let number = u16::try_from(mapping.container_port?).ok().filter(|number| *number != 0)?;
    let udp = mapping.protocol.as_deref() == Some("udp");
    Some(Port { number, udp, name: mapping.name.clone() })
}
