//! Which images go: a pure function of what there is, who wants it, and the occasion.
//!
//! | occasion | goes | how many |
//! | --- | --- | --- |
//! | a cycle | unused for `minimum_age`, brought here for tasks | `per_cycle` |
//! | pressure | the same whatever its age, then what the box's own directory has as well | until the disk is below `low` |
//! | asked for | unused for as long as was said; without `all` only what has no tag | all |
//!
//! Never what somebody wants, what is being used at this moment, or what is built in. The longest unused goes first.

use super::usage::Origin;
use crate::model::ImageDigest;
use crate::plan::instance::images::ImageUser;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

/// The settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Whether anything goes by itself.
    pub automatic: bool,
    /// Between two cycles.
    pub interval: Duration,
    /// How long an image is unused before it goes.
    pub minimum_age: Duration,
    /// How many images go in one cycle.
    pub per_cycle: usize,
    /// Whether images go that were pulled or loaded by hand.
    pub untracked: bool,
    /// From how many percent on the disk is too full.
    pub high: u8,
    /// To how many percent room is made then.
    pub low: u8,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            automatic: true,
            interval: Duration::from_mins(30),
            minimum_age: Duration::from_hours(1),
            per_cycle: 5,
            untracked: false,
            high: 85,
            low: 80,
        }
    }
}

/// An image of the store, and what speaks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptImage {
    /// Its manifest.
    pub digest: ImageDigest,
    /// All its names.
    pub names: Vec<String>,
    /// Who wants it.
    pub users: BTreeSet<ImageUser>,
    /// How long nobody has, as far as this box was on.
    pub unused: Duration,
    /// Who brought it here.
    pub origin: Origin,
    /// It is part of the program.
    pub built_in: bool,
    /// It is being pulled, loaded or started, or was a moment ago.
    pub held: bool,
}

impl KeptImage {
    /// Whether it has a name that is not only its digest.
    #[must_use]
    pub fn is_tagged(&self) -> bool {
        self.names.iter().any(|name| !name.contains("sha256:"))
    }

    /// Whether nothing speaks against its going.
    #[must_use]
    pub fn may_go(&self) -> bool {
        self.users.is_empty() && !self.built_in && !self.held
    }
}

/// Why images are collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// The time has come.
    Cycle,
    /// The disk is too full.
    Pressure,
    /// Somebody has asked for it.
    Asked {
        /// For what has a tag as well.
        all: bool,
        /// Only what was not used for so long.
        unused_for: Duration,
    },
}

/// The images that go, in this order.
#[must_use]
pub fn choose<'a>(
    images: &'a [KeptImage],
    rules: &Rules,
    occasion: Occasion,
) -> Vec<&'a KeptImage> {
    let goes = |image: &&KeptImage| match occasion {
        Occasion::Cycle => {
            image.unused >= rules.minimum_age
                && match image.origin {
                    Origin::Task => true,
                    Origin::Hand => rules.untracked,
                    Origin::Directory(_) => false,
                }
        }
        Occasion::Pressure => match &image.origin {
            Origin::Task => true,
            Origin::Hand => rules.untracked,
            Origin::Directory(archive) => archive.exists,
        },
        Occasion::Asked { all, unused_for } => {
            (all || !image.is_tagged()) && image.unused >= unused_for
        }
    };
    let mut chosen: Vec<&KeptImage> =
        images.iter().filter(|image| image.may_go()).filter(goes).collect();
    chosen.sort_by_key(|image| {
        (matches!(image.origin, Origin::Directory(_)), Reverse(image.unused), image.digest.clone())
    });
    if occasion == Occasion::Cycle {
        chosen.truncate(rules.per_cycle);
    }
    chosen
}

#[cfg(test)]
mod tests;
