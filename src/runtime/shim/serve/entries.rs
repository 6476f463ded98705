//! Commands in containers: from the request over the helper's report to an exit code.
//!
//! A probe has a deadline. A session lives as long as the connection that asked for it: when that ends, the command is
//! hung up, and killed a little later. The shim sees nothing of a session's data.

use super::output::read_some;
use super::signal::send_signal;
use super::{Asker, Shim};
use crate::model::{ContainerName, RuntimeId};
use crate::runtime::cgroup::Hierarchy;
use crate::runtime::protocol::{Created, ExecCommand, Failure, Message, RunState, Stage};
use crate::runtime::shim::enter;
use crate::runtime::shim::stdio::Stdio;
use crate::sys;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// Between the hang-up of a session and SIGKILL.
const HANG_UP: Duration = Duration::from_secs(5);

/// A command running in a container.
#[derive(Debug)]
pub(super) struct Entry {
    asker: Asker,
    /// Of the forked helper.
    pub(super) helper: i32,
    pub(super) report: Option<OwnedFd>,
    text: Vec<u8>,
    /// Of the command itself, once the helper has told it.
    command: Option<i32>,
    container: ContainerName,
    kind: Kind,
    /// It is killed then, by the time since boot: the wall clock may be set meanwhile.
    deadline: Option<Duration>,
    killed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Probe,
    Session,
}

impl Entry {
    /// When it must be looked at though nothing has happened.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.deadline.filter(|_| !self.killed)
    }
}

impl Shim {
    pub(super) fn probe(
        &mut self,
        asker: Asker,
        container: &ContainerName,
        runtime_id: &RuntimeId,
        command: Vec<String>,
        timeout_millis: u64,
    ) {
        let command = ExecCommand { command, ..ExecCommand::default() };
        let deadline = sys::uptime() + Duration::from_millis(timeout_millis);
        let entered = self.enter(container, runtime_id, command, Stdio::Null);
        self.note_entry(asker, container, entered, Kind::Probe, Some(deadline));
    }

    pub(super) fn exec(
        &mut self,
        asker: Asker,
        container: &ContainerName,
        runtime_id: &RuntimeId,
        command: ExecCommand,
    ) {
        let connection = self.connections.iter_mut().find(|c| c.number == asker.connection);
        let passed = connection.map(super::Connection::take_passed).unwrap_or_default();
        let entered = match Stdio::of(&command, passed) {
            Some(stdio) => self.enter(container, runtime_id, command, stdio),
            None => Err(Failure::new(Stage::Request, "its standard streams did not come with it")),
        };
        self.note_entry(asker, container, entered, Kind::Session, None);
    }

    /// Remembers a helper that was forked, or tells who asked why there is none.
    fn note_entry(
        &mut self,
        asker: Asker,
        container: &ContainerName,
        entered: Result<(i32, OwnedFd), Failure>,
        kind: Kind,
        deadline: Option<Duration>,
    ) {
        match entered {
            Ok((helper, report)) => {
                self.forked.insert(helper);
                self.entries.push(Entry {
                    asker,
                    helper,
                    report: Some(report),
                    text: Vec::new(),
                    command: None,
                    container: container.clone(),
                    kind,
                    deadline,
                    killed: false,
                });
            }
            Err(failure) => self.answer(asker, &Message::Failed { id: asker.id, failure }),
        }
    }

    fn enter(
        &self,
        container: &ContainerName,
        runtime_id: &RuntimeId,
        command: ExecCommand,
        stdio: Stdio,
    ) -> Result<(i32, OwnedFd), Failure> {
        let not_running = || Failure::new(Stage::Request, "the container does not run");
        let (init, _) = self.running(container, runtime_id).ok_or_else(not_running)?;
        let resources = |error: std::io::Error| Failure::new(Stage::Resources, error);
        // Its number is its own until this process reaps it, and the descriptor means nobody else after that.
        let init = Pid::from_raw(init).ok_or_else(not_running)?;
        let init =
            pidfd_open(init, PidfdFlags::empty()).map_err(|error| resources(error.into()))?;
        let layout = &self.arguments.layout;
        let directory = layout.container_run(&self.arguments.task, container);
        let order = enter::Order {
            init,
            command,
            stdio,
            config: directory.join("config.json"),
            launch: layout.launch_file(&self.arguments.task, container),
            hierarchy: self.hierarchy.clone(),
            group: self.group.join(container.as_str()),
        };
        enter::fork(order).map_err(resources)
    }

