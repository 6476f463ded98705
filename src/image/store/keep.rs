//! What stays of the store and what goes: the mechanism. See [`crate::image::collect`].

use super::contents::Contents;
use super::{ImageStore, Inner, find, reserve};
use crate::image::collect::disk::Disk;
use crate::image::collect::lock::Alone;
use crate::image::collect::pins::{Patience, Sweeping};
use crate::image::collect::policy::KeptImage;
use crate::image::collect::usage::Origin;
use crate::image::digest::Digest;
use crate::image::error::ImageError;
use crate::image::layout::{FROM_INDEX, LayoutError, name_of};
use crate::image::manifest::Descriptor;
use crate::model::ImageDigest;
use crate::plan::instance::images::{ImageUser, WantedImages};
use crate::sys;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;

impl ImageStore {
    /// All images with what speaks for them. Counts their ages on. Blocking.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn survey(&self, wanted: &WantedImages) -> Result<Vec<KeptImage>, ImageError> {
        let mut entries = self.0.layout.entries()?;
        let hello = &self.0.hello.descriptor;
        if find(&entries, &name_of(hello)).is_none() {
            entries.push(hello.clone());
        }
        let mut users: BTreeMap<Digest, BTreeSet<ImageUser>> = BTreeMap::new();
        for (digest, who) in &wanted.digests {
            users.entry(digest.into()).or_default().extend(who.iter().cloned());
        }
        for (name, who) in &wanted.names {
            if let Some(entry) = find(&entries, name) {
                users.entry(entry.digest).or_default().extend(who.iter().cloned());
            }
        }
        let mut memory = self.0.memory();
        for (digest, services) in memory.usage.good(&wanted.services, good(wanted)) {
            let services = services.into_iter().map(ImageUser::Service);
            users.entry(digest).or_default().extend(services);
        }
        let mut names: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
        for entry in &entries {
            names.entry(entry.digest).or_default().push(name_of(entry));
        }
        let in_use = names.keys().map(|digest| (*digest, users.contains_key(digest))).collect();
        memory.usage.look(&in_use, sys::uptime());
        let pins = self.0.layout.pins();
        let images = names.into_iter().map(|(digest, names)| {
            let (unused, origin) = memory.usage.of(&digest);
            KeptImage {
                digest: digest.into(),
                names,
                users: users.remove(&digest).unwrap_or_default(),
                unused,
                origin,
                built_in: digest == hello.digest,
                held: pins.holds(&digest, Patience::Lingering),
            }
        });
        Ok(images.collect())
    }

    /// Notes who brought an image here; durable. Blocking.
    pub fn note_origin(&self, digest: &ImageDigest, origin: Origin) {
        let digest = Digest::from(digest);
        if digest == self.0.hello.descriptor.digest {
            return;
        }
        let mut memory = self.0.memory();
        if memory.usage.note_origin(&digest, origin) {
            self.0.write(&mut memory);
        }
    }

    /// How full the disk is.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn disk(&self) -> Result<Disk, ImageError> {
        Ok(Disk::of(self.0.layout.root())?)
    }

    /// Begins to collect, once nobody else of this process does. None while another process has the store open.
    ///
    /// # Errors
    /// When the store cannot be locked.
    pub async fn collection(&self) -> Result<Option<Collection>, ImageError> {
        let turn = self.0.turn_to_collect.clone().lock_owned().await;
        let Some(alone) = self.0.shared.alone()? else { return Ok(None) };
        Ok(Some(Collection {
            store: self.clone(),
            belonged: Mutex::default(),
            _sweeping: self.0.layout.pins().begin_sweep(),
            _alone: alone,
            _turn: turn,
        }))
    }
}

/// A collection that goes on until this is dropped. Its methods block, but for [`Collection::leave`].
#[derive(Debug)]
pub struct Collection {
    store: ImageStore,
    /// What the images had that were removed.
    belonged: Mutex<BTreeSet<Digest>>,
    _sweeping: Sweeping,
    _alone: Alone,
    _turn: OwnedMutexGuard<()>,
}

/// How thoroughly a sweep goes about it.
#[derive(Debug, Clone, Copy)]
pub struct Sweep {
    /// Which pins count.
    pub patience: Patience,
    /// How long what no image has, and none removed now had, has been so: it may be of a pull that goes on.
    pub loose_for: Duration,
    /// Goes on though an image is damaged, so that it is not known what belongs to it.
    pub though_damaged: bool,
}

/// What a sweep removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Blobs.
    pub blobs: usize,
    /// Unpacked layers.
    pub layers: usize,
    /// Bytes of both on the disk.
    pub bytes: u64,
}

impl std::ops::AddAssign for Swept {
    fn add_assign(&mut self, other: Self) {
        self.blobs += other.blobs;
        self.layers += other.layers;
        self.bytes += other.bytes;
    }
}

impl Collection {
    /// From now on nobody finds images by these names; the planner has to be told. They are back when this is dropped,
    /// unless they are removed.
    pub fn leave(&self, names: impl IntoIterator<Item = String>) {
        self.inner().leaving().extend(names);
    }

