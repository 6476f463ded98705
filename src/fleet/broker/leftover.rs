//! A mosquitto that an earlier hub has left, because it was killed in the moment of starting it: it holds the port and
//! the database. It is known by its command line, which names this hub's own configuration.

use super::BrokerError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// It writes its database first, which may be large.
const PATIENCE: Duration = Duration::from_secs(30);

/// Ends every mosquitto that runs with this configuration. Blocks until they have ended.
pub(super) fn end(configuration: &Path) -> Result<(), BrokerError> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Ok(()) };
    for entry in processes.flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // The descriptor first: what is looked at through it cannot be another process by then.
        let Some(process) = Pid::from_raw(id) else { continue };
        let Ok(handle) = pidfd_open(process, PidfdFlags::empty()) else { continue };
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        if runs_with(&line, configuration) {
            tracing::warn!(process = id, "ending the mosquitto that an earlier hub has left");
            if !ends(&handle, Signal::TERM) && !ends(&handle, Signal::KILL) {
                return Err(BrokerError::Leftover(id));
            }
        }
    }
    Ok(())
}

/// Whether this command line is `mosquitto -c CONFIGURATION`.
fn runs_with(line: &[u8], configuration: &Path) -> bool {
    let mut words = line.split(|byte| *byte == 0);
    let program = words.next().unwrap_or_default();
    let name = program.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let wanted = configuration.as_os_str().as_bytes();
    name == b"mosquitto" && words.next() == Some(b"-c") && words.next() == Some(wanted)
}

fn ends(handle: &OwnedFd, signal: Signal) -> bool {
    if pidfd_send_signal(handle, signal).is_err() {
        // It has ended, or is not ours to end: waiting tells.
        tracing::debug!(?signal, "the signal was not taken");
    }
    let mut waited = [PollFd::new(handle, PollFlags::IN)];
    let patience = Timespec::try_from(PATIENCE).ok();
    matches!(poll(&mut waited, patience.as_ref()), Ok(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ours_is_recognised() {
        let ours = Path::new("/run/x/mosquitto.conf");
        let line = |text: &str| text.replace(' ', "\0").into_bytes();
        assert!(runs_with(&line("/usr/sbin/mosquitto -c /run/x/mosquitto.conf "), ours));
        for other in [
            "/usr/sbin/mosquitto -c /etc/mosquitto/mosquitto.conf ",
            "/usr/sbin/mosquitto",
            "vi -c /run/x/mosquitto.conf ",
            "",
        ] {
            assert!(!runs_with(&line(other), ours), "{other}");
        }
    }
}
