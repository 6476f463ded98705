//! The hub's end of all tunnels.

use super::frame::FRAME_LIMIT;
use super::machine::Machine;
use super::pump::{Inbound, Pump, WAITING};
use super::stream::{self, TunnelStream};
use super::way::{Carrier, Seal, Way};
use super::{Refusals, STEP, TUNNELS, lock};
use crate::auth::fleet::SealingKey;
use crate::fleet::command::{Address, Commander};
use crate::fleet::topic::Part;
use crate::model::ContainerInstanceId;
use crate::sys;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// A frame and what sealing adds to it.
const SEALED_LIMIT: usize = FRAME_LIMIT + 64;

/// A device to open a tunnel to, while it is connected.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Which, and its present session.
    pub address: Address,
    /// The key that the hub shares with it.
    pub key: SealingKey,
}

/// Why there is no tunnel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// As many as there may be lead to this box.
    #[error("{TUNNELS} tunnels lead to container instance {0} already: end one")]
    Crowded(ContainerInstanceId),
    /// It does not answer.
    #[error("container instance {0} does not answer, although the broker takes it for connected")]
    Silent(ContainerInstanceId),
    /// It says no, or went away.
    #[error("no way to container instance {device}: {why}")]
    Refused {
        /// Which.
        device: ContainerInstanceId,
        /// In its words, or in ours.
        why: String,
    },
}

/// Opens tunnels to devices. Cheap to clone.
#[derive(Clone)]
pub struct HubEnd(Arc<Inner>);

struct Inner {
    commander: Arc<Commander>,
    tunnels: Mutex<BTreeMap<Part, Tunnel>>,
    refused: Refusals,
    step: Duration,
}

struct Tunnel {
    to: Address,
    seal: Seal,
    inbound: mpsc::Sender<Inbound>,
}

impl fmt::Debug for HubEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubEnd").field("tunnels", &self.count()).finish_non_exhaustive()
    }
}

impl HubEnd {
    /// The end of a hub whose commands go out through `commander`.
    #[must_use]
    pub fn new(commander: Arc<Commander>) -> Self {
        Self(Arc::new(Inner {
            commander,
            tunnels: Mutex::default(),
            refused: Refusals::default(),
            step: STEP,
        }))
    }

    /// How many tunnels there are.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.0.tunnels).len()
    }

    /// The same in another time, before anything happens.
    #[cfg(test)]
    pub(super) fn paced(mut self, step: Duration) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.step = step;
        }
        self
    }

    #[cfg(test)]
    pub(super) fn ids(&self) -> Vec<Part> {
        lock(&self.0.tunnels).keys().cloned().collect()
    }

    /// What was refused, by reason.
    #[must_use]
    pub fn refused(&self) -> BTreeMap<&'static str, u64> {
        self.0.refused.all()
    }

    /// Opens a tunnel to the local API of a device.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(&self, to: &Peer) -> Result<TunnelStream, OpenError> {
        let device = &to.address.device;
        let id = new_id();
        let seal = Seal::new(to.key.clone(), &to.address, &id);
        let (inbound, frames) = mpsc::channel(WAITING);
        {
            let mut tunnels = lock(&self.0.tunnels);
            if tunnels.values().filter(|tunnel| tunnel.to.device == *device).count() >= TUNNELS {
                return Err(OpenError::Crowded(device.clone()));
            }
            let tunnel = Tunnel { to: to.address.clone(), seal: seal.clone(), inbound };
            tunnels.insert(id.clone(), tunnel);
        }
        let (machine, first) = Machine::open();
        let carrier = Carrier::Commands(Arc::clone(&self.0.commander));
        let way = Way { to: to.address.clone(), id: id.clone(), seal, carrier };
        let (stream, far) = stream::pair();
        let (accepted, is_accepted) = oneshot::channel();
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            let (step, accepted) = (inner.step, Some(accepted));
            Pump { machine, way, inbound: frames, step, accepted }.run(first, far).await;
            lock(&inner.tunnels).remove(&id);
        });
        // A step is time enough, and as a rule the link says sooner that a device is gone. Whatever is returned here but the stream drops it, which ends the tunnel.
        match tokio::time::timeout(self.0.step, is_accepted).await {
            Ok(Ok(Ok(()))) => Ok(stream),
            Ok(Ok(Err(why))) => Err(OpenError::Refused { device: device.clone(), why }),
            Ok(Err(_)) | Err(_) => Err(OpenError::Silent(device.clone())),
        }
    }

    /// A message of `device` on `rpc/ID`.
    pub fn incoming(&self, device: &ContainerInstanceId, id: &Part, payload: &[u8]) {
        let refuse = |why| self.0.refused.count(why);
        if payload.len() > SEALED_LIMIT {
            return refuse("tunnel: oversized");
        }
        let mut tunnels = lock(&self.0.tunnels);
        let Some(tunnel) = tunnels.get(id) else { return refuse("tunnel: unknown") };
        if tunnel.to.device != *device {
            return refuse("tunnel: foreign");
        }
        let Some(frame) = tunnel.seal.open_up(payload) else { return refuse("tunnel: forged") };
        if tunnel.inbound.try_send(Inbound::Frame(frame)).is_err() {
            // Over, or it sends more than any window allows.
            tunnels.remove(id);
            refuse("tunnel: overrun");
        }
    }

    /// The hub's own connection to the broker is lost: all tunnels are over, as what was under way may be.
    pub fn link_lost(&self) {
        for (_, tunnel) in std::mem::take(&mut *lock(&self.0.tunnels)) {
            let why = "the hub lost its connection to the broker".to_owned();
            // With no room left, the closed channel says it with fewer words.
            let _ = tunnel.inbound.try_send(Inbound::Lost(why));
        }
    }

    /// The session of `device` is another one now, or over: its tunnels are.
    pub fn session_changed(&self, device: &ContainerInstanceId, session: Option<&str>) {
        lock(&self.0.tunnels).retain(|_, tunnel| {
            let stays = tunnel.to.device != *device || session == Some(tunnel.to.session.as_str());
            if !stays {
                let why = "the box lost its connection to the broker".to_owned();
                // With no room left, the closed channel says it with fewer words.
                let _ = tunnel.inbound.try_send(Inbound::Lost(why));
            }
            stays
        });
    }
}

fn new_id() -> Part {
    let mut bytes = [0; 16];
    sys::random(&mut bytes);
    let id = format!("{:032x}", u128::from_be_bytes(bytes));
    Part::new(id).unwrap_or_else(|_| unreachable!("32 digits are a part of a topic"))
}
