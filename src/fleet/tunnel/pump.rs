//! One end of a tunnel at work: bytes of its stream into frames, and frames into bytes.

use super::frame::CHUNK;
use super::machine::{Broken, Event, Machine};
use super::stream::{Dropped, FarSide};
use super::way::Way;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Interval, MissedTickBehavior, interval_at};

/// Frames that have come and not been looked at: as many as a window of the smallest has, and a few without content.
pub(super) const WAITING: usize = 1200;

/// What comes to an end from outside.
#[derive(Debug)]
pub(super) enum Inbound {
    /// A frame of the other end.
    Frame(Vec<u8>),
    /// The way is gone: nothing more can be said.
    Lost(String),
}

/// How it ended.
enum Over {
    /// Both are done, or the other end is.
    Done,
    /// The other end says that something is wrong.
    Told(String),
    /// Something is wrong on this side, which the other end is to hear.
    Wrong(String),
    /// Nobody is left to tell.
    Lost(String),
}

/// One end.
pub(super) struct Pump {
    pub(super) machine: Machine,
    pub(super) way: Way,
    pub(super) inbound: mpsc::Receiver<Inbound>,
    /// A step of the machine's time.
    pub(super) step: Duration,
    /// Told once the device has accepted, or why it has not.
    pub(super) accepted: Option<oneshot::Sender<Result<(), String>>>,
}

/// What is on its way to the stream.
#[derive(Default)]
struct Pending {
    frames: VecDeque<Vec<u8>>,
    /// Written of the first.
    written: usize,
}

impl Pending {
    fn next(&self) -> Option<&[u8]> {
        self.frames.front().map(|frame| &frame[self.written..])
    }

    /// Some bytes were written; the length of the frame that is done with them.
    fn wrote(&mut self, count: usize) -> Option<usize> {
        self.written += count;
        let length = self.frames.front().map(Vec::len).filter(|length| self.written >= *length)?;
        self.written = 0;
        self.frames.pop_front();
        Some(length)
    }
}

impl Pump {
    /// Works until the tunnel is over; `first` is this end's first frame.
    pub(super) async fn run(mut self, first: Vec<u8>, far: FarSide) {
        let FarSide { io, why, mut dropped } = far;
        let (mut reader, mut writer) = tokio::io::split(io);
        let mut pending = Pending::default();
        let over = self.work(first, &mut reader, &mut writer, &mut pending, &mut dropped).await;
        let reason = match over {
            Over::Done => None,
            Over::Told(reason) | Over::Lost(reason) => Some(reason),
            Over::Wrong(reason) => {
                let close = self.machine.close(Some(reason.clone()));
                // Lost as well, then; the reason is the same.
                let _ = self.way.send(&close).await;
                Some(reason)
            }
        };
        if let Some(accepted) = self.accepted.take() {
            let reason = reason.clone().unwrap_or_else(|| "it closed the tunnel".to_owned());
            let _ = accepted.send(Err(reason));
        }
        if let Some(reason) = reason {
            let _ = why.set(reason);
        }
        // What has come was sent before whatever ended the tunnel.
        let flush = async {
            while let Some(bytes) = pending.next() {
                match writer.write(bytes).await {
                    Ok(count @ 1..) => {
                        let _ = pending.wrote(count);
                    }
                    Ok(0) | Err(_) => return,
                }
            }
            let _ = writer.shutdown().await;
        };
        tokio::select! {
            () = flush => {}
            () = dropped.wait() => {}
        }
    }

    async fn work(
        &mut self,
        first: Vec<u8>,
        reader: &mut ReadHalf<DuplexStream>,
        writer: &mut WriteHalf<DuplexStream>,
        pending: &mut Pending,
        dropped: &mut Dropped,
    ) -> Over {
        let closed = || Over::Lost("the link to the broker is closed".to_owned());
        if self.way.send(&first).await.is_err() {
            return closed();
        }
        let mut steps: Interval = interval_at(tokio::time::Instant::now() + self.step, self.step);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut buffer = vec![0; CHUNK];
        // The stream has no more to say; it was dropped.
        let (mut said_all, mut is_dropped) = (false, false);
        let mut shut = false;
        loop {
            if self.machine.is_over() && pending.frames.is_empty() {
                let close = self.machine.close(None);
                let _ = self.way.send(&close).await;
                return Over::Done;
            }
            let room = self.machine.room();
            let frame = tokio::select! {
                inbound = self.inbound.recv() => match inbound {
                    Some(Inbound::Frame(bytes)) => match self.receive(&bytes, pending) {
                        Ok(Next::On) => None,
                        Ok(Next::Ended) => { shut = true; None }
                        Ok(Next::Over(over)) => return over,
                        Err(broken) => return Over::Wrong(broken.to_string()),
                    },
                    Some(Inbound::Lost(why)) => return Over::Lost(why),
                    None => return Over::Lost("it was closed".to_owned()),
                },
                read = reader.read(&mut buffer[..room]), if room > 0 && !said_all => {
                    if let Ok(count @ 1..) = read {
                        Some(self.machine.data(&buffer[..count]))
                    } else {
                        said_all = true;
                        (!is_dropped).then(|| self.machine.end())
                    }
                }
                () = dropped.wait(), if !is_dropped => {
                    is_dropped = true;
                    None
                }
                wrote = write_next(writer, pending) => {
                    if let Ok(count @ 1..) = wrote {
                        pending.wrote(count).and_then(|length| self.machine.passed_on(length))
                    } else {
                        // Dropped, which is seen above.
                        *pending = Pending::default();
                        None
                    }
                }
                _ = steps.tick() => match self.machine.tick() {
                    Ok(ping) => ping,
                    Err(broken) => return Over::Wrong(broken.to_string()),
                },
            };
            if let Some(frame) = frame
                && self.way.send(&frame).await.is_err()
            {
                return closed();
            }
            if is_dropped && said_all {
                let close = self.machine.close(None);
                let _ = self.way.send(&close).await;
                return Over::Done;
            }
            if shut && pending.frames.is_empty() {
                shut = false;
                let _ = writer.shutdown().await;
            }
        }
    }

    fn receive(&mut self, bytes: &[u8], pending: &mut Pending) -> Result<Next, Broken> {
        Ok(match self.machine.receive(bytes)? {
            Event::Nothing => Next::On,
            Event::Accepted => {
                if let Some(accepted) = self.accepted.take() {
                    let _ = accepted.send(Ok(()));
                }
                Next::On
            }
            Event::Data(bytes) => {
                pending.frames.push_back(bytes);
                Next::On
            }
            Event::End => Next::Ended,
            Event::Closed(None) => Next::Over(Over::Done),
            Event::Closed(Some(reason)) => Next::Over(Over::Told(reason)),
        })
    }
}

/// What to do after a frame.
enum Next {
    On,
    Ended,
    Over(Over),
}

/// Writes some of what is pending; waits for ever when nothing is.
async fn write_next(
    writer: &mut WriteHalf<DuplexStream>,
    pending: &Pending,
) -> std::io::Result<usize> {
    match pending.next() {
        Some(bytes) => writer.write(bytes).await,
        None => std::future::pending().await,
    }
}
