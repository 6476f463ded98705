//! The shim's loop: one `poll` over signals, connections, output pipes and reports of forked children.

use super::connection::Connection;
use super::unwritten::Unwritten;
use super::{Arguments, creator, probe};
use crate::model::{ContainerName, RuntimeId, Timestamp};
use crate::runtime::cgroup::Hierarchy;
use crate::runtime::launch::LaunchFile;
use crate::runtime::logs::{LogOptions, LogWriter, Stream};
use crate::runtime::protocol::{Created, Failure, Message, Report, Request, RunState, Stage};
use crate::runtime::record::{self, Exit, TaskRecord};
use crate::sys;
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

/// Read from a pipe at once.
const CHUNK: usize = 32 << 10;

/// Who asked: connection and request.
#[derive(Debug, Clone, Copy)]
struct Asker {
    connection: u64,
    id: u64,
}

/// The output of a container on its way to the log.
#[derive(Debug)]
struct Output {
    streams: [(Stream, Option<OwnedFd>); 2],
    log: Option<LogWriter>,
}

/// One run of a container.
#[derive(Debug)]
struct Run {
    runtime_id: RuntimeId,
    state: RunState,
    stop_signal: i32,
    output: Option<Output>,
    /// The end of an `interactive` container's standard input that nobody writes to.
    _stdin: Option<OwnedFd>,
}

/// A creator at work.
#[derive(Debug)]
struct Creation {
    pid: i32,
    report: OwnedFd,
    text: Vec<u8>,
    container: ContainerName,
    runtime_id: RuntimeId,
    stop_signal: i32,
    output: Output,
    stdin: Option<OwnedFd>,
    askers: Vec<Asker>,
}

/// A command running in a container.
#[derive(Debug)]
struct Probe {
    asker: Asker,
    /// Of the forked helper, then of the command itself.
    pid: i32,
    report: Option<OwnedFd>,
    text: Vec<u8>,
    command: Option<i32>,
    deadline: Timestamp,
    timed_out: bool,
}

/// The shim.
#[derive(Debug)]
pub(super) struct Shim {
    arguments: Arguments,
    record: TaskRecord,
    hierarchy: Hierarchy,
    group: PathBuf,
    listener: UnixListener,
    signals: SignalFd,
    connections: Vec<Connection>,
    next_connection: u64,
    runs: BTreeMap<ContainerName, Run>,
    creations: Vec<Creation>,
    probes: Vec<Probe>,
    /// Children that ended before it was known whose they are.
    strays: Vec<(i32, i32)>,
    releasing: Vec<Asker>,
    unwritten: Unwritten,
}

/// What a descriptor in the poll set belongs to.
enum Source {
    Signals,
    Listener,
    Connection(u64),
    Output(ContainerName, usize),
    Creation(i32),
    Probe(i32),
}

impl Shim {
    pub(super) fn new(
        arguments: Arguments,
        listener: UnixListener,
        signals: SignalFd,
    ) -> io::Result<Self> {
        let record =
            record::read(&arguments.layout.task_file(&arguments.task))?.unwrap_or_default();
        let hierarchy = Hierarchy::detect().map_err(io::Error::other)?;
        let group = PathBuf::from(&arguments.cgroup_parent).join(arguments.task.as_str());
        Ok(Self {
            arguments,
            record,
            hierarchy,
            group,
            listener,
            signals,
            connections: Vec::new(),
            next_connection: 0,
            runs: BTreeMap::new(),
            creations: Vec::new(),
            probes: Vec::new(),
            strays: Vec::new(),
            releasing: Vec::new(),
            unwritten: Unwritten::default(),
        })
    }

    pub(super) fn serve(mut self) -> io::Result<()> {
        loop {
            for (source, flags) in self.wait()? {
                self.handle(source, flags)?;
            }
            self.expire_probes();
            self.unwritten.retry();
            self.connections.retain(|c| !c.closed);
            if !self.releasing.is_empty() && self.is_idle() {
                break;
            }
        }
        // Everything is dead, so the groups are empty; what cannot be removed the agent tries again.
        let _ = self.hierarchy.remove(&self.group);
        for asker in std::mem::take(&mut self.releasing) {
            self.answer(asker, &Message::Done { id: asker.id });
        }
        for connection in self.connections {
            connection.flush();
        }
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.creations.is_empty()
            && self.probes.is_empty()
            && self.runs.values().all(|r| matches!(r.state, RunState::Exited(_)))
    }

