//! The shell around the pure core: observe → plan → commit → act.
//!
//! ```text
//!   api, cli, fleet ──Command──►┌────────────────────────── writer (one task) ───────────────────────────┐
//!   runtime events ──Observe──► │ apply commands → plan until quiet → commit ONE transaction → publish   │
//!   clock ──────────wake_at───► │                                                    │                   │
//!                               └──────────────▲─────────────────────────────────────┼───────────────────┘
//!                                              │ Observe                             │ actions
//!                                              └──────── hands (a task per action) ◄─┘
//! ```
//!
//! There is one writer. It works on a world of its own; readers see another, which changes only after the commit, so
//! nobody is ever shown what a crash could take back. A commit that fails (a full disk) changes nothing: commands are
//! answered as unavailable, observations are kept and tried again, no action runs.
//! Two things are done beside the commit, since they can be undone or follow from what was observed alone: containers
//! are made, though not executed, and tasks whose containers have ended are released.
//!
//! At start nothing remembered is trusted: [`runtime`] looks for running shims, what it finds comes in
//! as observations, and only then `Scanned` lets the planner act.
//!
//! Without a box ([`Ground::Simulated`]) there are no hands: [`crate::plan::simulate`] answers for the boxes it makes up, so
//! a round ends with its commit.

mod boot;
mod connections;
mod endpoints;
mod environment;
mod environment_file;
mod gateway;
mod handle;
mod hands;
mod images;
mod inside;
mod names;
mod pulling;
mod rehearsal;
mod secrets;
mod writer;

pub use boot::BootMark;
pub use endpoints::{Endpoints, Roles};
pub use gateway::Gateway;
pub use handle::{Handle, NoBox, SubmitError};
pub use images::{CollectError, Collected};
pub use inside::running;
pub use secrets::Sources;

use crate::auth::{SecretError, Secrets};
use crate::image::ImageStore;
use crate::net::Network;
use crate::net::dns::Upstream;
use crate::plan::simulate::{self, FaultPlan};
use crate::plan::{Settings, World};
use crate::runtime::{self, Runtime};
use crate::store::{Store, StoreError};
use connections::Connections;
use gateway::Gateways;
use handle::Held;
use hands::Hands;
use names::NameSettings;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::{mpsc, watch};
use writer::{Under, Writer};

/// What the engine joins.
#[derive(Debug)]
pub struct Parts {
    /// The durable state.
    pub store: Store,
    /// For the planners.
    pub settings: Settings,
    /// Secrets that definitions name.
    pub secrets: Secrets,
    /// Where tasks run.
    pub ground: Ground,
}

/// Where tasks run.
#[derive(Debug)]
pub enum Ground {
    /// On the box that this program runs on.
    ThisBox(Box<ThisBox>),
    /// On the boxes of a fleet, which are told and tell over `fleet`.
    Fleet,
    /// Nowhere: the planner makes up what becomes of them, along these faults.
    Simulated(FaultPlan),
}

/// The box that this program runs on.
#[derive(Debug)]
pub struct ThisBox {
    /// The containers.
    pub runtime: Runtime,
    /// What the runtime reports by itself.
    pub events: mpsc::UnboundedReceiver<runtime::Event>,
    /// The images.
    pub images: ImageStore,
    /// Tells a reboot from a restart.
    pub boot: BootMark,
    /// The network of the containers.
    pub network: Network,
    /// Where whoever serves the endpoints of containers learns where the bridge is.
    pub gateways: mpsc::Sender<Gateway>,
    /// How containers find names.
    pub names: Names,
    /// What containers are told of their endpoints.
    pub endpoints: Endpoints,
    /// Where secrets and environment files come from.
    pub sources: Sources,
    /// What runs is to be stopped: from the first round on no service starts anything.
    pub stopping: bool,
}

/// How containers in networks of their own find names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// With the box's name servers.
    OfTheBox,
    /// With a name server of the agent, which has the names of services and tasks.
    Served {
        /// What the zones of clusters end with.
        domain: String,
        /// Who is asked for other names; the box's own servers if empty.
        servers: Vec<SocketAddr>,
    },
}

/// Loads the world and starts the writer; the handle is usable at once.
///
/// The scan for running shims goes on in the background; commands are accepted meanwhile.
pub fn start(parts: Parts) -> Result<Handle, StoreError> {
    let Parts { store, settings, secrets, ground } = parts;
    let mut world = store.load()?;
    world.settings = settings.clone();

    let (requests_in, requests) = mpsc::channel(256);
    let (facts_in, facts) = mpsc::unbounded_channel();
    let (commits, watch) = watch::channel(0);

    // Nobody has the handle yet, so nobody sees it empty.
    let published = Arc::new(RwLock::new(World::default()));
    let mut held = None;
    let under = match ground {
        Ground::Fleet => {
            // Before anything is planned: a document without them would be another one.
            world.observed.secret_versions = match secrets.versions() {
                Ok(versions) => versions,
                Err(SecretError::Store(error)) => return Err(error),
                Err(error) => {
                    tracing::error!(%error, "the secrets cannot be listed");
                    std::collections::BTreeMap::new()
                }
            };
            Under::Fleet { _facts: facts_in }
        }
        Ground::Simulated(faults) => {
            simulate::begin(&mut world, faults.clone());
            Under::Simulated { faults, _facts: facts_in }
        }
        Ground::ThisBox(this) => {
            let ThisBox {
                runtime,
                events,
                images,
                boot,
                network,
                gateways,
                names,
                endpoints,
                sources,
                stopping,
            } = *this;
            world.observed.stopping = stopping;
            world.observed.images = images.names();
            world.observed.image_sources = images.sources();
            held = Some(Held { images: images.clone(), runtime: runtime.clone() });
            let names = match names {
                Names::OfTheBox => None,
                Names::Served { domain, servers } => {
                    let world = Arc::clone(&published);
                    Some(NameSettings::new(world, domain, Upstream::new(&servers)))
                }
            };
            let gateways = Gateways::new(gateways, names);
            let connections = Connections::new(network, runtime.clone(), gateways);
            let hands = Hands::new(
                runtime,
                images,
                endpoints,
                sources,
                connections,
                facts_in,
                Arc::clone(&published),
            );
            hands.forward(events);
            let known = world.tasks.values();
            hands.scan(boot, known.map(|task| (task.id.clone(), task.last_status)).collect());
            Under::ThisBox(Arc::new(hands))
        }
    };
    published.write().unwrap_or_else(PoisonError::into_inner).clone_from(&world);
    let handle = Handle::new(
        requests_in,
        Arc::clone(&published),
        watch,
        settings,
        held,
        store.clone(),
        secrets,
    );
    let writer = Writer::new(world, published, store, under, requests, facts, commits);
    tokio::spawn(writer.run());
    Ok(handle)
}

/// Locks the published world for a moment. A poisoned lock is used all the same: changes are whole records.
fn read_lock(world: &RwLock<World>) -> std::sync::RwLockReadGuard<'_, World> {
    world.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}
