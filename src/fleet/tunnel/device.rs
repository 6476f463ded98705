//! The device's end of all tunnels.

use super::frame::FRAME_LIMIT;
use super::machine::Machine;
use super::pump::{Inbound, Pump, WAITING};
use super::stream::{self, TunnelStream};
use super::way::{Carrier, Seal, Way};
use super::{Refusals, STEP, TUNNELS, lock};
use crate::auth::fleet::SealingKey;
use crate::fleet::command::{Address, Outgoing};
use crate::fleet::topic::Part;
use crate::model::{ClusterName, ContainerInstanceId};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

/// A frame and what sealing adds to it.
const SEALED_LIMIT: usize = FRAME_LIMIT + 64;

/// Takes a new stream; false when it cannot.
type Accept = Box<dyn Fn(TunnelStream) -> bool + Send + Sync>;

/// Accepts the tunnels that the hub opens. Cheap to clone.
#[derive(Clone)]
pub struct DeviceEnd(Arc<Inner>);

struct Inner {
    cluster: ClusterName,
    device: ContainerInstanceId,
    key: SealingKey,
    outgoing: mpsc::Sender<Outgoing>,
    accept: Accept,
    state: Mutex<State>,
    refused: Refusals,
    step: Duration,
}

#[derive(Default)]
struct State {
    session: Option<String>,
    tunnels: BTreeMap<Part, Tunnel>,
}

struct Tunnel {
    seal: Seal,
    inbound: mpsc::Sender<Inbound>,
}

impl fmt::Debug for DeviceEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceEnd").field("device", &self.0.device).finish_non_exhaustive()
    }
}

impl DeviceEnd {
    /// The end of one device. Its answers go to `outgoing`; each new stream is given to `accept`, which says no by false.
    #[must_use]
    pub fn new(
        cluster: ClusterName,
        device: ContainerInstanceId,
        key: SealingKey,
        outgoing: mpsc::Sender<Outgoing>,
        accept: impl Fn(TunnelStream) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            cluster,
            device,
            key,
            outgoing,
            accept: Box::new(accept),
            state: Mutex::default(),
            refused: Refusals::default(),
            step: STEP,
        }))
    }

    /// The same in another time, before anything happens.
    #[cfg(test)]
    pub(super) fn paced(mut self, step: Duration) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.step = step;
        }
        self
    }

    /// A new connection to the broker, or none any more: all tunnels are over.
    pub fn session_changed(&self, session: Option<&str>) {
        let mut state = lock(&self.0.state);
        if state.session.as_deref() == session {
            return;
        }
        state.session = session.map(str::to_owned);
        // Each pump sees that its channel is closed.
        state.tunnels.clear();
    }

    /// How many tunnels there are.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.0.state).tunnels.len()
    }

    /// What was refused, by reason.
    #[must_use]
    pub fn refused(&self) -> BTreeMap<&'static str, u64> {
        self.0.refused.all()
    }

    /// The body of a command about the tunnel `id`, which was accepted for the present session.
    pub fn incoming(&self, id: &Part, body: &[u8]) {
        let refuse = |why| self.0.refused.count(why);
        if body.len() > SEALED_LIMIT {
            return refuse("tunnel: oversized");
        }
        let mut state = lock(&self.0.state);
        let Some(session) = state.session.clone() else { return refuse("tunnel: stale") };
        if let Some(tunnel) = state.tunnels.get(id) {
            let Some(frame) = tunnel.seal.open_down(body) else {
                return refuse("tunnel: forged");
            };
            if tunnel.inbound.try_send(Inbound::Frame(frame)).is_err() {
                // Over, or it sends more than any window allows.
                state.tunnels.remove(id);
                refuse("tunnel: overrun");
            }
            return;
        }
        let to =
            Address { cluster: self.0.cluster.clone(), device: self.0.device.clone(), session };
        let seal = Seal::new(self.0.key.clone(), &to, id);
        let Some(frame) = seal.open_down(body) else { return refuse("tunnel: forged") };
        // A frame of a tunnel that is over is one of those that crossed its end.
        let Some((machine, first)) = Machine::accept(&frame) else {
            return refuse("tunnel: unknown");
        };
        let carrier = Carrier::Answers(self.0.outgoing.clone());
        let way = Way { to, id: id.clone(), seal: seal.clone(), carrier };
        if state.tunnels.len() >= TUNNELS {
            refuse("tunnel: crowded");
            turn_away(way, format!("{TUNNELS} tunnels lead to this box already"));
            return;
        }
        let (stream, far) = stream::pair();
        if !(self.0.accept)(stream) {
            refuse("tunnel: crowded");
            turn_away(way, "the agent of this box is busy or stopping".to_owned());
            return;
        }
        let (inbound, frames) = mpsc::channel(WAITING);
        state.tunnels.insert(id.clone(), Tunnel { seal, inbound });
        drop(state);
        let (inner, id) = (Arc::clone(&self.0), id.clone());
        tokio::spawn(async move {
            let step = inner.step;
            Pump { machine, way, inbound: frames, step, accepted: None }.run(first, far).await;
            // No id is used twice.
            lock(&inner.state).tunnels.remove(&id);
        });
    }
}

/// Says no to a tunnel.
fn turn_away(way: Way, why: String) {
    tokio::spawn(async move {
        // If that cannot be sent the hub sees silence, which is a no as well.
        let _ = way.send(&Machine::refusal(why)).await;
    });
}
