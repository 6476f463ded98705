//! The bodies that the broker keeps for all boxes: which it has, and which nobody refers to any more. Pure.

use crate::model::ClusterName;
use crate::model::fleet::ContentHash;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A body that nobody refers to stays for as long: boxes may still be on their way to it.
pub(super) const KEPT: Duration = Duration::from_mins(10);
/// A body is sent again to boxes that lack it when it was sent this long ago.
const AGAIN: Duration = Duration::from_secs(10);

/// A body in one cluster.
pub(super) type Key = (ClusterName, ContentHash);

#[derive(Debug)]
struct Body {
    sent_at: Option<Duration>,
    unused_since: Option<Duration>,
}

#[derive(Debug, Default)]
pub(super) struct Shelf(BTreeMap<Key, Body>);

impl Shelf {
    /// Whether the broker has it, or is about to.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.0.contains_key(key)
    }

    /// It was sent to the broker.
    pub(super) fn sent(&mut self, key: Key, now: Duration) {
        self.0.insert(key, Body { sent_at: Some(now), unused_since: None });
    }

    /// The broker had it already.
    pub(super) fn found(&mut self, key: Key) {
        self.0.entry(key).or_insert(Body { sent_at: None, unused_since: None });
    }

    /// It did not arrive there, or was taken away.
    pub(super) fn lost(&mut self, key: &Key) {
        self.0.remove(key);
    }

    /// A box lacks it; true when it is to be sent again. Otherwise it is under way.
    pub(super) fn is_missed(&self, key: &Key, now: Duration) -> bool {
        let sent_at = self.0.get(key).and_then(|body| body.sent_at);
        sent_at.is_none_or(|at| now.saturating_sub(at) >= AGAIN)
    }

    /// Takes out what nobody has referred to for [`KEPT`], `used` being what is referred to now.
    pub(super) fn sweep(&mut self, used: &BTreeSet<Key>, now: Duration) -> Vec<Key> {
        let mut over = Vec::new();
        for (key, body) in &mut self.0 {
            if used.contains(key) {
                body.unused_since = None;
            } else if now.saturating_sub(*body.unused_since.get_or_insert(now)) >= KEPT {
                over.push(key.clone());
            }
        }
        for key in &over {
            self.0.remove(key);
        }
        over
    }

    /// Nothing is known of the broker any more.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        (ClusterName::default_cluster(), ContentHash::of(text.as_bytes()))
    }

    #[test]
    fn what_nobody_needs_stays_for_a_while() {
        let mut shelf = Shelf::default();
        let at = Duration::from_secs;
        shelf.sent(key("a"), at(0));
        shelf.found(key("b"));
        let used = BTreeSet::from([key("a")]);
        assert!(shelf.sweep(&used, at(10)).is_empty());
        assert!(shelf.sweep(&used, at(500)).is_empty());
        assert_eq!(shelf.sweep(&used, at(610)), [key("b")]);
        assert!(shelf.has(&key("a")) && !shelf.has(&key("b")));
        // Needed again in between: the time begins anew.
        assert!(shelf.sweep(&BTreeSet::new(), at(700)).is_empty());
        assert!(shelf.sweep(&used, at(1000)).is_empty());
        assert!(shelf.sweep(&BTreeSet::new(), at(1400)).is_empty());
        assert_eq!(shelf.sweep(&BTreeSet::new(), at(2000)), [key("a")]);
        assert!(shelf.is_empty());
    }

    #[test]
    fn what_is_under_way_is_not_sent_again_for_every_box_that_waits() {
        let mut shelf = Shelf::default();
        let at = Duration::from_secs;
        assert!(shelf.is_missed(&key("a"), at(0)));
        shelf.sent(key("a"), at(0));
        assert!(!shelf.is_missed(&key("a"), at(9)));
        assert!(shelf.is_missed(&key("a"), at(10)));
        shelf.found(key("b"));
        assert!(shelf.is_missed(&key("b"), at(10)), "the broker says it has it, a box does not");
        shelf.lost(&key("a"));
        assert!(!shelf.has(&key("a")));
    }
}
