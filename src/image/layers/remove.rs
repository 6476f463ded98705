//! What collecting needs of the unpacked layers. A layer goes by a rename to `.old-<random>`, so that what has a name is
//! whole also when its removal is cut short; what is left of it goes with the next.

use super::{Layers, remove_tree};
use crate::image::collect::disk::allocated;
use crate::image::digest::Digest;
use crate::image::layout::{LayoutError, random_name};
use std::collections::BTreeSet;
use std::fs;
use std::io;

/// What a layer that is going is called.
pub(super) const RETIRED: &str = ".old-";

impl Layers {
    /// The chain ids of all layers.
    pub fn list(&self) -> Result<BTreeSet<Digest>, LayoutError> {
        let names = self.names()?;
        Ok(names.iter().filter_map(|name| Digest::from_hex(name.to_str()?)).collect())
    }

    /// Takes a layer away; nobody finds it any more. What it holds is still there, see [`Layers::clear_retired`].
    pub fn retire(&self, chain_id: &Digest) -> Result<(), LayoutError> {
        let path = self.path(chain_id);
        let to = self.directory.join(format!("{RETIRED}{}", random_name()));
        match fs::rename(&path, to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(LayoutError::io("rename", &path, error))
            }
            _ => Ok(()),
        }
    }

    /// Removes what was retired, by a crashed process as well; how many bytes that were.
    pub fn clear_retired(&self) -> Result<u64, LayoutError> {
        let mut bytes = 0;
        for name in self.names()? {
            if name.to_string_lossy().starts_with(RETIRED) {
                let path = self.directory.join(&name);
                bytes += allocated(&path);
                remove_tree(&path)?;
            }
        }
        Ok(bytes)
    }

    /// Bytes that a layer takes on the disk.
    pub fn size(&self, chain_id: &Digest) -> u64 {
        allocated(&self.path(chain_id))
    }

    fn names(&self) -> Result<Vec<std::ffi::OsString>, LayoutError> {
        let failed = |e| LayoutError::io("read", &self.directory, e);
        let entries = fs::read_dir(&self.directory).map_err(failed)?;
        entries.map(|entry| entry.map(|e| e.file_name()).map_err(failed)).collect()
    }
}
