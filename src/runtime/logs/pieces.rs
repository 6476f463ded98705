//! Lines out of two byte streams, in pieces of bounded length.

use super::line::Stream;

/// Longer lines are split, as Docker does.
pub(super) const LONGEST: usize = 16 << 10;

/// A line, or a part of one that is too long to be held.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece<'a> {
    pub(crate) stream: Stream,
    /// With the newline if it has one.
    pub(crate) text: &'a [u8],
    /// Number of this piece within its line, from 0.
    pub(crate) number: u32,
    /// False when the line goes on in the next piece.
    pub(crate) last: bool,
}

impl Piece<'_> {
    /// Without the end of the line.
    pub(crate) fn bare(&self) -> &[u8] {
        let text = self.text.strip_suffix(b"\n").unwrap_or(self.text);
        text.strip_suffix(b"\r").unwrap_or(text)
    }
}

/// Puts lines together.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    streams: [Pending; 2],
}

/// What of a stream is not a whole line yet.
#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    number: u32,
}

impl Pieces {
    /// Takes bytes of a stream.
    pub(crate) fn push(
        &mut self,
        stream: Stream,
        mut bytes: &[u8],
        each: &mut impl FnMut(Piece<'_>),
    ) {
        let pending = &mut self.streams[index(stream)];
        while !bytes.is_empty() {
            let room = LONGEST - pending.bytes.len();
            let newline = bytes.iter().take(room).position(|b| *b == b'\n');
            let take = newline.map_or_else(|| room.min(bytes.len()), |at| at + 1);
            let (taken, rest) = bytes.split_at(take);
            bytes = rest;
            // Most lines come whole and need no copy.
            if pending.bytes.is_empty() && newline.is_some() {
                each(Piece { stream, text: taken, number: pending.number, last: true });
                pending.number = 0;
                continue;
            }
            pending.bytes.extend_from_slice(taken);
            if newline.is_some() || pending.bytes.len() == LONGEST {
                let last = newline.is_some();
                each(Piece { stream, text: &pending.bytes, number: pending.number, last });
                pending.number = if last { 0 } else { pending.number.saturating_add(1) };
                pending.bytes.clear();
            }
        }
        if pending.bytes.is_empty() {
            // One long line should not keep its buffer for the life of the shim.
            pending.bytes = Vec::new();
        }
    }

    /// What has no newline at the end of the streams.
    pub(crate) fn finish(&mut self, each: &mut impl FnMut(Piece<'_>)) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let Pending { bytes, number } = std::mem::take(&mut self.streams[index(stream)]);
            if !bytes.is_empty() {
                each(Piece { stream, text: &bytes, number, last: true });
            }
        }
    }
}

const fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(chunks: &[(Stream, &[u8])]) -> Vec<(String, u32, bool)> {
        let (mut pieces, mut found) = (Pieces::default(), Vec::new());
        let mut each = |piece: Piece<'_>| {
            let text = String::from_utf8_lossy(piece.bare()).into_owned();
            found.push((text, piece.number, piece.last));
        };
        for (stream, bytes) in chunks {
            pieces.push(*stream, bytes, &mut each);
        }
        pieces.finish(&mut each);
        found
    }

    #[test]
    fn lines_are_put_together_from_what_comes() {
        let found = all(&[
            (Stream::Stdout, b"one\ntw"),
            (Stream::Stderr, b"err\r\n"),
            (Stream::Stdout, b"o\n\nlast"),
        ]);
        let texts: Vec<&str> = found.iter().map(|(text, ..)| text.as_str()).collect();
        assert_eq!(texts, ["one", "err", "two", "", "last"]);
        assert!(found.iter().all(|(_, number, last)| *number == 0 && *last));
    }

    #[test]
    fn a_long_line_comes_in_numbered_pieces() {
        let long = vec![b'x'; 2 * LONGEST + 10];
        let found = all(&[(Stream::Stdout, &long), (Stream::Stdout, b"\nnext\n")]);
        let shape: Vec<_> = found.iter().map(|(t, n, l)| (t.len(), *n, *l)).collect();
        assert_eq!(shape, [(LONGEST, 0, false), (LONGEST, 1, false), (10, 2, true), (4, 0, true)]);
    }
}
