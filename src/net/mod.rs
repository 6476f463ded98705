//! The network of containers: a bridge, links into namespaces, addresses, published ports.
//!
//! It talks to the kernel over netlink itself; no program is run. An **endpoint** is one network namespace: a whole
//! task's or one container's. Whoever makes the namespace has it attached here, and tells what it got again after a
//! restart.
//!
//! | module | what it is for |
//! | --- | --- |
//! | `connection` | attaching and detaching: who waits for whom, and what is undone |
//! | `bridge` | the bridge of this agent: made with the first endpoint, removed after the last |
//! | `allocation`, `hold` | who has which address and port; keeping others on the box from a published port |
//! | `link` | links, addresses and routes |
//! | `nftables` | the rules, in a table of our own |
//! | `conntrack` | what the kernel remembers of connections to a port that changes hands |
//! | `forwarding` | settings of the kernel, and their way back |
//! | `netlink` | the protocol of both |
//! | [`dns`] | the name server of the endpoints |
//! | [`hosts()`], [`resolv_conf`] | the texts of a container's files |
//!
//! What is on the box is told by the box, not remembered: the bridge says in its alias whose it is, the table in its
//! comment. An agent that was killed at any moment finds both, and removes what nobody runs on. A link dies with its
//! namespace.

mod allocation;
mod attachment;
mod bridge;
mod bridge_addresses;
mod connection;
mod conntrack;
pub mod dns;
mod error;
mod fingerprint;
mod forwarding;
mod guests;
mod hold;
mod hosts;
mod link;
mod netlink;
mod nftables;
mod port;
mod resolv;
mod subnet;

pub use attachment::{
    AttachRequest, Attachment, Binding, EndpointId, HostPort, Ipv6Attachment, MacAddress,
    PortMapping,
};
pub use bridge_addresses::BridgeAddresses;
pub use error::NetworkError;
pub use guests::{Guests, Place};
pub use hosts::{HostEntry, hosts};
pub use port::{PortRange, PortRangeError, Protocol};
pub use resolv::{BoxResolver, DnsSettings, FALLBACK, NameService, resolv_conf};
pub use subnet::{Subnet, Subnet6, SubnetError};

use connection::Connections;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

/// What a [`Network`] goes by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkConfig {
    /// The agent's state directory, which tells its bridge from those of other agents.
    pub state_dir: PathBuf,
    /// The name of the bridge (setting `bridge`); the first free of `coracle0`, `coracle1`, … if none.
    pub bridge: Option<String>,
    /// Its IPv4 subnet (setting `subnet`); one that overlaps nothing on the box if none.
    pub subnet: Option<Subnet>,
    /// Its IPv6 subnet (setting `subnet6`); one told by the state directory if none.
    pub subnet6: Option<Subnet6>,
    /// Where dynamic ports are taken from (setting `dynamic_ports`); the kernel's `ip_local_port_range` if none.
    pub dynamic_ports: Option<PortRange>,
    /// TCP ports that are never taken as dynamic ones.
    pub reserved_ports: Vec<u16>,
    /// UDP ports that are never taken as dynamic ones.
    pub reserved_ports_udp: Vec<u16>,
    /// Whether endpoints reach the instance metadata of a cloud at 169.254.169.254 (setting
    /// `allow_instance_metadata`).
    pub allow_instance_metadata: bool,
}

/// What the box serves its endpoints, and at which ports of its own addresses on the bridge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// The metadata endpoint: 169.254.170.2, TCP port 80, for whoever asks.
    pub metadata: Option<u16>,
    /// The name server: port 53 of the bridge's own addresses.
    pub names: Option<dns::ServerPorts>,
}

/// The network of one agent. Copies are the same network.
///
/// Nothing is made on the box before the first [`Network::attach`], and nothing is left after the last
/// [`Network::detach`].
#[derive(Clone, Debug)]
pub struct Network {
    connections: Arc<Connections>,
}

impl Network {
    /// A network with these settings; does nothing on the box yet.
    ///
    /// # Errors
    /// [`NetworkError::BridgeName`].
    pub fn open(config: NetworkConfig) -> Result<Self, NetworkError> {
        if let Some(name) = config.bridge.as_ref().filter(|name| !is_bridge_name(name)) {
            return Err(NetworkError::BridgeName(name.clone()));
        }
        Ok(Self { connections: Arc::new(Connections::new(config)) })
    }

    /// Takes over `running`, what an earlier life of this agent attached and still runs: once, before anything else.
    /// Whatever else that life left on the box is removed; ports are held again, which if it fails is only logged,
    /// for the endpoints are there and have them.
    ///
    /// # Errors
    /// [`NetworkError`] when the box could not be made equal to that.
    pub async fn adopt(&self, running: Vec<Attachment>) -> Result<(), NetworkError> {
        self.blocking(move |connections| connections.adopt(running)).await
    }

    /// Connects a namespace: a link called `eth0` with addresses and routes, and its published ports. Asked again
    /// with the same endpoint and namespace the answer is the same; with another namespace the endpoint moves there
    /// and keeps its addresses and ports.
    ///
    /// It is whole or not at all: after an error, nothing is left. Dropping the future does not stop it.
    ///
    /// # Errors
    /// [`NetworkError::PortInUse`] when a port is taken, and whatever else went wrong.
    pub async fn attach(&self, request: AttachRequest) -> Result<Attachment, NetworkError> {
        self.blocking(move |connections| connections.attach(&request)).await
    }

    /// Disconnects an endpoint, whether or not its namespace is still there; one that is not attached is no error.
    /// Its ports are unpublished when this is done; its link goes soon after, unless it was the last one: then all
    /// is gone, bridge and rules included.
    ///
    /// # Errors
    /// [`NetworkError`] when the box kept something.
    pub async fn detach(&self, endpoint: &EndpointId) -> Result<(), NetworkError> {
        let endpoint = endpoint.clone();
        let Some(leaving) = self.blocking(move |connections| connections.detach(&endpoint)).await?
        else {
            return Ok(());
        };
        let last = leaving.last;
        let disposed = self.blocking(move |connections| connections.dispose(&leaving));
        if last {
            return disposed.await;
        }
        // Nobody has to wait for the kernel.
        tokio::spawn(async move {
            if let Err(error) = disposed.await {
                tracing::warn!(%error, "a link is left over until its namespace ends");
            }
        });
        Ok(())
    }

    /// From now on, what endpoints send to these services goes to where they listen at the bridge's own addresses. What
    /// they send to the metadata endpoint before is dropped.
    ///
    /// # Errors
    /// [`NetworkError::Rules`].
    pub async fn set_services(&self, services: Services) -> Result<(), NetworkError> {
        self.blocking(move |connections| connections.set_services(services)).await
    }

    /// Whether there is a bridge: an endpoint is attached, or about to be.
    ///
    /// # Errors
    /// [`NetworkError::ShuttingDown`].
    pub async fn has_bridge(&self) -> Result<bool, NetworkError> {
        self.blocking(|connections| Ok(connections.has_bridge())).await
    }

    /// Begins at once, whether or not the future is awaited.
    fn blocking<T, W>(
        &self,
        work: W,
    ) -> impl Future<Output = Result<T, NetworkError>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce(&Connections) -> Result<T, NetworkError> + Send + 'static,
    {
        let connections = Arc::clone(&self.connections);
        let work = tokio::task::spawn_blocking(move || work(&connections));
        async move { work.await.map_err(|_| NetworkError::ShuttingDown)? }
    }
}

/// What the kernel takes as a name, and nft(8) as part of one.
fn is_bridge_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}
