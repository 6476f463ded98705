//! The log of a container of another box, stored as the box's own is: the same lines, the same rotation, the same readers.
//!
//! Each line says how far the box's log is told with it ([`LogLine::told`]), so the file itself knows what comes next: what
//! comes twice is left out, what is missing is not taken, and a box that cannot give it any more says so; then a line in its
//! place says how much there was. What a crash has left of a line is cut off at the next start; nobody was told of it.

use super::directory::{LogDirectory, LogError, MAX_LINE, entries, is_older, remove, trim};
use super::line::{LogLine, Stream, Told, rfc3339};
use super::options::LogDefaults;
use super::writer::{append, numbered};
use crate::model::{ContainerName, TaskId, Timestamp};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is added to a line here.
const MORE: u64 = 128;

/// What a box cannot give any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hole {
    /// Where it begins, as far as the box knows. It ends where the lines begin that go with it.
    pub from: u64,
    /// When the last of it was written, if no line follows that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// Lines as they come.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Which numbering.
    pub epoch: u64,
    /// Where they begin.
    pub from: u64,
    /// What there is no more of before them.
    pub hole: Option<&'a Hole>,
    /// The lines.
    pub bytes: &'a [u8],
}

/// A log that lines are added to.
#[derive(Debug)]
pub struct StoredLog {
    path: PathBuf,
    options: LogDefaults,
    file: File,
    size: u64,
    told: Told,
    /// When the last line was written.
    last_at: Option<Timestamp>,
    out: Vec<u8>,
    rotated: bool,
}

impl LogDirectory {
    /// Whether something of a container is there.
    #[must_use]
    pub fn has(&self, task: &TaskId, container: &ContainerName) -> bool {
        self.path(task, container).exists()
    }

    /// How far the log of a box's container is stored, and when the last of it was written.
    #[must_use]
    pub fn told(
        &self,
        task: &TaskId,
        container: &ContainerName,
    ) -> Option<(Told, Option<Timestamp>)> {
        let path = self.path(task, container);
        let mut ends = (0..2).filter_map(|number| End::of(&numbered(&path, number)).ok());
        ends.find_map(|end| Some((end.told?, end.at)))
    }

    /// Of how many tasks something is there.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn tasks(&self) -> Result<usize, LogError> {
        Ok(entries(&self.root)?.len())
    }

    /// Of how many containers of a task something is there.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn containers(&self, task: &TaskId) -> Result<usize, LogError> {
        let files = entries(&self.root.join(task.as_str()))?;
        Ok(files.iter().filter(|path| path.extension().is_some_and(|end| end == "log")).count())
    }

    /// Removes the logs of the tasks that were written to longest ago, but for so many.
    ///
    /// # Errors
    /// When the directories cannot be read.
    pub fn keep_newest(&self, tasks: usize) -> Result<(), LogError> {
        let directories = entries(&self.root)?;
        let too_many = directories.len().saturating_sub(tasks);
        if too_many == 0 {
            return Ok(());
        }
        let written = |path: &PathBuf| fs::metadata(path).and_then(|about| about.modified()).ok();
        let mut by_age: Vec<_> = directories.iter().map(|path| (written(path), path)).collect();
        by_age.sort();
        by_age.into_iter().take(too_many).try_for_each(|(_, path)| remove(path))
    }

    /// Removes what of the logs of all boxes is older than `max_age`, and the oldest until they have at most `limit` bytes;
    /// zero keeps all.
    ///
    /// # Errors
    /// When the directories cannot be read.
    pub fn tidy_boxes(
        state_dir: &Path,
        max_age: Duration,
        limit: u64,
        now: Timestamp,
    ) -> Result<(), LogError> {
        let mut tasks = Vec::new();
        for root in entries(&state_dir.join("logs"))? {
            let logs = Self { root };
            logs.expire(max_age, now)?;
            for task in entries(&logs.root)? {
                if is_older(&task, max_age, now)? {
                    remove(&task)?;
                } else {
                    tasks.push(task);
                }
            }
            // Gone only when nothing is left in it.
            let _ = fs::remove_dir(&logs.root);
        }
        if limit > 0 { trim(tasks.into_iter(), limit) } else { Ok(()) }
    }
}

