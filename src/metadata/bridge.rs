//! The listener on the bridge: where the network sends what containers ask of 169.254.170.2.
//!
//! It is bound to the bridge's own address on the box as soon as there is a bridge, and to nothing else; the network
//! lets nobody but its endpoints come to that address. A connection serves one request, since containers must not be
//! able to hold what others need.

use super::Metadata;
use super::caller::{Caller, Door};
use crate::engine::Gateway;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// Where ECS's agent listens; another port is taken when this one is not free.
const PORT: u16 = 51679;
/// Connections served at once.
const CONNECTIONS: usize = 128;
/// Of which one address may have so many.
const FROM_ONE: usize = 16;
/// How long the head of a request may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may take: longer than a program that makes credentials.
const PATIENCE: Duration = Duration::from_mins(1);
/// The largest head of a request.
const HEAD_LIMIT: usize = 16 * 1024;
/// How long to wait when no connection can be accepted.
const PAUSE: Duration = Duration::from_millis(200);

/// Who is served, and how many connections each has.
#[derive(Debug, Default)]
struct Guests(Mutex<BTreeMap<IpAddr, usize>>);

/// A place among the guests, given back when dropped.
struct Place {
    guests: Arc<Guests>,
    address: IpAddr,
}

impl Guests {
    fn place(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut guests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = guests.values().sum();
        let own = guests.get(&address).copied().unwrap_or_default();
        if own >= FROM_ONE || all >= CONNECTIONS {
            return None;
        }
        guests.insert(address, own + 1);
        Some(Place { guests: Arc::clone(self), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut guests = self.guests.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = guests.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                guests.remove(&self.address);
            }
        }
    }
}

/// Serves containers on every gateway that comes in, the last one; ends when no more can come.
pub async fn serve(metadata: Arc<Metadata>, mut gateways: mpsc::Receiver<Gateway>) {
    let guests = Arc::new(Guests::default());
    let mut listener = None;
    loop {
        tokio::select! {
            gateway = gateways.recv() => {
                let Some(Gateway { address, listening }) = gateway else { return };
                // The old one first: its port is wanted again.
                drop(listener.take());
                match bind(address).await {
                    Ok((bound, port)) => {
                        listener = Some(bound);
                        // Whoever asked may have given up.
                        let _ = listening.send(port);
                    }
                    Err(error) => {
                        tracing::error!(%address, %error, "containers will not reach their metadata: cannot listen on the bridge");
                    }
                }
            }
            accepted = accept(listener.as_ref()) => match accepted {
                Ok((stream, address)) => {
                    if let Some(place) = guests.place(address) {
                        tokio::spawn(connection(Arc::clone(&metadata), stream, place));
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection from a container");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
}

async fn bind(address: Ipv4Addr) -> io::Result<(TcpListener, u16)> {
    let listener = match TcpListener::bind((address, PORT)).await {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            TcpListener::bind((address, 0)).await?
        }
        bound => bound?,
    };
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, IpAddr)> {
    let Some(listener) = listener else { return std::future::pending().await };
    let (stream, from) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, from.ip()))
}

async fn connection(metadata: Arc<Metadata>, stream: TcpStream, place: Place) {
    let caller = Caller { door: Door::Bridge, address: place.address };
    let service = service_fn(move |request| {
        let metadata = Arc::clone(&metadata);
        async move { Ok::<_, Infallible>(metadata.answer(caller, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_LIMIT)
        .keep_alive(false)
        // Clients as simple as nc close their side once they have asked.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(PATIENCE, served).await {
        Ok(Err(error)) => tracing::debug!(%error, "a container's connection ended early"),
        Err(_) => tracing::debug!("a container's connection took too long"),
        Ok(Ok(())) => {}
    }
    drop(place);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_guest_takes_the_place_of_others() {
        let guests = Arc::new(Guests::default());
        let address = |n: u8| IpAddr::V4(Ipv4Addr::new(10, 0, 0, n));
        let mut of_one: Vec<_> = std::iter::from_fn(|| guests.place(address(1))).collect();
        assert_eq!(of_one.len(), FROM_ONE);
        let _other = guests.place(address(2)).unwrap();
        of_one.pop();
        of_one.push(guests.place(address(1)).unwrap());
        let all: Vec<_> = (3..).map_while(|n| guests.place(address(n))).collect();
        assert_eq!(of_one.len() + 1 + all.len(), CONNECTIONS);
        drop((of_one, all));
        assert_eq!(guests.0.lock().unwrap().len(), 1, "who has gone is forgotten");
    }
}
