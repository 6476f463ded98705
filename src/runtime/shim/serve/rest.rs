//! Once a container has come to run, its shim has little to do for long: it gives back the memory that the start has taken.

use super::Shim;
use crate::sys;
use std::time::Duration;

/// A container that has run for so long may run on. One that ends at once needs what its start needed.
const SETTLED: Duration = Duration::from_secs(2);

/// When to give memory back, as time since boot.
#[derive(Debug, Default)]
pub(super) struct Rest(Option<Duration>);

impl Rest {
    /// How long until then.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.0.map(|at| at.saturating_sub(sys::uptime()))
    }
}

impl Shim {
    /// A container has started.
    pub(super) fn rest_later(&mut self) {
        self.rest = Rest(Some(sys::uptime() + SETTLED));
    }

    /// Gives memory back when it is time.
    pub(super) fn rest(&mut self) {
        if self.rest.wait().is_some_and(|left| left.is_zero()) {
            self.rest = Rest::default();
            sys::give_back();
        }
    }
}
