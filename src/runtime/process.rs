//! The last steps of a process before it becomes the container's: privileges dropped, then `execve`.
//!
//! Both ways into a container end here: libcontainer's init through [`ContainerExecutor`], and a command
//! that joined the container's namespaces.

use super::capability;
use super::seccomp;
use super::terminal::Terminal;
use super::volume::Late;
use crate::model::TerminalSize;
use caps::CapsHashSet;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use std::collections::HashMap;
use std::ffi::CString;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

/// What a process in a container may do.
#[derive(Debug, Clone)]
pub(crate) struct Privileges {
    pub(crate) capabilities: CapsHashSet,
    /// `no_new_privs`: nothing it executes can give it more.
    pub(crate) never_more: bool,
    /// None for a privileged container.
    pub(crate) filter: Option<seccomp::Filter>,
    /// A small init stays as the first process.
    pub(crate) init: bool,
    /// The network namespace is new, and its loopback still down.
    pub(crate) loopback: bool,
}

/// The program a process becomes.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) args: Vec<String>,
    /// `NAME=VALUE`, in order.
    pub(crate) env: Vec<String>,
}

/// Why a process did not become what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecError {
    #[error("no command specified")]
    NoCommand,
    #[error("exec: {0:?}: executable file not found in $PATH")]
    NotFound(String),
    #[error("exec: {0:?}: permission denied")]
    NotExecutable(String),
    #[error("exec: {program:?}: {source}")]
    Exec { program: String, source: io::Error },
    #[error("an argument or environment variable holds a NUL byte")]
    Nul,
    #[error("cannot set capabilities: {0}")]
    Capabilities(#[from] caps::errors::CapsError),
    #[error("cannot load the seccomp filter: {0}")]
    Seccomp(io::Error),
    #[error("cannot start the init process: {0}")]
    Init(io::Error),
    #[error("cannot make the terminal: {0}")]
    Terminal(io::Error),
    #[error("{0}")]
    Mount(String),
    #[error("cannot forbid new privileges: {0}")]
    NoNewPrivileges(io::Error),
}

impl Program {
    /// Finds the program in the current root file system.
    pub(crate) fn resolve(&self) -> Result<PathBuf, ExecError> {
        let name = self.args.first().filter(|n| !n.is_empty()).ok_or(ExecError::NoCommand)?;
        if name.contains('/') {
            let path = PathBuf::from(name);
            return match executable(&path) {
                Ok(true) => Ok(path),
                Ok(false) => Err(ExecError::NotExecutable(name.clone())),
                Err(source) => Err(ExecError::Exec { program: name.clone(), source }),
            };
        }
        let search = self.env.iter().rev().find_map(|e| e.strip_prefix("PATH=")).unwrap_or("");
        let mut forbidden = false;
        for directory in search.split(':') {
            let directory = if directory.is_empty() { "." } else { directory };
            let path = PathBuf::from(directory).join(name);
            match executable(&path) {
                Ok(true) => return Ok(path),
                Ok(false) => forbidden |= path.is_file(),
                Err(_) => {}
            }
        }
        Err(if forbidden {
            ExecError::NotExecutable(name.clone())
        } else {
            ExecError::NotFound(name.clone())
        })
    }

