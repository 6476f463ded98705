//! Writing a container's output to disk, rotated by size and age.

use super::chain;
use super::line::{LogLine, Stream};
use super::options::LogOptions;
use super::pieces::{LONGEST, Piece};
use crate::model::Timestamp;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// Lines held until [`LogWriter::flush`], at most about so many bytes.
const HELD: usize = 64 << 10;
/// A box without a battery counts from 1970 until somebody tells it the time: nothing is judged by such a clock.
const CLOCK_IS_SET: Timestamp = Timestamp::from_secs(1_577_836_800);
/// A clock after this, which is 2056, was never set either, or set to nonsense: nothing is removed because of it.
const CLOCK_IS_WRONG: Timestamp = Timestamp::from_secs(2_713_910_400);

/// Writes the log file of one container.
///
/// An error of the disk, a full one above all, must not stop the container: output that cannot be written is dropped
/// and counted, and a line says so as soon as one can be written again.
#[derive(Debug)]
pub(crate) struct LogWriter {
    path: PathBuf,
    options: LogOptions,
    file: File,
    size: u64,
    /// Bytes of the log in files before this one, those that are gone included.
    base: u64,
    /// When the first line of the file was written; none in an empty one.
    begun: Option<Timestamp>,
    attrs: Option<BTreeMap<String, String>>,
    /// Lines ready to be written, and how many.
    out: Vec<u8>,
    count: u64,
    /// Lines that could not be written, and when the last of them came.
    lost: u64,
    latest: Timestamp,
}

