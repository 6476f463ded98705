//! The agent's side of a command in a running container.
//!
//! Each session has a connection to the shim of its own; the shim ends the command when that ends. Data does not pass
//! through the shim: the command's pipes, or the master of its terminal, are this process's, so a reader that is slow
//! slows the command down and nothing else.

use super::error::RuntimeError;
use super::handle::{Runtime, blocking};
use super::layout;
use super::protocol::{ExecCommand, MAX_LINE, Message, Request, Stage};
use super::{socket, terminal};
use crate::model::{ContainerName, TerminalSize};
use crate::plan::action::ContainerRun;
use rustix::pipe::{PipeFlags, pipe_with};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Mutex;

/// The request's number; it is the only one of its kind on its connection.
const EXEC: u64 = 1;
const SIGNAL: u64 = 2;

/// Why a command did not come to run in a container.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The container does not run.
    #[error("the container does not run")]
    NotRunning,
    /// There is no such program in it.
    #[error("{0}")]
    NoProgram(String),
    /// It cannot be executed.
    #[error("{0}")]
    CannotStart(String),
    /// Something that it needs could not be made.
    #[error("cannot make what the command needs: {0}")]
    Resources(#[from] io::Error),
    /// The box does not do it.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

/// A command that runs in a container.
#[derive(Debug)]
pub struct Session {
    /// Takes its standard input; absent when that is not open.
    pub input: Option<SessionStream>,
    /// Its standard output, or all output of a terminal.
    pub output: SessionStream,
    /// Its standard error; absent on a terminal.
    pub error_output: Option<SessionStream>,
    /// All of the output comes until its streams end, also after the end of the process.
    pub whole_output: bool,
    /// Its end.
    pub waiter: SessionWaiter,
    /// Signals to it; it lives as long as this does.
    pub signals: SessionSignals,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    /// By itself or by a signal.
    Exited {
        /// Its code; 128 + n for signal n.
        exit_code: i32,
        /// It was killed because the container ended.
        with_container: bool,
    },
    /// The shim is gone, and all of the task with it.
    Lost,
}

impl Runtime {
    /// Starts a command in a container.
    ///
    /// # Errors
    /// When it cannot be started; nothing of it is left then.
    pub async fn exec(
        &self,
        run: &ContainerRun,
        command: ExecCommand,
    ) -> Result<Session, SessionError> {
        let stream = self.connect_session(run).await?;
        let request = |command| Request::Exec {
            id: EXEC,
            container: run.container.clone(),
            runtime_id: run.runtime_id.clone(),
            command,
        };
        if command.terminal.is_some() {
            let (own, other) = StdStream::pair()?;
            own.set_nonblocking(true)?;
            let (mut waiter, signals) = ask(stream, &request(command), &[other.into()]).await?;
            waiter.started().await?;
            let output = SessionStream::new(received(&own)?)?;
            let input = output.clone();
            return Ok(Session {
                input: Some(input),
                output,
                error_output: None,
                whole_output: false,
                waiter,
                signals,
            });
        }
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from);
        let ((output, its_output), (error_output, its_error_output)) = (pipe()?, pipe()?);
        let mut passed = vec![its_output, its_error_output];
        let mut input = None;
        if command.stdin {
            let (its_input, own) = pipe()?;
            passed.push(its_input);
            input = Some(SessionStream::new(own)?);
        }
        let (mut waiter, signals) = ask(stream, &request(command), &passed).await?;
        // The ends of this side only must be left, or the end of the output is never seen.
        drop(passed);
        let (output, error_output) =
            (SessionStream::new(output)?, Some(SessionStream::new(error_output)?));
        waiter.started().await?;
        Ok(Session { input, output, error_output, whole_output: false, waiter, signals })
    }

    /// Attaches to a container that is interactive or on a terminal. On a terminal the session begins with the last of
    /// what that showed; otherwise it has no output. The container stays when the session is dropped.
    ///
    /// # Errors
    /// When the container does not run, or is neither.
    pub async fn attach(&self, run: &ContainerRun) -> Result<Session, SessionError> {
        let stream = self.connect_session(run).await?;
        let (own, other) = StdStream::pair()?;
        own.set_nonblocking(true)?;
        let (output, its_output) = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
        let (container, runtime_id) = (run.container.clone(), run.runtime_id.clone());
        let request = Request::Attach { id: EXEC, container, runtime_id };
        let passed = [other.into(), its_output];
        let (mut waiter, mut signals) = ask(stream, &request, &passed).await?;
        drop(passed);
        waiter.started().await?;
        waiter.container = Some(run.container.clone());
        signals.attached = Some(run.clone());
        let input = Some(SessionStream::new(received(&own)?)?);
        let output = SessionStream::new(output)?;
        Ok(Session { input, output, error_output: None, whole_output: true, waiter, signals })
    }

    async fn connect_session(&self, run: &ContainerRun) -> Result<StdStream, SessionError> {
        let directory = self.task_directory(&run.task);
        let stream = {
            let directory = directory.clone();
            blocking(move || socket::connect(&directory, layout::SOCKET)).await?
        };
        stream
            .map_err(|source| RuntimeError::File { path: directory, source })?
            .ok_or(SessionError::NotRunning)
    }
}

/// What was sent before the start was told.
fn received(socket: &StdStream) -> io::Result<OwnedFd> {
    let mut fds = Vec::new();
    socket::receive_with(socket, &mut [0; 1], &mut fds)?;
    fds.pop().ok_or_else(|| io::Error::other("no descriptor came"))
}

/// One of a command's streams, or its terminal.
#[derive(Debug, Clone)]
pub struct SessionStream(Arc<AsyncFd<OwnedFd>>);

