//! Looking a name up without waiting for it: a short-lived copy of the shim asks, and says what it heard.

use nix::unistd::ForkResult;
use rustix::pipe::{PipeFlags, pipe_with};
use std::fs::File;
use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// More addresses of one name are not tried.
const MOST: usize = 16;
/// The longest answer that is read.
const LONGEST: usize = 4 << 10;

/// A name being looked up.
#[derive(Debug)]
pub(super) struct Resolution {
    answer: OwnedFd,
    text: Vec<u8>,
}

impl Resolution {
    #[expect(unsafe_code, reason = "the resolver of the C library blocks, the shim must not")]
    pub(super) fn begin(host: &str, port: u16) -> io::Result<Self> {
        let (answer, out) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&answer, true)?;
        // SAFETY: the shim has one thread, so the copy may do whatever the original could.
        match unsafe { nix::unistd::fork() }? {
            ForkResult::Parent { .. } => Ok(Self { answer, text: Vec::new() }),
            ForkResult::Child => {
                // Whoever holds a copy of the shim's connections keeps them open after its death. This copy ends
                // without dropping what owned them.
                crate::runtime::shim::close_all_but(&mut [out.as_raw_fd()]);
                // A shim that is killed does not wait for an answer.
                let _ = rustix::process::set_parent_process_death_signal(Some(
                    rustix::process::Signal::KILL,
                ));
                let mut out = File::from(out);
                for address in (host, port).to_socket_addrs().into_iter().flatten().take(MOST) {
                    // A shim that is gone needs no answer.
                    let _ = writeln!(out, "{address}");
                }
                // SAFETY: ends this copy without running what the shim registered for its own end.
                unsafe { libc::_exit(0) }
            }
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.answer.as_fd()
    }

    /// What was found, once all is said.
    pub(super) fn read(&mut self) -> Option<Vec<SocketAddr>> {
        let mut buffer = [0; 1024];
        loop {
            match rustix::io::read(&self.answer, &mut buffer) {
                Ok(count) if count > 0 && self.text.len() < LONGEST => {
                    self.text.extend_from_slice(&buffer[..count]);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return None,
                Ok(_) | Err(_) => break,
            }
        }
        let text = String::from_utf8_lossy(&self.text);
        Some(text.lines().filter_map(|line| line.parse().ok()).collect())
    }
}
