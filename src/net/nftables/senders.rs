//! What passes the bridge: an endpoint says who it is, and nobody else.
//!
//! A process with `CAP_NET_RAW`, which containers have by default, can put any address on what it sends. So each port
//! of the bridge has the addresses of its endpoint, in what ARP and neighbour discovery say as well. An endpoint can
//! neither take over the connections of another, nor ask the box in its name, nor play the router.
//!
//! Everything else that is not IP or ARP stops here too. Ports of other bridges are not looked at.

use super::encode::{BRIDGE, DataType, Hook, Point, Sender, Side, Writer, interface_value};
use super::rules::Ruleset;
use crate::net::attachment::MacAddress;
use std::net::{Ipv4Addr, Ipv6Addr};

const ETHERNET_IPV4: u16 = 0x0800;
const ETHERNET_ARP: u16 = 0x0806;
const ETHERNET_IPV6: u16 = 0x86dd;
/// What only routers say, and what tells a way around them.
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;

/// A port of the bridge, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::net) struct Member {
    pub(in crate::net) interface: String,
    pub(in crate::net) mac: MacAddress,
    pub(in crate::net) ipv4: Ipv4Addr,
    pub(in crate::net) ipv6: Option<Ipv6Addr>,
}

impl Member {
    fn key(&self, address: &[u8]) -> Vec<u8> {
        let mut key = interface_value(&self.interface).to_vec();
        key.extend_from_slice(&self.mac.0);
        key.extend_from_slice(&[0; 2]);
        key.extend_from_slice(address);
        key
    }
}

/// The address that the kernel gives to a link with this hardware address.
fn link_local(mac: MacAddress) -> Ipv6Addr {
    let [first, second, third, rest @ ..] = mac.0;
    let mut address = [0; 16];
    address[..2].copy_from_slice(&[0xfe, 0x80]);
    address[8..13].copy_from_slice(&[first ^ 0x02, second, third, 0xff, 0xfe]);
    address[13..].copy_from_slice(&rest);
    address.into()
}

impl Ruleset {
    /// Writes the table of the family `bridge`.
    pub(super) fn senders(&self, writer: &mut Writer) {
        writer.family(BRIDGE);
        writer.replace_table(&self.owner);
        let hook = Hook { kind: "filter", point: Point::Prerouting, priority: -300 };
        writer.chain("senders", Some(hook));
        writer.map("ports", DataType::INTERFACE, None);
        writer.map("senders4", DataType::SENDER4, None);
        writer.map("senders6", DataType::SENDER6, None);
        let interfaces = self.members.iter().map(|member| interface_value(&member.interface));
        writer.elements("ports", interfaces.map(|name| (name.to_vec(), Vec::new())));
        let ipv4 = self.members.iter().map(|member| member.key(&member.ipv4.octets()));
        writer.elements("senders4", ipv4.map(|key| (key, Vec::new())));
        let ipv6 = self.members.iter().flat_map(|member| {
            let own = member.ipv6.map(|address| [address, link_local(member.mac)]);
            own.into_iter().flatten().map(|address| member.key(&address.octets()))
        });
        writer.elements("senders6", ipv6.map(|key| (key, Vec::new())));
        writer.rule("senders", |rule| rule.of_interfaces("ports", false).accept());
        let accept = |writer: &mut Writer, protocol, set, sender| {
            writer.rule("senders", |rule| {
                rule.ethernet(protocol).sender(set, sender, true).accept();
            });
        };
        accept(writer, ETHERNET_IPV4, "senders4", Sender::Ipv4);
        accept(writer, ETHERNET_ARP, "senders4", Sender::Arp);
        writer.rule("senders", |rule| {
            rule.ethernet(ETHERNET_IPV6)
                .icmpv6(NEIGHBOUR_ADVERTISEMENT)
                .sender("senders6", Sender::Neighbour, false)
                .drop();
        });
        for kind in [ROUTER_ADVERTISEMENT, REDIRECT] {
            writer.rule("senders", |rule| rule.ethernet(ETHERNET_IPV6).icmpv6(kind).drop());
        }
        accept(writer, ETHERNET_IPV6, "senders6", Sender::Ipv6);
        // Who has no address yet asks whether it is free.
        writer.rule("senders", |rule| {
            let nobody = Ipv6Addr::UNSPECIFIED.octets();
            rule.ethernet(ETHERNET_IPV6).ipv6_bridged(Side::Source, nobody).accept();
        });
        writer.rule("senders", |rule| rule.of_interfaces("ports", true).drop());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_local_address_is_that_of_the_kernel() {
        let mac = MacAddress([0x02, 0xc0, 0x0a, 0xd2, 0x00, 0x02]);
        assert_eq!(link_local(mac).to_string(), "fe80::c0:aff:fed2:2");
    }
}
