//! When the certificate is renewed: in the last third of its life, which nobody needs to be on time for. Pure.

use crate::auth::fleet::{DEVICE_LIFETIME, PLAUSIBLE};
use crate::model::Timestamp;
use std::time::Duration;

/// Between two requests, and between two looks at the clock, which may have been set meanwhile.
const AGAIN: Duration = Duration::from_hours(1);
/// At the least.
const SOON: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Renewal {
    from: Timestamp,
    next: Duration,
}

impl Renewal {
    /// Of a certificate that was received at `taken` and ends at `not_after`.
    pub(super) fn new(taken: Timestamp, not_after: Timestamp) -> Self {
        // A box without a clock takes it in 1970: then the usual life is counted.
        let life = not_after.since(taken).min(DEVICE_LIFETIME);
        let third = i64::try_from((life / 3).as_millis()).unwrap_or(i64::MAX);
        Self { from: Timestamp(not_after.millis().saturating_sub(third)), next: Duration::ZERO }
    }

    /// When to call [`Self::wants`] again.
    pub(super) fn due(&self) -> Duration {
        self.next
    }

    /// Whether to ask now. A clock that says nothing never asks.
    pub(super) fn wants(&mut self, now: Duration, clock: Timestamp) -> bool {
        if now < self.next {
            return false;
        }
        let is_late = self.is_late(clock);
        let until = if is_late { AGAIN } else { self.from.since(clock) };
        self.next = now + until.clamp(SOON, AGAIN);
        is_late
    }

    /// Whether the last third of its life has begun.
    pub(super) fn is_late(&self, clock: Timestamp) -> bool {
        clock >= PLAUSIBLE && clock >= self.from
    }

    /// There is a new connection: if it is late, now is the time.
    pub(super) fn begin(&mut self) {
        self.next = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn it_is_asked_for_in_the_last_third_of_its_life() {
        let taken = PLAUSIBLE.plus(100 * DAY);
        let end = taken.plus(90 * DAY);
        let mut renewal = Renewal::new(taken, end);
        assert!(!renewal.wants(Duration::ZERO, taken.plus(59 * DAY)));
        assert!(!renewal.wants(Duration::from_secs(1), taken.plus(61 * DAY)), "not so soon again");
        assert!(renewal.wants(renewal.due(), taken.plus(61 * DAY)));
        renewal.begin();
        assert!(renewal.wants(Duration::ZERO, end.plus(DAY)), "late is better than never");
        let hour = Renewal::new(taken, taken.plus(Duration::from_hours(3)));
        assert!(!hour.is_late(taken.plus(Duration::from_hours(1))));
        assert!(hour.is_late(taken.plus(Duration::from_hours(2))));
        let mut short = Renewal::new(taken, taken.plus(Duration::from_mins(3)));
        assert!(!short.wants(Duration::ZERO, taken));
        assert_eq!(short.due(), Duration::from_mins(2), "looked at in time");
        assert!(short.wants(short.due(), taken.plus(Duration::from_mins(2))));
    }

    #[test]
    fn a_clock_that_says_nothing_asks_for_nothing() {
        let end = PLAUSIBLE.plus(90 * DAY);
        let mut renewal = Renewal::new(Timestamp(0), end);
        assert!(!renewal.wants(Duration::ZERO, Timestamp(0)));
        assert!(!renewal.is_late(PLAUSIBLE.plus(50 * DAY)));
        assert!(renewal.is_late(PLAUSIBLE.plus(61 * DAY)));
    }
}
