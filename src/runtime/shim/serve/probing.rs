//! Commands in containers: from the request over the helper's report to an exit code or a timeout.

use super::output::read_some;
use super::signal::kill_session;
use super::{Asker, Shim};
use crate::model::{ContainerName, RuntimeId, Timestamp};
use crate::runtime::protocol::{Created, Message, Stage};
use crate::runtime::shim::probe;
use crate::sys;
use std::os::fd::OwnedFd;

/// A command running in a container.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) asker: Asker,
    /// Of the forked helper, then of the command itself.
    pub(super) pid: i32,
    pub(super) report: Option<OwnedFd>,
    pub(super) text: Vec<u8>,
    pub(super) command: Option<i32>,
    pub(super) deadline: Timestamp,
    pub(super) timed_out: bool,
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
    pub(super) fn probe_report(&mut self, pid: i32) {
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
    pub(super) fn probe_ended(&mut self, pid: i32, code: i32) -> bool {
        let Some(at) = self.probes.iter().position(|p| p.command == Some(pid)) else {
            return false;
        };
        let probe = self.probes.swap_remove(at);
        let exit_code = (!probe.timed_out).then_some(code);
        self.answer(probe.asker, &Message::Probed { id: probe.asker.id, exit_code });
        true
    }

    pub(super) fn expire_probes(&mut self) {
        let now = sys::now();
        for probe in self.probes.iter_mut().filter(|p| !p.timed_out && p.deadline <= now) {
            probe.timed_out = true;
            // One that is not there yet is killed when its number is known.
            if let Some(pid) = probe.command {
                kill_session(pid);
            }
        }
    }
}
