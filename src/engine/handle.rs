//! What `api` and `daemon` hold of the engine.

use crate::auth::Secrets;
use crate::image::ImageStore;
use crate::plan::{Command, CommandError, Reply, Settings, World};
use crate::runtime::logs::LogDirectory;
use crate::runtime::{Runtime, Volumes};
use crate::store::Store;
use std::sync::{Arc, RwLock};
use tokio::sync::{mpsc, oneshot, watch};

/// A command on its way to the writer.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) command: Command,
    pub(super) answer: oneshot::Sender<Result<Reply, SubmitError>>,
}

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
    images: ImageStore,
    pub(super) runtime: Runtime,
    store: Store,
    secrets: Secrets,
}

impl Handle {
    #[expect(clippy::too_many_arguments, reason = "called once, from engine::start")]
    pub(super) fn new(
        requests: mpsc::Sender<Request>,
        world: Arc<RwLock<World>>,
        commits: watch::Receiver<u64>,
        settings: Settings,
        images: ImageStore,
        runtime: Runtime,
        store: Store,
        secrets: Secrets,
    ) -> Self {
        Self { requests, world, commits, settings, images, runtime, store, secrets }
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
        let gone = || SubmitError::Unavailable("the engine is shutting down".to_owned());
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request { command, answer }).await.map_err(|_| gone())?;
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

    /// Region and account of ARNs, and which box this is.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.settings.clone()
    }

    /// The images of this box.
    #[must_use]
    pub fn images(&self) -> &ImageStore {
        &self.images
    }

    /// The volumes that tasks share.
    #[must_use]
    pub fn volumes(&self) -> Volumes {
        self.runtime.volumes()
    }

    /// The output of containers.
    #[must_use]
    pub fn logs(&self) -> LogDirectory {
        self.runtime.logs()
    }

    /// The secrets of this box.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }
}