impl LogWriter {
    /// Opens the file, going on where an earlier run of the container ended. `attrs` go with every line.
    pub(crate) fn open(
        path: PathBuf,
        options: LogOptions,
        attrs: BTreeMap<String, String>,
    ) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let file = append(&path)?;
        let size = file.metadata()?.len();
        let begun = if size > 0 { first_line(&path).and_then(|line| line.at()) } else { None };
        let base = chain::base(&path)?;
        // A power cut may have left half a line, which must not spoil the next one.
        let out = if chain::is_torn(&path, size)? { vec![b'\n'] } else { Vec::new() };
        // An earlier definition may have kept more.
        for number in options.max_file.max(1).. {
            if fs::remove_file(numbered(&path, number)).is_err() {
                break;
            }
        }
        Ok(Self {
            path,
            options,
            file,
            size: size + out.len() as u64,
            base,
            begun,
            attrs: Some(attrs).filter(|attrs| !attrs.is_empty()),
            out,
            count: 0,
            lost: 0,
            latest: Timestamp(0),
        })
    }

    /// Takes a line or a part of one; [`LogWriter::flush`] writes it.
    pub(crate) fn line(&mut self, piece: &Piece<'_>, at: Timestamp) {
        self.put(piece.stream, String::from_utf8_lossy(piece.text).into_owned(), at);
    }

    /// Says something about the log in the log.
    pub(crate) fn note(&mut self, text: &str, at: Timestamp) {
        self.put(Stream::Stderr, format!("coracle: {text}\n"), at);
        self.flush();
    }

    fn put(&mut self, stream: Stream, log: String, at: Timestamp) {
        let mut line = LogLine { attrs: self.attrs.clone(), ..LogLine::new(stream, log, at) };
        line.from = self.beginning();
        let before = self.out.len();
        let mut written = self.append(&line);
        self.latest = at;
        if self.size > 0 && self.is_full(written, at) {
            self.out.truncate(before);
            self.flush();
            // When that fails the old file goes on growing, which is better than losing lines.
            if self.rotate().is_ok() {
                expire(&self.path, Duration::from_secs(self.options.max_age), at);
            }
            line.from = self.beginning();
            written = self.append(&line);
        }
        self.begun.get_or_insert(at);
        self.size += written;
        self.count += 1;
        if self.out.len() > HELD {
            self.flush();
        }
    }

    /// What the first line of a file says of those before it.
    fn beginning(&self) -> Option<u64> {
        Some(self.base).filter(|base| self.size == 0 && *base > 0)
    }

    /// Adds a line to those that are to be written; how many bytes it has.
    fn append(&mut self, line: &LogLine) -> u64 {
        let before = self.out.len();
        // Texts and numbers, into memory.
        let _ = serde_json::to_writer(&mut self.out, line);
        self.out.push(b'\n');
        (self.out.len() - before) as u64
    }

    /// Whether the next line belongs into a new file.
    fn is_full(&self, more: u64, at: Timestamp) -> bool {
        let LogOptions { max_size, max_file, max_age } = self.options;
        if max_size > 0 && self.size + more > max_size {
            return true;
        }
        // So that all that is kept together is not older than allowed.
        let share = Duration::from_secs(max_age / u64::from(max_file.max(1)));
        max_age > 0
            && self.begun.is_some_and(|begun| begun > CLOCK_IS_SET && at.since(begun) > share)
    }

    /// Writes what has been taken.
    pub(crate) fn flush(&mut self) {
        if !self.out.is_empty() {
            let before = self.size - self.out.len() as u64;
            if self.lost > 0 {
                let lost = self.lost;
                let text =
                    format!("coracle: {lost} lines were lost: the log could not be written\n");
                let mut line = LogLine::new(Stream::Stderr, text, self.latest);
                line.from = Some(self.base).filter(|base| before == 0 && *base > 0);
                let mut note = serde_json::to_vec(&line).unwrap_or_default();
                note.push(b'\n');
                self.out.splice(..0, note);
            }
            if self.file.write_all(&self.out).is_ok() {
                self.lost = 0;
                self.size = before + self.out.len() as u64;
            } else {
                // Half a line would spoil the next one as well.
                let _ = self.file.set_len(before);
                self.lost += self.count;
                self.size = before;
            }
        }
        self.count = 0;
        self.out.clear();
        // One huge burst should not keep its buffer for the life of the shim.
        self.out.shrink_to(LONGEST);
    }

    /// `log` becomes `log.1`, `log.1` becomes `log.2`, …; the last is dropped.
    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..self.options.max_file).rev() {
            let from = numbered(&self.path, number - 1);
            match fs::rename(&from, numbered(&self.path, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.options.max_file == 1 {
            fs::remove_file(&self.path)?;
        }
        self.file = append(&self.path)?;
        self.base += self.size;
        self.size = 0;
        self.begun = None;
        Ok(())
    }
}

fn first_line(path: &Path) -> Option<LogLine> {
    let mut line = Vec::new();
    let file = BufReader::new(File::open(path).ok()?);
    file.take(super::directory::MAX_LINE).read_until(b'\n', &mut line).ok()?;
    serde_json::from_slice(&line).ok()
}

/// Removes the rotated files of a log in which nothing is younger than `max_age`; 0 keeps all.
pub(super) fn expire(path: &Path, max_age: Duration, now: Timestamp) {
    if max_age.is_zero() {
        return;
    }
    for number in 1..super::directory::MAX_FILES {
        let path = numbered(path, number);
        if !path.exists() {
            return;
        }
        if is_older(&path, max_age, now) {
            // One that cannot be removed is tried again at the next occasion.
            let _ = fs::remove_file(&path);
        }
    }
}

/// Whether nothing in a file is younger than `max_age`; false when nobody knows.
pub(super) fn is_older(path: &Path, max_age: Duration, now: Timestamp) -> bool {
    let Ok(written) = fs::metadata(path).and_then(|m| m.modified()) else { return false };
    let since_epoch = written.duration_since(UNIX_EPOCH).unwrap_or_default();
    let written = Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX));
    written > CLOCK_IS_SET && now < CLOCK_IS_WRONG && now.since(written) > max_age
}

pub(super) fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// The path of the `number`th older file; 0 is the current one.
pub(super) fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests;
