//! Who has which address and which port: plain sets, without a kernel.
//!
//! Both go round: what was given back last is given away last, so whoever still sends to an endpoint that is gone does
//! not meet another one at once.

use super::port::{PortRange, Protocol};
use super::subnet::Subnet;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// The addresses of a subnet, by their numbers in it. An endpoint has the same number in IPv4 and IPv6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    subnet: Subnet,
    taken: BTreeSet<u32>,
    next: u32,
}

/// The first number that is neither the subnet nor the gateway.
const FIRST: u32 = 2;

impl Addresses {
    pub(super) fn new(subnet: Subnet) -> Self {
        Self { subnet, taken: BTreeSet::new(), next: FIRST }
    }

    /// Gives away a free number.
    pub(super) fn take(&mut self) -> Option<u32> {
        let last = self.subnet.last();
        let free = |from: u32, to: u32| (from..=to).find(|number| !self.taken.contains(number));
        let number = free(self.next, last).or_else(|| free(FIRST, last))?;
        self.taken.insert(number);
        self.next = number + 1;
        Some(number)
    }

    /// Notes that `address` is taken; `false` when it is not one of the subnet for an endpoint, or taken already.
    pub(super) fn note(&mut self, address: Ipv4Addr) -> bool {
        let number = self.subnet.number(address);
        let number = number.filter(|number| (FIRST..=self.subnet.last()).contains(number));
        number.is_some_and(|number| {
            self.next = self.next.max(number + 1);
            self.taken.insert(number)
        })
    }

    /// Takes back an address.
    pub(super) fn give_back(&mut self, address: Ipv4Addr) {
        if let Some(number) = self.subnet.number(address) {
            self.taken.remove(&number);
        }
    }
}

/// The ports of the box that are published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ports {
    taken: BTreeSet<(Protocol, u16)>,
    /// Where the search for dynamic ports goes on.
    next: u16,
}

impl Ports {
    /// The first port of `range` that is taken.
    pub(super) fn conflict(&self, protocol: Protocol, range: PortRange) -> Option<u16> {
        self.taken
            .range((protocol, range.first())..=(protocol, range.last()))
            .next()
            .map(|(_, port)| *port)
    }

    /// Takes all of `range`, which must be free.
    pub(super) fn take(&mut self, protocol: Protocol, range: PortRange) {
        self.taken.extend(range.ports().map(|port| (protocol, port)));
    }

    /// Takes back `range`.
    pub(super) fn give_back(&mut self, protocol: Protocol, range: PortRange) {
        for port in range.ports() {
            self.taken.remove(&(protocol, port));
        }
    }

