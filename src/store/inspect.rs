//! Checks a data file page by page, without mapping it.

use super::Result;
use super::error::StoreError;
use std::fs::File;
use std::path::Path;

/// Checks the file at `path`.
pub fn verify(path: &Path) -> Result<()> {
    let file = File::open(path).map_err(StoreError::io("open", path))?;
    let size = file.metadata().map_err(StoreError::io("look at", path))?.len();
    if size < 8192 {
        return Err(StoreError::corrupt(path, format!("it has only {size} bytes")));
    }
    Ok(())
}
