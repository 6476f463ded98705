//! Running a command in a container that runs: for health checks.
//!
//! A forked helper joins the container's control group and namespaces, forks the command (the process namespace takes
//! hold only in a child), tells the shim its number and ends; the command becomes the shim's child. The command gets
//! the container's environment, user, capabilities and seccomp filter.

use crate::runtime::cgroup::Hierarchy;
use crate::runtime::launch::LaunchFile;
use crate::runtime::process::{Program, chain, default_signals};
use crate::runtime::protocol::{Created, Failure, Stage};
use crate::runtime::{record, spec};
use nix::unistd::ForkResult;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, pidfd_open};
use rustix::thread::LinkNameSpaceType;
use serde::Deserialize;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// What the helper works from.
#[derive(Debug)]
pub(super) struct Order {
    /// The container's first process; the shim's child, not reaped yet.
    pub(super) init: i32,
    pub(super) command: Vec<String>,
    pub(super) config: PathBuf,
    pub(super) launch: PathBuf,
    pub(super) hierarchy: Hierarchy,
    pub(super) group: PathBuf,
}

/// The part of `config.json` that a command shares with the container's process.
#[derive(Debug, Deserialize)]
struct Config {
    process: Process,
    linux: Linux,
}

#[derive(Debug, Deserialize)]
struct Process {
    user: User,
    env: Vec<String>,
    cwd: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct User {
    uid: u32,
    gid: u32,
    additional_gids: Vec<u32>,
}

#[derive(Debug, Deserialize)]
struct Linux {
    namespaces: Vec<Namespace>,
}

#[derive(Debug, Deserialize)]
struct Namespace {
    r#type: String,
}

/// Starts the helper; in the shim, returns its process id and the end that its one line comes out of.
#[expect(unsafe_code, reason = "fork is how the shim keeps out of the container itself")]
pub(super) fn fork(order: Order) -> io::Result<(i32, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&read, true)?;
    // SAFETY: the shim has one thread, so the copy may do whatever the original could.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok((child.as_raw(), read)),
        ForkResult::Child => {
            let created = match enter(order) {
                Ok(pid) => Created::Running { pid },
                Err(failure) => Created::Failed(failure),
            };
            if let Ok(mut line) = serde_json::to_vec(&created) {
                line.push(b'\n');
                let _ = File::from(write).write_all(&line);
            }
            // SAFETY: ends this copy without running what the shim registered for its own end.
            unsafe { libc::_exit(0) }
        }
    }
}

fn enter(order: Order) -> Result<i32, Failure> {
    let resources = |what: &'static str| {
        move |error: io::Error| Failure::new(Stage::Resources, format!("{what}: {error}"))
    };
    default_signals();
    // A process in the container must not be able to look into this one before it is one of its own.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|e| resources("prctl")(e.into()))?;
    let missing = || Failure::new(Stage::Resources, "the container's files are missing");
    let config: Config =
        record::read(&order.config).map_err(resources("config.json"))?.ok_or_else(missing)?;
    let launch: LaunchFile =
        record::read(&order.launch).map_err(resources("launch.json"))?.ok_or_else(missing)?;
    let own_network = config.linux.namespaces.iter().any(|n| n.r#type == "network");
    let mut privileges = spec::privileges(&launch, own_network)
        .map_err(|e| Failure::new(Stage::Create, chain(&e)))?;
    privileges.init = false;
    let program = Program { args: order.command, env: config.process.env };
    order
        .hierarchy
        .join(&order.group, std::process::id())
        .map_err(|e| Failure::new(Stage::Resources, chain(&e)))?;

    let init = Pid::from_raw(order.init).ok_or_else(missing)?;
    let init =
        pidfd_open(init, PidfdFlags::empty()).map_err(|e| resources("pidfd_open")(e.into()))?;
    // Namespaces shared with the box are joined as well, which changes nothing.
    let all = [
        LinkNameSpaceType::ControlGroup,
        LinkNameSpaceType::InterProcessCommunication,
        LinkNameSpaceType::Network,
        LinkNameSpaceType::ProcessID,
        LinkNameSpaceType::HostNameAndNISDomainName,
        LinkNameSpaceType::Mount,
    ];
    let kinds = all.iter().fold(0, |bits, kind| bits | *kind as i32);
    join_namespaces(&init, kinds).map_err(resources("setns"))?;

    let (mut errors, error_end) = pipe_with(PipeFlags::CLOEXEC)
        .map(|(read, write)| (File::from(read), File::from(write)))
        .map_err(|e| resources("pipe")(e.into()))?;
    #[expect(unsafe_code, reason = "the process namespace takes hold in a child only")]
    // SAFETY: this process has one thread.
    match unsafe { nix::unistd::fork() }.map_err(|e| resources("fork")(e.into()))? {
        ForkResult::Parent { child } => {
            drop(error_end);
            let mut refusal = String::new();
            let _ = (&mut errors).take(4096).read_to_string(&mut refusal);
            if refusal.is_empty() {
                return Ok(child.as_raw());
            }
            let _ = nix::sys::wait::waitpid(child, None);
            Err(Failure::new(Stage::Start, refusal))
        }
        ForkResult::Child => {
            let error = run(&config.process.user, &config.process.cwd, &program, &privileges);
            let _ = (&error_end).write_all(error.as_bytes());
            // SAFETY: ends this copy without running what the shim registered for its own end.
            unsafe { libc::_exit(126) }
        }
    }
}

/// Becomes the command; comes back with the reason if it cannot.
fn run(
    user: &User,
    cwd: &std::path::Path,
    program: &Program,
    privileges: &crate::runtime::process::Privileges,
) -> String {
    use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
    let step = || -> io::Result<()> {
        rustix::process::setsid()?;
        rustix::process::chdir(cwd)?;
        let groups: Vec<Gid> = user.additional_gids.iter().copied().map(Gid::from_raw).collect();
        setgroups(&groups)?;
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        // Capabilities are kept for the seccomp filter; the last steps drop them.
        rustix::thread::set_keep_capabilities(true)?;
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
        rustix::thread::set_keep_capabilities(false)?;
        let permitted = caps::read(None, caps::CapSet::Permitted).map_err(io::Error::other)?;
        caps::set(None, caps::CapSet::Effective, &permitted).map_err(io::Error::other)
    };
    match step() {
        Ok(()) => chain(&program.become_it(privileges)),
        Err(error) => error.to_string(),
    }
}

#[expect(unsafe_code, reason = "setns(2) with a pidfd has no wrapper")]
fn join_namespaces(init: &OwnedFd, kinds: i32) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: a descriptor and flags.
    let result = unsafe { libc::setns(init.as_raw_fd(), kinds) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
