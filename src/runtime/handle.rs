//! The agent's side of the runtime.

use super::admission::Admission;
use super::error::{RuntimeError, StartError};
use super::event::{Event, Found, FoundContainer};
use super::launch::Launch;
use super::layout::{self, Layout};
use super::link::{Link, LinkError, Listed};
use super::logs::{LogDefaults, LogDirectory, LogError};
use super::network::{NetworkNamespace, NetworkScope};
use super::preflight;
use super::processes::{self, Process};
use super::protocol::{Message, Request, Stage};
use super::resources::{Resources, create_private};
use super::seal::SealedProgram;
use super::socket;
use super::usage::{self, Usage};
use super::volume::Volumes;
use crate::model::{Generation, TaskId, Timestamp};
use crate::plan::action::ContainerRun;
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// Where the runtime works.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Kept over reboots.
    pub state_dir: PathBuf,
    /// Gone after a reboot.
    pub run_dir: PathBuf,
    /// The shared volumes; kept over reboots.
    pub volumes_dir: PathBuf,
    /// The control group that holds those of the tasks, relative to the root.
    pub cgroup_parent: String,
    /// For containers whose definition says nothing about logs.
    pub log: LogDefaults,
    /// Whether containers may be privileged.
    pub allow_privileged: bool,
}

/// Which signal to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// The image's stop signal, SIGTERM unless it names another.
    Stop,
    /// SIGKILL.
    Kill,
}

/// How long a shim may take to end after it was asked to.
const RELEASE_PATIENCE: Duration = Duration::from_secs(30);

/// The handle; clones share one runtime.
#[derive(Debug, Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    resources: Arc<Resources>,
    program: SealedProgram,
    events: mpsc::UnboundedSender<Event>,
    tasks: Mutex<BTreeMap<TaskId, Slot>>,
}

/// The connection to a task's shim; locked while it is made or ended.
type Slot = Arc<tokio::sync::Mutex<Option<Arc<Link>>>>;

impl Runtime {
    /// The directory of what tasks have until a reboot.
    pub(super) fn run_tasks(&self) -> PathBuf {
        self.inner.resources.layout.run_tasks()
    }

    /// Looks whether containers can run here, and seals the running program for the shims.
    ///
    /// # Errors
    /// One line for what is missing, with the remedy.
    pub fn open(
        config: RuntimeConfig,
        events: mpsc::UnboundedSender<Event>,
    ) -> Result<Self, RuntimeError> {
        let program = fs::read_link("/proc/self/exe")
            .map_err(|source| RuntimeError::File { path: "/proc/self/exe".into(), source })?;
        Self::open_with_program(config, events, &program)
    }

    /// As [`Runtime::open`], with shims executed from `program`: for programs that are not `coracle` themselves.
    ///
    /// # Errors
    /// As [`Runtime::open`].
    pub fn open_with_program(
        config: RuntimeConfig,
        events: mpsc::UnboundedSender<Event>,
        program: &Path,
    ) -> Result<Self, RuntimeError> {
        let hierarchy = preflight::check()?;
        // The shim works in `/`.
        let absolute = |path: PathBuf| {
            std::path::absolute(&path).map_err(|source| RuntimeError::File { path, source })
        };
        let layout =
            Layout { state_dir: absolute(config.state_dir)?, run_dir: absolute(config.run_dir)? };
        let empty = layout.run_dir.join("empty");
        for directory in [layout.state_tasks(), layout.logs(), layout.run_tasks(), empty.clone()] {
            create_private(&directory)?;
        }
        let program = SealedProgram::new(program, &empty)
            .map_err(|source| RuntimeError::Seal { path: program.to_owned(), source })?;
        Ok(Self {
            inner: Arc::new(Inner {
                resources: Arc::new(Resources {
                    layout,
                    volumes_dir: absolute(config.volumes_dir)?,
                    cgroup_parent: config.cgroup_parent.trim_matches('/').to_owned(),
                    log: config.log,
                    hierarchy,
                    admission: Admission::new(config.allow_privileged),
                }),
                program,
                events,
                tasks: Mutex::new(BTreeMap::new()),
            }),
        })
    }

    /// Where the logs of all tasks are.
    #[must_use]
    pub fn logs(&self) -> LogDirectory {
        LogDirectory::new(&self.inner.resources.layout.state_dir)
    }

    /// The volumes that tasks share.
    #[must_use]
    pub fn volumes(&self) -> Volumes {
        Volumes::new(self.inner.resources.volumes_dir.clone())
    }

