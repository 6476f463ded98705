//! The shim's loop: one `poll` over signals, connections, output pipes and reports of forked children.

mod attaching;
mod entries;
mod logging;
mod output;
mod power;
mod rest;
mod screen;
mod signal;
mod starting;

use super::Arguments;
use super::connection::Connection;
use super::forward::Forwarder;
use super::namespace::Namespaces;
use super::shared::Shared;
use super::unwritten::Unwritten;
use crate::model::{ContainerName, RuntimeId};
use crate::runtime::cgroup::Hierarchy;
use crate::runtime::protocol::{Failure, Message, Report, Request, RunState, Stage};
use crate::runtime::record::{self, Exit, TaskRecord};
use crate::sys;
use entries::Entry;
use logging::Farewells;
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use output::Output;
use power::GoingDown;
use rest::Rest;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use screen::Screen;
use signal::send_signal;
use starting::Creation;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

/// Who asked: connection and request.
#[derive(Debug, Clone, Copy)]
struct Asker {
    connection: u64,
    id: u64,
}

/// One run of a container.
#[derive(Debug)]
struct Run {
    runtime_id: RuntimeId,
    state: RunState,
    stop_signal: i32,
    stop_timeout: Duration,
    output: Option<Output>,
    /// The end of an `interactive` container's standard input, or the master of its terminal, for who attaches.
    stdin: Option<OwnedFd>,
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
    networks: Namespaces,
    runs: BTreeMap<ContainerName, Run>,
    creations: Vec<Creation>,
    entries: Vec<Entry>,
    /// Screens of containers that have ended, not all shown yet.
    leaving: Vec<Screen>,
    shared: Shared,
    /// Creators and helpers that have not been reaped.
    forked: BTreeSet<i32>,
    /// Children that ended before it was known whose they are.
    strays: Vec<(i32, i32)>,
    releasing: Vec<Asker>,
    unwritten: Unwritten,
    /// The shim has left the host's mount namespace.
    own_namespace: bool,
    farewells: Farewells,
    /// The box is being turned off.
    down: Option<GoingDown>,
    /// When it gives memory back.
    rest: Rest,
}

