//! Carries out actions and turns what comes of them into observations.
//!
//! Each action runs in a task of its own. Nothing is decided here: an action that fails is reported, not repeated.

use super::boot::BootMark;
use crate::image::ImageStore;
use crate::plan::action::ContainerRun;
use crate::plan::{Action, Observation, StartContainer};
use crate::runtime::{Event, Found, ImageSettings, Launch, RunState, Runtime, Signal};
use crate::sys;
use std::time::Duration;
use tokio::sync::mpsc;

/// Between two looks for running tasks, while looking fails.
const SCAN_AGAIN: Duration = Duration::from_secs(5);

/// The executor of actions.
#[derive(Clone, Debug)]
pub(super) struct Hands {
    runtime: Runtime,
    images: ImageStore,
    facts: mpsc::UnboundedSender<Fact>,
}

/// An observation, and what to do once it is committed.
#[derive(Debug)]
pub(super) struct Fact {
    pub(super) observation: Observation,
    pub(super) once_committed: Option<BootMark>,
}

impl Hands {
    pub(super) fn new(
        runtime: Runtime,
        images: ImageStore,
        facts: mpsc::UnboundedSender<Fact>,
    ) -> Self {
        Self { runtime, images, facts }
    }

    /// Starts to carry out `action`.
    pub(super) fn act(&self, action: Action) {
        let hands = self.clone();
        tokio::spawn(async move {
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

    /// Looks for what still runs from before, reports it, and ends with `Scanned`.
    pub(super) fn scan(&self, boot: BootMark) {
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
            for task in found {
                hands.report_found(task);
            }
            let observation = Observation::Scanned { rebooted: boot.rebooted() };
            let _ = hands.facts.send(Fact { observation, once_committed: Some(boot) });
        });
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
                    self.report(Observation::Started { run, at: started_at });
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
            Action::Pull { image, fall_back_to_cached } => {
                self.pull(image, fall_back_to_cached).await
            }
            Action::Start(start) => self.start(*start).await,
            Action::Stop(run) => self.signal(run, Signal::Stop).await,
            Action::Kill(run) => self.signal(run, Signal::Kill).await,
            Action::Probe { run, command, timeout } => self.probe(run, command, timeout).await,
            Action::Release { task, generation } => {
                if let Err(error) = self.runtime.release(&task).await {
                    tracing::warn!(%task, %error, "the task's resources could not all be removed");
                }
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

    async fn pull(&self, image: String, fall_back_to_cached: bool) -> Observation {
        match self.images.pull(&image, |_| ()).await {
            Ok(digest) => Observation::ImageReady { image, digest },
            Err(error) => match self.images.resolve(&image).filter(|_| fall_back_to_cached) {
                Some(digest) => {
                    tracing::warn!(image, %error, "the image cannot be pulled, the local one is used");
                    Observation::ImageReady { image, digest }
                }
                None => Observation::ImageFailed { image, reason: error.to_string() },
            },
        }
    }

    async fn start(&self, start: StartContainer) -> Observation {
        let run = start.run.clone();
        let image = match self.images.unpacked(&start.image_digest).await {
            Ok(image) => image,
            Err(error) => {
                return Observation::StartFailed {
                    run,
                    reason: format!("CannotCreateContainerError: {error}"),
                };
            }
        };
        let settings = ImageSettings {
            env: image.config.env,
            entrypoint: image.config.entrypoint,
            cmd: image.config.cmd,
            user: Some(image.config.user).filter(|user| !user.is_empty()),
            working_dir: Some(image.config.working_dir).filter(|dir| !dir.is_empty()),
            stop_signal: image.config.stop_signal,
            labels: image.config.labels,
        };
        match self.runtime.start(Launch { start, image: settings, layers: image.layers }).await {
            Ok(at) => Observation::Started { run, at },
            Err(error) => Observation::StartFailed { run, reason: error.to_string() },
        }
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
