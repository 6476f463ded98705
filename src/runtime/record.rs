//! Records on disk: how a run of a container ended, and which generation a task's shim belongs to.
//!
//! They are the truth about exits that fall into a gap of the agent, so they are written durably
//! (temporary file, rename, fsync) before anybody is told.

use crate::model::{Generation, RuntimeId, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    /// Which run.
    pub runtime_id: RuntimeId,
    /// The code, 128 + n for signal n; none when nobody could tell.
    pub exit_code: Option<i32>,
    /// Whether the kernel killed something in it for want of memory.
    pub out_of_memory: bool,
    /// When.
    pub finished_at: Timestamp,
}

/// What is kept about a task.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TaskRecord {
    pub(crate) generation: Generation,
}

/// No record is larger than this; the largest is a launch file, which holds a container definition.
const MAX_RECORD: u64 = 4 << 20;

/// Replaces `path` with `value`; survives a power cut once it returned.
///
/// The file is synced under its new name: a journalling file system (ext4, xfs, btrfs, f2fs) then writes the rename in
/// the same flush, which a sync of the directory would only repeat. A power cut before may leave half a record, which
/// reads as none; what it replaced is of an earlier run, whose end was taken note of before this one began.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    fs::rename(&temporary, path)?;
    file.sync_all()
}

/// Replaces `path` with `value`, for files that need not survive a power cut.
pub(crate) fn write_volatile<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    fs::rename(&temporary, path)
}

/// Reads the record at `path`; none when there is none.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(MAX_RECORD).read_to_end(&mut bytes)?;
    Ok(Some(serde_json::from_slice(&bytes)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_and_a_missing_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.exit");
        assert_eq!(read::<Exit>(&path).unwrap(), None);
        let exit = Exit {
            runtime_id: RuntimeId::new("t-1").unwrap(),
            exit_code: Some(137),
            out_of_memory: true,
            finished_at: Timestamp(1_500),
        };
        write(&path, &exit).unwrap();
        assert_eq!(read::<Exit>(&path).unwrap(), Some(exit));
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            r#"{"runtimeId":"t-1","exitCode":137,"outOfMemory":true,"finishedAt":1.5}"#
        );
    }
}
