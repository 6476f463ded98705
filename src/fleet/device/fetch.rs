//! A document that is too large for a message: got from the hub's API, sealed, again and again until it is there.

use crate::auth::fleet::{DeviceIdentity, SealingKey};
use crate::fleet::join::HubUrl;
use crate::fleet::join::http;
use crate::fleet::message::{self, DOCUMENT_LIMIT, DOCUMENT_PATH, Pointer};
use crate::model::fleet::{ContentHash, Desired};
use crate::sys;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Waits between attempts: at random up to this, and up to twice as long after each.
const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_mins(5);

/// A document under way; given up when dropped.
#[derive(Debug)]
pub(super) struct Fetch {
    task: JoinHandle<()>,
    done: oneshot::Receiver<Desired>,
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fetch {
    /// Begins to fetch what `pointer` points to.
    pub(super) fn begin(identity: &DeviceIdentity, pointer: Pointer) -> Self {
        let (hub, key) = (identity.enrolment().hub.clone(), identity.sealing().clone());
        let (answer, done) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut wait = FIRST;
            loop {
                match once(&hub, &key, &pointer).await {
                    Ok(document) => return drop(answer.send(document)),
                    Err(error) => tracing::warn!(%error, "a large document cannot be fetched yet"),
                }
                tokio::time::sleep(wait.mul_f64(random())).await;
                wait = (wait * 2).min(LONGEST);
            }
        });
        Self { task, done }
    }

    /// The document, once it is there.
    pub(super) async fn done(&mut self) -> Desired {
        match (&mut self.done).await {
            Ok(document) => document,
            // Answered already, or the program ends.
            Err(_) => std::future::pending().await,
        }
    }
}

async fn once(hub: &str, key: &SealingKey, pointer: &Pointer) -> Result<Desired, String> {
    let size = usize::try_from(pointer.pointer.size).unwrap_or(usize::MAX);
    if size > DOCUMENT_LIMIT {
        return Err(format!("it has {size} bytes, more than the {DOCUMENT_LIMIT} that are taken"));
    }
    let url: HubUrl = hub.parse().map_err(|_| format!("{hub} is not the address of a hub"))?;
    let path = format!("{DOCUMENT_PATH}{}", pointer.pointer.sha256);
    let (status, sealed) = http::get(&url, &path, size).await.map_err(|error| error.to_string())?;
    if !status.is_success() {
        return Err(format!("the hub at {url} answers {status}"));
    }
    open(key, pointer, &sealed)
}

/// What was fetched, if it is what was pointed to.
fn open(key: &SealingKey, pointer: &Pointer, sealed: &[u8]) -> Result<Desired, String> {
    if ContentHash::of(sealed) != pointer.pointer.sha256 {
        return Err("what was fetched does not have its hash".to_owned());
    }
    let json = message::open_document(key, &pointer.device, pointer.position, sealed)
        .map_err(|error| error.to_string())?;
    let document: Desired =
        message::read(&json, DOCUMENT_LIMIT).map_err(|error| error.to_string())?;
    if document.device != pointer.device || document.position != pointer.position {
        return Err("what was fetched is another document".to_owned());
    }
    Ok(document)
}

/// At random from 0 to 1.
pub(super) fn random() -> f64 {
    let mut bytes = [0; 4];
    sys::random(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}
