//! Schema numbers and the migrations between them.
//!
//! | schema | what it is |
//! | --- | --- |
//! | 1 | the record tables; account settings keyed `NAME@PRINCIPAL` with a bare JSON string. Never released: it stays as the proof that a migration works |
//! | 2 | account settings keyed `PRINCIPAL\|NAME` as objects; the table `changes` |
//! | 3 | the table `secrets` |
//! | 4 | the tables `services`, `serviceRevisions`, `serviceDeployments`, `serviceEvents`; assignments have an `id` |
//! | 5 | the tables `devices`, `joinTokens`, `membership`, `events` |
//!
//! A migration runs in the same transaction as the new schema number: it happened whole or not at all. Before it a
//! verified copy is kept as `copies/schema-N.mdb`. A store with a newer schema than [`CURRENT`] is left alone.

use super::environment::{AllRows, DATA, Rows};
use super::error::StoreError;
use super::record;
use super::table::Table;
use super::{Result, copies};
use heed::types::{Bytes, Str};
use heed::{CommitOrAbort, DatabaseOpener, Env, RwTxn, WithoutTls};
use std::path::Path;

/// The schema that this version reads and writes.
pub const CURRENT: u64 = 5;

/// The row of the table `meta` that holds the schema number.
pub const KEY: &str = "schema";

type Opener<'e> = DatabaseOpener<'e, WithoutTls>;
type Migration = for<'e> fn(&Opener<'e>, &mut RwTxn<'e>) -> std::result::Result<(), Fault>;

/// `MIGRATIONS[n - 1]` leads from schema n to n + 1.
const MIGRATIONS: [Migration; 4] = [one_to_two, two_to_three, three_to_four, four_to_five];
const _: () = assert!(MIGRATIONS.len() as u64 + 1 == CURRENT, "one migration per step");

/// A failure inside a transaction: LMDB's errors get their path outside.
enum Fault {
    Lmdb(heed::Error),
    Store(StoreError),
}

impl From<heed::Error> for Fault {
    fn from(error: heed::Error) -> Self {
        Self::Lmdb(error)
    }
}

impl Fault {
    fn at(self, path: &Path) -> StoreError {
        match self {
            Self::Lmdb(error) => StoreError::lmdb(path, error),
            Self::Store(error) => error,
        }
    }
}

/// Makes the tables of a new store and notes the schema, in one transaction.
pub(super) fn create(env: &Env<WithoutTls>, path: &Path) -> Result<()> {
    let txn = env.write_txn().map_err(|error| StoreError::lmdb(path, error))?;
    env.create_databases_and_commit(txn, |opener, txn| {
        for table in Table::ALL {
            create_table(opener, txn, table)?;
        }
        note_schema(opener, txn, CURRENT)?;
        Ok(CommitOrAbort::<(), ()>::Commit(()))
    })
    .map(drop)
    .map_err(|fault: Fault| fault.at(path))
}

/// Opens the tables, after bringing an older store up to [`CURRENT`].
pub(super) fn bring_up(env: &Env<WithoutTls>, dir: &Path) -> Result<AllRows<'static>> {
    let path = dir.join(DATA);
    let found = read_schema(env, &path)?;
    if found > CURRENT {
        return Err(StoreError::NewerSchema { path, found, known: CURRENT });
    }
    if found < CURRENT {
        copies::keep_before_migration(env, dir, found)?;
        migrate(env, found).map_err(|fault| fault.at(&path))?;
        tracing::info!(path = %path.display(), from = found, to = CURRENT, "the store was migrated");
    }
    open_tables(env, &path)
}

fn read_schema(env: &Env<WithoutTls>, path: &Path) -> Result<u64> {
    let fail = |error| StoreError::lmdb(path, error);
    let txn = env.read_txn().map_err(fail)?;
    let meta = env
        .open_databases_and_commit(txn, |opener, txn| {
            let meta = opener.open_database::<Str, Bytes>(txn, Some(Table::Meta.name()))?;
            Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(meta))
        })
        .map_err(fail)?
        .commit()
        .flatten();
    let Some(meta) = meta else {
        return Err(StoreError::corrupt(path, "it has no table `meta`"));
    };
    let txn = env.read_txn().map_err(fail)?;
    let number = meta.get(&txn, KEY).map_err(fail)?;
    match number.and_then(|bytes| serde_json::from_slice::<u64>(bytes).ok()) {
        Some(0) | None => Err(StoreError::corrupt(path, "it has no schema number")),
        Some(number) => Ok(number),
    }
}

