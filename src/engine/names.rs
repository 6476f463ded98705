//! The names of the committed world, as the name server asks for them.

use super::read_lock;
use crate::net::BridgeAddresses;
use crate::net::dns::{Data, Directory, Found, Kind, Record, Upstream};
use crate::plan::World;
use crate::plan::names::{self, Place, Target};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};

/// For how many seconds whoever asks may keep an answer: a task that stops is gone from it.
const TTL: u32 = 5;

/// What serves names.
#[derive(Clone, Debug)]
pub(super) struct NameSettings {
    /// What the zones of clusters end with.
    pub(super) domain: String,
    /// Who has names.
    pub(super) directory: Arc<dyn Directory>,
    /// Who is asked for others.
    pub(super) upstream: Arc<Upstream>,
}

/// The committed world, seen as a directory.
#[derive(Debug)]
struct Names {
    world: Arc<RwLock<World>>,
    domain: String,
    /// Grows with every answer, which begins with another one of several.
    turn: AtomicUsize,
}

impl NameSettings {
    /// Names of `world` under `domain`.
    pub(super) fn new(world: Arc<RwLock<World>>, domain: String, upstream: Upstream) -> Self {
        let names = Names { world, domain: domain.clone(), turn: AtomicUsize::new(0) };
        Self { domain, directory: Arc::new(names), upstream: Arc::new(upstream) }
    }
}

impl Directory for Names {
    fn find(&self, name: &str, kind: Kind, bridge: &BridgeAddresses) -> Option<Found> {
        if let Some(address) = reversed(name).filter(|address| bridge.has(*address)) {
            let host = names::of_address(&read_lock(&self.world), &self.domain, address);
            return Some(of_address(name, host, kind));
        }
        let found = names::find(&read_lock(&self.world), &self.domain, name);
        match found {
            names::Found::Elsewhere => None,
            names::Found::Nobody { zone } => {
                Some(Found { zone, exists: false, answers: Vec::new(), additional: Vec::new() })
            }
            names::Found::Known { zone, mut targets, ports_only } => {
                if !targets.is_empty() {
                    let turn = self.turn.fetch_add(1, Ordering::Relaxed) % targets.len();
                    targets.rotate_left(turn);
                }
                let (answers, additional) = match kind {
                    Kind::SRV => ports(name, &targets, bridge),
                    _ if ports_only => (Vec::new(), Vec::new()),
                    _ => (addresses(name, &targets, bridge, kind), Vec::new()),
                };
                Some(Found { zone, exists: true, answers, additional })
            }
        }
    }
}

/// The address whose name is asked for: `5.0.9.10.in-addr.arpa`, or the 32 digits of an IPv6 address under `ip6.arpa`.
fn reversed(name: &str) -> Option<IpAddr> {
    let name = name.to_ascii_lowercase();
    if let Some(octets) = name.strip_suffix(".in-addr.arpa") {
        let mut octets: Vec<&str> = octets.split('.').collect();
        octets.reverse();
        return octets.join(".").parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    }
    let digits: Vec<&str> = name.strip_suffix(".ip6.arpa")?.split('.').rev().collect();
    if digits.len() != 32 || digits.iter().any(|digit| digit.len() != 1) {
        return None;
    }
    let bits = u128::from_str_radix(&digits.concat(), 16).ok()?;
    Some(IpAddr::V6(Ipv6Addr::from_bits(bits)))
}

fn of_address(name: &str, host: Option<String>, kind: Kind) -> Found {
    let record = |host| Record { name: name.to_owned(), ttl: TTL, data: Data::Ptr(host) };
    let exists = host.is_some();
    let answers = host.filter(|_| kind == Kind::PTR).map(record).into_iter().collect();
    let zone = name.split_once('.').map_or(name, |(_, zone)| zone).to_owned();
    Found { zone, exists, answers, additional: Vec::new() }
}

/// The addresses of all targets, each once.
fn addresses(name: &str, targets: &[Target], bridge: &BridgeAddresses, kind: Kind) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    for target in targets {
        let data = address(target.place, bridge, kind);
        if let Some(data) = data.filter(|data| !records.iter().any(|there| there.data == *data)) {
            records.push(Record { name: name.to_owned(), ttl: TTL, data });
        }
    }
    records
}

fn address(place: Place, bridge: &BridgeAddresses, kind: Kind) -> Option<Data> {
    let (ipv4, ipv6) = match place {
        Place::Own { ipv4, ipv6 } => (ipv4, ipv6),
        Place::Box => (Some(bridge.ipv4), bridge.ipv6),
    };
    match kind {
        Kind::A => ipv4.map(Data::A),
        Kind::AAAA => ipv6.map(Data::Aaaa),
        _ => None,
    }
}

/// The ports of all targets, and the addresses of the targets, which will be asked for next.
fn ports(name: &str, targets: &[Target], bridge: &BridgeAddresses) -> (Vec<Record>, Vec<Record>) {
    let (mut answers, mut additional): (Vec<Record>, _) = (Vec::new(), Vec::new());
    for target in targets.iter().filter(|target| !target.ports.is_empty()) {
        for port in &target.ports {
            let data = Data::Srv { port: port.number, target: target.host.clone() };
            // One number may be served over both TCP and UDP.
            if !answers.iter().any(|there| there.data == data) {
                answers.push(Record { name: name.to_owned(), ttl: TTL, data });
            }
        }
        for kind in [Kind::A, Kind::AAAA] {
            let data = address(target.place, bridge, kind);
            additional.extend(data.map(|data| Record {
                name: target.host.clone(),
                ttl: TTL,
                data,
            }));
        }
    }
    (answers, additional)
}

#[cfg(test)]
mod tests;
