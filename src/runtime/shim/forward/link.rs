//! The connection to a receiver.
//!
//! ```text
//!            name to look up           stream                   taken
//!  Down ────────────────► Resolving ───────────► Connecting ───────────► Up
//!   ▲  └── none ─────────────────────────────────────┘ └─ datagrams ─────┘│
//!   └──────────────── any failure: a pause that grows to 15 s ────────────┘
//! ```

use super::queue::Queue;
use super::resolve::Resolution;
use crate::model::task_definition::logging::Address;
use crate::sys;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with, sockopt,
};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// A stream that is not acknowledged for so long is taken for dead, in milliseconds.
const SILENCE: u32 = 30_000;
/// Sent at once before the shim looks after others again.
const BURST: usize = 256;
/// So many datagrams in a row must go out before their receiver is taken for present.
const PROOF: u32 = 8;

/// What a receiver's absence looks like.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("{0}")]
    Socket(#[from] io::Error),
    #[error("the name cannot be resolved")]
    Unresolved,
    #[error("it closed the connection")]
    Closed,
    #[error("the message is too large")]
    TooLarge,
}

impl From<Errno> for LinkError {
    fn from(errno: Errno) -> Self {
        Self::Socket(errno.into())
    }
}

/// How an attempt went.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sent {
    /// The receiver takes what it is sent.
    pub(super) proven: bool,
}

#[derive(Debug)]
enum State {
    /// Not connected; an attempt is not made before this time since boot.
    Down(Duration),
    Resolving(Resolution),
    Connecting(OwnedFd),
    Up(OwnedFd),
}

/// One place to connect to.
#[derive(Debug, Clone)]
enum Target {
    Network(SocketAddr),
    Path(String),
}

#[derive(Debug)]
pub(super) struct Link {
    address: Address,
    state: State,
    /// Not tried yet in this attempt.
    targets: Vec<Target>,
    first_pause: Duration,
    pause: Duration,
    /// Messages that went out since the connection was made.
    sent: u32,
    failed: bool,
}

impl Link {
    pub(super) fn new(address: Address, first_pause: Duration) -> Self {
        let first_pause = first_pause.clamp(Duration::from_millis(10), LONGEST_PAUSE);
        Self {
            address,
            state: State::Down(Duration::ZERO),
            targets: Vec::new(),
            first_pause,
            pause: first_pause,
            sent: 0,
            failed: false,
        }
    }

