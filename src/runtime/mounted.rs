//! The layers that containers have mounted, as their launch files say: whatever becomes of the records of tasks, these
//! directories stay.

use super::handle::Runtime;
use super::record;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What matters here of a launch file.
#[derive(Deserialize)]
struct Mounted {
    #[serde(default)]
    layers: Vec<PathBuf>,
}

impl Runtime {
    /// The layers of every container that has something on this box. Blocking.
    ///
    /// # Errors
    /// When that cannot be read: then any layer may be in use.
    pub fn mounted_layers(&self) -> io::Result<BTreeSet<PathBuf>> {
        let mut layers = BTreeSet::new();
        for task in directories(&self.run_tasks())? {
            for container in directories(&task)? {
                let launch: Option<Mounted> = record::read(&container.join("launch.json"))?;
                layers.extend(launch.into_iter().flat_map(|launch| launch.layers));
            }
        }
        Ok(layers)
    }
}

/// The directories in one that may be gone.
fn directories(path: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}
