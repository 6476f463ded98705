//! Holding ports: a socket that is bound and never used keeps everybody else on the box from a published port.
//!
//! It does not listen: what comes for the port goes to the endpoint before any socket is looked for, and what does not
//! (the box's `::1`) is refused as if nobody was there.

use super::error::NetworkError;
use super::port::{PortRange, Protocol};
use rustix::io::Errno;
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_recv_buffer_size, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Of a range, this many ports are held; of the others it is only checked that they are free. Each costs a descriptor.
const MOST: usize = 128;
/// How often, and how far apart, a port that somebody has is tried again.
const ATTEMPTS: u32 = 25;
const PAUSE: Duration = Duration::from_millis(10);

/// Ports that nobody else on the box can bind, as long as it lives.
#[derive(Debug, Default)]
pub(super) struct Held(#[expect(dead_code, reason = "they only have to be there")] Vec<OwnedFd>);

/// What holding gives: the ports, or the first that somebody else has.
type Holding = Result<Result<Held, u16>, NetworkError>;

/// Holds all of `range`, or tells the first port that somebody else has. Blocking.
///
/// Of a port that was given back just now, a program that is about to be executed may have a copy until it is: that
/// is waited for, a quarter of a second at most.
pub(super) fn hold(protocol: Protocol, range: PortRange) -> Holding {
    patiently(|| hold_now(protocol, range), || std::thread::sleep(PAUSE))
}

fn patiently(attempt: impl Fn() -> Holding, mut pause: impl FnMut()) -> Holding {
    for _ in 0..ATTEMPTS {
        match attempt() {
            Ok(Err(_)) => pause(),
            held => return held,
        }
    }
    attempt()
}

/// The same of ports that others will do for, too.
pub(super) fn hold_now(protocol: Protocol, range: PortRange) -> Holding {
    let mut held = Vec::new();
    for port in range.ports() {
        match bound(protocol, port) {
            Ok(socket) if held.len() < MOST => held.push(socket),
            Ok(_) => {}
            Err(Errno::ADDRINUSE) => return Ok(Err(port)),
            Err(error) => {
                return Err(NetworkError::HoldPort { port, protocol, source: error.into() });
            }
        }
    }
    Ok(Ok(Held(held)))
}

fn bound(protocol: Protocol, port: u16) -> rustix::io::Result<OwnedFd> {
    match bound_as(protocol, port, false) {
        // Connections of a server that has ended wait for a minute; sockets of anybody who is still there do not let
        // this one beside them.
        Err(Errno::ADDRINUSE) if protocol == Protocol::Tcp => bound_as(protocol, port, true),
        other => other,
    }
}

/// Binds the port at all addresses of the box.
fn bound_as(protocol: Protocol, port: u16, beside: bool) -> rustix::io::Result<OwnedFd> {
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let open = |family| socket_with(family, kind, SocketFlags::CLOEXEC, None);
    let prepare = |socket: &OwnedFd| {
        if beside {
            set_socket_reuseaddr(socket, true)?;
        }
        // Nobody will read what gets here.
        set_socket_recv_buffer_size(socket, 0)
    };
    if let Ok(socket) = open(AddressFamily::INET6) {
        prepare(&socket)?;
        set_ipv6_v6only(&socket, false)?;
        match bind(&socket, &SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0)) {
            // IPv6 is there and disabled.
            Err(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT) => {}
            other => return other.map(|()| socket),
        }
    }
    let socket = open(AddressFamily::INET)?;
    prepare(&socket)?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};
    use std::net::TcpListener;

    #[test]
    fn a_port_that_a_child_is_about_to_lose_is_waited_for_and_one_that_is_taken_is_told() {
        let taken = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let range = PortRange::of_length(port, 1).unwrap();
        let pauses = Cell::new(0);
        let pause = || pauses.set(pauses.get() + 1);
        let told = patiently(|| hold_now(Protocol::Tcp, range), pause).unwrap();
        assert_eq!((told.err(), pauses.get()), (Some(port), ATTEMPTS));

        let taken = RefCell::new(Some(taken));
        let given_back = || {
            if let Some(socket) = taken.take() {
                rustix::net::shutdown(&socket, rustix::net::Shutdown::Both).unwrap();
            }
        };
        assert!(patiently(|| hold_now(Protocol::Tcp, range), given_back).unwrap().is_ok());
    }
}