/// What a descriptor in the poll set belongs to.
enum Source {
    Signals,
    Listener,
    Connection(u64),
    Output(ContainerName, usize),
    /// A receiver of a container's output.
    Receiver(ContainerName),
    /// One of a container that has ended.
    Farewell(ContainerName),
    Creation(i32),
    Entry(i32),
    /// Who watches a terminal; looked after whenever anything happens.
    Watcher,
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
            networks: Namespaces::default(),
            runs: BTreeMap::new(),
            creations: Vec::new(),
            entries: Vec::new(),
            leaving: Vec::new(),
            shared: Shared::default(),
            forked: BTreeSet::new(),
            strays: Vec::new(),
            releasing: Vec::new(),
            unwritten: Unwritten::default(),
            own_namespace: false,
            farewells: Farewells::default(),
            down: None,
            rest: Rest::default(),
        })
    }

    pub(super) fn serve(mut self) -> io::Result<()> {
        loop {
            for (source, flags) in self.wait()? {
                self.handle(source, flags)?;
            }
            self.expire_entries();
            self.unwritten.retry();
            self.end_in_time();
            let closed: Vec<_> =
                self.connections.extract_if(.., |c| c.closed).map(|c| c.number).collect();
            for connection in closed {
                self.abandon_of(connection);
                self.hang_up_of(connection);
                self.detach(connection);
            }
            self.show();
            self.forward();
            self.rest();
            if !self.releasing.is_empty() && self.is_idle() && self.farewells.are_over() {
                break;
            }
            if self.down.is_some() && self.is_idle() {
                break;
            }
        }
        drop(std::mem::take(&mut self.shared));
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
            && self.entries.is_empty()
            && self.leaving.is_empty()
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
        // Before the output, so that the end of a connection is seen before something is sent into it.
        for (name, output) in self.outputs() {
            if let Some((fd, flags)) = output.forwarder.as_ref().and_then(Forwarder::interest) {
                sources.push(Source::Receiver(name.clone()));
                fds.push(PollFd::from_borrowed_fd(fd, flags));
            }
        }
        for (name, output) in &self.farewells.outputs {
            if let Some((fd, flags)) = output.forwarder.as_ref().and_then(Forwarder::interest) {
                sources.push(Source::Farewell(name.clone()));
                fds.push(PollFd::from_borrowed_fd(fd, flags));
            }
        }
        for (name, output) in self.outputs().filter(|(_, output)| output.takes_input()) {
            for (at, (_, fd)) in output.streams.iter().enumerate() {
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
        for entry in &self.entries {
            if let Some(report) = &entry.report {
                sources.push(Source::Entry(entry.helper));
                fds.push(PollFd::from_borrowed_fd(report.as_fd(), PollFlags::IN));
            }
        }
        for watcher in self.watchers() {
            sources.push(Source::Watcher);
            fds.push(watcher);
        }
        let now = sys::uptime();
        let timeout = self
            .entries
            .iter()
            .filter_map(Entry::deadline)
            .map(|deadline| deadline.saturating_sub(now))
            .chain(self.unwritten.wait())
            .chain(self.watchers_wait())
            .chain(self.outputs().filter_map(|(_, o)| o.forwarder.as_ref()?.wait()))
            .chain(self.farewells.wait())
            .chain(self.down.as_ref().and_then(GoingDown::wait))
            .chain(self.rest.wait())
            .min()
            .and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = fds.iter().map(PollFd::revents);
        Ok(sources.into_iter().zip(ready).filter(|(_, flags)| !flags.is_empty()).collect())
    }

    /// The outputs of what runs.
    fn outputs(&self) -> impl Iterator<Item = (&ContainerName, &Output)> {
        self.runs.iter().filter_map(|(name, run)| Some((name, run.output.as_ref()?)))
    }

    /// Tries receivers again whose time has come.
    fn forward(&mut self) {
        for output in self.runs.values_mut().filter_map(|run| run.output.as_mut()) {
            if output.forwarder.as_ref().and_then(Forwarder::wait).is_some_and(|w| w.is_zero()) {
                output.forward();
            }
        }
        self.farewells.send();
    }

    fn handle(&mut self, source: Source, flags: PollFlags) -> io::Result<()> {
        match source {
            Source::Signals => {
                // All of them before anybody is reaped: who ends because the box does has not ended.
                while let Ok(Some(signal)) = self.signals.read_signal() {
                    if power::is_end_of_box(signal.ssi_signo, signal.ssi_pid) {
                        self.go_down();
                    }
                }
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
            Source::Receiver(name) => {
                if let Some(output) = self.runs.get_mut(&name).and_then(|r| r.output.as_mut()) {
                    output.receiver(flags);
                }
            }
            Source::Farewell(name) => {
                if let Some(output) = self.farewells.outputs.get_mut(&name) {
                    output.receiver(flags);
                }
            }
            Source::Creation(pid) => self.creation_report(pid),
            Source::Entry(helper) => self.entry_report(helper),
            Source::Watcher => {}
        }
        Ok(())
    }

    fn answer(&mut self, asker: Asker, message: &Message) {
        if let Some(c) = self.connections.iter_mut().find(|c| c.number == asker.connection) {
            c.send(message);
        }
    }

    fn fail(&mut self, asker: Asker, stage: Stage, reason: impl std::fmt::Display) {
        let failure = Failure::new(stage, reason);
        self.answer(asker, &Message::Failed { id: asker.id, failure });
    }

    fn request(&mut self, connection: u64, request: Request) {
        match request {
            Request::Prepare { id, container, runtime_id } => {
                self.prepare(connection, container, runtime_id);
                self.answer(Asker { connection, id }, &Message::Done { id });
            }
            Request::Abandon { id, container, runtime_id } => {
                self.abandon(&container, &runtime_id);
                self.answer(Asker { connection, id }, &Message::Done { id });
            }
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
            Request::Namespace { id, scope } => {
                let asker = Asker { connection, id };
                match self.networks.get_or_make(scope) {
                    Ok((fd, record)) => {
                        let pid = std::process::id();
                        self.answer(asker, &Message::Namespace { id, pid, fd, record });
                    }
                    Err(error) => {
                        self.fail(asker, Stage::Resources, format!("network namespace: {error}"));
                    }
                }
            }
            Request::Record { id, scope, record } => {
                let asker = Asker { connection, id };
                if self.networks.record(&scope, record) {
                    self.answer(asker, &Message::Done { id });
                } else {
                    self.fail(asker, Stage::Request, "there is no such network namespace");
                }
            }
            Request::Exec { id, container, runtime_id, command } => {
                self.exec(Asker { connection, id }, &container, &runtime_id, command);
            }
            Request::Attach { id, container, runtime_id } => {
                self.attach(Asker { connection, id }, &container, &runtime_id);
            }
            Request::CloseInput { id, container, runtime_id } => {
                self.close_input(&container, &runtime_id);
                self.answer(Asker { connection, id }, &Message::Done { id });
            }
            Request::SignalExec { id, signal } => {
                self.signal_exec(Asker { connection, id }, signal);
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
                let networks = self.networks.list();
                let message = Message::Containers { id, generation, containers, networks };
                self.answer(Asker { connection, id }, &message);
            }
            Request::Release { id } => {
                self.releasing.push(Asker { connection, id });
                for run in self.runs.values() {
                    if let RunState::Running { pid, .. } = run.state {
                        send_signal(pid, libc::SIGKILL);
                    }
                }
                // One that hangs, on a dead file server for example, must not hold the release up.
                for creation in &self.creations {
                    send_signal(creation.pid, libc::SIGKILL);
                    let _ = self.hierarchy.kill(&self.group.join(creation.container.as_str()));
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

    fn reap(&mut self) {
        loop {
            let (pid, code) = match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid.as_raw(), code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid.as_raw(), 128 + signal as i32),
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            if self.shared.ended(pid) {
                continue;
            }
            let running = self.runs.iter().find_map(|(name, run)| match run.state {
                RunState::Running { pid: own, .. } if own == pid => Some(name.clone()),
                _ => None,
            });
            if let Some(name) = running {
                self.exited(&name, code);
                continue;
            }
            if self.forked.remove(&pid) {
                continue;
            }
            let expected = !self.creations.is_empty() || !self.entries.is_empty();
            if !self.entry_ended(pid, code) && expected {
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
        let mut output = run.output.take();
        if let Some(output) = &mut output {
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
        if let Some(mut output) = output {
            self.leaving.extend(output.screen.take().filter(|screen| !screen.is_shown()));
            self.end_output(container, output);
        }
        if self.down.is_some() {
            return;
        }
        let path = self.arguments.layout.exit_record(&self.arguments.task, container);
        // A full disk must not keep the exit from those who listen.
        self.unwritten.write(&path, &exit);
        let message = Message::Exited { container: container.clone(), exit };
        for connection in &mut self.connections {
            connection.send(&message);
        }
    }
}
