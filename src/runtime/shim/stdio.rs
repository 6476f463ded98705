//! The standard streams of a process in a container.

use crate::model::TerminalSize;
use crate::runtime::protocol::ExecCommand;
use crate::runtime::terminal::Terminal;
use rustix::fs::fchown;
use rustix::process::Uid;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// What they are.
#[derive(Debug)]
pub(super) enum Stdio {
    /// `/dev/null`.
    Null,
    /// Pipes; without standard input that is `/dev/null`.
    Pipes { stdin: Option<OwnedFd>, stdout: OwnedFd, stderr: OwnedFd },
    /// A terminal of the container, whose master this socket takes.
    Terminal { socket: OwnedFd, size: TerminalSize },
}

impl Stdio {
    /// From what came with the request: the socket, or standard output, error and input.
    pub(super) fn of(command: &ExecCommand, passed: Vec<OwnedFd>) -> Option<Self> {
        let mut passed = passed.into_iter();
        let stdio = if let Some(size) = command.terminal {
            Self::Terminal { socket: passed.next()?, size }
        } else {
            let (stdout, stderr) = (passed.next()?, passed.next()?);
            let stdin = if command.stdin { Some(passed.next()?) } else { None };
            Self::Pipes { stdin, stdout, stderr }
        };
        passed.next().is_none().then_some(stdio)
    }

    /// The numbers of its descriptors.
    pub(super) fn descriptors(&self) -> Vec<libc::c_int> {
        match self {
            Self::Null => Vec::new(),
            Self::Pipes { stdin, stdout, stderr } => {
                stdin.iter().chain([stdout, stderr]).map(AsRawFd::as_raw_fd).collect()
            }
            Self::Terminal { socket, .. } => vec![socket.as_raw_fd()],
        }
    }

    /// Lets `uid` open pipes again, which is what opening `/dev/stdout` comes to.
    pub(super) fn give_to(&self, uid: u32) -> io::Result<()> {
        if let Self::Pipes { stdin, stdout, stderr } = self {
            for fd in stdin.iter().chain([stdout, stderr]) {
                fchown(fd, Some(Uid::from_raw(uid)), None)?;
            }
        }
        Ok(())
    }

    /// Makes them this process's, which is in the container and leads a session, for `uid` to use.
    pub(super) fn take(self, uid: u32) -> io::Result<()> {
        self.give_to(uid)?;
        match self {
            Self::Null => {}
            Self::Pipes { stdin, stdout, stderr } => {
                if let Some(stdin) = stdin {
                    rustix::stdio::dup2_stdin(stdin)?;
                }
                rustix::stdio::dup2_stdout(stdout)?;
                rustix::stdio::dup2_stderr(stderr)?;
            }
            Self::Terminal { socket, size } => {
                let terminal = Terminal::open()?;
                terminal.resize(size)?;
                terminal.take(socket, uid)?;
            }
        }
        Ok(())
    }
}
