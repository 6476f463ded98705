//! An endpoint's link: one end is a port of the bridge, the other is `eth0` in the endpoint's namespace, put there in
//! the call that makes it. It dies with the namespace.

use super::{AF_INET, AF_INET6, link_head, no_link_local, open, remove};
use super::{
    Batch, Flags, NetworkError, Socket, UP, add_ipv4, add_ipv6, failed, find, ifla, kind,
    unless_kind,
};
use crate::net::attachment::Attachment;
use crate::net::subnet::Subnet;
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The endpoint's end.
const INSIDE: &str = "eth0";
/// `VETH_INFO_PEER`.
const PEER: u16 = 1;
/// `IFLA_BRPORT_MODE`: what comes from a port may go back to it, for an endpoint that calls a port of its own by the
/// box's address.
const HAIRPIN: u16 = 4;

/// Makes the link of `attachment` from the bridge with index `bridge` into `namespace`, in place of one that is there.
pub(in crate::net) fn connect(
    socket: &Socket,
    bridge: u32,
    attachment: &Attachment,
    namespace: BorrowedFd<'_>,
) -> Result<(), NetworkError> {
    let name = attachment.interface.as_str();
    match make(socket, bridge, attachment, namespace) {
        Err(refused) if refused.is(Errno::EXIST) => {
            remove(socket, name)?;
            make(socket, bridge, attachment, namespace)
        }
        other => other,
    }
    .map_err(unless_kind("veth", name))?;
    configure(attachment, namespace).inspect_err(|_| {
        let _ = remove(socket, name);
    })
}

fn make(
    socket: &Socket,
    bridge: u32,
    attachment: &Attachment,
    namespace: BorrowedFd<'_>,
) -> Result<(), super::Refused> {
    let mut batch = Batch::default();
    let fd = u32::try_from(namespace.as_raw_fd()).unwrap_or_default();
    let head = link_head(0, 0, 0);
    batch.message("make the link", kind::NEW_LINK, Flags::MAKE_NEW, &head, |a| {
        a.text(ifla::NAME, &attachment.interface).u32(ifla::MASTER, bridge);
        a.nest(ifla::INFO, |info| {
            info.text(ifla::INFO_KIND, "veth").nest(ifla::INFO_DATA, |data| {
                data.nest(PEER, |peer| {
                    peer.raw(&head).text(ifla::NAME, INSIDE);
                    peer.put(ifla::ADDRESS, &attachment.mac.0).u32(ifla::NAMESPACE, fd);
                });
            });
        });
    });
    port(&mut batch, &attachment.interface, None);
    socket.request(&batch)
}

/// Makes the link called `name` a port as it must be: of the bridge with index `bridge` if that is given, and up.
fn port(batch: &mut Batch, name: &str, bridge: Option<u32>) {
    batch.message("set the link", kind::SET_LINK, Flags::DO, &link_head(0, 0, 0), |a| {
        a.text(ifla::NAME, name);
        no_link_local(a);
        if let Some(bridge) = bridge {
            a.u32(ifla::MASTER, bridge);
        }
    });
    // A port of a bridge is changed as one that may have to be made.
    batch.message("bring up the link", kind::NEW_LINK, Flags::DO, &link_head(0, UP, UP), |a| {
        a.text(ifla::NAME, name).nest(ifla::INFO, |info| {
            info.text(ifla::INFO_SLAVE_KIND, "bridge").nest(ifla::INFO_SLAVE_DATA, |data| {
                data.put(HAIRPIN, &[1]);
            });
        });
    });
}

/// Makes the link called `name`, which is there, a port of the bridge again.
pub(in crate::net) fn reconnect(
    socket: &Socket,
    bridge: u32,
    name: &str,
) -> Result<(), NetworkError> {
    let mut batch = Batch::default();
    port(&mut batch, name, Some(bridge));
    socket.request(&batch).map_err(failed(name))
}

/// Sets up the inside. A thread that goes into a namespace cannot be trusted to come back, so it is one of its own.
fn configure(attachment: &Attachment, namespace: BorrowedFd<'_>) -> Result<(), NetworkError> {
    let failed = |action: &str, source: io::Error| NetworkError::Link {
        action: format!("{action} ({})", attachment.interface),
        source,
    };
    let joined = std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("netns".to_owned())
            .stack_size(128 * 1024)
            .spawn_scoped(scope, || {
                move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
                    .map_err(|error| failed("enter the network namespace", error.into()))?;
                configure_here(attachment)
            })
            .map_err(|error| failed("start a thread", error))
            .map(std::thread::ScopedJoinHandle::join)
    })?;
    joined.unwrap_or_else(|_| Err(failed("set up the namespace", io::Error::other("panicked"))))
}

/// Sets up the namespace of this thread: addresses, default routes, loopback.
fn configure_here(attachment: &Attachment) -> Result<(), NetworkError> {
    let name = &attachment.interface;
    let inside = open()?;
    let index = find(&inside, INSIDE)?.map(|link| link.index).ok_or(NetworkError::Link {
        action: format!("find eth0 ({name})"),
        source: Errno::NODEV.into(),
    })?;
    let mut batch = Batch::default();
    for index in [1, index] {
        batch.message("bring up", kind::SET_LINK, Flags::DO, &link_head(index, UP, UP), |_| {});
    }
    let subnet = Subnet::containing(attachment.ipv4, attachment.ipv4_prefix);
    add_ipv4(&mut batch, index, attachment.ipv4, subnet);
    default_route(&mut batch, AF_INET, index, &attachment.gateway4.octets());
    if let Some(ipv6) = attachment.ipv6 {
        // Routes come from here alone: a neighbour that plays router is not heard.
        let path = "/proc/sys/net/ipv6/conf/eth0/accept_ra";
        fs::write(path, "0")
            .map_err(|source| NetworkError::Setting { path: path.into(), source })?;
        add_ipv6(&mut batch, index, ipv6.address, ipv6.prefix);
        default_route(&mut batch, AF_INET6, index, &ipv6.gateway.octets());
    }
    inside.request(&batch).map_err(failed(name))
}

fn default_route(batch: &mut Batch, family: u8, index: u32, gateway: &[u8]) {
    // Table main, protocol static, scope universe, a route to somewhere.
    let head = [family, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0];
    batch.message("add the default route", kind::NEW_ROUTE, Flags::MAKE_INSTEAD, &head, |a| {
        // RTA_GATEWAY, RTA_OIF
        a.put(5, gateway).u32(4, index);
    });
}