    /// Finds `length` free ports in a row within `among` for which `usable` answers none; it answers with the port
    /// that is in the way otherwise. They are not taken yet.
    pub(super) fn find<E>(
        &mut self,
        protocol: Protocol,
        length: u16,
        among: PortRange,
        mut usable: impl FnMut(PortRange) -> Result<Option<u16>, E>,
    ) -> Result<Option<PortRange>, E> {
        let start = self.next.clamp(among.first(), among.last());
        // Once from where the last search ended, once from the beginning.
        for from in [start, among.first()] {
            let mut first = from;
            while let Some(range) = PortRange::of_length(first, length)
                && range.last() <= among.last()
            {
                let in_the_way = match self.conflict(protocol, range) {
                    Some(port) => Some(port),
                    None => usable(range)?,
                };
                match in_the_way.map(|port| port.checked_add(1)) {
                    None => {
                        self.next = range.last().checked_add(1).unwrap_or(among.first());
                        return Ok(Some(range));
                    }
                    Some(Some(after)) => first = after.max(first.saturating_add(1)),
                    Some(None) => break,
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    fn small() -> Subnet {
        "10.9.8.0/28".parse().unwrap()
    }

    #[test]
    fn a_subnet_gives_all_its_addresses_once() {
        let mut addresses = Addresses::new(small());
        let all: Vec<u32> = std::iter::from_fn(|| addresses.take()).collect();
        assert_eq!(all, (2..=14).collect::<Vec<_>>());
        addresses.give_back(small().host(5));
        assert_eq!(addresses.take(), Some(5));
        assert_eq!(addresses.take(), None);
    }

    #[test]
    fn what_was_given_back_is_given_away_last() {
        let mut addresses = Addresses::new(small());
        let first = addresses.take().unwrap();
        addresses.give_back(small().host(first));
        assert_ne!(addresses.take(), Some(first));
    }

    #[test]
    fn only_an_address_for_endpoints_is_noted() {
        let mut addresses = Addresses::new(small());
        for (address, fits) in
            [(0, false), (1, false), (2, true), (2, false), (14, true), (15, false), (16, false)]
        {
            let address = Ipv4Addr::new(10, 9, 8, address);
            assert_eq!(addresses.note(address), fits, "{address}");
        }
    }

    fn find(ports: &mut Ports, length: u16, among: PortRange, busy: &[u16]) -> Option<PortRange> {
        let usable = |range: PortRange| {
            Ok::<_, Infallible>(busy.iter().copied().find(|port| range.ports().any(|p| p == *port)))
        };
        let found = ports.find(Protocol::Tcp, length, among, usable).unwrap();
        if let Some(range) = found {
            ports.take(Protocol::Tcp, range);
        }
        found
    }

    #[test]
    fn dynamic_ports_go_round_what_is_taken() {
        let mut ports = Ports::default();
        let among = PortRange::new(100, 109).unwrap();
        assert_eq!(find(&mut ports, 2, among, &[101]), PortRange::new(102, 103));
        assert_eq!(find(&mut ports, 4, among, &[101]), PortRange::new(104, 107));
        assert_eq!(find(&mut ports, 3, among, &[101]), None);
        assert_eq!(find(&mut ports, 1, among, &[108]), PortRange::new(109, 109));
        assert_eq!(find(&mut ports, 1, among, &[108]), PortRange::new(100, 100));
        ports.give_back(Protocol::Tcp, PortRange::new(104, 107).unwrap());
        assert_eq!(find(&mut ports, 4, among, &[108]), PortRange::new(104, 107));
    }

    #[test]
    fn the_last_port_of_all_can_be_found() {
        let among = PortRange::new(65535, 65535).unwrap();
        let mut ports = Ports::default();
        assert_eq!(find(&mut ports, 1, among, &[]), Some(among));
        assert_eq!(find(&mut ports, 1, among, &[]), None);
    }

    #[test]
    fn protocols_have_ports_of_their_own() {
        let mut ports = Ports::default();
        let range = PortRange::new(80, 90).unwrap();
        ports.take(Protocol::Tcp, range);
        assert_eq!(ports.conflict(Protocol::Tcp, PortRange::new(85, 85).unwrap()), Some(85));
        assert_eq!(ports.conflict(Protocol::Tcp, PortRange::new(70, 99).unwrap()), Some(80));
        assert_eq!(ports.conflict(Protocol::Udp, range), None);
    }

    proptest! {
        #[test]
        fn no_address_is_given_twice(steps in prop::collection::vec(any::<Option<u8>>(), 0..200)) {
            let mut addresses = Addresses::new(small());
            let mut out = Vec::new();
            for step in steps {
                match step {
                    None => if let Some(number) = addresses.take() {
                        prop_assert!(!out.contains(&number));
                        prop_assert!((2..=14).contains(&number));
                        out.push(number);
                    } else {
                        prop_assert_eq!(out.len(), 13);
                    },
                    Some(which) if !out.is_empty() => {
                        let number = out.remove(usize::from(which) % out.len());
                        addresses.give_back(small().host(number));
                    }
                    Some(_) => {}
                }
            }
        }

        #[test]
        fn no_port_is_given_twice(steps in prop::collection::vec((1_u16..9, any::<bool>()), 0..100)) {
            let among = PortRange::new(1000, 1063).unwrap();
            let mut ports = Ports::default();
            let mut out: Vec<PortRange> = Vec::new();
            for (length, give) in steps {
                if give && let Some(range) = out.pop() {
                    ports.give_back(Protocol::Tcp, range);
                } else if let Some(range) = find(&mut ports, length, among, &[]) {
                    prop_assert_eq!(range.length(), length);
                    prop_assert!(range.first() >= 1000 && range.last() <= 1063);
                    prop_assert!(out.iter().all(|o| o.last() < range.first() || range.last() < o.first()));
                    out.push(range);
                }
            }
        }
    }
}
