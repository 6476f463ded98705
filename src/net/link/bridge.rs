//! The bridge that an agent's endpoints are ports of.
//!
//! Its alias says whose it is: `coracle STATE_DIR`, and behind that, in brackets, what is to be restored when it goes
//! (see [`super::super::forwarding`]). So an agent that was killed finds it, and another agent leaves it alone.

use super::{
    Batch, Flags, NetworkError, Socket, UP, add_ipv4, add_ipv6, failed, find, ifla, kind,
    unless_kind,
};
use super::{link_head, no_link_local, remove};
use crate::net::attachment::MacAddress;
use crate::net::subnet::{Subnet, Subnet6};
use rustix::io::Errno;
use std::net::Ipv6Addr;

const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// Makes a bridge with this alias and returns its index. It has a name of this agent's alone, so nobody else makes it
/// meanwhile, and nobody finds it without its owner.
pub(in crate::net) fn create(
    socket: &Socket,
    private: &str,
    alias: &str,
) -> Result<u32, NetworkError> {
    // One that an earlier life made and did not name.
    remove(socket, private)?;
    let mut batch = Batch::default();
    let head = link_head(0, 0, 0);
    batch.message("make the bridge", kind::NEW_LINK, Flags::MAKE_NEW, &head, |a| {
        a.text(ifla::NAME, private).nest(ifla::INFO, |info| {
            info.text(ifla::INFO_KIND, "bridge").nest(ifla::INFO_DATA, |data| {
                // IFLA_BR_MCAST_SNOOPING: there is no router of multicast that would ask.
                data.put(23, &[0]);
            });
        });
    });
    batch.message("name the owner of the bridge", kind::SET_LINK, Flags::DO, &head, |a| {
        a.text(ifla::NAME, private).put(ifla::ALIAS, alias.as_bytes());
        no_link_local(a);
    });
    socket.request(&batch).map_err(unless_kind("bridge", private)).inspect_err(|_| {
        let _ = remove(socket, private);
    })?;
    find(socket, private)?.map(|link| link.index).ok_or_else(|| NetworkError::Link {
        action: format!("find the bridge ({private})"),
        source: Errno::NODEV.into(),
    })
}

/// Gives the bridge its name; `false` when another link has it.
pub(in crate::net) fn rename(
    socket: &Socket,
    index: u32,
    name: &str,
) -> Result<bool, NetworkError> {
    let mut batch = Batch::default();
    let head = link_head(index, 0, 0);
    batch.message("name the bridge", kind::SET_LINK, Flags::DO, &head, |a| {
        a.text(ifla::NAME, name);
    });
    match socket.request(&batch) {
        Err(refused) if refused.is(Errno::EXIST) => Ok(false),
        other => other.map(|()| true).map_err(failed(name)),
    }
}

/// Gives the bridge its addresses and brings it up.
pub(in crate::net) fn configure(
    socket: &Socket,
    (name, index): (&str, u32),
    subnet: Subnet,
    subnet6: Option<Subnet6>,
) -> Result<(), NetworkError> {
    let mut batch = Batch::default();
    let head = link_head(index, UP, UP);
    batch.message("bring up the bridge", kind::SET_LINK, Flags::DO, &head, |a| {
        // A fixed one: otherwise it would change with the ports.
        a.put(ifla::ADDRESS, &MacAddress::of(subnet.gateway()).0);
    });
    add_ipv4(&mut batch, index, subnet.gateway(), subnet);
    if let Some(subnet6) = subnet6 {
        add_ipv6(&mut batch, index, subnet6.gateway(), subnet6.prefix());
        // What the box asks an endpoint for a packet of somebody else, it asks from here.
        add_ipv6(&mut batch, index, LINK_LOCAL, 64);
    }
    socket.request(&batch).map_err(failed(name))
}
