//! Starting containers: from the request over the creator's report to a run.

use super::output::{Output, read_some};
use super::signal::{send_signal, stop_signal};
use super::{Asker, Run, Shim, power};
use crate::model::{ContainerName, RuntimeId, TerminalSize};
use crate::runtime::launch::LaunchFile;
use crate::runtime::network::LaunchNetwork;
use crate::runtime::process::chain;
use crate::runtime::protocol::{Created, Failure, Message, RunState, Stage};
use crate::runtime::record::{self, Exit};
use crate::runtime::shim::creator;
use crate::runtime::shim::stdio::Stdio;
use crate::runtime::socket;
use crate::runtime::volume;
use crate::sys;
use rustix::pipe::{PipeFlags, pipe_with};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A creator at work.
#[derive(Debug)]
pub(super) struct Creation {
    pub(super) pid: i32,
    pub(super) report: OwnedFd,
    pub(super) text: Vec<u8>,
    pub(super) container: ContainerName,
    pub(super) runtime_id: RuntimeId,
    pub(super) stop_signal: i32,
    stop_timeout: Duration,
    pub(super) output: Output,
    streams: Streams,
    pub(super) askers: Vec<Asker>,
    pub(super) held: Option<Held>,
}

/// This side of a container's standard streams.
#[derive(Debug)]
enum Streams {
    Pipes {
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    /// The master comes through this before the program is executed.
    Terminal {
        master_from: UnixStream,
    },
}

/// The size of a terminal that nobody has looked at.
const UNWATCHED: TerminalSize = TerminalSize { rows: 24, columns: 80 };

/// A creation that stops before the program is executed.
#[derive(Debug)]
pub(super) struct Held {
    /// Takes the byte that lets it go on.
    go: OwnedFd,
    /// The connection that wants it; it is undone when that ends.
    connection: u64,
}

impl Shim {
    pub(super) fn start(
        &mut self,
        asker: Asker,
        container: ContainerName,
        runtime_id: RuntimeId,
    ) -> Result<(), Failure> {
        if !self.releasing.is_empty() {
            return Err(Failure::new(Stage::Request, "the task is being released"));
        }
        if let Some(creation) = self.creations.iter_mut().find(|c| c.container == container) {
            if creation.runtime_id != runtime_id {
                return Err(Failure::new(Stage::Request, "another run of it is being started"));
            }
            creation.askers.push(asker);
            if let Some(held) = creation.held.take() {
                // One that has failed meanwhile has said so in its report.
                let _ = rustix::io::write(&held.go, &[1]);
            }
            return Ok(());
        }
        if let Some(run) = self.runs.get(&container) {
            match run.state {
                _ if run.runtime_id == runtime_id => {
                    let at = match &run.state {
                        RunState::Running { started_at, .. } => *started_at,
                        RunState::Exited(exit) => exit.finished_at,
                    };
                    self.answer(asker, &Message::Started { id: asker.id, at });
                    return Ok(());
                }
                RunState::Running { .. } => {
                    return Err(Failure::new(Stage::Request, "an earlier run of it still runs"));
                }
                RunState::Exited(_) => {}
            }
        }
        // An earlier shim of the task may have seen this run to its end: no run begins twice.
        if let Some(exit) = self.ended(&container, &runtime_id) {
            self.answer(asker, &Message::Started { id: asker.id, at: exit.finished_at });
            return Ok(());
        }
        let mut creation = self.create(container, runtime_id, None)?;
        creation.askers.push(asker);
        self.creations.push(creation);
        Ok(())
    }

    /// How the run ended, if that is on record.
    fn ended(&self, container: &ContainerName, runtime_id: &RuntimeId) -> Option<Exit> {
        let path = self.arguments.layout.exit_record(&self.arguments.task, container);
        record::read::<Exit>(&path).ok().flatten().filter(|exit| exit.runtime_id == *runtime_id)
    }