impl SessionStream {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        #[expect(
            unsafe_code,
            reason = "tokio leaves it to the caller that the descriptor stays open"
        )]
        // SAFETY: an `OwnedFd` names the same open descriptor until it is dropped.
        let registered = unsafe { AsyncFd::register(fd) }?;
        Ok(Self(Arc::new(registered)))
    }

    /// Reads what is there, waiting for it; 0 at the end. Safe to drop while it waits.
    ///
    /// # Errors
    /// When it cannot be read from.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|fd| Ok(rustix::io::read(fd, &mut *buffer)?)) {
                Err(_) => {}
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(read) => return at_end(read),
            }
        }
    }

    /// Reads what is there now; 0 when that is nothing, at the end as well.
    ///
    /// # Errors
    /// When it cannot be read from.
    pub fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match at_end(
            rustix::io::retry_on_intr(|| rustix::io::read(&*self.0, &mut *buffer))
                .map_err(Into::into),
        ) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            read => read,
        }
    }

    /// Writes all of `bytes`, waiting for room.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.0.writable().await?;
            match ready.try_io(|fd| Ok(rustix::io::write(fd, bytes)?)) {
                Err(_) => {}
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(written) => bytes = bytes.get(written?..).unwrap_or_default(),
            }
        }
        Ok(())
    }

    /// Whether it is a terminal.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        rustix::termios::isatty(self.0.as_fd())
    }

    /// Tells a terminal its size; anything else has none.
    pub fn resize(&self, size: TerminalSize) {
        let _ = terminal::resize(self.0.as_fd(), size);
    }
}

/// The master of a terminal that nobody has open says so with an error.
fn at_end(read: io::Result<usize>) -> io::Result<usize> {
    match read {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => Ok(0),
        read => read,
    }
}

/// The connection to the shim that a session lives by.
async fn ask(
    stream: StdStream,
    request: &Request,
    passed: &[OwnedFd],
) -> io::Result<(SessionWaiter, SessionSignals)> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    if line.len() > MAX_LINE {
        return Err(io::Error::other("the command is too long"));
    }
    let fds: Vec<_> = passed.iter().map(AsFd::as_fd).collect();
    let sent = socket::send_with(&stream, &line, &fds)?;
    stream.set_nonblocking(true)?;
    let (reader, mut writer) = UnixStream::from_std(stream)?.into_split();
    writer.write_all(line.get(sent..).unwrap_or_default()).await?;
    let waiter =
        SessionWaiter { reader: BufReader::new(reader), line: Vec::new(), container: None };
    Ok((waiter, SessionSignals { writer: Arc::new(Mutex::new(writer)), attached: None }))
}

/// Learns of a command's end.
#[derive(Debug)]
pub struct SessionWaiter {
    reader: BufReader<OwnedReadHalf>,
    /// What has come of a line.
    line: Vec<u8>,
    /// The end of this one counts.
    container: Option<ContainerName>,
}

impl SessionWaiter {
    async fn started(&mut self) -> Result<(), SessionError> {
        loop {
            match self.message().await? {
                Some(Message::Started { id: EXEC, .. }) => return Ok(()),
                Some(Message::Failed { failure, .. }) => {
                    return Err(match failure.stage {
                        Stage::Request => SessionError::NotRunning,
                        Stage::Program => SessionError::NoProgram(failure.reason),
                        Stage::Resources | Stage::Create | Stage::Start => {
                            SessionError::CannotStart(failure.reason)
                        }
                    });
                }
                // The ends of containers are told to all.
                Some(_) => {}
                None => return Err(SessionError::NotRunning),
            }
        }
    }

    /// Waits for the command's end. Safe to drop while it waits.
    pub async fn ended(&mut self) -> SessionEnd {
        loop {
            match self.message().await {
                Ok(Some(Message::Ended { id: EXEC, exit_code, with_container })) => {
                    return SessionEnd::Exited { exit_code, with_container };
                }
                Ok(Some(Message::Exited { container, exit }))
                    if self.container.as_ref() == Some(&container) =>
                {
                    let exit_code = exit.exit_code.unwrap_or(0);
                    return SessionEnd::Exited { exit_code, with_container: false };
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return SessionEnd::Lost,
            }
        }
    }

    async fn message(&mut self) -> io::Result<Option<Message>> {
        let room = (MAX_LINE - self.line.len().min(MAX_LINE)) as u64;
        (&mut self.reader).take(room).read_until(b'\n', &mut self.line).await?;
        if self.line.is_empty() {
            return Ok(None);
        }
        let message = serde_json::from_slice(&self.line)?;
        self.line.clear();
        Ok(Some(message))
    }
}

/// Sends signals to a command. When it and its clones are dropped the command is hung up, and killed soon after.
#[derive(Debug, Clone)]
pub struct SessionSignals {
    writer: Arc<Mutex<OwnedWriteHalf>>,
    /// The container that the session is attached to, if it is no command of its own.
    attached: Option<ContainerRun>,
}

impl SessionSignals {
    /// Sends a signal to the command's process group. That it is gone is fine.
    pub async fn send(&self, signal: u8) {
        self.ask(&Request::SignalExec { id: SIGNAL, signal: i32::from(signal) }).await;
    }

    /// Ends the standard input of the container that the session is attached to.
    pub async fn close_input(&self) {
        if let Some(run) = &self.attached {
            let (container, runtime_id) = (run.container.clone(), run.runtime_id.clone());
            self.ask(&Request::CloseInput { id: SIGNAL, container, runtime_id }).await;
        }
    }

    async fn ask(&self, request: &Request) {
        if let Ok(mut line) = serde_json::to_vec(request) {
            line.push(b'\n');
            // Without a shim there is nothing to send a signal to.
            let _ = self.writer.lock().await.write_all(&line).await;
        }
    }
}
