//! Connections that the kernel remembers, where they would outlive what they were told.
//!
//! Whether a packet goes to an endpoint is decided with the first of a connection. With UDP every packet from the same
//! sender belongs to the same one, as long as it goes on sending: a sender that was there before the port was
//! published would never reach the endpoint, and one that goes on after the endpoint left would never reach the next.
//! So what the kernel remembers of a UDP port is forgotten when it is published and when it is not any more.

use super::attachment::Attachment;
use super::netlink::{Batch, Flags, Message, Refused, Socket, attributes};
use super::port::Protocol;
use rustix::io::Errno;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Message kinds of nfnetlink's subsystem for connections (1).
const NEW: u16 = 1 << 8;
const GET: u16 = NEW + 1;
const DELETE: u16 = NEW + 2;
/// Attributes of a connection: what its sender said, and what the answer says.
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;

/// Makes the kernel forget all UDP connections to the published ports of `attachment`, and to itself through them.
/// Returns how many there were.
pub(super) fn forget(attachment: &Attachment) -> Result<usize, Refused> {
    let udp = attachment.bindings.iter().any(|binding| binding.protocol == Protocol::Udp);
    if !udp {
        return Ok(0);
    }
    let socket =
        Socket::netfilter().map_err(|source| Refused { action: "open a socket", source })?;
    let mut forgotten = 0;
    for (family, own) in [
        (2, Some(IpAddr::V4(attachment.ipv4))),
        (10, attachment.ipv6.map(|ipv6| IpAddr::V6(ipv6.address))),
    ] {
        let Some(own) = own else { continue };
        let mut found = Vec::new();
        let mut batch = Batch::default();
        let head = [family, 0, 0, 0];
        batch.message("list connections", GET, Flags::LIST, &head, |_| {});
        socket.list(&batch, |message| found.extend(stale(message, attachment, own)))?;
        for original in found {
            let mut batch = Batch::default();
            batch.message("forget a connection", DELETE, Flags::DO, &head, |a| {
                a.nest(ORIGINAL, |tuple| {
                    tuple.raw(&original);
                });
            });
            match socket.request(&batch) {
                // It ended by itself.
                Err(refused) if refused.is(Errno::NOENT) => {}
                other => other.map(|()| forgotten += 1)?,
            }
        }
    }
    Ok(forgotten)
}

/// What tells the connection from others, if it is to a published UDP port, or answered by `own` address.
fn stale(message: Message<'_>, attachment: &Attachment, own: IpAddr) -> Option<Vec<u8>> {
    let rest = message.body.get(4..).filter(|_| message.kind == NEW)?;
    let tuple =
        |which: u16| attributes(rest).find(|(kind, _)| *kind == which).map(|(_, value)| value);
    let original = tuple(ORIGINAL)?;
    let (sent, answered) = (Tuple::read(original)?, Tuple::read(tuple(REPLY)?)?);
    let to_published = attachment.bindings.iter().any(|binding| {
        let host = binding.host.first()..=binding.host.last();
        binding.protocol == Protocol::Udp && host.contains(&sent.to_port)
    });
    let by_own = answered.from == Some(own) && answered.from != sent.to;
    let udp = sent.protocol == Protocol::Udp.number();
    (udp && (to_published || by_own)).then(|| original.to_vec())
}

/// One direction of a connection.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tuple {
    from: Option<IpAddr>,
    to: Option<IpAddr>,
    protocol: u8,
    to_port: u16,
}

impl Tuple {
    fn read(value: &[u8]) -> Option<Self> {
        let mut tuple = Self::default();
        for (kind, value) in attributes(value) {
            for (inner, value) in attributes(value) {
                match (kind, inner) {
                    (1, 1 | 3) => tuple.from = address(value),
                    (1, 2 | 4) => tuple.to = address(value),
                    (2, 1) => tuple.protocol = *value.first()?,
                    (2, 3) => tuple.to_port = u16::from_be_bytes(*value.first_chunk()?),
                    _ => {}
                }
            }
        }
        Some(tuple)
    }
}

fn address(value: &[u8]) -> Option<IpAddr> {
    if let Ok(bytes) = <[u8; 4]>::try_from(value) {
        return Some(Ipv4Addr::from(bytes).into());
    }
    <[u8; 16]>::try_from(value).ok().map(|bytes| Ipv6Addr::from(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes: Vec<u8>) {
            let _ = Tuple::read(&bytes);
        }
    }
}
