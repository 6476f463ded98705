//! The broker that a hub brings up itself: a `mosquitto` it configures, watches and ends.
//!
//! ```text
//!  boxes ── mutual TLS, client id = CN ──► LISTEN ┐
//!                                                 ├─ mosquitto ── STATE/broker/mosquitto.db
//!  hub ─── unix socket, password ───────► DOOR ───┘
//!           │                                          ▲ RUN/broker: configuration, rules, certificates
//!           └─ starts, watches, SIGHUP, SIGTERM ───────┘
//! ```
//!
//! * `program`: which mosquitto, which version, which user it runs as.
//! * `configuration`: what it is told, as texts: settings, and who may read and write which topic.
//! * `place`: the directories, and how those texts get there.
//! * `leftover`: one that a killed hub has left.
//! * `child`: one life of it, from its start to "running" to its end.
//! * `supervise`: the task that owns it: restarts with back-off, reloads, refusals.
//! * `visit`: an MQTT connection of a moment, which takes a client's session over.
//!
//! **Who may take part** is a [`Roster`], derived from the hub's store at its start and changed by [`Broker::admit`]
//! and [`Broker::revoke`]. Both return when the broker acts by it. A device that is revoked is refused in three ways at
//! once: its rules deny everything, so nothing more reaches it; its certificates are on the revocation list, so that a new
//! connection fails in the TLS handshake (a resumed one too: the reload drops all session tickets); and the connection
//! it has is cut, by connecting with its client id. Nobody else notices.
//!
//! Nothing here is needed for correctness: a broker that lost everything is filled again by the hub and the boxes.
//!
//! Current limitations: mosquitto's rules do not stop a device from retaining as many messages below its own `log/` and
//! `rpc/` as the broker's memory limit allows; a reload takes about 0.1 s with 5,000 boxes and 2 s with 20,000.

mod child;
mod configuration;
mod leftover;
mod place;
mod program;
mod supervise;
mod visit;

use crate::model::{ClusterName, ContainerInstanceId};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

/// The hub's name at the broker. No device has it: theirs are 32 hexadecimal digits.
pub const HUB: &str = "hub";

/// The largest packet that the broker takes.
pub const LARGEST_PACKET: u32 = 256 * 1024;

/// Changes of the roster that wait for their turn.
const WAITING: usize = 64;

/// The serial number of a certificate, in hexadecimal.
pub type Serial = String;

/// Makes the revocation list, signed by the authority, in PEM.
pub type RevocationList = Arc<dyn Fn(&BTreeSet<Serial>) -> String + Send + Sync>;

/// Who may take part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    /// The boxes, each with the cluster whose shared documents it reads.
    pub admitted: BTreeMap<ContainerInstanceId, ClusterName>,
    /// Boxes that may do nothing any more, whatever certificate they show.
    pub refused: BTreeSet<ContainerInstanceId>,
    /// Certificates that are refused although they have not expired.
    pub revoked: BTreeSet<Serial>,
}

/// What the broker needs for TLS, all in PEM.
#[derive(Clone)]
pub struct Tls {
    /// The authority that boxes' certificates come from.
    pub authority: String,
    /// The broker's own certificate.
    pub certificate: String,
    /// Its key.
    pub key: Zeroizing<String>,
    /// The authority's signature under what is revoked.
    pub revocation_list: RevocationList,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// How a broker is to run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where boxes connect; port 0 takes any that is free.
    pub listen: SocketAddr,
    /// What is made anew at every start: configuration, rules, certificates, the door.
    pub run_dir: PathBuf,
    /// What the broker keeps.
    pub data_dir: PathBuf,
    /// Certificates.
    pub tls: Tls,
    /// `$PATH`, for `mosquitto`.
    pub search_path: Option<OsString>,
    /// Bytes of memory that the broker may take.
    pub memory: u64,
}

