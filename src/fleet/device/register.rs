//! When the box reports: a register, of which the hub wants the newest only. Pure.
//!
//! After a change at once, though once a second at most; without one, once a minute or so: the pauses differ from box to
//! box and from time to time, so that boxes that began together do not go on together.

use crate::model::fleet::Report;
use std::time::Duration;

/// Between two reports.
const PACE: Duration = Duration::from_secs(1);
/// Between two looks that found nothing to report.
const GLANCE: Duration = Duration::from_millis(100);
/// Between two reports of the same, at least; and as much again at most.
const STEADY: Duration = Duration::from_secs(40);
const JITTER: Duration = Duration::from_secs(20);

/// What was reported in a session, and when.
#[derive(Debug, Default)]
pub(super) struct Register {
    /// The newest report, without its number.
    said: Option<Report>,
    said_at: Duration,
    looked_at: Option<Duration>,
    /// Until something is reported again though nothing changed.
    pause: Duration,
    changed: bool,
    seq: u64,
}

impl Register {
    /// There is a new session: everything is to be said again.
    pub(super) fn begin(&mut self) {
        *self = Self { changed: true, ..Self::default() };
    }

    /// There may be something new to report.
    pub(super) fn changed(&mut self) {
        self.changed = true;
    }

    /// The newest report was lost.
    pub(super) fn lost(&mut self) {
        self.said = None;
        self.changed = true;
    }

    /// When to call [`Self::next`].
    pub(super) fn due(&self) -> Duration {
        let glance = self.looked_at.map_or(Duration::ZERO, |at| at + GLANCE);
        match (&self.said, self.changed) {
            (None, _) if self.seq == 0 => Duration::ZERO,
            (_, true) => (self.said_at + PACE).max(glance),
            (_, false) => self.said_at + self.pause,
        }
    }

    /// What to publish now, if anything: `report` has the number that it is given. `random` is below one.
    pub(super) fn next(
        &mut self,
        now: Duration,
        random: f64,
        report: impl FnOnce(u64) -> Option<Report>,
    ) -> Option<Report> {
        if now < self.due() {
            return None;
        }
        let steady = now >= self.said_at + self.pause;
        let report = report(self.seq + 1)?;
        self.changed = false;
        self.looked_at = Some(now);
        let gist = Report { seq: 0, ..report.clone() };
        if !steady && self.said.as_ref() == Some(&gist) {
            return None;
        }
        self.said = Some(gist);
        self.said_at = now;
        self.pause = STEADY + JITTER.mul_f64(random);
        self.seq += 1;
        Some(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fleet::{EventRange, Progress, VERSION};
    use std::collections::{BTreeMap, BTreeSet};

    fn report(seq: u64, next: u64) -> Report {
        Report {
            v: VERSION,
            session: "s".to_owned(),
            seq,
            progress: Progress::none(),
            tasks: BTreeMap::new(),
            events: EventRange { log: "l".to_owned(), first: 0, next },
            missing: BTreeSet::new(),
            refused: BTreeMap::new(),
            hub_key: None,
        }
    }

    /// Goes on in steps of 50 ms, changing at each until `changes` ends, and answers when what was said.
    fn go(
        register: &mut Register,
        from: Duration,
        until: Duration,
        changes: Duration,
    ) -> Vec<(Duration, u64)> {
        let mut said = Vec::new();
        let mut now = from;
        let mut world = 0;
        while now < until {
            if now < changes {
                world += 1;
                register.changed();
            }
            if let Some(report) = register.next(now, 0.5, |seq| Some(report(seq, world))) {
                said.push((now, report.events.next));
            }
            now += Duration::from_millis(50);
        }
        said
    }

    #[test]
    fn a_burst_is_said_once_a_second_and_its_end_is_said() {
        let mut register = Register::default();
        register.begin();
        let said =
            go(&mut register, Duration::ZERO, Duration::from_secs(30), Duration::from_secs(10));
        assert_eq!(said[0], (Duration::ZERO, 1));
        assert!((10..=12).contains(&said.len()), "{said:?}");
        assert!(said.windows(2).all(|two| two[1].0.saturating_sub(two[0].0) >= PACE));
        assert_eq!(said.last().unwrap().1, 200);
    }

    #[test]
    fn the_same_is_said_once_a_minute() {
        let mut register = Register::default();
        register.begin();
        let hour = Duration::from_hours(1);
        let said = go(&mut register, Duration::ZERO, hour, Duration::ZERO);
        assert_eq!(said.len(), 72);
        // Looking and finding nothing new does not count as saying.
        register.changed();
        let later = hour.saturating_sub(Duration::from_secs(10));
        assert_eq!(register.next(later, 0.5, |seq| Some(report(seq, 0))), None);
        assert_eq!(register.due(), hour);
    }

    #[test]
    fn what_was_lost_is_said_again_and_numbers_grow() {
        let mut register = Register::default();
        register.begin();
        assert_eq!(register.due(), Duration::ZERO);
        let first = register.next(Duration::ZERO, 0.0, |seq| Some(report(seq, 0))).unwrap();
        register.lost();
        let later = register.due();
        let second = register.next(later, 0.0, |seq| Some(report(seq, 0))).unwrap();
        assert_eq!((first.seq, second.seq), (1, 2));
        register.begin();
        assert_eq!(register.next(later, 0.0, |seq| Some(report(seq, 0))).unwrap().seq, 1);
    }
}
