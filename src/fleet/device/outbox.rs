//! Which events go next: one batch is under way at a time, and only the hub's word ends its way. Pure.
//!
//! The events themselves are in the store, which deletes them when the hub has them. A batch that is not answered for goes
//! again: the hub may have been away, and knows what it has.

use std::ops::Range;
use std::time::Duration;

/// How long the hub has to answer; twice as long after each time it did not.
const PATIENCE: Duration = Duration::from_secs(20);
const LONGEST: Duration = Duration::from_mins(10);

#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// The first event that the hub does not have, as far as it has said.
    wanted: u64,
    /// What is under way: up to where, since when.
    flight: Option<(u64, Duration)>,
    /// How often a batch was not answered for, in a row.
    unanswered: u32,
    /// The hub said where it is.
    heard: bool,
}

/// A batch to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Next {
    /// Its first event.
    pub(super) from: u64,
    /// Events up to this one are gone, and the hub waits for one of them.
    pub(super) gone: Option<u64>,
}

impl Outbox {
    /// There is a new connection, or the hub is back: what was under way may be lost.
    pub(super) fn begin(&mut self) {
        self.flight = None;
        self.unanswered = 0;
    }

    /// When to call [`Self::next`], with these events in the store; never if there is nothing to send.
    pub(super) fn due(&self, stored: &Range<u64>) -> Option<Duration> {
        if self.wanted.max(stored.start) >= stored.end {
            return None;
        }
        Some(self.flight.map_or(Duration::ZERO, |(_, since)| since + self.patience()))
    }

    fn patience(&self) -> Duration {
        PATIENCE.saturating_mul(1 << self.unanswered.min(10)).min(LONGEST)
    }

    /// The batch that goes now, if one does.
    pub(super) fn next(&mut self, stored: &Range<u64>, now: Duration) -> Option<Next> {
        if self.due(stored)? > now {
            return None;
        }
        if self.flight.take().is_some() {
            self.unanswered += 1;
        }
        let gone = (self.heard && self.wanted < stored.start).then(|| stored.start - 1);
        Some(Next { from: self.wanted.max(stored.start), gone })
    }

    /// The events before `next` are under way.
    pub(super) fn sent(&mut self, next: u64, now: Duration) {
        self.flight = Some((next, now));
    }

    /// The hub has all before `up_to`. It may have less than it said once, if it was restored.
    pub(super) fn acknowledged(&mut self, up_to: u64) {
        self.wanted = up_to;
        self.heard = true;
        self.unanswered = 0;
        self.flight = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn one_batch_is_under_way_until_the_hub_has_it() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.next(&(0..0), SECOND), None);
        assert_eq!(outbox.next(&(0..5), SECOND), Some(Next { from: 0, gone: None }));
        outbox.sent(3, SECOND);
        assert_eq!(outbox.next(&(0..9), 2 * SECOND), None);
        outbox.acknowledged(3);
        assert_eq!(outbox.next(&(3..9), 2 * SECOND), Some(Next { from: 3, gone: None }));
        outbox.sent(9, 2 * SECOND);
        outbox.acknowledged(9);
        // The store keeps the last one, for its number.
        assert_eq!(outbox.due(&(8..9)), None);
    }

    #[test]
    fn what_is_not_answered_for_goes_again_ever_more_slowly() {
        let mut outbox = Outbox::default();
        let mut now = SECOND;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            assert!(outbox.next(&(0..5), now).is_some());
            outbox.sent(5, now);
            let due = outbox.due(&(0..5)).unwrap();
            pauses.push(due.saturating_sub(now));
            now = due;
        }
        assert_eq!(pauses[0], PATIENCE);
        assert_eq!(pauses[1], 2 * PATIENCE);
        assert_eq!(pauses[7], LONGEST);
        outbox.begin();
        assert_eq!(outbox.due(&(0..5)), Some(Duration::ZERO));
    }

    #[test]
    fn a_hub_that_lost_something_is_told_what_is_gone() {
        let mut outbox = Outbox::default();
        outbox.acknowledged(2);
        assert_eq!(outbox.next(&(7..9), SECOND), Some(Next { from: 7, gone: Some(6) }));
    }
}