    /// Connects to the shims that live, reads what is recorded of the others, and kills and removes what they left.
    ///
    /// # Errors
    /// When the directories cannot be read. What goes wrong with one task does not hide the others.
    pub async fn scan(&self) -> Result<Vec<Found>, RuntimeError> {
        let inner = Arc::clone(&self.inner.resources);
        let tasks = blocking(move || inner.known_tasks()).await??;
        let mut found = Vec::new();
        for task in &tasks {
            found.extend(self.scan_task(task).await?);
        }
        let inner = Arc::clone(&self.inner.resources);
        blocking(move || inner.remove_orphans(&tasks)).await?;
        Ok(found)
    }

    async fn scan_task(&self, task: &TaskId) -> Result<Option<Found>, RuntimeError> {
        let slot = self.slot(task);
        let mut slot = slot.lock().await;
        let alive = match slot.take().filter(|l| l.is_open()) {
            Some(link) => link.list().await.ok().map(|listed| (link, listed)),
            None => self.connect(task).await.unwrap_or_default(),
        };
        let inner = Arc::clone(&self.inner.resources);
        let id = task.clone();
        let Some((link, (reports, networks))) = alive else {
            let (generation, containers, has_files) =
                blocking(move || inner.recorded(&id)).await??;
            return Ok(Some(Found {
                task: task.clone(),
                generation,
                shim_alive: false,
                containers,
                networks: Vec::new(),
                has_files,
            }));
        };
        let generation = link.generation;
        *slot = Some(link);
        let containers = reports.into_iter().map(FoundContainer::from).collect();
        let task = task.clone();
        let shim_alive = true;
        Ok(Some(Found { task, generation, shim_alive, containers, networks, has_files: true }))
    }

    /// Does all of a start that nobody can see from inside: makes the container, and does not execute its program.
    ///
    /// [`Runtime::start`] must follow, or [`Runtime::abandon`]; when this process ends before, the shim undoes it.
    ///
    /// # Errors
    /// When the task's shim cannot be reached, or an earlier generation has left something, which only a start may
    /// replace. What else goes wrong the start tells.
    pub async fn prepare(&self, launch: Launch) -> Result<(), RuntimeError> {
        let run = launch.start.run.clone();
        if let Err(refused) = self.inner.resources.admission.check(&launch.start.definition) {
            return Err(RuntimeError::Shim { task: run.task, reason: refused.to_string() });
        }
        self.check_generation(&run).await?;
        let link = self.shim_for(&run).await?;
        let inner = Arc::clone(&self.inner.resources);
        blocking(move || inner.write_launch(launch)).await??;
        let ContainerRun { task, container, runtime_id, .. } = run;
        link.ask(|id| Request::Prepare { id, container, runtime_id })
            .await
            .map_err(|error| shim_error(&task, &error))?;
        Ok(())
    }

    /// Fails when an earlier generation of the task has left something, which only a start may replace.
    ///
    /// # Errors
    /// As it says.
    pub async fn check_generation(&self, run: &ContainerRun) -> Result<(), RuntimeError> {
        let (inner, id) = (Arc::clone(&self.inner.resources), run.task.clone());
        if blocking(move || inner.generation(&id)).await?.is_some_and(|g| g != run.generation) {
            return Err(RuntimeError::Shim {
                task: run.task.clone(),
                reason: "an earlier generation of the task has left something".to_owned(),
            });
        }
        Ok(())
    }

    /// The network namespace of that scope; the task's shim, and the namespace, are made if they are missing.
    ///
    /// # Errors
    /// When the shim cannot be reached or the kernel gives no namespace.
    pub async fn network_namespace(
        &self,
        run: &ContainerRun,
        scope: &NetworkScope,
    ) -> Result<NetworkNamespace, RuntimeError> {
        let link = self.shim_for(run).await?;
        let failed = |error| shim_error(&run.task, &error);
        let asked = || link.ask(|id| Request::Namespace { id, scope: scope.clone() });
        let Message::Namespace { pid, fd, .. } = asked().await.map_err(failed)? else {
            return Err(failed(LinkError::Unexpected));
        };
        let path = PathBuf::from(format!("/proc/{pid}/fd/{fd}"));
        let opened = path.clone();
        let fd = blocking(move || fs::File::open(opened).map(OwnedFd::from))
            .await?
            .map_err(|source| RuntimeError::File { path, source })?;
        // A shim that answers still was there when its descriptor was opened: the number was no other process's.
        match asked().await.map_err(failed)? {
            Message::Namespace { record, .. } => Ok(NetworkNamespace { fd, record }),
            _ => Err(failed(LinkError::Unexpected)),
        }
    }

