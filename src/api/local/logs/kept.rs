//! What is kept of logs, merged by time.

use super::super::lines::{Gone, Sender};
use super::{Source, Wanted, failed, shown};
use crate::model::Timestamp;
use crate::runtime::logs::{Beginning, LogDirectory, LogError, LogFollower, LogLine, LogReader};
use std::collections::VecDeque;

/// Where the logs of a source are.
pub(super) type Place = dyn Fn(&Source) -> LogDirectory;

/// A log that is read.
#[derive(Debug)]
enum Reading {
    Kept(LogReader),
    Live(Box<LogFollower>),
}

impl Reading {
    fn line(&mut self) -> Result<Option<LogLine>, LogError> {
        match self {
            Self::Kept(reader) => reader.read(),
            Self::Live(follower) => follower.ready(),
        }
    }
}

/// A log and its next line.
#[derive(Debug)]
struct Head {
    source: Source,
    reading: Reading,
    at: Timestamp,
    line: LogLine,
}

/// Merges logs by time.
///
/// A log is opened when the merge has come to the time its task was made, so that a family of many tasks, one after
/// the other, needs few files open.
struct Merge<'a> {
    logs: &'a Place,
    wanted: &'a Wanted,
    waiting: VecDeque<Source>,
    heads: Vec<Head>,
    /// Followers in which nothing is left for now.
    live: Vec<(Source, LogFollower)>,
}

/// Sends all that is kept.
pub(super) fn send(
    logs: &Place,
    wanted: &Wanted,
    sources: Vec<Source>,
    sender: &Sender,
) -> Result<(), Gone> {
    let waiting = sources.into_iter().collect();
    Merge { logs, wanted, waiting, heads: Vec::new(), live: Vec::new() }.send(sender).map(drop)
}

/// The same, from which following goes on: the followers of what is not over, opened before.
pub(super) fn send_before(
    logs: &Place,
    wanted: &Wanted,
    over: Vec<Source>,
    followers: Vec<(Source, LogFollower)>,
    sender: &Sender,
) -> Result<Vec<(Source, LogFollower)>, Gone> {
    let waiting = over.into_iter().collect();
    let mut merge = Merge { logs, wanted, waiting, heads: Vec::new(), live: Vec::new() };
    for (source, follower) in followers {
        if let Err(error) = merge.advance(source, Reading::Live(Box::new(follower)), None) {
            sender.send_blocking(&failed(&error))?;
        }
    }
    merge.send(sender)
}

impl Merge<'_> {
    fn send(mut self, sender: &Sender) -> Result<Vec<(Source, LogFollower)>, Gone> {
        loop {
            let first = (0..self.heads.len()).min_by_key(|i| self.heads[*i].at);
            let next = self.waiting.front().map(|source| source.created_at);
            let due = match (first, next) {
                (None, None) => return Ok(self.live),
                (None, Some(_)) => true,
                (Some(first), next) => next.is_some_and(|at| at <= self.heads[first].at),
            };
            let result = if due {
                let Some(source) = self.waiting.pop_front() else { continue };
                self.open(source)
            } else {
                let Some(first) = first else { continue };
                let Head { source, reading, line, .. } = self.heads.remove(first);
                sender.send_blocking(&shown(&source, &line))?;
                // In its old place, so that lines of one moment stay in the order of the containers.
                self.advance(source, reading, Some(first))
            };
            if let Err(error) = result {
                sender.send_blocking(&failed(&error))?;
            }
        }
    }

    fn open(&mut self, source: Source) -> Result<(), LogError> {
        let Source { task, container, .. } = &source;
        let mut beginning = self.wanted.beginning;
        if let (Beginning::Tail(count), Some(_)) = (beginning, self.wanted.until) {
            // The last of those that are early enough: they are counted first.
            let mut all = (self.logs)(&source).open(task, container, Beginning::Start)?;
            let (mut total, mut early) = (0, 0);
            while let Some(line) = all.read()? {
                total += 1;
                if self.wanted.until.is_some_and(|until| line.at().unwrap_or_default() <= until) {
                    early = total;
                }
            }
            beginning = Beginning::Tail(total - early + count);
        }
        let reader = (self.logs)(&source).open(task, container, beginning)?;
        self.advance(source, Reading::Kept(reader), None)
    }

    /// Reads on to the next line that is wanted.
    fn advance(
        &mut self,
        source: Source,
        mut reading: Reading,
        place: Option<usize>,
    ) -> Result<(), LogError> {
        while let Some(line) = reading.line()? {
            let at = line.at().unwrap_or_default();
            if self.wanted.wants(at) {
                let place = place.unwrap_or(self.heads.len());
                self.heads.insert(place, Head { source, reading, at, line });
                return Ok(());
            }
        }
        if let Reading::Live(follower) = reading {
            self.live.push((source, *follower));
        }
        Ok(())
    }
}
