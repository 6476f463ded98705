//! One end of a tunnel, as a state machine: which frame may come, which may be sent. It does nothing by itself.
//!
//! ```text
//! hub     Open ──► (Accept ◄──) ──► Data, Window, Ping … ──► End ──► Close
//! device  Accept ──────────────► Data, Window, Ping … ──► End ──► Close
//! ```
//!
//! Frames are numbered. One that came before is passed over, as the carrier may double it; one that comes too early
//! proves that another was lost or overtaken, which ends the tunnel, since nobody sends it again. So what comes out is
//! always a beginning of what was put in.
//!
//! Each end may have [`WINDOW`] bytes under way that the other has not passed on; a frame counts [`OVERHEAD`] besides its
//! content. That bounds what a slow reader can make an end hold, in bytes and in frames.
//!
//! There is no clock: [`Machine::tick`] is called in equal steps.

use super::frame::{CHUNK, Frame};

/// What may be under way in one direction.
pub(super) const WINDOW: u32 = 128 << 10;
/// What each frame of data counts for besides its content.
pub(super) const OVERHEAD: u32 = 128;
/// After so many steps without a word the other end is taken for gone.
const SILENT_STEPS: u8 = 4;

/// Why a tunnel is over before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("a message got lost on the way")]
    Hole,
    #[error("the other end sent what does not belong here")]
    Unexpected,
    #[error("the other end sent more than it may")]
    Overrun,
    #[error("the other end sent what cannot be read")]
    Unreadable,
    #[error("the other end has not been heard of for a minute")]
    Silent,
}

/// What a frame means for whoever holds the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// Nothing to do; there may be room to send now.
    Nothing,
    /// The device has accepted.
    Accepted,
    /// Bytes to pass on; afterwards [`Machine::passed_on`] is to be told.
    Data(Vec<u8>),
    /// No more data comes.
    End,
    /// The other end is done.
    Closed(Option<String>),
}

/// One end.
#[derive(Debug)]
pub(super) struct Machine {
    /// The number of the next frame to be sent.
    sent: u64,
    /// The number of the next frame to come.
    received: u64,
    /// Hub only: the device's answer is still to come.
    waits: bool,
    /// What this end may still send.
    credit: u32,
    /// What the other end may still send.
    granted: u32,
    /// Passed on and not granted again.
    passed_on: u32,
    ended: bool,
    other_ended: bool,
    spoke: bool,
    silent: u8,
}

impl Machine {
    fn new(waits: bool, received: u64) -> Self {
        Self {
            sent: 0,
            received,
            waits,
            credit: WINDOW,
            granted: WINDOW,
            passed_on: 0,
            ended: false,
            other_ended: false,
            spoke: false,
            silent: 0,
        }
    }

    /// The hub's end, and its first frame.
    pub(super) fn open() -> (Self, Vec<u8>) {
        let mut machine = Self::new(true, 0);
        let open = machine.frame(&Frame::Open);
        (machine, open)
    }

    /// The device's end, and its first frame; none when what came is not the beginning of a tunnel.
    pub(super) fn accept(first: &[u8]) -> Option<(Self, Vec<u8>)> {
        if Frame::decode(first) != Ok((0, Frame::Open)) {
            return None;
        }
        let mut machine = Self::new(false, 1);
        let accept = machine.frame(&Frame::Accept);
        Some((machine, accept))
    }

    /// The first and last frame of a device that does not accept.
    pub(super) fn refusal(why: String) -> Vec<u8> {
        Frame::Close(Some(why)).encode(0)
    }

    fn frame(&mut self, frame: &Frame) -> Vec<u8> {
        let bytes = frame.encode(self.sent);
        self.sent += 1;
        self.spoke = true;
        bytes
    }

    /// Takes a frame of the other end.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Result<Event, Broken> {
        let (number, frame) = Frame::decode(bytes).map_err(|_| Broken::Unreadable)?;
        if number < self.received {
            return Ok(Event::Nothing);
        }
        if number > self.received {
            return Err(Broken::Hole);
        }
        self.received += 1;
        self.silent = 0;
        let accepted = matches!(frame, Frame::Accept | Frame::Close(_));
        if self.waits && !accepted {
            return Err(Broken::Unexpected);
        }
        match frame {
            Frame::Accept if std::mem::take(&mut self.waits) => Ok(Event::Accepted),
            Frame::Data(data) if !self.other_ended => {
                let left = self.granted.checked_sub(charge(data.len()));
                self.granted = left.ok_or(Broken::Overrun)?;
                Ok(Event::Data(data))
            }
            Frame::Window(more) => {
                let credit = self.credit.checked_add(more).filter(|credit| *credit <= WINDOW);
                self.credit = credit.ok_or(Broken::Unexpected)?;
                Ok(Event::Nothing)
            }
            Frame::End if !self.other_ended => {
                self.other_ended = true;
                Ok(Event::End)
            }
            Frame::Close(reason) => Ok(Event::Closed(reason)),
            Frame::Ping => Ok(Event::Nothing),
            Frame::Open | Frame::Accept | Frame::Data(_) | Frame::End => Err(Broken::Unexpected),
        }
    }

    /// How many bytes the next frame of data may have.
    pub(super) fn room(&self) -> usize {
        if self.waits || self.ended {
            return 0;
        }
        usize::try_from(self.credit.saturating_sub(OVERHEAD)).unwrap_or(CHUNK).min(CHUNK)
    }

    /// A frame of data; at most [`Machine::room`] bytes.
    pub(super) fn data(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.credit = self.credit.saturating_sub(charge(bytes.len()));
        self.frame(&Frame::Data(bytes.to_vec()))
    }

    /// Tells that all bytes of a frame of `length` have been passed on; a frame to be sent, if it is time for one.
    pub(super) fn passed_on(&mut self, length: usize) -> Option<Vec<u8>> {
        self.passed_on = self.passed_on.saturating_add(charge(length));
        if self.passed_on < WINDOW / 2 || self.other_ended {
            return None;
        }
        let more = std::mem::take(&mut self.passed_on);
        self.granted = self.granted.saturating_add(more);
        Some(self.frame(&Frame::Window(more)))
    }

    /// This end has no more data.
    pub(super) fn end(&mut self) -> Vec<u8> {
        self.ended = true;
        self.frame(&Frame::End)
    }

    /// Whether both ends have no more data.
    pub(super) fn is_over(&self) -> bool {
        self.ended && self.other_ended
    }

    /// The last frame of this end.
    pub(super) fn close(&mut self, reason: Option<String>) -> Vec<u8> {
        self.ended = true;
        self.frame(&Frame::Close(reason))
    }

    /// A step of time: a frame to be sent, if this end has been silent.
    pub(super) fn tick(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        if self.silent >= SILENT_STEPS {
            return Err(Broken::Silent);
        }
        self.silent += 1;
        let ping = (!self.spoke).then(|| self.frame(&Frame::Ping));
        self.spoke = false;
        Ok(ping)
    }
}

/// What a frame of data counts for.
fn charge(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX).saturating_add(OVERHEAD)
}

#[cfg(test)]
mod tests;
