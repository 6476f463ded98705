//! Where an agent is told to connect to.
//!
//! ECS's own agent asks this before it opens a web socket to be told about its tasks. Nothing here speaks that protocol:
//! the answer is this API's own address, which is the only endpoint there is.

use super::error::ApiError;
use super::identifiers;
use crate::engine::Handle;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `DiscoverPollEndpoint`.
pub(super) fn poll_endpoint(
    engine: &Handle,
    address: Option<SocketAddr>,
    input: &Value,
) -> Result<Value, ApiError> {
    engine.read(|world| {
        let cluster = identifiers::active_cluster(world, input["cluster"].as_str())?;
        let Some(text) = input["containerInstance"].as_str().filter(|text| !text.is_empty()) else {
            return Ok(());
        };
        let (_, id) = identifiers::container_instance(text)?;
        let known = world.container_instances.get(&id);
        match known.filter(|instance| instance.cluster == cluster) {
            Some(_) => Ok(()),
            None => Err(ApiError::client("The referenced container instance was not found.")),
        }
    })?;
    let Some(address) = address else {
        return Err(ApiError::client(
            "DiscoverPollEndpoint: the API is served on its unix socket alone; set `listen` to serve it over TCP.",
        ));
    };
    let url = format!("http://{}/", reachable(address));
    Ok(json!({ "endpoint": url, "telemetryEndpoint": url, "serviceConnectEndpoint": url }))
}

/// An address that can be connected to: who listens on all is reached by loopback at least.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
