//! The tables and their keys.

use std::borrow::Cow;
use std::fmt;

/// A table: one per kind of record, the store's own two, and the sealed secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say which record")]
pub enum Table {
    Clusters,
    TaskDefinitions,
    Revisions,
    ContainerInstances,
    Assignments,
    Tasks,
    AccountSettings,
    ClientTokens,
    Services,
    ServiceRevisions,
    ServiceDeployments,
    ServiceEvents,
    Devices,
    JoinTokens,
    Membership,
    Events,
    /// The schema number, and single values that others keep here.
    Meta,
    /// The change feed: sequence number → which row changed.
    Changes,
    /// Sealed secrets: opaque here.
    Secrets,
}

impl Table {
    /// All of them, in the order in which they are numbered.
    pub const ALL: [Self; 19] = [
        Self::Clusters,
        Self::TaskDefinitions,
        Self::Revisions,
        Self::ContainerInstances,
        Self::Assignments,
        Self::Tasks,
        Self::AccountSettings,
        Self::ClientTokens,
        Self::Services,
        Self::ServiceRevisions,
        Self::ServiceDeployments,
        Self::ServiceEvents,
        Self::Devices,
        Self::JoinTokens,
        Self::Membership,
        Self::Events,
        Self::Meta,
        Self::Changes,
        Self::Secrets,
    ];

    /// Those that hold records of the world.
    pub const RECORDS: &'static [Self] = Self::ALL.split_at(16).0;

    /// The place in [`Table::ALL`].
    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// The name of the LMDB database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clusters => "clusters",
            Self::TaskDefinitions => "taskDefinitions",
            Self::Revisions => "revisions",
            Self::ContainerInstances => "containerInstances",
            Self::Assignments => "assignments",
            Self::Tasks => "tasks",
            Self::AccountSettings => "accountSettings",
            Self::ClientTokens => "clientTokens",
            Self::Services => "services",
            Self::ServiceRevisions => "serviceRevisions",
            Self::ServiceDeployments => "serviceDeployments",
            Self::ServiceEvents => "serviceEvents",
            Self::Devices => "devices",
            Self::JoinTokens => "joinTokens",
            Self::Membership => "membership",
            Self::Events => "events",
            Self::Meta => "meta",
            Self::Changes => "changes",
            Self::Secrets => "secrets",
        }
    }

    /// The table of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// LMDB's limit for a key is 511 bytes.
const LONGEST_KEY: usize = 480;

/// `text` as a key. LMDB takes neither empty nor long keys; such a text becomes its beginning and its digest, and the
/// record itself must hold the text in full.
pub(super) fn key(text: &str) -> Cow<'_, str> {
    if (1..=LONGEST_KEY).contains(&text.len()) {
        return Cow::Borrowed(text);
    }
    use std::fmt::Write as _;
    let mut key = text.chars().take(64).collect::<String>();
    key.push('#');
    for byte in ring::digest::digest(&ring::digest::SHA256, text.as_bytes()).as_ref() {
        let _ = write!(key, "{byte:02x}");
    }
    Cow::Owned(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_at_its_index_and_found_by_its_name() {
        for (index, table) in Table::ALL.into_iter().enumerate() {
            assert_eq!(table.index(), index);
            assert_eq!(Table::from_name(table.name()), Some(table));
        }
        assert_eq!(Table::from_name("unheard"), None);
    }

    #[test]
    fn keys_that_lmdb_refuses_become_digests_and_stay_apart() {
        assert_eq!(key("web:1"), "web:1");
        let long = "a".repeat(3000);
        let longer = "a".repeat(3001);
        for text in ["", long.as_str(), "ü".repeat(400).as_str()] {
            assert!((1..=511).contains(&key(text).len()));
        }
        assert_ne!(key(&long), key(&longer));
    }
}
