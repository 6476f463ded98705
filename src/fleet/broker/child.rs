//! One life of mosquitto: started, up, ended.
//!
//! ```text
//!  spawn ──► says "running" ──► up ──► ends by itself, or is asked to (SIGTERM), or is killed
//!    └─► ends, or says nothing for too long: an error that holds the last it said
//! ```
//!
//! It runs without privileges from its first instruction, in a process group of its own (a terminal's Ctrl-C is for the hub,
//! which ends it in order), and the kernel sends it SIGTERM when the hub dies.

use super::BrokerError;
use super::program::Program;
use rustix::process::{Pid, Resource, Rlimit, Signal, getppid, getrlimit, setrlimit};
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Split};
use tokio::process::{Child, ChildStderr, Command};

/// From its start to "running": it reads its database, which may be large.
const START: Duration = Duration::from_mins(1);
/// From SIGTERM to its end: it writes its database.
const END: Duration = Duration::from_secs(30);
/// Lines kept for an error.
const KEPT: usize = 3;
/// Characters of a line that are worth showing.
const SHOWN: usize = 400;

/// A mosquitto that runs.
#[derive(Debug)]
pub(super) struct Life {
    child: Child,
    lines: Split<BufReader<ChildStderr>>,
    open: bool,
    said: VecDeque<String>,
}

/// What a life brings.
#[derive(Debug)]
pub(super) enum Sign {
    /// A line of its log, already logged.
    Line(String),
    /// Its end.
    Ended(ExitStatus),
}

impl Life {
    /// Starts it and waits until it is up.
    pub(super) async fn begin(
        program: &Program,
        configuration: &Path,
    ) -> Result<Self, BrokerError> {
        let mut life = Self::spawn(program, configuration)
            .map_err(|source| BrokerError::NotRunnable { program: program.path.clone(), source })?;
        let up = async {
            loop {
                match life.sign().await {
                    Sign::Line(said) => {
                        if said.starts_with("mosquitto version") && said.ends_with("running") {
                            return Ok(());
                        }
                    }
                    Sign::Ended(status) => return Err(status),
                }
            }
        };
        match tokio::time::timeout(START, up).await {
            Ok(Ok(())) => Ok(life),
            Ok(Err(status)) => {
                let said = life.said.iter().map(String::as_str).collect::<Vec<_>>().join("; ");
                Err(BrokerError::Ended { status, said })
            }
            Err(_) => Err(BrokerError::Late("start")),
        }
    }

    fn spawn(program: &Program, configuration: &Path) -> io::Result<Self> {
        let mut command = Command::new(&program.path);
        command.arg("-c").arg(configuration).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        if let Some(user) = &program.user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        let hub = rustix::process::getpid();
        #[expect(unsafe_code, reason = "the one way to say something between fork and exec")]
        // SAFETY: `bind_to` makes system calls and nothing else: no allocation, no lock.
        unsafe {
            command.pre_exec(move || bind_to(hub))
        };
        let mut child = command.spawn()?;
        let stderr = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let lines = BufReader::new(stderr).split(b'\n');
        Ok(Self { child, lines, open: true, said: VecDeque::new() })
    }

    /// The next line, or its end. May be dropped and called again.
    pub(super) async fn sign(&mut self) -> Sign {
        while self.open {
            match self.lines.next_segment().await {
                Ok(Some(line)) => {
                    let line = legible(&line);
                    log(&line);
                    if self.said.len() == KEPT {
                        self.said.pop_front();
                    }
                    self.said.push_back(line.clone());
                    return Sign::Line(line);
                }
                Ok(None) | Err(_) => self.open = false,
            }
        }
        match self.child.wait().await {
            Ok(status) => Sign::Ended(status),
            // Not to be had: then it is not ours any more, as after its end.
            Err(_) => Sign::Ended(ExitStatus::default()),
        }
    }

    /// Sends a signal.
    pub(super) fn signal(&self, signal: Signal) {
        let process = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(process) = process
            && let Err(error) = rustix::process::kill_process(process, signal)
        {
            tracing::warn!(%error, ?signal, "mosquitto cannot be signalled");
        }
    }

    /// Ends it in order; by force when that takes too long.
    pub(super) async fn end(mut self) {
        self.signal(Signal::TERM);
        let ended = async { while !matches!(self.sign().await, Sign::Ended(_)) {} };
        if tokio::time::timeout(END, ended).await.is_err() {
            tracing::warn!("mosquitto does not end; killing it");
            let _ = self.child.kill().await;
        }
    }
}

/// In the new process: dies with the hub, and may have as many connections as the machine allows.
fn bind_to(hub: Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    if getppid() != Some(hub) {
        // It died in the meantime.
        return Err(io::ErrorKind::NotConnected.into());
    }
    let allowed = getrlimit(Resource::Nofile);
    let all = Rlimit { current: allowed.maximum, maximum: allowed.maximum };
    let _ = setrlimit(Resource::Nofile, all);
    Ok(())
}

/// Whatever a client put into its name stays one line of text.
fn legible(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.trim_end().chars().map(plain).take(SHOWN).collect()
}

/// What clients cause is for those who look for it: anybody can cause it.
fn log(line: &str) {
    if line.ends_with("Unable to set TCP_NODELAY.") {
        // The hub's socket has no such thing.
        return;
    }
    if line.contains("does not contain '%c' or '%u'") {
        // So it is meant: what all boxes of the only cluster read.
        return;
    }
    if line.starts_with("Error") {
        tracing::error!(target: "mosquitto", "{line}");
    } else if line.starts_with("Warning") {
        tracing::warn!(target: "mosquitto", "{line}");
    } else {
        tracing::debug!(target: "mosquitto", "{line}");
    }
}
