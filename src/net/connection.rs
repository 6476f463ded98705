//! Attaching and detaching, with the kernel: everything here blocks.
//!
//! An endpoint arrives (it has an address and its ports), is there, and leaves (its ports are no longer published).
//! What arrives and leaves is done without the lock, side by side; who comes for the same endpoint waits.
//!
//! The rules are made from all endpoints at once. Whoever changed something has the rules replaced; while that
//! happens others queue up, and the first of them brings the changes of all.

use super::allocation::{Addresses, Ports};
use super::attachment::{
    AttachRequest, Attachment, Binding, EndpointId, HostPort, Ipv6Attachment, MacAddress,
    PortMapping,
};
use super::bridge::Bridge;
use super::conntrack;
use super::error::NetworkError;
use super::hold::{Held, hold, hold_now};
use super::link;
use super::nftables::{self, Committer, Member, Published, Ruleset};
use super::port::{PortRange, Protocol};
use super::subnet::{Subnet, Subnet6};
use super::{NetworkConfig, Services};
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The network of one agent.
#[derive(Debug)]
pub(super) struct Connections {
    config: NetworkConfig,
    /// Locked before `state`.
    rules: Mutex<Rules>,
    state: Mutex<State>,
    /// Told whenever an endpoint has arrived or left.
    changed: Condvar,
}

/// The way to the kernel's rules.
#[derive(Debug, Default)]
struct Rules {
    committer: Committer,
    /// What is there, if that is known.
    committed: Option<Ruleset>,
}

#[derive(Debug, Default)]
struct State {
    bridge: Option<Up>,
    endpoints: BTreeMap<EndpointId, Endpoint>,
    ports: Ports,
    services: Services,
}

/// A bridge that is up, and its addresses.
#[derive(Debug)]
struct Up {
    bridge: Bridge,
    addresses: Addresses,
}

#[derive(Debug)]
struct Endpoint {
    attachment: Attachment,
    phase: Phase,
    /// Its ports, while they are its.
    held: Vec<Held>,
}

impl Endpoint {
    /// Gives back its ports.
    fn release(&mut self, ports: &mut Ports) {
        for binding in self.attachment.bindings.drain(..) {
            ports.give_back(binding.protocol, binding.host);
        }
        self.held.clear();
    }
}

/// An endpoint that was detached, and is to be disposed of.
#[derive(Debug)]
pub(super) struct Leaving {
    endpoint: EndpointId,
    interface: String,
    /// Whether nobody is there any more but those that leave.
    pub(super) last: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Arriving,
    There,
    Leaving,
}

