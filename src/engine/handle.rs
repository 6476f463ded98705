//! What `api` and `daemon` hold of the engine.

use crate::auth::Secrets;
use crate::image::ImageStore;
use crate::model::fleet::Event;
use crate::plan::{Command, CommandError, Reply, Settings, World};
use crate::runtime::logs::LogDirectory;
use crate::runtime::{Runtime, Volumes};
use crate::store::Store;
use std::sync::{Arc, RwLock};
use tokio::sync::{mpsc, oneshot, watch};

/// An order on its way to the writer.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) order: Order,
    pub(super) answer: oneshot::Sender<Result<Reply, SubmitError>>,
}

/// What is asked of the writer.
#[derive(Debug)]
pub(super) enum Order {
    Command(Command),
    /// Nothing but an answer.
    Ping,
    /// Empties a simulation, then carries this out on what is left.
    Reset,
}

/// What a handle has of the box that the engine runs on.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) images: ImageStore,
    pub(super) runtime: Runtime,
}

/// What is asked for is on a box, and the engine has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is a hub: it has no containers, logs, images or volumes of its own; ask the agent of a box"
)]
pub struct NoBox;

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The command is wrong.
    #[error(transparent)]
    Refused(#[from] CommandError),
    /// The command may be right, but it could not be made durable, or the engine is going down.
    #[error("{0}")]
    Unavailable(String),
}

/// The engine, seen from outside. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    world: Arc<RwLock<World>>,
    commits: watch::Receiver<u64>,
    settings: Settings,
    held: Option<Held>,
    store: Store,
    secrets: Secrets,
}

impl Handle {
    pub(super) fn new(
        requests: mpsc::Sender<Request>,
        world: Arc<RwLock<World>>,
        commits: watch::Receiver<u64>,
        settings: Settings,
        held: Option<Held>,
        store: Store,
        secrets: Secrets,
    ) -> Self {
        Self { requests, world, commits, settings, held, store, secrets }
    }

    /// The same engine with another writer and another world.
    pub(super) fn on(
        &self,
        requests: mpsc::Sender<Request>,
        world: Arc<RwLock<World>>,
        commits: watch::Receiver<u64>,
    ) -> Self {
        Self { requests, world, commits, ..self.clone() }
    }

    /// Carries out `command`. When this returns `Ok` its effect on the store is durable and [`Handle::read`] shows it.
    ///
    /// # Errors
    /// [`SubmitError::Refused`] changed nothing; [`SubmitError::Unavailable`] may be tried again.
    pub async fn submit(&self, command: Command) -> Result<Reply, SubmitError> {
        self.order(Order::Command(command)).await
    }

    /// Empties a simulation; durable when this returns.
    ///
    /// # Errors
    /// [`SubmitError::Refused`] on a real box, whose state nothing empties.
    pub async fn reset(&self) -> Result<Reply, SubmitError> {
        self.order(Order::Reset).await
    }

    /// Waits until the writer has carried out an empty round; false when it ends first.
    pub async fn ping(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        let request = Request { order: Order::Ping, answer };
        // What the answer is does not matter: a disk that refuses to be written does not make the engine stuck.
        self.requests.send(request).await.is_ok() && answered.await.is_ok()
    }

    async fn order(&self, order: Order) -> Result<Reply, SubmitError> {
        let gone = || SubmitError::Unavailable("the engine is shutting down".to_owned());
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request { order, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Looks at the committed world. Keep `look` short: the writer waits for it.
    pub fn read<R>(&self, look: impl FnOnce(&World) -> R) -> R {
        look(&super::read_lock(&self.world))
    }

    /// Changes after every commit that is visible to [`Handle::read`].
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.commits.clone()
    }

    /// Waits until `done` holds for the committed world.
    ///
    /// # Errors
    /// [`SubmitError::Unavailable`] when the engine ends first.
    pub async fn wait_until(&self, done: impl Fn(&World) -> bool) -> Result<(), SubmitError> {
        let mut commits = self.watch();
        loop {
            commits.mark_unchanged();
            if self.read(&done) {
                return Ok(());
            }
            commits
                .changed()
                .await
                .map_err(|_| SubmitError::Unavailable("the engine is shutting down".to_owned()))?;
        }
    }

    /// Keeps a verified copy of the store, which an operator can go back to; true when something had changed.
    ///
    /// # Errors
    /// [`SubmitError::Unavailable`] when the copy cannot be made; the last one stays.
    pub async fn keep_copy(&self) -> Result<bool, SubmitError> {
        let store = self.store.clone();
        let kept = tokio::task::spawn_blocking(move || store.keep_copy()).await;
        let unavailable = |why: String| SubmitError::Unavailable(why);
        kept.map_err(|e| unavailable(e.to_string()))?.map_err(|e| unavailable(e.to_string()))
    }

    /// What is kept for the hub of this box, from the event `offset` on: as much as fits into `at_most` bytes, and one
    /// event at least.
    ///
    /// # Errors
    /// [`SubmitError::Unavailable`] when it cannot be read.
    pub async fn events(&self, offset: u64, at_most: usize) -> Result<Vec<Event>, SubmitError> {
        let store = self.store.clone();
        let read = tokio::task::spawn_blocking(move || store.events(offset, at_most)).await;
        let unavailable = |why: String| SubmitError::Unavailable(why);
        read.map_err(|e| unavailable(e.to_string()))?.map_err(|e| unavailable(e.to_string()))
    }

    /// Region and account of ARNs, and which box this is.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.settings.clone()
    }

    /// Whether tasks are made up: no box runs them.
    #[must_use]
    pub fn is_simulation(&self) -> bool {
        self.settings.simulated
    }

    /// Refuses what only a box can answer.
    ///
    /// # Errors
    /// [`NoBox`].
    pub fn on_box(&self) -> Result<(), NoBox> {
        self.held().map(drop)
    }

    fn held(&self) -> Result<&Held, NoBox> {
        self.held.as_ref().ok_or(NoBox)
    }

    pub(super) fn runtime(&self) -> Result<&Runtime, NoBox> {
        self.held().map(|held| &held.runtime)
    }

    /// The images of this box.
    ///
    /// # Errors
    /// [`NoBox`].
    pub fn images(&self) -> Result<&ImageStore, NoBox> {
        self.held().map(|held| &held.images)
    }

    /// The volumes that tasks share.
    ///
    /// # Errors
    /// [`NoBox`].
    pub fn volumes(&self) -> Result<Volumes, NoBox> {
        self.runtime().map(Runtime::volumes)
    }

    /// The output of containers.
    ///
    /// # Errors
    /// [`NoBox`].
    pub fn logs(&self) -> Result<LogDirectory, NoBox> {
        self.runtime().map(Runtime::logs)
    }

    /// The secrets of this box.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }
}
