//! How often one task may ask: 40 times a second, 60 in a burst, as in ECS.

use std::collections::BTreeMap;
use std::time::Duration;

/// Requests a second in the long run.
const STEADY: f64 = 40.0;
/// Requests at once.
const BURST: f64 = 60.0;
/// From this many askers on, those that have not asked for a while are forgotten.
const ASKERS: usize = 256;

/// What each asker has left.
#[derive(Debug, Default)]
pub(super) struct Rates(BTreeMap<String, Bucket>);

#[derive(Debug)]
struct Bucket {
    left: f64,
    /// As time since boot.
    at: Duration,
}

impl Bucket {
    fn filled(&self, now: Duration) -> f64 {
        (self.left + now.saturating_sub(self.at).as_secs_f64() * STEADY).min(BURST)
    }
}

impl Rates {
    /// Takes one request of `asker` at `now`; false when it has none left.
    pub(super) fn take(&mut self, asker: &str, now: Duration) -> bool {
        if self.0.len() >= ASKERS && !self.0.contains_key(asker) {
            self.0.retain(|_, bucket| bucket.filled(now) < BURST);
            if self.0.len() >= ASKERS {
                // More askers than a box can have tasks: the oldest make room.
                self.0.clear();
            }
        }
        let full = || Bucket { left: BURST, at: now };
        let bucket = self.0.entry(asker.to_owned()).or_insert_with(full);
        let left = bucket.filled(now);
        let allowed = left >= 1.0;
        *bucket = Bucket { left: if allowed { left - 1.0 } else { left }, at: now };
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_followed_by_a_steady_rate() {
        let mut rates = Rates::default();
        let at = Duration::from_secs(5);
        assert_eq!((0..100).filter(|_| rates.take("a", at)).count(), 60);
        assert!(rates.take("b", at), "others are not held back");
        let later = at + Duration::from_millis(500);
        assert_eq!((0..100).filter(|_| rates.take("a", later)).count(), 20);
        let much_later = at + Duration::from_hours(1);
        assert_eq!((0..100).filter(|_| rates.take("a", much_later)).count(), 60);
    }

    #[test]
    fn askers_are_forgotten() {
        let mut rates = Rates::default();
        for asker in 0..10_000 {
            assert!(rates.take(&asker.to_string(), Duration::ZERO));
        }
        assert!(rates.0.len() <= ASKERS);
    }
}