    /// Begins to connect.
    pub(super) fn open(&mut self) -> Result<Sent, LinkError> {
        self.targets = match &self.address {
            Address::Unix(path) => vec![Target::Path(path.clone())],
            // The first that there is comes last, where it is taken from.
            Address::UnixDatagram(paths) => {
                paths.iter().rev().map(|path| Target::Path(path.clone())).collect()
            }
            Address::Tcp(host, port) | Address::Udp(host, port) => {
                let known: Vec<IpAddr> = match host.parse() {
                    Ok(address) => vec![address],
                    Err(_) if host == "localhost" => {
                        vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]
                    }
                    Err(_) => Vec::new(),
                };
                if known.is_empty() {
                    return match Resolution::begin(host, *port) {
                        Ok(resolution) => {
                            self.state = State::Resolving(resolution);
                            Ok(Sent::default())
                        }
                        Err(error) => self.fail(error.into()),
                    };
                }
                let target = |ip| Target::Network(SocketAddr::new(ip, *port));
                known.into_iter().map(target).collect()
            }
        };
        self.connect(LinkError::Unresolved)
    }

    /// Tries the targets that are left; `last` is why the one before failed.
    fn connect(&mut self, mut last: LinkError) -> Result<Sent, LinkError> {
        while let Some(target) = self.targets.pop() {
            match self.connect_to(&target) {
                Ok(()) => return Ok(Sent::default()),
                Err(error) => last = error,
            }
        }
        self.fail(last)
    }

    fn connect_to(&mut self, target: &Target) -> Result<(), LinkError> {
        let datagram = self.address.is_datagram();
        let kind = if datagram { SocketType::DGRAM } else { SocketType::STREAM };
        let family = match target {
            Target::Path(_) => AddressFamily::UNIX,
            Target::Network(SocketAddr::V4(_)) => AddressFamily::INET,
            Target::Network(SocketAddr::V6(_)) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, kind, flags, None)?;
        let result = match target {
            Target::Path(path) => connect(&socket, &SocketAddrUnix::new(path.as_str())?),
            Target::Network(address) => connect(&socket, address),
        };
        self.sent = 0;
        match result {
            Ok(()) => self.state = State::Up(socket),
            Err(Errno::INPROGRESS) => {
                // A kernel that does not know it waits longer.
                let _ = sockopt::set_tcp_user_timeout(&socket, SILENCE);
                self.state = State::Connecting(socket);
            }
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }

    fn fail(&mut self, error: LinkError) -> Result<Sent, LinkError> {
        self.state = State::Down(sys::uptime() + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.failed = true;
        Err(error)
    }

    /// True when it is time for an attempt.
    pub(super) fn is_due(&self) -> bool {
        matches!(self.state, State::Down(at) if at <= sys::uptime())
    }

    /// How long until it is.
    pub(super) fn wait(&self) -> Option<Duration> {
        match self.state {
            State::Down(at) => Some(at.saturating_sub(sys::uptime())),
            State::Resolving(_) | State::Connecting(_) | State::Up(_) => None,
        }
    }

    /// The next attempt is made at once.
    pub(super) fn hurry(&mut self) {
        self.failed = false;
        if let State::Down(at) = &mut self.state {
            *at = Duration::ZERO;
        }
    }

    /// An attempt has failed since [`Link::hurry`].
    pub(super) const fn has_failed(&self) -> bool {
        self.failed
    }

    pub(super) fn interest(&self, waiting: bool) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match &self.state {
            State::Down(_) => None,
            State::Resolving(resolution) => Some((resolution.fd(), PollFlags::IN)),
            State::Connecting(socket) => Some((socket.as_fd(), PollFlags::OUT)),
            State::Up(socket) => {
                // Streams are watched so that their end is seen before something is lost in them.
                let end =
                    if self.address.is_datagram() { PollFlags::empty() } else { PollFlags::IN };
                let out = if waiting { PollFlags::OUT } else { PollFlags::empty() };
                let flags = end | out;
                (!flags.is_empty()).then(|| (socket.as_fd(), flags))
            }
        }
    }

    /// Goes on with what poll(2) has seen.
    pub(super) fn handle(&mut self, flags: PollFlags) -> Result<Sent, LinkError> {
        match &mut self.state {
            State::Down(_) => Ok(Sent::default()),
            State::Resolving(resolution) => {
                let Some(found) = resolution.read() else { return Ok(Sent::default()) };
                self.targets = found.into_iter().rev().map(Target::Network).collect();
                self.connect(LinkError::Unresolved)
            }
            State::Connecting(_) => {
                let State::Connecting(socket) =
                    std::mem::replace(&mut self.state, State::Down(Duration::ZERO))
                else {
                    return Ok(Sent::default());
                };
                match sockopt::socket_error(&socket) {
                    Ok(Ok(())) => {
                        self.state = State::Up(socket);
                        Ok(Sent::default())
                    }
                    Ok(Err(errno)) | Err(errno) => self.connect(errno.into()),
                }
            }
            State::Up(socket) => {
                let looked = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
                if self.address.is_datagram() || !flags.intersects(looked) {
                    return Ok(Sent::default());
                }
                let mut answer = [0; 512];
                match recv(socket, &mut answer, RecvFlags::DONTWAIT) {
                    Ok((0, _)) => self.fail(LinkError::Closed),
                    // Nobody asked for an answer.
                    Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(Sent::default()),
                    Err(errno) => self.fail(errno.into()),
                }
            }
        }
    }

    /// Sends from the front of the queue.
    pub(super) fn send(&mut self, queue: &mut Queue) -> Result<Sent, LinkError> {
        let datagram = self.address.is_datagram();
        let network = matches!(self.address, Address::Udp(..));
        for _ in 0..BURST {
            let State::Up(socket) = &self.state else { break };
            if self.sent == 0 {
                queue.rewind();
            }
            let Some(bytes) = queue.front() else { break };
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match send(socket, bytes, flags) {
                Ok(_) if datagram => {
                    // That nobody listens on this box is known at once, and then the message is not lost.
                    if network && let Ok(Err(errno)) = sockopt::socket_error(socket) {
                        return self.fail(errno.into());
                    }
                    queue.pop();
                }
                Ok(count) => queue.advance(count),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN | Errno::NOBUFS) => break,
                Err(Errno::MSGSIZE) => {
                    queue.pop();
                    return Err(LinkError::TooLarge);
                }
                Err(errno) => return self.fail(errno.into()),
            }
            self.sent = self.sent.saturating_add(1);
        }
        let proven = self.sent >= if network { PROOF } else { 1 };
        if proven && matches!(self.state, State::Up(_)) {
            self.pause = self.first_pause;
        }
        Ok(Sent { proven })
    }
}
