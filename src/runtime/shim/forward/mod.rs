//! Delivery of output to the receivers of `syslog`, `journald`, `fluentd` and `gelf`.
//!
//! It runs in the shim's loop and never blocks it, so it goes on while the agent is away. What the receiver does not
//! take at once waits in memory ([`queue`]): up to `max-buffer-size` in non-blocking mode, then lines are dropped and
//! counted, and the receiver and the local log are told how many; in blocking mode the pipe to the container is left
//! unread. A receiver that cannot be reached keeps no container from starting: the local log says so, and it is tried
//! again with growing pauses ([`link`]).

mod link;
mod queue;
mod resolve;

use crate::model::Timestamp;
use crate::model::task_definition::logging::{Address, Driver, Mode};
use crate::runtime::logs::{Encoder, Message, Piece, Stream};
use crate::sys;
use link::{Link, Sent};
use queue::Queue;
use rustix::event::PollFlags;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// What waits in blocking mode before the container does.
const BLOCKING: u64 = 64 << 10;
/// How long a task that is over may wait for a receiver that is there.
pub(super) const LINGER: Duration = Duration::from_secs(5);

/// Delivers the output of one container.
#[derive(Debug)]
pub(super) struct Forwarder {
    /// For what the local log is told.
    name: String,
    encoder: Encoder,
    mode: Mode,
    queue: Queue,
    link: Link,
    /// What the local log is to be told.
    notes: Vec<String>,
    /// The receiver was away when last heard of.
    away: bool,
    /// No attempt after the next failure.
    last_attempt: bool,
}

impl Forwarder {
    pub(super) fn new(driver: &Driver, address: Address, mode: Mode, encoder: Encoder) -> Self {
        let name = format!("{} at {address}", driver.name());
        let retry_wait = match driver {
            Driver::Fluentd(fluentd) => fluentd.retry_wait,
            Driver::Gelf(gelf) => gelf.retry_wait,
            Driver::Local(_) | Driver::None | Driver::Syslog(_) | Driver::Journald(_) => 100,
        };
        let limit = match mode {
            Mode::Blocking => BLOCKING,
            Mode::NonBlocking(limit) => limit,
        };
        Self {
            name,
            encoder,
            mode,
            queue: Queue::new(limit),
            link: Link::new(address, Duration::from_millis(retry_wait)),
            notes: Vec::new(),
            away: false,
            last_attempt: false,
        }
    }

    /// Goes on with what an earlier run of the container could not deliver.
    pub(super) fn take_over(&mut self, earlier: Self) {
        self.queue = earlier.queue;
        self.link = earlier.link;
        self.away = earlier.away;
    }

    /// Connects before there is anything to send, so that a receiver that is not there is told early.
    pub(super) fn begin(&mut self) {
        let result = self.link.open();
        self.judge(result);
    }

    /// Takes a line or a part of one.
    pub(super) fn push(&mut self, piece: &Piece<'_>, at: Timestamp) {
        let message = self.encoder.encode(piece, at);
        if !self.has_room(&message) {
            self.send();
        }
        if self.has_room(&message) {
            self.mark_gap(at);
            self.queue.push(message);
        } else {
            self.queue.dropped += 1;
        }
    }

    fn has_room(&self, message: &Message) -> bool {
        match self.mode {
            // Whoever is to wait is made to by not being read; what has been read is kept.
            Mode::Blocking => true,
            Mode::NonBlocking(_) => self.queue.has_room(message),
        }
    }

    /// Puts a line in the place of those that were dropped.
    fn mark_gap(&mut self, at: Timestamp) {
        if self.queue.dropped == 0 {
            return;
        }
        let text = format!(
            "{} lines were dropped: they did not fit into max-buffer-size",
            std::mem::take(&mut self.queue.dropped)
        );
        let line = format!("coracle: {text}\n");
        let piece = Piece { stream: Stream::Stderr, text: line.as_bytes(), number: 0, last: true };
        self.queue.push(self.encoder.encode(&piece, at));
        self.notes.push(format!("{}: {text}", self.name));
    }

    /// Sends what waits, as far as the receiver takes it.
    pub(super) fn send(&mut self) {
        if self.queue.is_empty() {
            return;
        }
        if self.link.is_due() {
            let result = self.link.open();
            self.judge(result);
        }
        let sent = self.link.send(&mut self.queue);
        self.judge(sent);
        if self.queue.is_empty() && self.queue.dropped > 0 {
            self.mark_gap(sys::now());
        }
    }

    fn judge(&mut self, result: Result<Sent, link::LinkError>) {
        match result {
            Ok(Sent { proven }) => {
                if proven && std::mem::take(&mut self.away) {
                    self.notes.push(format!("{} is reached again", self.name));
                }
            }
            Err(link::LinkError::TooLarge) => {
                self.notes.push(format!("{}: a line is larger than it takes", self.name));
            }
            // Whether it is away shows when there is something to send.
            Err(link::LinkError::Closed) => {}
            Err(error) => {
                if !std::mem::replace(&mut self.away, true) {
                    let then = match self.mode {
                        Mode::Blocking => "the container waits when the pipe is full".to_owned(),
                        Mode::NonBlocking(limit) => format!("up to {limit} bytes wait in memory"),
                    };
                    self.notes.push(format!("{} cannot be reached: {error}; {then}", self.name));
                }
            }
        }
    }

    /// True when the container is to wait.
    pub(super) fn is_full(&self) -> bool {
        self.mode == Mode::Blocking && self.queue.is_full()
    }

    /// What to poll for.
    pub(super) fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        self.link.interest(!self.queue.is_empty())
    }

    /// Something happened to the descriptor of [`Forwarder::interest`].
    pub(super) fn handle(&mut self, flags: PollFlags) {
        let result = self.link.handle(flags);
        self.judge(result);
        self.send();
    }

    /// How long until [`Forwarder::send`] has something to do, if nothing else happens.
    pub(super) fn wait(&self) -> Option<Duration> {
        if self.queue.is_empty() || self.is_given_up() { None } else { self.link.wait() }
    }

    /// What the local log is to be told.
    pub(super) fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Nothing more comes and nobody waits long: one more attempt.
    pub(super) fn hurry(&mut self) {
        if !std::mem::replace(&mut self.last_attempt, true) {
            self.link.hurry();
            self.send();
        }
    }

    /// All is delivered.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The last attempt has failed.
    pub(super) fn is_given_up(&self) -> bool {
        self.last_attempt && self.link.has_failed()
    }

    /// What is said when the rest is thrown away.
    pub(super) fn epitaph(&self) -> Option<String> {
        let left = self.queue.len() as u64 + self.queue.dropped;
        (left > 0).then(|| format!("{}: {left} messages were not delivered", self.name))
    }
}
