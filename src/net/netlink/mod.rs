//! Netlink, the kernel's own protocol for links, addresses, routes and nftables: messages of attributes.
//!
//! Only as much as [`super::link`] and [`super::nftables`] need. What the kernel sends is read with bounds, so nothing
//! in it can be read past its end.

mod attribute;
mod message;
mod socket;

pub(super) use attribute::{Attributes, attributes, number32, text};
pub(super) use message::{Batch, Flags, Message};
pub(super) use socket::{Refused, Socket};

/// Netlink aligns everything to four bytes.
const ALIGNMENT: usize = 4;

fn padding(length: usize) -> usize {
    length.next_multiple_of(ALIGNMENT) - length
}
