//! Cuts a stream of bytes into packets, within bounds.
//!
//! A message that is larger than allowed is not an error: a broker that speaks 3.1.1 does not know the limit, and would
//! send the same message again at every connection. It is skipped as it comes, without being held in memory.

use super::decode::{self, Cursor, Packet};
use super::{Protocol, WireError, kind};

/// What a buffer shrinks to when nothing is in it.
const IDLE: usize = 4 * 1024;
/// What is read at once.
const CHUNK: usize = 4 * 1024;
/// The topic, its length, the identifier, and the length of the packet.
const LONGEST_HEAD: usize = 65_535 + 2 + 2 + 5;

/// Something whole.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::fleet::link) enum Frame {
    Packet(Packet),
    /// A message that was thrown away.
    Oversized {
        topic: String,
        id: Option<u16>,
        size: usize,
    },
}

/// What has come and is not read yet.
#[derive(Debug)]
pub(in crate::fleet::link) struct Frames {
    protocol: Protocol,
    max_packet: usize,
    buffer: Vec<u8>,
    /// How many bytes at the front have been read.
    used: usize,
    /// How many bytes are still to be thrown away.
    skip: usize,
    /// The least that must be there before it is worth looking.
    wanted: usize,
}

impl Frames {
    pub(in crate::fleet::link) fn new(protocol: Protocol, max_packet: usize) -> Self {
        Self { protocol, max_packet, buffer: Vec::new(), used: 0, skip: 0, wanted: 2 }
    }

    /// Where the next bytes go: to its end, with room for some.
    pub(in crate::fleet::link) fn buffer(&mut self) -> &mut Vec<u8> {
        if self.used > 0 {
            self.buffer.drain(..self.used);
            self.used = 0;
        }
        if self.buffer.is_empty() && self.buffer.capacity() > IDLE {
            self.buffer.shrink_to(IDLE);
        }
        let more = self.wanted.saturating_sub(self.buffer.len()).max(CHUNK);
        self.buffer.reserve(more);
        &mut self.buffer
    }

    /// True unless something else comes first: whoever speaks another protocol would be waited for in vain.
    pub(in crate::fleet::link) fn begin_with_connack(&self) -> bool {
        self.buffer.first().is_none_or(|first| first >> 4 == kind::CONNACK)
    }

    /// The next whole packet, if it is there.
    pub(in crate::fleet::link) fn next(&mut self) -> Result<Option<Frame>, WireError> {
        self.throw_away();
        let bytes = &self.buffer[self.used..];
        if self.skip > 0 || bytes.len() < self.wanted {
            return Ok(None);
        }
        let Some((length, digits)) = decode::length(&bytes[1..])? else {
            self.wanted = bytes.len() + 1;
            return Ok(None);
        };
        let (first, head) = (bytes[0], 1 + digits);
        if head + length > self.max_packet {
            return self.oversized(first, head, length);
        }
        let Some(whole) = bytes.get(..head + length) else {
            self.wanted = head + length;
            return Ok(None);
        };
        let packet = decode::packet(self.protocol, whole, head)?;
        self.used += head + length;
        self.wanted = 2;
        Ok(Some(Frame::Packet(packet)))
    }

    fn oversized(
        &mut self,
        first: u8,
        head: usize,
        length: usize,
    ) -> Result<Option<Frame>, WireError> {
        let bytes = &self.buffer[self.used..];
        if first >> 4 != kind::PUBLISH {
            return Err(WireError::Large(head + length));
        }
        let body = &bytes[head..bytes.len().min(head + length)];
        match decode::publish_head(first & 0x0f, &mut Cursor(body)) {
            Ok(found) => {
                self.skip = head + length;
                self.wanted = 2;
                self.throw_away();
                Ok(Some(Frame::Oversized { topic: found.topic, id: found.id, size: head + length }))
            }
            Err(WireError::Short) if body.len() < length.min(LONGEST_HEAD) => {
                self.wanted = bytes.len() + 1;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn throw_away(&mut self) {
        let now = self.skip.min(self.buffer.len() - self.used);
        self.used += now;
        self.skip -= now;
    }
}
