//! How far a pull is: for each layer, and over all.

use serde::Serialize;
use std::collections::BTreeMap;

/// What happens to a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Others come first.
    Waiting,
    /// Its bytes come, and are unpacked as they come if the layers below are there.
    Downloading,
    /// All bytes are here.
    Unpacking,
    /// It is here and unpacked.
    Done,
    /// It was, before this pull.
    Here,
}

/// How far one layer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The layer's digest.
    pub layer: String,
    /// What happens to it.
    pub phase: Phase,
    /// Bytes that are here.
    pub done: u64,
    /// Its size.
    pub total: u64,
    /// Bytes that an earlier download left here.
    pub resumed: u64,
}

/// How far a pull is as a whole. Every layer is reported before the first byte comes, so the total does not grow.
#[derive(Debug, Clone, Default)]
pub struct Overall {
    layers: BTreeMap<String, (Phase, u64, u64)>,
}

impl Overall {
    /// Takes a layer's progress in.
    pub fn take(&mut self, progress: Progress) {
        self.layers.insert(progress.layer, (progress.phase, progress.done, progress.total));
    }

    /// Bytes that are here, and bytes that there will be.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        self.layers.values().fold((0, 0), |(done, total), layer| (done + layer.1, total + layer.2))
    }

    /// Layers that are finished, and layers that there are.
    #[must_use]
    pub fn layers(&self) -> (usize, usize) {
        let finished = |layer: &&(Phase, u64, u64)| layer.0 >= Phase::Done;
        (self.layers.values().filter(finished).count(), self.layers.len())
    }

    /// Bytes that are here, in whole percent.
    #[must_use]
    pub fn percent(&self) -> u8 {
        let (done, total) = self.bytes();
        if total == 0 {
            return 100;
        }
        u8::try_from(u128::from(done) * 100 / u128::from(total)).unwrap_or(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_added_up() {
        let mut overall = Overall::default();
        assert_eq!((overall.percent(), overall.layers()), (100, (0, 0)));
        for (layer, phase, done) in [
            ("a", Phase::Waiting, 0),
            ("b", Phase::Here, 30),
            ("a", Phase::Downloading, 29),
            ("c", Phase::Waiting, 0),
        ] {
            overall.take(Progress { layer: layer.into(), phase, done, total: 30, resumed: 0 });
        }
        assert_eq!((overall.bytes(), overall.layers(), overall.percent()), ((59, 90), (1, 3), 65));
    }
}
