//! How a task is connected: what it asks for beyond its definition, and what it got.

use super::shape::shape;
use super::task_definition::{KeyValuePair, PortMapping};
use core::net::{Ipv4Addr, Ipv6Addr};
use serde::{Deserialize, Serialize};

shape! {
    /// `networkConfiguration.awsvpcConfiguration` of RunTask. Subnets and security groups are names without effect here.
    pub struct AwsvpcConfiguration {
        /// One at least.
        subnets: Vec<String>,
        /// Any.
        security_groups: Vec<String>,
        /// `ENABLED` publishes the task's ports on the box.
        assign_public_ip: String,
    }
}

impl AwsvpcConfiguration {
    /// Whether the ports of the task are published on the box.
    #[must_use]
    pub fn publishes(&self) -> bool {
        self.assign_public_ip.as_deref() == Some("ENABLED")
    }
}

/// A published port (ECS `NetworkBinding`): one, or a range of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkBinding {
    /// Of the box; the unspecified one for all of them.
    #[serde(rename = "bindIP")]
    pub bind_ip: String,
    /// In the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_port: Option<u16>,
    /// On the box.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_port: Option<u16>,
    /// `a-b`, in the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_port_range: Option<String>,
    /// `a-b`, on the box.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_port_range: Option<String>,
    /// `tcp` or `udp`.
    pub protocol: String,
}

impl NetworkBinding {
    /// Whether this publishes what `mapping` asks for.
    #[must_use]
    pub fn is_of(&self, mapping: &PortMapping) -> bool {
        let protocol = mapping.protocol.as_deref().unwrap_or("tcp");
        protocol == self.protocol
            && self.container_port.map(i64::from) == mapping.container_port
            && self.container_port_range == mapping.container_port_range
    }
}

/// The addresses of a container (ECS `NetworkInterface`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkInterface {
    /// The task's attachment that it is of; none in bridge mode, where it is the container's own and not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachment_id: Option<String>,
    /// IPv4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_ipv4_address: Option<Ipv4Addr>,
    /// IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_address: Option<Ipv6Addr>,
    /// Its hardware address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<String>,
}

/// What is attached to a task (ECS `Attachment`): the network interface of awsvpc mode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// A UUID.
    pub id: String,
    /// `ElasticNetworkInterface`.
    pub r#type: String,
    /// `PRECREATED`, `ATTACHED`, `DELETED`.
    pub status: String,
    /// `subnetId` and so on.
    #[serde(default)]
    pub details: Vec<KeyValuePair>,
}

impl Attachment {
    /// The network interface that a task of awsvpc mode is to get.
    #[must_use]
    pub fn network_interface(id: String, configuration: &AwsvpcConfiguration) -> Self {
        let joined = |names: &Option<Vec<String>>| names.as_deref().unwrap_or_default().join(",");
        let mut details = Vec::new();
        // Of several subnets ECS chooses one.
        let subnet = configuration.subnets.iter().flatten().next();
        details.extend(subnet.map(|subnet| detail("subnetId", subnet)));
        let groups = joined(&configuration.security_groups);
        if !groups.is_empty() {
            details.push(detail("securityGroups", &groups));
        }
        Self {
            id,
            r#type: "ElasticNetworkInterface".to_owned(),
            status: "PRECREATED".to_owned(),
            details,
        }
    }

    /// It has these addresses now.
    pub fn attach(&mut self, interface: &NetworkInterface) {
        self.forget_addresses();
        "ATTACHED".clone_into(&mut self.status);
        let digits = self.id.chars().filter(char::is_ascii_hexdigit).take(16);
        let name = format!("eni-0{}", digits.collect::<String>());
        self.details.push(detail("networkInterfaceId", &name));
        let mac = interface.mac_address.as_deref();
        self.details.extend(mac.map(|mac| detail("macAddress", mac)));
        if let Some(address) = interface.private_ipv4_address {
            self.details.push(detail("privateDnsName", &private_dns_name(address)));
            self.details.push(detail("privateIPv4Address", &address.to_string()));
        }
        let ipv6 = interface.ipv6_address;
        self.details.extend(ipv6.map(|address| detail("ipv6Address", &address.to_string())));
    }

    /// It is gone with its task.
    pub fn delete(&mut self) {
        "DELETED".clone_into(&mut self.status);
    }

    /// Its addresses are gone, and new ones may come.
    pub fn forget_addresses(&mut self) {
        const KEPT: [&str; 2] = ["subnetId", "securityGroups"];
        "PRECREATED".clone_into(&mut self.status);
        self.details.retain(|d| d.name.as_deref().is_some_and(|name| KEPT.contains(&name)));
    }
}

/// The name of an address of awsvpc mode; the containers of the task resolve it.
#[must_use]
pub fn private_dns_name(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("ip-{a}-{b}-{c}-{d}.internal")
}

fn detail(name: &str, value: &str) -> KeyValuePair {
    KeyValuePair { name: Some(name.to_owned()), value: Some(value.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_keeps_what_was_asked_and_replaces_what_was_given() {
        let configuration = AwsvpcConfiguration {
            subnets: Some(vec!["subnet-1".to_owned(), "subnet-2".to_owned()]),
            security_groups: Some(vec!["sg-1".to_owned()]),
            ..AwsvpcConfiguration::default()
        };
        let id = "0f9c3a1e-0000-4000-8000-123456789abc".to_owned();
        let mut attachment = Attachment::network_interface(id, &configuration);
        let at = |last| NetworkInterface {
            private_ipv4_address: Some(Ipv4Addr::new(10, 8, 0, last)),
            mac_address: Some("02:42:0a:08:00:02".to_owned()),
            ..NetworkInterface::default()
        };
        attachment.attach(&at(2));
        attachment.attach(&at(3));
        let shown: Vec<_> = attachment
            .details
            .iter()
            .map(|d| (d.name.as_deref().unwrap(), d.value.as_deref().unwrap()))
            .collect();
        let expected = [
            ("subnetId", "subnet-1"),
            ("securityGroups", "sg-1"),
            ("networkInterfaceId", "eni-00f9c3a1e00004000"),
            ("macAddress", "02:42:0a:08:00:02"),
            ("privateDnsName", "ip-10-8-0-3.internal"),
            ("privateIPv4Address", "10.8.0.3"),
        ];
        assert_eq!(shown, expected);
        assert_eq!(attachment.status, "ATTACHED");
    }
}
