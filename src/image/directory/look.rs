//! What lies in the directory, and what is known of it without loading it.

use super::{Archive, Remembered, Stamp, Standing};
use crate::image::archive::{self, Names};
use crate::image::layout::{LayoutError, read_bounded};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What the names of archives end with.
const ENDINGS: [&str; 5] = [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst"];
/// Most archives of a directory.
const ARCHIVES_LIMIT: usize = 1_000;
/// Largest record that is read back.
const RECORD_LIMIT: u64 = 16 << 20;

/// The archives of the directory; none when it is not there.
pub(super) fn find(directory: &Path) -> io::Result<Vec<(String, Stamp)>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            tracing::warn!(file = ?entry.file_name(), "its name is not UTF-8; it is left out");
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        let path = entry.path();
        let index = path.join("index.json");
        let stamped = match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => fs::metadata(&index).ok(),
            Ok(metadata) if metadata.is_file() => {
                Some(metadata).filter(|_| ENDINGS.iter().any(|ending| name.ends_with(ending)))
            }
            _ => None,
        };
        let Some(metadata) = stamped else {
            tracing::info!(file = %path.display(), "neither an archive by its name nor an OCI layout; it is left out");
            continue;
        };
        if found.len() == ARCHIVES_LIMIT {
            tracing::error!(directory = %directory.display(), "more than {ARCHIVES_LIMIT} archives; the others are left out");
            break;
        }
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        found.push((name, Stamp { size: metadata.size(), modified, inode: metadata.ino() }));
    }
    Ok(found)
}

/// What is known of an archive without loading it.
pub(super) fn recognize(
    directory: &Path,
    name: &str,
    stamp: Stamp,
    known: Option<Remembered>,
) -> Archive {
    match known.filter(|known| known.stamp == stamp) {
        Some(Remembered { refused: Some(why), .. }) => {
            tracing::debug!(name, why, "left out as before");
            Archive { stamp, names: Names::Unknown, standing: Standing::Refused(why) }
        }
        Some(known) => {
            Archive { stamp, names: Names::Known(known.images), standing: Standing::Kept }
        }
        None => {
            // What is wrong with it is told when it is loaded.
            let names = archive::names(&directory.join(name)).unwrap_or(Names::Unknown);
            Archive { stamp, names, standing: Standing::Waiting }
        }
    }
}

pub(super) fn remembered(path: &Path) -> BTreeMap<String, Remembered> {
    match read_bounded(path, RECORD_LIMIT) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "all archives are read again");
            BTreeMap::new()
        }),
        Err(LayoutError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            BTreeMap::new()
        }
        Err(error) => {
            tracing::warn!(%error, "all archives are read again");
            BTreeMap::new()
        }
    }
}
