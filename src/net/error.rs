//! Why the network could not do what it was asked to.

use super::attachment::EndpointId;
use super::port::{PortRange, Protocol};
use super::subnet::{Subnet, Subnet6};
use std::io;
use std::path::PathBuf;

/// Why the network could not do something.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The name of the bridge cannot be one.
    #[error(
        "{0:?} is no name of a bridge: 1 to 15 letters, digits, '-', '_' or '.' are expected, beginning with a letter"
    )]
    BridgeName(String),
    /// The bridge that is set is there and is not this agent's.
    #[error(
        "the network interface {name} is there already and belongs to {owner}; set `bridge` to another name"
    )]
    BridgeTaken {
        /// Its name.
        name: String,
        /// Whose it is.
        owner: String,
    },
    /// The subnet that is set is in use on the box.
    #[error(
        "the subnet {subnet} overlaps {other} of the network interface {interface}; set `subnet` to another"
    )]
    SubnetTaken {
        /// What is set.
        subnet: Subnet,
        /// What is there.
        other: Subnet,
        /// Where.
        interface: String,
    },
    /// The same with IPv6.
    #[error(
        "the subnet {subnet} overlaps {other} of the network interface {interface}; set `subnet6` to another"
    )]
    Subnet6Taken {
        /// What is set.
        subnet: Subnet6,
        /// What is there.
        other: Subnet6,
        /// Where.
        interface: String,
    },
    /// Each subnet to choose from is in use.
    #[error(
        "no subnet is free to choose: each within 10.210.0.0-10.219.255.255 overlaps a route of the box; set `subnet`"
    )]
    NoSubnet,
    /// Each name to choose from is in use.
    #[error("no name of a bridge is free to choose; set `bridge`")]
    NoBridge,
    /// All addresses are given away.
    #[error("{endpoint}: no address is free in {subnet}")]
    NoAddress {
        /// For which endpoint.
        endpoint: EndpointId,
        /// The subnet.
        subnet: Subnet,
    },
    /// Another endpoint or a process on the box has the port.
    #[error("port {port}/{protocol} of the box is in use")]
    PortInUse {
        /// The port.
        port: u16,
        /// Its protocol.
        protocol: Protocol,
    },
    /// There are no more dynamic ports.
    #[error("no {length} ports in a row are free among the dynamic {protocol} ports {among}")]
    NoPorts {
        /// How many were wanted.
        length: u16,
        /// Of which protocol.
        protocol: Protocol,
        /// The dynamic ports.
        among: PortRange,
    },
    /// The host range would go beyond the last port.
    #[error("{length} ports from {first} on are more than there are")]
    PortsBeyond {
        /// The first port on the box.
        first: u16,
        /// How many were wanted.
        length: u16,
    },
    /// A port cannot be held.
    #[error("cannot hold port {port}/{protocol} of the box: {source}")]
    HoldPort {
        /// The port.
        port: u16,
        /// Its protocol.
        protocol: Protocol,
        /// The cause.
        source: io::Error,
    },
    /// The kernel refused a network interface, an address or a route.
    #[error("cannot {action}: {source}")]
    Link {
        /// What was tried, with its object.
        action: String,
        /// The cause.
        source: io::Error,
    },
    /// The kernel refused the rules.
    #[error("cannot {action} the nftables table {table}: {source}")]
    Rules {
        /// What was tried.
        action: &'static str,
        /// Which table.
        table: String,
        /// The cause.
        source: io::Error,
    },
    /// The kernel has no nftables, which give containers their way out and publish ports.
    #[error(
        "this kernel has no nftables ({0}), without which no container gets a network of its own: load the module with \
         `modprobe nf_tables`, use a kernel that has it (CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET, CONFIG_NFT_NAT), or set \
         the networkMode to host or none"
    )]
    NoNftables(io::Error),
    /// The kernel has nftables, but not all of it.
    #[error(
        "this kernel has not all of nftables that a container's own network takes ({0}): load the modules with \
         `modprobe -a nft_chain_nat nft_nat nft_masq nft_ct`, use a kernel that has them (CONFIG_NFT_NAT, CONFIG_NFT_MASQ, \
         CONFIG_NFT_CT), or set the networkMode to host or none"
    )]
    PartOfNftables(io::Error),
    /// The kernel has no links of a kind.
    #[error(
        "this kernel has no {kind} links ({source}), without which no container gets a network of its own: load the module \
         with `modprobe {kind}`, use a kernel that has it (CONFIG_{}), or set the networkMode to host or none", kind.to_uppercase()
    )]
    NoLinks {
        /// `bridge` or `veth`.
        kind: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// A setting of the kernel.
    #[error("{path}: {source}")]
    Setting {
        /// Its file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The agent is ending.
    #[error("the network is shutting down")]
    ShuttingDown,
}
