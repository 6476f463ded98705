//! What is remembered of images: who brought them here, how long nobody has wanted them, what last ran well.
//!
//! Ages are sums of the time that the box was on, never differences of wall clocks: a clock that jumps makes nothing old.
//! Nothing is written when an image is used; the sums go to one small file, `usage.json`, after each cycle. What a power
//! cut costs are minutes of age. An image that the file does not know was pulled by hand, and is unused since now.

use crate::image::digest::Digest;
use crate::model::ServiceKey;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

/// Who brought an image here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// The agent, for a task.
    Task,
    /// Somebody who pulled, loaded or built it.
    #[default]
    Hand,
    /// The agent, from an archive of the box.
    Directory(Archive),
}

/// An archive that an image can be loaded from again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "PathBuf", into = "PathBuf")]
pub struct Archive {
    /// Where it is, or was.
    pub path: PathBuf,
    /// Whether it was there when last looked at.
    pub exists: bool,
}

impl From<PathBuf> for Archive {
    fn from(path: PathBuf) -> Self {
        Self { exists: path.exists(), path }
    }
}

impl From<Archive> for PathBuf {
    fn from(archive: Archive) -> Self {
        archive.path
    }
}

/// All that is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Usage {
    images: BTreeMap<Digest, Known>,
    /// Blobs and layers that no image has, and for how long.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    loose: BTreeMap<Digest, Age>,
    /// What the newest task of a service that ran well ran.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    good: BTreeMap<String, BTreeSet<Digest>>,
    /// When ages were last counted on, since boot.
    #[serde(skip)]
    looked: Option<Duration>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Known {
    unused: Age,
    /// Somebody wanted it, or began to use it, since the last look.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    in_use: bool,
    origin: Origin,
}

/// Time that the box was on; whole seconds in the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
struct Age(Duration);

