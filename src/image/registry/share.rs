//! One download of a blob at a time, for whoever wants it, and readers that follow it.
//!
//! ```text
//!  join ─┬─ nobody downloads it ─► Lead: writes, says how far it is, says how it ended ─┐
//!        └─ somebody does ───────► Follow: hears that  ◄───────────────────────────────┘
//!                                   └─► Following: reads the file behind the writer
//! ```
//!
//! Who follows has already been shown, by a registry and with a login of its own, a manifest that names the blob: that is
//! the proof that it may have it. A lead that ends without a word was given up: one of those who followed takes over.

use super::error::PullError;
use crate::image::digest::Digest;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// How far a download is.
#[derive(Debug, Clone, Default)]
pub(super) struct Stand {
    /// Bytes that can be read.
    pub written: u64,
    /// Bytes of them that an earlier download left.
    pub resumed: u64,
    /// How often it began anew; what was read before is worthless then.
    pub turn: u32,
    /// The file, from when it is open.
    pub file: Option<Arc<File>>,
    /// How it ended.
    pub end: Option<End>,
}

/// How a download ended.
#[derive(Debug, Clone)]
pub(super) enum End {
    /// The blob is verified and in the store.
    Whole,
    /// It is not. Who asks the same registry need not try again at once.
    Failed {
        /// Who was asked.
        host: String,
        /// Why.
        error: Arc<PullError>,
    },
}

/// News of a download.
pub(super) type Watch = watch::Receiver<Stand>;

type Running = Arc<Mutex<BTreeMap<Digest, Watch>>>;

/// The downloads that are under way in this process.
#[derive(Debug, Default)]
pub(super) struct Downloads(Running);

/// What [`Downloads::join`] found.
#[derive(Debug)]
pub(super) enum Part {
    /// Somebody downloads it.
    Follow(Watch),
    /// Nobody does: the caller must.
    Lead(Lead, Watch),
}

impl Downloads {
    /// Joins the download of a blob, or begins it.
    pub(super) fn join(&self, digest: Digest) -> Part {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watch) = running.get(&digest) {
            return Part::Follow(watch.clone());
        }
        let (stand, watch) = watch::channel(Stand::default());
        running.insert(digest, watch.clone());
        Part::Lead(Lead { running: self.0.clone(), digest, stand }, watch)
    }

    /// True when somebody downloads it.
    pub(super) fn runs(&self, digest: &Digest) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(digest)
    }
}

/// The one who downloads.
#[derive(Debug)]
pub(super) struct Lead {
    running: Running,
    digest: Digest,
    stand: watch::Sender<Stand>,
}

impl Lead {
    /// Says how far it is.
    pub(super) fn says(&self, change: impl FnOnce(&mut Stand)) {
        self.stand.send_modify(change);
    }

    /// How far it is.
    pub(super) fn stand(&self) -> Stand {
        self.stand.borrow().clone()
    }

    /// Says how it ended. Who asks from now on finds the blob, or begins anew.
    pub(super) fn ends(self, end: End) {
        self.leave();
        self.stand.send_modify(|stand| stand.end = Some(end));
    }

    fn leave(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // Another one may have begun since.
        if running
            .get(&self.digest)
            .is_some_and(|watch| watch.same_channel(&self.stand.subscribe()))
        {
            running.remove(&self.digest);
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Reads a blob behind the one who writes it, waiting for what has not come. For threads that may block.
#[derive(Debug)]
pub(super) struct Following {
    stand: Watch,
    file: Arc<File>,
    turn: u32,
    at: u64,
    size: u64,
    runtime: Handle,
}

impl Following {
    /// From the first byte of what the download stands at. `None` when it has no file yet.
    pub(super) fn new(stand: Watch, size: u64) -> Option<(Self, u32)> {
        let (file, turn) = {
            let now = stand.borrow();
            (now.file.clone()?, now.turn)
        };
        Some((Self { stand, file, turn, at: 0, size, runtime: Handle::current() }, turn))
    }

    /// Bytes that can be read from here; waits until there are some.
    fn ahead(&mut self) -> io::Result<u64> {
        let (at, turn) = (self.at, self.turn);
        let news = self.stand.wait_for(|s| s.written > at || s.turn != turn || s.end.is_some());
        let Ok(stand) = self.runtime.block_on(news) else {
            return Err(io::Error::other("the download was given up"));
        };
        if stand.turn != turn {
            return Err(io::Error::other("the download began anew"));
        }
        if stand.written <= at {
            return Err(io::Error::other("the download ended before all was here"));
        }
        Ok(stand.written - at)
    }
}

impl Read for Following {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        let ahead = usize::try_from(self.ahead()?).unwrap_or(usize::MAX);
        let most = ahead.min(buffer.len());
        let count = self.file.read_at(&mut buffer[..most], self.at)?;
        if count == 0 {
            // Truncated under us: it begins anew.
            return Err(io::Error::other("the download began anew"));
        }
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
