//! Secrets from a terminal or a pipe.

use anyhow::{Context, Result, bail};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{self, BufRead, Read, Write};
use zeroize::Zeroizing;

/// A little more than the agent takes, so that it is the agent that says how much that is.
const READ_AT_MOST: u64 = 66 * 1024;

/// All of `source`, which must be text.
pub(super) fn text(source: impl Read, name: &str) -> Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(READ_AT_MOST)?));
    source.take(READ_AT_MOST).read_to_end(&mut bytes).with_context(|| name.to_owned())?;
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            bail!("{name} is not UTF-8 text; encode it, for example with base64")
        }
    }
}

/// Without the newline that a shell or a file ends it with.
pub(super) fn without_newline(mut text: Zeroizing<String>) -> Zeroizing<String> {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

/// Asks on the terminal.
pub(super) fn plain(question: &str) -> Result<String> {
    let mut screen = io::stderr().lock();
    write!(screen, "{question}")?;
    screen.flush()?;
    let mut line = String::new();
    io::stdin().lock().take(READ_AT_MOST).read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// Asks on the terminal, which shows nothing of the answer; `what` it is, for errors.
pub(super) fn hidden(question: &str, what: &str) -> Result<Zeroizing<String>> {
    let silence = Hidden::new()?;
    let mut screen = io::stderr().lock();
    write!(screen, "{question}")?;
    screen.flush()?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(READ_AT_MOST)?));
    for byte in io::stdin().lock().take(READ_AT_MOST).bytes() {
        match byte? {
            b'\r' | b'\n' | 0x04 => break,
            // Interrupt and quit: signals are off, so that the terminal is put right whatever happens.
            0x03 | 0x1c => {
                drop(silence);
                writeln!(screen)?;
                bail!("nothing was set");
            }
            0x08 | 0x7f => while bytes.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            byte => bytes.push(byte),
        }
    }
    drop(silence);
    writeln!(screen)?;
    text(bytes.as_slice(), what)
}

/// The terminal without echo, line by line no more; as it was when dropped.
struct Hidden {
    before: Termios,
}

impl Hidden {
    fn new() -> Result<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin).context("cannot look at the terminal")?;
        let mut now = before.clone();
        now.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(&stdin, OptionalActions::Flush, &now).context("cannot silence the terminal")?;
        Ok(Self { before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_as_it_is() {
        assert_eq!(*text(&b"a\nb\n"[..], "x").unwrap(), "a\nb\n");
        let refused = text(&b"\xff"[..], "blob").unwrap_err().to_string();
        assert!(refused.starts_with("blob is not UTF-8"), "{refused}");
        assert_eq!(*without_newline(Zeroizing::new("a\r\n".to_owned())), "a");
        assert_eq!(*without_newline(Zeroizing::new("a\n\n".to_owned())), "a\n");
        assert_eq!(text(io::repeat(b'a'), "x").unwrap().len() as u64, READ_AT_MOST);
    }
}
