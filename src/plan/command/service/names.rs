//! The names that a service may have in the DNS of the box: `serviceRegistries` and `serviceConnectConfiguration`.
//!
//! There is no proxy: a name leads to the containers themselves. What only a proxy could do is refused by name.

use super::invalid;
use crate::model::ids::is_name;
use crate::model::task_definition::{PortMapping, TaskDefinitionContent};
use crate::plan::command::CommandError;
use serde_json::Value;
use std::collections::BTreeSet;

/// What a Service Connect service can only have from a proxy.
const OF_A_PROXY: [&str; 3] = ["ingressPortOverride", "timeout", "tls"];
/// The same, of the configuration.
const OF_ANY_PROXY: [&str; 3] =
    ["logConfiguration", "accessLogConfiguration", "containerConfigurations"];

/// At most one registry, which names a container and its port or neither.
pub(super) fn registries(
    registries: &[Value],
    content: &TaskDefinitionContent,
) -> Result<(), CommandError> {
    if registries.len() > 1 {
        return invalid("serviceRegistries can have at most 1 item.");
    }
    for registry in registries {
        let arn = registry["registryArn"].as_str().unwrap_or_default();
        if registry_name(arn).is_none() {
            let arn: String = arn.chars().take(256).collect();
            return invalid(format!(
                "Invalid registryArn {arn:?}: it is arn:aws:servicediscovery:REGION:ACCOUNT:service/NAME, and NAME is \
                 what the service is called in the DNS of the box."
            ));
        }
        if registry.get("port").is_some_and(|port| !port.is_null()) {
            return invalid(
                "serviceRegistries.port is not supported: name the port by containerName and containerPort.",
            );
        }
        let port = registry["containerPort"].as_i64();
        match (registry["containerName"].as_str(), port) {
            (None, None) => {}
            (Some(container), Some(port)) => has_port(content, container, port)?,
            _ => {
                return invalid(
                    "serviceRegistries must have both containerName and containerPort, or neither.",
                );
            }
        }
    }
    Ok(())
}

/// The name at the end of the ARN of a registry.
fn registry_name(arn: &str) -> Option<&str> {
    let (start, name) = arn.split_once(":service/")?;
    let mut parts = start.split(':');
    let fits = parts.next() == Some("arn")
        && parts.next().is_some()
        && parts.next() == Some("servicediscovery");
    (fits && is_name(name)).then_some(name)
}

fn has_port(
    content: &TaskDefinitionContent,
    container: &str,
    port: i64,
) -> Result<(), CommandError> {
    let definitions = content.container_definitions.as_deref().unwrap_or_default();
    let named = definitions.iter().find(|c| c.name.as_deref() == Some(container));
    let Some(definition) = named else {
        return invalid(format!(
            "The container {container} does not exist in the task definition."
        ));
    };
    let mappings = definition.port_mappings.as_deref().unwrap_or_default();
    if mappings.iter().any(|mapping| mapping.container_port == Some(port)) {
        return Ok(());
    }
    invalid(format!("The container {container} did not have a container port {port} defined."))
}

/// Each service of it names a port of the definition, and clients reach it at just that port.
pub(super) fn service_connect(
    configuration: &Value,
    content: &TaskDefinitionContent,
) -> Result<(), CommandError> {
    let services = configuration["services"].as_array().map(Vec::as_slice).unwrap_or_default();
    let there = |value: &Value, member: &str| value.get(member).is_some_and(|v| !v.is_null());
    if !configuration["enabled"].as_bool().unwrap_or(false) {
        return Ok(());
    }
    if let Some(member) = OF_ANY_PROXY.into_iter().find(|member| there(configuration, member)) {
        return unsupported(&format!("serviceConnectConfiguration.{member}"));
    }
    let mode = content.network_mode.as_deref().unwrap_or("bridge");
    if !services.is_empty() && !matches!(mode, "awsvpc" | "bridge") {
        return invalid(format!(
            "Service Connect needs the network mode awsvpc or bridge; that of the task definition is {mode}."
        ));
    }
    let mut names = BTreeSet::new();
    for service in services {
        if let Some(member) = OF_A_PROXY.into_iter().find(|member| there(service, member)) {
            return unsupported(&format!("serviceConnectConfiguration.services.{member}"));
        }
        let port_name = service["portName"].as_str().unwrap_or_default();
        let Some(mapping) = named_port(content, port_name) else {
            return invalid(format!(
                "portName({port_name}) does not refer to any named PortMapping in the task definition."
            ));
        };
        let name = service["discoveryName"].as_str().unwrap_or(port_name);
        if !is_discovery_name(name) {
            return invalid(format!(
                "Invalid discoveryName {name:?}: 1 to 64 lowercase letters, numbers, underscores and hyphens are \
                 allowed, and it does not begin with a hyphen."
            ));
        }
        if !names.insert(name) {
            return invalid(format!("The discoveryName {name} is given more than once."));
        }
        let aliases = service["clientAliases"].as_array().map(Vec::as_slice).unwrap_or_default();
        if aliases.len() > 1 {
            return invalid(
                "serviceConnectConfiguration.services.clientAliases can have at most 1 item.",
            );
        }
        for alias in aliases {
            client_alias(alias, mapping, port_name)?;
        }
    }
    Ok(())
}

fn client_alias(alias: &Value, mapping: &PortMapping, port_name: &str) -> Result<(), CommandError> {
    if alias.get("testTrafficRules").is_some_and(|rules| !rules.is_null()) {
        return unsupported("serviceConnectConfiguration.services.clientAliases.testTrafficRules");
    }
    let (port, container_port) = (alias["port"].as_i64(), mapping.container_port);
    if port != container_port {
        return invalid(format!(
            "The port {} of a client alias of portName({port_name}) must be the container port, {}: names lead to the \
             containers, there is no proxy between.",
            port.unwrap_or_default(),
            container_port.unwrap_or_default()
        ));
    }
    match alias["dnsName"].as_str() {
        Some(name) if !is_dns_name(name) => {
            let name: String = name.chars().take(256).collect();
            invalid(format!("Invalid dnsName {name:?}: it is no name of the DNS."))
        }
        _ => Ok(()),
    }
}

/// The port mapping of this name.
fn named_port<'a>(content: &'a TaskDefinitionContent, name: &str) -> Option<&'a PortMapping> {
    let definitions = content.container_definitions.as_deref().unwrap_or_default();
    let mut mappings =
        definitions.iter().flat_map(|c| c.port_mappings.as_deref().unwrap_or_default());
    mappings.find(|mapping| mapping.name.as_deref() == Some(name))
}

fn is_discovery_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    (1..=64).contains(&name.len()) && !name.starts_with('-') && name.bytes().all(allowed)
}

fn is_dns_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(allowed);
    name.len() <= 127 && name.split('.').all(label)
}

fn unsupported<T>(member: &str) -> Result<T, CommandError> {
    Err(CommandError::UnsupportedFeature(format!(
        "{member} is not supported: names lead to the containers, there is no proxy between; leave it out."
    )))
}
