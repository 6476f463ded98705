//! Running a command in a container that runs: for health checks and `exec`.
//!
//! A forked helper joins the container's namespaces, forks the command (the process namespace takes hold only in a child),
//! tells the shim its number and ends; the command, which has gone into the container's control group by itself, becomes the
//! shim's child. It gets what the container's process has: environment, user, limits, capabilities, seccomp filter, no new
//! privileges.
//!
//! Between joining and executing, this program's own code runs where the container can look: so the helper cannot be
//! traced or opened (not dumpable), what it is executed from is sealed (CVE-2019-5736), and it holds no descriptor that
//! is not for the command, so that none can be reached, not even by a working directory like `/proc/self/fd/7`
//! (CVE-2024-21626).

use super::stdio::Stdio;
use crate::runtime::cgroup::{Entrance, Hierarchy};
use crate::runtime::launch::LaunchFile;
use crate::runtime::process::{ExecError, Privileges, Program, chain, default_signals};
use crate::runtime::protocol::{Created, ExecCommand, Failure, Stage};
use crate::runtime::spec::program::{TERMINAL_TYPE, set};
use crate::runtime::spec::rootfs::RootFs;
use crate::runtime::spec::user::User as FoundUser;
use crate::runtime::{record, spec};
use nix::unistd::ForkResult;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use rustix::thread::LinkNameSpaceType;
use serde::Deserialize;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What the helper works from.
#[derive(Debug)]
pub(super) struct Order {
    /// The container's first process.
    pub(super) init: OwnedFd,
    pub(super) command: ExecCommand,
    pub(super) stdio: Stdio,
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
#[serde(rename_all = "camelCase")]
struct Process {
    user: User,
    env: Vec<String>,
    cwd: PathBuf,
    #[serde(default)]
    rlimits: Vec<Limit>,
    oom_score_adj: Option<i32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct User {
    uid: u32,
    gid: u32,
    additional_gids: Vec<u32>,
}

#[derive(Debug, Deserialize)]
struct Limit {
    r#type: String,
    soft: u64,
    hard: u64,
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
            // The shim's own are not for the container. This copy ends without dropping what owned them.
            let mut keep = order.stdio.descriptors();
            keep.extend([write.as_raw_fd(), order.init.as_raw_fd()]);
            super::close_all_but(&mut keep);
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
    drop(launch);
    if let Some(adjustment) = config.process.oom_score_adj {
        std::fs::write("/proc/self/oom_score_adj", adjustment.to_string())
            .map_err(resources("oom_score_adj"))?;
    }
    let entrance = order
        .hierarchy
        .entrance(&order.group)
        .map_err(|e| Failure::new(Stage::Resources, chain(&e)))?;

    // Namespaces shared with the box are joined as well, which changes nothing.
    let all = [
        LinkNameSpaceType::InterProcessCommunication,
        LinkNameSpaceType::Network,
        LinkNameSpaceType::ProcessID,
        LinkNameSpaceType::HostNameAndNISDomainName,
        LinkNameSpaceType::Mount,
    ];
    let kinds = all.iter().fold(0, |bits, kind| bits | *kind as i32);
    join_namespaces(&order.init, kinds).map_err(resources("setns"))?;

