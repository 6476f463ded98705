//! What a container's terminal showed last, and who watches it.
//!
//! Whoever begins to watch is shown the last of it first, so that no prompt is missed. A watcher that is slow holds the
//! container's output up, as a terminal does, but one that takes nothing for a while is dropped.

use crate::sys;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// As much is kept for who comes later.
const RECENT: usize = 16 << 10;
/// A watcher that takes nothing for so long is dropped.
const PATIENCE: Duration = Duration::from_secs(10);

/// The screen of one terminal.
#[derive(Debug, Default)]
pub(super) struct Screen {
    recent: VecDeque<u8>,
    watchers: Vec<Watcher>,
}

#[derive(Debug)]
struct Watcher {
    connection: u64,
    /// Does not block.
    pipe: OwnedFd,
    pending: Vec<u8>,
    /// When it is dropped, while something waits for it; by the time since boot.
    deadline: Option<Duration>,
}

impl Screen {
    pub(super) fn show(&mut self, bytes: &[u8]) {
        self.recent.extend(bytes);
        let over = self.recent.len().saturating_sub(RECENT);
        self.recent.drain(..over);
        for watcher in &mut self.watchers {
            watcher.pending.extend_from_slice(bytes);
        }
        self.send();
    }

    pub(super) fn watch(&mut self, connection: u64, pipe: OwnedFd) {
        let pending = self.recent.iter().copied().collect();
        self.watchers.push(Watcher { connection, pipe, pending, deadline: None });
        self.send();
    }

    pub(super) fn unwatch(&mut self, connection: u64) {
        self.watchers.retain(|w| w.connection != connection);
    }

    /// True when nobody waits for what was shown already.
    pub(super) fn is_shown(&self) -> bool {
        self.watchers.iter().all(|w| w.pending.is_empty())
    }

    /// Those that must become writable.
    pub(super) fn interest(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.watchers.iter().filter(|w| !w.pending.is_empty()).map(|w| w.pipe.as_fd())
    }

    /// How long until a watcher is dropped.
    pub(super) fn wait(&self) -> Option<Duration> {
        let now = sys::uptime();
        self.watchers.iter().filter_map(|w| w.deadline).map(|d| d.saturating_sub(now)).min()
    }

    /// Writes what the watchers take now.
    pub(super) fn send(&mut self) {
        let now = sys::uptime();
        self.watchers.retain_mut(|watcher| watcher.send(now));
    }
}

impl Watcher {
    /// False when it is gone, or as good as.
    fn send(&mut self, now: Duration) -> bool {
        while !self.pending.is_empty() {
            match rustix::io::write(&self.pipe, &self.pending) {
                Ok(count) => {
                    self.pending.drain(..count);
                    self.deadline = None;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    return *self.deadline.get_or_insert(now + PATIENCE) > now;
                }
                Err(_) => return false,
            }
        }
        self.pending.shrink_to(1024);
        self.deadline = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};

    fn pipe() -> (OwnedFd, OwnedFd) {
        pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap()
    }

    fn read(fd: &OwnedFd) -> Vec<u8> {
        let mut buffer = vec![0; 1 << 20];
        let count = rustix::io::read(fd, &mut buffer).unwrap_or(0);
        buffer.truncate(count);
        buffer
    }

    #[test]
    fn who_comes_later_sees_the_last_of_it() {
        let mut screen = Screen::default();
        screen.show(&vec![b'x'; RECENT]);
        screen.show(b"prompt");
        let (reader, writer) = pipe();
        screen.watch(1, writer);
        let seen = read(&reader);
        assert_eq!(seen.len(), RECENT);
        assert!(seen.ends_with(b"xprompt"));
        screen.show(b"more");
        assert_eq!(read(&reader), b"more");
        screen.unwatch(1);
        screen.show(b"unseen");
        assert_eq!(read(&reader), b"");
    }

    #[test]
    fn a_full_watcher_is_waited_for_and_then_dropped() {
        let mut screen = Screen::default();
        let (reader, writer) = pipe();
        screen.watch(1, writer);
        screen.show(&vec![0; 1 << 20]);
        assert!(!screen.is_shown());
        assert_eq!(screen.interest().count(), 1);
        assert!(screen.wait().is_some_and(|w| w <= PATIENCE));
        let mut count = 0;
        while !screen.is_shown() {
            count += read(&reader).len();
            screen.send();
        }
        count += read(&reader).len();
        assert_eq!(count, 1 << 20);
        screen.show(&vec![0; 1 << 20]);
        screen.watchers[0].deadline = Some(Duration::ZERO);
        screen.send();
        assert!(screen.is_shown() && screen.watchers.is_empty());
    }
}
