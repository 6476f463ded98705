//! By which names images are known.

use super::ImageStore;
use crate::image::digest::Digest;
use crate::image::layout::{FROM_INDEX, NAME};
use crate::image::manifest::Descriptor;
use crate::image::reference::Reference;
use crate::model::ImageDigest;
use std::collections::BTreeMap;

impl ImageStore {
    /// The image that a definition means by `name`, if it is here. A name with a digest is found whatever its tag.
    pub fn resolve(&self, name: &str) -> Option<ImageDigest> {
        find(&self.entries_or_log(), name).map(|entry| entry.digest.into())
    }

    /// Every name by which an image can be meant: full and short forms, tags and digests.
    pub fn names(&self) -> BTreeMap<String, ImageDigest> {
        let mut names = BTreeMap::new();
        for entry in self.entries_or_log() {
            for full in known_as(&entry) {
                match full.parse::<Reference>() {
                    Ok(reference) => {
                        for spelling in reference.spellings() {
                            names.insert(spelling, entry.digest.into());
                        }
                    }
                    Err(_) => {
                        names.insert(full, entry.digest.into());
                    }
                }
            }
        }
        names
    }

    /// Images that came from a registry: digest → what the registry calls it for all platforms, the index that it was
    /// chosen from or itself.
    pub fn sources(&self) -> BTreeMap<ImageDigest, ImageDigest> {
        let source = |entry: &Descriptor| entry.annotations.get(FROM_INDEX)?.parse::<Digest>().ok();
        let entries = self.entries_or_log();
        let known = entries.iter().filter_map(|e| Some((e.digest.into(), source(e)?.into())));
        known.collect()
    }

    /// As [`ImageStore::resolve`], for whoever is about to use the image: it does not go for a moment.
    pub fn resolve_to_use(&self, name: &str) -> Option<ImageDigest> {
        let digest = self.resolve(name)?;
        let grip = self.0.layout.grip();
        grip.pin(&(&digest).into());
        // It may have gone in between.
        self.resolve(name).filter(|still| *still == digest)
    }
}

/// The entry that `name` means. A name with a digest is found whatever its tag.
pub(super) fn find<'a>(entries: &'a [Descriptor], name: &str) -> Option<&'a Descriptor> {
    if let Ok(reference) = name.parse::<Reference>() {
        // With a digest, the tag is only a remark.
        let full = match reference.digest() {
            Some(digest) => reference.pinned(*digest).to_string(),
            None => reference.to_string(),
        };
        return entries.iter().find(|entry| known_as(entry).contains(&full));
    }
    // An image without a name is known by its digest.
    let digest: Digest = name.parse().ok()?;
    entries.iter().find(|entry| entry.digest == digest)
}

/// The full names of a stored image: its own, and its repository with the manifest's and the index's digest.
fn known_as(entry: &Descriptor) -> Vec<String> {
    let Some(name) = entry.annotations.get(NAME) else { return vec![entry.digest.to_string()] };
    let mut names = vec![name.clone()];
    if let Ok(reference) = name.parse::<Reference>() {
        names.push(reference.pinned(entry.digest).to_string());
        let index = entry.annotations.get(FROM_INDEX).and_then(|digest| digest.parse().ok());
        if let Some(index) = index {
            names.push(reference.pinned(index).to_string());
        }
    }
    names
}
