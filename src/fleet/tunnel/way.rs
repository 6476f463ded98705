//! How the frames of one end go out, and how those of the other are opened.

use crate::auth::fleet::SealingKey;
use crate::fleet::command::{Address, Commander, LinkClosed, Outgoing, Purpose};
use crate::fleet::topic::{Part, Topic};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Which way a frame goes; sealed with it, so that none can be sent back to where it came from.
#[derive(Debug, Clone, Copy)]
enum Direction {
    Down,
    Up,
}

/// What frames of one tunnel are sealed with.
#[derive(Debug, Clone)]
pub(super) struct Seal {
    key: SealingKey,
    of: String,
}

impl Seal {
    pub(super) fn new(key: SealingKey, to: &Address, id: &Part) -> Self {
        Self { key, of: format!("{} {} {id}", to.device, to.session) }
    }

    fn context(&self, direction: Direction) -> Vec<u8> {
        format!("coracle tunnel 1 {direction:?} {}", self.of).into_bytes()
    }

    fn seal(&self, direction: Direction, frame: &[u8]) -> Vec<u8> {
        self.key.seal(&self.context(direction), frame)
    }

    /// The frame that the hub has sealed.
    pub(super) fn open_down(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        self.open(Direction::Down, sealed)
    }

    /// The frame that the device has sealed.
    pub(super) fn open_up(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        self.open(Direction::Up, sealed)
    }

    fn open(&self, direction: Direction, sealed: &[u8]) -> Option<Vec<u8>> {
        let opened = self.key.open(&self.context(direction), sealed).ok()?;
        Some(opened.to_vec())
    }
}

/// The way out.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) to: Address,
    pub(super) id: Part,
    pub(super) seal: Seal,
    pub(super) carrier: Carrier,
}

/// What carries it.
#[derive(Debug)]
pub(super) enum Carrier {
    /// Signed commands.
    Commands(Arc<Commander>),
    /// Answers.
    Answers(mpsc::Sender<Outgoing>),
}

impl Way {
    /// Sends a frame; waits for room on the link.
    pub(super) async fn send(&self, frame: &[u8]) -> Result<(), LinkClosed> {
        match &self.carrier {
            Carrier::Commands(commander) => {
                let sealed = self.seal.seal(Direction::Down, frame);
                commander.send(&self.to, Purpose::Tunnel, &self.id, &sealed).await
            }
            Carrier::Answers(outgoing) => {
                let outgoing_message = Outgoing {
                    topic: Topic::rpc(&self.to.cluster, &self.to.device, self.id.clone()),
                    payload: self.seal.seal(Direction::Up, frame),
                    session: self.to.session.clone(),
                };
                outgoing.send(outgoing_message).await.map_err(|_| LinkClosed)
            }
        }
    }
}
