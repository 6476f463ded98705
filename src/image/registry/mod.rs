//! Registries: brings images into the store over the OCI distribution protocol (Docker's v2 API).
//!
//! ```text
//!  Pulls ── one task per image and login, many waiters ──► pull: manifest, configuration
//!             ├─► layers: downloads and unpacks, side by side
//!             └─► blob: resumes, retries; share: one download of a blob for all pulls
//!                  └─► session (endpoint, token, retries) ─► transfer (HTTP, TLS)
//! ```
//!
//! Mirrors are asked before the registry. Every byte is verified against the digest that named it, whoever sent it.
//! `access` knows who is asked and with what (`auth`, `tls`, `connect`).

mod access;
mod address;
mod arriving;
mod auth;
mod bandwidth;
mod blob;
mod connect;
mod error;
mod layers;
mod patience;
mod progress;
mod pull;
mod session;
mod share;
mod tls;
mod transfer;

pub use address::{Url, UrlError};
pub use arriving::ContentRange;
pub use auth::{
    AuthError, Candidate, Challenge, Credentials, DockerConfig, Login, LoginSummary, Logins,
};
pub use error::{LoginError, PullError, TransferError};
pub use progress::{Overall, Phase, Progress};

pub(super) use access::Access;

use super::digest::Digest;
use super::layers::Layers;
use super::layout::Layout;
use super::manifest::Platform;
use super::reference::Reference;
use crate::config::Proxies;
use bandwidth::Bandwidth;
use share::Downloads;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Semaphore, watch};

/// How registries are reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Registries and mirrors (`host` or `host:port`) whose certificate is not verified, and that are spoken to without
    /// TLS if they do not speak it. Loopback addresses are never spoken to with TLS unless something is set for them.
    pub insecure: BTreeSet<String>,
    /// Registry (as [`Reference::registry`] names it) to mirrors that are asked first: `https://host/prefix` or `host:port`.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Registry (as [`Reference::registry`] names it) to a PEM file with the certificate authorities that are trusted
    /// beside the system's when images of this registry are pulled, from it or a mirror; the same of a mirror's name.
    pub certificate_authorities: BTreeMap<String, PathBuf>,
    /// Registry or mirror to the certificate that it is shown.
    pub client_certificates: BTreeMap<String, ClientCertificate>,
    /// The HTTP proxies.
    pub proxies: Proxies,
    /// Files with credentials in the format of Docker's `config.json`; the first that knows a registry is used.
    pub docker_configs: Vec<PathBuf>,
    /// Bytes per second that all downloads of layers take together; 0 is no limit.
    pub bandwidth: u64,
    /// How many layers are downloaded at a time, of all images together.
    pub concurrent_layers: Option<NonZeroUsize>,
    /// Where the programs of credential helpers are looked for, as in `PATH`.
    pub search_path: OsString,
}

/// A certificate that says who this box is, and its key: PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
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
    layers: Arc<Layers>,
    platform: Platform,
    access: Arc<Access>,
    downloads: Downloads,
    bandwidth: Bandwidth,
    /// For layers that are downloaded.
    places: Arc<Semaphore>,
    /// For threads that unpack what is still to come: they wait for the network, and there are not many threads.
    followers: Semaphore,
}

const CONCURRENT_LAYERS: usize = 3;
const FOLLOWERS: usize = 4;

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
    pub(super) fn new(
        layout: Arc<Layout>,
        layers: Arc<Layers>,
        platform: Platform,
        access: Arc<Access>,
    ) -> Self {
        let options = access.options();
        let places = options.concurrent_layers.map_or(CONCURRENT_LAYERS, NonZeroUsize::get);
        let shared = Arc::new(Shared {
            layout,
            layers,
            platform,
            downloads: Downloads::default(),
            bandwidth: Bandwidth::new(options.bandwidth),
            places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
            followers: Semaphore::new(FOLLOWERS),
            access,
        });
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
