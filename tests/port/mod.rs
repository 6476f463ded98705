//! Binding what was just given back.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

/// Binds an address that is free: a program that another test starts may hold the socket of who had it before until it is
/// executed.
#[allow(clippy::disallowed_methods, reason = "a test's patience is real time")]
pub(crate) fn bound_soon<T>(bind: impl Fn() -> io::Result<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match bind() {
            Ok(bound) => return bound,
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::yield_now();
            }
            Err(error) => panic!("{error}"),
        }
    }
}
