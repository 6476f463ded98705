//! Subnets of a bridge: parsed, compared, and chosen where none is set.

use ring::digest::{SHA256, digest};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::str::FromStr;

/// An IPv4 subnet in which a bridge and some endpoints have room: `10.210.0.0/20`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    address: u32,
    prefix: u8,
}

/// An IPv6 subnet of a bridge: `fd12:3456:789a::/64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet6 {
    address: u128,
    prefix: u8,
}

/// Why a subnet was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    /// Not `ADDRESS/LENGTH`.
    #[error("{0:?} is no subnet: ADDRESS/LENGTH is expected")]
    Form(String),
    /// Bits are set beyond the prefix.
    #[error("{0:?} is an address within a subnet; the subnet is {1}")]
    Host(String, String),
    /// Too small or too large.
    #[error("{0:?} is no subnet for endpoints: {1}")]
    Size(String, &'static str),
    /// Not an address that endpoints may have.
    #[error("{0:?} is no subnet for endpoints: {1}")]
    Kind(String, &'static str),
}

/// Splits `ADDRESS/LENGTH`.
fn split<A: FromStr>(text: &str) -> Result<(A, u8), SubnetError> {
    text.split_once('/')
        .and_then(|(address, prefix)| Some((address.parse().ok()?, prefix.parse().ok()?)))
        .ok_or_else(|| SubnetError::Form(text.to_owned()))
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}

fn mask6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0)
}

impl Subnet {
    /// The subnet of `prefix` bits that `address` is in, whatever it is good for.
    #[must_use]
    pub(super) fn containing(address: Ipv4Addr, prefix: u8) -> Self {
        let prefix = prefix.min(32);
        Self { address: address.to_bits() & mask(prefix), prefix }
    }

    /// Its first address, which is none of an endpoint.
    #[must_use]
    pub fn address(self) -> Ipv4Addr {
        self.address.into()
    }

    /// The length of its prefix in bits.
    #[must_use]
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The bits of its prefix, as an address.
    pub(super) fn mask(self) -> Ipv4Addr {
        mask(self.prefix).into()
    }

    /// The bridge's own address: the first.
    #[must_use]
    pub fn gateway(self) -> Ipv4Addr {
        (self.address | 1).into()
    }

    /// Where to send to all of it: its last address.
    pub(super) fn broadcast(self) -> Ipv4Addr {
        (self.address | !mask(self.prefix)).into()
    }

    /// The address with this number; 0 is the subnet itself, 1 the gateway.
    pub(super) fn host(self, number: u32) -> Ipv4Addr {
        (self.address | (number & !mask(self.prefix))).into()
    }

    /// The number of `address` in it.
    pub(super) fn number(self, address: Ipv4Addr) -> Option<u32> {
        self.contains(address).then(|| address.to_bits() & !mask(self.prefix))
    }

    /// The number of its last address for an endpoint; the first is 2.
    pub(super) fn last(self) -> u32 {
        !mask(self.prefix) - 1
    }

    /// Whether `address` is in it.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix) == self.address
    }

    /// Whether they share an address.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        let mask = mask(self.prefix.min(other.prefix));
        self.address & mask == other.address & mask
    }
}

impl Subnet6 {
    /// The subnet of `prefix` bits that `address` is in, whatever it is good for.
    pub(super) fn containing(address: Ipv6Addr, prefix: u8) -> Self {
        let prefix = prefix.min(128);
        Self { address: address.to_bits() & mask6(prefix), prefix }
    }

    /// A unique local subnet (RFC 4193) that is told by an agent's state directory and its bridge, so that it stays
    /// the same and hardly ever meets another.
    #[must_use]
    pub fn derived(state_dir: &Path, bridge: &str) -> Self {
        let digest = digest(&SHA256, format!("{}\0{bridge}", state_dir.display()).as_bytes());
        let mut bytes = [0; 16];
        bytes[0] = 0xfd;
        for (to, from) in bytes.iter_mut().skip(1).take(7).zip(digest.as_ref()) {
            *to = *from;
        }
        Self { address: u128::from_be_bytes(bytes), prefix: 64 }
    }

    /// Its first address, which is none of an endpoint.
    #[must_use]
    pub fn address(self) -> Ipv6Addr {
        self.address.into()
    }

    /// The length of its prefix in bits.
    #[must_use]
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The bits of its prefix, as an address.
    pub(super) fn mask(self) -> Ipv6Addr {
        mask6(self.prefix).into()
    }

    /// The bridge's own address: the first.
    #[must_use]
    pub fn gateway(self) -> Ipv6Addr {
        self.host(1)
    }

    /// The address with this number.
    pub(super) fn host(self, number: u32) -> Ipv6Addr {
        (self.address | u128::from(number)).into()
    }

    /// Whether `address` is in it.
    #[must_use]
    pub fn contains(self, address: Ipv6Addr) -> bool {
        address.to_bits() & mask6(self.prefix) == self.address
    }

    /// Whether they share an address.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        let mask = mask6(self.prefix.min(other.prefix));
        self.address & mask == other.address & mask
    }
}

impl FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let (address, prefix): (Ipv4Addr, u8) = split(text)?;
        if !(8..=29).contains(&prefix) {
            return Err(SubnetError::Size(text.to_owned(), "a length of 8 to 29 is expected"));
        }
        if address.is_loopback()
            || address.is_multicast()
            || address.is_link_local()
            || address.octets()[0] == 0
            || address.octets()[0] >= 240
        {
            return Err(SubnetError::Kind(text.to_owned(), "its addresses have another purpose"));
        }
        let subnet = Self::containing(address, prefix);
        if subnet.address() != address {
            return Err(SubnetError::Host(text.to_owned(), subnet.to_string()));
        }
        Ok(subnet)
    }
}

impl FromStr for Subnet6 {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let (address, prefix): (Ipv6Addr, u8) = split(text)?;
        if prefix != 64 {
            return Err(SubnetError::Size(text.to_owned(), "a length of 64 is expected"));
        }
        if !address.is_unique_local() {
            return Err(SubnetError::Kind(
                text.to_owned(),
                "a unique local one within fc00::/7 is expected",
            ));
        }
        let subnet = Self::containing(address, prefix);
        if subnet.address() != address {
            return Err(SubnetError::Host(text.to_owned(), subnet.to_string()));
        }
        Ok(subnet)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address(), self.prefix)
    }
}

impl fmt::Display for Subnet6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address(), self.prefix)
    }
}

/// How many subnets there are to choose from.
const CANDIDATES: u32 = 160;

/// The subnets to choose from when none is set, each with room for some 4,000 endpoints: `10.210.0.0/20` to
/// `10.219.240.0/20`. The bridge with number `first` begins at the one with that number, so two agents that begin at
/// the same time do not try the same.
pub(super) fn candidates(first: u32) -> impl Iterator<Item = Subnet> {
    (0..CANDIDATES).map(move |step| {
        let number = first.wrapping_add(step) % CANDIDATES;
        Subnet { address: u32::from(Ipv4Addr::new(10, 210, 0, 0)) + (number << 12), prefix: 20 }
    })
}

#[cfg(test)]
mod tests;
