//! The agent's connection to one shim: requests out, answers and exits in.

use super::event::Event;
use super::network::FoundNetwork;
use super::protocol::{Failure, MAX_LINE, Message, Report, Request};
use crate::model::{Generation, TaskId};
use crate::plan::action::ContainerRun;
use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

/// Answers that are waited for; none once the connection has ended.
type Pending = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Message>>>>>;

/// A live connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) generation: Generation,
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    pending: Pending,
    next: AtomicU64,
    /// Set when the shim is asked to end, so that its end is no loss.
    pub(super) releasing: Arc<AtomicBool>,
}

/// What a shim has: containers and network namespaces.
pub(super) type Listed = (Vec<Report>, Vec<FoundNetwork>);

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("the connection to the task's shim has ended")]
    Closed,
    #[error("the task's shim cannot be talked to: {0}")]
    Io(#[from] io::Error),
    #[error("{}", .0.reason)]
    Failed(Failure),
    #[error("the task's shim gave an answer that does not fit the request")]
    Unexpected,
}

impl Link {
    /// Takes a connected stream and asks what runs; `lost` is told when the connection ends unasked.
    pub(super) async fn open(
        task: TaskId,
        stream: StdStream,
        events: mpsc::UnboundedSender<Event>,
        lost: impl FnOnce(Generation) + Send + 'static,
    ) -> Result<(Arc<Self>, Listed), LinkError> {
        stream.set_nonblocking(true)?;
        let (reader, mut writer) = UnixStream::from_std(stream)?.into_split();
        let mut reader = BufReader::new(reader);
        send(&mut writer, &Request::List { id: 0 }).await?;
        let (generation, listed) = loop {
            // What ends meanwhile is in the list as well.
            match receive(&mut reader).await?.ok_or(LinkError::Closed)? {
                Message::Containers { generation, containers, networks, .. } => {
                    break (generation, (containers, networks));
                }
                Message::Exited { .. } => {}
                _ => return Err(LinkError::Unexpected),
            }
        };
        let pending: Pending = Arc::new(Mutex::new(Some(HashMap::new())));
        let releasing = Arc::new(AtomicBool::new(false));
        let link = Arc::new(Self {
            generation,
            writer: tokio::sync::Mutex::new(writer),
            pending: Arc::clone(&pending),
            next: AtomicU64::new(1),
            releasing: Arc::clone(&releasing),
        });
        tokio::spawn(async move {
            listen(&task, generation, reader, &pending, &events).await;
            pending.lock().unwrap_or_else(PoisonError::into_inner).take();
            if !releasing.load(Ordering::Acquire) {
                lost(generation);
            }
        });
        Ok((link, listed))
    }

    pub(super) fn is_open(&self) -> bool {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Asks what runs.
    pub(super) async fn list(self: &Arc<Self>) -> Result<Listed, LinkError> {
        match self.ask(|id| Request::List { id }).await? {
            Message::Containers { containers, networks, .. } => Ok((containers, networks)),
            _ => Err(LinkError::Unexpected),
        }
    }

    /// Sends a request made with its number, and waits for the answer.
    pub(super) async fn ask(
        self: &Arc<Self>,
        request: impl FnOnce(u64) -> Request,
    ) -> Result<Message, LinkError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .ok_or(LinkError::Closed)?
            .insert(id, sender);
        // A request that is given up half written would garble the next: the writing goes on without the asker.
        let (link, request) = (Arc::clone(self), request(id));
        tokio::spawn(async move { send(&mut *link.writer.lock().await, &request).await })
            .await
            .map_err(io::Error::from)??;
        match answer.await {
            Ok(Message::Failed { failure, .. }) => Err(LinkError::Failed(failure)),
            Ok(message) => Ok(message),
            Err(_) => Err(LinkError::Closed),
        }
    }
}

async fn listen(
    task: &TaskId,
    generation: Generation,
    mut reader: BufReader<OwnedReadHalf>,
    pending: &Pending,
    events: &mpsc::UnboundedSender<Event>,
) {
    while let Ok(Some(message)) = receive(&mut reader).await {
        if let Some(id) = message.answers() {
            let waiting = pending
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .as_mut()
                .and_then(|p| p.remove(&id));
            if let Some(waiting) = waiting {
                // Whoever asked may have stopped waiting.
                let _ = waiting.send(message);
            }
        } else if let Message::Exited { container, exit } = message {
            let run = ContainerRun {
                task: task.clone(),
                generation,
                container,
                runtime_id: exit.runtime_id,
            };
            // Without a receiver the agent is on its way down.
            let _ = events.send(Event::Exited {
                run,
                exit_code: exit.exit_code,
                out_of_memory: exit.out_of_memory,
                at: exit.finished_at,
            });
        }
    }
}

async fn send(writer: &mut OwnedWriteHalf, request: &Request) -> Result<(), LinkError> {
    let mut line = serde_json::to_vec(request).map_err(io::Error::from)?;
    if line.len() >= MAX_LINE {
        return Err(io::Error::other("the request is too long").into());
    }
    line.push(b'\n');
    writer.write_all(&line).await?;
    Ok(())
}

async fn receive(reader: &mut BufReader<OwnedReadHalf>) -> Result<Option<Message>, LinkError> {
    let mut line = Vec::new();
    reader.take(MAX_LINE as u64).read_until(b'\n', &mut line).await?;
    if line.is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&line).map_err(io::Error::from)?))
}