/// The hub's own way in: a unix socket that nobody else reaches, and a password made at this start.
#[derive(Clone)]
pub struct Door {
    /// The socket.
    pub socket: PathBuf,
    /// The user name.
    pub user: &'static str,
    /// Its password.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// Why there is no broker, or why it does not act as it should.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// It is not installed.
    #[error(
        "mosquitto is not installed: `apt-get install mosquitto`, or use a broker that runs elsewhere with --broker URL"
    )]
    NotInstalled,
    /// It is too old.
    #[error(
        "{program} is mosquitto {version}; 2.0 or newer is needed, or a broker that runs elsewhere with --broker URL"
    )]
    TooOld {
        /// Where it was found.
        program: PathBuf,
        /// What it says it is.
        version: String,
    },
    /// It does not run at all.
    #[error("cannot run {program}")]
    NotRunnable {
        /// Where it was found.
        program: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The address is taken or not ours.
    #[error("boxes cannot connect at {address} (--mqtt-listen): {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The user that the broker runs as has no way to its files.
    #[error(
        "mosquitto runs as the user {user}, who cannot reach what is in {directory}: chmod o+x it, or use other directories"
    )]
    Unreachable {
        /// The user.
        user: String,
        /// The directory that is closed.
        directory: PathBuf,
    },
    /// A file or directory of its own could not be made.
    #[error("cannot {doing} {path}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The one that a killed hub left does not end.
    #[error(
        "mosquitto (process {0}), which an earlier hub left, does not end; end it, then start again"
    )]
    Leftover(i32),
    /// It ended before it was up.
    #[error("mosquitto ended at its start ({status}): {said}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// The last that it said.
        said: String,
    },
    /// It did not come up or did not answer in time.
    #[error("mosquitto did not {0} in time")]
    Late(&'static str),
    /// The hub's own way in is closed.
    #[error("mosquitto refuses the hub's own connection: {0}")]
    Door(String),
    /// A change did not get through yet; it is tried again.
    #[error("the broker does not act by the change yet: {0}")]
    NotYet(String),
    /// The hub is ending.
    #[error("the broker has been stopped")]
    Stopped,
}

/// What is asked of the task that owns the broker.
#[derive(Debug)]
enum Request {
    Admit(ContainerInstanceId, ClusterName, Answer),
    Revoke(ContainerInstanceId, Vec<Serial>, Answer),
    Stop(oneshot::Sender<()>),
}

type Answer = oneshot::Sender<Result<(), BrokerError>>;

/// A broker that runs, and is started again when it ends. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Broker {
    requests: mpsc::Sender<Request>,
    door: Door,
    address: SocketAddr,
}

impl Broker {
    /// Starts mosquitto and returns when it answers. Ends one that a killed hub has left before.
    ///
    /// # Errors
    /// [`BrokerError`] with what to do about it; nothing is left running then.
    pub async fn start(settings: Settings, roster: Roster) -> Result<Self, BrokerError> {
        let (supervisor, door, address) = supervise::Supervisor::start(settings, roster).await?;
        let (requests, incoming) = mpsc::channel(WAITING);
        tokio::spawn(supervisor.run(incoming));
        Ok(Self { requests, door, address })
    }

    /// Where the hub connects.
    #[must_use]
    pub fn door(&self) -> &Door {
        &self.door
    }

    /// Where boxes connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets a device take part in a cluster. When this returns, the broker acts by it: what a device subscribes to before
    /// it is admitted stays silent, so a box is told of its certificate only afterwards.
    ///
    /// # Errors
    /// [`BrokerError::NotYet`]: it stays wanted and is tried again. [`BrokerError::Stopped`].
    pub async fn admit(
        &self,
        device: ContainerInstanceId,
        cluster: ClusterName,
    ) -> Result<(), BrokerError> {
        self.ask(|answer| Request::Admit(device, cluster, answer)).await
    }

    /// Refuses a device from now on: its certificates, its rules and the connection it has.
    ///
    /// # Errors
    /// [`BrokerError::NotYet`]: it stays wanted and is tried again. [`BrokerError::Stopped`].
    pub async fn revoke(
        &self,
        device: ContainerInstanceId,
        certificates: Vec<Serial>,
    ) -> Result<(), BrokerError> {
        self.ask(|answer| Request::Revoke(device, certificates, answer)).await
    }

    /// Ends mosquitto, which writes what it keeps before.
    pub async fn stop(&self) {
        let (answer, answered) = oneshot::channel();
        if self.requests.send(Request::Stop(answer)).await.is_ok() {
            let _ = answered.await;
        }
    }

    async fn ask(&self, request: impl FnOnce(Answer) -> Request) -> Result<(), BrokerError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| BrokerError::Stopped)?;
        answered.await.map_err(|_| BrokerError::Stopped)?
    }
}

/// For `map_err`.
fn io_error<'a>(
    doing: &'static str,
    path: &'a std::path::Path,
) -> impl FnOnce(io::Error) -> BrokerError + 'a {
    move |source| BrokerError::Io { doing, path: path.to_owned(), source }
}
