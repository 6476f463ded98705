//! The agent's side of the runtime.

use super::cgroup::{Hierarchy, Usage};
use super::launch::{Launch, LaunchFile};
use super::layout::{self, Layout};
use super::link::{Link, LinkError};
use super::logs::{LogDefaults, LogDirectory};
use super::preflight::{self, PreflightError};
use super::protocol::{Message, Report, Request, RunState, Stage};
use super::record::{self, Exit, TaskRecord};
use super::seal::SealedProgram;
use super::socket;
use crate::model::{ContainerName, Generation, RuntimeId, TaskId, Timestamp};
use crate::plan::action::ContainerRun;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
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
    /// The control group that holds those of the tasks, relative to the root.
    pub cgroup_parent: String,
    /// For containers whose definition says nothing about logs.
    pub log: LogDefaults,
}

/// What the runtime reports unasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A container's process ended.
    Exited {
        /// Which run.
        run: ContainerRun,
        /// How; 128 + n for signal n. None when nobody could tell.
        exit_code: Option<i32>,
        /// Whether the kernel killed something in it for want of memory.
        out_of_memory: bool,
        /// When.
        at: Timestamp,
    },
    /// The task's shim is gone though it should not be; its containers have been killed.
    ShimLost {
        /// The task.
        task: TaskId,
        /// Of the task.
        generation: Generation,
        /// What is known.
        reason: String,
    },
}

/// Which signal to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// The image's stop signal, SIGTERM unless it names another.
    Stop,
    /// SIGKILL.
    Kill,
}

/// A task that a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The task.
    pub task: TaskId,
    /// The generation it was started with.
    pub generation: Generation,
    /// Without a shim nothing of it runs any more.
    pub shim_alive: bool,
    /// Its containers, as far as something is known of them.
    pub containers: Vec<FoundContainer>,
}

/// A container that a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundContainer {
    /// The container.
    pub container: ContainerName,
    /// Its latest run.
    pub runtime_id: RuntimeId,
    /// What the run is at.
    pub state: RunState,
}

/// Why the runtime could not do something.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The box lacks something.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// A file or directory.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A control group.
    #[error(transparent)]
    Cgroup(#[from] super::cgroup::CgroupError),
    /// The program cannot be protected from what runs in containers.
    #[error("cannot seal the program {path}: {source}")]
    Seal {
        /// The program.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The shim.
    #[error("task {task}: {reason}")]
    Shim {
        /// The task.
        task: TaskId,
        /// What it said, or what became of it.
        reason: String,
    },
    /// The runtime of the program is going down.
    #[error("the program is shutting down")]
    ShuttingDown,
}

/// Why a container was not started, in ECS's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// It could not be made.
    #[error("CannotCreateContainerError: {0}")]
    CannotCreate(String),
    /// It was made, its process could not be run.
    #[error("CannotStartContainerError: {0}")]
    CannotStart(String),
    /// What it needs of the box could not be set up.
    #[error("ResourceInitializationError: {0}")]
    ResourceInitialization(String),
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
    layout: Layout,
    cgroup_parent: String,
    log: LogDefaults,
    hierarchy: Hierarchy,
    program: SealedProgram,
    events: mpsc::UnboundedSender<Event>,
    tasks: Mutex<BTreeMap<TaskId, Slot>>,
}

/// The connection to a task's shim; locked while it is made or ended.
type Slot = Arc<tokio::sync::Mutex<Option<Arc<Link>>>>;

