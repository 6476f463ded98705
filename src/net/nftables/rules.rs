//! Which rules a network needs.
//!
//! | chain | looks at | does |
//! | --- | --- | --- |
//! | `guard` | what arrives, before anything else | drops what must not come in: from the bridge to the box's loopback (which `route_localnet` would let in, CVE-2020-8558) and to the instance metadata of a cloud; from elsewhere straight to an address of the bridge |
//! | `arriving` | what arrives | the metadata endpoint, the name server, and to `published` what is for the box |
//! | `local` | what the box itself sends | the name server, and to `published` what is for the box |
//! | `published` | | sends on what is for a published port |
//! | `leaving` | what goes out | masquerades: endpoints to the outside; endpoints to a published port, and the box's loopback, so that the answer comes back the same way |
//! | `forward` | what passes | lets out what endpoints send, lets in only answers and what is for a published port |
//!
//! Single ports are looked up in a map, so their number does not matter; a range with the same ports on both sides is
//! one rule; a range that is moved needs an element for each of its ports.
//!
//! The box's `::1` is not redirected: the kernel never lets a packet from there leave the box. `localhost` works, as
//! whoever finds `::1` refused goes on to 127.0.0.1.

use super::encode::{DataType, Family, Hook, INET, Point, Side, Writer};
use super::senders::Member;
use crate::net::Services;
use crate::net::dns::CarrierPorts;
use crate::net::netlink::Batch;
use crate::net::port::{PortRange, Protocol};
use crate::net::subnet::{Subnet, Subnet6};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Where a cloud tells a box its secrets.
const INSTANCE_METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const INSTANCE_METADATA6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
/// Where a task finds its own metadata and credentials.
const TASK_METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 2);
/// The port of name servers.
const DOMAIN: u16 = 53;
const WHOLE: [u8; 4] = [0xff; 4];
const WHOLE6: [u8; 16] = [0xff; 16];

/// Everything that rules are made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::net) struct Ruleset {
    /// Whose they are.
    pub(in crate::net) owner: String,
    pub(in crate::net) bridge: String,
    pub(in crate::net) subnet: Subnet,
    pub(in crate::net) subnet6: Option<Subnet6>,
    pub(in crate::net) members: Vec<Member>,
    pub(in crate::net) published: Vec<Published>,
    /// What the box serves there.
    pub(in crate::net) services: Services,
    pub(in crate::net) allow_instance_metadata: bool,
}

/// Ports of the box that are an endpoint's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) struct Published {
    pub(in crate::net) protocol: Protocol,
    pub(in crate::net) host: PortRange,
    /// As many.
    pub(in crate::net) container: PortRange,
    pub(in crate::net) ipv4: Ipv4Addr,
    pub(in crate::net) ipv6: Option<Ipv6Addr>,
}

impl Published {
    /// Whether one rule says it.
    fn is_plain_range(&self) -> bool {
        !self.host.is_single() && self.host == self.container
    }

    /// The keys and the ports they lead to.
    fn elements(&self) -> impl Iterator<Item = (Vec<u8>, [u8; 4])> {
        let protocol = self.protocol.number();
        self.host.ports().zip(self.container.ports()).map(move |(host, container)| {
            let ([a, b], [c, d]) = (host.to_be_bytes(), container.to_be_bytes());
            (vec![protocol, 0, 0, 0, a, b, 0, 0], [c, d, 0, 0])
        })
    }
}

impl Ruleset {
    /// The name of their table.
    pub(in crate::net) fn table(&self) -> String {
        super::table(&self.bridge)
    }

    /// The batch that puts them into the kernel, with those of the bridge itself if `bridged`.
    pub(in crate::net) fn encode(&self, bridged: bool) -> Batch {
        let mut writer = Writer::begin(INET, &self.table());
        writer.replace_table(&self.owner);
        let filter = |point, priority| Some(Hook { kind: "filter", point, priority });
        let nat = |point, priority| Some(Hook { kind: "nat", point, priority });
        writer.chain("guard", filter(Point::Prerouting, -300));
        writer.chain("published", None);
        writer.chain("arriving", nat(Point::Prerouting, -100));
        writer.chain("local", nat(Point::Output, -100));
        writer.chain("leaving", nat(Point::Postrouting, 100));
        writer.chain("forward", filter(Point::Forward, 0));
        self.guard(&mut writer);
        self.redirect(&mut writer);
        self.masquerade(&mut writer);
        self.forward(&mut writer);
        if bridged {
            self.senders(&mut writer);
        }
        writer.end()
    }

    fn guard(&self, writer: &mut Writer) {
        let bridge = self.bridge.as_str();
        writer.rule("guard", |rule| {
            rule.from(bridge, true).ipv4(Side::Destination, [127, 0, 0, 0], [255, 0, 0, 0]).drop();
        });
        if !self.allow_instance_metadata {
            writer.rule("guard", |rule| {
                rule.from(bridge, true)
                    .ipv4(Side::Destination, INSTANCE_METADATA.octets(), WHOLE)
                    .drop();
            });
            writer.rule("guard", |rule| {
                rule.from(bridge, true)
                    .ipv6(Side::Destination, INSTANCE_METADATA6.octets(), WHOLE6, true)
                    .drop();
            });
        }
        let (address, mask) = (self.subnet.address().octets(), self.subnet.mask().octets());
        writer.rule("guard", |rule| {
            rule.from(bridge, false)
                .from("lo", false)
                .ipv4(Side::Destination, address, mask)
                .drop();
        });
        if let Some(subnet6) = self.subnet6 {
            let (address, mask) = (subnet6.address().octets(), subnet6.mask().octets());
            writer.rule("guard", |rule| {
                rule.from(bridge, false)
                    .from("lo", false)
                    .ipv6(Side::Destination, address, mask, true)
                    .drop();
            });
        }
    }

