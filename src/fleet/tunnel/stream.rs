//! The near end of a tunnel, for whoever reads and writes.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::oneshot;

/// Bytes between the reader and the pump.
const BUFFER: usize = 16 << 10;

/// A byte stream through a tunnel. If it ends before its time, reading tells why.
#[derive(Debug)]
pub struct TunnelStream {
    io: DuplexStream,
    why: Arc<OnceLock<String>>,
    /// Dropped with this, so that the pump knows a dropped stream from one that has only no more to say.
    _held: oneshot::Sender<()>,
}

/// What the pump has of a [`TunnelStream`].
#[derive(Debug)]
pub(super) struct FarSide {
    pub(super) io: DuplexStream,
    /// To be set before `io` is dropped, if there is something to tell.
    pub(super) why: Arc<OnceLock<String>>,
    pub(super) dropped: Dropped,
}

/// Whether the near side has been dropped; may be asked again.
#[derive(Debug)]
pub(super) struct Dropped(Option<oneshot::Receiver<()>>);

impl Dropped {
    /// Resolves once it has.
    pub(super) async fn wait(&mut self) {
        if let Some(held) = &mut self.0 {
            let _ = held.await;
            self.0 = None;
        }
    }
}

/// Both sides of a stream.
pub(super) fn pair() -> (TunnelStream, FarSide) {
    let (near, far) = tokio::io::duplex(BUFFER);
    let why = Arc::new(OnceLock::new());
    let (held, dropped) = oneshot::channel();
    let stream = TunnelStream { io: near, why: Arc::clone(&why), _held: held };
    (stream, FarSide { io: far, why, dropped: Dropped(Some(dropped)) })
}

impl TunnelStream {
    fn broken(&self) -> Option<io::Error> {
        let why = self.why.get()?;
        Some(io::Error::new(io::ErrorKind::ConnectionAborted, why.clone()))
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        if buffer.filled().len() == before
            && buffer.remaining() > 0
            && let Some(error) = self.broken()
        {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(context, buffer));
        Poll::Ready(written.map_err(|error| self.broken().unwrap_or(error)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
