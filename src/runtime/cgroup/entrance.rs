//! The way into a group, held open: for a process that cannot reach the files any more when it is to go.

use super::CgroupError;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

/// The `cgroup.procs` of a group, one for each hierarchy that it was opened for.
#[derive(Debug)]
pub(crate) struct Entrance(Vec<(PathBuf, File)>);

impl Entrance {
    pub(super) fn open(directories: Vec<PathBuf>) -> Result<Self, CgroupError> {
        let open = |directory: PathBuf| {
            let path = directory.join("cgroup.procs");
            match OpenOptions::new().write(true).open(&path) {
                Ok(file) => Ok((path, file)),
                Err(source) => Err(CgroupError::Group { path: directory, source }),
            }
        };
        directories.into_iter().map(open).collect::<Result<_, _>>().map(Self)
    }

    /// Moves this process into the group.
    pub(crate) fn enter(self) -> Result<(), CgroupError> {
        for (path, mut file) in self.0 {
            // The number of whoever writes it, in whatever process namespace.
            let value = "0".to_owned();
            file.write_all(value.as_bytes()).map_err(|source| CgroupError::Write {
                path,
                value,
                source,
            })?;
        }
        Ok(())
    }
}
