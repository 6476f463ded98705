//! One connection of an agent: lines in, lines out, never blocking.

use crate::runtime::protocol::{MAX_LINE, Message, Request};
use crate::runtime::socket;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// A peer that does not read is dropped when this much waits for it.
const MAX_WAITING: usize = 4 << 20;
/// A peer that sends more descriptors than any request needs is dropped.
const MAX_PASSED: usize = 3;

/// A connection and what is on its way.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) number: u64,
    stream: UnixStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// Descriptors that came and belong to no request yet.
    passed: Vec<OwnedFd>,
    pub(super) closed: bool,
}

impl Connection {
    pub(super) fn new(number: u64, stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            number,
            stream,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            passed: Vec::new(),
            closed: false,
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    pub(super) fn wants_to_write(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Reads what is there; whole lines become requests. A line that is none closes the connection.
    pub(super) fn read(&mut self) -> Vec<Request> {
        let mut requests = Vec::new();
        let mut buffer = [0; 8192];
        loop {
            match socket::receive_with(&self.stream, &mut buffer, &mut self.passed) {
                Ok(0) => {
                    self.closed = true;
                    break;
                }
                Ok(count) => self.incoming.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.closed = true;
                    break;
                }
            }
            self.take_lines(&mut requests);
            if self.closed {
                break;
            }
        }
        self.incoming.shrink_to(1024);
        requests
    }

    fn take_lines(&mut self, requests: &mut Vec<Request>) {
        while let Some(end) = self.incoming.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.incoming.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(request) => requests.push(request),
                Err(_) => self.closed = true,
            }
        }
        if self.incoming.len() > MAX_LINE || self.passed.len() > MAX_PASSED {
            self.closed = true;
        }
    }

    /// The descriptors that came so far.
    pub(super) fn take_passed(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.passed)
    }

    pub(super) fn send(&mut self, message: &Message) {
        if serde_json::to_writer(&mut self.outgoing, message).is_err() {
            self.closed = true;
            return;
        }
        self.outgoing.push(b'\n');
        self.write();
        if self.outgoing.len() > MAX_WAITING {
            self.closed = true;
        }
    }

    /// Writes as much as the peer takes now.
    pub(super) fn write(&mut self) {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(count) => {
                    self.outgoing.drain(..count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.closed = true;
                    return;
                }
            }
        }
        self.outgoing.shrink_to(1024);
    }

    /// Writes the rest before the end, waiting for the peer.
    pub(super) fn flush(mut self) {
        if self.stream.set_nonblocking(false).is_ok() {
            let _ = self.stream.set_write_timeout(Some(std::time::Duration::from_secs(1)));
            let _ = self.stream.write_all(&self.outgoing);
        }
    }
}
