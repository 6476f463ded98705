//! What is asked of the network for one endpoint, and what it got.

use super::fingerprint::fingerprint;
use super::port::{PortRange, Protocol};
use crate::model::{ContainerName, TaskId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::path::Path;

/// One network namespace: a whole task's, or that of one of its containers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointId {
    /// The task.
    pub task: TaskId,
    /// The container; none when the task's containers share the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerName>,
}

impl EndpointId {
    /// The namespace that all containers of `task` share.
    #[must_use]
    pub fn of_task(task: TaskId) -> Self {
        Self { task, container: None }
    }

    /// The namespace of one container.
    #[must_use]
    pub fn of_container(task: TaskId, container: ContainerName) -> Self {
        Self { task, container: Some(container) }
    }

    /// The name of the box's end of the link: the same for the same endpoint of the same agent, told apart from all
    /// others by 52 bits of a digest.
    pub(super) fn interface(&self, state_dir: &Path) -> String {
        let text = format!("{}\0{self}", state_dir.display());
        format!("cv{}", fingerprint(&text, 13))
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.task)?;
        match &self.container {
            Some(container) => write!(f, "/{container}"),
            None => Ok(()),
        }
    }
}

/// Asks for an endpoint.
#[derive(Debug)]
pub struct AttachRequest {
    /// Which.
    pub endpoint: EndpointId,
    /// Its network namespace.
    pub netns: OwnedFd,
    /// The ports that it serves.
    pub ports: Vec<PortMapping>,
    /// Whether they are reachable at the box's addresses. Otherwise they are reachable at the endpoint's own, which
    /// the box and its other endpoints can reach, and [`Attachment::bindings`] is empty.
    pub publish: bool,
}

/// Ports that an endpoint serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortMapping {
    /// In the endpoint.
    pub container: PortRange,
    /// On the box.
    pub host: HostPort,
    /// Of which protocol.
    pub protocol: Protocol,
}

/// Where ports are published on the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPort {
    /// From this port on.
    From(u16),
    /// Wherever there is room among the dynamic ports: one range as long as the container's.
    Dynamic,
}

/// An endpoint that is there. Kept by whoever owns the namespace, for [`super::Network::adopt`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// Which.
    pub endpoint: EndpointId,
    /// The inode of its namespace.
    pub namespace: u64,
    /// The box's end of its link.
    pub interface: String,
    /// Its hardware address.
    pub mac: MacAddress,
    /// Its address.
    pub ipv4: Ipv4Addr,
    /// The length of the subnet's prefix.
    pub ipv4_prefix: u8,
    /// The box's address on the bridge.
    pub gateway4: Ipv4Addr,
    /// The same with IPv6; none where the kernel has it disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Attachment>,
    /// What is published on the box, at all its addresses, and at its IPv6 addresses if [`Self::ipv6`] is there.
    #[serde(default)]
    pub bindings: Vec<Binding>,
}

/// The IPv6 part of an [`Attachment`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ipv6Attachment {
    /// The endpoint's address.
    pub address: Ipv6Addr,
    /// The length of the subnet's prefix.
    pub prefix: u8,
    /// The box's address on the bridge.
    pub gateway: Ipv6Addr,
}

/// Published ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    /// In the endpoint.
    pub container: PortRange,
    /// On the box; as many.
    pub host: PortRange,
    /// Of which protocol.
    pub protocol: Protocol,
}

/// An Ethernet address; `02:c0:…` when shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// A locally administered one that is told by `address`, so that neighbours find it unchanged when an address
    /// comes back.
    #[must_use]
    pub fn of(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0xc0, a, b, c, d])
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            let colon = if place == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for MacAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            *byte = parts
                .next()
                .filter(|part| part.len() == 2)
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or_else(|| format!("{text:?} is no hardware address"))?;
        }
        if parts.next().is_some() {
            return Err(format!("{text:?} is no hardware address"));
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> EndpointId {
        let task = TaskId::new("0123456789abcdef0123456789abcdef").unwrap();
        EndpointId::of_container(task, ContainerName::new("web").unwrap())
    }

    #[test]
    fn an_interface_has_a_name_of_its_own_that_the_kernel_takes() {
        let one = endpoint().interface(Path::new("/var/lib/coracle"));
        assert_eq!(one.len(), 15);
        assert_eq!(one, endpoint().interface(Path::new("/var/lib/coracle")));
        assert_ne!(one, endpoint().interface(Path::new("/var/lib/other")));
        let whole = EndpointId::of_task(endpoint().task);
        assert_ne!(one, whole.interface(Path::new("/var/lib/coracle")));
    }

    #[test]
    fn an_attachment_is_kept_as_json() {
        let attachment = Attachment {
            endpoint: endpoint(),
            namespace: 4_026_532_000,
            interface: "cv0123456789abc".to_owned(),
            mac: MacAddress::of(Ipv4Addr::new(10, 1, 2, 3)),
            ipv4: Ipv4Addr::new(10, 1, 2, 3),
            ipv4_prefix: 24,
            gateway4: Ipv4Addr::new(10, 1, 2, 1),
            ipv6: Some(Ipv6Attachment {
                address: "fd00::3".parse().unwrap(),
                prefix: 64,
                gateway: "fd00::1".parse().unwrap(),
            }),
            bindings: vec![Binding {
                container: PortRange::single(80).unwrap(),
                host: PortRange::single(8080).unwrap(),
                protocol: Protocol::Tcp,
            }],
        };
        let json = serde_json::to_value(&attachment).unwrap();
        assert_eq!(json["mac"], "02:c0:0a:01:02:03");
        assert_eq!(json["bindings"][0]["host"], "8080");
        assert_eq!(serde_json::from_value::<Attachment>(json).unwrap(), attachment);
    }

    #[test]
    fn a_hardware_address_has_six_bytes() {
        for bad in
            ["", "02:c0:0a:01:02", "02:c0:0a:01:02:03:04", "02:c0:0a:01:02:zz", "2:c0:0a:01:02:03"]
        {
            assert!(MacAddress::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