    /// Begins a creation that waits for its start, unless there is something of the container already.
    pub(super) fn prepare(
        &mut self,
        connection: u64,
        container: ContainerName,
        runtime_id: RuntimeId,
    ) {
        let busy = self.creations.iter().any(|c| c.container == container)
            || self.runs.get(&container).is_some_and(|run| {
                run.runtime_id == runtime_id || matches!(run.state, RunState::Running { .. })
            });
        if busy || !self.releasing.is_empty() || self.ended(&container, &runtime_id).is_some() {
            return;
        }
        // What goes wrong here goes wrong again at the start, which tells.
        if let Ok(creation) = self.create(container, runtime_id, Some(connection)) {
            self.creations.push(creation);
        }
    }

    /// Undoes a creation that still waits for its start.
    pub(super) fn abandon(&mut self, container: &ContainerName, runtime_id: &RuntimeId) {
        let held = |c: &Creation| {
            c.held.is_some() && c.container == *container && c.runtime_id == *runtime_id
        };
        if let Some(at) = self.creations.iter().position(held) {
            let creation = self.creations.swap_remove(at);
            self.undo(&creation);
        }
    }

    /// Undoes what a connection that ended had prepared.
    pub(super) fn abandon_of(&mut self, connection: u64) {
        let held = |c: &mut Creation| c.held.as_ref().is_some_and(|h| h.connection == connection);
        let abandoned: Vec<_> = self.creations.extract_if(.., held).collect();
        for creation in &abandoned {
            self.undo(creation);
        }
    }

    fn undo(&self, creation: &Creation) {
        let group = self.group.join(creation.container.as_str());
        send_signal(creation.pid, libc::SIGKILL);
        let _ = self.hierarchy.kill(&group);
        let _ = self.hierarchy.remove(&group);
    }

    /// Volumes that are file systems are mounted where all containers of the task find them, and nobody else: here.
    fn leave_the_hosts_mounts(&mut self, launch: &LaunchFile) -> Result<(), Failure> {
        if self.own_namespace {
            return Ok(());
        }
        let resources = |text: String| Failure::new(Stage::Resources, text);
        if volume::needs_namespace(launch).map_err(|e| resources(chain(&e)))? {
            creator::private_mounts().map_err(|e| resources(format!("mount namespace: {e}")))?;
            self.own_namespace = true;
        }
        Ok(())
    }

    pub(super) fn create(
        &mut self,
        container: ContainerName,
        runtime_id: RuntimeId,
        held_by: Option<u64>,
    ) -> Result<Creation, Failure> {
        let resources = |what: &str| {
            let what = what.to_owned();
            move |e: io::Error| Failure::new(Stage::Resources, format!("{what}: {e}"))
        };
        let path = self.arguments.layout.launch_file(&self.arguments.task, &container);
        let launch: LaunchFile = record::read(&path)
            .map_err(resources("launch file"))?
            .filter(|l: &LaunchFile| l.runtime_id == runtime_id)
            .ok_or_else(|| Failure::new(Stage::Request, "its launch file is missing"))?;
        self.leave_the_hosts_mounts(&launch)?;
        let stop_signal = stop_signal(launch.image.stop_signal.as_deref())
            .map_err(|e| Failure::new(Stage::Create, e))?;
        let stop_timeout = power::stop_timeout(launch.definition.stop_timeout);
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|e| resources("pipe")(e.into()));
        let not_waiting = |fd: &OwnedFd| {
            rustix::io::ioctl_fionbio(fd, true).map_err(|e| resources("pipe")(e.into()))
        };
        let (report, child_report) = pipe()?;
        not_waiting(&report)?;
        let (streams, theirs) = if launch.definition.pseudo_terminal == Some(true) {
            let (own, other) = UnixStream::pair().map_err(resources("socket"))?;
            own.set_nonblocking(true).map_err(resources("socket"))?;
            let theirs = Stdio::Terminal { socket: other.into(), size: UNWATCHED };
            (Streams::Terminal { master_from: own }, theirs)
        } else {
            let (stdout, child_stdout) = pipe()?;
            let (stderr, child_stderr) = pipe()?;
            not_waiting(&stdout)?;
            not_waiting(&stderr)?;
            let (child_stdin, stdin) = match launch.definition.interactive {
                Some(true) => pipe().map(|(read, write)| (Some(read), Some(write)))?,
                _ => (None, None),
            };
            let theirs =
                Stdio::Pipes { stdin: child_stdin, stdout: child_stdout, stderr: child_stderr };
            (Streams::Pipes { stdin, stdout, stderr }, theirs)
        };
        let output = self.output(&launch)?;
        let (go, held) = match held_by {
            Some(connection) => {
                let (read, write) = pipe()?;
                (Some(read), Some(Held { go: write, connection }))
            }
            None => (None, None),
        };
        let shares = |mode: &Option<String>| mode.as_deref() == Some("task");
        let mut joined = self
            .shared
            .provide(
                shares(&launch.pid_mode),
                shares(&launch.ipc_mode),
                &self.arguments.layout.task_run(&self.arguments.task),
            )
            .map_err(resources("the task's namespaces"))?;
        if let LaunchNetwork::Namespace { scope, .. } = &launch.network {
            let missing = || Failure::new(Stage::Request, "its network namespace is missing");
            joined.network = Some(self.networks.path(scope).ok_or_else(missing)?);
        }
        let order = creator::Order {
            launch,
            own_namespace: self.own_namespace,
            joined,
            group: self.group.clone(),
            hierarchy: self.hierarchy.clone(),
            stdio: theirs,
            go,
            report: child_report,
        };
        let pid = creator::fork(order).map_err(resources("fork"))?;
        self.forked.insert(pid);
        Ok(Creation {
            pid,
            report,
            text: Vec::new(),
            container,
            runtime_id,
            stop_signal,
            stop_timeout,
            output,
            streams,
            askers: Vec::new(),
            held,
        })
    }

