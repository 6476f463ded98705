//! Reading log files.

use super::follow::LogFollower;
use super::line::LogLine;
use super::writer::{expire, numbered};
use super::{forwarded, writer};
use crate::model::{ContainerInstanceId, ContainerName, TaskId, Timestamp};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// More rotated files than this are not looked for.
pub(super) const MAX_FILES: u32 = 1000;
/// A line of the file is at most this long: 16 KiB of text, each byte escaped, and what goes with it.
pub(super) const MAX_LINE: u64 = 512 << 10;

/// So many logs are remembered of which nothing is left but a hole that somebody is to be told of.
const RETIRED: usize = 4096;

/// Why logs could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct LogError {
    /// The file.
    pub path: PathBuf,
    /// The cause.
    pub source: io::Error,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// At the oldest line that is kept.
    Start,
    /// At the last so many lines.
    Tail(usize),
}

/// The logs of all tasks.
#[derive(Debug, Clone)]
pub struct LogDirectory {
    pub(super) root: PathBuf,
}

impl LogDirectory {
    /// The logs below a state directory.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { root: state_dir.join("logs") }
    }

    /// The logs of a box, as its hub with this state directory stores them.
    #[must_use]
    pub fn of_box(state_dir: &Path, instance: &ContainerInstanceId) -> Self {
        Self { root: state_dir.join("logs").join(instance.as_str()) }
    }

    pub(super) fn path(&self, task: &TaskId, container: &ContainerName) -> PathBuf {
        self.root.join(task.as_str()).join(format!("{container}.log"))
    }

    /// Removes rotated files in which nothing is younger than `max_age`; zero keeps all.
    ///
    /// # Errors
    /// When the directories cannot be read.
    pub fn expire(&self, max_age: Duration, now: Timestamp) -> Result<(), LogError> {
        let tasks = entries(&self.root)?;
        for task in tasks {
            for path in entries(&task)? {
                if path.extension().is_some_and(|end| end == "log") {
                    expire(&path, max_age, now);
                }
            }
            // What only waits to be forwarded waits no longer than that.
            if forwarded::is_forgotten(&task) && is_older(&task, max_age, now)? {
                forwarded::retire(&task)?;
            }
        }
        Ok(())
    }

    /// Removes the logs of tasks that are over, the oldest first, until those that are left have at most `limit` bytes;
    /// zero keeps all.
    ///
    /// # Errors
    /// When the directories cannot be read.
    pub fn bound(&self, limit: u64, is_over: impl Fn(&TaskId) -> bool) -> Result<(), LogError> {
        if limit == 0 {
            return Ok(());
        }
        let of_the_over = |directory: &PathBuf| {
            let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            TaskId::new(name).is_ok_and(|task| is_over(&task))
        };
        trim(entries(&self.root)?.into_iter().filter(of_the_over), limit)
    }

    /// Opens what a container has written so far. Nothing written is an empty log.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub fn open(
        &self,
        task: &TaskId,
        container: &ContainerName,
        beginning: Beginning,
    ) -> Result<LogReader, LogError> {
        LogReader::open(&self.path(task, container), beginning)
    }

    /// As [`LogDirectory::open`], going on with what is written from then on. Needs a tokio runtime.
    ///
    /// # Errors
    /// When a file is there and cannot be read, or cannot be watched.
    pub fn follow(
        &self,
        task: &TaskId,
        container: &ContainerName,
        beginning: Beginning,
    ) -> Result<LogFollower, LogError> {
        LogFollower::open(self.path(task, container), beginning)
    }
}

/// Removes directories, the one first that was written to longest ago, until those that are left have at most `limit`
/// bytes.
pub(super) fn trim(directories: impl Iterator<Item = PathBuf>, limit: u64) -> Result<(), LogError> {
    let (mut logs, mut retired) = (Vec::new(), Vec::new());
    for directory in directories {
        let files = entries(&directory)?;
        let (mut size, mut written) = (0, SystemTime::UNIX_EPOCH);
        for about in files.iter().filter_map(|path| std::fs::metadata(path).ok()) {
            size += about.len();
            written = written.max(about.modified().unwrap_or(SystemTime::UNIX_EPOCH));
        }
        if files.len() == 1 && forwarded::is_retired(&directory) {
            retired.push((written, directory));
        } else {
            logs.push((written, directory, size));
        }
    }
    retired.sort();
    for (_, directory) in retired.iter().take(retired.len().saturating_sub(RETIRED)) {
        remove(directory)?;
    }
    logs.sort();
    let mut total: u64 = logs.iter().map(|(_, _, size)| size).sum();
    for (_, directory, size) in logs {
        if total <= limit {
            break;
        }
        forwarded::retire(&directory)?;
        total -= size;
    }
    Ok(())
}

