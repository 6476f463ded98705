//! The servers that are asked for what is not known here: those of the box, or those that are set.
//!
//! The box's own file is read again when it has changed. A server on the box's loopback is as good as any, since it is the
//! box that asks. Servers are asked one after the other; one that has just failed comes last, and is not waited for as
//! long, so that without a network nobody waits for what will not come.

use super::desk::Carrier;
use super::message::{Query, is_no_answer};
use crate::net::BridgeAddresses;
use crate::net::resolv::{FALLBACK, box_file, box_servers};
use crate::sys;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Where a name server listens.
const PORT: u16 = 53;
/// How many servers are asked.
const MOST: usize = 3;
/// How long a server has, and one that has failed not long ago. A client waits for five seconds.
const PATIENCE: Duration = Duration::from_millis(1500);
const LITTLE_PATIENCE: Duration = Duration::from_millis(500);
/// How long it is remembered that a server failed.
const REMEMBERED: Duration = Duration::from_secs(10);
/// The largest datagram that is taken.
const LARGEST: usize = 16 * 1024;

/// Whom to ask for what is not known here.
#[derive(Debug)]
pub struct Upstream {
    /// The file that names them, unless they are set.
    file: Option<PathBuf>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    read: Option<Stamp>,
    servers: Vec<Server>,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stamp {
    place: (u64, u64),
    size: u64,
    changed: (i64, i64),
}

#[derive(Clone, Copy, Debug)]
struct Server {
    address: SocketAddr,
    /// Since boot.
    failed_at: Option<Duration>,
}

impl Upstream {
    /// Those `servers`; without any, those of the box.
    #[must_use]
    pub fn new(servers: &[SocketAddr]) -> Self {
        if servers.is_empty() {
            return Self::of_file(box_file());
        }
        let known = Known { read: None, servers: fresh(servers.iter().copied()) };
        Self { file: None, known: Mutex::new(known) }
    }

    fn of_file(file: &Path) -> Self {
        Self { file: Some(file.to_owned()), known: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The servers to ask, in this order, with how long each has. Never the box's own address on the bridge: that is
    /// where the question came from.
    fn servers(&self, bridge: &BridgeAddresses) -> Vec<(SocketAddr, Duration)> {
        let mut known = self.lock();
        // A look at one small file of the box, which is in the kernel's memory.
        if let Some(file) = &self.file {
            let stamp = Stamp::of(file);
            if known.read != Some(stamp) {
                *known = Known { read: Some(stamp), servers: read(file) };
            }
        }
        let now = sys::uptime();
        let others = known.servers.iter().filter(|server| !bridge.is_of_box(server.address.ip()));
        let mut servers: Vec<_> = others
            .map(|server| {
                let failed = server.failed_at.is_some_and(|at| now.saturating_sub(at) < REMEMBERED);
                (server.address, if failed { LITTLE_PATIENCE } else { PATIENCE })
            })
            .collect();
        servers.sort_by_key(|(_, patience)| std::cmp::Reverse(*patience));
        servers.truncate(MOST);
        servers
    }

    fn note(&self, address: SocketAddr, failed_at: Option<Duration>) {
        let mut known = self.lock();
        if let Some(server) = known.servers.iter_mut().find(|server| server.address == address) {
            server.failed_at = failed_at;
        }
    }

    /// What somebody answers to `query`, which came as `message`; none when nobody does.
    pub(super) async fn ask(
        &self,
        query: &Query,
        message: &[u8],
        carrier: Carrier,
        bridge: &BridgeAddresses,
    ) -> Option<Vec<u8>> {
        let mut bad = None;
        for (server, patience) in self.servers(bridge) {
            match ask_one(server, patience, query, message, carrier).await {
                Ok(answer) => {
                    self.note(server, None);
                    if !is_no_answer(&answer) {
                        return Some(answer);
                    }
                    bad.get_or_insert(answer);
                }
                Err(error) => {
                    tracing::debug!(%server, %error, "a name server of the box does not answer");
                    self.note(server, Some(sys::uptime()));
                }
            }
        }
        bad
    }
}

impl Stamp {
    /// A file that is not there is like an empty one.
    fn of(file: &Path) -> Self {
        fs::metadata(file).map_or_else(
            |_| Self::default(),
            |found| Self {
                place: (found.dev(), found.ino()),
                size: found.size(),
                changed: (found.mtime(), found.mtime_nsec()),
            },
        )
    }
}

fn fresh(addresses: impl Iterator<Item = SocketAddr>) -> Vec<Server> {
    addresses.map(|address| Server { address, failed_at: None }).collect()
}

/// The servers of the box; public ones if it has none, as its containers would be told without a server of ours.
fn read(file: &Path) -> Vec<Server> {
    let servers = fresh(box_servers(file).iter().filter_map(|text| socket_address(text)));
    if servers.is_empty() {
        return fresh(FALLBACK.iter().filter_map(|text| socket_address(text)));
    }
    servers
}

/// `ADDRESS`, or `ADDRESS%INTERFACE`.
fn socket_address(text: &str) -> Option<SocketAddr> {
    let Some((address, interface)) = text.split_once('%') else {
        return Some(SocketAddr::new(text.parse().ok()?, PORT));
    };
    if interface.contains('/') {
        return None;
    }
    let index = fs::read_to_string(format!("/sys/class/net/{interface}/ifindex")).ok()?;
    let index = index.trim().parse().ok()?;
    Some(SocketAddr::V6(SocketAddrV6::new(address.parse().ok()?, PORT, 0, index)))
}

async fn ask_one(
    server: SocketAddr,
    patience: Duration,
    query: &Query,
    message: &[u8],
    carrier: Carrier,
) -> io::Result<Vec<u8>> {
    let mut id = [0; 2];
    sys::random(&mut id);
    let mut question = message.to_vec();
    for (to, from) in question.iter_mut().zip(id) {
        *to = from;
    }
    let over_tcp = async || timeout(patience, over_tcp(server, query, &question, id)).await?;
    let over_udp = async || timeout(patience, over_udp(server, query, &question, id)).await?;
    let answered = match carrier {
        Carrier::Udp => over_udp().await,
        Carrier::Tcp => match over_tcp().await {
            // There are servers that speak UDP alone.
            Err(_) => over_udp().await,
            answered => answered,
        },
    };
    answered.map(|mut answer| {
        query.adopt(&mut answer);
        answer
    })
}

/// From a port that the kernel chooses at random. What is no answer to this very question is passed over.
async fn over_udp(
    server: SocketAddr,
    query: &Query,
    question: &[u8],
    id: [u8; 2],
) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; LARGEST];
    loop {
        let length = socket.recv(&mut buffer).await?;
        buffer.truncate(length);
        if query.is_replied_by(&buffer, id) {
            return Ok(buffer);
        }
        buffer.resize(LARGEST, 0);
    }
}

async fn over_tcp(
    server: SocketAddr,
    query: &Query,
    question: &[u8],
    id: [u8; 2],
) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes()[..], question].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    if query.is_replied_by(&answer, id) {
        Ok(answer)
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

#[cfg(test)]
mod tests;