    /// The creator has said something, or ended.
    pub(super) fn creation_report(&mut self, pid: i32) {
        let Some(at) = self.creations.iter().position(|c| c.pid == pid) else { return };
        let creation = &mut self.creations[at];
        let ended = read_some(&creation.report, &mut creation.text);
        if !ended && !creation.text.contains(&b'\n') {
            return;
        }
        let creation = self.creations.swap_remove(at);
        let created = serde_json::from_slice(&creation.text).unwrap_or_else(|_| {
            let reason = "the process that creates the container ended unexpectedly";
            Created::Failed(Failure::new(Stage::Create, reason))
        });
        match created {
            Created::Running { pid } => self.started(creation, pid),
            // One that failed before its start is tried again by it, and the failure told then.
            Created::Failed(failure) => {
                let group = self.group.join(creation.container.as_str());
                let _ = self.hierarchy.kill(&group);
                let _ = self.hierarchy.remove(&group);
                for asker in creation.askers {
                    let failure = failure.clone();
                    self.answer(asker, &Message::Failed { id: asker.id, failure });
                }
            }
        }
        self.forget_strays();
    }

    /// Nobody is left whose they could be.
    pub(super) fn forget_strays(&mut self) {
        if self.creations.is_empty() && self.entries.is_empty() {
            self.strays.clear();
        }
    }

    pub(super) fn started(&mut self, mut creation: Creation, pid: i32) {
        let started_at = sys::now();
        let stdin = match creation.streams {
            Streams::Pipes { stdin, stdout, stderr } => {
                creation.output.open(stdout, stderr);
                stdin
            }
            Streams::Terminal { master_from } => {
                let master = master(&master_from);
                creation.output.open_terminal(master.as_ref().and_then(|m| m.try_clone().ok()));
                master
            }
        };
        self.begin_output(&creation.container, &mut creation.output);
        let run = Run {
            runtime_id: creation.runtime_id,
            state: RunState::Running { pid, started_at },
            stop_signal: creation.stop_signal,
            stop_timeout: creation.stop_timeout,
            output: Some(creation.output),
            stdin,
        };
        let container = creation.container;
        self.runs.insert(container.clone(), run);
        self.rest_later();
        for asker in creation.askers {
            self.answer(asker, &Message::Started { id: asker.id, at: started_at });
        }
        if let Some(at) = self.strays.iter().position(|(stray, _)| *stray == pid) {
            let (_, code) = self.strays.swap_remove(at);
            self.exited(&container, code);
        } else if !self.releasing.is_empty() {
            send_signal(pid, libc::SIGKILL);
        }
    }
}

/// The master of a terminal that a container's process has made; none when that has ended before.
fn master(socket: &UnixStream) -> Option<OwnedFd> {
    let mut fds = Vec::new();
    socket::receive_with(socket, &mut [0; 1], &mut fds).ok()?;
    fds.pop()
}
