//! What `serviceConnectConfiguration` and `serviceRegistries` of a service say of names.
//!
//! There is no proxy: a name leads straight to the tasks, so a client uses the port that the container listens on.

use crate::model::Cluster;
use crate::model::task_definition::{ContainerDefinition, PortMapping};
use serde_json::Value;

/// One of `services[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// `portName`: a named port mapping of the task definition.
    pub port_name: &'a str,
    /// `discoveryName`, by default the same.
    pub discovery_name: &'a str,
    /// `clientAliases[]`: port and name.
    pub aliases: Vec<Alias<'a>>,
}

/// One of `clientAliases[]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alias<'a> {
    /// `port`.
    pub port: Option<u64>,
    /// `dnsName`.
    pub name: Option<&'a str>,
}

impl Entry<'_> {
    fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.discovery_name).chain(self.aliases.iter().filter_map(|a| a.name))
    }

    /// Whether `label` is one of its names in a zone.
    pub(super) fn is_called(&self, label: &str) -> bool {
        self.names().any(|name| name.eq_ignore_ascii_case(label))
    }

    /// Whether `name` is one of its names with its zone, or an alias as it stands.
    pub(super) fn is_called_whole(&self, name: &str, namespace: Option<&str>) -> bool {
        let aliases = self.aliases.iter().filter_map(|alias| alias.name);
        let as_it_stands = aliases.into_iter().any(|alias| alias.eq_ignore_ascii_case(name));
        let label = namespace.and_then(|namespace| super::strip_suffix(name, namespace));
        as_it_stands || label.is_some_and(|label| self.is_called(label))
    }
}

/// The entries of a configuration that is switched on.
pub fn entries(configuration: Option<&Value>) -> impl Iterator<Item = Entry<'_>> {
    let on =
        configuration.filter(|value| value.get("enabled").and_then(Value::as_bool) != Some(false));
    let services = on.and_then(|value| value.get("services")).and_then(Value::as_array);
    services.into_iter().flatten().filter_map(|service| {
        let text = |key| service.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let port_name = text("portName")?;
        let aliases = service.get("clientAliases").and_then(Value::as_array).into_iter().flatten();
        let discovery_name = text("discoveryName").unwrap_or(port_name);
        Some(Entry { port_name, discovery_name, aliases: aliases.map(alias).collect() })
    })
}

fn alias(value: &Value) -> Alias<'_> {
    let name = value.get("dnsName").and_then(Value::as_str).filter(|name| !name.is_empty());
    Alias { port: value.get("port").and_then(Value::as_u64), name }
}

/// The namespace of a configuration, or that of its cluster: a name, or the last part of an ARN.
pub(super) fn namespace<'a>(
    configuration: &'a Value,
    cluster: Option<&'a Cluster>,
) -> Option<&'a str> {
    let of = |value: &'a Value| value.get("namespace").and_then(Value::as_str);
    let defaults = || cluster?.service_connect_defaults.as_ref().and_then(of);
    let namespace = of(configuration).filter(|n| !n.is_empty()).or_else(defaults)?;
    Some(last_part(namespace)).filter(|namespace| !namespace.is_empty())
}

/// The name that a service registry gives: the last part of its ARN.
pub(super) fn registry_name(registry: &Value) -> Option<&str> {
    registry.get("registryArn").and_then(Value::as_str).map(last_part)
}

fn last_part(arn: &str) -> &str {
    arn.rsplit_once('/').map_or(arn, |(_, last)| last)
}

/// Why a configuration cannot be honoured by names alone, for a service of these containers; in words for its caller.
#[must_use]
pub fn refusal(
    configuration: Option<&Value>,
    containers: &[ContainerDefinition],
) -> Option<String> {
    entries(configuration).find_map(|entry| {
        let mut mappings = containers.iter().flat_map(|c| c.port_mappings.iter().flatten());
        let named = |mapping: &&PortMapping| mapping.name.as_deref() == Some(entry.port_name);
        let Some(mapping) = mappings.find(named) else {
            return Some(format!(
                "serviceConnectConfiguration: the task definition has no port mapping with the name {}.",
                entry.port_name
            ));
        };
        let port = mapping.container_port.and_then(|port| u64::try_from(port).ok());
        let other = entry.aliases.iter().filter_map(|alias| alias.port).find(|p| Some(*p) != port);
        other.map(|other| {
            let port = port.unwrap_or_default();
            format!(
                "serviceConnectConfiguration: the client alias port {other} of {} is not its container port {port}, and there is no proxy here that would translate it. Use {port} as the port of the client alias.",
                entry.port_name
            )
        })
    })
}
