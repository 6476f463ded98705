//! Pins: what somebody is bringing here or about to use, and what therefore stays whatever is collected meanwhile.
//!
//! ```text
//! pull, load, unpack:  pin(digest) ── look whether it is here ── … ── name it ── let go
//! collect:             begin a sweep ── read the names ── remove what is neither named nor pinned
//! ```
//!
//! Whoever looks for a blob, a layer or an image pins it *before* the look, so nothing goes between "it is here" and "it
//! is named". A pin that was let go holds on while a sweep lasts that had begun before, because that sweep has read the
//! names already; and [`LINGER`] longer, until those that were told of the image have noted that they use it.

use crate::image::digest::Digest;
use crate::sys;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a pin holds on after it was let go.
pub const LINGER: Duration = Duration::from_secs(30);

/// The pins of one process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Pins(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// How many hold what.
    counts: BTreeMap<Digest, usize>,
    /// When what nobody holds any longer was let go, since boot.
    released: BTreeMap<Digest, Duration>,
    /// When the sweep that goes on began.
    sweep: Option<Duration>,
}

/// Which pins count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Those that were let go a moment ago as well.
    Lingering,
    /// Only those that are held, or were when the sweep began: somebody has asked for exactly this to be removed.
    Held,
}

impl Pins {
    /// Nothing pinned yet.
    #[must_use]
    pub fn grip(&self) -> Grip {
        Grip { pins: self.clone(), held: Mutex::default() }
    }

    /// Whether anybody holds it.
    #[must_use]
    pub fn holds(&self, digest: &Digest, patience: Patience) -> bool {
        self.state().holds(digest, patience)
    }

    /// Does `remove` unless it is held; nobody can pin it meanwhile, so keep it short.
    pub fn unless_held<R>(
        &self,
        digest: &Digest,
        patience: Patience,
        remove: impl FnOnce() -> R,
    ) -> Option<R> {
        let state = self.state();
        (!state.holds(digest, patience)).then(remove)
    }

    /// Begins a sweep: what is let go from now on is held until it ends. One at a time.
    #[must_use]
    pub fn begin_sweep(&self) -> Sweeping {
        self.state().sweep = Some(sys::uptime());
        Sweeping(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn holds(&self, digest: &Digest, patience: Patience) -> bool {
        if self.counts.contains_key(digest) {
            return true;
        }
        let Some(released) = self.released.get(digest) else { return false };
        self.sweep.is_some_and(|began| *released >= began)
            || (patience == Patience::Lingering && sys::uptime().saturating_sub(*released) < LINGER)
    }

    /// Forgets what lingers no longer.
    fn tidy(&mut self) {
        if self.sweep.is_none() {
            let now = sys::uptime();
            self.released.retain(|_, released| now.saturating_sub(*released) < LINGER);
        }
    }
}

/// What one piece of work has pinned; let go when it is dropped.
#[derive(Debug)]
pub struct Grip {
    pins: Pins,
    held: Mutex<BTreeSet<Digest>>,
}

impl Grip {
    /// Holds it from now on. Blocking, though hardly ever for long.
    pub fn pin(&self, digest: &Digest) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.insert(*digest) {
            *self.pins.state().counts.entry(*digest).or_default() += 1;
        }
    }
}

impl Drop for Grip {
    fn drop(&mut self) {
        let held = std::mem::take(self.held.get_mut().unwrap_or_else(PoisonError::into_inner));
        let mut state = self.pins.state();
        state.tidy();
        let now = sys::uptime();
        for digest in held {
            match state.counts.get_mut(&digest) {
                Some(count) if *count > 1 => *count -= 1,
                _ => {
                    state.counts.remove(&digest);
                    state.released.insert(digest, now);
                }
            }
        }
    }
}

/// A sweep that goes on until this is dropped.
#[derive(Debug)]
pub struct Sweeping(Pins);

impl Drop for Sweeping {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.sweep = None;
        state.tidy();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pinned_is_held_until_all_have_let_go_and_a_moment_longer() {
        let (pins, digest) = (Pins::default(), Digest::of(b"blob"));
        assert!(!pins.holds(&digest, Patience::Lingering));
        let (one, two) = (pins.grip(), pins.grip());
        one.pin(&digest);
        one.pin(&digest);
        two.pin(&digest);
        drop(one);
        assert!(pins.holds(&digest, Patience::Held));
        assert_eq!(pins.unless_held(&digest, Patience::Held, || ()), None);
        drop(two);
        assert!(pins.holds(&digest, Patience::Lingering));
        assert_eq!(pins.unless_held(&digest, Patience::Held, || ()), Some(()));
    }

    #[test]
    fn a_sweep_does_not_take_what_was_let_go_since_it_began() {
        let (pins, digest) = (Pins::default(), Digest::of(b"blob"));
        let grip = pins.grip();
        grip.pin(&digest);
        let sweep = pins.begin_sweep();
        drop(grip);
        assert!(pins.holds(&digest, Patience::Held));
        drop(sweep);
        assert!(!pins.holds(&digest, Patience::Held));
    }
}
