//! Joins what the runtime holds (network namespaces) with what the network gives (addresses, published ports).
//!
//! A namespace is made by the task's shim, connected by the network, and what came of it is recorded with the shim, in
//! this order: after a crash the next scan finds either the whole record, which the network adopts, or none, and then
//! the network removes what it had begun.

use super::gateway::Gateways;
use crate::model::network::private_dns_name;
use crate::model::{NetworkBinding, NetworkInterface, TaskId};
use crate::net::{
    AttachRequest, Attachment, Binding, BoxResolver, BridgeAddresses, DnsSettings, EndpointId,
    HostEntry, HostPort, Network, NetworkError, PortMapping, PortRange, Protocol, hosts,
    resolv_conf,
};
use crate::plan::action::ContainerRun;
use crate::plan::connection::PublishedPort;
use crate::plan::{Connected, Connection, StartContainer};
use crate::runtime::{
    Found, FoundNetwork, LaunchNetwork, NetworkScope, Runtime, RuntimeError, hostname,
};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// What Docker calls the box itself, in the place of an address.
const GATEWAY: &str = "host-gateway";

/// Why a container could not be connected, in ECS's words.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// A port of the box is not free.
    #[error("CannotStartContainerError: {0} (RESOURCE:PORTS)")]
    Ports(NetworkError),
    /// The box gives no network.
    #[error("ResourceInitializationError: cannot connect the container: {0}")]
    Network(NetworkError),
    /// The task's shim gives no namespace.
    #[error("ResourceInitializationError: {0}")]
    Runtime(#[from] RuntimeError),
    /// A port mapping that registration should have refused.
    #[error("CannotCreateContainerError: {0} is no range of ports")]
    PortRange(String),
    /// What was attached cannot be told to the shim.
    #[error("ResourceInitializationError: cannot record the network: {0}")]
    Record(#[from] serde_json::Error),
    /// The agent is ending.
    #[error("ResourceInitializationError: the agent is shutting down")]
    ShuttingDown,
}

impl From<NetworkError> for ConnectError {
    fn from(error: NetworkError) -> Self {
        match error {
            NetworkError::PortInUse { .. }
            | NetworkError::NoPorts { .. }
            | NetworkError::PortsBeyond { .. }
            | NetworkError::HoldPort { .. } => Self::Ports(error),
            _ => Self::Network(error),
        }
    }
}

/// An endpoint; locked while it is made.
type Slot = Arc<tokio::sync::Mutex<()>>;

/// What is known of an endpoint.
#[derive(Debug, Default)]
struct Endpoint {
    slot: Slot,
    attachment: Option<Attachment>,
}

/// The connections of this box's containers.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    network: Network,
    runtime: Runtime,
    gateways: Gateways,
    endpoints: Arc<Mutex<BTreeMap<EndpointId, Endpoint>>>,
}

impl Connections {
    pub(super) fn new(network: Network, runtime: Runtime, gateways: Gateways) -> Self {
        Self { network, runtime, gateways, endpoints: Arc::default() }
    }

    /// Connects the container that is to be started; once, however often it is asked.
    pub(super) async fn connect(
        &self,
        start: &StartContainer,
    ) -> Result<LaunchNetwork, ConnectError> {
        let task = start.run.task.clone();
        let (endpoint, scope, ports, publish) = match &start.connection {
            Connection::Host => return Ok(LaunchNetwork::Host),
            Connection::None => return Ok(LaunchNetwork::None),
            Connection::Container { ports, .. } => {
                let name = start.run.container.clone();
                let endpoint = EndpointId::of_container(task, name.clone());
                (endpoint, NetworkScope::Container(name), ports, true)
            }
            Connection::Task { ports } => {
                (EndpointId::of_task(task), NetworkScope::Task, ports, !ports.is_empty())
            }
        };
        let slot = self.slot(&endpoint);
        let held = slot.lock().await;
        let attachment = self.attach(&start.run, endpoint, &scope, ports, publish).await?;
        drop(held);
        let hosts = hosts_file(start, &attachment);
        let mut settings = dns_settings(start);
        settings.served_by = self.gateways.name_service(attachment.gateway4, &start.cluster).await;
        let of_box = tokio::task::spawn_blocking(BoxResolver::read)
            .await
            .map_err(|_| ConnectError::ShuttingDown)?;
        let resolv_conf = resolv_conf(&of_box, &settings);
        Ok(LaunchNetwork::Namespace { scope, hosts, resolv_conf })
    }

    async fn attach(
        &self,
        run: &ContainerRun,
        endpoint: EndpointId,
        scope: &NetworkScope,
        ports: &[PublishedPort],
        publish: bool,
    ) -> Result<Attachment, ConnectError> {
        let namespace = self.runtime.network_namespace(run, scope).await?;
        if namespace.record.is_some()
            && let Some(known) = self.known(&endpoint)
        {
            return Ok(known);
        }
        let ports = ports.iter().map(mapping).collect::<Result<_, _>>()?;
        let request =
            AttachRequest { endpoint: endpoint.clone(), netns: namespace.fd, ports, publish };
        let attachment = self.network.attach(request).await?;
        self.remember(&attachment);
        let record = serde_json::to_value(&attachment)?;
        self.runtime.record_network(&run.task, scope, record).await?;
        // Before anything runs that may ask there.
        self.gateways.announce(BridgeAddresses::of(&attachment), &self.network).await?;
        Ok(attachment)
    }