fn migrate(env: &Env<WithoutTls>, found: u64) -> std::result::Result<(), Fault> {
    let txn = env.write_txn()?;
    env.create_databases_and_commit(txn, |opener, txn| {
        for (migration, from) in MIGRATIONS.iter().zip(1..) {
            if from >= found {
                migration(opener, txn)?;
            }
        }
        note_schema(opener, txn, CURRENT)?;
        Ok(CommitOrAbort::<(), ()>::Commit(()))
    })
    .map(drop)
}

fn open_tables(env: &Env<WithoutTls>, path: &Path) -> Result<AllRows<'static>> {
    let fail = |error| StoreError::lmdb(path, error);
    let txn = env.read_txn().map_err(fail)?;
    let opened = env
        .open_databases_and_commit(txn, |opener, txn| {
            let mut opened = Vec::with_capacity(Table::ALL.len());
            for table in Table::ALL {
                match opener.open_database::<Str, Bytes>(txn, Some(table.name()))? {
                    Some(rows) => opened.push(rows),
                    None => return Ok(CommitOrAbort::Abort(table)),
                }
            }
            match <[Rows<'_>; Table::ALL.len()]>::try_from(opened) {
                Ok(rows) => Ok::<_, heed::Error>(CommitOrAbort::Commit(rows)),
                Err(_) => Ok(CommitOrAbort::Abort(Table::Meta)),
            }
        })
        .map_err(fail)?;
    match opened {
        CommitOrAbort::Commit(rows) => Ok(rows),
        CommitOrAbort::Abort(table) => {
            Err(StoreError::corrupt(path, format!("it has no table `{table}`")))
        }
    }
}

fn create_table<'e>(
    opener: &Opener<'e>,
    txn: &mut RwTxn<'e>,
    table: Table,
) -> heed::Result<Rows<'e>> {
    opener.create_database(txn, Some(table.name()))
}

fn note_schema<'e>(opener: &Opener<'e>, txn: &mut RwTxn<'e>, schema: u64) -> heed::Result<()> {
    let meta = create_table(opener, txn, Table::Meta)?;
    meta.put(txn, KEY, schema.to_string().as_bytes())
}

/// Account settings under their principal, as objects; the change feed, empty.
fn one_to_two<'e>(opener: &Opener<'e>, txn: &mut RwTxn<'e>) -> std::result::Result<(), Fault> {
    create_table(opener, txn, Table::Changes)?;
    let settings = create_table(opener, txn, Table::AccountSettings)?;
    let mut old = Vec::new();
    for row in settings.iter(txn)? {
        let (key, value) = row?;
        old.push((key.to_owned(), value.to_owned()));
    }
    settings.clear(txn)?;
    for (key, value) in old {
        let row = setting_of_schema_one(&key, &value).map_err(Fault::Store)?;
        if let Some(value) = &row.value {
            settings.put(txn, &row.key, value)?;
        }
    }
    Ok(())
}

/// No secrets yet.
fn two_to_three<'e>(opener: &Opener<'e>, txn: &mut RwTxn<'e>) -> std::result::Result<(), Fault> {
    create_table(opener, txn, Table::Secrets)?;
    Ok(())
}

/// No services yet; an assignment's `task` is read as its `id`.
fn three_to_four<'e>(opener: &Opener<'e>, txn: &mut RwTxn<'e>) -> std::result::Result<(), Fault> {
    for table in
        [Table::Services, Table::ServiceRevisions, Table::ServiceDeployments, Table::ServiceEvents]
    {
        create_table(opener, txn, table)?;
    }
    Ok(())
}

/// No fleet yet.
fn four_to_five<'e>(opener: &Opener<'e>, txn: &mut RwTxn<'e>) -> std::result::Result<(), Fault> {
    for table in [Table::Devices, Table::JoinTokens, Table::Membership, Table::Events] {
        create_table(opener, txn, table)?;
    }
    Ok(())
}

fn setting_of_schema_one(key: &str, value: &[u8]) -> Result<record::Row> {
    let unreadable =
        |source| StoreError::Record { table: Table::AccountSettings, key: key.to_owned(), source };
    let (name, principal) = key.split_once('@').ok_or_else(|| {
        unreadable(<serde_json::Error as serde::de::Error>::custom("its key is not NAME@PRINCIPAL"))
    })?;
    let value: String = serde_json::from_slice(value).map_err(unreadable)?;
    record::encode(&crate::plan::Change::PutAccountSetting {
        principal: principal.to_owned(),
        name: name.to_owned(),
        value,
    })
}