impl Runtime {
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
                layout,
                cgroup_parent: config.cgroup_parent.trim_matches('/').to_owned(),
                log: config.log,
                hierarchy,
                program,
                events,
                tasks: Mutex::new(BTreeMap::new()),
            }),
        })
    }

    /// Where the logs of all tasks are.
    #[must_use]
    pub fn logs(&self) -> LogDirectory {
        LogDirectory::new(&self.inner.layout.state_dir)
    }

    /// Connects to the shims that live, reads what is recorded of the others, and kills and removes what they left.
    ///
    /// # Errors
    /// When the directories cannot be read. What goes wrong with one task does not hide the others.
    pub async fn scan(&self) -> Result<Vec<Found>, RuntimeError> {
        let inner = Arc::clone(&self.inner);
        let tasks = blocking(move || inner.known_tasks()).await??;
        let mut found = Vec::new();
        for task in &tasks {
            found.extend(self.scan_task(task).await?);
        }
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.remove_orphans(&tasks)).await?;
        Ok(found)
    }

    async fn scan_task(&self, task: &TaskId) -> Result<Option<Found>, RuntimeError> {
        let slot = self.slot(task);
        let mut slot = slot.lock().await;
        let alive = self.connect(task).await.unwrap_or_default();
        let inner = Arc::clone(&self.inner);
        let id = task.clone();
        let Some((link, reports)) = alive else {
            let (generation, containers) = blocking(move || inner.recorded(&id)).await??;
            let shim_alive = false;
            return Ok(Some(Found { task: task.clone(), generation, shim_alive, containers }));
        };
        let generation = link.generation;
        *slot = Some(link);
        let containers = reports.into_iter().map(FoundContainer::from).collect();
        Ok(Some(Found { task: task.clone(), generation, shim_alive: true, containers }))
    }

    /// Starts a container, and the task's shim before it if there is none; once per run however often it is asked.
    ///
    /// # Errors
    /// In ECS's words.
    pub async fn start(&self, launch: Launch) -> Result<Timestamp, StartError> {
        let run = launch.start.run.clone();
        let resources = |e: RuntimeError| StartError::ResourceInitialization(e.to_string());
        let link = self.shim_for(&run).await.map_err(resources)?;
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.write_launch(launch)).await.and_then(|r| r).map_err(resources)?;
        let answer = link
            .ask(|id| Request::Start { id, container: run.container, runtime_id: run.runtime_id })
            .await;
        match answer {
            Ok(Message::Started { at, .. }) => Ok(at),
            Err(LinkError::Failed(failure)) => Err(match failure.stage {
                Stage::Resources => StartError::ResourceInitialization(failure.reason),
                Stage::Create | Stage::Request => StartError::CannotCreate(failure.reason),
                Stage::Start => StartError::CannotStart(failure.reason),
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

    /// What a container uses now.
    pub async fn usage(&self, run: &ContainerRun) -> Result<Usage, RuntimeError> {
        let (inner, run) = (Arc::clone(&self.inner), run.clone());
        blocking(move || {
            let group = inner.group(&run.task).join(run.container.as_str());
            inner.hierarchy.usage(&group)
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
        let (inner, id) = (Arc::clone(&self.inner), task.clone());
        blocking(move || inner.clean(&id)).await??;
        drop(slot);
        self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner).remove(task);
        Ok(())
    }

    /// Removes the logs and exit records of a released task.
    ///
    /// # Errors
    /// When something could not be removed; doing it again is safe.
    pub async fn forget(&self, task: &TaskId) -> Result<(), RuntimeError> {
        let (inner, id) = (Arc::clone(&self.inner), task.clone());
        blocking(move || {
            for directory in [inner.layout.task_logs(&id), inner.layout.task_state(&id)] {
                layout::remove_tree(&directory)
                    .map_err(|source| RuntimeError::File { path: directory, source })?;
            }
            Ok(())
        })
        .await?
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
        let (inner, id, generation) = (Arc::clone(&self.inner), run.task.clone(), run.generation);
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
            .arg(&inner.layout.state_dir)
            .arg(&inner.layout.run_dir)
            .arg(&inner.cgroup_parent)
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

    async fn connect(
        &self,
        task: &TaskId,
    ) -> Result<Option<(Arc<Link>, Vec<Report>)>, RuntimeError> {
        let directory = self.inner.layout.task_run(task);
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
    fn group(&self, task: &TaskId) -> PathBuf {
        PathBuf::from(&self.cgroup_parent).join(task.as_str())
    }

    /// Tasks that left something in the run or the state directory.
    fn known_tasks(&self) -> Result<BTreeSet<TaskId>, RuntimeError> {
        let mut tasks = BTreeSet::new();
        for directory in [self.layout.run_tasks(), self.layout.state_tasks()] {
            let entries = fs::read_dir(&directory)
                .map_err(|source| RuntimeError::File { path: directory, source })?;
            tasks.extend(
                entries
                    .filter_map(Result::ok)
                    .filter_map(|e| e.file_name().into_string().ok())
                    .filter_map(|name| TaskId::new(name).ok()),
            );
        }
        Ok(tasks)
    }

    /// What the records say of a task without a shim; kills and removes what is left of it.
    fn recorded(&self, task: &TaskId) -> Result<(Generation, Vec<FoundContainer>), RuntimeError> {
        self.remove_group(task)?;
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| RuntimeError::File { path, source }
        };
        let path = self.layout.task_file(task);
        // A record that a power cut left half written is none.
        let record: TaskRecord = record::read(&path).unwrap_or_default().unwrap_or_default();
        let mut containers = Vec::new();
        let directory = self.layout.task_state(task);
        for entry in fs::read_dir(&directory).into_iter().flatten() {
            let path = entry.map_err(file(&directory))?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            let Some(container) =
                name.strip_suffix(".exit").and_then(|n| ContainerName::new(n).ok())
            else {
                continue;
            };
            if let Ok(Some(exit)) = record::read::<Exit>(&path) {
                containers.push(FoundContainer {
                    container,
                    runtime_id: exit.runtime_id.clone(),
                    state: RunState::Exited(exit),
                });
            }
        }
        Ok((record.generation, containers))
    }

    /// Kills and removes control groups of tasks that nothing else is known of.
    fn remove_orphans(&self, known: &BTreeSet<TaskId>) {
        let parent = PathBuf::from(&self.cgroup_parent);
        for name in self.hierarchy.children(&parent) {
            if let Ok(task) = TaskId::new(name)
                && !known.contains(&task)
                && let Err(error) = self.remove_group(&task)
            {
                tracing::warn!(%task, %error, "a control group that belongs to no task stays");
            }
        }
    }

    fn remove_group(&self, task: &TaskId) -> Result<(), RuntimeError> {
        let group = self.group(task);
        self.hierarchy.kill(&group)?;
        Ok(self.hierarchy.remove(&group)?)
    }

    /// Makes a task's directories and listens where its shim will.
    fn prepare(&self, task: &TaskId, generation: Generation) -> Result<OwnedFd, RuntimeError> {
        // What an earlier generation wrote into its containers' file systems is not this one's.
        self.clean(task)?;
        let (state, run) = (self.layout.task_state(task), self.layout.task_run(task));
        create_private(&state)?;
        create_private(&run)?;
        let path = self.layout.task_file(task);
        record::write(&path, &TaskRecord { generation })
            .map_err(|source| RuntimeError::File { path, source })?;
        socket::listen(&run, layout::SOCKET)
            .map(OwnedFd::from)
            .map_err(|source| RuntimeError::File { path: run.join(layout::SOCKET), source })
    }

    fn write_launch(&self, launch: Launch) -> Result<(), RuntimeError> {
        let file =
            LaunchFile::new(launch, self.layout.clone(), self.cgroup_parent.clone(), self.log);
        let path = self.layout.launch_file(&file.task, &file.container);
        create_private(path.parent().unwrap_or(Path::new("/")))?;
        record::write_volatile(&path, &file).map_err(|source| RuntimeError::File { path, source })
    }

    /// Removes what a task without a shim has, but for logs and exit records.
    fn clean(&self, task: &TaskId) -> Result<(), RuntimeError> {
        self.remove_group(task)?;
        let remove = |path: PathBuf| {
            layout::remove_tree(&path).map_err(|source| RuntimeError::File { path, source })
        };
        remove(self.layout.task_run(task))?;
        let state = self.layout.task_state(task);
        for entry in fs::read_dir(&state).into_iter().flatten().filter_map(Result::ok) {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                remove(entry.path())?;
            }
        }
        Ok(())
    }

    /// A shim's connection ended though nobody asked it to.
    async fn lost(self: Arc<Self>, task: TaskId, generation: Generation) {
        let (inner, id) = (Arc::clone(&self), task.clone());
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

impl From<Report> for FoundContainer {
    fn from(report: Report) -> Self {
        let Report { container, runtime_id, state } = report;
        Self { container, runtime_id, state }
    }
}

fn shim_error(task: &TaskId, error: &LinkError) -> RuntimeError {
    RuntimeError::Shim { task: task.clone(), reason: error.to_string() }
}

fn create_private(path: &Path) -> Result<(), RuntimeError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| RuntimeError::File { path: path.to_owned(), source })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RuntimeError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| RuntimeError::ShuttingDown)
}