    /// The forked helper has said which process the command is, or why there is none.
    pub(super) fn entry_report(&mut self, helper: i32) {
        let Some(at) = self.entries.iter().position(|e| e.helper == helper) else { return };
        let entry = &mut self.entries[at];
        let Some(report) = &entry.report else { return };
        let ended = read_some(report, &mut entry.text);
        if !ended && !entry.text.contains(&b'\n') {
            return;
        }
        entry.report = None;
        let asker = entry.asker;
        match serde_json::from_slice(&entry.text) {
            Ok(Created::Running { pid }) => {
                entry.command = Some(pid);
                entry.text = Vec::new();
                let hung_up = entry.deadline.is_some();
                let (kind, killed) = (entry.kind, entry.killed);
                if kind == Kind::Session {
                    self.answer(asker, &Message::Started { id: asker.id, at: sys::now() });
                    if hung_up {
                        hang_up(pid);
                    }
                }
                if killed {
                    self.kill_entry(at);
                }
                if let Some(at) = self.strays.iter().position(|(stray, _)| *stray == pid) {
                    let (_, code) = self.strays.swap_remove(at);
                    self.entry_ended(pid, code);
                }
            }
            Ok(Created::Failed(failure)) => {
                self.entries.swap_remove(at);
                self.answer(asker, &Message::Failed { id: asker.id, failure });
            }
            Err(_) => {
                self.entries.swap_remove(at);
                let reason = "the process that starts the command ended unexpectedly";
                self.fail(asker, Stage::Start, reason);
            }
        }
    }

    /// True when the process was a command of this kind.
    pub(super) fn entry_ended(&mut self, pid: i32, code: i32) -> bool {
        let Some(at) = self.entries.iter().position(|e| e.command == Some(pid)) else {
            return false;
        };
        let entry = self.entries.swap_remove(at);
        let id = entry.asker.id;
        let message = match entry.kind {
            Kind::Probe => Message::Probed { id, exit_code: (!entry.killed).then_some(code) },
            Kind::Session => {
                if entry.deadline.is_some() {
                    // Nobody is left who could want what it has left behind.
                    kill_session(&self.hierarchy, &self.group.join(entry.container.as_str()), pid);
                }
                let killed = code == 128 + libc::SIGKILL;
                let with_container = killed && self.is_ending(&entry.container);
                Message::Ended { id, exit_code: code, with_container }
            }
        };
        self.answer(entry.asker, &message);
        self.forget_strays();
        true
    }

    /// Whether the container's process has ended or is about to: it waits for all others to end first.
    fn is_ending(&self, container: &ContainerName) -> bool {
        /// `PF_EXITING` in the ninth field of `/proc/PID/stat`.
        const EXITING: u64 = 4;
        match self.runs.get(container).map(|run| &run.state) {
            Some(RunState::Running { pid, .. }) => {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                // The name, in brackets, may hold anything.
                let flags = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(6));
                flags.and_then(|f| f.parse::<u64>().ok()).is_none_or(|f| f & EXITING != 0)
            }
            _ => true,
        }
    }

    pub(super) fn signal_exec(&mut self, asker: Asker, signal: i32) {
        let entry = self
            .entries
            .iter()
            .find(|e| e.kind == Kind::Session && e.asker.connection == asker.connection);
        if let Some(pid) = entry.and_then(|e| e.command).filter(|_| (1..=64).contains(&signal)) {
            // To the whole group, as a terminal sends it.
            send_signal(-pid, signal);
        }
        self.answer(asker, &Message::Done { id: asker.id });
    }

    /// Ends the session of a connection that ended.
    pub(super) fn hang_up_of(&mut self, connection: u64) {
        let deadline = sys::uptime() + HANG_UP;
        let of_it = |e: &&mut Entry| e.kind == Kind::Session && e.asker.connection == connection;
        for entry in self.entries.iter_mut().filter(of_it) {
            entry.deadline = Some(deadline);
            // One that is not there yet is hung up when its number is known.
            if let Some(pid) = entry.command {
                hang_up(pid);
            }
        }
    }

    pub(super) fn expire_entries(&mut self) {
        let now = sys::uptime();
        for at in 0..self.entries.len() {
            let entry = &mut self.entries[at];
            if entry.deadline().is_some_and(|deadline| deadline <= now) {
                entry.killed = true;
                self.kill_entry(at);
            }
        }
    }

    /// Kills the command; one that is not there yet is killed when its number is known.
    fn kill_entry(&self, at: usize) {
        let entry = &self.entries[at];
        if let Some(pid) = entry.command {
            kill_session(&self.hierarchy, &self.group.join(entry.container.as_str()), pid);
            send_signal(pid, libc::SIGKILL);
        }
    }
}

fn hang_up(pid: i32) {
    send_signal(-pid, libc::SIGHUP);
    // Somebody who is stopped hears nothing.
    send_signal(-pid, libc::SIGCONT);
}

/// Kills what has come of a command: its session, whose number no other gets as long as somebody is in it.
fn kill_session(hierarchy: &Hierarchy, group: &Path, pid: i32) {
    let session = Pid::from_raw(pid);
    for member in hierarchy.processes(group) {
        if rustix::process::getsid(Pid::from_raw(member)).ok() == session {
            send_signal(member, libc::SIGKILL);
        }
    }
}