    /// Waits until something happens; says to what.
    fn wait(&self) -> io::Result<Vec<(Source, PollFlags)>> {
        let mut sources = vec![Source::Signals, Source::Listener];
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.listener.as_fd(), PollFlags::IN),
        ];
        for connection in &self.connections {
            let write =
                if connection.wants_to_write() { PollFlags::OUT } else { PollFlags::empty() };
            sources.push(Source::Connection(connection.number));
            fds.push(PollFd::from_borrowed_fd(connection.fd(), PollFlags::IN | write));
        }
        for (name, run) in &self.runs {
            for (at, (_, fd)) in run.output.iter().flat_map(|o| o.streams.iter().enumerate()) {
                if let Some(fd) = fd {
                    sources.push(Source::Output(name.clone(), at));
                    fds.push(PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN));
                }
            }
        }
        for creation in &self.creations {
            sources.push(Source::Creation(creation.pid));
            fds.push(PollFd::from_borrowed_fd(creation.report.as_fd(), PollFlags::IN));
        }
        for probe in &self.probes {
            if let Some(report) = &probe.report {
                sources.push(Source::Probe(probe.pid));
                fds.push(PollFd::from_borrowed_fd(report.as_fd(), PollFlags::IN));
            }
        }
        let now = sys::now();
        let timeout = self
            .probes
            .iter()
            .filter(|p| !p.timed_out)
            .map(|p| p.deadline.since(now))
            .chain(self.unwritten.wait())
            .min()
            .and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = fds.iter().map(PollFd::revents);
        Ok(sources.into_iter().zip(ready).filter(|(_, flags)| !flags.is_empty()).collect())
    }

    fn handle(&mut self, source: Source, flags: PollFlags) -> io::Result<()> {
        match source {
            Source::Signals => {
                while let Ok(Some(_)) = self.signals.read_signal() {}
                self.reap();
            }
            Source::Listener => {
                while let Ok((stream, _)) = self.listener.accept() {
                    self.next_connection += 1;
                    self.connections.push(Connection::new(self.next_connection, stream)?);
                }
            }
            Source::Connection(number) => {
                let Some(connection) = self.connections.iter_mut().find(|c| c.number == number)
                else {
                    return Ok(());
                };
                if flags.contains(PollFlags::OUT) {
                    connection.write();
                }
                for request in connection.read() {
                    self.request(number, request);
                }
            }
            Source::Output(name, at) => {
                if let Some(output) = self.runs.get_mut(&name).and_then(|r| r.output.as_mut()) {
                    output.read_once(at);
                }
            }
            Source::Creation(pid) => self.creation_report(pid),
            Source::Probe(pid) => self.probe_report(pid),
        }
        Ok(())
    }

    fn answer(&mut self, asker: Asker, message: &Message) {
        if let Some(c) = self.connections.iter_mut().find(|c| c.number == asker.connection) {
            c.send(message);
        }
    }

    fn fail(&mut self, asker: Asker, stage: Stage, reason: impl ToString) {
        let failure = Failure::new(stage, reason);
        self.answer(asker, &Message::Failed { id: asker.id, failure });
    }

    fn request(&mut self, connection: u64, request: Request) {
        match request {
            Request::Start { id, container, runtime_id } => {
                let asker = Asker { connection, id };
                if let Err(failure) = self.start(asker, container, runtime_id) {
                    self.answer(asker, &Message::Failed { id, failure });
                }
            }
            Request::Signal { id, container, runtime_id, kill } => {
                if let Some((pid, stop)) = self.running(&container, &runtime_id) {
                    let signal = if kill { libc::SIGKILL } else { stop };
                    send_signal(pid, signal);
                }
                self.answer(Asker { connection, id }, &Message::Done { id });
            }
            Request::Probe { id, container, runtime_id, command, timeout_millis } => {
                self.probe(
                    Asker { connection, id },
                    &container,
                    &runtime_id,
                    command,
                    timeout_millis,
                );
            }
            Request::List { id } => {
                let containers = self
                    .runs
                    .iter()
                    .map(|(container, run)| Report {
                        container: container.clone(),
                        runtime_id: run.runtime_id.clone(),
                        state: run.state.clone(),
                    })
                    .collect();
                let generation = self.record.generation;
                let message = Message::Containers { id, generation, containers };
                self.answer(Asker { connection, id }, &message);
            }
            Request::Release { id } => {
                self.releasing.push(Asker { connection, id });
                for run in self.runs.values() {
                    if let RunState::Running { pid, .. } = run.state {
                        send_signal(pid, libc::SIGKILL);
                    }
                }
            }
        }
    }

    /// The process of a run and its stop signal; none when it does not run.
    fn running(&self, container: &ContainerName, runtime_id: &RuntimeId) -> Option<(i32, i32)> {
        let run = self.runs.get(container).filter(|r| r.runtime_id == *runtime_id)?;
        match run.state {
            RunState::Running { pid, .. } => Some((pid, run.stop_signal)),
            RunState::Exited(_) => None,
        }
    }

    fn start(
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
        let creation = self.create(asker, container, runtime_id)?;
        self.creations.push(creation);
        Ok(())
    }

    fn create(
        &self,
        asker: Asker,
        container: ContainerName,
        runtime_id: RuntimeId,
    ) -> Result<Creation, Failure> {
        let layout = &self.arguments.layout;
        let task = &self.arguments.task;
        let resources = |what: &str| {
            let what = what.to_owned();
            move |e: io::Error| Failure::new(Stage::Resources, format!("{what}: {e}"))
        };
        let path = layout.launch_file(task, &container);
        let launch: LaunchFile = record::read(&path)
            .map_err(resources("launch file"))?
            .filter(|l: &LaunchFile| l.runtime_id == runtime_id)
            .ok_or_else(|| Failure::new(Stage::Request, "its launch file is missing"))?;
        let stop_signal = stop_signal(launch.image.stop_signal.as_deref())
            .map_err(|e| Failure::new(Stage::Create, e))?;
        let log = LogOptions::of(launch.definition.log_configuration.as_ref(), launch.log)
            .map_err(|e| Failure::new(Stage::Create, e))?
            .map(|options| LogWriter::open(layout.log_file(task, &container), options))
            .transpose()
            .map_err(resources("log file"))?;
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|e| resources("pipe")(e.into()));
        let (stdout, child_stdout) = pipe()?;
        let (stderr, child_stderr) = pipe()?;
        let (report, child_report) = pipe()?;
        let stdin = if launch.definition.interactive == Some(true) { Some(pipe()?) } else { None };
        for fd in [&stdout, &stderr, &report] {
            rustix::io::ioctl_fionbio(fd, true).map_err(|e| resources("pipe")(e.into()))?;
        }
        let (child_stdin, stdin) = match stdin {
            Some((read, write)) => (Some(read), Some(write)),
            None => (None, None),
        };
        let order = creator::Order {
            launch,
            group: self.group.clone(),
            hierarchy: self.hierarchy.clone(),
            stdin: child_stdin,
            stdout: child_stdout,
            stderr: child_stderr,
            report: child_report,
        };
        let pid = creator::fork(order).map_err(resources("fork"))?;
        Ok(Creation {
            pid,
            report,
            text: Vec::new(),
            container,
            runtime_id,
            stop_signal,
            output: Output {
                streams: [(Stream::Stdout, Some(stdout)), (Stream::Stderr, Some(stderr))],
                log,
            },
            stdin,
            askers: vec![asker],
        })
    }

    /// The creator has said something, or ended.
    fn creation_report(&mut self, pid: i32) {
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
        if self.creations.is_empty() && self.probes.is_empty() {
            self.strays.clear();
        }
    }

    fn started(&mut self, creation: Creation, pid: i32) {
        let started_at = sys::now();
        let run = Run {
            runtime_id: creation.runtime_id,
            state: RunState::Running { pid, started_at },
            stop_signal: creation.stop_signal,
            output: Some(creation.output),
            _stdin: creation.stdin,
        };
        let container = creation.container;
        self.runs.insert(container.clone(), run);
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

    fn reap(&mut self) {
        loop {
            let (pid, code) = match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid.as_raw(), code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid.as_raw(), 128 + signal as i32),
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            let running = self.runs.iter().find_map(|(name, run)| match run.state {
                RunState::Running { pid: own, .. } if own == pid => Some(name.clone()),
                _ => None,
            });
            if let Some(name) = running {
                self.exited(&name, code);
            } else if !self.probe_ended(pid, code)
                && !(self.creations.is_empty() && self.probes.is_empty())
            {
                self.strays.push((pid, code));
            }
        }
    }

    /// Writes the end of a run down, then tells everybody.
    fn exited(&mut self, container: &ContainerName, code: i32) {
        let finished_at = sys::now();
        let group = self.group.join(container.as_str());
        let out_of_memory = self.hierarchy.oom_kills(&group) > 0;
        let Some(run) = self.runs.get_mut(container) else { return };
        // With a process namespace of its own nothing is left; without, this is what ends the rest.
        let _ = self.hierarchy.kill(&group);
        if let Some(mut output) = run.output.take() {
            output.drain(finished_at);
        }
        let _ = self.hierarchy.remove(&group);
        let exit = Exit {
            runtime_id: run.runtime_id.clone(),
            exit_code: Some(code),
            out_of_memory,
            finished_at,
        };
        run.state = RunState::Exited(exit.clone());
        let path = self.arguments.layout.exit_record(&self.arguments.task, container);
        // A full disk must not keep the exit from those who listen.
        self.unwritten.write(&path, &exit);
        let message = Message::Exited { container: container.clone(), exit };
        for connection in &mut self.connections {
            connection.send(&message);
        }
    }

    fn probe(
        &mut self,
        asker: Asker,
        container: &ContainerName,
        runtime_id: &RuntimeId,
        command: Vec<String>,
        timeout_millis: u64,
    ) {
        let Some((init, _)) = self.running(container, runtime_id) else {
            self.fail(asker, Stage::Request, "the container does not run");
            return;
        };
        let layout = &self.arguments.layout;
        let directory = layout.container_run(&self.arguments.task, container);
        let order = probe::Order {
            init,
            command,
            config: directory.join("config.json"),
            launch: layout.launch_file(&self.arguments.task, container),
            hierarchy: self.hierarchy.clone(),
            group: self.group.join(container.as_str()),
        };
        match probe::fork(order) {
            Ok((pid, report)) => self.probes.push(Probe {
                asker,
                pid,
                report: Some(report),
                text: Vec::new(),
                command: None,
                deadline: sys::now().plus(std::time::Duration::from_millis(timeout_millis)),
                timed_out: false,
            }),
            Err(error) => self.fail(asker, Stage::Resources, error),
        }
    }

    /// The forked helper has said which process the command is, or why there is none.
    fn probe_report(&mut self, pid: i32) {
        let Some(at) = self.probes.iter().position(|p| p.pid == pid) else { return };
        let probe = &mut self.probes[at];
        let Some(report) = &probe.report else { return };
        let ended = read_some(report, &mut probe.text);
        if !ended && !probe.text.contains(&b'\n') {
            return;
        }
        probe.report = None;
        match serde_json::from_slice(&probe.text) {
            Ok(Created::Running { pid }) => {
                probe.command = Some(pid);
                if probe.timed_out {
                    kill_session(pid);
                }
                if let Some(at) = self.strays.iter().position(|(stray, _)| *stray == pid) {
                    let (_, code) = self.strays.swap_remove(at);
                    self.probe_ended(pid, code);
                }
            }
            Ok(Created::Failed(failure)) => {
                let asker = self.probes.swap_remove(at).asker;
                self.answer(asker, &Message::Failed { id: asker.id, failure });
            }
            Err(_) => {
                let asker = self.probes.swap_remove(at).asker;
                self.fail(
                    asker,
                    Stage::Start,
                    "the process that starts the command ended unexpectedly",
                );
            }
        }
    }

    /// True when the process was a probe's command.
    fn probe_ended(&mut self, pid: i32, code: i32) -> bool {
        let Some(at) = self.probes.iter().position(|p| p.command == Some(pid)) else {
            return false;
        };
        let probe = self.probes.swap_remove(at);
        let exit_code = (!probe.timed_out).then_some(code);
        self.answer(probe.asker, &Message::Probed { id: probe.asker.id, exit_code });
        true
    }

    fn expire_probes(&mut self) {
        let now = sys::now();
        for probe in self.probes.iter_mut().filter(|p| !p.timed_out && p.deadline <= now) {
            probe.timed_out = true;
            match probe.command {
                Some(pid) => kill_session(pid),
                // Not there yet; it is killed when its number is known.
                None => {}
            }
        }
    }
}

