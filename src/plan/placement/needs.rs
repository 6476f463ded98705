//! What a task takes of a box.

use crate::model::network::AwsvpcConfiguration;
use crate::model::task::TaskOverride;
use crate::model::task_definition::{ContainerDefinition, TaskDefinitionContent};
use crate::model::{Assignment, TaskDefinition};
use crate::plan::connection::{mappings, published};
use crate::plan::effective;
use std::collections::BTreeSet;

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
