//! This process's side of a session in a container: its terminal, its standard streams, its signals.
//!
//! With a terminal all keys go to the container's: this side's is put into raw mode, and back whatever happens. Without
//! one, SIGINT, SIGTERM and SIGQUIT are passed on once; the third ends this process, and with it the command.

use super::client::{Error, SessionIo};
use super::output::Unwritten;
use crate::model::session::{End, FRAME_LIMIT, Frame, FrameReader, INPUT_WINDOW, TerminalSize};
use anyhow::{Context, Result, bail};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::{self, Read, Write};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Read from standard input at once.
const CHUNK: usize = 16 << 10;
const _: () = assert!(CHUNK <= FRAME_LIMIT && CHUNK <= INPUT_WINDOW);
/// What a terminal has that says no size.
const USUAL: TerminalSize = TerminalSize { rows: 24, columns: 80 };

/// What of this process a session uses.
#[derive(Debug)]
pub(super) struct Local {
    interactive: bool,
    tty: bool,
    detachable: bool,
}

/// How a session went.
#[derive(Debug)]
pub(super) enum Finish {
    /// The other side has ended it.
    Ended(End),
    /// This process was told to end by this signal.
    Signalled(u8),
    /// The keys to detach were typed.
    Detached,
}

/// The exit code that a refused command stands for.
pub(super) fn exit_code_of(error: &anyhow::Error) -> Option<u8> {
    match error.downcast_ref::<Error>() {
        Some(Error::Command { exit_code, .. }) => Some(*exit_code),
        _ => None,
    }
}

impl Local {
    pub(super) fn new(interactive: bool, tty: bool) -> Self {
        Self { interactive, tty, detachable: false }
    }

    /// As [`Local::new`]; Ctrl-P Ctrl-Q on the terminal leaves the other side alone.
    pub(super) fn detachable(interactive: bool, tty: bool) -> Self {
        Self { interactive, tty, detachable: interactive && tty }
    }

    /// The size of the terminal that the session is shown on, if it has one.
    pub(super) fn terminal_size(&self) -> Option<TerminalSize> {
        self.tty.then(|| size().unwrap_or(USUAL))
    }

    /// Connects the session with this process until it ends.
    pub(super) async fn attach(&self, stream: SessionIo) -> Result<Finish> {
        let raw = (self.tty && self.interactive).then(Raw::enter).transpose()?;
        let (reader, writer) = tokio::io::split(stream);
        let (output, printed) = Output::start();
        let credit = Arc::new(Semaphore::new(INPUT_WINDOW));
        let signals = Signals::listen(self.tty)?;
        let input = self.interactive.then(read_input);
        let keys = self.detachable.then(DetachKeys::default);
        let sending = send(writer, input, self.tty, keys, Arc::clone(&credit), signals);
        let end = tokio::select! {
            end = receive(reader, output, &credit) => end,
            // Output that nobody takes is not waited for.
            finish = sending => return Ok(finish),
        };
        // All of the output before the prompt of whoever has called.
        let written = printed.await;
        drop(raw);
        match (end, written) {
            (Ok(_), Ok(Err(error))) => Err(Unwritten(error).into()),
            (end, _) => end.map(Finish::Ended),
        }
    }
}

fn size() -> Option<TerminalSize> {
    let known = |size: &rustix::termios::Winsize| size.ws_row > 0 && size.ws_col > 0;
    let found = tcgetwinsize(io::stdin()).ok().filter(known);
    let found = found.or_else(|| tcgetwinsize(io::stdout()).ok().filter(known))?;
    Some(TerminalSize { rows: found.ws_row, columns: found.ws_col })
}

/// The terminal in raw mode; as it was when this is dropped.
#[derive(Debug)]
struct Raw {
    before: Termios,
}

impl Raw {
    fn enter() -> Result<Self> {
        let before = tcgetattr(io::stdin()).context("the terminal cannot be asked for its mode")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)
            .context("the terminal cannot be put into raw mode")?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that has gone away needs nothing.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Reads standard input in a thread that nobody waits for: a read of a terminal cannot be called off.
fn read_input() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut buffer = vec![0; CHUNK];
        loop {
            match io::stdin().lock().read(&mut buffer) {
                Ok(count @ 1..) => {
                    if sender.blocking_send(buffer[..count].to_vec()).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return,
            }
        }
    });
    receiver
}

/// Standard output and standard error, written by a thread that may have to wait for its reader.
#[derive(Debug)]
struct Output {
    pieces: mpsc::Sender<(bool, Vec<u8>)>,
}

impl Output {
    fn start() -> (Self, oneshot::Receiver<io::Result<()>>) {
        let (pieces, mut waiting) = mpsc::channel::<(bool, Vec<u8>)>(2);
        let (done, printed) = oneshot::channel();
        std::thread::spawn(move || {
            let mut result = Ok(());
            while let (Ok(()), Some((is_error, bytes))) = (&result, waiting.blocking_recv()) {
                result = print(is_error, &bytes);
            }
            let _ = done.send(result);
        });
        (Self { pieces }, printed)
    }
}

