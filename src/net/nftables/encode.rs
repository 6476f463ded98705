//! nftables in bytes: tables, chains, maps, rules and the expressions that rules are made of.
//!
//! The kernel's registers are 16 four-byte words; number 1 is the first four of them together, 8 to 23 are each one.

use crate::net::netlink::{Attributes, Batch, Flags};

/// Message kinds of nfnetlink and of its subsystem nftables (10).
pub(super) mod kind {
    pub(super) const BEGIN: u16 = 0x10;
    pub(super) const END: u16 = 0x11;
    const NFTABLES: u16 = 10 << 8;
    pub(in crate::net::nftables) const NEW_TABLE: u16 = NFTABLES;
    pub(in crate::net::nftables) const GET_TABLE: u16 = NFTABLES | 1;
    pub(super) const DELETE_TABLE: u16 = NFTABLES | 2;
    pub(super) const NEW_CHAIN: u16 = NFTABLES | 3;
    pub(super) const NEW_RULE: u16 = NFTABLES | 6;
    pub(super) const NEW_SET: u16 = NFTABLES | 9;
    pub(super) const NEW_ELEMENTS: u16 = NFTABLES | 0xc;
}

pub(super) const TABLE_NAME: u16 = 1;
pub(super) const TABLE_USERDATA: u16 = 6;
/// The families of tables: for IP, and for what passes a bridge.
pub(super) const INET: u8 = 1;
pub(super) const BRIDGE: u8 = 7;
/// The most bytes of elements in one message: an attribute's length has 16 bits.
const CHUNK: usize = 16 * 1024;

/// `struct nfgenmsg`.
pub(super) fn head(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

/// Where a chain is entered by packets: only chains that are jumped to have none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hook {
    /// `filter` or `nat`.
    pub(super) kind: &'static str,
    pub(super) point: Point,
    pub(super) priority: i32,
}

/// When a packet is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Point {
    Prerouting = 0,
    Forward = 2,
    Output = 3,
    Postrouting = 4,
}

/// What a map's keys or values are, as nft(8) numbers and shows them.
#[derive(Clone, Copy, Debug)]
pub(super) struct DataType {
    number: u32,
    length: u32,
}

/// nft(8)'s number of a port.
const PORT: u32 = 13;

/// nft(8)'s numbers of an interface's name and of a hardware address.
const NAME: u32 = 41;
const MAC: u32 = 9;

/// The number of one after the other.
const fn both(first: u32, second: u32) -> u32 {
    (first << 6) + second
}

impl DataType {
    /// A protocol and a port.
    pub(super) const SERVICE: Self = Self { number: both(12, PORT), length: 8 };
    /// An IPv4 address and a port.
    pub(super) const IPV4_PORT: Self = Self { number: both(7, PORT), length: 8 };
    /// An IPv6 address and a port.
    pub(super) const IPV6_PORT: Self = Self { number: both(8, PORT), length: 20 };
    /// The name of an interface.
    pub(super) const INTERFACE: Self = Self { number: NAME, length: 16 };
    /// An interface, a hardware address and an IPv4 address.
    pub(super) const SENDER4: Self = Self { number: both(both(NAME, MAC), 7), length: 28 };
    /// An interface, a hardware address and an IPv6 address.
    pub(super) const SENDER6: Self = Self { number: both(both(NAME, MAC), 8), length: 40 };
}

/// Writes one table, in place of what is there.
#[derive(Debug)]
pub(super) struct Writer {
    batch: Batch,
    family: u8,
    table: String,
    sets: u32,
}

impl Writer {
    pub(super) fn begin(family: u8, table: &str) -> Self {
        let mut batch = Batch::default();
        // The subsystem's number goes in network order.
        batch.message("begin", kind::BEGIN, Flags::DO.silent(), &[0, 0, 0, 10], |_| {});
        Self { batch, family, table: table.to_owned(), sets: 0 }
    }

    /// Goes on with the table of the same name in another family.
    pub(super) fn family(&mut self, family: u8) {
        self.family = family;
    }

    /// Ends the batch. The kernel answers each message that asks for it, once all is done; one is enough, so there is
    /// one that changes nothing: a table is made, of which nothing is left.
    pub(super) fn end(mut self) -> Batch {
        self.family = INET;
        self.table.push_str("-done");
        self.empty_table();
        let table = self.table.as_str();
        self.batch.message("commit", kind::DELETE_TABLE, Flags::DO, &head(INET), |a| {
            a.text(TABLE_NAME, table);
        });
        self.batch.message("end", kind::END, Flags::DO.silent(), &[0, 0, 0, 10], |_| {});
        self.batch
    }

