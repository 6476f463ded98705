//! Where a task fits: what it needs, what is left of a box, and ECS's names for what is missing.

use crate::model::container_instance::PRIVILEGED;
use crate::model::network::AwsvpcConfiguration;
use crate::model::task::TaskOverride;
use crate::model::task_definition::{ContainerDefinition, TaskDefinitionContent};
use crate::model::{Assignment, ContainerInstance, ContainerInstanceId, TaskDefinition};
use crate::plan::World;
use crate::plan::connection::{mappings, published};
use crate::plan::effective;
use std::collections::{BTreeMap, BTreeSet};

/// A port of the box: number, and UDP rather than TCP.
pub(crate) type HostPort = (u16, bool);

/// What a task takes of a box.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Needs {
    /// CPU units.
    pub(crate) cpu: u64,
    /// MiB.
    pub(crate) memory: u64,
    /// Ports of the box.
    pub(crate) ports: BTreeSet<HostPort>,
}

impl Needs {
    /// Of what is assigned already.
    pub(crate) fn of_assignment(definition: &TaskDefinition, assignment: &Assignment) -> Self {
        Self::of(&definition.content, &assignment.overrides, assignment.network.as_ref())
    }

    /// Of a definition with its overrides; what the task states goes before the sum over its containers.
    pub(crate) fn of(
        content: &TaskDefinitionContent,
        overrides: &TaskOverride,
        network: Option<&AwsvpcConfiguration>,
    ) -> Self {
        let containers = content.container_definitions.as_deref().unwrap_or_default();
        let sum = |of: fn(&ContainerDefinition, &TaskOverride) -> Option<i64>| {
            let each = containers.iter().filter_map(|c| of(c, overrides));
            each.map(|value| u64::try_from(value).unwrap_or(0)).sum()
        };
        Self {
            cpu: effective::task_cpu(content, overrides)
                .map_or_else(|| sum(effective::cpu), u64::from),
            memory: effective::task_memory(content, overrides)
                .map_or_else(|| sum(effective::reserved_memory), u64::from),
            ports: host_ports(content, network),
        }
    }
}

/// The ports of the box that the containers ask for by number.
fn host_ports(
    content: &TaskDefinitionContent,
    network: Option<&AwsvpcConfiguration>,
) -> BTreeSet<HostPort> {
    let same = match content.network_mode.as_deref() {
        Some("host") => true,
        Some("awsvpc") if network.is_some_and(AwsvpcConfiguration::publishes) => true,
        None | Some("bridge") => false,
        Some(_) => return BTreeSet::new(),
    };
    let containers = content.container_definitions.iter().flatten();
    containers
        .flat_map(mappings)
        .filter_map(|mapping| published(mapping, same))
        .filter_map(|port| Some((port.host?, port)))
        .flat_map(|(host, port)| {
            let last = host.saturating_add(port.last.saturating_sub(port.first));
            (host..=last).map(move |number| (number, port.udp))
        })
        .collect()
}

/// What is left of a box.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    cpu: u64,
    memory: u64,
    taken: BTreeSet<HostPort>,
}

impl Room {
    /// Of every box of the world that is asked for, given what is assigned already.
    pub(crate) fn of<'a>(
        world: &World,
        instances: impl Iterator<Item = &'a ContainerInstance>,
    ) -> BTreeMap<ContainerInstanceId, Self> {
        let mut rooms: BTreeMap<_, _> =
            instances.map(|instance| (instance.id.clone(), Self::empty(instance))).collect();
        for assignment in world.assignments.values() {
            if let Some(room) = rooms.get_mut(&assignment.container_instance)
                && let Some(definition) = world.task_definitions.get(&assignment.task_definition)
            {
                let needs = Needs::of_assignment(definition, assignment);
                // What is told to stop holds what it has until it has stopped.
                let tasks = match assignment.service() {
                    None => 1,
                    Some(of) => world.live(&assignment.id).count().max(of.count as usize),
                };
                (0..tasks).for_each(|_| room.take(&needs));
            }
        }
        rooms
    }

    /// Of a box with nothing on it.
    pub(crate) fn empty(instance: &ContainerInstance) -> Self {
        let capacity = &instance.capacity;
        let tcp = capacity.reserved_ports.iter().map(|port| (*port, false));
        let udp = capacity.reserved_ports_udp.iter().map(|port| (*port, true));
        Self {
            cpu: u64::from(capacity.cpu),
            memory: u64::from(capacity.memory),
            taken: tcp.chain(udp).collect(),
        }
    }

    /// Room for what is not taken is left.
    pub(crate) fn take(&mut self, needs: &Needs) {
        self.cpu = self.cpu.saturating_sub(needs.cpu);
        self.memory = self.memory.saturating_sub(needs.memory);
        self.taken.extend(&needs.ports);
    }

    /// ECS's name for what is missing, if anything is.
    pub(crate) fn lacks(&self, needs: &Needs) -> Option<(&'static str, String)> {
        if needs.cpu > self.cpu {
            let detail = format!("needs {} CPU units, {} are left", needs.cpu, self.cpu);
            return Some(("RESOURCE:CPU", detail));
        }
        if needs.memory > self.memory {
            let detail = format!("needs {} MiB of memory, {} are left", needs.memory, self.memory);
            return Some(("RESOURCE:MEMORY", detail));
        }
        let port = needs.ports.iter().find(|port| self.taken.contains(port));
        port.map(|(port, udp)| {
            let protocol = if *udp { "UDP" } else { "TCP" };
            ("RESOURCE:PORTS", format!("{protocol} port {port} of the box is in use or reserved"))
        })
    }

    /// For choosing the emptiest box.
    pub(crate) fn free(&self) -> (u64, u64) {
        (self.memory, self.cpu)
    }
}

/// Whether the box is of the platform that the definition asks for; if not, why not.
pub(super) fn platform_fits(
    instance: &ContainerInstance,
    content: &TaskDefinitionContent,
) -> Result<(), String> {
    let Some(platform) = &content.runtime_platform else { return Ok(()) };
    if let Some(system) = platform.operating_system_family.as_deref()
        && system != "LINUX"
    {
        return Err(format!("operatingSystemFamily {system} is wanted, the box runs LINUX"));
    }
    let Some(wanted) = platform.cpu_architecture.as_deref() else { return Ok(()) };
    let has = instance
        .attributes
        .iter()
        .find(|attribute| attribute.name == "ecs.cpu-architecture")
        .and_then(|attribute| attribute.value.as_deref())
        .unwrap_or("unknown");
    if has.eq_ignore_ascii_case(wanted) {
        Ok(())
    } else {
        Err(format!("cpuArchitecture {wanted} is wanted, the box is {has}"))
    }
}

/// Whether the policy of the box allows what the definition asks for; if not, why not.
pub(super) fn policy_allows(
    instance: &ContainerInstance,
    content: &TaskDefinitionContent,
) -> Result<(), String> {
    let containers = content.container_definitions.iter().flatten().enumerate();
    let Some((index, container)) = containers.into_iter().find(|(_, c)| c.privileged == Some(true))
    else {
        return Ok(());
    };
    if instance.attributes.iter().any(|attribute| attribute.name == PRIVILEGED) {
        return Ok(());
    }
    Err(format!(
        "containerDefinitions[{index}].privileged: container {} asks for it, and the box does not allow it (it lacks \
         the attribute {PRIVILEGED}); set allow_privileged = true in the configuration of its agent, or use \
         linuxParameters.capabilities and devices",
        container.name.as_deref().unwrap_or_default()
    ))
}
