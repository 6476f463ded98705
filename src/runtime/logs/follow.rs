//! Following a log as it grows, across rotation.

use super::directory::{Beginning, LogError, LogReader, MAX_FILES};
use super::line::LogLine;
use super::watch::LogWatch;
use super::writer::numbered;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A log that is waited for.
#[derive(Debug)]
pub struct LogFollower {
    path: PathBuf,
    reader: LogReader,
    watch: LogWatch,
}

impl LogFollower {
    pub(super) fn open(path: PathBuf, beginning: Beginning) -> Result<Self, LogError> {
        let error = |source: io::Error| LogError { path: path.clone(), source };
        let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
        fs::create_dir_all(&directory).map_err(error)?;
        let watch = LogWatch::new().map_err(error)?;
        watch.add(&directory).map_err(error)?;
        let reader = LogReader::open(&path, beginning)?;
        Ok(Self { path, reader, watch })
    }

    /// What is there now, without waiting.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn ready(&mut self) -> Result<Option<LogLine>, LogError> {
        loop {
            if let Some(line) = self.reader.read()? {
                return Ok(Some(line));
            }
            if !self.reopen()? {
                return Ok(None);
            }
        }
    }

    /// The next line, waited for. Giving up waiting loses nothing.
    ///
    /// # Errors
    /// When the file cannot be read or watched.
    pub async fn line(&mut self) -> Result<LogLine, LogError> {
        loop {
            if let Some(line) = self.ready()? {
                return Ok(line);
            }
            // What happened does not matter, only that something did.
            self.watch
                .changed()
                .await
                .map_err(|source| LogError { path: self.path.clone(), source })?;
        }
    }

    /// True when there are newer files than the one that is read; they are read next.
    fn reopen(&mut self) -> Result<bool, LogError> {
        let error = |source| LogError { path: self.path.clone(), source };
        let identity = |file: &File| file.metadata().map(|m| (m.dev(), m.ino()));
        let current = self.reader.current().map(identity).transpose().map_err(error)?;
        let mut newer = Vec::new();
        let mut seen = Vec::new();
        // From the newest to the one that is read now. A rotation meanwhile shows a file twice, but hides none.
        for number in 0..MAX_FILES {
            let file = match File::open(numbered(&self.path, number)) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::NotFound && number == 0 => continue,
                Err(e) if e.kind() == io::ErrorKind::NotFound => break,
                Err(e) => return Err(error(e)),
            };
            let this = identity(&file).map_err(error)?;
            if Some(this) == current {
                break;
            }
            if !seen.contains(&this) {
                seen.push(this);
                newer.push(file);
            }
        }
        let found = !newer.is_empty();
        for file in newer.into_iter().rev() {
            self.reader.append(file);
        }
        Ok(found)
    }
}
