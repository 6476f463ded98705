//! `index.json`: the names of the images.

use super::{FROM_INDEX, INDEX_LIMIT, Layout, LayoutError, NAME, read_bounded};
use crate::image::manifest::{Descriptor, Index, OCI_INDEX};
use crate::image::reference::Reference;
use crate::sys::FileLock;
use std::fs::{self, File};
use std::io;
use std::sync::PoisonError;

/// Tells whether `index.json` is the one that was read: its inode, size and time of change.
pub(super) type Stamp = (u64, u64, i64, i64);

impl Layout {
    /// The named manifests.
    pub fn entries(&self) -> Result<Vec<Descriptor>, LayoutError> {
        let mut cached = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = self.stamp()?;
        if let Some((known, entries)) = cached.as_ref()
            && stamp == Some(*known)
        {
            return Ok(entries.clone());
        }
        let entries = self.read_index()?;
        // Between `stat` and `read` the file may have been replaced: then the stamp is older and the next call reads again.
        *cached = stamp.map(|stamp| (stamp, entries.clone()));
        Ok(entries)
    }

    /// Gives the manifest of `entry` the name in its annotations, taking the name from the one that had it.
    pub fn record(&self, entry: &Descriptor) -> Result<(), LayoutError> {
        self.record_all(std::slice::from_ref(entry))
    }

    /// The same of several manifests at once: all have their names then, or none. Of two with one name the later wins.
    pub fn record_all(&self, entries: &[Descriptor]) -> Result<(), LayoutError> {
        let _lock = self.lock_index()?;
        let mut manifests = self.read_index()?;
        if entries.iter().all(|entry| manifests.contains(entry)) {
            return Ok(());
        }
        for entry in entries {
            rename(&mut manifests, entry);
        }
        manifests.sort_by(|a, b| a.annotations.get(NAME).cmp(&b.annotations.get(NAME)));
        self.write_index(manifests)
    }

    /// Takes those names off for which `goes` holds; durable when this returns. What they named stays.
    pub fn forget(
        &self,
        goes: impl Fn(&Descriptor) -> bool,
    ) -> Result<Vec<Descriptor>, LayoutError> {
        let _lock = self.lock_index()?;
        let (gone, manifests): (Vec<_>, Vec<_>) = self.read_index()?.into_iter().partition(&goes);
        if !gone.is_empty() {
            self.write_index(manifests)?;
        }
        Ok(gone)
    }

    fn lock_index(&self) -> Result<FileLock, LayoutError> {
        let path = self.root.join("index.lock");
        let file = File::create(&path).map_err(|e| LayoutError::io("create", &path, e))?;
        let lock = FileLock::of(file);
        lock.exclusive().map_err(|e| LayoutError::io("lock", &path, e))?;
        Ok(lock)
    }

    fn write_index(&self, manifests: Vec<Descriptor>) -> Result<(), LayoutError> {
        let path = self.root.join("index.json");
        let index = Index { schema_version: 2, media_type: Some(OCI_INDEX.to_owned()), manifests };
        let bytes = serde_json::to_vec(&index)
            .map_err(|source| LayoutError::Index { path: path.clone(), source })?;
        self.replace(&path, &bytes)?;
        // A file that comes and goes within a tick of the clock may look like the one before.
        *self.index.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    fn stamp(&self) -> Result<Option<Stamp>, LayoutError> {
        use std::os::unix::fs::MetadataExt;
        let path = self.root.join("index.json");
        match fs::metadata(&path) {
            Ok(found) => Ok(Some((found.ino(), found.size(), found.ctime(), found.ctime_nsec()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(LayoutError::io("read", &path, error)),
        }
    }

    fn read_index(&self) -> Result<Vec<Descriptor>, LayoutError> {
        let path = self.root.join("index.json");
        match read_bounded(&path, INDEX_LIMIT) {
            Ok(bytes) => Ok(serde_json::from_slice::<Index>(&bytes)
                .map_err(|source| LayoutError::Index { path, source })?
                .manifests),
            Err(LayoutError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }
}

/// Gives `entry` its name among `manifests`.
fn rename(manifests: &mut Vec<Descriptor>, entry: &Descriptor) {
    let taken = manifests
        .extract_if(.., |known| known.annotations.get(NAME) == entry.annotations.get(NAME));
    // Tasks may still want what the name meant until now.
    let kept: Vec<Descriptor> = taken.filter_map(|known| without_tag(known, entry)).collect();
    for old in kept {
        if !manifests.iter().any(|m| m.annotations.get(NAME) == old.annotations.get(NAME)) {
            manifests.push(old);
        }
    }
    manifests.push(entry.clone());
}

/// The image whose name goes to `entry`, under the name of its digest: `nginx@sha256:…`. None if it is the same image,
/// or if it had such a name already.
fn without_tag(mut old: Descriptor, entry: &Descriptor) -> Option<Descriptor> {
    let reference: Reference = old.annotations.get(NAME)?.parse().ok()?;
    if old.digest == entry.digest || reference.digest().is_some() {
        return None;
    }
    let source = old.annotations.get(FROM_INDEX).and_then(|source| source.parse().ok());
    let name = reference.pinned(source.unwrap_or(old.digest)).to_string();
    old.annotations.insert(NAME.to_owned(), name);
    Some(old)
}
