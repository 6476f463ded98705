//! Tunnels: byte streams from the hub to a box that nobody can connect to, carried by MQTT messages.
//!
//! ```text
//! hub: api ── TunnelStream ── pump ── machine ══ cmd, signed ═════►  machine ── pump ── TunnelStream ── api: box
//!                                              ◄═════ rpc/{id} ══
//! ```
//!
//! * `frame`: what the ends say, as bytes. `machine`: which of it may come when; pure. `pump`: one end at work.
//! * [`HubEnd`] opens tunnels and is told what devices say; [`DeviceEnd`] accepts them. Neither knows MQTT: whoever holds
//!   the link passes on what comes and sends what comes out of `outgoing`.
//!
//! What goes down is a signed [command](super::command), so no broker opens a tunnel or speaks in one. Every frame is
//! sealed besides, with the key that hub and device share, for its tunnel, its session and its direction: no broker reads
//! what a container writes or somebody types, and none speaks for a device.
//!
//! MQTT doubles messages, and loses them with a session or when a queue is full. So a tunnel lives in one session of its
//! device; what is doubled is passed over, and what is lost ends it with a reason. Nothing is kept: whoever wants more
//! opens another one.
//!
//! Bounds: 128 KiB under way in each direction, 32 tunnels for each box, a minute of silence.

mod device;
mod frame;
mod hub;
mod machine;
mod pump;
mod stream;
mod way;

pub use device::DeviceEnd;
pub use hub::{HubEnd, OpenError, Peer};
pub use stream::TunnelStream;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// As many tunnels lead to one box at once.
pub const TUNNELS: usize = 32;

/// A step of the time of a tunnel's end; after four without a word the other end is taken for gone.
const STEP: Duration = Duration::from_secs(15);

/// What was refused, counted by the reason. None of it had an effect.
#[derive(Debug, Default)]
struct Refusals(Mutex<BTreeMap<&'static str, u64>>);

impl Refusals {
    fn count(&self, why: &'static str) {
        *lock(&self.0).entry(why).or_default() += 1;
    }

    fn all(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.0).clone()
    }
}

/// What these locks guard is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
