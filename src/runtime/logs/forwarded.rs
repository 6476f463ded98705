//! How far the logs of a task are forwarded: `STATE/logs/<task>/forwarded.json`, only where something is.
//!
//! It is written now and then: whoever stores the lines knows it better, and drops what comes twice. What has to be
//! written is that something is **gone**: before files are removed that are not forwarded as a whole, the place where they
//! ended is kept here, so that the hole has a size and is told. Then the rest of the directory goes.

use super::chain;
use super::directory::{LogDirectory, LogError, entries, remove};
use crate::model::{ContainerName, TaskId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) const NAME: &str = "forwarded.json";
/// Beside the directories of tasks, under a name that no task has.
const TO: &str = "forwarded.to";
/// More than any of ours has.
const LARGEST: u64 = 1 << 20;
/// The records are changed by whoever forwards and by whoever removes logs.
static TURN: Mutex<()> = Mutex::new(());

/// How far the log of a container is forwarded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forwarded {
    /// Which numbering.
    #[serde(default)]
    pub epoch: u64,
    /// So many bytes are stored elsewhere.
    pub up_to: u64,
    /// The files are gone; this is where they ended, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<(u64, Timestamp)>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    containers: BTreeMap<ContainerName, Forwarded>,
    /// Nobody on this box asks for these logs any more: they go when they are forwarded.
    #[serde(default)]
    forgotten: bool,
}

impl LogDirectory {
    /// The tasks of which something is or was forwarded, and how far, to whom `of` names: what was meant for somebody else
    /// is not.
    ///
    /// # Errors
    /// When the directories cannot be read, or it cannot be kept for whom they are.
    pub fn begin_forwarding(
        &self,
        of: &str,
    ) -> Result<BTreeMap<TaskId, BTreeMap<ContainerName, Forwarded>>, LogError> {
        let path = self.root.join(TO);
        if fs::read(&path).ok().as_deref() != Some(of.as_bytes()) {
            self.end_forwarding()?;
            let written =
                fs::create_dir_all(&self.root).and_then(|()| write_file(&path, of.as_bytes()));
            written.map_err(|source| LogError { path, source })?;
        }
        self.forwarded()
    }

    fn forwarded(&self) -> Result<BTreeMap<TaskId, BTreeMap<ContainerName, Forwarded>>, LogError> {
        let mut found = BTreeMap::new();
        for directory in entries(&self.root)? {
            let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let (Ok(task), Some(record)) = (TaskId::new(name), read(&directory)) else { continue };
            found.insert(task, record.containers);
        }
        Ok(found)
    }

    /// The directory of a task's logs, there before anything is written.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn prepare(&self, task: &TaskId) -> io::Result<PathBuf> {
        let directory = self.root.join(task.as_str());
        fs::create_dir_all(&directory)?;
        Ok(directory)
    }

    /// Keeps how far logs of a task are forwarded. Nothing, if its logs are gone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_forwarded(
        &self,
        task: &TaskId,
        told: &BTreeMap<ContainerName, Forwarded>,
    ) -> Result<(), LogError> {
        let _turn = turn();
        let directory = self.root.join(task.as_str());
        if !directory.exists() {
            return Ok(());
        }
        let mut record = read(&directory).unwrap_or_default();
        for (container, told) in told {
            let known = record.containers.entry(container.clone()).or_default();
            *known = Forwarded { removed: known.removed, ..*told };
        }
        let is_told =
            |(name, it): (&ContainerName, &Forwarded)| is_told(&self.path(task, name), it);
        if record.forgotten && record.containers.iter().all(is_told) {
            return remove(&directory);
        }
        write(&directory, &record)
    }

    /// Removes the logs of a task that nobody asks for any more, once what is to be forwarded of them is.
    ///
    /// # Errors
    /// When they cannot be removed; doing it again is safe.
    pub fn forget(&self, task: &TaskId) -> Result<(), LogError> {
        let _turn = turn();
        let directory = self.root.join(task.as_str());
        if let Some(mut record) = read(&directory) {
            let waits =
                |(name, it): (&ContainerName, &Forwarded)| !is_told(&self.path(task, name), it);
            if record.containers.iter().any(waits) {
                record.forgotten = true;
                return write(&directory, &record);
            }
        }
        remove(&directory)
    }

    /// Nothing is forwarded any more, and nothing waits for that.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn end_forwarding(&self) -> Result<(), LogError> {
        let _turn = turn();
        for directory in entries(&self.root)? {
            match read(&directory) {
                Some(Record { forgotten: true, .. }) => remove(&directory)?,
                Some(record) if record.containers.values().all(|it| it.removed.is_some()) => {
                    remove(&directory)?;
                }
                Some(_) => remove_file(&directory.join(NAME))?,
                None => {}
            }
        }
        Ok(())
    }
}

/// Removes the logs in a directory, keeping where they ended as long as somebody is to be told.
pub(super) fn retire(directory: &Path) -> Result<(), LogError> {
    let _turn = turn();
    let Some(mut record) = read(directory) else { return remove(directory) };
    let log = |name: &ContainerName| directory.join(format!("{name}.log"));
    if record.containers.iter().all(|(name, it)| is_told(&log(name), it)) {
        return remove(directory);
    }
    for (name, it) in &mut record.containers {
        let path = log(name);
        let at = fs::metadata(&path).and_then(|about| about.modified());
        let ended = chain::end(&path).map_err(|source| LogError { path, source })?;
        if let Some(end) = ended {
            it.removed = Some((end, timestamp(at.unwrap_or(UNIX_EPOCH))));
        }
    }
    record.forgotten = true;
    write(directory, &record)?;
    for path in entries(directory)? {
        if !path.ends_with(NAME) {
            remove_file(&path)?;
        }
    }
    Ok(())
}

/// Whether nothing is left to be removed there but what has to be told.
pub(super) fn is_retired(directory: &Path) -> bool {
    read(directory).is_some_and(|record| {
        record.forgotten && record.containers.values().all(|it| it.removed.is_some())
    })
}

/// Whether nobody asks for the logs there, and they only wait to be forwarded.
pub(super) fn is_forgotten(directory: &Path) -> bool {
    read(directory).is_some_and(|record| record.forgotten)
}

/// Where a log ended whose files are gone, and when.
pub(super) fn end(path: &Path) -> Option<(u64, Timestamp)> {
    let record = read(path.parent()?)?;
    let name = path.file_stem()?.to_str()?;
    record.containers.get(&ContainerName::new(name).ok()?)?.removed
}

fn is_told(path: &Path, it: &Forwarded) -> bool {
    match chain::end(path) {
        Ok(Some(end)) => end <= it.up_to,
        Ok(None) => it.removed.is_none_or(|(end, _)| end <= it.up_to),
        Err(_) => false,
    }
}

fn timestamp(at: SystemTime) -> Timestamp {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// None: nothing is forwarded from there, or the record is none, as after a power cut. The hub knows how far it is.
fn read(directory: &Path) -> Option<Record> {
    let path = directory.join(NAME);
    if fs::metadata(&path).ok()?.len() > LARGEST {
        return None;
    }
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn write(directory: &Path, record: &Record) -> Result<(), LogError> {
    let path = directory.join(NAME);
    let written = serde_json::to_vec(record)
        .map_err(io::Error::from)
        .and_then(|json| write_file(&path, &json));
    written.map_err(|source| LogError { path, source })
}

/// All of it or nothing, and for good.
fn write_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(content)?;
    file.sync_data()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

fn remove_file(path: &Path) -> Result<(), LogError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(LogError { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
