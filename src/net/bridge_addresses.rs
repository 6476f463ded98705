//! Where endpoints find the box, and where they are themselves.

use super::attachment::Attachment;
use super::subnet::{Subnet, Subnet6};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses of a bridge: the box's own there, and the subnets of the endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgeAddresses {
    /// The box's IPv4 address.
    pub ipv4: Ipv4Addr,
    /// The box's IPv6 address, where there is IPv6.
    pub ipv6: Option<Ipv6Addr>,
    subnet: Subnet,
    subnet6: Option<Subnet6>,
}

impl BridgeAddresses {
    /// A bridge without IPv6, by the box's address there and the length of its subnet's prefix.
    #[must_use]
    pub fn of_ipv4(ipv4: Ipv4Addr, prefix: u8) -> Self {
        Self { ipv4, ipv6: None, subnet: Subnet::containing(ipv4, prefix), subnet6: None }
    }

    /// The bridge that an endpoint is attached to.
    #[must_use]
    pub fn of(attachment: &Attachment) -> Self {
        let ipv6 = attachment.ipv6;
        Self {
            ipv6: ipv6.map(|ipv6| ipv6.gateway),
            subnet6: ipv6.map(|ipv6| Subnet6::containing(ipv6.gateway, ipv6.prefix)),
            ..Self::of_ipv4(attachment.gateway4, attachment.ipv4_prefix)
        }
    }

    /// Whether `address` is of the bridge: an endpoint's, or the box's own there.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.subnet.contains(address),
            IpAddr::V6(address) => self.subnet6.is_some_and(|subnet6| subnet6.contains(address)),
        }
    }

    /// Whether `address` is the box's own on the bridge.
    #[must_use]
    pub fn is_of_box(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => address == self.ipv4,
            IpAddr::V6(address) => Some(address) == self.ipv6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_of_the_bridge_is_told_by_the_subnet() {
        let bridge = BridgeAddresses {
            ipv6: Some("fd00::1".parse().unwrap()),
            subnet6: Some(Subnet6::containing("fd00::1".parse().unwrap(), 64)),
            ..BridgeAddresses::of_ipv4(Ipv4Addr::new(10, 9, 0, 1), 24)
        };
        for (address, has) in [
            ("10.9.0.1", true),
            ("10.9.0.200", true),
            ("10.9.1.1", false),
            ("fd00::77", true),
            ("fd00:1::77", false),
            ("fe80::1", false),
        ] {
            assert_eq!(bridge.has(address.parse().unwrap()), has, "{address}");
        }
        assert!(bridge.is_of_box("10.9.0.1".parse().unwrap()));
        assert!(!bridge.is_of_box("10.9.0.2".parse().unwrap()));
    }
}
