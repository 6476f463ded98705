//! The only place that reads the clock and the system's random source; what a process says to the kernel of its own memory;
//! and locks on files.

mod clock;
mod lock;
mod memory;
#[cfg(all(target_env = "musl", target_pointer_width = "32"))]
mod seconds;

pub use clock::clock_is_synchronised;
pub use lock::FileLock;
pub use memory::give_back;

use crate::model::Timestamp;
use ring::rand::{SecureRandom, SystemRandom};
use std::time::Duration;

/// The wall clock. A box without a battery starts in 1970 and jumps later; nothing may rely on it never going back.
///
/// The kernel is asked for seconds of 64 bits: on 32-bit processors the standard library's are over in January 2038.
#[must_use]
pub fn now() -> Timestamp {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let milliseconds = i64::from(u32::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000);
    Timestamp(time.tv_sec.max(0).saturating_mul(1000).saturating_add(milliseconds))
}

/// Time since boot, sleep included; it never goes back and nobody can set it.
#[must_use]
pub fn uptime() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanoseconds)
}

/// Fills `buffer` with random bytes of the system.
///
/// # Panics
/// When the kernel has no random source, which on Linux does not happen.
#[expect(clippy::expect_used, reason = "nothing can go on without randomness")]
pub fn random(buffer: &mut [u8]) {
    SystemRandom::new().fill(buffer).expect("getrandom(2) works");
}

/// A random seed for [`crate::plan::Ids`].
#[must_use]
pub fn seed() -> u128 {
    let mut bytes = [0; 16];
    random(&mut bytes);
    u128::from_le_bytes(bytes)
}
