//! The box is being turned off: every container gets its stop signal and its timeout, and ends without a record.
//!
//! Whoever turns a box off sends SIGTERM to all processes in the end, to the shims and into the containers alike. What ends by
//! that has not ended for its task: as after a power cut, the next boot starts it over. A shim that sees the signal first
//! therefore stops recording; it does see it first, because the sender stops all processes before it signals any.
//!
//! Anybody else's SIGTERM is nothing to a shim: it is meant for the agent, which containers outlive.

use super::Shim;
use super::signal::send_signal;
use crate::runtime::protocol::RunState;
use crate::sys;
use std::time::Duration;

/// What ECS gives a container that sets no `stopTimeout`.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Until when containers may take to stop.
#[derive(Debug)]
pub(super) struct GoingDown {
    /// As time since boot: clocks are set when a box goes down. None once everything was killed.
    deadline: Option<Duration>,
}

impl GoingDown {
    /// How long until what still runs is killed.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_sub(sys::uptime()))
    }
}

/// The `stopTimeout` of a definition.
pub(super) fn stop_timeout(seconds: Option<i64>) -> Duration {
    seconds.and_then(|s| u64::try_from(s).ok()).map_or(STOP_TIMEOUT, Duration::from_secs)
}

/// Whether a signal says that the box is being turned off.
pub(super) fn is_end_of_box(signal: u32, sender: u32) -> bool {
    let is_from_first = i32::try_from(signal) == Ok(libc::SIGTERM) && sender == 1;
    is_from_first && ends_the_box(&std::fs::read_to_string("/proc/1/comm").unwrap_or_default())
}

/// Whether process 1 of this name sends SIGTERM to all. systemd does so from a program of its own; systemd itself stops
/// units, and one whose unit was made without `KillMode=process` must not take the containers along.
fn ends_the_box(first: &str) -> bool {
    !matches!(first.trim_end(), "systemd" | "")
}

impl Shim {
    /// Stops what runs, once.
    pub(super) fn go_down(&mut self) {
        if self.down.is_some() {
            return;
        }
        let mut longest = Duration::ZERO;
        for run in self.runs.values() {
            if let RunState::Running { pid, .. } = run.state {
                longest = longest.max(run.stop_timeout);
                send_signal(pid, run.stop_signal);
            }
        }
        for creation in &self.creations {
            send_signal(creation.pid, libc::SIGKILL);
        }
        self.down = Some(GoingDown { deadline: Some(sys::uptime().saturating_add(longest)) });
    }

    /// Kills what did not stop in time.
    pub(super) fn end_in_time(&mut self) {
        let Some(down) = &mut self.down else { return };
        if down.wait().is_none_or(|left| !left.is_zero()) {
            return;
        }
        down.deadline = None;
        for run in self.runs.values() {
            if let RunState::Running { pid, .. } = run.state {
                send_signal(pid, libc::SIGKILL);
            }
        }
        for creation in &self.creations {
            let _ = self.hierarchy.kill(&self.group.join(creation.container.as_str()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_turns_the_box_off_is_heard() {
        assert!(ends_the_box("systemd-shutdow\n"));
        assert!(ends_the_box("init\n"));
        assert!(!ends_the_box("systemd\n"));
        assert!(!is_end_of_box(15, std::process::id()));
        assert!(!is_end_of_box(1, 1));
    }

    #[test]
    fn a_definition_without_a_timeout_has_that_of_ecs() {
        assert_eq!(stop_timeout(None), Duration::from_secs(30));
        assert_eq!(stop_timeout(Some(2)), Duration::from_secs(2));
    }
}
