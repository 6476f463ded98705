//! The change feed: which rows changed, in the order of commits.
//!
//! A feed row holds the table and key of a changed row, not its value, so that following it costs the disk little;
//! [`Entry::value`] is the row as it is **now**. A reader that applies entries in order ends up with the present state.
//! The feed keeps a bounded number of entries. A reader whose sequence number is older than what is kept, or newer than
//! what was ever written (the store was restored from a copy), sees [`Feed::gap`] and must load everything again.

use super::Result;
use super::environment::Environment;
use super::error::StoreError;
use super::record;
use super::table::Table;
use heed::types::{Bytes, Str};
use heed::{AnyTls, Database, RoTxn, RwTxn};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::ops::Bound;

/// What [`super::Store::changes_since`] answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Feed {
    /// True when entries between the given sequence number and the first one here are gone.
    pub gap: bool,
    /// Oldest first.
    pub entries: Vec<Entry>,
    /// The sequence number to ask with next.
    pub next: u64,
    /// True when there are more after `next`.
    pub more: bool,
}

/// One change of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its number; grows by one with each change of the store.
    pub sequence: u64,
    /// The table.
    pub table: Table,
    /// The row.
    pub key: String,
    /// The row as it is now, as JSON with its `v`; none when it is deleted.
    pub value: Option<Value>,
}

#[derive(Serialize, Deserialize)]
struct FeedRow {
    table: String,
    key: String,
}

/// Wide enough for every `u64`, so that text order is number order.
fn sequence_key(sequence: u64) -> String {
    format!("{sequence:020}")
}

fn parse_sequence(key: &str, path: &std::path::Path) -> Result<u64> {
    key.parse().map_err(|_| StoreError::corrupt(path, format!("the change feed has a row {key:?}")))
}

impl Environment {
    /// The number of the last change; 0 when there was none.
    pub(super) fn last_sequence(&self) -> Result<u64> {
        let txn = self.read_txn()?;
        self.last_sequence_in(&txn)
    }

    fn feed(&self) -> Database<'static, Str, Bytes> {
        self.table(Table::Changes)
    }

    pub(super) fn last_sequence_in(&self, txn: &RoTxn<'_, AnyTls>) -> Result<u64> {
        match self.feed().last(txn).map_err(|e| self.failed(e))? {
            None => Ok(0),
            Some((key, _)) => parse_sequence(key, self.path()),
        }
    }

    /// Adds one entry.
    pub(super) fn append_to_feed(
        &self,
        txn: &mut RwTxn<'_>,
        sequence: u64,
        table: &str,
        key: &str,
    ) -> Result<()> {
        let row = FeedRow { table: table.to_owned(), key: key.to_owned() };
        let value = record::versioned(&row).map_err(|source| StoreError::Unwritable {
            table: Table::Changes,
            key: key.to_owned(),
            source,
        })?;
        self.feed().put(txn, &sequence_key(sequence), &value).map_err(|e| self.failed(e))
    }

    /// Removes the oldest entries once there are an eighth more than `capacity`, so that not every commit has to.
    pub(super) fn trim_feed(&self, txn: &mut RwTxn<'_>, capacity: u64, last: u64) -> Result<()> {
        let length = self.feed().len(txn).map_err(|e| self.failed(e))?;
        if length <= capacity.saturating_add(capacity / 8) {
            return Ok(());
        }
        let keep_from = sequence_key(last.saturating_sub(capacity).saturating_add(1));
        self.feed()
            .delete_range(txn, &(Bound::Unbounded, Bound::Excluded(keep_from.as_str())))
            .map(drop)
            .map_err(|e| self.failed(e))
    }

    pub(super) fn changes_since(&self, sequence: u64, limit: usize) -> Result<Feed> {
        let txn = self.read_txn()?;
        let txn: &RoTxn<'_, AnyTls> = &txn;
        let last = self.last_sequence_in(txn)?;
        let first = match self.feed().first(txn).map_err(|e| self.failed(e))? {
            None => 1,
            Some((key, _)) => parse_sequence(key, self.path())?,
        };
        let gap = sequence > last || sequence.saturating_add(1) < first;
        let from = if gap { first } else { sequence.saturating_add(1) };
        let from_key = sequence_key(from);
        let mut feed = Feed { gap, entries: Vec::new(), next: from.saturating_sub(1), more: false };
        let rows = self
            .feed()
            .range(txn, &(Bound::Included(from_key.as_str()), Bound::Unbounded))
            .map_err(|e| self.failed(e))?;
        for row in rows {
            let (key, value) = row.map_err(|e| self.failed(e))?;
            if feed.entries.len() >= limit {
                feed.more = true;
                break;
            }
            feed.next = parse_sequence(key, self.path())?;
            let unreadable =
                |source| StoreError::Record { table: Table::Changes, key: key.to_owned(), source };
            let row: FeedRow = serde_json::from_slice(value).map_err(unreadable)?;
            // A restore leaves an entry that belongs to no table.
            let Some(table) = Table::from_name(&row.table) else { continue };
            let value = match self.table(table).get(txn, &row.key).map_err(|e| self.failed(e))? {
                None => None,
                Some(bytes) => Some(serde_json::from_slice(bytes).map_err(|source| {
                    StoreError::Record { table, key: row.key.clone(), source }
                })?),
            };
            feed.entries.push(Entry { sequence: feed.next, table, key: row.key, value });
        }
        Ok(feed)
    }

    /// Empties the feed and goes on far behind its end, so that no number is ever used for two changes.
    pub(super) fn leap(&self, txn: &mut RwTxn<'_>) -> Result<u64> {
        let next = self.last_sequence_in(txn)?.saturating_add(LEAP);
        self.feed().clear(txn).map_err(|e| self.failed(e))?;
        self.append_to_feed(txn, next, "", "restored")?;
        Ok(next)
    }
}

/// More changes than a store makes between two copies.
const LEAP: u64 = 1 << 32;
