//! Serves containers at the bridge: names, and the endpoints of whoever else serves them.

use super::connections::ConnectError;
use super::names::NameSettings;
use crate::net::dns::NameServer;
use crate::net::{BridgeAddresses, NameService, Network, Services};
use crate::plan::names;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc, oneshot};

/// The bridge has this address on the box, and containers are about to ask there.
#[derive(Debug)]
pub struct Gateway {
    /// Where to listen.
    pub address: Ipv4Addr,
    /// To be told the port; dropped when nothing can listen.
    pub listening: oneshot::Sender<u16>,
}

/// The way to whoever serves.
#[derive(Clone, Debug)]
pub(super) struct Gateways {
    announcements: mpsc::Sender<Gateway>,
    names: Option<NameSettings>,
    /// What is served there. It goes on when the bridge goes, since nobody can reach it then, and is there when the same
    /// bridge comes back.
    served: Arc<Mutex<Option<Served>>>,
}

#[derive(Debug)]
struct Served {
    bridge: BridgeAddresses,
    names: Option<NameServer>,
    /// Whether the metadata endpoint listens.
    metadata: bool,
}

impl Gateways {
    pub(super) fn new(announcements: mpsc::Sender<Gateway>, names: Option<NameSettings>) -> Self {
        Self { announcements, names, served: Arc::default() }
    }

    /// Returns once containers behind `bridge` are served; without that they run all the same.
    pub(super) async fn announce(
        &self,
        bridge: BridgeAddresses,
        network: &Network,
    ) -> Result<(), ConnectError> {
        let mut served = self.served.lock().await;
        // One of another bridge ends here: its ports are wanted again.
        let there = served.take().filter(|there| there.bridge == bridge);
        let names = match there {
            Some(there) if there.metadata => {
                *served = Some(there);
                return Ok(());
            }
            Some(there) => there.names,
            None => self.serve_names(bridge).await,
        };
        // Whoever could not listen is asked again with the next container.
        let metadata = self.announce_metadata(bridge.ipv4).await;
        let services = Services { metadata, names: names.as_ref().map(NameServer::ports) };
        network.set_services(services).await?;
        *served = Some(Served { bridge, names, metadata: metadata.is_some() });
        Ok(())
    }

    async fn announce_metadata(&self, address: Ipv4Addr) -> Option<u16> {
        let (listening, port) = oneshot::channel();
        // Both fail without a server: it has said why, or there is none.
        self.announcements.send(Gateway { address, listening }).await.ok()?;
        port.await.ok()
    }

    async fn serve_names(&self, bridge: BridgeAddresses) -> Option<NameServer> {
        let NameSettings { directory, upstream, .. } = self.names.clone()?;
        match NameServer::listen(bridge, directory, upstream).await {
            Ok(server) => Some(server),
            Err(error) => {
                tracing::error!(address = %bridge.ipv4, %error, "containers will not find each other by name: cannot listen on the bridge");
                None
            }
        }
    }

    /// What serves names to the containers of `cluster` behind `address`, if something does.
    pub(super) async fn name_service(
        &self,
        address: Ipv4Addr,
        cluster: &crate::model::ClusterName,
    ) -> Option<NameService> {
        let settings = self.names.as_ref()?;
        let served = self.served.lock().await;
        let there = |there: &Served| there.bridge.ipv4 == address && there.names.is_some();
        served.as_ref().is_some_and(there).then(|| NameService {
            server: address.into(),
            zone: names::zone(cluster, &settings.domain),
        })
    }
}