    /// What connects a run, as far as it was connected: by an endpoint of its own or that of its task.
    pub(super) fn connected(&self, run: &ContainerRun) -> Option<Connected> {
        let own = EndpointId::of_container(run.task.clone(), run.container.clone());
        let attachment =
            self.known(&own).or_else(|| self.known(&EndpointId::of_task(run.task.clone())))?;
        Some(Connected {
            interface: NetworkInterface {
                attachment_id: None,
                private_ipv4_address: Some(attachment.ipv4),
                ipv6_address: attachment.ipv6.map(|v6| v6.address),
                mac_address: Some(attachment.mac.to_string()),
            },
            bindings: attachment.bindings.iter().map(binding).collect(),
        })
    }

    /// Takes over what a scan found, before anything is started. What is not among it the network removes.
    pub(super) async fn adopt(&self, found: &[Found]) {
        let attachments: Vec<_> = found.iter().flat_map(recorded).collect();
        for attachment in &attachments {
            self.remember(attachment);
        }
        let bridge = attachments.first().map(BridgeAddresses::of);
        if let Err(error) = self.network.adopt(attachments).await {
            tracing::error!(%error, "the network of the containers that run could not be made whole");
        }
        if let Some(bridge) = bridge
            && let Err(error) = self.gateways.announce(bridge, &self.network).await
        {
            tracing::error!(%error, "the containers that run reach neither their metadata nor a name server");
        }
    }

    /// Disconnects all of a task.
    pub(super) async fn release(&self, task: &TaskId) {
        let of_task: Vec<_> = {
            let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
            endpoints.extract_if(.., |endpoint, _| endpoint.task == *task).collect()
        };
        for (endpoint, Endpoint { slot, .. }) in of_task {
            let held = slot.lock().await;
            if let Err(error) = self.network.detach(&endpoint).await {
                tracing::warn!(%endpoint, %error, "the network kept something of an endpoint");
            }
            drop(held);
        }
    }

    fn slot(&self, endpoint: &EndpointId) -> Slot {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&endpoints.entry(endpoint.clone()).or_default().slot)
    }

    fn known(&self, endpoint: &EndpointId) -> Option<Attachment> {
        let endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        endpoints.get(endpoint)?.attachment.clone()
    }

    fn remember(&self, attachment: &Attachment) {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoint = endpoints.entry(attachment.endpoint.clone()).or_default();
        endpoint.attachment = Some(attachment.clone());
    }
}

/// The attachments that the shim of a task has on record.
fn recorded(found: &Found) -> impl Iterator<Item = Attachment> {
    let read = |network: &FoundNetwork| {
        let record = network.record.clone()?;
        match serde_json::from_value::<Attachment>(record) {
            Ok(attachment) => Some(attachment),
            Err(error) => {
                tracing::warn!(task = %found.task, %error, "the record of a network cannot be read");
                None
            }
        }
    };
    found.networks.iter().filter_map(read)
}

fn mapping(port: &PublishedPort) -> Result<PortMapping, ConnectError> {
    let container = PortRange::new(port.first, port.last)
        .ok_or_else(|| ConnectError::PortRange(format!("{}-{}", port.first, port.last)))?;
    Ok(PortMapping {
        container,
        host: port.host.map_or(HostPort::Dynamic, HostPort::From),
        protocol: if port.udp { Protocol::Udp } else { Protocol::Tcp },
    })
}

/// As ECS shows it: IPv4 alone, though the port is published at the box's IPv6 addresses as well.
fn binding(binding: &Binding) -> NetworkBinding {
    let single = binding.container.is_single();
    let port = |range: PortRange| single.then(|| range.first());
    let range = |range: PortRange| (!single).then(|| range.to_string());
    NetworkBinding {
        bind_ip: "0.0.0.0".to_owned(),
        container_port: port(binding.container),
        host_port: port(binding.host),
        container_port_range: range(binding.container),
        host_port_range: range(binding.host),
        protocol: binding.protocol.to_string(),
    }
}

fn hosts_file(start: &StartContainer, attachment: &Attachment) -> String {
    let definition = &start.definition;
    let mut entries = Vec::new();
    let name = hostname(definition, &start.run.runtime_id, false);
    if let Connection::Container { links, .. } = &start.connection {
        for link in links {
            let addresses = [
                link.interface.private_ipv4_address.map(IpAddr::V4),
                link.interface.ipv6_address.map(IpAddr::V6),
            ];
            entries.extend(
                addresses
                    .into_iter()
                    .flatten()
                    .map(|address| HostEntry { address, names: link.names.clone() }),
            );
        }
    } else {
        let address = IpAddr::V4(attachment.ipv4);
        let names = vec![private_dns_name(attachment.ipv4)];
        entries.push(HostEntry { address, names });
    }
    for extra in definition.extra_hosts.iter().flatten() {
        let text = extra.ip_address.as_deref().unwrap_or_default();
        let address = match text {
            GATEWAY => Some(IpAddr::V4(attachment.gateway4)),
            // Registration refuses what is no address.
            _ => text.parse().ok(),
        };
        let names = vec![extra.hostname.clone().unwrap_or_default()];
        entries.extend(address.map(|address| HostEntry { address, names }));
    }
    let own: Vec<IpAddr> =
        [Some(IpAddr::V4(attachment.ipv4)), attachment.ipv6.map(|v6| v6.address.into())]
            .into_iter()
            .flatten()
            .collect();
    hosts(&name, &own, &entries)
}

fn dns_settings(start: &StartContainer) -> DnsSettings {
    let servers = start.definition.dns_servers.iter().flatten();
    DnsSettings {
        // Registration refuses what is no address.
        servers: servers.filter_map(|server| server.parse().ok()).collect(),
        search: start.definition.dns_search_domains.clone().unwrap_or_default(),
        ..DnsSettings::default()
    }
}
