//! A limit for what all downloads take together: a token bucket that may be overdrawn.
//!
//! A piece of a body is here when it is paid for, so it is always let through; who overdrew waits until the debt is paid
//! before it reads on, and the window of TCP passes that on to the sender.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What may be taken at once after a pause.
const BURST: Duration = Duration::from_millis(100);

/// Bytes per second for everybody.
#[derive(Debug)]
pub(super) struct Bandwidth {
    /// Zero for no limit.
    rate: u64,
    /// When the last debt is paid.
    paid: Mutex<Option<Instant>>,
}

impl Bandwidth {
    /// Nobody has taken anything; zero is no limit.
    pub(super) fn new(rate: u64) -> Self {
        Self { rate, paid: Mutex::default() }
    }

    /// Takes what has come, and waits as long as it costs.
    pub(super) async fn take(&self, bytes: usize) {
        if self.rate == 0 {
            return;
        }
        let now = Instant::now();
        let paid = {
            let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
            let after = self.paid_after(paid.unwrap_or(now), now, bytes);
            *paid = Some(after);
            after
        };
        if let Some(debt) = paid.checked_duration_since(now).filter(|debt| !debt.is_zero()) {
            sleep(debt).await;
        }
    }

    /// When `bytes` more are paid for.
    fn paid_after(&self, paid: Instant, now: Instant, bytes: usize) -> Instant {
        // What was not used is lost but for the burst.
        let from = paid.max(now.checked_sub(BURST).unwrap_or(now));
        let nanoseconds = bytes as u128 * 1_000_000_000 / u128::from(self.rate.max(1));
        let cost = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        from.checked_add(cost).unwrap_or(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_together_take_no_more_than_the_rate() {
        let bandwidth = Bandwidth::new(1_000_000);
        let start = Instant::now();
        let paid = (0..200).fold(start, |paid, _| bandwidth.paid_after(paid, start, 50_000));
        assert_eq!(paid - start, Duration::from_secs(10));
        // A pause is no credit but for the burst.
        let later = paid + Duration::from_mins(1);
        let paid = bandwidth.paid_after(paid, later, 1_000_000);
        assert_eq!(paid - later, Duration::from_millis(900));
        Bandwidth::new(0).take(usize::MAX).await;
    }
}