impl Output {
    /// Moves one chunk to the log; closes the stream at its end.
    fn read_once(&mut self, at: usize) -> bool {
        let (stream, slot) = &mut self.streams[at];
        let Some(fd) = slot else { return false };
        let mut buffer = [0; CHUNK];
        match rustix::io::read(&*fd, &mut buffer) {
            Ok(0) => {
                *slot = None;
                false
            }
            Ok(count) => {
                if let Some(log) = &mut self.log {
                    log.push(*stream, &buffer[..count], sys::now());
                }
                true
            }
            Err(rustix::io::Errno::INTR) => true,
            Err(rustix::io::Errno::AGAIN) => false,
            Err(_) => {
                *slot = None;
                false
            }
        }
    }

    /// Takes what the dead have left in the pipes.
    fn drain(&mut self, at: Timestamp) {
        for stream in 0..self.streams.len() {
            while self.read_once(stream) {}
        }
        if let Some(log) = &mut self.log {
            log.finish(at);
        }
    }
}

/// Appends what is there; true at the end of the stream.
fn read_some(fd: &OwnedFd, text: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match rustix::io::read(fd, &mut buffer) {
            Ok(0) => return true,
            Ok(count) => text.extend_from_slice(&buffer[..count]),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return false,
            Err(_) => return true,
        }
    }
}

