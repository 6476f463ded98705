//! Wiring: opens what the engine joins, starts it and its servers, and owns the order in which all of it ends.
//!
//! Three ways to live: [`agent`], the daemon of a box (and [`reset`], when it is to have been none), [`hub`], without a box, and [`Foreground`], an engine for one `coracle run` without an
//! agent, which keeps everything in directories of its own and leaves nothing behind.

mod boxes;
mod daily;
mod foreground;
mod gate;
mod host;
mod hub;
mod images;
mod manifests;
mod member;
mod reset;
mod uplink;
mod watchdog;
mod why;

pub use foreground::Foreground;
pub use hub::{backup, hub, restore};
pub use member::without_agent;
pub use reset::{Ended, Extent, reset};
pub use why::why;

use crate::api::{self, Listeners};
use crate::auth::{EndpointIds, Keys, Secrets};
use crate::config::{Config, Overrides};
use crate::engine::{
    self, BootMark, Endpoints, Ground, Handle, Parts, Roles, Sources, SubmitError, ThisBox,
};
use crate::image::ImageStore;
use crate::metadata::{self, Metadata};
use crate::model::{ContainerInstanceId, DesiredStatus, TaskStatus};
use crate::net::Network;
use crate::plan::command::CreateCluster;
use crate::plan::{Command, Ids, Observation, Settings, World};
use crate::runtime::{LogDefaults, PreflightError, Runtime, RuntimeConfig};
use crate::store::{self, Store};
use crate::{sys, telemetry};
use anyhow::Context;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// The key under which the store keeps the id of this box.
const INSTANCE_ID: &str = "containerInstance";

/// Between two attempts to register this box.
const REGISTER_AGAIN: Duration = Duration::from_secs(2);

/// Runs the agent until SIGTERM or SIGINT. Tasks go on without it unless the configuration says otherwise.
///
/// # Errors
/// When the configuration, the state or the kernel does not allow it to start.
pub fn agent(flags: &Overrides) -> anyhow::Result<ExitCode> {
    let config = member::as_member(Config::load(flags)?)?;
    telemetry::init(config.log.clone()).context("cannot start logging")?;
    for variable in &config.unknown_variables {
        tracing::warn!("{variable} is not a setting and has no effect");
    }
    worker_threads()?.block_on(async {
        let started = start(&config, &config.state_dir, config.volumes_dir(), Purpose::Agent(config.listen)).await?;
        let Started { handle, listeners, keys, metadata, runtime, store } = started;
        let stop = asked_to_stop();
        // A service manager is optional; without one there is nobody to tell.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        tokio::spawn(watchdog::feed(handle.clone()));
        tracing::info!(listen = %config.listen, state = %config.state_dir.display(), "the agent answers");
        let daily = tokio::spawn(daily::keep(handle.clone(), config.container_log.max_age));
        let rest = tokio::spawn(daily::rest(handle.clone()));
        let cleanup = tokio::spawn(images::keep(handle.clone(), config.image_cleanup));
        let manifests = tokio::spawn(manifests::keep(handle.clone(), config.manifests.clone(), config.cluster.clone()));
        let carried = handle.images()?.clone();
        let carried = tokio::spawn(async move { carried.keep_directory().await });
        let gate = member::BoxGate {
            handle: handle.clone(),
            store,
            config: config.clone(),
            turn: tokio::sync::Mutex::default(),
        };
        let (uplink, from_hub) = uplink::Uplink::start(handle.clone(), &config);
        let parts = api::Parts {
            engine: handle.clone(),
            listeners,
            keys,
            metadata: Some(metadata),
            boxes: None,
            gate: Some(Arc::new(gate)),
            documents: None,
            from_hub: Some(from_hub),
        };
        api::serve(parts, stop).await?;
        drop(uplink);
        daily.abort();
        rest.abort();
        cleanup.abort();
        carried.abort();
        manifests.abort();
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        if config.stop_tasks_on_exit {
            stop_all_tasks(&handle).await?;
        }
        // Nobody can ask for another task any more; with none left, nothing is to stay.
        if handle.read(is_over) {
            runtime.close().await.context("cannot remove the cgroup of the tasks")?;
        }
        daily::keep_one(&handle).await;
        Ok(ExitCode::SUCCESS)
    })
}

/// What an engine is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To serve this address, and the box.
    Agent(SocketAddr),
    /// To run one task.
    Run,
    /// To stop what runs: no service starts anything.
    Stop,
}

/// An engine with its servers bound, not yet served.
struct Started {
    handle: Handle,
    listeners: Listeners,
    keys: Arc<Keys>,
    metadata: Arc<Metadata>,
    runtime: Runtime,
    store: Store,
}

/// The multi-threaded runtime of the agent: two workers, whatever the number of cores.
fn worker_threads() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")
}

