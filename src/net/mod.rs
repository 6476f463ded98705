//! The network of containers: a bridge, links into namespaces, addresses, published ports.
//!
//! It talks to the kernel over netlink itself; no program is run.

mod attachment;
mod error;
mod hosts;
mod port;
mod resolv;
mod subnet;

pub use attachment::{
    AttachRequest, Attachment, Binding, EndpointId, HostPort, Ipv6Attachment, MacAddress,
    PortMapping,
};
pub use error::NetworkError;
pub use hosts::{HostEntry, hosts};
pub use port::{PortRange, PortRangeError, Protocol};
pub use resolv::{BoxResolver, DnsSettings, FALLBACK, resolv_conf};
pub use subnet::{Subnet, Subnet6, SubnetError};

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

/// The network of one agent. Copies are the same network.
///
/// Nothing is made on the box before the first [`Network::attach`], and nothing is left after the last
/// [`Network::detach`].
#[derive(Clone, Debug)]
pub struct Network {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: NetworkConfig,
}

impl Network {
    /// A network with these settings; does nothing on the box yet.
    ///
    /// # Errors
    /// [`NetworkError::BridgeName`].
    pub fn open(config: NetworkConfig) -> Result<Self, NetworkError> {
        Ok(Self { inner: Arc::new(Inner { config }) })
    }

    /// Takes over `running`, what an earlier life of this agent attached and still runs: once, before anything else.
    /// Whatever else that life left on the box is removed; ports are held again, which if it fails is only logged,
    /// for the endpoints are there and have them.
    ///
    /// # Errors
    /// [`NetworkError`] when the box could not be made equal to that.
    pub async fn adopt(&self, running: Vec<Attachment>) -> Result<(), NetworkError> {
        let _ = (running, &self.inner.config);
        Err(NetworkError::ShuttingDown)
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
        let _ = request;
        Err(NetworkError::ShuttingDown)
    }

    /// Disconnects an endpoint, whether or not its namespace is still there; one that is not attached is no error.
    /// With the last one the bridge and the rules go.
    ///
    /// # Errors
    /// [`NetworkError`] when the box kept something.
    pub async fn detach(&self, endpoint: &EndpointId) -> Result<(), NetworkError> {
        let _ = endpoint;
        Err(NetworkError::ShuttingDown)
    }

    /// From now on, what endpoints send to 169.254.170.2, TCP port 80, goes to this port at the bridge's own address.
    /// What they send there before is dropped.
    ///
    /// # Errors
    /// [`NetworkError::Rules`].
    pub async fn set_metadata_port(&self, port: u16) -> Result<(), NetworkError> {
        let _ = port;
        Err(NetworkError::ShuttingDown)
    }
}
