//! When to ask the broker whether it is still there, and when to give it up. Pure: the time is passed in.

use std::time::Duration;
use tokio::time::Instant;

/// The least and the most time a broker has to answer.
const LEAST_PATIENCE: Duration = Duration::from_secs(2);
const MOST_PATIENCE: Duration = Duration::from_secs(30);
/// How far before its time a question is asked.
const MOST_EARLY: Duration = Duration::from_secs(5);

/// The quiet of one connection.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    patience: Duration,
    sent: Instant,
    heard: Instant,
    asked: Option<Instant>,
}

impl Pace {
    /// `of_broker` is what the broker wants instead of `keep_alive`, in seconds; 0 is that it does not mind, but we do.
    pub(super) fn new(keep_alive: Duration, of_broker: Option<u16>, now: Instant) -> Self {
        let keep_alive = match of_broker {
            None | Some(0) => keep_alive,
            Some(seconds) => Duration::from_secs(seconds.into()),
        }
        .max(Duration::from_secs(1));
        Self {
            interval: keep_alive.saturating_sub((keep_alive / 10).min(MOST_EARLY)),
            patience: (keep_alive / 2).clamp(LEAST_PATIENCE, MOST_PATIENCE),
            sent: now,
            heard: now,
            asked: None,
        }
    }

    pub(super) fn sent(&mut self, now: Instant) {
        self.sent = now;
    }

    /// Anything that comes is an answer.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.asked = None;
    }

    /// Nothing is read for now, so that no answer can be missed.
    pub(super) fn deaf(&mut self, now: Instant) {
        self.heard(now);
    }

    pub(super) fn asked(&mut self, now: Instant) {
        self.asked.get_or_insert(now);
        self.sent = now;
    }

    /// True when a question is due: the broker must hear from us, or we have not heard from it.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.due()
    }

    fn due(&self) -> Instant {
        let since = if self.asked.is_some() { self.sent } else { self.sent.min(self.heard) };
        since + self.interval
    }

    /// When to look again.
    pub(super) fn next(&self) -> Instant {
        self.asked.map_or(self.due(), |asked| self.due().min(asked + self.patience))
    }

    /// How long nothing came, when that is too long.
    pub(super) fn is_silent(&self, now: Instant) -> Option<Duration> {
        let asked = self.asked.filter(|asked| now >= *asked + self.patience)?;
        Some(now - self.heard.min(asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_quiet_connection_asks_before_its_time_is_over() {
        let now = Instant::now();
        let mut pace = Pace::new(s(60), None, now);
        assert_eq!(pace.next(), now + s(55));
        assert!(!pace.is_due(now + s(54)) && pace.is_due(now + s(55)));
        pace.asked(now + s(55));
        assert_eq!(pace.next(), now + s(85));
        pace.heard(now + s(56));
        assert_eq!(pace.next(), now + s(110), "from what was sent last");
        assert_eq!(pace.is_silent(now + s(300)), None);
    }

    #[test]
    fn a_connection_that_only_sends_asks_as_well() {
        let now = Instant::now();
        let mut pace = Pace::new(s(60), None, now);
        pace.sent(now + s(50));
        assert!(pace.is_due(now + s(55)));
        pace.asked(now + s(55));
        assert_eq!(pace.is_silent(now + s(84)), None);
        assert_eq!(pace.is_silent(now + s(85)), Some(s(85)));
    }

    #[test]
    fn whoever_does_not_read_gives_up_nobody_and_goes_on_asking() {
        let now = Instant::now();
        let mut pace = Pace::new(s(60), None, now);
        for second in 1..=300 {
            pace.deaf(now + s(second));
            assert_eq!(pace.is_due(now + s(second)), second % 55 == 0);
            if pace.is_due(now + s(second)) {
                pace.asked(now + s(second));
            }
            assert_eq!(pace.is_silent(now + s(second)), None);
        }
    }

    #[test]
    fn asking_again_is_not_being_answered() {
        let now = Instant::now();
        let mut pace = Pace::new(s(2), None, now);
        pace.asked(now + s(2));
        assert!(pace.is_due(now + s(4)));
        pace.asked(now + s(4));
        assert_eq!(pace.is_silent(now + s(4)), Some(s(4)));
    }

    #[test]
    fn the_broker_may_want_another_pace() {
        let now = Instant::now();
        assert_eq!(Pace::new(s(60), Some(10), now).next(), now + s(9));
        assert_eq!(Pace::new(s(60), Some(0), now).next(), now + s(55));
    }
}
