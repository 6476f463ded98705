//! SIGINT, SIGTERM and SIGHUP of `coracle run`: the first stops the task, the second gives up waiting, the third ends the
//! process wherever it is.

use anyhow::Result;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// The signals as they come.
#[derive(Debug)]
pub(super) struct Signals {
    received: mpsc::Receiver<u8>,
}

impl Signals {
    /// From now on these signals no longer end the process by themselves.
    pub(super) fn listen() -> Result<Self> {
        let mut kinds = [
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ];
        let (sender, received) = mpsc::channel(2);
        // A task of its own, so that also a process that is stuck in a write sees the third.
        tokio::spawn(async move {
            let mut seen = 0;
            while let Some(number) = any(&mut kinds).await {
                seen += 1;
                if seen > 2 {
                    std::process::exit(128 + i32::from(number));
                }
                // Nobody waits for them any more: the task is over.
                let _ = sender.try_send(number);
            }
        });
        Ok(Self { received })
    }

    /// The next signal's number. Waits for ever when there is none.
    pub(super) async fn next(&mut self) -> u8 {
        match self.received.recv().await {
            Some(number) => number,
            None => std::future::pending().await,
        }
    }
}

/// The number of the next signal.
async fn any([interrupt, terminate, hangup]: &mut [Signal; 3]) -> Option<u8> {
    tokio::select! {
        came = interrupt.recv() => came.map(|()| 2),
        came = terminate.recv() => came.map(|()| 15),
        came = hangup.recv() => came.map(|()| 1),
    }
}