    /// Has the task's shim keep `record` with a network namespace; [`Runtime::scan`] finds it again.
    ///
    /// # Errors
    /// When the shim is gone, and the namespace with it.
    pub async fn record_network(
        &self,
        task: &TaskId,
        scope: &NetworkScope,
        record: serde_json::Value,
    ) -> Result<(), RuntimeError> {
        let failed = |error| shim_error(task, &error);
        let link = self.existing(task).await?.ok_or_else(|| failed(LinkError::Closed))?;
        link.ask(|id| Request::Record { id, scope: scope.clone(), record })
            .await
            .map_err(failed)?;
        Ok(())
    }

    /// Undoes [`Runtime::prepare`]. What has been started stays.
    ///
    /// # Errors
    /// When the task's shim cannot be reached.
    pub async fn abandon(&self, run: &ContainerRun) -> Result<(), RuntimeError> {
        let Some(link) = self.existing(&run.task).await? else { return Ok(()) };
        let (container, runtime_id) = (run.container.clone(), run.runtime_id.clone());
        match link.ask(|id| Request::Abandon { id, container, runtime_id }).await {
            Ok(_) | Err(LinkError::Closed) => Ok(()),
            Err(error) => Err(shim_error(&run.task, &error)),
        }
    }

    /// Starts a container that has been prepared.
    ///
    /// # Errors
    /// In ECS's words.
    pub async fn start_prepared(&self, run: &ContainerRun) -> Result<Timestamp, StartError> {
        let resources = |e: RuntimeError| StartError::ResourceInitialization(e.to_string());
        let link = self.shim_for(run).await.map_err(resources)?;
        Self::ask_start(&link, run.clone()).await
    }

    /// Starts a container, and the task's shim before it if there is none; once per run however often it is asked.
    ///
    /// # Errors
    /// In ECS's words.
    pub async fn start(&self, launch: Launch) -> Result<Timestamp, StartError> {
        let run = launch.start.run.clone();
        self.inner.resources.admission.check(&launch.start.definition)?;
        let resources = |e: RuntimeError| StartError::ResourceInitialization(e.to_string());
        let link = self.shim_for(&run).await.map_err(resources)?;
        let inner = Arc::clone(&self.inner.resources);
        blocking(move || inner.write_launch(launch)).await.and_then(|r| r).map_err(resources)?;
        Self::ask_start(&link, run).await
    }

    async fn ask_start(link: &Arc<Link>, run: ContainerRun) -> Result<Timestamp, StartError> {
        let answer = link
            .ask(|id| Request::Start { id, container: run.container, runtime_id: run.runtime_id })
            .await;
        match answer {
            Ok(Message::Started { at, .. }) => Ok(at),
            Err(LinkError::Failed(failure)) => Err(match failure.stage {
                Stage::Resources => StartError::ResourceInitialization(failure.reason),
                Stage::Create | Stage::Request => StartError::CannotCreate(failure.reason),
                Stage::Start | Stage::Program => StartError::CannotStart(failure.reason),
            }),
            Ok(_) => Err(StartError::CannotStart(LinkError::Unexpected.to_string())),
            Err(error) => Err(StartError::CannotStart(error.to_string())),
        }
    }

    /// Sends a signal to a run's process. That it is gone is fine.
    ///
    /// # Errors
    /// When the shim cannot be talked to.
    pub async fn signal(&self, run: &ContainerRun, signal: Signal) -> Result<(), RuntimeError> {
        let Some(link) = self.existing(&run.task).await? else { return Ok(()) };
        let request = |id| Request::Signal {
            id,
            container: run.container.clone(),
            runtime_id: run.runtime_id.clone(),
            kill: signal == Signal::Kill,
        };
        match link.ask(request).await {
            // A shim that ends takes its containers along.
            Ok(_) | Err(LinkError::Closed) => Ok(()),
            Err(error) => Err(shim_error(&run.task, &error)),
        }
    }

