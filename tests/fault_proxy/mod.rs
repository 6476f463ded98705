//! A proxy for TCP that breaks what goes through it: cuts a connection after a number of bytes in either direction, holds
//! bytes back, swallows them with both ends left open, or refuses whoever comes.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses its part")]
#![allow(missing_debug_implementations, reason = "only tests hold these")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What happens to bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// The connection ends after so many bytes of the client.
    pub cut_up: Option<usize>,
    /// The connection ends after so many bytes of the server.
    pub cut_down: Option<usize>,
    /// Each piece waits for as long.
    pub delay: Duration,
}

/// A proxy; it ends when it is dropped.
pub struct FaultProxy {
    pub port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    /// For connections that are still to be made, the first first; those after the last have none.
    faults: Mutex<Vec<Fault>>,
    /// Bytes that went through the newest connection.
    up: AtomicUsize,
    down: AtomicUsize,
    connections: AtomicUsize,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct State {
    /// Nothing goes through, and nobody is told.
    frozen: bool,
    /// Whoever comes is sent away.
    refusing: bool,
    /// Connections up to this one are over.
    severed: usize,
}

impl FaultProxy {
    /// In front of a port of the loopback.
    pub async fn start(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            faults: Mutex::default(),
            up: AtomicUsize::new(0),
            down: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            state: watch::channel(State::default()).0,
        });
        let task = tokio::spawn(accept(listener, server, shared.clone()));
        Self { port, shared, task }
    }

    /// Its URL for clients without TLS.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// The same for clients with TLS.
    pub fn secure_url(&self) -> String {
        format!("mqtts://127.0.0.1:{}", self.port)
    }

    /// Breaks the next connection.
    pub fn break_next(&self, fault: Fault) {
        self.shared.faults.lock().unwrap().push(fault);
    }

    /// Ends all connections.
    pub fn sever(&self) {
        let now = self.connections();
        self.shared.state.send_modify(|state| state.severed = now);
    }

    /// Half-open: both ends are left in the belief that they are connected, and nothing goes through.
    pub fn freeze(&self, frozen: bool) {
        self.shared.state.send_modify(|state| state.frozen = frozen);
    }

    /// Sends away whoever comes.
    pub fn refuse(&self, refusing: bool) {
        self.shared.state.send_modify(|state| state.refusing = refusing);
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Bytes through the newest connection: of the client, of the server.
    pub fn bytes(&self) -> (usize, usize) {
        (self.shared.up.load(Ordering::SeqCst), self.shared.down.load(Ordering::SeqCst))
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.sever();
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, server: u16, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        if shared.state.borrow().refusing {
            continue;
        }
        let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
        shared.up.store(0, Ordering::SeqCst);
        shared.down.store(0, Ordering::SeqCst);
        let fault = {
            let mut faults = shared.faults.lock().unwrap();
            if faults.is_empty() { Fault::default() } else { faults.remove(0) }
        };
        tokio::spawn(connection(client, server, shared.clone(), number, fault));
    }
}

/// Both directions until one ends, which ends both.
async fn connection(
    client: TcpStream,
    server: u16,
    shared: Arc<Shared>,
    number: usize,
    fault: Fault,
) {
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, server));
    let Ok(server) = TcpStream::connect(server).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut state = shared.state.subscribe();
    tokio::select! {
        () = pump(from_client, to_server, &shared, &shared.up, fault.cut_up, fault.delay) => {}
        () = pump(from_server, to_client, &shared, &shared.down, fault.cut_down, fault.delay) => {}
        _ = state.wait_for(|state| state.severed >= number) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    count: &AtomicUsize,
    cut: Option<usize>,
    delay: Duration,
) {
    let mut state = shared.state.subscribe();
    let mut left = cut.unwrap_or(usize::MAX);
    let mut piece = [0; 4096];
    while left > 0 {
        let read = from.read(&mut piece).await.unwrap_or(0);
        tokio::time::sleep(delay).await;
        // Nor is anybody told of an end.
        if state.wait_for(|state| !state.frozen).await.is_err() || read == 0 {
            return;
        }
        let passed = read.min(left);
        if to.write_all(&piece[..passed]).await.is_err() {
            return;
        }
        left -= passed;
        count.fetch_add(passed, Ordering::SeqCst);
    }
}