    let (mut errors, error_end) = pipe_with(PipeFlags::CLOEXEC)
        .map(|(read, write)| (File::from(read), File::from(write)))
        .map_err(|e| resources("pipe")(e.into()))?;
    let Order { init, command, stdio, .. } = order;
    #[expect(unsafe_code, reason = "the process namespace takes hold in a child only")]
    // SAFETY: this process has one thread.
    match unsafe { nix::unistd::fork() }.map_err(|e| resources("fork")(e.into()))? {
        ForkResult::Parent { child } => {
            drop((error_end, stdio, entrance));
            let mut refusal = String::new();
            let _ = (&mut errors).take(4096).read_to_string(&mut refusal);
            if refusal.is_empty() {
                return Ok(child.as_raw());
            }
            let _ = nix::sys::wait::waitpid(child, None);
            let (stage, reason) = match refusal.strip_prefix(NO_PROGRAM) {
                Some(reason) => (Stage::Program, reason),
                None => (Stage::Start, refusal.as_str()),
            };
            Err(Failure::new(stage, reason))
        }
        ForkResult::Child => {
            let mut error = match go_in(entrance, &init) {
                Ok(()) => run(config.process, command, stdio, &privileges, &error_end),
                Err(error) => error,
            };
            error.truncate(4000);
            let _ = (&error_end).write_all(error.as_bytes());
            // SAFETY: ends this copy without running what the shim registered for its own end.
            unsafe { libc::_exit(126) }
        }
    }
}

/// The command alone counts as the container's: its helper, with much of this program mapped, would look to the kernel like
/// what fills a small container's memory. The namespace goes by the group, and hides the one that is left.
fn go_in(entrance: Entrance, init: &OwnedFd) -> Result<(), String> {
    entrance.enter().map_err(|e| chain(&e))?;
    join_namespaces(init, LinkNameSpaceType::ControlGroup as i32).map_err(|e| format!("setns: {e}"))
}

/// Marks the refusal of a program that is not there.
const NO_PROGRAM: &str = "\u{1}";

/// Becomes the command; comes back with the reason if it cannot.
fn run(
    process: Process,
    command: ExecCommand,
    stdio: Stdio,
    privileges: &Privileges,
    errors: &File,
) -> String {
    match prepare(process, command, stdio, errors) {
        Ok(program) => match program.become_it(privileges) {
            error @ ExecError::NotFound(_) => format!("{NO_PROGRAM}{}", chain(&error)),
            ExecError::Exec { program, source } if source.kind() == io::ErrorKind::NotFound => {
                format!("{NO_PROGRAM}exec: {program:?}: no such file or directory")
            }
            error => chain(&error),
        },
        Err(error) => error,
    }
}

/// All but the last steps: session, streams, limits, directory, user.
fn prepare(
    process: Process,
    command: ExecCommand,
    stdio: Stdio,
    errors: &File,
) -> Result<Program, String> {
    let in_words = |what: &str| {
        let what = what.to_owned();
        move |error: rustix::io::Errno| format!("{what}: {}", io::Error::from(error))
    };
    let Process { mut user, mut env, mut cwd, rlimits, .. } = process;
    if command.terminal.is_some() && !env.iter().any(|e| e.starts_with("TERM=")) {
        set(&mut env, TERMINAL_TYPE.to_owned());
    }
    if let Some(wanted) = &command.user {
        let rootfs = RootFs::open(Path::new("/")).map_err(|e| format!("/: {e}"))?;
        let found = FoundUser::find(&rootfs, wanted).map_err(|e| chain(&e))?;
        set(&mut env, format!("HOME={}", found.home));
        user = User { uid: found.uid, gid: found.gid, additional_gids: found.groups };
    }
    for variable in command.environment {
        set(&mut env, variable);
    }
    rustix::process::setsid().map_err(in_words("setsid"))?;
    stdio.take(user.uid).map_err(|e| format!("cannot set up the standard streams: {e}"))?;
    super::close_all_but(&mut [errors.as_raw_fd()]);
    for limit in &rlimits {
        limit.apply()?;
    }
    if let Some(directory) = command.working_directory {
        cwd = PathBuf::from(directory);
    }
    rustix::process::chdir(&cwd).map_err(in_words(&format!("{}", cwd.display())))?;
    // A directory outside of the root has no path in it.
    let seen = rustix::process::getcwd(Vec::new()).map_err(in_words("getcwd"))?;
    if !seen.to_bytes().starts_with(b"/") {
        return Err(format!("{} is outside of the container", cwd.display()));
    }
    become_user(&user).map_err(|e| format!("cannot become the user: {e}"))?;
    Ok(Program { args: command.command, env })
}

fn become_user(user: &User) -> io::Result<()> {
    use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
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
}

impl Limit {
    fn apply(&self) -> Result<(), String> {
        let resource = match self.r#type.as_str() {
            "RLIMIT_AS" => Resource::As,
            "RLIMIT_CORE" => Resource::Core,
            "RLIMIT_CPU" => Resource::Cpu,
            "RLIMIT_DATA" => Resource::Data,
            "RLIMIT_FSIZE" => Resource::Fsize,
            "RLIMIT_LOCKS" => Resource::Locks,
            "RLIMIT_MEMLOCK" => Resource::Memlock,
            "RLIMIT_MSGQUEUE" => Resource::Msgqueue,
            "RLIMIT_NICE" => Resource::Nice,
            "RLIMIT_NOFILE" => Resource::Nofile,
            "RLIMIT_NPROC" => Resource::Nproc,
            "RLIMIT_RSS" => Resource::Rss,
            "RLIMIT_RTPRIO" => Resource::Rtprio,
            "RLIMIT_RTTIME" => Resource::Rttime,
            "RLIMIT_SIGPENDING" => Resource::Sigpending,
            "RLIMIT_STACK" => Resource::Stack,
            other => return Err(format!("unknown limit {other}")),
        };
        // The largest number is no limit.
        let bound = |n: u64| (n != u64::MAX).then_some(n);
        let limit = Rlimit { current: bound(self.soft), maximum: bound(self.hard) };
        rustix::process::setrlimit(resource, limit)
            .map_err(|e| format!("{}: {}", self.r#type, io::Error::from(e)))
    }
}

#[expect(unsafe_code, reason = "setns(2) with a pidfd has no wrapper")]
fn join_namespaces(init: &OwnedFd, kinds: i32) -> io::Result<()> {
    // SAFETY: a descriptor and flags.
    let result = unsafe { libc::setns(init.as_raw_fd(), kinds) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
