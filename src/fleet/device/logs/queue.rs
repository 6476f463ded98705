//! Which log goes next, and when: one piece is under way at a time, logs take turns, and only the hub's word moves a log
//! on. Pure.
//!
//! Paced by bytes a second, so that a slow line is left to what matters more. A log that is written to line by line goes
//! once in a while, with what has gathered.

use crate::model::{ContainerName, TaskId};
use crate::runtime::logs::Forwarded;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

/// How long the hub has to answer; twice as long after each time it did not.
const PATIENCE: Duration = Duration::from_secs(20);
const LONGEST: Duration = Duration::from_mins(10);
/// Between two pieces of one log that is read to its end.
const GATHER: Duration = Duration::from_secs(5);
/// After something that did not work.
const AGAIN: Duration = Duration::from_secs(30);

/// A container of a task.
pub(super) type Stream = (TaskId, ContainerName);

#[derive(Debug)]
struct Log {
    told: Forwarded,
    /// There may be something that is not told.
    open: bool,
    not_before: Duration,
    /// `told` is newer than what is on the disk.
    unkept: bool,
}

#[derive(Debug)]
struct Flight {
    stream: Stream,
    from: u64,
    to: u64,
    since: Duration,
}

/// All logs that are forwarded.
#[derive(Debug)]
pub(super) struct Queue {
    logs: BTreeMap<Stream, Log>,
    /// Bytes a second; zero is any number.
    rate: u64,
    flight: Option<Flight>,
    /// How often a piece was not answered for, in a row.
    unanswered: u32,
    /// When the line is free for the next piece.
    free_at: Duration,
    last: Option<Stream>,
}

impl Queue {
    pub(super) fn new(rate: u64) -> Self {
        Self {
            logs: BTreeMap::new(),
            rate,
            flight: None,
            unanswered: 0,
            free_at: Duration::ZERO,
            last: None,
        }
    }

    /// Adds a log, or takes it up again where it was.
    pub(super) fn add(&mut self, stream: Stream, told: Forwarded) {
        let log = Log { told, open: true, not_before: Duration::ZERO, unkept: false };
        self.logs.entry(stream).or_insert(log);
    }

    pub(super) fn has(&self, stream: &Stream) -> bool {
        self.logs.contains_key(stream)
    }

