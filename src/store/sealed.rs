//! The table `secrets`: records that their owner has sealed. They are no part of the world, so nobody who holds a world
//! holds them; the change feed tells that one changed, not what it holds.

use super::environment::Environment;
use super::error::StoreError;
use super::record::Row;
use super::table::{self, Table};
use super::{Result, Store};
use heed::{AnyTls, RoTxn};
use serde_json::Value;

impl Store {
    /// The sealed record under `key`.
    pub fn secret(&self, key: &str) -> Result<Option<Value>> {
        let key = table::key(key).into_owned();
        self.read(|environment| environment.secret(&key))
    }

    /// All sealed records, by key.
    pub fn secrets(&self) -> Result<Vec<Value>> {
        self.read(Environment::secrets)
    }

    /// Writes sealed records, or deletes those without a value, in one transaction; durable when this returns.
    pub fn put_secrets(&self, records: &[(String, Option<Value>)]) -> Result<()> {
        let row = |(key, value): &(String, Option<Value>)| Row {
            table: Table::Secrets,
            key: table::key(key).into_owned(),
            value: value.as_ref().map(|value| value.to_string().into_bytes()),
        };
        let rows: Vec<Row> = records.iter().map(row).collect();
        let (limit, capacity) = (self.shared.options.map_limit, self.shared.options.feed_capacity);
        self.write(limit, |environment| environment.commit(&rows, capacity)).map(drop)
    }
}

impl Environment {
    fn secret(&self, key: &str) -> Result<Option<Value>> {
        let txn = self.read_txn()?;
        let found = self.table(Table::Secrets).get(&txn, key).map_err(|e| self.failed(e))?;
        found.map(|bytes| parse(key, bytes)).transpose()
    }

    fn secrets(&self) -> Result<Vec<Value>> {
        let txn = self.read_txn()?;
        let txn: &RoTxn<'_, AnyTls> = &txn;
        let rows = self.table(Table::Secrets).iter(txn).map_err(|e| self.failed(e))?;
        rows.map(|row| row.map_err(|e| self.failed(e)).and_then(|(key, bytes)| parse(key, bytes)))
            .collect()
    }
}

fn parse(key: &str, bytes: &[u8]) -> Result<Value> {
    let unreadable =
        |source| StoreError::Record { table: Table::Secrets, key: key.to_owned(), source };
    serde_json::from_slice(bytes).map_err(unreadable)
}
