//! Reads the records of a store without LMDB: nothing is mapped, locked or written, whoever has the store open.
//!
//! A transaction that is committed meanwhile may use pages again that this one has. So the newest transaction is looked at
//! before and after: when it is another one, the reading counts for nothing and begins anew.

use super::super::environment::DATA;
use super::super::error::StoreError;
use super::super::table::Table;
use super::super::{Result, record, schema};
use super::{Finding, Inspection, Summary};
use crate::plan::World;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

/// Readings before a store counts as one that cannot be read from outside.
const ATTEMPTS: usize = 10;

/// What a store holds.
#[derive(Debug)]
pub struct Read {
    /// The number of its schema.
    pub schema: u64,
    /// The records, when the schema is the one that this version reads.
    pub world: World,
    /// The table `meta`.
    pub meta: BTreeMap<String, Value>,
    /// Pages, rows, bytes.
    pub summary: Summary,
}

/// Reads the store in `dir`, and checks it page by page; none when there is none.
///
/// # Errors
/// As when the store is opened.
pub fn read(dir: &Path) -> Result<Option<Read>> {
    let path = dir.join(DATA);
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(StoreError::io("open", &path))?,
    };
    for _ in 0..ATTEMPTS {
        let newest = || Inspection::newest(&file).map(|(meta, _)| meta.transaction);
        let before = newest().map_err(|finding| finding.at(&path))?;
        let read = once(&path, &file);
        if newest().map_err(|finding| finding.at(&path))? == before {
            return read.map(Some);
        }
    }
    Err(StoreError::Changing(path))
}

fn once(path: &Path, file: &File) -> Result<Read> {
    let (mut meta, mut changes) = (BTreeMap::new(), Vec::new());
    let mut bad = None;
    let mut take = |table: &str, key: &[u8], value: &[u8]| {
        let Ok(key) = std::str::from_utf8(key) else { return };
        if table == Table::Meta.name() {
            if let Ok(value) = serde_json::from_slice(value) {
                meta.insert(key.to_owned(), value);
            }
        } else if let Some(place) = Table::RECORDS.iter().position(|known| known.name() == table) {
            match record::decode(Table::RECORDS[place], key, value) {
                Ok(change) => changes.extend(change.map(|change| (place, change))),
                Err(error) => {
                    bad.get_or_insert(error);
                }
            }
        }
    };
    let summary = Inspection::of(file, &mut take).map_err(|finding| finding.at(path))?;
    let schema = meta.get(schema::KEY).and_then(Value::as_u64);
    let Some(schema) = schema else {
        return Err(Finding::Damage("it has no schema number".to_owned()).at(path));
    };
    let mut world = World::default();
    if schema == schema::CURRENT {
        if let Some(error) = bad {
            return Err(error);
        }
        // In the order in which a store is loaded: what refers to another record comes after it.
        changes.sort_by_key(|(place, _)| *place);
        for (_, change) in &changes {
            world.apply(change);
        }
    }
    Ok(Read { schema, world, meta, summary })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Options, Store};
    use serde_json::json;

    #[test]
    fn a_store_is_read_while_it_is_open_and_nothing_is_written() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path()).unwrap().is_none());
        let store = Store::open(dir.path(), Options::default()).unwrap();
        store.put_meta("containerInstance", &json!("a".repeat(32))).unwrap();
        let modified =
            |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().modified().unwrap();
        let before = ["data.mdb", "lock.mdb", "agent.lock"].map(modified);
        let found = read(dir.path()).unwrap().unwrap();
        assert_eq!(found.schema, schema::CURRENT);
        assert_eq!(found.meta["containerInstance"], json!("a".repeat(32)));
        assert_eq!(found.world, store.load().unwrap());
        assert_eq!(["data.mdb", "lock.mdb", "agent.lock"].map(modified), before);
        drop(store);
        let data = dir.path().join("data.mdb");
        let length = std::fs::metadata(&data).unwrap().len();
        File::options().write(true).open(&data).unwrap().set_len(length / 2).unwrap();
        assert!(matches!(read(dir.path()), Err(StoreError::Corrupt { .. })));
    }

    #[test]
    fn a_store_that_is_written_to_is_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Options::default()).unwrap();
        let writer = std::thread::spawn(move || {
            for round in 0..200 {
                store
                    .put_meta("round", &json!({ "round": round, "text": "x".repeat(9000) }))
                    .unwrap();
            }
        });
        let mut read_once = false;
        while !writer.is_finished() || !read_once {
            match read(dir.path()) {
                Ok(Some(found)) => {
                    if let Some(value) = found.meta.get("round") {
                        assert_eq!(value["text"].as_str().unwrap().len(), 9000);
                        read_once = true;
                    }
                }
                Ok(None) | Err(StoreError::Changing(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        writer.join().unwrap();
    }
}
