//! The sockets of the name server, and how much of anything there is at once.
//!
//! Only endpoints of the bridge are answered. A query over UDP is answered where it is received; one that is forwarded,
//! and every connection, has a task of its own and one of a bounded number of places.

use super::desk::{Carrier, Decision, decide, failure};
use super::{Directory, Upstream};
use crate::net::BridgeAddresses;
use crate::net::guests::{Guests, Place};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Where it listens; elsewhere if that is not free. The rules lead there.
const PORT: u16 = 51680;
/// The largest query: some hundred bytes are usual.
const LARGEST: usize = 4096;
/// Queries forwarded at once, and connections; and how many of either one endpoint may have.
const FORWARDED: (usize, usize) = (128, 32);
const CONNECTIONS: (usize, usize) = (64, 8);
/// How long a connection may be silent, and how long it may last.
const SILENCE: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_mins(1);
/// How long to wait when nothing can be received.
const PAUSE: Duration = Duration::from_millis(200);

/// Where a server listens, at the box's addresses on the bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerPorts {
    /// At the IPv4 address.
    pub ipv4: CarrierPorts,
    /// At the IPv6 address, if there is one.
    pub ipv6: Option<CarrierPorts>,
}

/// One port for each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CarrierPorts {
    /// Of UDP.
    pub udp: u16,
    /// Of TCP.
    pub tcp: u16,
}

/// A name server that listens. It ends when dropped.
#[derive(Debug)]
pub struct NameServer {
    ports: ServerPorts,
    _listeners: JoinSet<()>,
}

/// What all its tasks share.
#[derive(Debug)]
struct Office {
    directory: Arc<dyn Directory>,
    upstream: Arc<Upstream>,
    bridge: BridgeAddresses,
    forwarded: Arc<Guests>,
    connections: Arc<Guests>,
}

impl NameServer {
    /// Listens on `bridge`, answers from `directory` and asks `upstream` for the rest.
    ///
    /// # Errors
    /// When it cannot listen at the bridge's IPv4 address; without IPv6 it goes on.
    pub async fn listen(
        bridge: BridgeAddresses,
        directory: Arc<dyn Directory>,
        upstream: Arc<Upstream>,
    ) -> io::Result<Self> {
        let office = Arc::new(Office {
            directory,
            upstream,
            bridge,
            forwarded: Guests::new(FORWARDED.0, FORWARDED.1),
            connections: Guests::new(CONNECTIONS.0, CONNECTIONS.1),
        });
        let mut listeners = JoinSet::new();
        let ipv4 = office.listen_at(bridge.ipv4.into(), &mut listeners).await?;
        let ipv6 = match bridge.ipv6 {
            None => None,
            Some(address) => match office.listen_at(address.into(), &mut listeners).await {
                Ok(ports) => Some(ports),
                Err(error) => {
                    tracing::warn!(%address, %error, "names are not served over IPv6");
                    None
                }
            },
        };
        Ok(Self { ports: ServerPorts { ipv4, ipv6 }, _listeners: listeners })
    }

    /// Where it listens.
    #[must_use]
    pub fn ports(&self) -> ServerPorts {
        self.ports
    }
}

impl Office {
    async fn listen_at(
        self: &Arc<Self>,
        address: IpAddr,
        listeners: &mut JoinSet<()>,
    ) -> io::Result<CarrierPorts> {
        let udp = match UdpSocket::bind((address, PORT)).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                UdpSocket::bind((address, 0)).await?
            }
            bound => bound?,
        };
        let tcp = match TcpListener::bind((address, PORT)).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                TcpListener::bind((address, 0)).await?
            }
            bound => bound?,
        };
        let ports = CarrierPorts { udp: udp.local_addr()?.port(), tcp: tcp.local_addr()?.port() };
        listeners.spawn(Arc::clone(self).over_udp(Arc::new(udp)));
        listeners.spawn(Arc::clone(self).over_tcp(tcp));
        Ok(ports)
    }

    async fn over_udp(self: Arc<Self>, socket: Arc<UdpSocket>) {
        loop {
            let received = match socket.readable().await {
                Ok(()) => receive(&socket),
                Err(error) => Err(error),
            };
            match received {
                Ok((message, from)) => self.datagram(&socket, message, from),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    tracing::debug!(%error, "cannot receive a query");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Answers at once, or later.
    fn datagram(self: &Arc<Self>, socket: &Arc<UdpSocket>, message: Vec<u8>, from: SocketAddr) {
        if !self.bridge.has(from.ip()) {
            return;
        }
        let query = match decide(&message, Carrier::Udp, &*self.directory, &self.bridge) {
            Decision::Ignore => return,
            Decision::Answer(answer) => return send(socket, &answer, from),
            Decision::Forward(query) => query,
        };
        let Some(place) = self.forwarded.place(from.ip()) else {
            return send(socket, &failure(&query, Carrier::Udp), from);
        };
        let (office, socket) = (Arc::clone(self), Arc::clone(socket));
        tokio::spawn(async move {
            let asked = office.upstream.ask(&query, &message, Carrier::Udp, &office.bridge).await;
            let answer = asked.unwrap_or_else(|| failure(&query, Carrier::Udp));
            send(&socket, &answer, from);
            drop(place);
        });
    }

    async fn over_tcp(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, from)) => {
                    if self.bridge.has(from.ip())
                        && let Some(place) = self.connections.place(from.ip())
                    {
                        tokio::spawn(Arc::clone(&self).connection(stream, place));
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection with queries");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, mut stream: TcpStream, place: Place) {
        match timeout(LONGEST, self.converse(&mut stream, &place)).await {
            Ok(Err(error)) => tracing::debug!(%error, "a connection with queries ended"),
            Err(_) => tracing::debug!("a connection with queries took too long"),
            Ok(Ok(())) => {}
        }
        drop(place);
    }

    /// Answers one query after the other until one is not whole, or too large.
    async fn converse(&self, stream: &mut TcpStream, place: &Place) -> io::Result<()> {
        loop {
            let message = timeout(SILENCE, receive_whole(stream)).await??;
            let answer = match decide(&message, Carrier::Tcp, &*self.directory, &self.bridge) {
                Decision::Ignore => return Ok(()),
                Decision::Answer(answer) => answer,
                Decision::Forward(query) => match self.forwarded.place(place.address) {
                    Some(_forwarded) => self
                        .upstream
                        .ask(&query, &message, Carrier::Tcp, &self.bridge)
                        .await
                        .unwrap_or_else(|| failure(&query, Carrier::Tcp)),
                    None => failure(&query, Carrier::Tcp),
                },
            };
            let length = u16::try_from(answer.len()).map_err(|_| io::ErrorKind::InvalidData)?;
            stream.write_all(&[&length.to_be_bytes()[..], &answer].concat()).await?;
        }
    }
}

fn receive(socket: &UdpSocket) -> io::Result<(Vec<u8>, SocketAddr)> {
    let mut buffer = [0; LARGEST];
    let (length, from) = socket.try_recv_from(&mut buffer)?;
    Ok((buffer[..length].to_vec(), from))
}

/// What cannot be sent at once is lost, as datagrams are.
fn send(socket: &UdpSocket, answer: &[u8], to: SocketAddr) {
    if let Err(error) = socket.try_send_to(answer, to) {
        tracing::debug!(%to, %error, "an answer is lost");
    }
}

async fn receive_whole(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > LARGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

#[cfg(test)]
mod tests;
