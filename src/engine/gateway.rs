//! Tells whoever serves containers where the bridge is.

use super::connections::ConnectError;
use crate::net::Network;
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
    /// The last one that is served.
    served: Arc<Mutex<Option<Ipv4Addr>>>,
}

impl Gateways {
    pub(super) fn new(announcements: mpsc::Sender<Gateway>) -> Self {
        Self { announcements, served: Arc::default() }
    }

    /// Returns once containers behind `address` are served; without that they run all the same.
    pub(super) async fn announce(
        &self,
        address: Ipv4Addr,
        network: &Network,
    ) -> Result<(), ConnectError> {
        let mut served = self.served.lock().await;
        if *served == Some(address) {
            return Ok(());
        }
        let (listening, port) = oneshot::channel();
        // Both fail without a server: it has said why, or there is none.
        if self.announcements.send(Gateway { address, listening }).await.is_ok()
            && let Ok(port) = port.await
        {
            network.set_metadata_port(port).await?;
            *served = Some(address);
        }
        Ok(())
    }
}
