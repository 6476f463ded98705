//! Room that is set aside for a disk that is full.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Room for a new index on a disk that is full.
const RESERVE: &str = "reserve";
const RESERVE_SIZE: usize = 128 << 10;

/// Makes sure that a name can be taken off the index when the disk is full.
pub(super) fn set_aside(root: &Path) {
    let path = root.join(RESERVE);
    // A power cut may have left a shorter one.
    if fs::metadata(&path).is_ok_and(|found| found.len() == RESERVE_SIZE as u64) {
        return;
    }
    let made = File::create(&path).and_then(|mut file| {
        file.write_all(&vec![0; RESERVE_SIZE])?;
        file.sync_all()
    });
    if let Err(error) = made {
        tracing::debug!(%error, "no room is kept for a full disk");
        let _ = fs::remove_file(&path);
    }
}

/// Gives the room up: a name is to be taken off the index.
pub(super) fn spend(root: &Path) {
    let _ = fs::remove_file(root.join(RESERVE));
}