impl Connections {
    pub(super) fn new(config: NetworkConfig) -> Self {
        Self { config, rules: Mutex::default(), state: Mutex::default(), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody is about to attach or detach `endpoint`.
    fn settled(&self, endpoint: &EndpointId) -> MutexGuard<'_, State> {
        let busy = |state: &mut State| {
            state.endpoints.get(endpoint).is_some_and(|found| found.phase != Phase::There)
        };
        self.changed.wait_while(self.lock(), busy).unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn attach(&self, request: &AttachRequest) -> Result<Attachment, NetworkError> {
        let socket = link::open()?;
        let namespace = namespace(request)?;
        let mut state = self.settled(&request.endpoint);
        let attachment = if let Some(there) = state.endpoints.get_mut(&request.endpoint) {
            let same = there.attachment.namespace == namespace;
            if same && link::find(&socket, &there.attachment.interface)?.is_some() {
                return Ok(there.attachment.clone());
            }
            there.phase = Phase::Arriving;
            there.attachment.namespace = namespace;
            there.attachment.clone()
        } else {
            self.reserve(&mut state, request, namespace)?
        };
        let bridge = state.bridge.as_ref().map(|up| up.bridge.index).unwrap_or_default();
        drop(state);
        let done = link::veth::connect(&socket, bridge, &attachment, request.netns.as_fd())
            .and_then(|()| self.commit());
        match done {
            Ok(()) => {
                forget(&attachment);
                if let Some(there) = self.lock().endpoints.get_mut(&request.endpoint) {
                    there.phase = Phase::There;
                }
                self.changed.notify_all();
                Ok(attachment)
            }
            Err(error) => {
                if let Err(second) = self.dissolve(&request.endpoint) {
                    tracing::warn!(endpoint = %request.endpoint, error = %second, "what was set up in vain is left over");
                }
                Err(error)
            }
        }
    }

    /// Gives a new endpoint its place: bridge, address and ports.
    fn reserve(
        &self,
        state: &mut State,
        request: &AttachRequest,
        namespace: u64,
    ) -> Result<Attachment, NetworkError> {
        if state.bridge.is_none() {
            let bridge = Bridge::make(&link::open()?, &self.config)?;
            let addresses = Addresses::new(bridge.subnet);
            state.bridge = Some(Up { bridge, addresses });
        }
        let reserved = self.reserve_on_bridge(state, request, namespace);
        if reserved.is_err() && state.endpoints.is_empty() {
            Self::take_down(state)?;
        }
        reserved
    }

    fn reserve_on_bridge(
        &self,
        state: &mut State,
        request: &AttachRequest,
        namespace: u64,
    ) -> Result<Attachment, NetworkError> {
        let State { bridge, endpoints, ports, .. } = state;
        let Some(Up { bridge, addresses }) = bridge else { return Err(NetworkError::NoBridge) };
        let (bindings, held) = if request.publish {
            self.publish(ports, &request.ports)?
        } else {
            (Vec::new(), Vec::new())
        };
        let Some(number) = addresses.take() else {
            for binding in bindings {
                ports.give_back(binding.protocol, binding.host);
            }
            return Err(NetworkError::NoAddress {
                endpoint: request.endpoint.clone(),
                subnet: bridge.subnet,
            });
        };
        let ipv4 = bridge.subnet.host(number);
        let attachment = Attachment {
            endpoint: request.endpoint.clone(),
            namespace,
            interface: request.endpoint.interface(&self.config.state_dir),
            mac: MacAddress::of(ipv4),
            ipv4,
            ipv4_prefix: bridge.subnet.prefix(),
            gateway4: bridge.subnet.gateway(),
            ipv6: bridge.subnet6.map(|subnet6| Ipv6Attachment {
                address: subnet6.host(number),
                prefix: subnet6.prefix(),
                gateway: subnet6.gateway(),
            }),
            bindings,
        };
        let endpoint = Endpoint { attachment: attachment.clone(), phase: Phase::Arriving, held };
        endpoints.insert(request.endpoint.clone(), endpoint);
        Ok(attachment)
    }

    /// Takes ports of the box, all or none.
    fn publish(
        &self,
        ports: &mut Ports,
        wanted: &[PortMapping],
    ) -> Result<(Vec<Binding>, Vec<Held>), NetworkError> {
        let (mut bindings, mut held) = (Vec::new(), Vec::new());
        // What must be a certain port goes before what may be any.
        let (fixed, dynamic): (Vec<_>, Vec<_>) =
            wanted.iter().partition(|mapping| matches!(mapping.host, HostPort::From(_)));
        for mapping in fixed.into_iter().chain(dynamic) {
            match self.publish_one(ports, mapping) {
                Ok((host, sockets)) => {
                    let PortMapping { container, protocol, .. } = *mapping;
                    ports.take(protocol, host);
                    bindings.push(Binding { container, host, protocol });
                    held.push(sockets);
                }
                Err(error) => {
                    for binding in bindings {
                        ports.give_back(binding.protocol, binding.host);
                    }
                    return Err(error);
                }
            }
        }
        // In the order of the request.
        let place = |binding: &Binding| {
            wanted.iter().position(|mapping| {
                mapping.container == binding.container && mapping.protocol == binding.protocol
            })
        };
        bindings.sort_by_key(place);
        Ok((bindings, held))
    }

    fn publish_one(
        &self,
        ports: &mut Ports,
        mapping: &PortMapping,
    ) -> Result<(PortRange, Held), NetworkError> {
        let PortMapping { container, host, protocol } = *mapping;
        let length = container.length();
        match host {
            HostPort::From(first) => {
                let range = PortRange::of_length(first, length)
                    .ok_or(NetworkError::PortsBeyond { first, length })?;
                if let Some(port) = ports.conflict(protocol, range) {
                    return Err(NetworkError::PortInUse { port, protocol });
                }
                hold(protocol, range)?
                    .map(|held| (range, held))
                    .map_err(|port| NetworkError::PortInUse { port, protocol })
            }
            HostPort::Dynamic => {
                let among = self.dynamic_ports();
                let reserved = match protocol {
                    Protocol::Tcp => &self.config.reserved_ports,
                    Protocol::Udp => &self.config.reserved_ports_udp,
                };
                let mut sockets = None;
                let found = ports.find(protocol, length, among, |range| {
                    let within = range.first()..=range.last();
                    if let Some(port) = reserved.iter().find(|port| within.contains(port)) {
                        return Ok(Some(*port));
                    }
                    Ok::<_, NetworkError>(match hold_now(protocol, range)? {
                        Ok(held) => {
                            sockets = Some(held);
                            None
                        }
                        Err(port) => Some(port),
                    })
                })?;
                found.zip(sockets).ok_or(NetworkError::NoPorts { length, protocol, among })
            }
        }
    }

    fn dynamic_ports(&self) -> PortRange {
        self.config.dynamic_ports.or_else(kernels_dynamic_ports).unwrap_or(PortRange::EPHEMERAL)
    }

    /// Detaches an endpoint: when this is done, nothing reaches it by a published port. What remains is for
    /// [`Self::dispose`]; none if it is not attached.
    pub(super) fn detach(&self, endpoint: &EndpointId) -> Result<Option<Leaving>, NetworkError> {
        let state = self.settled(endpoint);
        let attached = state.endpoints.contains_key(endpoint);
        drop(state);
        if attached { self.unpublish(endpoint) } else { Ok(None) }
    }

    fn unpublish(&self, endpoint: &EndpointId) -> Result<Option<Leaving>, NetworkError> {
        let mut state = self.lock();
        let Some(found) = state.endpoints.get_mut(endpoint) else { return Ok(None) };
        found.phase = Phase::Leaving;
        let interface = found.attachment.interface.clone();
        let last = state.endpoints.values().all(|endpoint| endpoint.phase == Phase::Leaving);
        drop(state);
        // With the last one the whole table goes.
        let committed = if last { Ok(()) } else { self.commit() };
        let leaving = Leaving { endpoint: endpoint.clone(), interface, last };
        if let Err(error) = committed {
            self.dispose(&leaving)?;
            return Err(error);
        }
        // With the last one the rules are still there, and the next packet would be remembered the same way; it leads
        // nowhere until its sender pauses or the port is published again.
        let attachment = self.lock().endpoints.get(endpoint).map(|found| found.attachment.clone());
        attachment.as_ref().map(forget);
        let mut state = self.lock();
        let State { endpoints, ports, .. } = &mut *state;
        if let Some(found) = endpoints.get_mut(endpoint) {
            found.release(ports);
        }
        Ok(Some(leaving))
    }

    /// Removes the link of an endpoint that was detached, and the bridge after the last. The kernel takes its time for
    /// a link; until that is over, nobody else gets the address.
    pub(super) fn dispose(&self, leaving: &Leaving) -> Result<(), NetworkError> {
        let removed = link::open().and_then(|socket| link::remove(&socket, &leaving.interface));
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.lock();
        if let Some(mut gone) = state.endpoints.remove(&leaving.endpoint) {
            gone.release(&mut state.ports);
            if let Some(up) = &mut state.bridge {
                up.addresses.give_back(gone.attachment.ipv4);
            }
        }
        let down = if state.endpoints.is_empty() {
            *rules = Rules::default();
            Self::take_down(&mut state)
        } else {
            Ok(())
        };
        drop(rules);
        self.changed.notify_all();
        if leaving.last {
            // Others that left before may not be gone yet.
            let leaving = |state: &mut State| {
                let all = |endpoint: &Endpoint| endpoint.phase == Phase::Leaving;
                !state.endpoints.is_empty() && state.endpoints.values().all(all)
            };
            let ended = self.changed.wait_while(state, leaving);
            drop(ended.unwrap_or_else(PoisonError::into_inner));
        }
        removed.and(down)
    }

    /// Undoes an endpoint, as far as it got.
    fn dissolve(&self, endpoint: &EndpointId) -> Result<(), NetworkError> {
        match self.unpublish(endpoint)? {
            Some(leaving) => self.dispose(&leaving),
            None => Ok(()),
        }
    }

    /// Removes bridge and rules, with no endpoint left.
    fn take_down(state: &mut State) -> Result<(), NetworkError> {
        if let Some(up) = &state.bridge {
            up.bridge.remove(&link::open()?)?;
            state.bridge = None;
        }
        Ok(())
    }

    /// What the rules are to be.
    fn wanted(&self, state: &State) -> Option<Ruleset> {
        let bridge = &state.bridge.as_ref()?.bridge;
        let (mut members, mut published) = (Vec::new(), Vec::new());
        for endpoint in state.endpoints.values() {
            let Attachment { interface, mac, ipv4, ipv6, bindings, .. } = &endpoint.attachment;
            // Until its link is gone, nobody must speak with it in another's name.
            members.push(Member {
                interface: interface.clone(),
                mac: *mac,
                ipv4: *ipv4,
                ipv6: ipv6.map(|ipv6| ipv6.address),
            });
            if endpoint.phase != Phase::Leaving {
                published.extend(bindings.iter().map(|binding| Published {
                    protocol: binding.protocol,
                    host: binding.host,
                    container: binding.container,
                    ipv4: *ipv4,
                    ipv6: ipv6.map(|ipv6| ipv6.address),
                }));
            }
        }
        Some(Ruleset {
            owner: super::forwarding::owner(&self.config.state_dir),
            bridge: bridge.name.clone(),
            subnet: bridge.subnet,
            subnet6: bridge.subnet6,
            members,
            published,
            services: state.services,
            allow_instance_metadata: self.config.allow_instance_metadata,
        })
    }

    /// Makes the kernel's rules what they are to be. Whoever waited for another finds its change made already.
    fn commit(&self) -> Result<(), NetworkError> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = self.wanted(&self.lock());
        if rules.committed == wanted {
            return Ok(());
        }
        // Not known until it is done.
        rules.committed = None;
        if let Some(wanted) = &wanted {
            rules.committer.replace(wanted)?;
        }
        rules.committed = wanted;
        Ok(())
    }

    pub(super) fn set_services(&self, services: Services) -> Result<(), NetworkError> {
        self.lock().services = services;
        self.commit()
    }

    pub(super) fn has_bridge(&self) -> bool {
        self.lock().bridge.is_some()
    }

    pub(super) fn adopt(&self, running: Vec<Attachment>) -> Result<(), NetworkError> {
        let socket = link::open()?;
        let links = link::links(&socket)?;
        let mut left = Bridge::left(&socket, &links, &self.config)?.into_iter();
        let bridge = if let Some(first) = running.first() {
            let subnet = Subnet::containing(first.ipv4, first.ipv4_prefix);
            let fits = |bridge: &Bridge| bridge.subnet == subnet;
            let (fitting, others): (Vec<_>, Vec<_>) = left.partition(fits);
            left = others.into_iter();
            let mut fitting = fitting.into_iter();
            let subnet6 = first.ipv6.map(|ipv6| Subnet6::containing(ipv6.address, ipv6.prefix));
            Some(if let Some(bridge) = fitting.next() {
                bridge
            } else {
                Bridge::make_again(&socket, &self.config, subnet, subnet6)?
            })
        } else {
            None
        };
        for bridge in left {
            bridge.remove(&socket)?;
        }
        let ours = bridge.as_ref().map(|bridge| nftables::table(&bridge.name));
        for table in nftables::owned(&super::forwarding::owner(&self.config.state_dir))? {
            if Some(&table) != ours.as_ref() {
                nftables::remove(&table)?;
            }
        }
        let Some(bridge) = bridge else { return Ok(()) };
        for link in &links {
            let known = running.iter().any(|attachment| attachment.interface == link.name);
            if known && link.master != Some(bridge.index) {
                link::veth::reconnect(&socket, bridge.index, &link.name)?;
            } else if !known && link.master == Some(bridge.index) {
                link::remove(&socket, &link.name)?;
            }
        }
        self.take_over(bridge, running);
        self.commit()
    }

    /// Fills the state with what is there.
    fn take_over(&self, bridge: Bridge, running: Vec<Attachment>) {
        let mut state = self.lock();
        let mut addresses = Addresses::new(bridge.subnet);
        for attachment in running {
            if !addresses.note(attachment.ipv4) {
                tracing::warn!(endpoint = %attachment.endpoint, address = %attachment.ipv4, "an address is none of the bridge's, or somebody else's");
            }
            let mut sockets = Vec::new();
            for binding in &attachment.bindings {
                let Binding { protocol, host, .. } = *binding;
                state.ports.take(protocol, host);
                match hold(protocol, host) {
                    Ok(Ok(held)) => sockets.push(held),
                    Ok(Err(port)) => {
                        tracing::warn!(endpoint = %attachment.endpoint, port, %protocol, "a process on the box has taken a published port; it gets nothing while the endpoint is there");
                    }
                    Err(error) => {
                        tracing::warn!(endpoint = %attachment.endpoint, %error, "a published port is not held");
                    }
                }
            }
            let endpoint = attachment.endpoint.clone();
            let there = Endpoint { attachment, phase: Phase::There, held: sockets };
            state.endpoints.insert(endpoint, there);
        }
        state.bridge = Some(Up { bridge, addresses });
    }
}

/// Makes the kernel forget who spoke with the ports of `attachment` before. What fails here only makes senders wait.
fn forget(attachment: &Attachment) {
    if let Err(refused) = conntrack::forget(attachment) {
        let endpoint = &attachment.endpoint;
        tracing::warn!(%endpoint, error = %refused.source, "cannot {}: who sends to its UDP ports already may not reach it", refused.action);
    }
}

/// The inode of the namespace, by which it is told from others.
fn namespace(request: &AttachRequest) -> Result<u64, NetworkError> {
    rustix::fs::fstat(&request.netns).map(|stat| stat.st_ino).map_err(|error| NetworkError::Link {
        action: format!("look at the network namespace of {}", request.endpoint),
        source: error.into(),
    })
}

/// What the kernel itself gives to programs that ask for any port.
fn kernels_dynamic_ports() -> Option<PortRange> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ports = text.split_whitespace().map(str::parse);
    PortRange::new(ports.next()?.ok()?, ports.next()?.ok()?)
}