fn print(is_error: bool, bytes: &[u8]) -> io::Result<()> {
    if is_error {
        return io::stderr().lock().write_all(bytes);
    }
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Prints what comes until the last frame.
async fn receive(
    mut reader: ReadHalf<SessionIo>,
    output: Output,
    credit: &Semaphore,
) -> Result<End> {
    let mut frames = FrameReader::default();
    let mut buffer = vec![0; 2 * CHUNK];
    loop {
        match reader.read(&mut buffer).await {
            Ok(count @ 1..) => frames.push(&buffer[..count]),
            Ok(0) | Err(_) => bail!("the agent ended before the command did"),
        }
        while let Some(frame) = frames.next_frame()? {
            let piece = match frame {
                Frame::Output(bytes) => (false, bytes),
                Frame::ErrorOutput(bytes) => (true, bytes),
                Frame::Taken(count) => {
                    credit.add_permits(count as usize);
                    continue;
                }
                Frame::End(end) => return Ok(end),
                Frame::Input(_) | Frame::EndOfInput | Frame::Resize(_) | Frame::Signal(_) => {
                    bail!("the agent sent what only a client sends");
                }
            };
            if output.pieces.send(piece).await.is_err() {
                // Nobody reads any more, which the writer tells.
                return Ok(End::default());
            }
        }
    }
}

/// Sends input, sizes and signals; ends when this side is to end the session.
async fn send(
    mut writer: WriteHalf<SessionIo>,
    mut input: Option<mpsc::Receiver<Vec<u8>>>,
    tty: bool,
    mut keys: Option<DetachKeys>,
    credit: Arc<Semaphore>,
    mut signals: Signals,
) -> Finish {
    let mut passed = 0;
    loop {
        let frame = tokio::select! {
            event = signals.next() => match event {
                Event::Resized => match size() {
                    Some(size) => Frame::Resize(size),
                    None => continue,
                },
                // On a terminal keys make signals; one that comes from elsewhere is meant for this process.
                Event::Signal(number) if tty || number == HANG_UP || passed == 2 => {
                    return Finish::Signalled(number);
                }
                Event::Signal(number) => {
                    passed += 1;
                    Frame::Signal(number)
                }
            },
            chunk = next_input(&mut input, &credit) => {
                // None at the end of input, which is passed on.
                let Some(chunk) = chunk else {
                    input = None;
                    if write(&mut writer, &Frame::EndOfInput).await.is_err() {
                        // The agent is gone, which the reader tells.
                        return std::future::pending().await;
                    }
                    continue;
                };
                let passed_on = match &mut keys {
                    Some(keys) => keys.pass(&chunk),
                    None => Some(chunk),
                };
                let Some(chunk) = passed_on else { return Finish::Detached };
                Frame::Input(chunk)
            },
        };
        if write(&mut writer, &frame).await.is_err() {
            // The agent is gone, which the reader tells.
            return std::future::pending().await;
        }
    }
}

async fn write(writer: &mut WriteHalf<SessionIo>, frame: &Frame) -> io::Result<()> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    writer.write_all(&bytes).await
}

/// The next piece of input once there is room for it; none at its end. Waits for ever when there is none to wait for.
async fn next_input(
    input: &mut Option<mpsc::Receiver<Vec<u8>>>,
    credit: &Arc<Semaphore>,
) -> Option<Vec<u8>> {
    let Some(input) = input else { return std::future::pending().await };
    let all = u32::try_from(CHUNK).unwrap_or(u32::MAX);
    let mut room = Arc::clone(credit).acquire_many_owned(all).await.ok()?;
    let chunk = input.recv().await?;
    if let Some(used) = room.split(chunk.len()) {
        used.forget();
    }
    Some(chunk)
}

/// Looks for Ctrl-P Ctrl-Q in what is typed. A Ctrl-P waits for the key after it.
#[derive(Debug, Default)]
struct DetachKeys {
    held: bool,
}

impl DetachKeys {
    const FIRST: u8 = 0x10;
    const SECOND: u8 = 0x11;

    /// What is to be passed on; none when the keys came.
    fn pass(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut passed = Vec::with_capacity(bytes.len() + 1);
        for byte in bytes {
            if self.held && *byte == Self::SECOND {
                return None;
            }
            if std::mem::take(&mut self.held) {
                passed.push(Self::FIRST);
            }
            if *byte == Self::FIRST {
                self.held = true;
            } else {
                passed.push(*byte);
            }
        }
        Some(passed)
    }
}

/// The signals that this process gets.
#[derive(Debug)]
struct Signals {
    hang_up: Signal,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    resize: Option<Signal>,
}

impl Signals {
    fn listen(tty: bool) -> io::Result<Self> {
        Ok(Self {
            hang_up: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            resize: tty.then(|| signal(SignalKind::window_change())).transpose()?,
        })
    }

    async fn next(&mut self) -> Event {
        let resized = async {
            match &mut self.resize {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.hang_up.recv() => Event::Signal(HANG_UP),
            _ = self.interrupt.recv() => Event::Signal(2),
            _ = self.quit.recv() => Event::Signal(3),
            _ = self.terminate.recv() => Event::Signal(15),
            _ = resized => Event::Resized,
        }
    }
}

const HANG_UP: u8 = 1;

#[derive(Debug, Clone, Copy)]
enum Event {
    Signal(u8),
    Resized,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_to_detach_are_seen_however_they_come() {
        let mut keys = DetachKeys::default();
        assert_eq!(keys.pass(b"ls\x10"), Some(b"ls".to_vec()));
        assert_eq!(keys.pass(b"a"), Some(b"\x10a".to_vec()));
        assert_eq!(keys.pass(b"\x10\x10"), Some(b"\x10".to_vec()));
        assert_eq!(keys.pass(b"\x11"), None);
        assert_eq!(DetachKeys::default().pass(b"x\x10\x11y"), None);
        assert_eq!(DetachKeys::default().pass(b"\x11"), Some(b"\x11".to_vec()));
    }
}
