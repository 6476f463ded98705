//! Carries out actions and turns what comes of them into observations.
//!
//! Each action runs in a task of its own. Nothing is decided here: an action that fails is reported, not repeated.
//!
//! A start is prepared beside the commit of its intent ([`Hands::prepare`]): the container is made, but its program is
//! executed by [`Hands::act`] only. When the commit fails, [`Hands::abandon`] undoes it; when the agent dies in between,
//! the shim does, and the next scan clears what belongs to no task.

use super::boot::BootMark;
use super::connections::{ConnectError, Connections};
use super::endpoints::{EndpointError, Endpoints, Subject};
use super::pulling::Pulling;
use super::secrets::{ResolveError, Resolved, Sources};
use crate::image::{ImageError, ImageStore, Login};
use crate::model::{ImageDigest, TaskId, TaskStatus, Timestamp};
use crate::plan::action::ContainerRun;
use crate::plan::{Action, Connection, Observation, StartContainer, World};
use crate::runtime::{
    Event, Found, ImageSettings, Launch, RunState, Runtime, RuntimeError, Signal, StartError,
};
use crate::sys;
use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Between two looks for running tasks, while looking fails.
const SCAN_AGAIN: Duration = Duration::from_secs(5);

/// The executor of actions.
#[derive(Clone, Debug)]
pub(super) struct Hands {
    runtime: Runtime,
    images: ImageStore,
    endpoints: Arc<Endpoints>,
    sources: Sources,
    connections: Connections,
    facts: mpsc::UnboundedSender<Fact>,
    /// What readers see.
    shown: Arc<RwLock<World>>,
}

