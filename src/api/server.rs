//! Accepts connections, serves HTTP/1.1 on each, and ends them in order.
//!
//! On shutdown nothing new is accepted, requests in progress get a few seconds, answers without an end are told to
//! end, and what is left then is dropped.

use super::http::{self, Peer};
use super::{Api, Boxes, ByteStream, Documents, Gate, Listeners};
use crate::auth::Keys;
use crate::engine::Handle;
use crate::metadata::Metadata;
use crate::model::fleet::LinkStatus;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

/// How long a client may take to send the head of a request, and how long an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_mins(1);
/// As many connections are served at once; more wait to be accepted.
const CONNECTIONS: usize = 256;
/// As many sessions in containers are served at once.
const SESSIONS: usize = 128;
/// How long requests in progress may take once the server is to end.
const GRACE: Duration = Duration::from_secs(5);
/// How long to wait when the process has run out of file descriptors.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(200);

/// Why serving ended early.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A listening socket broke.
    #[error("cannot accept connections any more: {0}")]
    Accept(#[source] io::Error),
}

/// What a server is made of.
pub struct Parts {
    /// The engine that it asks.
    pub engine: Handle,
    /// Its sockets.
    pub listeners: Listeners,
    /// Who may sign.
    pub keys: Arc<Keys>,
    /// What containers are told; a hub has none.
    pub metadata: Option<Arc<Metadata>>,
    /// The way to the boxes of a fleet; only a hub has one.
    pub boxes: Option<Arc<dyn Boxes>>,
    /// Who comes into the fleet and goes.
    pub gate: Option<Arc<dyn Gate>>,
    /// Documents that boxes fetch; only a hub has some.
    pub documents: Option<Arc<dyn Documents>>,
    /// Of a box: its way to the hub that it may belong to.
    pub from_hub: Option<FromHub>,
}

/// A box's way to its hub.
#[derive(Debug)]
pub struct FromHub {
    /// Connections of the hub, as they come.
    pub streams: mpsc::Receiver<Box<dyn ByteStream>>,
    /// How the way is.
    pub status: watch::Receiver<LinkStatus>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("listeners", &self.listeners)
            .field("boxes", &self.boxes)
            .finish_non_exhaustive()
    }
}

/// Serves the API until `shutdown` resolves and the requests in progress are answered.
///
/// # Errors
/// [`ServeError`] when a listening socket breaks.
pub async fn serve(parts: Parts, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
    let Parts { engine, listeners, keys, metadata, boxes, gate, documents, from_hub } = parts;
    let (mut from_hub, link) = from_hub.map(|hub| (hub.streams, hub.status)).unzip();
    let (stop, stopping) = watch::channel(false);
    let address = listeners.address();
    let sessions = Arc::new(Semaphore::new(SESSIONS));
    let api = Arc::new(Api {
        engine,
        keys,
        metadata,
        boxes,
        link,
        gate,
        documents,
        address,
        stopping,
        sessions,
    });
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let Listeners { tcp, unix, shared } = listeners;

    let ended = loop {
        // One place for one more connection, on whichever socket it comes.
        let permit = tokio::select! {
            () = &mut shutdown => break Ok(()),
            permit = Arc::clone(&room).acquire_owned() => permit,
        };
        let Ok(permit) = permit else { break Ok(()) };
        tokio::select! {
            () = &mut shutdown => break Ok(()),
            accepted = accept_tcp(tcp.as_ref()) => match accepted {
                Ok((stream, from)) => {
                    // IPv4 over a socket that listens on both is IPv4.
                    let peer = Peer::Network(from.ip().to_canonical());
                    connections.spawn(connection(stream, peer, Arc::clone(&api), permit));
                }
                Err(e) => if let Err(e) = survive(e).await { break Err(e) },
            },
            accepted = accept_unix(unix.as_ref()) => match accepted {
                Ok(stream) => {
                    let peer = local_peer(&stream, shared);
                    connections.spawn(connection(stream, peer, Arc::clone(&api), permit));
                }
                Err(e) => if let Err(e) = survive(e).await { break Err(e) },
            },
            stream = next_from_hub(&mut from_hub) => {
                connections.spawn(connection(stream, Peer::Hub, Arc::clone(&api), permit));
            }
        }
        // Connections that have ended are forgotten.
        while connections.try_join_next().is_some() {}
    };
    drop((tcp, unix, from_hub));
    let _ = stop.send(true);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all_ended).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "connections did not end in time and are dropped"
        );
        connections.shutdown().await;
    }
    ended
}

async fn accept_tcp(
    listener: Option<&TcpListener>,
) -> io::Result<(tokio::net::TcpStream, std::net::SocketAddr)> {
    let Some(listener) = listener else { return std::future::pending().await };
    let (stream, from) = listener.accept().await?;
    // Answers are small: they must not wait for one another.
    stream.set_nodelay(true)?;
    Ok((stream, from))
}

async fn accept_unix(listener: Option<&UnixListener>) -> io::Result<UnixStream> {
    let Some(listener) = listener else { return std::future::pending().await };
    Ok(listener.accept().await?.0)
}

/// The next connection of the hub; when none can come any more, it is waited for without an end.
async fn next_from_hub(
    from_hub: &mut Option<mpsc::Receiver<Box<dyn ByteStream>>>,
) -> Box<dyn ByteStream> {
    if let Some(streams) = from_hub {
        if let Some(stream) = streams.recv().await {
            return stream;
        }
        *from_hub = None;
    }
    std::future::pending().await
}

/// Most failures concern one connection or a shortage that passes; only a broken listener is the end.
async fn survive(error: io::Error) -> Result<(), ServeError> {
    use rustix::io::Errno;
    match Errno::from_io_error(&error) {
        Some(Errno::BADF | Errno::INVAL | Errno::NOTSOCK) => Err(ServeError::Accept(error)),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
            tracing::warn!(%error, "cannot accept a connection; trying again");
            tokio::time::sleep(EXHAUSTED_PAUSE).await;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Root and the agent's own user may ask without a signature. With a group that shares the socket, so may whoever the
/// kernel let connect.
fn local_peer(stream: &UnixStream, shared: bool) -> Peer {
    let own = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if shared || peer.uid() == 0 || peer.uid() == own => Peer::Local,
        _ => Peer::Stranger,
    }
}

/// Serves one connection to its end.
async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    api: Arc<Api>,
    _permit: OwnedSemaphorePermit,
) {
    let stopping = told_to_stop(api.stopping.clone());
    let service = service_fn(move |request| {
        let api = Arc::clone(&api);
        async move { Ok::<_, std::convert::Infallible>(http::answer(api, peer, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(http::HEAD_LIMIT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut served = pin!(served);
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = stopping => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        // The client went away or spoke something else; nobody is left to tell.
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Resolves once the server is to end.
pub(super) async fn told_to_stop(mut stopping: watch::Receiver<bool>) {
    // An error means that the server is gone, which is the same.
    let _ = stopping.wait_for(|stop| *stop).await;
}
