//! The listener on the bridge: where the network sends what containers ask of 169.254.170.2.
//!
//! It is bound to the bridge's own address on the box as soon as there is a bridge, and to nothing else; the network
//! lets nobody but its endpoints come to that address. A connection serves one request, since containers must not be
//! able to hold what others need.

use super::Metadata;
use super::caller::{Caller, Door};
use crate::engine::Gateway;
use crate::net::{Guests, Place};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
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

/// Serves containers on every gateway that comes in, the last one; ends when no more can come.
pub async fn serve(metadata: Arc<Metadata>, mut gateways: mpsc::Receiver<Gateway>) {
    let guests = Guests::new(CONNECTIONS, FROM_ONE);
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
