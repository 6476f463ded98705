//! Links, addresses and routes of the box, over rtnetlink.
//!
//! * this file: what is there
//! * [`bridge`]: the bridge of an agent
//! * [`veth`]: an endpoint's link into its namespace

pub(super) mod bridge;
pub(super) mod veth;

use super::error::NetworkError;
use super::netlink::{
    Attributes, Batch, Flags, Message, Refused, Socket, attributes, number32, text,
};
use super::subnet::{Subnet, Subnet6};
use rustix::io::Errno;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Message kinds of rtnetlink.
mod kind {
    pub(super) const NEW_LINK: u16 = 16;
    pub(super) const DELETE_LINK: u16 = 17;
    pub(super) const GET_LINK: u16 = 18;
    pub(super) const SET_LINK: u16 = 19;
    pub(super) const NEW_ADDRESS: u16 = 20;
    pub(super) const GET_ADDRESS: u16 = 22;
    pub(super) const NEW_ROUTE: u16 = 24;
    pub(super) const GET_ROUTE: u16 = 26;
}

/// Attributes of a link.
mod ifla {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const NAME: u16 = 3;
    pub(super) const MASTER: u16 = 10;
    pub(super) const INFO: u16 = 18;
    pub(super) const ALIAS: u16 = 20;
    pub(super) const AF_SPEC: u16 = 26;
    pub(super) const NAMESPACE: u16 = 28;
    pub(super) const INFO_KIND: u16 = 1;
    pub(super) const INFO_DATA: u16 = 2;
    pub(super) const INFO_SLAVE_KIND: u16 = 4;
    pub(super) const INFO_SLAVE_DATA: u16 = 5;
}

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// `IFF_UP`.
const UP: u32 = 1;

/// A network interface of the box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    /// What its owner wrote on it.
    pub(super) alias: String,
    /// `bridge`, `veth`, …; empty for hardware.
    pub(super) kind: String,
    /// The bridge it is a port of.
    pub(super) master: Option<u32>,
}

/// An error that names what was done, and with which link.
fn failed(name: &str) -> impl Fn(Refused) -> NetworkError {
    move |refused| NetworkError::Link {
        action: format!("{} ({name})", refused.action),
        source: refused.source,
    }
}

/// The same for a link that was to be made: the kernel may have none of its kind.
fn unless_kind(kind: &'static str, name: &str) -> impl Fn(Refused) -> NetworkError {
    move |refused| match refused.action {
        "make the bridge" | "make the link" if refused.is(Errno::OPNOTSUPP) => {
            NetworkError::NoLinks { kind, source: refused.source }
        }
        _ => failed(name)(refused),
    }
}

/// A socket for the namespace of this thread.
pub(super) fn open() -> Result<Socket, NetworkError> {
    Socket::route()
        .map_err(|source| NetworkError::Link { action: "open a netlink socket".to_owned(), source })
}

/// `struct ifinfomsg`.
fn link_head(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut head = [0; 16];
    put(&mut head, 4, &index.to_ne_bytes());
    put(&mut head, 8, &flags.to_ne_bytes());
    put(&mut head, 12, &change.to_ne_bytes());
    head
}

/// `struct ifaddrmsg`.
fn address_head(family: u8, prefix: u8, index: u32) -> [u8; 8] {
    let mut head = [family, prefix, 0, 0, 0, 0, 0, 0];
    put(&mut head, 4, &index.to_ne_bytes());
    head
}

