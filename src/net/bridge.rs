//! The bridge of an agent with all that goes with it: made with the first endpoint, removed after the last.

use super::NetworkConfig;
use super::error::NetworkError;
use super::fingerprint::fingerprint;
use super::forwarding::{self, Restore};
use super::link::{self, Link, Occupied, Taken};
use super::netlink::Socket;
use super::nftables;
use super::subnet::{self, Subnet, Subnet6};
use rustix::io::Errno;

/// The names to choose from end with these.
const NAMES: std::ops::Range<u32> = 0..1000;
/// How often it is tried again when another agent chose the same subnet at the same time.
const ATTEMPTS: u32 = 8;

/// The bridge that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bridge {
    pub(super) name: String,
    pub(super) index: u32,
    pub(super) subnet: Subnet,
    /// None where the kernel has IPv6 disabled.
    pub(super) subnet6: Option<Subnet6>,
}

impl Bridge {
    /// Makes it.
    pub(super) fn make(socket: &Socket, config: &NetworkConfig) -> Result<Self, NetworkError> {
        let links = link::links(socket)?;
        if let Some(name) = &config.bridge
            && let Some(there) = links.iter().find(|link| link.name == *name)
        {
            return Err(taken(there));
        }
        let mut attempt = 0;
        loop {
            let bridge = Self::make_once(socket, config, &links, attempt)?;
            if bridge.is_alone(socket).inspect_err(|_| bridge.discard(socket))? {
                return Ok(bridge);
            }
            bridge.discard(socket);
            attempt += 1;
            if attempt == ATTEMPTS {
                return Err(NetworkError::NoSubnet);
            }
        }
    }

    fn make_once(
        socket: &Socket,
        config: &NetworkConfig,
        links: &[Link],
        attempt: u32,
    ) -> Result<Self, NetworkError> {
        let owner = forwarding::owner(&config.state_dir);
        let ipv6 = forwarding::has_ipv6();
        let alias = Restore::needed(links, ipv6).alias(&owner);
        let private = private_name(&owner);
        let index = link::bridge::create(socket, &private, &alias)?;
        let discard = |_: &NetworkError| {
            let _ = link::remove(socket, &private);
        };
        let (name, number) = name(socket, config, index).inspect_err(discard)?;
        let choose = || {
            let occupied = link::occupied(socket)?;
            // Another agent that chose the same began with another one, so it goes elsewhere.
            let first = number + attempt * (number + 1);
            let subnet = choose(config, &occupied, links, first)?;
            let subnet6 = ipv6.then(|| choose6(config, &name, &occupied, links)).transpose()?;
            Ok(Self { name: name.clone(), index, subnet, subnet6 })
        };
        let discard = |_: &NetworkError| {
            let _ = link::remove(socket, &name);
        };
        let bridge = choose().inspect_err(discard)?;
        bridge.bring_up(socket).inspect_err(|_| bridge.discard(socket))?;
        Ok(bridge)
    }

    fn bring_up(&self, socket: &Socket) -> Result<(), NetworkError> {
        forwarding::enable(&self.name, self.subnet6.is_some())?;
        link::bridge::configure(socket, (&self.name, self.index), self.subnet, self.subnet6)
    }

    /// Whether no other agent gave its bridge the same subnet since this one looked.
    fn is_alone(&self, socket: &Socket) -> Result<bool, NetworkError> {
        let others = link::addresses(socket)?.ipv4;
        Ok(!others
            .iter()
            .any(|other| other.link != self.index && other.subnet.overlaps(self.subnet)))
    }

    /// Removes what was made in vain.
    fn discard(&self, socket: &Socket) {
        if let Err(error) = self.remove(socket) {
            tracing::warn!(bridge = self.name, %error, "a bridge is left over");
        }
    }

    /// Removes it with its rules and its ports, and restores what it changed. The rules go first, for they are found
    /// by the bridge.
    pub(super) fn remove(&self, socket: &Socket) -> Result<(), NetworkError> {
        nftables::remove(&nftables::table(&self.name))?;
        let links = link::links(socket)?;
        let (ours, others): (Vec<Link>, Vec<Link>) = links
            .into_iter()
            .partition(|link| link.index == self.index || link.master == Some(self.index));
        for port in ours.iter().filter(|link| link.index != self.index) {
            link::remove(socket, &port.name)?;
        }
        let Some(bridge) = ours.iter().find(|link| link.index == self.index) else {
            return Ok(());
        };
        forwarding::restore(&bridge.alias, &others)?;
        link::remove(socket, &bridge.name)
    }

