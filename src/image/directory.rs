//! The images directory of a box: archives that somebody put there, for boxes that no registry is near.
//!
//! ```text
//!          look: names, sizes, times                   load, one after the other
//!  files ───────────────────────────► waiting ──────────────────────────────────► kept ──► waiting (its image is gone)
//!               │                                                  │
//!               └─ as remembered ──► kept, refused                 ├─ the archive is damaged ──► refused
//!                                                                  └─ the disk is ────────────► failed (until the next look)
//! ```
//!
//! It is looked into when the agent starts and whenever it is told to. A pull of an image that an archive has, or may have,
//! waits for that archive and asks no registry; the names in a compressed one are read beside the loading (`names`). What
//! was loaded or refused is remembered in `STATE/images/directory.json` by name, size, time and inode, and not read again
//! until it changes; so a damaged archive is told once. A crash in the middle of an archive leaves it unremembered, hence it
//! is loaded again. Images stay when their archive goes.

mod look;
mod names;

use super::archive::Names;
use super::collect::usage::Origin;
use super::error::ImageError;
use super::layout::{Layout, LayoutError};
use super::reference::Reference;
use super::store::ImageStore;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// The record, in the store's directory.
const RECORD: &str = "directory.json";

/// The directory, and how far its archives are.
pub(super) struct Directory {
    path: PathBuf,
    layout: Arc<Layout>,
    state: watch::Sender<State>,
    /// There is something to do.
    wanted: Notify,
}

#[derive(Default)]
struct State {
    /// How many looks have been asked for after the first.
    asked: u64,
    /// As many of them, and the first, have been taken.
    looked: u64,
    archives: BTreeMap<String, Archive>,
}

struct Archive {
    stamp: Stamp,
    /// The images that it holds, as far as that is known before it is loaded.
    names: Names,
    standing: Standing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    Waiting,
    Kept,
    /// Damaged, and told.
    Refused(String),
    /// Could not be loaded this time.
    Failed,
}

/// Tells whether a file is the one that was loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    size: u64,
    modified: (i64, i64),
    inode: u64,
}

/// What is remembered of an archive.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    #[serde(flatten)]
    stamp: Stamp,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    images: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

/// What a pull can expect of the directory.
enum Prospect {
    /// It has no such image.
    Nothing,
    /// An archive that has it, or may have it, is to be loaded.
    Wait,
    /// It was loaded.
    Kept,
}

impl Directory {
    /// Nothing is known of it yet.
    pub(super) fn new(path: PathBuf, layout: Arc<Layout>) -> Self {
        let state = watch::Sender::new(State::default());
        Self { path, layout, state, wanted: Notify::new() }
    }

    /// Looks and loads, whenever there is something to do, for as long as it is polled.
    pub(super) async fn keep(&self, store: &ImageStore) {
        tokio::join!(self.keep_loaded(store), self.read_names());
    }

    async fn keep_loaded(&self, store: &ImageStore) {
        loop {
            let must_look = !self.state.borrow().is_known();
            if must_look {
                self.look().await;
            }
            match self.next() {
                Some(name) => self.load(store, &name).await,
                None => self.wanted.notified().await,
            }
        }
    }

    /// Has it looked into once more. Pulls that begin after this wait for that.
    pub(super) fn look_again(&self) {
        self.state.send_modify(|state| state.asked += 1);
        self.wanted.notify_one();
    }

    /// Waits until the archives that have the image, or may have it, are loaded; true when one has it. An image that was
    /// loaded and is gone is loaded again: `here` tells.
    pub(super) async fn bring(&self, image: &Reference, here: impl Fn() -> bool) -> bool {
        let mut state = self.state.subscribe();
        let mut again = true;
        loop {
            let waits = |state: &State| matches!(state.prospect(image), Prospect::Wait);
            let Ok(settled) = state.wait_for(|state| !waits(state)).await else { return false };
            let kept = matches!(settled.prospect(image), Prospect::Kept);
            drop(settled);
            if !kept || here() {
                return kept;
            }
            if !std::mem::take(&mut again) {
                return false;
            }
            self.state.send_modify(|state| state.again(image));
            self.wanted.notify_one();
        }
    }

    /// The first archive that waits.
    fn next(&self) -> Option<String> {
        let state = self.state.borrow();
        let mut waiting = state.archives.iter().filter(|(_, a)| a.standing == Standing::Waiting);
        waiting.next().map(|(name, _)| name.clone())
    }