    fn message(
        &mut self,
        action: &'static str,
        kind: u16,
        flags: Flags,
        fill: impl FnOnce(&mut Attributes<'_>, &str),
    ) {
        let table = self.table.as_str();
        self.batch.message(action, kind, flags.silent(), &head(self.family), |a| fill(a, table));
    }

    fn empty_table(&mut self) {
        // It has to be there to be removed, and may be made to be removed.
        self.message("make the table", kind::NEW_TABLE, Flags::MAKE, |a, table| {
            a.text(TABLE_NAME, table);
        });
    }

    /// Removes the table with all that is in it.
    pub(super) fn remove_table(&mut self) {
        self.empty_table();
        self.message("remove the table", kind::DELETE_TABLE, Flags::DO, |a, table| {
            a.text(TABLE_NAME, table);
        });
    }

    /// Makes the table anew, with a comment.
    pub(super) fn replace_table(&mut self, comment: &str) {
        self.remove_table();
        let mut note = vec![0, 0];
        note.extend_from_slice(comment.as_bytes());
        note.push(0);
        if let (Some(length), Ok(value)) = (note.get_mut(1), u8::try_from(comment.len() + 1)) {
            *length = value;
        }
        self.message("make the table", kind::NEW_TABLE, Flags::MAKE, |a, table| {
            a.text(TABLE_NAME, table).put(TABLE_USERDATA, &note);
        });
    }

    /// Makes a chain that accepts what no rule of it decides.
    pub(super) fn chain(&mut self, name: &str, hook: Option<Hook>) {
        self.message("make a chain", kind::NEW_CHAIN, Flags::MAKE, |a, table| {
            a.text(1, table).text(3, name);
            if let Some(hook) = hook {
                a.nest(4, |place| {
                    place.be32(1, hook.point as u32).put(2, &hook.priority.to_be_bytes());
                });
                a.be32(5, 1).text(7, hook.kind);
            }
        });
    }

    /// Makes a map, or a set if there is no `value`.
    pub(super) fn map(&mut self, name: &str, key: DataType, value: Option<DataType>) {
        self.sets += 1;
        let id = self.sets;
        self.message("make a map", kind::NEW_SET, Flags::MAKE, |a, table| {
            a.text(1, table).text(2, name).be32(3, if value.is_some() { 0x8 } else { 0 });
            a.be32(4, key.number).be32(5, key.length);
            if let Some(value) = value {
                a.be32(6, value.number).be32(7, value.length);
            }
            a.be32(10, id);
        });
    }

    /// Adds elements to a map, or to a set if their values are empty.
    pub(super) fn elements(
        &mut self,
        map: &str,
        elements: impl Iterator<Item = (Vec<u8>, Vec<u8>)>,
    ) {
        let mut elements = elements.peekable();
        while elements.peek().is_some() {
            self.message("fill a map", kind::NEW_ELEMENTS, Flags::MAKE, |a, table| {
                a.text(1, table).text(2, map).nest(3, |list| {
                    let mut length = 0;
                    while length < CHUNK
                        && let Some((key, value)) = elements.next()
                    {
                        length += key.len() + value.len() + 20;
                        list.nest(1, |element| {
                            element.nest(1, |data| {
                                data.put(1, &key);
                            });
                            if !value.is_empty() {
                                element.nest(2, |data| {
                                    data.put(1, &value);
                                });
                            }
                        });
                    }
                });
            });
        }
    }

    /// Adds a rule behind those of its chain.
    pub(super) fn rule(&mut self, chain: &str, fill: impl FnOnce(&mut Rule<'_, '_>)) {
        self.message("add a rule", kind::NEW_RULE, Flags::APPEND, |a, table| {
            a.text(1, table).text(2, chain).nest(4, |expressions| {
                fill(&mut Rule(expressions));
            });
        });
    }
}

/// The registers that are used: the first words, and the words by themselves.
const FIRST: u32 = 1;
const WORD: u32 = 8;

/// An IP header's two addresses.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    Source,
    Destination,
}

/// Adds expressions to a rule. A rule goes on as long as its expressions hold.
#[derive(Debug)]
pub(super) struct Rule<'a, 'b>(&'a mut Attributes<'b>);

