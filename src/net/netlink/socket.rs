//! A netlink socket. It belongs to the network namespace of the thread that opens it.

use super::message::{Batch, HEADER, Message, messages};
use rustix::net::netlink;
use rustix::net::sockopt::{
    Timeout, set_socket_recv_buffer_size_force, set_socket_send_buffer_size_force,
    set_socket_timeout,
};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// The kernel fills at most this much at a time, and repeats a refused message in its answer.
const BUFFER: usize = 64 * 1024;
/// The kernel answers within the call that sends; this only keeps a fault from lasting for ever.
const PATIENCE: Duration = Duration::from_secs(10);
/// Kinds of messages that are the same everywhere.
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// A request that the kernel refused.
#[derive(Debug)]
pub(in crate::net) struct Refused {
    /// What the message was to do.
    pub(in crate::net) action: &'static str,
    /// Why not.
    pub(in crate::net) source: io::Error,
}

impl Refused {
    fn because(source: impl Into<io::Error>) -> Self {
        Self { action: "talk to the kernel", source: source.into() }
    }

    /// Whether the kernel said so.
    pub(in crate::net) fn is(&self, errno: rustix::io::Errno) -> bool {
        self.source.raw_os_error() == Some(errno.raw_os_error())
    }
}

/// A connection to the kernel.
#[derive(Debug)]
pub(in crate::net) struct Socket(OwnedFd);

impl Socket {
    /// For links, addresses and routes.
    pub(in crate::net) fn route() -> io::Result<Self> {
        Self::open(None)
    }

    /// For nftables.
    pub(in crate::net) fn netfilter() -> io::Result<Self> {
        Self::open(Some(netlink::NETFILTER))
    }

    fn open(protocol: Option<rustix::net::Protocol>) -> io::Result<Self> {
        let socket =
            socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        Ok(Self(socket))
    }

    /// Sends `batch` and waits for its answers; the first refusal is the error, whatever else was done.
    pub(in crate::net) fn request(&self, batch: &Batch) -> Result<(), Refused> {
        self.send(batch)?;
        let mut open = batch.answered.clone();
        let mut refused = None;
        let mut buffer = vec![0; BUFFER];
        while !open.is_empty() {
            for message in messages(self.receive(&mut buffer)?) {
                if message.kind != ERROR {
                    continue;
                }
                open.retain(|sequence| *sequence != message.sequence);
                if let Err(error) = outcome(message) {
                    let action = usize::try_from(message.sequence)
                        .ok()
                        .and_then(|place| batch.actions.get(place).copied())
                        .unwrap_or("answer");
                    refused.get_or_insert(Refused { action, source: error });
                }
            }
            // A batch of nftables that is refused at its frame is not answered further.
            if refused.is_some() && batch.answered.len() == 1 {
                break;
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// Sends `batch`, one question, and hands each object of the answer to `each`.
    pub(in crate::net) fn list(
        &self,
        batch: &Batch,
        mut each: impl FnMut(Message<'_>),
    ) -> Result<(), Refused> {
        self.send(batch)?;
        let mut buffer = vec![0; BUFFER];
        loop {
            for message in messages(self.receive(&mut buffer)?) {
                match message.kind {
                    DONE => return Ok(()),
                    ERROR => {
                        let action = batch.actions.first().copied().unwrap_or("list");
                        return outcome(message).map_err(|source| Refused { action, source });
                    }
                    _ => each(message),
                }
            }
        }
    }

    /// Sends `batch`, one question, and hands the object of the answer to `take`.
    pub(in crate::net) fn get<T>(
        &self,
        batch: &Batch,
        take: impl FnOnce(Message<'_>) -> Option<T>,
    ) -> Result<Option<T>, Refused> {
        self.send(batch)?;
        let mut buffer = vec![0; BUFFER];
        let answer = messages(self.receive(&mut buffer)?).next();
        match answer {
            Some(message) if message.kind == ERROR => {
                let action = batch.actions.first().copied().unwrap_or("get");
                outcome(message).map(|()| None).map_err(|source| Refused { action, source })
            }
            Some(message) => Ok(take(message)),
            None => Err(Refused::because(rustix::io::Errno::BADMSG)),
        }
    }

    fn send(&self, batch: &Batch) -> Result<(), Refused> {
        if batch.too_long {
            return Err(Refused::because(rustix::io::Errno::MSGSIZE));
        }
        // What is sent in one call must fit into the buffer, and so must its answers.
        if batch.bytes.len() > BUFFER {
            set_socket_send_buffer_size_force(&self.0, batch.bytes.len() * 2)
                .and_then(|()| set_socket_recv_buffer_size_force(&self.0, 1024 * 1024))
                .map_err(Refused::because)?;
        }
        let sent = rustix::io::retry_on_intr(|| send(&self.0, &batch.bytes, SendFlags::empty()))
            .map_err(Refused::because)?;
        if sent == batch.bytes.len() {
            Ok(())
        } else {
            Err(Refused::because(rustix::io::Errno::MSGSIZE))
        }
    }

    fn receive<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], Refused> {
        let (length, _) =
            rustix::io::retry_on_intr(|| recv(&self.0, &mut *buffer, RecvFlags::empty()))
                .map_err(Refused::because)?;
        buffer
            .get(..length)
            .filter(|bytes| bytes.len() >= HEADER)
            .ok_or_else(|| Refused::because(rustix::io::Errno::BADMSG))
    }
}

/// An answer's error number, negative; 0 is success.
fn outcome(message: Message<'_>) -> io::Result<()> {
    let code = message.body.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code.wrapping_neg())) }
}