    /// Finds out what has changed since the last look.
    async fn look(&self) {
        let asked = self.state.borrow().asked;
        let (path, record) = (self.path.clone(), self.layout.root().join(RECORD));
        let looked = tokio::task::spawn_blocking(move || {
            let mut remembered = look::remembered(&record);
            let known = |(name, stamp): (String, Stamp)| {
                let archive = look::recognize(&path, &name, stamp, remembered.remove(&name));
                (name, archive)
            };
            Ok::<_, io::Error>(look::find(&path)?.into_iter().map(known).collect())
        });
        let archives = match looked.await {
            Ok(Ok(archives)) => archives,
            Ok(Err(error)) => {
                tracing::error!(directory = %self.path.display(), %error, "cannot look for images");
                BTreeMap::new()
            }
            // The program is ending.
            Err(_) => return,
        };
        self.state.send_modify(|state| {
            state.looked = asked + 1;
            state.archives = archives;
        });
    }

    async fn load(&self, store: &ImageStore, name: &str) {
        let path = self.path.join(name);
        let (standing, names) = match store
            .load_by(&path, Origin::Directory(path.clone().into()))
            .await
        {
            Ok(loaded) => {
                let names: BTreeSet<String> = loaded.into_iter().map(|(name, _)| name).collect();
                tracing::info!(archive = %path.display(), images = ?names, "images loaded");
                (Standing::Kept, Some(names))
            }
            Err(ImageError::Load(error)) if error.is_of_the_archive() => {
                tracing::error!(archive = %path.display(), %error, "the archive is left out until it changes");
                (Standing::Refused(error.to_string()), None)
            }
            Err(error) => {
                tracing::error!(archive = %path.display(), %error, "the archive cannot be loaded now");
                (Standing::Failed, None)
            }
        };
        // Remembered first: who is told of an image may count on it.
        let mut record = BTreeMap::new();
        self.state.send_if_modified(|state| {
            if let Some(archive) = state.archives.get_mut(name)
                && let Some(names) = names
            {
                archive.names = Names::Known(names);
            }
            for (known, archive) in &state.archives {
                let standing = if known == name { &standing } else { &archive.standing };
                record.extend(archive.remember(standing).map(|kept| (known.clone(), kept)));
            }
            false
        });
        if let Err(error) = self.write(record).await {
            tracing::warn!(%error, "the archive will be read again at the next start");
        }
        self.state.send_modify(|state| {
            if let Some(archive) = state.archives.get_mut(name) {
                archive.standing = standing;
            }
        });
    }

    async fn write(&self, record: BTreeMap<String, Remembered>) -> Result<(), LayoutError> {
        let layout = self.layout.clone();
        let written = tokio::task::spawn_blocking(move || {
            let path = layout.root().join(RECORD);
            layout.replace(&path, &super::recipe::json(&record))
        });
        // Cut short only by the end of the program.
        written.await.unwrap_or(Ok(()))
    }
}

impl State {
    /// Whether what is known is from after the last wish to look.
    fn is_known(&self) -> bool {
        self.looked > self.asked
    }

    fn prospect(&self, image: &Reference) -> Prospect {
        if !self.is_known() {
            return Prospect::Wait;
        }
        let mut prospect = Prospect::Nothing;
        for archive in self.archives.values() {
            match archive.standing {
                Standing::Waiting if archive.may_have(image) => return Prospect::Wait,
                Standing::Kept if archive.may_have(image) => prospect = Prospect::Kept,
                _ => {}
            }
        }
        prospect
    }

    /// Has the archives of an image loaded once more.
    fn again(&mut self, image: &Reference) {
        for archive in self.archives.values_mut() {
            if archive.standing == Standing::Kept && archive.may_have(image) {
                archive.standing = Standing::Waiting;
            }
        }
    }
}

impl Archive {
    fn may_have(&self, image: &Reference) -> bool {
        let Names::Known(names) = &self.names else { return true };
        match image.digest() {
            None => names.contains(&image.to_string()),
            // Under which digest a tag is known is seen when it is loaded.
            Some(_) => names.iter().filter_map(|name| name.parse::<Reference>().ok()).any(|name| {
                (name.registry(), name.repository()) == (image.registry(), image.repository())
            }),
        }
    }

    fn remember(&self, standing: &Standing) -> Option<Remembered> {
        let (images, refused) = match standing {
            Standing::Kept => match &self.names {
                Names::Known(names) => (names.clone(), None),
                Names::Inside | Names::Unknown => (BTreeSet::new(), None),
            },
            Standing::Refused(why) => (BTreeSet::new(), Some(why.clone())),
            Standing::Waiting | Standing::Failed => return None,
        };
        Some(Remembered { stamp: self.stamp.clone(), images, refused })
    }
}
