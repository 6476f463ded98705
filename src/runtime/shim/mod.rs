//! `coracle shim`: the parent of one task's containers.
//!
//! One thread, no async runtime, a few tens of kilobytes of its own. It outlives the agent: it pumps output into the
//! log files, reaps, and writes each exit down durably before it tells anybody. It never calls libcontainer, which
//! changes its caller for good; a short-lived forked `creator` does, in a mount namespace of its own. So no mount
//! ever shows on the host, and none is left behind: the root file system lives as long as the container.
//!
//! ```text
//!  agent ──socket──► shim ──fork──► creator ──libcontainer──► container's init
//!                     ▲  ▲                                        │ (CLONE_PARENT: the shim's child)
//!                     │  └──────────── pipes, SIGCHLD ────────────┘
//!                     └──fork──► helper (joins the container's namespaces)
//! ```
//!
//! The agent makes the socket and hands it over as standard input, so it can be connected to at once, and a refused
//! connection means that there is no shim.

mod cgroup_view;
mod connection;
mod creator;
mod enter;
mod forward;
mod namespace;
mod overlay;
mod serve;
mod shared;
mod stdio;
mod unwritten;

pub(super) use shared::Joined;

use super::layout::Layout;
use crate::model::TaskId;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;

/// What the shim is told on its command line: `shim TASK STATE_DIR RUN_DIR CGROUP_PARENT`.
#[derive(Debug)]
struct Arguments {
    task: TaskId,
    layout: Layout,
    cgroup_parent: String,
}

impl Arguments {
    fn parse() -> Option<Self> {
        let mut args = std::env::args_os().skip(2);
        let task = TaskId::new(args.next()?.into_string().ok()?).ok()?;
        let state_dir = PathBuf::from(args.next()?);
        let run_dir = PathBuf::from(args.next()?);
        let cgroup_parent = args.next()?.into_string().ok()?;
        Some(Self { task, layout: Layout { state_dir, run_dir }, cgroup_parent })
    }
}

/// Runs the shim until its task is released. Must be called before any thread exists.
#[must_use]
pub fn main() -> ExitCode {
    let Some(arguments) = Arguments::parse() else {
        return ExitCode::from(2);
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        // Standard error is /dev/null; the agent sees the socket close and says so.
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(arguments: Arguments) -> io::Result<()> {
    close_inherited();
    // What stops the agent, or hangs up its terminal, is not for the containers.
    let mut mask = SigSet::empty();
    for signal in
        [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT]
    {
        mask.add(signal);
    }
    mask.thread_block()?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    // Fails only for a process group leader, which is detached enough.
    let _ = rustix::process::setsid();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    rustix::process::chdir("/")?;
    let listener = UnixListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    listener.set_nonblocking(true)?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for standard in 0..=2 {
        nix::unistd::dup2(null.as_raw_fd(), standard)?;
    }
    drop(null);
    serve::Shim::new(arguments, listener, signals)?.serve()
}

/// Whoever started the agent may have left descriptors open in it; none of them is for a container.
fn close_inherited() {
    // Nothing has been opened yet, so nothing in this program owns a descriptor above 2.
    close_all_but(&mut []);
}

/// Closes all descriptors above 2 but those to `keep`, whoever owned them.
#[expect(unsafe_code, reason = "descriptors that nobody here owns can only be closed by number")]
fn close_all_but(keep: &mut [libc::c_int]) {
    keep.sort_unstable();
    let mut first: libc::c_int = 3;
    for last in keep.iter().map(|fd| fd - 1).chain([libc::c_int::MAX]) {
        if first <= last {
            // SAFETY: the callers own none of these descriptors, or never use them again.
            let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
            if result != 0 {
                // Before Linux 5.9: one by one, as far as the limit says they can go.
                let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
                let limit = limit.and_then(|n| i32::try_from(n).ok()).unwrap_or(1 << 20);
                for fd in first..=last.min(limit) {
                    // SAFETY: as above.
                    unsafe { libc::close(fd) };
                }
            }
        }
        first = last.saturating_add(2);
    }
}