    /// Drops privileges and becomes the program; comes back only with an error.
    pub(crate) fn become_it(&self, privileges: &Privileges) -> ExecError {
        match self.try_become(privileges) {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    fn try_become(&self, privileges: &Privileges) -> Result<std::convert::Infallible, ExecError> {
        let strings = |all: &[String]| -> Result<Vec<CString>, ExecError> {
            all.iter().map(|s| CString::new(s.as_str()).map_err(|_| ExecError::Nul)).collect()
        };
        let path = self.resolve()?;
        let program = self.args.first().cloned().unwrap_or_default();
        let file =
            CString::new(path.into_os_string().into_encoded_bytes()).map_err(|_| ExecError::Nul)?;
        let (args, env) = (strings(&self.args)?, strings(&self.env)?);
        let root = rustix::process::geteuid().is_root();
        if privileges.never_more {
            rustix::thread::set_no_new_privs(true)
                .map_err(|e| ExecError::NoNewPrivileges(e.into()))?;
        }
        capability::bound(&privileges.capabilities)?;
        default_signals();
        if let Some(filter) = &privileges.filter {
            filter.load().map_err(ExecError::Seccomp)?;
        }
        capability::keep_only(&privileges.capabilities, root)?;
        if privileges.init {
            super::init::fork_program().map_err(ExecError::Init)?;
        }
        match nix::unistd::execve(&file, &args, &env) {
            Ok(never) => Ok(never),
            Err(errno) => Err(ExecError::Exec { program, source: errno.into() }),
        }
    }
}

fn executable(path: &std::path::Path) -> io::Result<bool> {
    let metadata = path.metadata()?;
    Ok(metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Undoes what this program, its language's runtime and whoever started it changed: the signal mask, and signals that
/// are ignored, both of which `execve` hands on.
#[expect(unsafe_code, reason = "signal dispositions have no safe interface")]
pub(crate) fn default_signals() {
    use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
    /// The kernel's `struct sigaction`, larger than any architecture's.
    const DEFAULT: [u64; 8] = [0; 8];
    for signal in 1..=64 {
        // The system call itself, because the C library does not give away the two signals it uses.
        // SAFETY: all zeroes is the default action, no handler is installed, and 8 is the size of the kernel's mask.
        // SIGKILL and SIGSTOP are refused, which changes nothing.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                DEFAULT.as_ptr(),
                std::ptr::null::<u8>(),
                8_usize,
            )
        };
    }
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

/// The whole chain of an error on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// What libcontainer's init runs last.
///
/// `libcontainer` keeps all capabilities because the spec names none; they are dropped here, after the seccomp filter
/// has been loaded, which it could not have done on its own in this build.
#[derive(Clone, Debug)]
pub(crate) struct ContainerExecutor {
    pub(crate) privileges: Privileges,
    pub(crate) program: Program,
    /// The end of a pipe that reports why the program could not be executed; closed by a successful `execve`.
    pub(crate) report: RawFd,
    /// Mounts that are left to the container's first process.
    pub(crate) late: Arc<Vec<Late>>,
    pub(crate) terminal: Option<ContainerTerminal>,
}

/// The terminal of a container's process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ContainerTerminal {
    /// Takes the master.
    pub(crate) socket: RawFd,
    pub(crate) size: TerminalSize,
    /// Whose it is.
    pub(crate) uid: u32,
}

impl ContainerTerminal {
    /// Makes it, in the container, and this process's own.
    fn take(self) -> io::Result<()> {
        // The socket belongs to the creator, of which this process is a copy.
        #[expect(unsafe_code, reason = "the descriptor came through clone, as a number")]
        // SAFETY: as for the report, the creator keeps it open and only exec closes it here.
        let socket = unsafe { BorrowedFd::borrow_raw(self.socket) };
        let terminal = Terminal::open()?;
        terminal.resize(self.size)?;
        terminal.bind_console()?;
        terminal.take(socket, self.uid)
    }
}

impl ContainerExecutor {
    fn report(&self, error: &ExecError) {
        // The pipe belongs to the creator, of which this process is a copy.
        #[expect(unsafe_code, reason = "the descriptor came through clone, as a number")]
        // SAFETY: the creator keeps the descriptor open until it has cloned this process, which closes it only by exec.
        let fd = unsafe { BorrowedFd::borrow_raw(self.report) };
        if let Ok(fd) = fd.as_fd().try_clone_to_owned() {
            let _ = File::from(fd).write_all(error.to_string().as_bytes());
        }
    }
}

impl Executor for ContainerExecutor {
    fn exec(&self, _spec: &Spec) -> Result<(), ExecutorError> {
        let error = self.program.become_it(&self.privileges);
        self.report(&error);
        Err(ExecutorError::Other(error.to_string()))
    }

    /// Runs in the container's namespaces before the start, still with all capabilities.
    fn validate(&self, _spec: &Spec) -> Result<(), ExecutorValidationError> {
        if self.privileges.loopback
            && let Err(error) = loopback_up()
        {
            return Err(ExecutorValidationError::ArgValidationError(format!(
                "cannot bring the loopback interface up: {error}"
            )));
        }
        let refuse = |error: ExecError| {
            self.report(&error);
            ExecutorValidationError::ArgValidationError(error.to_string())
        };
        if let Some(terminal) = self.terminal {
            terminal.take().map_err(|error| refuse(ExecError::Terminal(error)))?;
        }
        for mount in self.late.iter() {
            mount.mount().map_err(|reason| refuse(ExecError::Mount(reason)))?;
        }
        self.program.resolve().map(|_| ()).map_err(refuse)
    }

    /// The environment is given to `execve`; that of this process is never looked at.
    fn setup_envs(&self, _envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }
}

/// Brings the loopback interface of the current network namespace up.
#[expect(unsafe_code, reason = "interface flags are set by ioctl(2)")]
pub(crate) fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: all zeroes is a valid request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *to = from.cast_signed() as libc::c_char;
    }
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).map_err(io::Error::other)?;
    // SAFETY: the request is valid for the call and holds a name and flags.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