    /// Runs a command in a container and waits for its exit code; none when it took too long and was killed.
    ///
    /// # Errors
    /// When the container does not run or the command cannot be executed.
    pub async fn probe(
        &self,
        run: &ContainerRun,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<Option<i32>, RuntimeError> {
        let gone = || RuntimeError::Shim {
            task: run.task.clone(),
            reason: "the container does not run".to_owned(),
        };
        let link = self.existing(&run.task).await?.ok_or_else(gone)?;
        let request = |id| Request::Probe {
            id,
            container: run.container.clone(),
            runtime_id: run.runtime_id.clone(),
            command,
            timeout_millis: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
        };
        match link.ask(request).await {
            Ok(Message::Probed { exit_code, .. }) => Ok(exit_code),
            Ok(_) => Err(shim_error(&run.task, &LinkError::Unexpected)),
            Err(error) => Err(shim_error(&run.task, &error)),
        }
    }

    /// Where a task's shim listens.
    pub(super) fn task_directory(&self, task: &TaskId) -> PathBuf {
        self.inner.resources.layout.task_run(task)
    }

    /// What a container uses now; zeroes when it does not run.
    ///
    /// # Errors
    /// When the program is shutting down.
    pub async fn usage(&self, run: &ContainerRun) -> Result<Usage, RuntimeError> {
        let (inner, run) = (Arc::clone(&self.inner.resources), run.clone());
        blocking(move || {
            let group = inner.group(&run.task).join(run.container.as_str());
            let mut usage = inner.hierarchy.usage(&group);
            if let Some(pid) = inner.hierarchy.processes(&group).first() {
                usage.network = usage::network_of(*pid);
            }
            usage
        })
        .await
    }

    /// The processes of a container; none when it does not run.
    ///
    /// # Errors
    /// When the program is shutting down.
    pub async fn processes(&self, run: &ContainerRun) -> Result<Vec<Process>, RuntimeError> {
        let (inner, run) = (Arc::clone(&self.inner.resources), run.clone());
        blocking(move || {
            let group = inner.group(&run.task).join(run.container.as_str());
            processes::look(inner.hierarchy.processes(&group))
        })
        .await
    }

    /// Removes all that a task has on the box but its logs and exit records; what runs is killed.
    ///
    /// # Errors
    /// When something could not be removed; doing it again is safe.
    pub async fn release(&self, task: &TaskId) -> Result<(), RuntimeError> {
        let slot = self.slot(task);
        let mut slot = slot.lock().await;
        let link = match slot.take().filter(|l| l.is_open()) {
            Some(link) => Some(link),
            None => self.connect(task).await?.map(|(link, _)| link),
        };
        if let Some(link) = link {
            self.end_shim(task, &link).await?;
        }
        let (inner, id) = (Arc::clone(&self.inner.resources), task.clone());
        blocking(move || inner.clean(&id)).await??;
        let (inner, logs) = (Arc::clone(&self.inner.resources), self.logs());
        blocking(move || {
            let is_over = |task: &TaskId| !inner.layout.task_run(task).exists();
            // Too much is tried to be removed again with the next task.
            if let Err(error) = logs.bound(inner.log.max_total, is_over) {
                tracing::warn!(%error, "old logs cannot be removed");
            }
        })
        .await?;
        drop(slot);
        self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner).remove(task);
        Ok(())
    }

    /// Removes the logs and exit records of a released task; logs that are being forwarded go when that is done.
    ///
    /// # Errors
    /// When something could not be removed; doing it again is safe.
    pub async fn forget(&self, task: &TaskId) -> Result<(), RuntimeError> {
        let (inner, id, logs) = (Arc::clone(&self.inner.resources), task.clone(), self.logs());
        blocking(move || {
            let LogError { path, source } = match logs.forget(&id) {
                Ok(()) => {
                    let path = inner.layout.task_state(&id);
                    match layout::remove_tree(&path) {
                        Ok(()) => return Ok(()),
                        Err(source) => LogError { path, source },
                    }
                }
                Err(error) => error,
            };
            Err(RuntimeError::File { path, source })
        })
        .await?
    }

    /// Removes the control group that holds those of the tasks, if no task is left in it. For programs that end together
    /// with their tasks; nothing may be started at the same time.
    ///
    /// # Errors
    /// When the program is shutting down.
    pub async fn close(&self) -> Result<(), RuntimeError> {
        let inner = Arc::clone(&self.inner.resources);
        blocking(move || inner.hierarchy.remove_empty(Path::new(&inner.cgroup_parent))).await
    }

