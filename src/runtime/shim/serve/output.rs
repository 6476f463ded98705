//! A container's output on its way from two pipes to the log.

use crate::model::Timestamp;
use crate::runtime::logs::{LogWriter, Stream};
use crate::sys;
use std::os::fd::OwnedFd;

/// Read from a pipe at once.
const CHUNK: usize = 16 << 10;

/// The output of a container on its way to the log.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) streams: [(Stream, Option<OwnedFd>); 2],
    pub(super) log: Option<LogWriter>,
}

impl Output {
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
                if let Some(log) = &mut self.log {
                    log.push(*stream, &buffer[..count], sys::now());
                }
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

    /// Takes what the dead have left in the pipes.
    pub(super) fn drain(&mut self, at: Timestamp) {
        for stream in 0..self.streams.len() {
            while self.read_once(stream) {}
        }
        if let Some(log) = &mut self.log {
            log.finish(at);
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
