//! Whether the disk has room for an archive.

use super::staged::{blob_digest, file_name};
use super::{ArchiveError, BYTES_LIMIT, FILES_LIMIT};
use crate::image::layout::{Layout, LayoutError};
use crate::image::unpack::{Members, decompress, is_compressed};
use std::fs::File;
use std::path::Path;

/// What is left to everybody else: the state of the box must stay writable.
const RESERVE: u64 = 16 << 20;
/// How often a compressed archive may hold its own size without being looked into.
const RATIO: u64 = 8;

/// Bytes that may be written.
pub(super) fn free(layout: &Layout) -> Result<u64, LayoutError> {
    Ok(layout.room()?.saturating_sub(RESERVE))
}

/// Refuses a file that does not fit.
pub(super) fn take(layout: &Layout, path: &Path, needed: u64) -> Result<(), ArchiveError> {
    let free = free(layout)?;
    if needed > free {
        return Err(ArchiveError::Room { path: path.to_owned(), needed, free });
    }
    Ok(())
}

/// Refuses an archive of `size` bytes that does not fit. It is read for that only when it might not.
pub(super) fn check(layout: &Layout, path: &Path, size: u64) -> Result<(), ArchiveError> {
    let read_failed = |source| ArchiveError::Read { path: path.to_owned(), source };
    let tar_failed = |source| ArchiveError::Tar { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(read_failed)?;
    let compressed = is_compressed(&mut file).map_err(read_failed)?;
    let most = if compressed { size.saturating_mul(RATIO) } else { size };
    if most <= free(layout)? {
        return Ok(());
    }
    let file = File::open(path).map_err(read_failed)?;
    let mut members = Members::new(decompress(file).map_err(read_failed)?);
    let (mut needed, mut count) = (0_u64, 0);
    while let Some(member) = members.next_member().map_err(tar_failed)? {
        count += 1;
        let here = file_name(&member.path)
            .and_then(|name| blob_digest(&name))
            .is_some_and(|digest| layout.holds(&digest, member.size));
        if !here {
            needed = needed.saturating_add(member.size);
        }
        // The limits speak for themselves when it is staged.
        if count > FILES_LIMIT || needed > BYTES_LIMIT {
            break;
        }
    }
    take(layout, path, needed)
}