/// Whether nothing in a directory is younger than `max_age`, as far as that is known; zero is any age.
pub(super) fn is_older(
    directory: &Path,
    max_age: Duration,
    now: Timestamp,
) -> Result<bool, LogError> {
    let files = entries(directory)?;
    let mut files = files.iter().filter(|path| !path.ends_with(forwarded::NAME));
    Ok(!max_age.is_zero() && files.all(|path| writer::is_older(path, max_age, now)))
}

pub(super) fn remove(directory: &Path) -> Result<(), LogError> {
    match std::fs::remove_dir_all(directory) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(LogError { path: directory.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// What is in a directory; nothing when it is none, or has gone meanwhile.
pub(super) fn entries(directory: &Path) -> Result<Vec<PathBuf>, LogError> {
    match std::fs::read_dir(directory) {
        Ok(entries) => Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect()),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        Err(source) => Err(LogError { path: directory.to_owned(), source }),
    }
}

/// Lines of a log, the oldest first.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    /// Files to be read, the next one last.
    files: Vec<BufReader<File>>,
    /// The start of a line whose end is not written yet.
    partial: Vec<u8>,
    /// Lines to leave out at the beginning.
    skip: usize,
}

impl LogReader {
    pub(super) fn open(path: &Path, beginning: Beginning) -> Result<Self, LogError> {
        let error = |source| LogError { path: path.to_owned(), source };
        let mut files = Vec::new();
        for number in 0..MAX_FILES {
            match File::open(numbered(path, number)) {
                Ok(file) => files.push(BufReader::new(file)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    if number > 0 {
                        break;
                    }
                }
                Err(e) => return Err(error(e)),
            }
        }
        let mut skip = 0;
        if let Beginning::Tail(wanted) = beginning {
            let mut found = 0;
            let mut keep = 0;
            for file in &mut files {
                found += count_lines(file).map_err(error)?;
                keep += 1;
                if found >= wanted {
                    skip = found - wanted;
                    break;
                }
            }
            files.truncate(keep);
        }
        Ok(Self { path: path.to_owned(), files, partial: Vec::new(), skip })
    }

    /// The next line; none when there is no more for now.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&mut self) -> Result<Option<LogLine>, LogError> {
        while let Some(file) = self.files.last_mut() {
            let count = file
                .take(MAX_LINE)
                .read_until(b'\n', &mut self.partial)
                .map_err(|source| LogError { path: self.path.clone(), source })?;
            if count == 0 {
                // The newest file may still grow.
                if self.files.len() == 1 {
                    return Ok(None);
                }
                self.files.pop();
                self.partial.clear();
                continue;
            }
            if !self.partial.ends_with(b"\n") && (self.partial.len() as u64) < MAX_LINE {
                continue;
            }
            // What is no line of ours, as after a power cut, is left out.
            let line = serde_json::from_slice(&self.partial).ok();
            self.partial.clear();
            if let Some(line) = line {
                if self.skip == 0 {
                    return Ok(Some(line));
                }
                self.skip -= 1;
            }
        }
        Ok(None)
    }

    /// The file that is read now, or the newest one.
    pub(super) fn current(&self) -> Option<&File> {
        self.files.last().map(BufReader::get_ref)
    }

    /// Goes on with a newer file after the present ones.
    pub(super) fn append(&mut self, file: File) {
        self.files.insert(0, BufReader::new(file));
    }
}

fn count_lines(file: &mut BufReader<File>) -> io::Result<usize> {
    let mut count = 0;
    let mut buffer = [0; 16 << 10];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        count += buffer[..read].split(|b| *b == b'\n').count() - 1;
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(count)
}

impl Iterator for LogReader {
    type Item = Result<LogLine, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

#[cfg(test)]
mod tests;
