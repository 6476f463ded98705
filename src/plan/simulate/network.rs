//! Addresses, ports and digests that could be real.

use crate::model::network::{NetworkBinding, NetworkInterface};
use crate::model::{ContainerInstanceId, ImageDigest, Task};
use crate::plan::connection::PublishedPort;
use crate::plan::{Connected, Connection};
use core::net::Ipv4Addr;
use std::collections::{BTreeMap, BTreeSet};

/// The ports of a box for mappings that name none, as on Linux.
const FIRST_DYNAMIC: u16 = 32_768;
const LAST_DYNAMIC: u16 = 60_999;

/// A port of a box: UDP rather than TCP, and the number.
type Port = (bool, u16);

/// Who has what.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Networks {
    ports: BTreeMap<ContainerInstanceId, BTreeSet<Port>>,
    /// Addresses given away so far; they go round.
    addresses: u32,
}

impl Networks {
    /// Connects the container at `index` of `task`; none when it shares the network of the box or has none.
    pub(super) fn connect(
        &mut self,
        connection: &Connection,
        task: &Task,
        index: usize,
    ) -> Option<Connected> {
        let container = task.containers.get(index)?;
        let (interface, ports) = match connection {
            Connection::Host | Connection::None => return None,
            Connection::Container { ports, .. } => (NetworkInterface::default(), ports),
            Connection::Task { ports } => {
                // The containers of a task share its address.
                let mut others = task.containers.iter().flat_map(|c| &c.network_interfaces);
                (others.next().cloned().unwrap_or_else(|| self.address()), ports)
            }
        };
        // A container that is started again keeps what it has.
        let bindings = if container.network_bindings.is_empty() {
            ports.iter().filter_map(|port| self.publish(&task.container_instance, port)).collect()
        } else {
            container.network_bindings.clone()
        };
        Some(Connected { interface, bindings })
    }

    /// Takes note of what a task has already.
    pub(super) fn note(&mut self, task: &Task) {
        for container in &task.containers {
            for address in
                container.network_interfaces.iter().filter_map(|i| i.private_ipv4_address)
            {
                self.addresses = self.addresses.max(u32::from(address) & 0x00ff_ffff);
            }
        }
        let ports: Vec<Port> = ports_of(task).collect();
        if !ports.is_empty() {
            self.ports.entry(task.container_instance.clone()).or_default().extend(ports);
        }
    }

    /// The task has nothing any more.
    pub(super) fn release(&mut self, task: &Task) {
        let Some(taken) = self.ports.get_mut(&task.container_instance) else { return };
        for port in ports_of(task) {
            taken.remove(&port);
        }
        if taken.is_empty() {
            self.ports.remove(&task.container_instance);
        }
    }

    fn address(&mut self) -> NetworkInterface {
        // 10.0.0.0/8 without the addresses that end in 0 and 255.
        loop {
            self.addresses = (self.addresses + 1) & 0x00ff_ffff;
            if !matches!(self.addresses & 0xff, 0 | 0xff) {
                break;
            }
        }
        let [_, b, c, d] = self.addresses.to_be_bytes();
        NetworkInterface {
            private_ipv4_address: Some(Ipv4Addr::new(10, b, c, d)),
            mac_address: Some(format!("0a:58:0a:{b:02x}:{c:02x}:{d:02x}")),
            ..NetworkInterface::default()
        }
    }

    /// None when the box has no port left.
    fn publish(
        &mut self,
        instance: &ContainerInstanceId,
        port: &PublishedPort,
    ) -> Option<NetworkBinding> {
        let taken = self.ports.entry(instance.clone()).or_default();
        let more = port.last.saturating_sub(port.first);
        let free = |first: &u16| {
            (*first..=first.saturating_add(more)).all(|n| !taken.contains(&(port.udp, n)))
        };
        let last = LAST_DYNAMIC.saturating_sub(more);
        let host = port.host.or_else(|| (FIRST_DYNAMIC..=last).find(free))?;
        taken.extend((host..=host.saturating_add(more)).map(|number| (port.udp, number)));
        let single = !port.range;
        let range = |first: u16| format!("{first}-{}", first.saturating_add(more));
        Some(NetworkBinding {
            bind_ip: "0.0.0.0".to_owned(),
            container_port: single.then_some(port.first),
            host_port: single.then_some(host),
            container_port_range: port.range.then(|| range(port.first)),
            host_port_range: port.range.then(|| range(host)),
            protocol: if port.udp { "udp" } else { "tcp" }.to_owned(),
        })
    }
}

/// The ports of the box that a task has.
fn ports_of(task: &Task) -> impl Iterator<Item = Port> {
    let bindings = task.containers.iter().flat_map(|container| &container.network_bindings);
    bindings.flat_map(|binding| {
        let range = binding.host_port_range.as_deref().and_then(|range| {
            let (first, last) = range.split_once('-')?;
            Some((first.parse().ok()?, last.parse().ok()?))
        });
        let (first, last) = range.or(binding.host_port.map(|port| (port, port))).unwrap_or((1, 0));
        let udp = binding.protocol == "udp";
        (first..=last).map(move |number| (udp, number))
    })
}

/// The digest that an image has in every simulation: the one it names, else one that its name makes.
pub(crate) fn digest(image: &str) -> Option<ImageDigest> {
    let named = image.split_once('@').and_then(|(_, digest)| ImageDigest::new(digest).ok());
    if named.is_some() {
        return named;
    }
    // FNV-1a; it need not be hard to guess, only the same each time.
    let hash = |part: u64| {
        image.bytes().fold(0xcbf2_9ce4_8422_2325 ^ part, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    };
    let [a, b, c, d] = [0, 1, 2, 3].map(hash);
    ImageDigest::new(format!("sha256:{a:016x}{b:016x}{c:016x}{d:016x}")).ok()
}
