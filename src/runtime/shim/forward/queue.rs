//! What waits for a receiver, bounded in bytes.

use crate::runtime::logs::Message;
use std::collections::VecDeque;

/// What a message costs besides its bytes.
const OVERHEAD: u64 = 32;

/// Parts of messages, the oldest first.
#[derive(Debug)]
pub(super) struct Queue {
    parts: VecDeque<Box<[u8]>>,
    /// How much of the first part a stream has taken.
    taken: usize,
    bytes: u64,
    limit: u64,
    /// Messages that found no room since the last that did.
    pub(super) dropped: u64,
}

impl Queue {
    pub(super) fn new(limit: u64) -> Self {
        Self { parts: VecDeque::new(), taken: 0, bytes: 0, limit, dropped: 0 }
    }

    /// A message that alone is too large is taken all the same.
    pub(super) fn has_room(&self, message: &Message) -> bool {
        let size: u64 = message.iter().map(|part| cost(part)).sum();
        self.parts.is_empty() || self.bytes + size <= self.limit
    }

    pub(super) fn push(&mut self, message: Message) {
        for part in message {
            self.bytes += cost(&part);
            self.parts.push_back(part);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= self.limit
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.parts.len()
    }

    /// What is to be sent next.
    pub(super) fn front(&self) -> Option<&[u8]> {
        self.parts.front().and_then(|part| part.get(self.taken..))
    }

    /// A stream has taken so many bytes of the front.
    pub(super) fn advance(&mut self, count: usize) {
        self.taken += count;
        if self.parts.front().is_some_and(|part| self.taken >= part.len()) {
            self.pop();
        }
    }

    /// The front is done with.
    pub(super) fn pop(&mut self) {
        self.taken = 0;
        if let Some(part) = self.parts.pop_front() {
            self.bytes -= cost(&part);
        }
        if self.parts.is_empty() {
            // A long outage should not keep its memory.
            self.parts = VecDeque::new();
        }
    }

    /// A new connection begins with a whole message.
    pub(super) fn rewind(&mut self) {
        self.taken = 0;
    }
}

fn cost(part: &[u8]) -> u64 {
    part.len() as u64 + OVERHEAD
}
