//! How long to wait before the next attempt to connect: a random part of a limit that doubles ("full jitter"), so that
//! boxes that lost their broker together do not come back together.

use std::time::Duration;

/// The limit after the first failure.
const FIRST: Duration = Duration::from_secs(1);

/// Counts failures in a row. Chance comes in as a number, so that this is a pure function of what is passed.
#[derive(Clone, Debug)]
pub(super) struct BackOff {
    cap: Duration,
    failures: u32,
}

impl BackOff {
    pub(super) fn new(cap: Duration) -> Self {
        Self { cap, failures: 0 }
    }

    pub(super) fn set_cap(&mut self, cap: Duration) {
        self.cap = cap;
    }

    /// A connection has been up for long enough to count.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The time until the next attempt: evenly between zero and `min(cap, 1 s × 2^failures)`, or between half the cap
    /// and the cap when the broker itself asked for less of us.
    pub(super) fn next(&mut self, overload: bool, random: u64) -> Duration {
        let limit = FIRST.saturating_mul(1 << self.failures.min(30)).min(self.cap);
        self.failures = self.failures.saturating_add(1);
        let (from, to) = if overload { (self.cap / 2, self.cap) } else { (Duration::ZERO, limit) };
        from + share(to.saturating_sub(from), random)
    }
}

/// `span × random / 2^64`.
fn share(span: Duration, random: u64) -> Duration {
    let nanoseconds = span.as_nanos().saturating_mul(u128::from(random >> 32)) >> 32;
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CAP: Duration = Duration::from_mins(5);

    #[test]
    fn the_limit_doubles_up_to_the_cap() {
        let mut back_off = BackOff::new(CAP);
        let limits: Vec<u128> =
            (0..12).map(|_| back_off.next(false, u64::MAX).as_millis().div_ceil(1000)).collect();
        assert_eq!(limits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        back_off.reset();
        assert!(back_off.next(false, u64::MAX) <= FIRST);
    }

    #[test]
    fn it_may_be_zero_but_not_after_an_overload() {
        let mut back_off = BackOff::new(CAP);
        assert_eq!(back_off.next(false, 0), Duration::ZERO);
        assert_eq!(back_off.next(true, 0), CAP / 2);
        assert!(back_off.next(true, u64::MAX) <= CAP);
    }

    #[test]
    fn chance_is_spread_evenly() {
        // The middle of the numbers is the middle of the time.
        let wait = BackOff { cap: CAP, failures: 20 }.next(false, u64::MAX / 2 + 1);
        assert_eq!(wait, CAP / 2);
    }

    proptest! {
        #[test]
        fn never_longer_than_the_cap(cap in 0u64..1_000_000, failures: u32, overload: bool, random: u64) {
            let cap = Duration::from_millis(cap);
            let wait = BackOff { cap, failures }.next(overload, random);
            prop_assert!(wait <= cap);
            prop_assert!(!overload || wait >= cap / 2);
        }
    }
}