/// Opens everything under the directories of `config` (images under `image_dir`) and starts the engine.
async fn start(
    config: &Config,
    image_dir: &Path,
    volumes_dir: PathBuf,
    purpose: Purpose,
) -> anyhow::Result<Started> {
    // Before anything is made: without root all that follows fails with something less clear.
    if !rustix::process::geteuid().is_root() {
        return Err(PreflightError::NotRoot.into());
    }
    for dir in [&config.state_dir, &config.run_dir] {
        private_dir(dir)?;
    }
    let (events_in, events) = mpsc::unbounded_channel();
    let runtime = Runtime::open(runtime_config(config, volumes_dir), events_in)?;
    let store = Store::open(&config.store_dir(), store::Options::default())?;
    let listen = match purpose {
        Purpose::Agent(address) => Some(address),
        Purpose::Run | Purpose::Stop => None,
    };
    // The store's lock guards the state, the socket guards the run directory: both are ours before the engine looks
    // around there and removes what it does not know.
    let listeners =
        Listeners::bind(listen, &config.socket(), config.socket_group.as_deref()).await?;
    let images = ImageStore::open(image_dir, host::image_options(config))?;
    // What runs without an agent ends before a directory would be looked through.
    if listen.is_some() {
        // Before the engine asks for images: those that lie on the box come from there.
        images.use_directory(config.images.clone());
    }
    let keys = Arc::new(Keys::open(&config.state_dir)?);
    let settings = settings(config, &store)?;
    let boot = BootMark::read(&config.run_dir).context("cannot read the kernel's boot id")?;
    boot.sweep(&config.state_dir);
    let instance = host::this_instance(config, &settings)?;

    let ids = EndpointIds::new(&keys);
    let endpoints = Endpoints {
        ids: ids.clone(),
        listen: listeners.address(),
        roles: Roles(config.roles.keys().cloned().collect()),
        region: config.scope.region.clone(),
    };

    let secrets = Secrets::new(&config.state_dir, store.clone());
    let sources =
        Sources { secrets: secrets.clone(), environment_files: config.environment_files.clone() };
    let network = Network::open(host::network(config)).context("cannot open the network")?;

    // One announcement at a time: each is waited for.
    let (gateways_in, gateways) = mpsc::channel(1);
    let this = ThisBox {
        runtime: runtime.clone(),
        events,
        images,
        boot,
        network,
        gateways: gateways_in,
        names: host::names(config),
        endpoints,
        sources,
        stopping: purpose == Purpose::Stop,
    };
    let ground = Ground::ThisBox(Box::new(this));
    let handle = engine::start(Parts { store: store.clone(), settings, secrets, ground })?;
    let metadata = Arc::new(Metadata::new(handle.clone(), ids, config.roles.clone()));
    tokio::spawn(metadata::serve(Arc::clone(&metadata), gateways));
    // The clusters of a fleet are its hub's.
    if !member::catch_up(&handle, config).await? {
        let cluster = CreateCluster::named(config.cluster.clone());
        introduce(&handle, Command::CreateCluster(Box::new(cluster))).await?;
    }
    introduce(&handle, Command::RegisterThisInstance(Box::new(instance))).await?;
    Ok(Started { handle, listeners, keys, metadata, runtime, store })
}

/// Where the runtime works.
fn runtime_config(config: &Config, volumes_dir: PathBuf) -> RuntimeConfig {
    RuntimeConfig {
        state_dir: config.state_dir.clone(),
        volumes_dir,
        run_dir: config.run_dir.clone(),
        cgroup_parent: config.cgroup_parent.clone(),
        allow_privileged: config.allow_privileged,
        log: LogDefaults {
            max_size: config.container_log.max_size,
            max_file: config.container_log.max_file,
            max_age: config.container_log.max_age.as_secs(),
            max_total: config.container_log.max_total,
        },
    }
}

/// Submits what this box or hub says of itself. When that cannot be written (a full disk), it is tried again in the background:
/// tasks need their agent now.
async fn introduce(handle: &Handle, command: Command) -> Result<(), SubmitError> {
    let Err(error) = handle.submit(command.clone()).await else { return Ok(()) };
    if let SubmitError::Refused(_) = error {
        return Err(error);
    }
    tracing::error!(%error, "cannot be introduced yet, trying again");
    let handle = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(REGISTER_AGAIN).await;
            match handle.submit(command.clone()).await {
                Ok(_) => break,
                Err(SubmitError::Unavailable(_)) => {}
                Err(SubmitError::Refused(error)) => {
                    tracing::error!(%error, "cannot be introduced");
                    break;
                }
            }
        }
    });
    Ok(())
}

/// Makes `dir` if it is missing; only its owner may look inside.
fn private_dir(dir: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(dir)
        .with_context(|| format!("cannot make the directory {}", dir.display()))
}

fn settings(config: &Config, store: &Store) -> anyhow::Result<Settings> {
    hub::refuse_others(store, INSTANCE_ID, &config.state_dir)?;
    let id = if let Some(id) = store.get_meta(INSTANCE_ID)? {
        serde_json::from_value(id).context("the stored id of this box is not valid")?
    } else {
        let id = ContainerInstanceId::new(Ids::from_seed(sys::seed()).hex32())?;
        store.put_meta(INSTANCE_ID, &serde_json::to_value(&id)?)?;
        id
    };
    Ok(config.settings(Some(id)))
}

/// Resolves when somebody asks this process to stop; whoever asks from the call on is heard.
fn asked_to_stop() -> impl Future<Output = ()> {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
            tracing::error!("cannot wait for signals; only SIGKILL ends this process");
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

/// Stops every task and waits until all of them have.
async fn stop_all_tasks(handle: &Handle) -> anyhow::Result<()> {
    // Services are left as they are: their tasks come back with the agent.
    handle.submit(Command::Observe(Observation::Stopping)).await?;
    let running: Vec<_> = handle.read(|world| {
        let wanted = |task: &&crate::model::Task| {
            task.desired_status == DesiredStatus::Running && !task.is_of_service()
        };
        world.tasks.values().filter(wanted).map(|t| (t.cluster.clone(), t.id.clone())).collect()
    });
    for (cluster, task) in running {
        let reason = Some("The agent is stopping.".to_owned());
        handle.submit(Command::StopTask { cluster, task, reason }).await?;
    }
    handle.wait_until(is_over).await?;
    Ok(())
}

/// Whether no task is left that has not stopped.
fn is_over(world: &World) -> bool {
    world.assignments.values().all(|assignment| assignment.service().is_some())
        && world.tasks.values().all(|task| task.last_status == TaskStatus::Stopped)
}
