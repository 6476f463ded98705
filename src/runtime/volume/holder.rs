//! Who uses a shared volume: a file per task that names its shim.
//!
//! A shim that is gone uses nothing, whatever its file says; so a crash leaves files, but no claims.

use crate::model::TaskId;
use crate::runtime::record;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;

/// The shim of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Holder {
    pub(super) pid: i32,
    /// In ticks since the boot, as `/proc` has it; tells it from another process with its number.
    started: u64,
}

impl Holder {
    /// The process `pid`, if there is one.
    pub(super) fn of(pid: i32) -> io::Result<Self> {
        Ok(Self { pid, started: started(pid)? })
    }

    pub(super) fn lives(&self) -> bool {
        started(self.pid).is_ok_and(|started| started == self.started)
    }

    /// Notes that `task` uses the volume whose holders are in `directory`.
    pub(super) fn note(&self, directory: &Path, task: &TaskId) -> io::Result<()> {
        record::write_volatile(&directory.join(task.as_str()), self)
    }
}

/// Those in `directory` who live; the files of the others are removed.
pub(super) fn living(directory: &Path) -> io::Result<Vec<(TaskId, Holder)>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut living = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().into_string().ok().and_then(|name| TaskId::new(name).ok());
        let Some(task) = name else { continue };
        match record::read::<Holder>(&entry.path()) {
            Ok(Some(holder)) if holder.lives() => living.push((task, holder)),
            _ => crate::runtime::layout::remove_file(&entry.path())?,
        }
    }
    Ok(living)
}

fn started(pid: i32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is a name in parentheses, which may hold anything.
    let after = stat.rsplit_once(") ").map_or("", |(_, after)| after);
    let fields: Vec<&str> = after.split(' ').collect();
    let state = fields.first().copied().unwrap_or_default();
    let started = fields.get(19).and_then(|field| field.parse().ok());
    match started {
        Some(started) if !matches!(state, "Z" | "X") => Ok(started),
        _ => Err(io::Error::other("the process has ended")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_lives_holds() {
        let dir = tempfile::tempdir().unwrap();
        let own = Holder::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        let (a, b) = (TaskId::new("aa").unwrap(), TaskId::new("bb").unwrap());
        own.note(dir.path(), &a).unwrap();
        Holder { started: own.started + 1, ..own }.note(dir.path(), &b).unwrap();
        fs::write(dir.path().join("lock"), "").unwrap();
        assert_eq!(living(dir.path()).unwrap(), [(a, own)]);
        assert!(!dir.path().join("bb").exists());
        assert!(living(&dir.path().join("none")).unwrap().is_empty());
    }
}