impl From<u64> for Age {
    fn from(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl From<Age> for u64 {
    fn from(age: Age) -> Self {
        age.0.as_secs()
    }
}

impl Usage {
    /// Notes who brought an image here. A task does not take it from whom it has already.
    pub fn note_origin(&mut self, digest: &Digest, origin: Origin) -> bool {
        let known = self.images.contains_key(digest);
        let image = self.images.entry(*digest).or_default();
        image.in_use = true;
        if known && (origin == Origin::Task || image.origin == origin) {
            return false;
        }
        image.origin = origin;
        true
    }

    /// Notes that an image is being used. One that is not known yet is found at the next look.
    pub fn touch(&mut self, digest: &Digest) {
        if let Some(image) = self.images.get_mut(digest) {
            image.in_use = true;
        }
    }

    /// Counts on: `images` tells for each that there is whether somebody wants it, `now` is the time since boot.
    pub fn look(&mut self, images: &BTreeMap<Digest, bool>, now: Duration) {
        let passed = self.looked.map_or(Duration::ZERO, |then| now.saturating_sub(then));
        self.looked = Some(now);
        self.images.retain(|digest, _| images.contains_key(digest));
        for (digest, in_use) in images {
            let image = self.images.entry(*digest).or_default();
            // Since when it is unused is not known if it was in use before: since now.
            image.unused =
                if *in_use || image.in_use { Age::default() } else { Age(image.unused.0 + passed) };
            image.in_use = *in_use;
        }
        self.loose.values_mut().for_each(|age| age.0 += passed);
    }

    /// How long nobody has wanted an image, as of the last look; and who brought it here.
    pub fn of(&self, digest: &Digest) -> (Duration, Origin) {
        let Some(image) = self.images.get(digest) else { return Default::default() };
        let unused = if image.in_use { Duration::ZERO } else { image.unused.0 };
        let origin = match &image.origin {
            Origin::Directory(archive) => Origin::Directory(archive.path.clone().into()),
            other => other.clone(),
        };
        (unused, origin)
    }

    /// Takes note of what no image has, and says for how long that has been so.
    pub fn loose(&mut self, found: &BTreeSet<Digest>) -> BTreeMap<Digest, Duration> {
        self.loose.retain(|digest, _| found.contains(digest));
        found.iter().map(|d| (*d, self.loose.entry(*d).or_default().0)).collect()
    }

    /// Takes note of what ran well; services that are not here any more are forgotten. What is to be kept for whom.
    pub fn good(
        &mut self,
        services: &BTreeSet<ServiceKey>,
        good: BTreeMap<ServiceKey, BTreeSet<Digest>>,
    ) -> BTreeMap<Digest, BTreeSet<ServiceKey>> {
        for (service, images) in good {
            self.good.insert(service.to_string(), images);
        }
        let here: BTreeMap<String, &ServiceKey> =
            services.iter().map(|service| (service.to_string(), service)).collect();
        self.good.retain(|service, _| here.contains_key(service));
        let mut kept: BTreeMap<Digest, BTreeSet<ServiceKey>> = BTreeMap::new();
        for (service, images) in &self.good {
            for digest in images {
                kept.entry(*digest).or_default().extend(here.get(service).copied().cloned());
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ClusterName, ServiceName};

    fn minutes(n: u64) -> Duration {
        Duration::from_mins(n)
    }

    #[test]
    fn ages_are_sums_of_time_on() {
        let digest = Digest::of(b"image");
        let look = |usage: &mut Usage, in_use, now| {
            usage.look(&BTreeMap::from([(digest, in_use)]), minutes(now));
            usage.of(&digest).0
        };
        let mut usage = Usage::default();
        assert!(usage.note_origin(&digest, Origin::Task));
        assert_eq!(look(&mut usage, false, 10), minutes(0));
        assert_eq!(look(&mut usage, false, 40), minutes(30));
        assert_eq!(look(&mut usage, true, 50), minutes(0));
        assert_eq!(look(&mut usage, false, 60), minutes(0), "since when is not known");
        assert_eq!(look(&mut usage, false, 90), minutes(30));
        // The box is off for as long as it likes; it begins at 0.
        let text = serde_json::to_vec(&usage).unwrap();
        let mut usage: Usage = serde_json::from_slice(&text).unwrap();
        assert_eq!(look(&mut usage, false, 1), minutes(30));
        assert_eq!(look(&mut usage, false, 6), minutes(35));
        assert_eq!(usage.of(&digest).1, Origin::Task);
        usage.touch(&digest);
        assert_eq!(usage.of(&digest).0, minutes(0));
        assert_eq!(look(&mut usage, false, 7), minutes(0));
        assert_eq!(look(&mut usage, false, 8), minutes(1));
    }

    #[test]
    fn who_brought_it_by_hand_keeps_it() {
        let digest = Digest::of(b"image");
        let mut usage = Usage::default();
        assert_eq!(usage.of(&digest).1, Origin::Hand);
        usage.note_origin(&digest, Origin::Task);
        assert!(usage.note_origin(&digest, Origin::Hand));
        assert!(!usage.note_origin(&digest, Origin::Task));
        assert_eq!(usage.of(&digest).1, Origin::Hand);
    }

    #[test]
    fn what_ran_well_is_remembered_while_the_service_is_here() {
        let key = ServiceKey {
            cluster: ClusterName::default_cluster(),
            name: ServiceName::new("web").unwrap(),
        };
        let (here, digest) = (BTreeSet::from([key.clone()]), Digest::of(b"image"));
        let mut usage = Usage::default();
        let kept = usage.good(&here, BTreeMap::from([(key, BTreeSet::from([digest]))]));
        assert_eq!(kept.get(&digest), Some(&here));
        assert_eq!(usage.good(&here, BTreeMap::new()).len(), 1);
        assert_eq!(usage.good(&BTreeSet::new(), BTreeMap::new()).len(), 0);
    }

    #[test]
    fn loose_ends_age_while_they_are_there() {
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let mut usage = Usage::default();
        usage.look(&BTreeMap::new(), minutes(1));
        assert_eq!(usage.loose(&BTreeSet::from([one]))[&one], minutes(0));
        usage.look(&BTreeMap::new(), minutes(4));
        let ages = usage.loose(&BTreeSet::from([one, two]));
        assert_eq!((ages[&one], ages[&two]), (minutes(3), minutes(0)));
        assert!(usage.loose(&BTreeSet::new()).is_empty());
    }
}