    /// The bridges that an earlier life of this agent left, the one with ports first.
    pub(super) fn left(
        socket: &Socket,
        links: &[Link],
        config: &NetworkConfig,
    ) -> Result<Vec<Self>, NetworkError> {
        let owner = forwarding::owner(&config.state_dir);
        let addresses = link::addresses(socket)?;
        let ours = links
            .iter()
            .filter(|link| link.kind == "bridge" && forwarding::is_owned(&link.alias, &owner));
        let mut bridges: Vec<Self> = ours
            .map(|link| Self {
                name: link.name.clone(),
                index: link.index,
                // One without an address was being made or removed, and is of no use.
                subnet: of_link(&addresses.ipv4, link.index)
                    .unwrap_or(Subnet::containing(std::net::Ipv4Addr::UNSPECIFIED, 32)),
                subnet6: of_link6(&addresses.ipv6, link.index),
            })
            .collect();
        let ports =
            |bridge: &Self| links.iter().filter(|link| link.master == Some(bridge.index)).count();
        bridges.sort_by_key(|bridge| std::cmp::Reverse(ports(bridge)));
        Ok(bridges)
    }

    /// Makes one again for endpoints that are in `subnet`, in place of one that somebody removed.
    pub(super) fn make_again(
        socket: &Socket,
        config: &NetworkConfig,
        subnet: Subnet,
        subnet6: Option<Subnet6>,
    ) -> Result<Self, NetworkError> {
        let subnet6 = subnet6.or(config.subnet6);
        Self::make(socket, &NetworkConfig { subnet: Some(subnet), subnet6, ..config.clone() })
    }
}

/// A name that is this agent's alone.
fn private_name(owner: &str) -> String {
    format!("cb{}", fingerprint(owner, 13))
}

fn taken(link: &Link) -> NetworkError {
    let owner = match link.alias.split(" [").next() {
        Some(alias) if !alias.is_empty() => alias.to_owned(),
        _ => "somebody else".to_owned(),
    };
    NetworkError::BridgeTaken { name: link.name.clone(), owner }
}

/// Gives the bridge the name that is set, or the first that is free, with its number.
fn name(
    socket: &Socket,
    config: &NetworkConfig,
    index: u32,
) -> Result<(String, u32), NetworkError> {
    if let Some(name) = &config.bridge {
        if link::bridge::rename(socket, index, name)? {
            return Ok((name.clone(), 0));
        }
        return Err(match link::find(socket, name)? {
            Some(there) => taken(&there),
            None => NetworkError::Link {
                action: format!("name the bridge ({name})"),
                source: Errno::EXIST.into(),
            },
        });
    }
    for number in NAMES {
        let name = format!("coracle{number}");
        if link::find(socket, &name)?.is_none() && link::bridge::rename(socket, index, &name)? {
            return Ok((name, number));
        }
    }
    Err(NetworkError::NoBridge)
}

fn name_of(links: &[Link], index: u32) -> String {
    links
        .iter()
        .find(|link| link.index == index)
        .map_or_else(|| "none".to_owned(), |link| link.name.clone())
}

fn choose(
    config: &NetworkConfig,
    occupied: &Occupied,
    links: &[Link],
    first: u32,
) -> Result<Subnet, NetworkError> {
    let overlap =
        |subnet: Subnet| occupied.ipv4.iter().find(|taken| taken.subnet.overlaps(subnet)).copied();
    match config.subnet {
        Some(subnet) => match overlap(subnet) {
            None => Ok(subnet),
            Some(taken) => Err(NetworkError::SubnetTaken {
                subnet,
                other: taken.subnet,
                interface: name_of(links, taken.link),
            }),
        },
        None => subnet::candidates(first)
            .find(|subnet| overlap(*subnet).is_none())
            .ok_or(NetworkError::NoSubnet),
    }
}

fn choose6(
    config: &NetworkConfig,
    bridge: &str,
    occupied: &Occupied,
    links: &[Link],
) -> Result<Subnet6, NetworkError> {
    let subnet = config.subnet6.unwrap_or_else(|| Subnet6::derived(&config.state_dir, bridge));
    match occupied.ipv6.iter().find(|taken| taken.subnet.overlaps(subnet)) {
        None => Ok(subnet),
        Some(taken) => Err(NetworkError::Subnet6Taken {
            subnet,
            other: taken.subnet,
            interface: name_of(links, taken.link),
        }),
    }
}

fn of_link(taken: &[Taken<Subnet>], link: u32) -> Option<Subnet> {
    taken.iter().find(|taken| taken.link == link).map(|taken| taken.subnet)
}

fn of_link6(taken: &[Taken<Subnet6>], link: u32) -> Option<Subnet6> {
    // Its own addresses only: a subnet of another length is one that the kernel made itself.
    taken
        .iter()
        .find(|taken| taken.link == link && taken.subnet.address().is_unique_local())
        .map(|taken| taken.subnet)
}
