//! A container's output on its way from two pipes, or a terminal, to the log on the box and to a receiver.

use super::screen::Screen;
use crate::model::Timestamp;
use crate::runtime::logs::{LogWriter, Pieces, Stream};
use crate::runtime::shim::forward::Forwarder;
use crate::sys;
use rustix::event::PollFlags;
use std::os::fd::OwnedFd;

/// Read from a pipe at once.
const CHUNK: usize = 16 << 10;

/// The output of a container on its way to the log.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) streams: [(Stream, Option<OwnedFd>); 2],
    pieces: Pieces,
    log: Option<LogWriter>,
    pub(super) forwarder: Option<Forwarder>,
    /// Of a terminal.
    pub(super) screen: Option<Screen>,
}

impl Output {
    pub(super) fn new(log: Option<LogWriter>, forwarder: Option<Forwarder>) -> Self {
        let streams = [(Stream::Stdout, None), (Stream::Stderr, None)];
        Self { streams, pieces: Pieces::default(), log, forwarder, screen: None }
    }

    /// Reads from these from now on.
    pub(super) fn open(&mut self, stdout: OwnedFd, stderr: OwnedFd) {
        self.streams = [(Stream::Stdout, Some(stdout)), (Stream::Stderr, Some(stderr))];
    }

    /// Reads from the master of a terminal from now on.
    pub(super) fn open_terminal(&mut self, master: Option<OwnedFd>) {
        self.streams = [(Stream::Stdout, master), (Stream::Stderr, None)];
        self.screen = Some(Screen::default());
    }

    /// False when the container is to wait for the receiver, or for who watches its terminal.
    pub(super) fn takes_input(&self) -> bool {
        self.screen.as_ref().is_none_or(Screen::is_shown)
            && !self.forwarder.as_ref().is_some_and(Forwarder::is_full)
    }

    /// Moves one chunk to the log; closes the stream at its end.
    pub(super) fn read_once(&mut self, at: usize) -> bool {
        let (stream, slot) = &mut self.streams[at];
        let Some(fd) = slot else { return false };
        let mut buffer = [0; CHUNK];
        match rustix::io::read(&*fd, &mut buffer) {
            Ok(0) => {
                *slot = None;
                false
            }
            Ok(count) => {
                let stream = *stream;
                self.take(stream, &buffer[..count], sys::now());
                true
            }
            Err(rustix::io::Errno::INTR) => true,
            Err(rustix::io::Errno::AGAIN) => false,
            Err(_) => {
                *slot = None;
                false
            }
        }
    }

    fn take(&mut self, stream: Stream, bytes: &[u8], now: Timestamp) {
        if let Some(screen) = &mut self.screen {
            screen.show(bytes);
        }
        let Self { pieces, log, forwarder, .. } = self;
        if log.is_none() && forwarder.is_none() {
            return;
        }
        pieces.push(stream, bytes, &mut |piece| {
            if let Some(log) = log {
                log.line(&piece, now);
            }
            if let Some(forwarder) = forwarder {
                forwarder.push(&piece, now);
            }
        });
        if let Some(log) = log {
            log.flush();
        }
        self.forward();
    }

    /// Takes what the dead have left in the pipes.
    pub(super) fn drain(&mut self, at: Timestamp) {
        for stream in 0..self.streams.len() {
            while self.read_once(stream) {}
            self.streams[stream].1 = None;
        }
        let Self { pieces, log, forwarder, .. } = self;
        pieces.finish(&mut |piece| {
            if let Some(log) = log {
                log.line(&piece, at);
            }
            if let Some(forwarder) = forwarder {
                forwarder.push(&piece, at);
            }
        });
        if let Some(log) = log {
            log.flush();
        }
        self.forward();
    }

    /// Sends what waits for the receiver, and writes into the log what is to be said about it.
    pub(super) fn forward(&mut self) {
        let Some(forwarder) = &mut self.forwarder else { return };
        forwarder.send();
        let notes = forwarder.notes();
        if let Some(log) = &mut self.log {
            for note in notes {
                log.note(&note, sys::now());
            }
        }
    }

    /// Something happened to the connection to the receiver.
    pub(super) fn receiver(&mut self, flags: PollFlags) {
        if let Some(forwarder) = &mut self.forwarder {
            forwarder.handle(flags);
        }
        self.forward();
    }

    /// True when nothing is left that a receiver may still take.
    pub(super) fn is_delivered(&self) -> bool {
        self.forwarder.as_ref().is_none_or(|f| f.is_empty() || f.is_given_up())
    }

    /// Says in the log what was not delivered.
    pub(super) fn give_up(mut self) {
        if let (Some(forwarder), Some(log)) = (&self.forwarder, &mut self.log)
            && let Some(text) = forwarder.epitaph()
        {
            log.note(&text, sys::now());
        }
    }
}

/// Appends what is there; true at the end of the stream.
pub(super) fn read_some(fd: &OwnedFd, text: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match rustix::io::read(fd, &mut buffer) {
            Ok(0) => return true,
            Ok(count) => text.extend_from_slice(&buffer[..count]),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return false,
            Err(_) => return true,
        }
    }
}
