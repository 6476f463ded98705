//! What `serviceConnectConfiguration` and `serviceRegistries` of a service say of names.
//!
//! There is no proxy: a name leads straight to the tasks, so a client uses the port that the container listens on.

use crate::model::Cluster;
use serde_json::Value;

/// One of `services[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// `portName`: a named port mapping of the task definition.
    pub(super) port_name: &'a str,
    /// `discoveryName`, by default the same.
    discovery_name: &'a str,
    /// `clientAliases[].dnsName`.
    aliases: Vec<&'a str>,
}

impl Entry<'_> {
    /// Whether `label` is one of its names in a zone.
    pub(super) fn is_called(&self, label: &str) -> bool {
        self.discovery_name.eq_ignore_ascii_case(label) || self.has_alias(label)
    }

    fn has_alias(&self, name: &str) -> bool {
        self.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
    }

    /// Whether `name` is one of its names with its zone, or an alias as it stands.
    pub(super) fn is_called_whole(&self, name: &str, namespace: Option<&str>) -> bool {
        let label = namespace.and_then(|namespace| super::strip_suffix(name, namespace));
        self.has_alias(name) || label.is_some_and(|label| self.is_called(label))
    }
}

/// The entries of a configuration that is switched on.
pub(super) fn entries(configuration: Option<&Value>) -> impl Iterator<Item = Entry<'_>> {
    let on =
        configuration.filter(|value| value.get("enabled").and_then(Value::as_bool) == Some(true));
    let services = on.and_then(|value| value.get("services")).and_then(Value::as_array);
    services.into_iter().flatten().filter_map(|service| {
        let text = |key| service.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let port_name = text("portName")?;
        let aliases = service.get("clientAliases").and_then(Value::as_array).into_iter().flatten();
        let discovery_name = text("discoveryName").unwrap_or(port_name);
        Some(Entry { port_name, discovery_name, aliases: aliases.filter_map(dns_name).collect() })
    })
}

fn dns_name(alias: &Value) -> Option<&str> {
    alias.get("dnsName").and_then(Value::as_str).filter(|name| !name.is_empty())
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
