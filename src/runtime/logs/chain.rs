//! A log as one long row of bytes, of which rotation has removed the beginning.
//!
//! ```text
//!           gone            web.log.2        web.log.1       web.log
//!  0 ┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈ 4,100 ──────── 8,190 ───────── 12,250 ──── 13,004
//!                       from           from            from       end
//! ```
//!
//! The first line of a file says how many bytes came before it ([`LogLine::from`]). So what is gone can be counted to the
//! byte, though nothing else is written on the box, and a place in a log means the same for as long as the log lives.

use super::directory::{LogDirectory, LogError, MAX_FILES, MAX_LINE};
use super::forwarded;
use super::line::LogLine;
use super::writer::numbered;
use crate::model::{ContainerName, TaskId, Timestamp};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// One file of a log.
#[derive(Debug)]
struct Segment {
    file: File,
    /// Where it begins.
    from: u64,
    size: u64,
}

/// A piece of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stretch {
    /// Where it begins: where it was asked for, or later, if the log does not reach back that far, or earlier, if the log
    /// does not reach that far.
    pub from: u64,
    /// Whole lines, and what a power cut has left of one.
    pub bytes: Vec<u8>,
    /// Where the log ends for now.
    pub end: u64,
    /// When the log was removed, if it was.
    pub removed_at: Option<Timestamp>,
}

impl Stretch {
    /// Where it ends.
    #[must_use]
    pub fn to(&self) -> u64 {
        self.from + self.bytes.len() as u64
    }
}

impl LogDirectory {
    /// What a container has written, from a place on, as far as it is kept: lines of `at_most` bytes together, or one that
    /// is longer. They are on the disk before they are given out, so that no power cut puts others in their place.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub fn stretch(
        &self,
        task: &TaskId,
        container: &ContainerName,
        from: u64,
        at_most: usize,
    ) -> Result<Stretch, LogError> {
        let path = self.path(task, container);
        let found = stretch(&path, from, at_most);
        let stretch = found.map_err(|source| LogError { path: path.clone(), source })?;
        Ok(match stretch {
            Some(stretch) => stretch,
            None => forwarded::end(&path).map_or_else(Stretch::default, |(end, removed_at)| {
                Stretch { from: end, end, removed_at: Some(removed_at), ..Stretch::default() }
            }),
        })
    }
}

/// None: there is no file.
fn stretch(path: &Path, from: u64, at_most: usize) -> io::Result<Option<Stretch>> {
    let segments = segments(path)?;
    let Some(newest) = segments.last() else { return Ok(None) };
    let end = newest.from + newest.size;
    let last = segments.len() - 1;
    for (at, segment) in segments.iter().enumerate() {
        if segment.from + segment.size <= from {
            continue;
        }
        let from = from.max(segment.from);
        let bytes = segment.lines(from - segment.from, at_most, at == last)?;
        if bytes.is_empty() && at < last {
            continue;
        }
        if !bytes.is_empty() {
            segment.file.sync_data()?;
        }
        return Ok(Some(Stretch { from, bytes, end, removed_at: None }));
    }
    Ok(Some(Stretch { from: end.min(from), bytes: Vec::new(), end, removed_at: None }))
}

impl Segment {
    /// Lines from a place of the file on; of the newest file only whole ones.
    fn lines(&self, at: u64, at_most: usize, newest: bool) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.size.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(at_most)];
        let mut read = self.read(&mut bytes, at)?;
        let longest = usize::try_from(MAX_LINE).unwrap_or(usize::MAX);
        if read < left && !bytes[..read].contains(&b'\n') && read < longest {
            bytes.resize(left.min(longest), 0);
            read = self.read(&mut bytes, at)?;
            // A long line goes alone.
            read = bytes[..read].iter().position(|b| *b == b'\n').map_or(read, |end| end + 1);
        }
        bytes.truncate(read);
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
        // What has no end in an older file gets none any more, and no line of ours is longer than the longest.
        let is_all = !newest && read == left;
        if !is_all && (whole > 0 || read < longest) {
            bytes.truncate(whole);
        }
        Ok(bytes)
    }

    fn read(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < bytes.len() {
            match self.file.read_at(&mut bytes[read..], at + read as u64) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }
}

/// The files of a log, the oldest first. A rotation meanwhile shows a file twice, which is left out, and hides none but the
/// newest.
fn segments(path: &Path) -> io::Result<Vec<Segment>> {
    let mut found: Vec<(File, (u64, u64), u64)> = Vec::new();
    for number in 0..MAX_FILES {
        let file = match File::open(numbered(path, number)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && number == 0 => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        let about = file.metadata()?;
        let identity = (about.dev(), about.ino());
        if found.iter().all(|(_, other, _)| *other != identity) {
            found.push((file, identity, about.len()));
        }
    }
    let mut segments: Vec<Segment> = Vec::new();
    for (file, _, size) in found.into_iter().rev() {
        let before = segments.last().map_or(0, |last| last.from + last.size);
        // One that is empty, or was written before files said it, follows the one before.
        let from = first_line(&file)?.and_then(|line| line.from).unwrap_or(before);
        segments.push(Segment { file, from: from.max(before), size });
    }
    Ok(segments)
}

fn first_line(file: &File) -> io::Result<Option<LogLine>> {
    let mut line = Vec::new();
    let mut at_start = ReadAt { file, at: 0 };
    BufReader::new(Read::by_ref(&mut at_start).take(MAX_LINE)).read_until(b'\n', &mut line)?;
    Ok(serde_json::from_slice(&line).ok())
}

/// Reads without moving the place of the file.
struct ReadAt<'a> {
    file: &'a File,
    at: u64,
}

impl Read for ReadAt<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(bytes, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// How many bytes of a log came before its newest file.
pub(super) fn base(path: &Path) -> io::Result<u64> {
    Ok(segments(path)?.last().map_or(0, |newest| newest.from))
}

/// How many bytes a log has, those that are gone included; none if there is no file.
pub(super) fn end(path: &Path) -> io::Result<Option<u64>> {
    Ok(segments(path)?.last().map(|newest| newest.from + newest.size))
}

/// Whether a file of this size ends within a line.
pub(super) fn is_torn(path: &Path, size: u64) -> io::Result<bool> {
    if size == 0 {
        return Ok(false);
    }
    let mut last = [0];
    File::open(path)?.read_exact_at(&mut last, size - 1)?;
    Ok(last != [b'\n'])
}

#[cfg(test)]
mod tests;
