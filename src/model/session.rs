//! What goes over the connection of an interactive session, in both directions: frames.
//!
//! A frame is a byte that says what it is, four bytes of length (the most significant first), and so many bytes, at most
//! [`FRAME_LIMIT`]. Plain data; whoever has a connection reads and writes it.
//!
//! Input is not sent without bound: at most [`INPUT_WINDOW`] bytes may be on their way that no [`Frame::Taken`] has
//! answered. So whoever serves the session can always read on, and a signal is never stuck behind input.

use serde::{Deserialize, Serialize};

/// The longest content of a frame.
pub const FRAME_LIMIT: usize = 64 << 10;
/// As many bytes of input may be unanswered.
pub const INPUT_WINDOW: usize = 256 << 10;

const HEAD: usize = 5;

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// One message of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// From the client: standard input.
    Input(Vec<u8>),
    /// From the client: the end of standard input.
    EndOfInput,
    /// From the client: its terminal has this size.
    Resize(TerminalSize),
    /// From the client: this signal is for the process.
    Signal(u8),
    /// To the client: standard output, or all output of a terminal.
    Output(Vec<u8>),
    /// To the client: standard error.
    ErrorOutput(Vec<u8>),
    /// To the client: so many bytes of input have been passed on.
    Taken(u32),
    /// To the client: the last frame.
    End(End),
}

/// How a session ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct End {
    /// The process's exit code, 128 + n for signal n; none when it is not known.
    pub exit_code: Option<u8>,
    /// What is to be told besides.
    pub reason: Option<String>,
}

/// What was received is no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It says that it is longer than a frame may be.
    #[error("a frame of {0} bytes is too long")]
    TooLong(usize),
    /// There is no such kind, or its content does not fit it.
    #[error("a frame of kind {0} cannot be read")]
    Unreadable(u8),
}

impl Frame {
    /// Appends the frame as it is sent. Longer content than [`FRAME_LIMIT`] is for the caller to divide.
    pub fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Self::Input(bytes) => put(to, 1, bytes),
            Self::EndOfInput => put(to, 2, &[]),
            Self::Resize(TerminalSize { rows, columns }) => {
                let ([a, b], [c, d]) = (rows.to_be_bytes(), columns.to_be_bytes());
                put(to, 3, &[a, b, c, d]);
            }
            Self::Signal(number) => put(to, 4, &[*number]),
            Self::Output(bytes) => put(to, 17, bytes),
            Self::ErrorOutput(bytes) => put(to, 18, bytes),
            Self::Taken(count) => put(to, 19, &count.to_be_bytes()),
            Self::End(end) => {
                let mut content =
                    vec![u8::from(end.exit_code.is_some()), end.exit_code.unwrap_or(0)];
                let reason = end.reason.as_deref().unwrap_or_default().as_bytes();
                content.extend_from_slice(&reason[..reason.len().min(FRAME_LIMIT - 2)]);
                put(to, 20, &content);
            }
        }
    }

    fn decode(kind: u8, content: &[u8]) -> Option<Self> {
        Some(match (kind, content) {
            (1, bytes) => Self::Input(bytes.to_vec()),
            (2, []) => Self::EndOfInput,
            (3, [a, b, c, d]) => Self::Resize(TerminalSize {
                rows: u16::from_be_bytes([*a, *b]),
                columns: u16::from_be_bytes([*c, *d]),
            }),
            (4, [number @ 1..=64]) => Self::Signal(*number),
            (17, bytes) => Self::Output(bytes.to_vec()),
            (18, bytes) => Self::ErrorOutput(bytes.to_vec()),
            (19, [a, b, c, d]) => Self::Taken(u32::from_be_bytes([*a, *b, *c, *d])),
            (20, [known @ 0..=1, code, reason @ ..]) => Self::End(End {
                exit_code: (*known == 1).then_some(*code),
                reason: (!reason.is_empty()).then(|| String::from_utf8_lossy(reason).into_owned()),
            }),
            _ => return None,
        })
    }
}

fn put(to: &mut Vec<u8>, kind: u8, content: &[u8]) {
    to.push(kind);
    to.extend_from_slice(&u32::try_from(content.len()).unwrap_or(u32::MAX).to_be_bytes());
    to.extend_from_slice(content);
}

/// Takes bytes as they come and gives whole frames.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
}

impl FrameReader {
    /// Adds what was received.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame, if all of it is there. Never holds more than one incomplete frame and what was pushed last.
    ///
    /// # Errors
    /// What comes after it cannot be read either.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let [kind, a, b, c, d, ..] = self.buffer[..] else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > FRAME_LIMIT {
            return Err(FrameError::TooLong(length));
        }
        let Some(content) = self.buffer.get(HEAD..HEAD + length) else { return Ok(None) };
        let frame = Frame::decode(kind, content).ok_or(FrameError::Unreadable(kind))?;
        self.buffer.drain(..HEAD + length);
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let frames = [
            Frame::Input(b"ls\n".to_vec()),
            Frame::EndOfInput,
            Frame::Resize(TerminalSize { rows: 24, columns: 300 }),
            Frame::Signal(15),
            Frame::Output(vec![0; FRAME_LIMIT]),
            Frame::ErrorOutput(Vec::new()),
            Frame::Taken(70_000),
            Frame::End(End { exit_code: Some(137), reason: Some("it stopped".into()) }),
            Frame::End(End::default()),
        ];
        let mut bytes = Vec::new();
        for frame in &frames {
            frame.encode(&mut bytes);
        }
        for piece in [1, 7, 5000, bytes.len()] {
            let mut reader = FrameReader::default();
            let mut seen = Vec::new();
            for bytes in bytes.chunks(piece) {
                reader.push(bytes);
                while let Some(frame) = reader.next_frame().unwrap() {
                    seen.push(frame);
                }
            }
            assert_eq!(seen, frames);
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let refuse = |bytes: &[u8]| {
            let mut reader = FrameReader::default();
            reader.push(bytes);
            reader.next_frame().unwrap_err()
        };
        assert_eq!(refuse(&[1, 0, 1, 0, 1]), FrameError::TooLong(65_537));
        assert_eq!(refuse(&[99, 0, 0, 0, 0]), FrameError::Unreadable(99));
        assert_eq!(refuse(&[3, 0, 0, 0, 1, 0]), FrameError::Unreadable(3));
        assert_eq!(refuse(&[4, 0, 0, 0, 1, 0]), FrameError::Unreadable(4));
    }
}