    fn redirect(&self, writer: &mut Writer) {
        if let Some(port) = self.services.metadata {
            writer.rule("arriving", |rule| {
                rule.from(&self.bridge, true)
                    .ipv4(Side::Destination, TASK_METADATA.octets(), WHOLE)
                    .port(Protocol::Tcp.number(), 80, 80)
                    .send_to(Family::Ipv4, &self.subnet.gateway().octets(), Some(port));
            });
        }
        for chain in ["arriving", "local"] {
            self.names(writer, chain);
            writer.rule(chain, |rule| rule.is_for_the_box().jump("published"));
        }
        self.published4(writer);
        if self.subnet6.is_some() {
            self.published6(writer);
        }
    }

    /// Port 53 of the bridge's own addresses is the name server's, also where the box's port 53 is published.
    fn names(&self, writer: &mut Writer, chain: &str) {
        let Some(names) = self.services.names else { return };
        let carriers = |ports: CarrierPorts| {
            [(Protocol::Udp.number(), ports.udp), (Protocol::Tcp.number(), ports.tcp)]
        };
        let gateway = self.subnet.gateway().octets();
        for (protocol, port) in carriers(names.ipv4) {
            writer.rule(chain, |rule| {
                rule.ipv4(Side::Destination, gateway, WHOLE)
                    .port(protocol, DOMAIN, DOMAIN)
                    .send_to(Family::Ipv4, &gateway, Some(port));
            });
        }
        let Some((ports, subnet6)) = names.ipv6.zip(self.subnet6) else { return };
        let gateway = subnet6.gateway().octets();
        for (protocol, port) in carriers(ports) {
            writer.rule(chain, |rule| {
                rule.ipv6(Side::Destination, gateway, WHOLE6, true)
                    .port(protocol, DOMAIN, DOMAIN)
                    .send_to(Family::Ipv6, &gateway, Some(port));
            });
        }
    }

    fn published4(&self, writer: &mut Writer) {
        writer.map("ports4", DataType::SERVICE, Some(DataType::IPV4_PORT));
        let mapped = self.published.iter().filter(|published| !published.is_plain_range());
        writer.elements(
            "ports4",
            mapped.flat_map(|published| {
                let address = published.ipv4.octets();
                published.elements().map(move |(key, port)| (key, [address, port].concat()))
            }),
        );
        writer.rule("published", |rule| {
            rule.is_ipv4().send_by_map("ports4", Family::Ipv4);
        });
        for range in self.published.iter().filter(|published| published.is_plain_range()) {
            writer.rule("published", |rule| {
                rule.is_ipv4()
                    .port(range.protocol.number(), range.host.first(), range.host.last())
                    .send_to(Family::Ipv4, &range.ipv4.octets(), None);
            });
        }
    }

    fn published6(&self, writer: &mut Writer) {
        writer.map("ports6", DataType::SERVICE, Some(DataType::IPV6_PORT));
        let with_ipv6 =
            || self.published.iter().filter_map(|published| Some((published, published.ipv6?)));
        writer.elements(
            "ports6",
            with_ipv6().filter(|(published, _)| !published.is_plain_range()).flat_map(
                |(published, ipv6)| {
                    published
                        .elements()
                        .map(move |(key, port)| (key, [&ipv6.octets()[..], &port[..]].concat()))
                },
            ),
        );
        let loopback = Ipv6Addr::LOCALHOST.octets();
        writer.rule("published", |rule| {
            rule.ipv6(Side::Destination, loopback, WHOLE6, false)
                .send_by_map("ports6", Family::Ipv6);
        });
        for (range, ipv6) in with_ipv6().filter(|(published, _)| published.is_plain_range()) {
            writer.rule("published", |rule| {
                rule.ipv6(Side::Destination, loopback, WHOLE6, false)
                    .port(range.protocol.number(), range.host.first(), range.host.last())
                    .send_to(Family::Ipv6, &ipv6.octets(), None);
            });
        }
    }

    fn masquerade(&self, writer: &mut Writer) {
        let bridge = self.bridge.as_str();
        let (address, mask) = (self.subnet.address().octets(), self.subnet.mask().octets());
        writer.rule("leaving", |rule| {
            rule.to(bridge, false).ipv4(Side::Source, address, mask).masquerade();
        });
        writer.rule("leaving", |rule| {
            rule.to(bridge, true).ipv4(Side::Source, address, mask).is_redirected().masquerade();
        });
        writer.rule("leaving", |rule| {
            rule.to(bridge, true).ipv4(Side::Source, [127, 0, 0, 0], [255, 0, 0, 0]).masquerade();
        });
        if let Some(subnet6) = self.subnet6 {
            let (address, mask) = (subnet6.address().octets(), subnet6.mask().octets());
            writer.rule("leaving", |rule| {
                rule.to(bridge, false).ipv6(Side::Source, address, mask, true).masquerade();
            });
            writer.rule("leaving", |rule| {
                rule.to(bridge, true)
                    .ipv6(Side::Source, address, mask, true)
                    .is_redirected()
                    .masquerade();
            });
        }
    }

    fn forward(&self, writer: &mut Writer) {
        let bridge = self.bridge.as_str();
        // It is the box's to answer; without an endpoint there, nobody else must.
        writer.rule("forward", |rule| {
            rule.from(bridge, true).ipv4(Side::Destination, TASK_METADATA.octets(), WHOLE).drop();
        });
        writer.rule("forward", |rule| rule.from(bridge, true).accept());
        writer.rule("forward", |rule| rule.to(bridge, true).is_known().accept());
        writer.rule("forward", |rule| rule.to(bridge, true).is_redirected().accept());
        writer.rule("forward", |rule| rule.to(bridge, true).drop());
    }
}