/// The process is this one's child and not reaped yet, so the number is its own.
#[expect(unsafe_code, reason = "real-time signals have no typed form")]
fn send_signal(pid: i32, signal: i32) {
    // SAFETY: kill(2) takes plain numbers.
    let _ = unsafe { libc::kill(pid, signal) };
}

/// Kills a probe's command and what it started.
fn kill_session(pid: i32) {
    send_signal(-pid, libc::SIGKILL);
    send_signal(pid, libc::SIGKILL);
}

/// `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`.
fn stop_signal(name: Option<&str>) -> Result<i32, String> {
    let Some(name) = name.map(str::trim).filter(|n| !n.is_empty()) else {
        return Ok(libc::SIGTERM);
    };
    let unknown = || format!("invalid signal: {name}");
    if let Ok(number) = name.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number).ok_or_else(unknown);
    }
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(rest) = short.strip_prefix("RTMIN") {
        let offset = if rest.is_empty() {
            Some(0)
        } else {
            rest.strip_prefix('+').and_then(|n| n.parse().ok())
        };
        return offset.map(|n: i32| 34 + n).filter(|n| (34..=64).contains(n)).ok_or_else(unknown);
    }
    if let Some(rest) = short.strip_prefix("RTMAX") {
        let offset = if rest.is_empty() {
            Some(0)
        } else {
            rest.strip_prefix('-').and_then(|n| n.parse().ok())
        };
        return offset.map(|n: i32| 64 - n).filter(|n| (34..=64).contains(n)).ok_or_else(unknown);
    }
    format!("SIG{short}")
        .parse::<nix::sys::signal::Signal>()
        .map(|s| s as i32)
        .map_err(|_| unknown())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_signals_are_read_as_docker_reads_them() {
        assert_eq!(stop_signal(None), Ok(15));
        assert_eq!(stop_signal(Some("SIGQUIT")), Ok(3));
        assert_eq!(stop_signal(Some("int")), Ok(2));
        assert_eq!(stop_signal(Some("9")), Ok(9));
        assert_eq!(stop_signal(Some("SIGRTMIN+3")), Ok(37));
        assert_eq!(stop_signal(Some("RTMAX-1")), Ok(63));
        assert!(stop_signal(Some("SIGNONE")).is_err());
        assert!(stop_signal(Some("99")).is_err());
    }
}
