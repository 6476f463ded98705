//! Registries: brings images into the store over the OCI distribution protocol (Docker's v2 API).
//!
//! ```text
//!  Pulls ── one task per image, many waiters ──► pull (manifest → config → layers) ──► session (endpoint, token, retries)
//!                                                                                          └─► transfer (HTTP, TLS)
//! ```
//!
//! Mirrors are asked before the registry. Every byte is verified against the digest that named it, whoever sent it.
//! Not here yet: resuming after a restart, HTTP proxies, credential helpers, a bandwidth limit.

mod address;
mod auth;
mod error;
mod pull;
mod session;
mod transfer;

pub use address::{Url, UrlError};
pub use auth::{AuthError, Login};
pub use error::PullError;
pub use transfer::TransferError;

use super::digest::Digest;
use super::layout::Layout;
use super::manifest::Platform;
use super::reference::Reference;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// How registries are reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Options {
    /// Registries (`host` or `host:port`) that are spoken to without TLS. Loopback addresses always are.
    pub insecure: BTreeSet<String>,
    /// Registry (as [`Reference::registry`] names it) to mirrors that are asked first: `https://host/prefix` or `host:port`.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Registry (as [`Reference::registry`] names it) to a PEM file with the certificate authorities that are trusted
    /// beside the system's when images of this registry are pulled, from it or a mirror.
    pub certificate_authorities: BTreeMap<String, PathBuf>,
    /// Files with credentials in the format of Docker's `config.json`; the first that knows a registry is used.
    pub docker_configs: Vec<PathBuf>,
}

/// How far the download of one layer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The layer's digest.
    pub layer: String,
    /// Bytes that are here.
    pub done: u64,
    /// Its size.
    pub total: u64,
}

type Listener = Box<dyn Fn(Progress) + Send + Sync>;
type Listeners = Arc<Mutex<Vec<Listener>>>;
type Outcome = Option<Result<Digest, Arc<PullError>>>;

/// An image, and the digest of the login that it is asked for with.
type Heading = (Reference, Option<Digest>);

/// The downloads that are under way.
pub struct Pulls {
    shared: Arc<Shared>,
    flights: Arc<Mutex<BTreeMap<Heading, Flight>>>,
}

/// What every pull needs.
#[derive(Debug)]
struct Shared {
    layout: Arc<Layout>,
    platform: Platform,
    options: Options,
}

/// One download and who waits for it.
struct Flight {
    listeners: Listeners,
    outcome: watch::Receiver<Outcome>,
}

impl fmt::Debug for Pulls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulls").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl Pulls {
    /// Nothing under way.
    pub fn new(layout: Arc<Layout>, platform: Platform, options: Options) -> Self {
        let shared = Arc::new(Shared { layout, platform, options });
        Self { shared, flights: Arc::default() }
    }

    /// Pulls the image, or waits for the pull of it that is under way. A caller that goes away stops nothing: others
    /// may wait, and a finished download is of use later.
    pub async fn pull(
        &self,
        reference: Reference,
        login: Option<Login>,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Digest, Arc<PullError>> {
        let mut outcome = self.join(reference, login, Box::new(progress));
        let landed = outcome.wait_for(Option::is_some).await;
        match landed.as_deref() {
            Ok(Some(result)) => result.clone(),
            // Its task was ended with the program, or panicked and said so.
            Ok(None) | Err(_) => Err(Arc::new(PullError::Abandoned)),
        }
    }

    fn join(
        &self,
        reference: Reference,
        login: Option<Login>,
        listener: Listener,
    ) -> watch::Receiver<Outcome> {
        let heading = (reference.clone(), login.as_ref().map(Login::digest));
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&heading) {
            flight.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(listener);
            return flight.outcome.clone();
        }
        let listeners: Listeners = Arc::new(Mutex::new(vec![listener]));
        let (landing, outcome) = watch::channel(None);
        let flight = Flight { listeners: listeners.clone(), outcome: outcome.clone() };
        flights.insert(heading.clone(), flight);
        let landed = Landed { flights: self.flights.clone(), heading };
        let shared = self.shared.clone();
        tokio::spawn(async move {
            let report = move |progress: Progress| {
                for listener in &*listeners.lock().unwrap_or_else(PoisonError::into_inner) {
                    listener(progress.clone());
                }
            };
            let result = pull::pull(&shared, &reference, login, Arc::new(report)).await;
            // Gone from the list before anyone hears of it: who asks from now on starts anew.
            drop(landed);
            landing.send_replace(Some(result.map_err(Arc::new)));
        });
        outcome
    }
}

/// Takes a pull off the list when it ends, however it ends.
struct Landed {
    flights: Arc<Mutex<BTreeMap<Heading, Flight>>>,
    heading: Heading,
}

impl Drop for Landed {
    fn drop(&mut self) {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.heading);
    }
}