fn put(head: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = head.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

fn read_link(message: Message<'_>) -> Option<Link> {
    if message.kind != kind::NEW_LINK {
        return None;
    }
    let (head, rest) = message.body.split_first_chunk::<16>()?;
    let mut link = Link {
        index: number32(head.get(4..8)?)?,
        name: String::new(),
        alias: String::new(),
        kind: String::new(),
        master: None,
    };
    for (kind, value) in attributes(rest) {
        match kind {
            ifla::NAME => link.name = text(value),
            ifla::ALIAS => link.alias = text(value),
            ifla::MASTER => link.master = number32(value),
            ifla::INFO => {
                let found = attributes(value).find(|(kind, _)| *kind == ifla::INFO_KIND);
                link.kind = found.map(|(_, value)| text(value)).unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(link)
}

/// All links.
pub(super) fn links(socket: &Socket) -> Result<Vec<Link>, NetworkError> {
    let mut batch = Batch::default();
    batch.message("list links", kind::GET_LINK, Flags::LIST, &link_head(0, 0, 0), |_| {});
    let mut links = Vec::new();
    socket.list(&batch, |message| links.extend(read_link(message))).map_err(failed("all"))?;
    Ok(links)
}

/// The link with this name, if there is one.
pub(super) fn find(socket: &Socket, name: &str) -> Result<Option<Link>, NetworkError> {
    let mut batch = Batch::default();
    batch.message("find the link", kind::GET_LINK, Flags::GET, &link_head(0, 0, 0), |a| {
        a.text(ifla::NAME, name);
    });
    match socket.get(&batch, read_link) {
        Err(refused) if refused.is(Errno::NODEV) => Ok(None),
        other => other.map_err(failed(name)),
    }
}

/// Removes the link with this name, and its other end; it need not be there.
pub(super) fn remove(socket: &Socket, name: &str) -> Result<(), NetworkError> {
    let mut batch = Batch::default();
    let head = link_head(0, 0, 0);
    batch.message("remove the link", kind::DELETE_LINK, Flags::DO, &head, |a| {
        a.text(ifla::NAME, name);
    });
    match socket.request(&batch) {
        Err(refused) if refused.is(Errno::NODEV) => Ok(()),
        other => other.map_err(failed(name)),
    }
}

/// An address or a route of the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken<S> {
    pub(super) subnet: S,
    /// The index of its link.
    pub(super) link: u32,
}

/// What addresses and routes of the box take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Occupied {
    pub(super) ipv4: Vec<Taken<Subnet>>,
    pub(super) ipv6: Vec<Taken<Subnet6>>,
}

impl Occupied {
    fn add(&mut self, family: u8, prefix: u8, address: &[u8], link: u32) {
        if family == AF_INET {
            if let Some(bytes) = address.first_chunk::<4>() {
                let subnet = Subnet::containing(Ipv4Addr::from(*bytes), prefix);
                self.ipv4.push(Taken { subnet, link });
            }
        } else if let Some(bytes) = address.first_chunk::<16>() {
            let subnet = Subnet6::containing(Ipv6Addr::from(*bytes), prefix);
            self.ipv6.push(Taken { subnet, link });
        }
    }
}

/// All addresses of the box, as subnets.
pub(super) fn addresses(socket: &Socket) -> Result<Occupied, NetworkError> {
    let mut occupied = Occupied::default();
    let mut batch = Batch::default();
    batch.message("list addresses", kind::GET_ADDRESS, Flags::LIST, &address_head(0, 0, 0), |_| {});
    let each = |message: Message<'_>| {
        let Some((head, rest)) = message.body.split_first_chunk::<8>() else { return };
        let [family, prefix, _, _, a, b, c, d] = *head;
        for (kind, value) in attributes(rest) {
            // IFA_ADDRESS
            if message.kind == kind::NEW_ADDRESS && kind == 1 {
                occupied.add(family, prefix, value, u32::from_ne_bytes([a, b, c, d]));
            }
        }
    };
    socket.list(&batch, each).map_err(failed("all"))?;
    Ok(occupied)
}

/// All addresses and routes of the box but default routes.
pub(super) fn occupied(socket: &Socket) -> Result<Occupied, NetworkError> {
    /// `RTN_UNICAST`, and those that refuse: `RTN_BLACKHOLE`, `RTN_UNREACHABLE`, `RTN_PROHIBIT`.
    const KINDS: [u8; 4] = [1, 6, 7, 8];
    let mut occupied = addresses(socket)?;
    let mut batch = Batch::default();
    batch.message("list routes", kind::GET_ROUTE, Flags::LIST, &[0; 12], |_| {});
    let each = |message: Message<'_>| {
        let Some((head, rest)) = message.body.split_first_chunk::<12>() else { return };
        let [family, prefix, _, _, _, _, _, route, ..] = *head;
        if message.kind != kind::NEW_ROUTE || !KINDS.contains(&route) || prefix == 0 {
            return;
        }
        let (mut to, mut link) = (None, 0);
        for (kind, value) in attributes(rest) {
            match kind {
                1 => to = Some(value),
                4 => link = number32(value).unwrap_or(0),
                _ => {}
            }
        }
        if let Some(to) = to {
            occupied.add(family, prefix, to, link);
        }
    };
    socket.list(&batch, each).map_err(failed("all"))?;
    Ok(occupied)
}

/// Gives the link no IPv6 address of its own making: the box's ends need none, and each would be announced. A kernel without
/// IPv6 gives none, and refuses to be asked.
fn no_link_local(attributes: &mut Attributes<'_>) {
    if !std::path::Path::new("/proc/sys/net/ipv6").exists() {
        return;
    }
    attributes.nest(ifla::AF_SPEC, |families| {
        families.nest(u16::from(AF_INET6), |ipv6| {
            // IFLA_INET6_ADDR_GEN_MODE: none
            ipv6.put(8, &[1]);
        });
    });
}

/// Adds an IPv4 address to the link with this index.
fn add_ipv4(batch: &mut Batch, index: u32, address: Ipv4Addr, subnet: Subnet) {
    let head = address_head(AF_INET, subnet.prefix(), index);
    batch.message("add the IPv4 address", kind::NEW_ADDRESS, Flags::MAKE_INSTEAD, &head, |a| {
        // IFA_LOCAL, IFA_ADDRESS, IFA_BROADCAST
        a.put(2, &address.octets()).put(1, &address.octets());
        a.put(4, &subnet.broadcast().octets());
    });
}

/// Adds an IPv6 address that can be used at once: nobody else can have it, so nobody is asked.
fn add_ipv6(batch: &mut Batch, index: u32, address: Ipv6Addr, prefix: u8) {
    let head = address_head(AF_INET6, prefix, index);
    batch.message("add the IPv6 address", kind::NEW_ADDRESS, Flags::MAKE_INSTEAD, &head, |a| {
        // IFA_ADDRESS, and IFA_FLAGS: IFA_F_NODAD
        a.put(1, &address.octets()).u32(8, 0x02);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The box's own links, whatever they are.
    #[test]
    fn the_loopback_is_found() {
        let socket = open().unwrap();
        let links = links(&socket).unwrap();
        let lo = links.iter().find(|link| link.name == "lo").unwrap();
        assert_eq!(find(&socket, "lo").unwrap().as_ref(), Some(lo));
        assert_eq!(find(&socket, "no-such-link").unwrap(), None);
        let local = Subnet::containing(Ipv4Addr::LOCALHOST, 8);
        let taken = Taken { subnet: local, link: lo.index };
        assert!(occupied(&socket).unwrap().ipv4.contains(&taken));
    }

    proptest! {
        #[test]
        fn any_answer_can_be_read(body: Vec<u8>) {
            let _ = read_link(Message { kind: kind::NEW_LINK, sequence: 0, body: &body });
        }
    }
}
