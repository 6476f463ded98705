//! A session: frames of a client on one side, the streams of a command on the other.
//!
//! ```text
//! client ══frames══► reader ──input──► feeder ──► the command's standard input
//!        ◄═frames═══ writer ◄──┬── Taken ┘
//!                              ├── pumps ◄─────── its output
//!                              └── End   ◄─────── its end, told by the shim
//! ```
//!
//! Nothing is held without bound: output waits for the client, and the client for [`Frame::Taken`] before it sends more
//! input. The client gone, all of this is dropped, and the command with it.

use crate::model::session::{End, FRAME_LIMIT, Frame, FrameReader, INPUT_WINDOW};
use crate::runtime::{Session, SessionEnd, SessionSignals, SessionStream};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

type Stream = TokioIo<Upgraded>;

/// Frames on their way to the client.
const AHEAD: usize = 2;
/// Read from the command at once.
const CHUNK: usize = 32 << 10;
const _: () = assert!(CHUNK <= FRAME_LIMIT);

/// Serves a session to its end.
pub(super) async fn serve(stream: Upgraded, session: Session, stopping: impl Future<Output = ()>) {
    let Session { input, output, error_output, whole_output, mut waiter, signals } = session;
    let (reader, writer) = tokio::io::split(TokioIo::new(stream));
    let (frames, outgoing) = mpsc::channel(AHEAD);
    let (inputs, incoming) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let (end, ended) = watch::channel(false);

    let mut written = tokio::spawn(write(writer, outgoing));
    let mut helpers = JoinSet::new();
    // Anything else must be held by the feeder alone, so that its end is the end of input.
    let terminal = input.clone().filter(SessionStream::is_terminal);
    helpers.spawn(feed(input, incoming, Arc::clone(&waiting), frames.clone(), signals.clone()));
    let mut pumps = JoinSet::new();
    pumps.spawn(pump(output, Frame::Output, frames.clone(), ended.clone()));
    if let Some(error_output) = error_output {
        pumps.spawn(pump(error_output, Frame::ErrorOutput, frames.clone(), ended));
    }
    let client = read(reader, terminal, inputs, waiting, signals);
    let mut client = std::pin::pin!(client);
    let last = tokio::select! {
        // Gone, or it speaks something else.
        () = &mut client => return,
        _ = &mut written => return,
        () = stopping => End {
            exit_code: None,
            reason: Some("the agent is stopping; the command ends".to_owned()),
        },
        end = waiter.ended() => shown(end),
    };
    // What the command has written before its end is still there, and nothing after it is waited for.
    let _ = end.send(!whole_output);
    let finish = async {
        while pumps.join_next().await.is_some() {}
        helpers.shutdown().await;
        let _ = frames.send(Frame::End(last)).await;
        drop(frames);
        let _ = written.await;
    };
    tokio::select! {
        () = finish => {}
        () = client => {}
    }
}

fn shown(end: SessionEnd) -> End {
    match end {
        SessionEnd::Exited { exit_code, with_container } => End {
            exit_code: u8::try_from(exit_code & 0xff).ok(),
            reason: with_container.then(|| "the container has stopped".to_owned()),
        },
        SessionEnd::Lost => {
            End { exit_code: None, reason: Some("the task has been ended".to_owned()) }
        }
    }
}

/// Reads what the client sends, until it goes away or breaks the rules.
async fn read(
    mut reader: ReadHalf<Stream>,
    terminal: Option<SessionStream>,
    inputs: mpsc::UnboundedSender<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
    signals: SessionSignals,
) {
    let mut inputs = Some(inputs);
    let mut frames = FrameReader::default();
    let mut buffer = vec![0; CHUNK];
    loop {
        match reader.read(&mut buffer).await {
            Ok(count @ 1..) => frames.push(&buffer[..count]),
            Ok(0) | Err(_) => return,
        }
        loop {
            match frames.next_frame() {
                Ok(Some(Frame::Input(bytes))) => {
                    let before = waiting.fetch_add(bytes.len(), Ordering::Relaxed);
                    if before + bytes.len() > INPUT_WINDOW {
                        return;
                    }
                    if let Some(inputs) = &inputs {
                        // Whoever takes it outlives this, but for the end of all.
                        let _ = inputs.send(bytes);
                    }
                }
                Ok(Some(Frame::EndOfInput)) => inputs = None,
                Ok(Some(Frame::Resize(size))) => {
                    if let Some(terminal) = &terminal {
                        terminal.resize(size);
                    }
                }
                Ok(Some(Frame::Signal(number))) => signals.send(number).await,
                Ok(None) => break,
                Ok(Some(_)) | Err(_) => return,
            }
        }
    }
}

/// Passes input on. What the command does not want is taken all the same.
async fn feed(
    mut input: Option<SessionStream>,
    mut incoming: mpsc::UnboundedReceiver<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
    frames: mpsc::Sender<Frame>,
    signals: SessionSignals,
) {
    while let Some(bytes) = incoming.recv().await {
        if let Some(stream) = &input
            && stream.write_all(&bytes).await.is_err()
        {
            input = None;
        }
        waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
        let taken = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if frames.send(Frame::Taken(taken)).await.is_err() {
            return;
        }
    }
    drop(input);
    signals.close_input().await;
}

/// Sends output until there is no more, or until none is there after the command's end.
async fn pump(
    output: SessionStream,
    frame: fn(Vec<u8>) -> Frame,
    frames: mpsc::Sender<Frame>,
    mut ended: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = tokio::select! {
            biased;
            read = output.read(&mut buffer) => read,
            // An error means that the session is being dropped.
            _ = ended.wait_for(|ended| *ended) => output.read_now(&mut buffer),
        };
        match read {
            Ok(count @ 1..) => {
                if frames.send(frame(buffer[..count].to_vec())).await.is_err() {
                    return;
                }
            }
            Ok(0) | Err(_) => return,
        }
    }
}

/// Writes frames until all who send some are gone, or the client is.
async fn write(mut writer: WriteHalf<Stream>, mut outgoing: mpsc::Receiver<Frame>) {
    let mut bytes = Vec::new();
    while let Some(frame) = outgoing.recv().await {
        bytes.clear();
        frame.encode(&mut bytes);
        if writer.write_all(&bytes).await.is_err() {
            return;
        }
    }
    let _ = writer.shutdown().await;
}