    /// Takes an image's names off the index, or only `name`; false when somebody has come to hold it.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub fn remove(
        &self,
        digest: &ImageDigest,
        name: Option<&str>,
        patience: Patience,
    ) -> Result<bool, ImageError> {
        let inner = self.inner();
        let digest = Digest::from(digest);
        // Of a damaged image it is not known what it has: the sweep finds that it is loose.
        if let Ok(contents) = inner.contents(&digest) {
            let mut belonged = self.belonged.lock().unwrap_or_else(PoisonError::into_inner);
            belonged.extend(contents.blobs.into_keys().chain(contents.layers));
        }
        let goes = |entry: &Descriptor| {
            entry.digest == digest && name.is_none_or(|name| name_of(entry) == name)
        };
        let forget = || match inner.layout.forget(goes) {
            Err(LayoutError::Io { source, .. }) if is_full(&source) => {
                reserve::spend(inner.layout.root());
                inner.layout.forget(goes)
            }
            other => other,
        };
        match inner.layout.pins().unless_held(&digest, patience, forget) {
            None => Ok(false),
            Some(forgotten) => Ok(!forgotten?.is_empty()),
        }
    }

    /// Removes downloads that are not finished and that nobody goes on with at this moment; how many bytes that were.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn drop_unfinished(&self) -> Result<u64, ImageError> {
        Ok(self.inner().layout.drop_unfinished(true)?)
    }

    /// Removes the blobs and layers that no image has, nobody holds, and no container has `mounted`.
    ///
    /// # Errors
    /// When the store cannot be read or a file cannot be removed; what was removed stays so.
    pub fn sweep(
        &self,
        wanted: &WantedImages,
        mounted: &BTreeSet<PathBuf>,
        how: Sweep,
    ) -> Result<Swept, ImageError> {
        let inner = self.inner();
        let kept = self.mark(wanted, how.though_damaged)?;
        let blobs = inner.layout.list_blobs()?;
        let layers = inner.layers.list()?;
        let loose_blobs = blobs.keys().filter(|digest| !kept.blobs.contains_key(digest));
        let is_loose = |chain_id: &&Digest| {
            !kept.layers.contains(chain_id) && !mounted.contains(&inner.layers.path(chain_id))
        };
        let loose_layers: BTreeSet<Digest> = layers.iter().filter(is_loose).copied().collect();
        let loose_blobs: BTreeSet<Digest> = loose_blobs.copied().collect();
        let ages = inner.memory().usage.loose(&(&loose_blobs | &loose_layers));
        let belonged = self.belonged.lock().unwrap_or_else(PoisonError::into_inner);
        let goes = |digest: &&Digest| {
            belonged.contains(digest) || ages.get(digest).is_some_and(|age| *age >= how.loose_for)
        };
        let pins = inner.layout.pins();
        let mut swept = Swept::default();
        for chain_id in loose_layers.iter().filter(goes) {
            let retire = || inner.layers.retire(chain_id);
            if let Some(retired) = pins.unless_held(chain_id, how.patience, retire) {
                retired?;
                swept.layers += 1;
            }
        }
        for digest in loose_blobs.iter().filter(goes) {
            let remove = || inner.layout.remove_blob(digest);
            if let Some(removed) = pins.unless_held(digest, how.patience, remove) {
                removed?;
                swept.blobs += 1;
                swept.bytes += blobs.get(digest).copied().unwrap_or_default();
            }
        }
        swept.bytes += inner.layers.clear_retired()?;
        reserve::set_aside(inner.layout.root());
        inner.write(&mut inner.memory());
        Ok(swept)
    }

    /// What images have.
    fn mark(&self, wanted: &WantedImages, though_damaged: bool) -> Result<Contents, ImageError> {
        let inner = self.inner();
        let mut kept = inner.built_in_contents();
        let entries = inner.layout.entries()?;
        for entry in &entries {
            // The index that it was chosen from goes along when the image is saved.
            let index = entry.annotations.get(FROM_INDEX).and_then(|index| index.parse().ok());
            if let Some(index) = index {
                kept.blobs.entry(index).or_default();
            }
            match inner.contents(&entry.digest) {
                Ok(contents) => kept.add(contents),
                // What cannot be read at this moment may be whole.
                Err(error) if is_unreadable(&error) => return Err(error),
                Err(source) if though_damaged => {
                    tracing::warn!(image = %name_of(entry), error = %source, "a damaged image is not considered");
                }
                Err(source) => {
                    return Err(ImageError::Damaged {
                        name: name_of(entry),
                        source: Box::new(source),
                    });
                }
            }
        }
        let good = inner.memory().usage.good(&wanted.services, good(wanted));
        let of_tasks = wanted.digests.keys().map(Digest::from);
        for digest in of_tasks.chain(good.into_keys()) {
            match inner.contents(&digest) {
                Ok(contents) => kept.add(contents),
                Err(error) if is_unreadable(&error) => return Err(error),
                // Gone already, or damaged: what containers have mounted stays all the same.
                Err(error) => {
                    tracing::debug!(%digest, %error, "an image that is wanted is not here");
                }
            }
        }
        Ok(kept)
    }

    fn inner(&self) -> &Inner {
        &self.store.0
    }
}

impl Drop for Collection {
    fn drop(&mut self) {
        self.inner().leaving().clear();
    }
}

impl Inner {
    pub(super) fn leaving(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn good(wanted: &WantedImages) -> BTreeMap<crate::model::ServiceKey, BTreeSet<Digest>> {
    let digests = |images: &BTreeSet<ImageDigest>| images.iter().map(Digest::from).collect();
    wanted.good.iter().map(|(service, images)| (service.clone(), digests(images))).collect()
}

/// True when the kernel does not give what may well be there.
fn is_unreadable(error: &ImageError) -> bool {
    matches!(error, ImageError::Store(LayoutError::Io { source, .. })
        if source.kind() != io::ErrorKind::NotFound)
}

/// True when the error comes of a full disk.
pub(super) fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
                return true;
            }
            next = error.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static));
            continue;
        }
        next = error.source();
    }
    false
}