    pub(super) fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.logs.keys()
    }

    pub(super) fn remove(&mut self, stream: &Stream) {
        self.logs.remove(stream);
        self.flight.take_if(|flight| flight.stream == *stream);
    }

    /// Whether all of it that is known is told.
    pub(super) fn is_done(&self, stream: &Stream) -> bool {
        let under_way = self.flight.as_ref().is_some_and(|flight| flight.stream == *stream);
        !under_way && self.logs.get(stream).is_some_and(|log| !log.open)
    }

    /// Something was written to the logs of a task.
    pub(super) fn written(&mut self, task: &TaskId) {
        for (_, log) in self.logs.iter_mut().filter(|((of, _), _)| of == task) {
            log.open = true;
        }
    }

    /// Perhaps something was written to any of them.
    pub(super) fn all_written(&mut self) {
        self.logs.values_mut().for_each(|log| log.open = true);
    }

    /// There is a new connection, or the hub is back: what was under way may be lost.
    pub(super) fn begin(&mut self) {
        if let Some(flight) = self.flight.take() {
            self.reopen(&flight.stream);
        }
        self.unanswered = 0;
    }

    fn reopen(&mut self, stream: &Stream) {
        if let Some(log) = self.logs.get_mut(stream) {
            log.open = true;
            log.not_before = Duration::ZERO;
        }
    }

    fn patience(&self) -> Duration {
        PATIENCE.saturating_mul(1 << self.unanswered.min(10)).min(LONGEST)
    }

    /// When to call [`Self::next`]; none if there is nothing to send.
    pub(super) fn due(&self) -> Option<Duration> {
        if let Some(flight) = &self.flight {
            return Some(flight.since + self.patience());
        }
        let open = self.logs.values().filter(|log| log.open);
        open.map(|log| log.not_before.max(self.free_at)).min()
    }

    /// The log that is looked at now, and from where.
    pub(super) fn next(&mut self, now: Duration) -> Option<(Stream, Forwarded)> {
        if self.due()? > now {
            return None;
        }
        if let Some(flight) = self.flight.take() {
            self.unanswered += 1;
            self.reopen(&flight.stream);
        }
        let due = |(_, log): &(&Stream, &mut Log)| log.open && log.not_before <= now;
        // The one after the last that went.
        let after = self.last.clone();
        let found = match &after {
            Some(last) => {
                let mut rest = self.logs.range_mut((Excluded(last), Unbounded));
                rest.find(due).map(|(stream, _)| stream.clone())
            }
            None => None,
        };
        let found =
            found.or_else(|| self.logs.iter_mut().find(due).map(|(stream, _)| stream.clone()))?;
        let log = self.logs.get_mut(&found)?;
        // Whatever is written from here on opens it again.
        log.open = false;
        self.last = Some(found.clone());
        Some((found, log.told))
    }

    /// A piece is under way, of `size` bytes on the line; `more` is there.
    pub(super) fn sent(
        &mut self,
        stream: &Stream,
        (from, to): (u64, u64),
        more: bool,
        size: usize,
        now: Duration,
    ) {
        self.flight = Some(Flight { stream: stream.clone(), from, to, since: now });
        if let Some(log) = self.logs.get_mut(stream) {
            log.open |= more;
            log.not_before = if more { Duration::ZERO } else { now + GATHER };
        }
        if let Some(micros) = (size as u64 * 1_000_000).checked_div(self.rate) {
            self.free_at = now + Duration::from_micros(micros);
        }
    }

    /// What was to be sent was not: the disk or the line did not do it.
    pub(super) fn failed(&mut self, stream: &Stream, now: Duration) {
        if let Some(log) = self.logs.get_mut(stream) {
            log.open = true;
            log.not_before = now + AGAIN;
        }
    }

    /// The line has no room, or there is none.
    pub(super) fn crowded(&mut self, stream: &Stream, until: Duration) {
        self.reopen(stream);
        self.free_at = self.free_at.max(until);
    }

    /// The log on the disk ends before what was told of it: a power cut took what was not on the disk yet, or somebody
    /// removed it.
    pub(super) fn set_back(&mut self, stream: &Stream) {
        if let Some(log) = self.logs.get_mut(stream) {
            let epoch = log.told.epoch + 1;
            log.told = Forwarded { epoch, up_to: 0, removed: log.told.removed };
            (log.open, log.unkept) = (true, true);
        }
    }

    /// The hub has so much of a log. It may have less than it said once, if it was restored.
    pub(super) fn acknowledged(&mut self, stream: &Stream, epoch: u64, up_to: u64) {
        let Some(log) = self.logs.get_mut(stream) else { return };
        if epoch < log.told.epoch {
            return;
        }
        let flight = self.flight.as_ref().filter(|flight| flight.stream == *stream);
        if let Some(flight) = flight {
            if up_to == flight.from && flight.to > flight.from && epoch == log.told.epoch {
                // It did not take what was sent: it is asked again after a while.
                return;
            }
            log.open |= up_to < flight.to;
            if up_to < flight.from {
                log.not_before = Duration::ZERO;
            }
            self.flight = None;
        }
        self.unanswered = 0;
        log.unkept |= (log.told.epoch, log.told.up_to) != (epoch, up_to);
        (log.told.epoch, log.told.up_to) = (epoch, up_to);
    }

    /// How far logs are told of which the disk does not know it, by task.
    pub(super) fn unkept(&mut self) -> BTreeMap<TaskId, BTreeMap<ContainerName, Forwarded>> {
        let mut found: BTreeMap<TaskId, BTreeMap<_, _>> = BTreeMap::new();
        for ((task, container), log) in &mut self.logs {
            if std::mem::take(&mut log.unkept) {
                found.entry(task.clone()).or_default().insert(container.clone(), log.told);
            }
        }
        found
    }

    /// Whether there is any.
    pub(super) fn has_unkept(&self) -> bool {
        self.logs.values().any(|log| log.unkept)
    }

    /// How far a log is told.
    pub(super) fn told(&self, stream: &Stream) -> Option<Forwarded> {
        self.logs.get(stream).map(|log| log.told)
    }
}

#[cfg(test)]
mod tests;
