//! How a container is connected, decided from `networkMode` and what else the definition and the request say of it.

use crate::model::network::AwsvpcConfiguration;
use crate::model::task_definition::{ContainerDefinition, PortMapping, TaskDefinitionContent};
use crate::model::{NetworkInterface, Task};

/// How a container is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// With the network of the box itself.
    Host,
    /// Not at all: it has a loopback interface of its own.
    None,
    /// With addresses of its own, for the life of the task (`bridge`).
    Container {
        /// Published on the box.
        ports: Vec<PublishedPort>,
        /// The containers it is linked with.
        links: Vec<LinkedContainer>,
    },
    /// With the addresses of the task, which all its containers share (`awsvpc`).
    Task {
        /// Published on the box, of all containers of the task; none unless `assignPublicIp` asks for it.
        ports: Vec<PublishedPort>,
    },
}

/// A port, or a range of ports, of a container on the box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedPort {
    /// The first one in the container.
    pub first: u16,
    /// The last one in the container; the same for a single port.
    pub last: u16,
    /// The first one on the box; none for any that is free.
    pub host: Option<u16>,
    /// UDP rather than TCP.
    pub udp: bool,
    /// It was written as a range.
    pub range: bool,
}

/// A container that another one is linked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkedContainer {
    /// What it is called: the alias, and its own name.
    pub names: Vec<String>,
    /// Its addresses.
    pub interface: NetworkInterface,
}

/// The parts of a link, `name` or `name:alias`.
#[must_use]
pub(crate) fn link(text: &str) -> (&str, Option<&str>) {
    text.split_once(':').map_or((text, None), |(name, alias)| (name, Some(alias)))
}

/// How `container` of `task` is connected.
pub(super) fn of(
    content: &TaskDefinitionContent,
    container: &ContainerDefinition,
    task: &Task,
    configuration: Option<&AwsvpcConfiguration>,
) -> Connection {
    if container.disable_networking == Some(true) {
        return Connection::None;
    }
    match content.network_mode.as_deref() {
        Some("host") => Connection::Host,
        Some("none") => Connection::None,
        Some("awsvpc") => Connection::Task { ports: ports_of_task(content, configuration) },
        _ => Connection::Container {
            ports: mappings(container).filter_map(|mapping| published(mapping, false)).collect(),
            links: links(container, task),
        },
    }
}

/// The ports of a task of awsvpc mode that are published on the box.
fn ports_of_task(
    content: &TaskDefinitionContent,
    configuration: Option<&AwsvpcConfiguration>,
) -> Vec<PublishedPort> {
    if !configuration.is_some_and(AwsvpcConfiguration::publishes) {
        return Vec::new();
    }
    let mut ports = Vec::new();
    for mapping in content.container_definitions.iter().flatten().flat_map(mappings) {
        // Two containers may name the same port of the address they share.
        ports.extend(published(mapping, true).filter(|port| !ports.contains(port)));
    }
    ports
}

/// The mappings of a container that has a network.
pub(crate) fn mappings(container: &ContainerDefinition) -> impl Iterator<Item = &PortMapping> {
    let connected = container.disable_networking != Some(true);
    container.port_mappings.iter().flatten().filter(move |_| connected)
}

/// What a mapping publishes; `same` when the ports of the box are those of the container.
pub(crate) fn published(mapping: &PortMapping, same: bool) -> Option<PublishedPort> {
    let number = |port: i64| u16::try_from(port).ok().filter(|port| *port != 0);
    let udp = mapping.protocol.as_deref() == Some("udp");
    if let Some(range) = mapping.container_port_range.as_deref() {
        let (first, last) = range.split_once('-')?;
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        return Some(PublishedPort { first, last, host: same.then_some(first), udp, range: true });
    }
    let first = number(mapping.container_port?)?;
    let host = if same { Some(first) } else { mapping.host_port.and_then(number) };
    Some(PublishedPort { first, last: first, host, udp, range: false })
}

/// The linked containers that have an address; they were started before.
fn links(container: &ContainerDefinition, task: &Task) -> Vec<LinkedContainer> {
    let linked = |text: &String| {
        let (name, alias) = link(text);
        let other = task.containers.iter().find(|c| c.name.as_str() == name)?;
        let mut names = vec![alias.unwrap_or(name).to_owned()];
        names.extend(alias.filter(|alias| *alias != name).map(|_| name.to_owned()));
        Some(LinkedContainer { names, interface: other.network_interfaces.first()?.clone() })
    };
    container.links.iter().flatten().filter_map(linked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(text: &str) -> PortMapping {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_port_of_the_box_is_dynamic_fixed_or_the_same() {
        let dynamic = mapping(r#"{"containerPort": 80, "hostPort": 0}"#);
        let fixed = mapping(r#"{"containerPort": 80, "hostPort": 8080, "protocol": "udp"}"#);
        let range = mapping(r#"{"containerPortRange": "90-95"}"#);
        assert_eq!(published(&dynamic, false).unwrap().host, None);
        assert_eq!(published(&dynamic, true).unwrap().host, Some(80));
        let port = PublishedPort { first: 80, last: 80, host: Some(8080), udp: true, range: false };
        assert_eq!(published(&fixed, false), Some(port));
        let port = PublishedPort { first: 90, last: 95, host: None, udp: false, range: true };
        assert_eq!(published(&range, false), Some(port));
        assert_eq!(published(&range, true).unwrap().host, Some(90));
    }

    #[test]
    fn links_have_a_name_and_perhaps_an_alias() {
        assert_eq!(link("db"), ("db", None));
        assert_eq!(link("db:data"), ("db", Some("data")));
    }
}