    fn slot(&self, task: &TaskId) -> Slot {
        let mut tasks = self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tasks.entry(task.clone()).or_default())
    }

    /// The task's shim if it has one.
    async fn existing(&self, task: &TaskId) -> Result<Option<Arc<Link>>, RuntimeError> {
        let slot = self.slot(task);
        let mut slot = slot.lock().await;
        if let Some(link) = slot.as_ref().filter(|l| l.is_open()) {
            return Ok(Some(Arc::clone(link)));
        }
        *slot = self.connect(task).await?.map(|(link, _)| link);
        Ok(slot.clone())
    }

    /// The task's shim of the run's generation, made if there is none.
    async fn shim_for(&self, run: &ContainerRun) -> Result<Arc<Link>, RuntimeError> {
        let slot = self.slot(&run.task);
        let mut slot = slot.lock().await;
        let known = match slot.take().filter(|l| l.is_open()) {
            Some(link) => Some(link),
            None => self.connect(&run.task).await?.map(|(link, _)| link),
        };
        if let Some(link) = known {
            if link.generation > run.generation {
                *slot = Some(link);
                return Err(RuntimeError::Shim {
                    task: run.task.clone(),
                    reason: "a newer generation of the task is running".to_owned(),
                });
            }
            if link.generation == run.generation {
                *slot = Some(Arc::clone(&link));
                return Ok(link);
            }
            self.end_shim(&run.task, &link).await?;
        }
        let (inner, id, generation) =
            (Arc::clone(&self.inner.resources), run.task.clone(), run.generation);
        let listener = blocking(move || inner.prepare(&id, generation)).await??;
        self.spawn(&run.task, listener)?;
        let (link, _) = self.connect(&run.task).await?.ok_or_else(|| RuntimeError::Shim {
            task: run.task.clone(),
            reason: "the task's shim did not start".to_owned(),
        })?;
        *slot = Some(Arc::clone(&link));
        Ok(link)
    }

    fn spawn(&self, task: &TaskId, listener: OwnedFd) -> Result<(), RuntimeError> {
        let inner = &self.inner;
        let path = inner.program.path();
        let mut child = tokio::process::Command::new(&path)
            .arg0("coracle")
            .arg("shim")
            .arg(task.as_str())
            .arg(&inner.resources.layout.state_dir)
            .arg(&inner.resources.layout.run_dir)
            .arg(&inner.resources.cgroup_parent)
            .env_clear()
            .stdin(Stdio::from(listener))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| RuntimeError::File { path, source })?;
        tokio::spawn(async move {
            // Only so that it does not stay a zombie; the connection tells when it is gone.
            let _ = child.wait().await;
        });
        Ok(())
    }

    async fn connect(&self, task: &TaskId) -> Result<Option<(Arc<Link>, Listed)>, RuntimeError> {
        let directory = self.inner.resources.layout.task_run(task);
        let stream = {
            let directory = directory.clone();
            blocking(move || socket::connect(&directory, layout::SOCKET)).await?
        };
        let Some(stream) =
            stream.map_err(|source| RuntimeError::File { path: directory, source })?
        else {
            return Ok(None);
        };
        let (inner, id) = (Arc::clone(&self.inner), task.clone());
        let lost = move |generation| {
            tokio::spawn(async move { inner.lost(id, generation).await });
        };
        match Link::open(task.clone(), stream, self.inner.events.clone(), lost).await {
            Ok(open) => Ok(Some(open)),
            // It ended between the connection and its first answer.
            Err(LinkError::Closed | LinkError::Io(_)) => Ok(None),
            Err(error) => Err(shim_error(task, &error)),
        }
    }

    async fn end_shim(&self, task: &TaskId, link: &Arc<Link>) -> Result<(), RuntimeError> {
        link.releasing.store(true, Ordering::Release);
        let asked = link.ask(|id| Request::Release { id });
        match tokio::time::timeout(RELEASE_PATIENCE, asked).await {
            Ok(Ok(_) | Err(LinkError::Closed | LinkError::Io(_))) => Ok(()),
            Ok(Err(error)) => Err(shim_error(task, &error)),
            Err(_) => Err(RuntimeError::Shim {
                task: task.clone(),
                reason: "the task's shim does not end".to_owned(),
            }),
        }
    }
}

impl Inner {
    /// A shim's connection ended though nobody asked it to.
    async fn lost(self: Arc<Self>, task: TaskId, generation: Generation) {
        let (inner, id) = (Arc::clone(&self.resources), task.clone());
        let removed = blocking(move || inner.remove_group(&id)).await.and_then(|r| r);
        let mut reason =
            "the task's shim ended unexpectedly; its containers were killed".to_owned();
        if let Err(error) = removed {
            reason = format!("{reason}, but not all: {error}");
        }
        // Without a receiver the agent is on its way down.
        let _ = self.events.send(Event::ShimLost { task, generation, reason });
    }
}

fn shim_error(task: &TaskId, error: &LinkError) -> RuntimeError {
    RuntimeError::Shim { task: task.clone(), reason: error.to_string() }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RuntimeError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| RuntimeError::ShuttingDown)
}