impl StoredLog {
    /// Goes on where the log ended.
    ///
    /// # Errors
    /// When it cannot be read, or not be made.
    pub fn open(
        logs: &LogDirectory,
        task: &TaskId,
        container: &ContainerName,
        options: LogDefaults,
    ) -> Result<Self, LogError> {
        let path = logs.path(task, container);
        let opened = Self::open_file(path.clone(), options);
        opened.map_err(|source| LogError { path, source })
    }

    fn open_file(path: PathBuf, options: LogDefaults) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            create_durably(directory)?;
        }
        let is_new = !path.exists();
        let file = append(&path)?;
        if is_new {
            sync_directory(&path)?;
        }
        let mut end = End::of(&path)?;
        if end.size < file.metadata()?.len() {
            file.set_len(end.size)?;
            file.sync_data()?;
        }
        let size = end.size;
        for number in 1..options.max_file.max(2) {
            let older = numbered(&path, number);
            if end.told.is_some() || !older.exists() {
                break;
            }
            end = End::of(&older)?;
        }
        let told = end.told.unwrap_or(Told { epoch: 0, to: 0 });
        Ok(Self {
            path,
            options,
            file,
            size,
            told,
            last_at: end.at,
            out: Vec::new(),
            rotated: false,
        })
    }

    /// How far the box's log is stored.
    #[must_use]
    pub fn told(&self) -> Told {
        self.told
    }

    /// Whether a file became full meanwhile.
    #[must_use]
    pub fn has_rotated(&mut self) -> bool {
        std::mem::take(&mut self.rotated)
    }

    /// Adds what is new. It is durable when this returns; [`Self::told`] says how far it was taken.
    ///
    /// # Errors
    /// When it cannot be written: nothing has changed then.
    pub fn add(&mut self, arrival: &Arrival<'_>) -> Result<(), LogError> {
        let (told, last_at) = (self.told, self.last_at);
        self.out.clear();
        let written = self.write(arrival);
        written.map_err(|source| {
            (self.told, self.last_at) = (told, last_at);
            // Half a batch would be there twice after the next attempt.
            let _ = self.file.set_len(self.size);
            LogError { path: self.path.clone(), source }
        })
    }

    fn write(&mut self, arrival: &Arrival<'_>) -> io::Result<()> {
        if !self.fits(arrival) {
            return Ok(());
        }
        let mut at = arrival.from;
        for line in arrival.bytes.split_inclusive(|byte| *byte == b'\n') {
            at += line.len() as u64;
            if at <= self.told.to {
                continue;
            }
            self.told.to = at;
            match (line.len() as u64 + MORE <= MAX_LINE).then(|| serde_json::from_slice(line)) {
                Some(Ok(read)) => self.put(read)?,
                _ if line.trim_ascii().is_empty() => {}
                // A power cut on the box, or a box that lies.
                _ => self.mark(&format!("{} bytes that are no line of a log", line.len()))?,
            }
        }
        self.flush()
    }

    /// Whether the lines follow what is there; what is missing before them is told of in its place.
    fn fits(&mut self, arrival: &Arrival<'_>) -> bool {
        let first = || {
            let mut lines = arrival.bytes.split(|byte| *byte == b'\n');
            let line = lines.find_map(|line| serde_json::from_slice::<LogLine>(line).ok());
            line.and_then(|line| line.at()).or(arrival.hole.and_then(|hole| hole.until))
        };
        if arrival.epoch < self.told.epoch {
            return false;
        }
        if arrival.epoch > self.told.epoch {
            let until = first();
            self.told = Told { epoch: arrival.epoch, to: arrival.from };
            let text = format!(
                "lines may be missing{}: the log was set back on the box",
                self.span(until)
            );
            return self.mark_at(&text, until).is_ok();
        }
        if arrival.from <= self.told.to {
            return true;
        }
        if arrival.hole.is_none_or(|hole| hole.from > self.told.to) {
            return false;
        }
        let until = first();
        let lost = arrival.from - self.told.to;
        self.told.to = arrival.from;
        let text = format!(
            "{} lost{} (rotated away on the box before it could be forwarded)",
            amount(lost),
            self.span(until)
        );
        self.mark_at(&text, until).is_ok()
    }

    fn span(&self, until: Option<Timestamp>) -> String {
        match (self.last_at, until) {
            (Some(since), Some(until)) => {
                format!(" between {} and {}", rfc3339(since), rfc3339(until))
            }
            (Some(since), None) => format!(" after {}", rfc3339(since)),
            (None, Some(until)) => format!(" before {}", rfc3339(until)),
            (None, None) => String::new(),
        }
    }

    fn mark(&mut self, text: &str) -> io::Result<()> {
        self.mark_at(text, None)
    }

    fn mark_at(&mut self, text: &str, at: Option<Timestamp>) -> io::Result<()> {
        let at = at.or(self.last_at).unwrap_or_default();
        self.put(LogLine::new(Stream::Stderr, format!("--- {text} ---\n"), at))
    }

    fn put(&mut self, mut line: LogLine) -> io::Result<()> {
        line.from = None;
        line.told = Some(self.told);
        self.last_at = line.at().or(self.last_at);
        let before = self.out.len();
        serde_json::to_writer(&mut self.out, &line)?;
        self.out.push(b'\n');
        let waiting = self.out.len() as u64;
        if self.options.max_size > 0
            && before as u64 + self.size > 0
            && self.size + waiting > self.options.max_size
        {
            let line = self.out.split_off(before);
            self.flush()?;
            self.rotate()?;
            self.out = line;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        self.file.write_all(&self.out)?;
        self.file.sync_data()?;
        self.size += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }

    /// As the logs of a box itself are rotated.
    fn rotate(&mut self) -> io::Result<()> {
        let files = self.options.max_file.max(1);
        for number in (1..files).rev() {
            match fs::rename(numbered(&self.path, number - 1), numbered(&self.path, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if files == 1 {
            fs::remove_file(&self.path)?;
        }
        self.file = append(&self.path)?;
        self.size = 0;
        self.rotated = true;
        sync_directory(&self.path)
    }
}

/// What a file ends with.
struct End {
    /// Up to the end of the last line of ours.
    size: u64,
    told: Option<Told>,
    at: Option<Timestamp>,
}

impl End {
    fn of(path: &Path) -> io::Result<Self> {
        let mut end = Self { size: 0, told: None, at: None };
        let mut file = BufReader::new(File::open(path)?);
        let mut line = Vec::new();
        loop {
            line.clear();
            Read::by_ref(&mut file).take(MAX_LINE).read_until(b'\n', &mut line)?;
            if !line.ends_with(b"\n") {
                return Ok(end);
            }
            let Ok(read) = serde_json::from_slice::<LogLine>(&line) else { return Ok(end) };
            let Some(told) = read.told else { return Ok(end) };
            end = Self { size: end.size + line.len() as u64, told: Some(told), at: read.at() };
        }
    }
}

/// Makes a directory that a power cut does not take away again.
fn create_durably(directory: &Path) -> io::Result<()> {
    if directory.exists() {
        return Ok(());
    }
    if let Some(parent) = directory.parent() {
        create_durably(parent)?;
        match fs::create_dir(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => File::open(parent)?.sync_all()?,
        }
    }
    Ok(())
}

fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// `1.2 MB (1234567 bytes)`.
fn amount(bytes: u64) -> String {
    let scaled = |unit: u64, name: &str| {
        let tenths = bytes / (unit / 10);
        format!("{}.{} {name} ({bytes} bytes)", tenths / 10, tenths % 10)
    };
    match bytes {
        0..=999 => format!("{bytes} bytes"),
        1_000..=999_999 => scaled(1_000, "kB"),
        1_000_000..=999_999_999 => scaled(1_000_000, "MB"),
        _ => scaled(1_000_000_000, "GB"),
    }
}

#[cfg(test)]
mod tests;