impl Rule<'_, '_> {
    fn expression(&mut self, name: &str, fill: impl FnOnce(&mut Attributes<'_>)) -> &mut Self {
        self.0.nest(1, |expression| {
            expression.text(1, name).nest(2, fill);
        });
        self
    }

    fn compare(&mut self, register: u32, equal: bool, value: &[u8]) -> &mut Self {
        self.expression("cmp", |a| {
            a.be32(1, register).be32(2, u32::from(!equal)).nest(3, |data| {
                data.put(1, value);
            });
        })
    }

    fn meta(&mut self, key: u32, register: u32) -> &mut Self {
        self.expression("meta", |a| {
            a.be32(2, key).be32(1, register);
        })
    }

    /// Base: 1 the network header, 2 the transport header.
    fn payload(&mut self, base: u32, offset: u32, length: u32, register: u32) -> &mut Self {
        self.expression("payload", |a| {
            a.be32(1, register).be32(2, base).be32(3, offset).be32(4, length);
        })
    }

    fn masked(&mut self, mask: &[u8]) -> &mut Self {
        let length = u32::try_from(mask.len()).unwrap_or_default();
        self.expression("bitwise", |a| {
            a.be32(1, FIRST).be32(2, FIRST).be32(3, length);
            a.nest(4, |data| {
                data.put(1, mask);
            });
            a.nest(5, |data| {
                data.put(1, &vec![0; mask.len()]);
            });
        })
    }

    fn interface(&mut self, key: u32, name: &str, equal: bool) -> &mut Self {
        self.meta(key, FIRST).compare(FIRST, equal, &interface_value(name))
    }

    /// Comes from one of a set of interfaces (or from none of it).
    pub(super) fn of_interfaces(&mut self, set: &str, is: bool) -> &mut Self {
        self.meta(6, FIRST).is_in(set, is)
    }

    /// What was loaded first is in a set (or not).
    fn is_in(&mut self, set: &str, is: bool) -> &mut Self {
        self.expression("lookup", |a| {
            a.text(1, set).be32(2, FIRST).be32(5, u32::from(!is));
        })
    }

    /// Is of this protocol of Ethernet.
    pub(super) fn ethernet(&mut self, protocol: u16) -> &mut Self {
        self.meta(1, FIRST).compare(FIRST, true, &protocol.to_be_bytes())
    }

    /// Comes from an interface with the hardware and the IP address that are a set's (or not).
    pub(super) fn sender(&mut self, set: &str, from: Sender, is: bool) -> &mut Self {
        // What is loaded: base (0 is the Ethernet header), offset and length of either address.
        let (mac, (base, offset, length)) = match from {
            Sender::Ipv4 => ((0, 6), (1, 12, 4)),
            Sender::Arp => ((1, 8), (1, 14, 4)),
            Sender::Ipv6 => ((0, 6), (1, 8, 16)),
            Sender::Neighbour => ((0, 6), (2, 8, 16)),
        };
        self.meta(6, FIRST).payload(mac.0, mac.1, 6, WORD + 4);
        self.payload(base, offset, length, WORD + 6).is_in(set, is)
    }

    /// Is ICMPv6 of this type.
    pub(super) fn icmpv6(&mut self, kind: u8) -> &mut Self {
        self.meta(16, FIRST).compare(FIRST, true, &[58]);
        self.payload(2, 0, 1, FIRST).compare(FIRST, true, &[kind])
    }

    /// Comes from this interface (or not).
    pub(super) fn from(&mut self, name: &str, equal: bool) -> &mut Self {
        self.interface(6, name, equal)
    }

    /// Goes to this interface (or not).
    pub(super) fn to(&mut self, name: &str, equal: bool) -> &mut Self {
        self.interface(7, name, equal)
    }

    /// Is IPv4.
    pub(super) fn is_ipv4(&mut self) -> &mut Self {
        self.meta(15, FIRST).compare(FIRST, true, &[2])
    }

    /// Is IPv6.
    pub(super) fn is_ipv6(&mut self) -> &mut Self {
        self.meta(15, FIRST).compare(FIRST, true, &[10])
    }

    /// Is IPv4 with this address, as far as `mask` says.
    pub(super) fn ipv4(&mut self, side: Side, address: [u8; 4], mask: [u8; 4]) -> &mut Self {
        let offset = match side {
            Side::Source => 12,
            Side::Destination => 16,
        };
        self.is_ipv4().payload(1, offset, 4, FIRST);
        if mask != [0xff; 4] {
            self.masked(&mask);
        }
        self.compare(FIRST, true, &address)
    }

    /// Is IPv6 with this address, as far as `mask` says (or not).
    pub(super) fn ipv6(
        &mut self,
        side: Side,
        address: [u8; 16],
        mask: [u8; 16],
        equal: bool,
    ) -> &mut Self {
        let offset = match side {
            Side::Source => 8,
            Side::Destination => 24,
        };
        self.is_ipv6().payload(1, offset, 16, FIRST);
        if mask != [0xff; 16] {
            self.masked(&mask);
        }
        self.compare(FIRST, equal, &address)
    }

    /// Has this IPv6 address, in a packet that is known to be IPv6.
    pub(super) fn ipv6_bridged(&mut self, side: Side, address: [u8; 16]) -> &mut Self {
        let offset = match side {
            Side::Source => 8,
            Side::Destination => 24,
        };
        self.payload(1, offset, 16, FIRST).compare(FIRST, true, &address)
    }

    /// Is of this protocol, to a port from `first` to `last`.
    pub(super) fn port(&mut self, protocol: u8, first: u16, last: u16) -> &mut Self {
        self.meta(16, FIRST).compare(FIRST, true, &[protocol]).payload(2, 2, 2, FIRST);
        if first == last {
            return self.compare(FIRST, true, &first.to_be_bytes());
        }
        self.expression("range", |a| {
            a.be32(1, FIRST).be32(2, 0);
            a.nest(3, |data| {
                data.put(1, &first.to_be_bytes());
            });
            a.nest(4, |data| {
                data.put(1, &last.to_be_bytes());
            });
        })
    }

    /// Goes to an address of the box.
    pub(super) fn is_for_the_box(&mut self) -> &mut Self {
        self.expression("fib", |a| {
            // The kind of address, of the destination.
            a.be32(1, FIRST).be32(2, 3).be32(3, 2);
        });
        // RTN_LOCAL, a number in the machine's order.
        self.compare(FIRST, true, &2_u32.to_ne_bytes())
    }

    /// Has one of these bits in what is known of its connection.
    fn connection(&mut self, key: u32, bits: u32) -> &mut Self {
        self.expression("ct", |a| {
            a.be32(2, key).be32(1, FIRST);
        });
        self.masked(&bits.to_ne_bytes()).compare(FIRST, false, &[0; 4])
    }

    /// Belongs to a connection that is there, or to one because of it.
    pub(super) fn is_known(&mut self) -> &mut Self {
        self.connection(0, 2 | 4)
    }

    /// Was sent to a published port.
    pub(super) fn is_redirected(&mut self) -> &mut Self {
        self.connection(2, 1 << 5)
    }

    /// Looks up protocol and port in a map, and sends on to the IPv4 or IPv6 address and port found there.
    pub(super) fn send_by_map(&mut self, map: &str, family: Family) -> &mut Self {
        self.meta(16, WORD).payload(2, 2, 2, WORD + 1).expression("lookup", |a| {
            a.text(1, map).be32(2, FIRST).be32(3, FIRST);
        });
        let (number, port) = match family {
            Family::Ipv4 => (2, WORD + 1),
            Family::Ipv6 => (10, WORD + 4),
        };
        self.destination(number, Some(port))
    }

    /// Sends on to this address, and port if it is given.
    pub(super) fn send_to(
        &mut self,
        family: Family,
        address: &[u8],
        port: Option<u16>,
    ) -> &mut Self {
        self.immediate(FIRST, address);
        if let Some(port) = port {
            self.immediate(WORD + 4, &port.to_be_bytes());
        }
        let number = match family {
            Family::Ipv4 => 2,
            Family::Ipv6 => 10,
        };
        self.destination(number, port.map(|_| WORD + 4))
    }

    fn immediate(&mut self, register: u32, value: &[u8]) -> &mut Self {
        self.expression("immediate", |a| {
            a.be32(1, register).nest(2, |data| {
                data.put(1, value);
            });
        })
    }

    fn destination(&mut self, family: u32, port: Option<u32>) -> &mut Self {
        self.expression("nat", |a| {
            a.be32(1, 1).be32(2, family).be32(3, FIRST);
            if let Some(port) = port {
                a.be32(5, port);
            }
        })
    }

    /// Gives it the source address of the interface it goes to.
    pub(super) fn masquerade(&mut self) -> &mut Self {
        self.expression("masq", |_| {})
    }

    fn verdict(&mut self, code: i32, chain: Option<&str>) {
        self.expression("immediate", |a| {
            a.be32(1, 0).nest(2, |data| {
                data.nest(2, |verdict| {
                    verdict.put(1, &code.to_be_bytes());
                    if let Some(chain) = chain {
                        verdict.text(2, chain);
                    }
                });
            });
        });
    }

    /// Drops it.
    pub(super) fn drop(&mut self) {
        self.verdict(0, None);
    }

    /// Lets it through, as far as this table is concerned.
    pub(super) fn accept(&mut self) {
        self.verdict(1, None);
    }

    /// Goes on with another chain.
    pub(super) fn jump(&mut self, chain: &str) {
        self.verdict(-3, Some(chain));
    }
}

/// Where a packet says who sent it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sender {
    /// In the headers of Ethernet and IPv4.
    Ipv4,
    /// In what ARP says.
    Arp,
    /// In the headers of Ethernet and IPv6.
    Ipv6,
    /// In the header of Ethernet, and in what a neighbour advertisement says.
    Neighbour,
}

/// An interface's name as the kernel compares it.
pub(super) fn interface_value(name: &str) -> [u8; 16] {
    let mut value = [0; 16];
    for (to, from) in value.iter_mut().zip(name.bytes().take(15)) {
        *to = from;
    }
    value
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Ipv4,
    Ipv6,
}