/// Why a container cannot be started, in ECS's words.
#[derive(Debug, thiserror::Error)]
enum LaunchError {
    #[error("CannotCreateContainerError: {0}")]
    Image(#[from] ImageError),
    #[error(transparent)]
    Endpoints(#[from] EndpointError),
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// An observation, and what to do once it is committed.
#[derive(Debug)]
pub(super) struct Fact {
    pub(super) observation: Observation,
    pub(super) once_committed: Option<BootMark>,
}

/// A start that is under way as far as it may be before its commit.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) run: ContainerRun,
    ready: JoinHandle<bool>,
}

impl Hands {
    pub(super) fn new(
        runtime: Runtime,
        images: ImageStore,
        endpoints: Endpoints,
        sources: Sources,
        connections: Connections,
        facts: mpsc::UnboundedSender<Fact>,
        shown: Arc<RwLock<World>>,
    ) -> Self {
        let endpoints = Arc::new(endpoints);
        Self { runtime, images, endpoints, sources, connections, facts, shown }
    }

    /// The images that are on the box.
    pub(super) fn images(&self) -> BTreeMap<String, ImageDigest> {
        self.images.names()
    }

    /// What registries call those that came from one, see [`ImageStore::sources`].
    pub(super) fn image_sources(&self) -> BTreeMap<ImageDigest, ImageDigest> {
        self.images.sources()
    }

    /// Starts to prepare those of `actions` that can be.
    pub(super) fn prepare(&self, actions: &[Action]) -> Vec<Prepared> {
        let starts = actions.iter().filter_map(|action| match action {
            Action::Start(start) => Some((**start).clone()),
            _ => None,
        });
        starts
            .map(|start| {
                let (hands, run) = (self.clone(), start.run.clone());
                let ready = tokio::spawn(async move { hands.prepare_start(start).await });
                Prepared { run, ready }
            })
            .collect()
    }

    /// False when there is nothing that could be gone on from; the start itself will say why.
    async fn prepare_start(&self, start: StartContainer) -> bool {
        let run = start.run.clone();
        // Before anything is made for it: an earlier generation stays until the commit.
        let connected =
            matches!(start.connection, Connection::Container { .. } | Connection::Task { .. });
        if connected && self.runtime.check_generation(&run).await.is_err() {
            return false;
        }
        let Ok(launch) = self.launch(start).await else { return false };
        match self.runtime.prepare(launch).await {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(task = %run.task, container = %run.container, %error, "cannot prepare");
                false
            }
        }
    }

    /// Undoes what was prepared; `known` tells whether a task is in the committed world.
    pub(super) async fn abandon(&self, prepared: Vec<Prepared>, known: impl Fn(&TaskId) -> bool) {
        for Prepared { run, ready } in prepared {
            // Nothing may come after what is undone here.
            let _ = ready.await;
            let undone = if known(&run.task) {
                self.runtime.abandon(&run).await
            } else {
                self.clear(&run.task).await
            };
            if let Err(error) = undone {
                tracing::warn!(task = %run.task, container = %run.container, %error, "a start that was given up cannot be undone");
            }
        }
    }

    /// Removes all that there is of a task in which nothing ever ran.
    async fn clear(&self, task: &TaskId) -> Result<(), RuntimeError> {
        self.runtime.release(task).await?;
        self.connections.release(task).await;
        self.runtime.forget(task).await
    }

    /// Starts to carry out `action`, from where `prepared` has brought it.
    pub(super) fn act(&self, action: Action, prepared: Option<Prepared>) {
        let hands = self.clone();
        tokio::spawn(async move {
            if let (Action::Start(start), Some(prepared)) = (&action, prepared)
                && prepared.ready.await.unwrap_or(false)
            {
                let run = start.run.clone();
                let started = hands.runtime.start_prepared(&run).await;
                return hands.report(hands.started_or_failed(run, started));
            }
            let observation = hands.carry_out(action).await;
            hands.report(observation);
        });
    }

    /// Reports what the runtime sees by itself, for as long as it lives.
    pub(super) fn forward(&self, mut events: mpsc::UnboundedReceiver<Event>) {
        let hands = self.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                hands.report(match event {
                    Event::Exited { run, exit_code, out_of_memory, at } => {
                        Observation::Exited { run, exit_code, out_of_memory, at }
                    }
                    Event::ShimLost { task, generation, reason } => {
                        Observation::ShimLost { task, generation, reason }
                    }
                });
            }
        });
    }

    /// Looks for what still runs from before, reports it, and ends with `Scanned`. What was prepared for a task that is
    /// not among `known`, because its commit never came, is removed.
    pub(super) fn scan(&self, boot: BootMark, known: BTreeMap<TaskId, TaskStatus>) {
        let hands = self.clone();
        tokio::spawn(async move {
            // Without a scan nothing may be started: it could run twice.
            let found = loop {
                match hands.runtime.scan().await {
                    Ok(found) => break found,
                    Err(error) => {
                        tracing::error!(%error, "cannot look for running tasks; they are left as they are, trying again");
                        tokio::time::sleep(SCAN_AGAIN).await;
                    }
                }
            };
            let never_was =
                |task: &Found| task.containers.is_empty() && !known.contains_key(&task.task);
            let (cleared, found): (Vec<_>, Vec<_>) = found.into_iter().partition(never_was);
            for task in cleared {
                hands.clear_found(&task.task).await;
            }
            let is_over = |task: &&Found| known.get(&task.task) == Some(&TaskStatus::Stopped);
            let back = found.iter().filter(is_over).filter(|task| task.has_files);
            let back: Vec<TaskId> = back.map(|task| task.task.clone()).collect();
            hands.connections.adopt(&found).await;
            for task in found {
                hands.report_found(task);
            }
            let observation = Observation::Scanned { rebooted: boot.rebooted() };
            let _ = hands.facts.send(Fact { observation, once_committed: Some(boot) });
            // A power cut brings files back whose removal the disk was not told yet.
            for task in back {
                if let Err(error) = hands.runtime.release(&task).await {
                    tracing::warn!(%task, %error, "what is left of a stopped task cannot all be removed");
                }
            }
        });
    }

    async fn clear_found(&self, task: &TaskId) {
        if let Err(error) = self.clear(task).await {
            tracing::warn!(%task, %error, "what was prepared for a task that never was cannot all be removed");
        }
    }

    fn report_found(&self, found: Found) {
        for container in found.containers {
            let run = ContainerRun {
                task: found.task.clone(),
                generation: found.generation,
                container: container.container,
                runtime_id: container.runtime_id,
            };
            match container.state {
                RunState::Running { started_at, .. } => {
                    let network = self.connections.connected(&run);
                    self.report(Observation::Started { run, at: started_at, network });
                }
                RunState::Exited(exit) => self.report(Observation::Exited {
                    run,
                    exit_code: exit.exit_code,
                    out_of_memory: exit.out_of_memory,
                    at: exit.finished_at,
                }),
            }
        }
    }

    fn report(&self, observation: Observation) {
        // The writer is gone only when the process ends.
        let _ = self.facts.send(Fact { observation, once_committed: None });
    }

    async fn carry_out(&self, action: Action) -> Observation {
        match action {
            Action::Pull { image, credentials, fall_back_to_cached } => {
                self.pull(image, credentials, fall_back_to_cached).await
            }
            Action::Start(start) => self.start(*start).await,
            Action::Stop(run) => self.signal(run, Signal::Stop).await,
            Action::Kill(run) => self.signal(run, Signal::Kill).await,
            Action::Probe { run, command, timeout } => self.probe(run, command, timeout).await,
            Action::Release { task, generation } => {
                if let Err(error) = self.runtime.release(&task).await {
                    tracing::warn!(%task, %error, "the task's resources could not all be removed");
                }
                self.connections.release(&task).await;
                Observation::Released { task, generation }
            }
            Action::Forget { task } => {
                if let Err(error) = self.runtime.forget(&task).await {
                    tracing::warn!(%task, %error, "the task's logs could not all be removed");
                }
                Observation::Forgotten { task }
            }
        }
    }

    async fn pull(
        &self,
        image: String,
        credentials: Option<String>,
        fall_back_to_cached: bool,
    ) -> Observation {
        let login = match &credentials {
            None => None,
            // Without its login a pull is not tried: who may not see an image does not get the local one either.
            Some(parameter) => match self.sources.login(parameter.clone()).await {
                Ok((user, password)) => Some(Login::new(user, password.expose().to_owned())),
                Err(error) => {
                    let reason = error.to_string();
                    return Observation::ImageFailed { image, credentials, reason };
                }
            },
        };
        let pulling = Pulling::new(&image, Arc::clone(&self.shown), sys::uptime());
        let progress = move |progress| pulling.take(progress, sys::uptime());
        match self.images.pull_as(&image, login, progress).await {
            Ok(digest) => self.image_ready(image, credentials, digest),
            Err(error) => {
                match self.images.resolve_to_use(&image).filter(|_| fall_back_to_cached) {
                    Some(digest) => {
                        tracing::warn!(image, %error, "the image cannot be pulled, the local one is used");
                        self.image_ready(image, credentials, digest)
                    }
                    None => {
                        Observation::ImageFailed { image, credentials, reason: error.to_string() }
                    }
                }
            }
        }
    }

    fn image_ready(
        &self,
        image: String,
        credentials: Option<String>,
        digest: ImageDigest,
    ) -> Observation {
        let source = self.images.sources().remove(&digest);
        Observation::ImageReady { image, credentials, digest, source }
    }

    async fn start(&self, start: StartContainer) -> Observation {
        let run = start.run.clone();
        let launch = match self.launch(start).await {
            Ok(launch) => launch,
            Err(error) => {
                if let LaunchError::Image(ImageError::Absent(_)) = error {
                    // Whoever starts it again is not to look for it here.
                    self.report(Observation::ImagesChanged);
                }
                return Observation::StartFailed { run, reason: error.to_string() };
            }
        };
        let started = self.runtime.start(launch).await;
        self.started_or_failed(run, started)
    }

    fn started_or_failed(
        &self,
        run: ContainerRun,
        started: Result<Timestamp, StartError>,
    ) -> Observation {
        match started {
            Ok(at) => Observation::Started { network: self.connections.connected(&run), run, at },
            Err(error) => Observation::StartFailed { run, reason: error.to_string() },
        }
    }

    async fn launch(&self, start: StartContainer) -> Result<Launch, LaunchError> {
        let image = self.images.unpacked(&start.image_digest).await?;
        let settings = ImageSettings {
            env: image.config.env,
            entrypoint: image.config.entrypoint,
            cmd: image.config.cmd,
            user: Some(image.config.user).filter(|user| !user.is_empty()),
            working_dir: Some(image.config.working_dir).filter(|dir| !dir.is_empty()),
            stop_signal: image.config.stop_signal,
            labels: image.config.labels,
        };
        let Resolved { mut environment, files, log_options } =
            self.sources.resolve(&start.definition).await?;
        self.endpoints.announce(&Subject::new(&start, &settings.env), &mut environment)?;
        let network = self.connections.connect(&start).await?;
        Ok(Launch {
            start,
            network,
            image: settings,
            layers: image.layers,
            environment,
            files,
            log_options_secret: log_options,
        })
    }

    async fn probe(
        &self,
        run: ContainerRun,
        command: Vec<String>,
        timeout: Duration,
    ) -> Observation {
        let exit_code = match self.runtime.probe(&run, command, timeout).await {
            Ok(exit_code) => exit_code,
            Err(error) => {
                tracing::warn!(task = %run.task, container = %run.container, %error, "cannot probe");
                None
            }
        };
        Observation::Probed { run, exit_code, at: sys::now() }
    }

    async fn signal(&self, run: ContainerRun, signal: Signal) -> Observation {
        let killed = matches!(signal, Signal::Kill);
        if let Err(error) = self.runtime.signal(&run, signal).await {
            tracing::warn!(task = %run.task, container = %run.container, %error, "cannot signal");
        }
        Observation::Signalled { run, killed }
    }
}
