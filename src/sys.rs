//! The only place that reads the clock and the system's random source; and what a process says to the kernel of its own memory.

mod memory;

pub use memory::give_back;

use crate::model::Timestamp;
use ring::rand::{SecureRandom, SystemRandom};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The wall clock. A box without a battery starts in 1970 and jumps later; nothing may rely on it never going back.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
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
