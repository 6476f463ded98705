//! Stores of older schemas. `tests/fixtures/store/schema-N.mdb` were written once by the generators at the foot of this
//! file, `cargo test --test store_migration -- --ignored write_golden_schema_N`, and must never be written again: they
//! stand for files in the field. Schema 1 was never released; see `store::schema`.
//!
//! LMDB files depend on the width and order of numbers, so this runs on 64-bit little-endian machines only.
#![allow(clippy::unwrap_used, reason = "the functions that tests share are tests as well")]
#![cfg(all(target_pointer_width = "64", target_endian = "little"))]

use coracle::model::{ClusterName, Family, Revision, TaskId, TaskStatus};
use coracle::plan::Change;
use coracle::store::{Options, Store, StoreError, inspect, schema};
use heed::types::{Bytes, Str};
use heed::{CommitOrAbort, CompactionOption, Env, EnvOpenOptions, WithoutTls};
use std::fs;
use std::path::Path;

fn golden(schema: u64) -> std::path::PathBuf {
    let name = format!("tests/fixtures/store/schema-{schema}.mdb");
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn store_of_schema(schema: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(golden(schema), dir.path().join("data.mdb")).unwrap();
    dir
}

#[test]
fn a_store_of_schema_2_keeps_its_records_and_takes_secrets() {
    let dir = store_of_schema(2);
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let world = store.load().unwrap();
    assert_eq!(world.revisions[&Family::new("web").unwrap()], Revision(2));
    assert_eq!(world.tasks.len(), 1);
    let root = "arn:aws:iam::000000000000:root".to_owned();
    assert_eq!(world.account_settings[&(root, "containerInsights".to_owned())], "enabled");
    assert_eq!(store.changes_since(0, 10).unwrap().entries.len(), 1);

    assert_eq!(store.secret("sm:db").unwrap(), None);
    let sealed = serde_json::json!({"name": "db"});
    store.put_secrets(&[("sm:db".to_owned(), Some(sealed.clone()))]).unwrap();
    drop(store);
    let store = Store::open(dir.path(), Options::default()).unwrap();
    assert_eq!(store.secret("sm:db").unwrap(), Some(sealed));
    assert_eq!(store.load().unwrap(), world);
    let entries = store.changes_since(1, 10).unwrap().entries;
    assert_eq!(entries.iter().map(|e| e.key.as_str()).collect::<Vec<_>>(), ["sm:db"]);
}

#[test]
fn a_store_of_schema_1_opens_migrates_and_loads() {
    let dir = store_of_schema(1);
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let world = store.load().unwrap();

    assert!(world.clusters[&ClusterName::new("default").unwrap()].active);
    assert_eq!(world.revisions[&Family::new("web").unwrap()], Revision(2));
    assert_eq!(world.task_definitions.len(), 2);
    let task = &world.tasks[&TaskId::new("0123456789abcdef0123456789abcdef").unwrap()];
    assert_eq!(task.last_status, TaskStatus::Running);
    assert_eq!(task.containers[0].image, "web:2");
    assert_eq!(world.assignments.len(), 1);
    assert_eq!(world.container_instances.len(), 1);
    assert_eq!(world.client_tokens.len(), 1);
    let root = "arn:aws:iam::000000000000:root";
    let settings: Vec<_> = world
        .account_settings
        .iter()
        .map(|((principal, name), value)| (principal.as_str(), name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        settings,
        [(root, "containerInsights", "enabled"), (root, "taskLongArnFormat", "enabled")]
    );

    let feed = store.changes_since(0, 10).unwrap();
    assert!(!feed.gap && feed.entries.is_empty());
    let change = Change::PutRevision(Family::new("web").unwrap(), Revision(3));
    assert_eq!(store.commit(&[change]).unwrap(), 1);
    assert_eq!(store.get_meta(schema::KEY).unwrap(), Some(schema::CURRENT.into()));

    // And once more, now without a migration.
    let expected = store.load().unwrap();
    drop(store);
    assert_eq!(Store::open(dir.path(), Options::default()).unwrap().load().unwrap(), expected);
}

#[test]
fn before_a_migration_a_verified_copy_is_kept_that_still_has_the_old_schema() {
    let dir = store_of_schema(1);
    let before = inspect::verify(&dir.path().join("data.mdb")).unwrap();
    drop(Store::open(dir.path(), Options::default()).unwrap());
    let copy = dir.path().join("copies/schema-1.mdb");
    assert_eq!(inspect::verify(&copy).unwrap().rows, before.rows);
    assert!(!before.rows.contains_key("changes"));

    // Going back to it and migrating again gives the same.
    let again = tempfile::tempdir().unwrap();
    fs::copy(copy, again.path().join("data.mdb")).unwrap();
    let first = Store::open(dir.path(), Options::default()).unwrap().load().unwrap();
    let second = Store::open(again.path(), Options::default()).unwrap().load().unwrap();
    assert_eq!(first, second);
}

#[test]
fn a_migration_that_fails_changes_nothing() {
    let dir = store_of_schema(1);
    put_raw(dir.path(), "accountSettings", "no-at-sign", b"\"enabled\"");
    for _ in 0..2 {
        let refused = Store::open(dir.path(), Options::default()).unwrap_err();
        assert!(matches!(refused, StoreError::Record { .. }), "{refused}");
        let rows = inspect::verify(&dir.path().join("data.mdb")).unwrap().rows;
        assert!(!rows.contains_key("changes") && rows["accountSettings"] == 3, "{rows:?}");
    }
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path(), Options::default()).unwrap());
    put_raw(dir.path(), "meta", schema::KEY, b"99");
    let before = fs::read(dir.path().join("data.mdb")).unwrap();
    let refused = Store::open(dir.path(), Options::default()).unwrap_err();
    assert!(
        matches!(refused, StoreError::NewerSchema { found: 99, known: schema::CURRENT, .. }),
        "{refused}"
    );
    assert_eq!(fs::read(dir.path().join("data.mdb")).unwrap(), before);
}

#[test]
fn an_lmdb_file_that_is_no_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    put_raw(dir.path(), "somebody-elses", "key", b"value");
    let refused = Store::open(dir.path(), Options::default()).unwrap_err();
    assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused}");
    assert!(refused.to_string().contains("meta"), "{refused}");
}

#[test]
fn a_record_that_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path(), Options::default()).unwrap());
    put_raw(dir.path(), "tasks", "abc", b"{\"v\":1}");
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let refused = store.load().unwrap_err();
    assert!(refused.to_string().contains("tasks/abc"), "{refused}");
}

#[expect(unsafe_code, reason = "LMDB is opened without the store")]
fn raw(dir: &Path) -> Env<WithoutTls> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(1024 * 1024).max_dbs(16);
    // SAFETY: nobody else has the file open.
    unsafe { options.open(dir) }.unwrap()
}

fn put_raw(dir: &Path, table: &str, key: &str, value: &[u8]) {
    let env = raw(dir);
    let txn = env.write_txn().unwrap();
    env.create_databases_and_commit(txn, |opener, txn| {
        opener.create_database::<Str, Bytes>(txn, Some(table))?.put(txn, key, value)?;
        Ok::<_, heed::Error>(CommitOrAbort::<(), ()>::Commit(()))
    })
    .unwrap();
    env.prepare_for_closing().wait();
}

/// What schema 1 was, written without the store's own code.
#[test]
#[ignore = "writes the golden file, once and for all"]
fn write_golden_schema_1() {
    if golden(1).exists() {
        eprintln!("skipped: the golden file is there, and never written again");
        return;
    }
    let root = "arn:aws:iam::000000000000:root";
    let id = "0123456789abcdef0123456789abcdef";
    let definition = |revision: u32, status: &str| {
        format!(
            r#"{{"v":1,"family":"web","revision":{revision},"status":"{status}","containerDefinitions":[{{"name":"app","image":"web:{revision}","memory":64,"essential":true}}],"requiresAttributes":[],"compatibilities":["EC2"],"registeredAt":1763700000.5,"tags":[]}}"#
        )
    };
    let rows = [
        ("meta", "schema".to_owned(), "1".to_owned()),
        ("clusters", "default".to_owned(), r#"{"v":1,"name":"default","active":true,"createdAt":1763600000.0}"#.to_owned()),
        ("taskDefinitions", "web:1".to_owned(), definition(1, "INACTIVE")),
        ("taskDefinitions", "web:2".to_owned(), definition(2, "ACTIVE")),
        ("revisions", "web".to_owned(), r#"{"v":1,"family":"web","revision":2}"#.to_owned()),
        ("containerInstances", "i1".to_owned(), r#"{"v":1,"id":"i1","cluster":"default","draining":false,"capacity":{"cpu":4096,"memory":3700,"reservedPorts":[22],"reservedPortsUdp":[]},"attributes":[{"name":"ecs.cpu-architecture","value":"arm64"}],"registeredAt":1763600000.0,"version":3,"agentVersion":"0.1.0","tags":[]}"#.to_owned()),
        ("assignments", id.to_owned(), format!(r#"{{"v":1,"task":"{id}","cluster":"default","containerInstance":"i1","taskDefinition":{{"family":"web","revision":2}},"generation":1,"desiredStatus":"RUNNING","createdAt":1763700001.0,"launchType":"EC2"}}"#)),
        ("tasks", id.to_owned(), format!(r#"{{"v":1,"id":"{id}","cluster":"default","containerInstance":"i1","taskDefinition":{{"family":"web","revision":2}},"generation":1,"desiredStatus":"RUNNING","lastStatus":"RUNNING","containers":[{{"id":"c1","name":"app","image":"web:2","lastStatus":"RUNNING","healthStatus":"UNKNOWN"}}],"version":4,"launchType":"EC2","createdAt":1763700001.0,"startedAt":1763700002.25}}"#)),
        ("accountSettings", format!("containerInsights@{root}"), r#""enabled""#.to_owned()),
        ("accountSettings", format!("taskLongArnFormat@{root}"), r#""enabled""#.to_owned()),
        ("clientTokens", "once".to_owned(), format!(r#"{{"v":1,"token":"once","used":{{"usedAt":1763700001.0,"request":"{{}}","tasks":["{id}"]}}}}"#)),
    ];
    write_golden(1, &rows);
}

/// What schema 2 was, written without the store's own code.
#[test]
#[ignore = "writes the golden file, once and for all"]
fn write_golden_schema_2() {
    if golden(2).exists() {
        eprintln!("skipped: the golden file is there, and never written again");
        return;
    }
    let root = "arn:aws:iam::000000000000:root";
    let id = "0123456789abcdef0123456789abcdef";
    let rows = [
        ("meta", "schema".to_owned(), "2".to_owned()),
        ("clusters", "default".to_owned(), r#"{"v":1,"name":"default","active":true,"createdAt":1763600000.0}"#.to_owned()),
        ("taskDefinitions", "web:2".to_owned(), r#"{"v":1,"family":"web","revision":2,"status":"ACTIVE","containerDefinitions":[{"name":"app","image":"web:2","memory":64,"essential":true}],"requiresAttributes":[],"compatibilities":["EC2"],"registeredAt":1763700000.5,"tags":[]}"#.to_owned()),
        ("revisions", "web".to_owned(), r#"{"v":1,"family":"web","revision":2}"#.to_owned()),
        ("containerInstances", "i1".to_owned(), r#"{"v":1,"id":"i1","cluster":"default","draining":false,"capacity":{"cpu":4096,"memory":3700,"reservedPorts":[22],"reservedPortsUdp":[]},"attributes":[{"name":"ecs.cpu-architecture","value":"arm64"}],"registeredAt":1763600000.0,"version":3,"agentVersion":"0.1.0","tags":[]}"#.to_owned()),
        ("assignments", id.to_owned(), format!(r#"{{"v":1,"task":"{id}","cluster":"default","containerInstance":"i1","taskDefinition":{{"family":"web","revision":2}},"generation":1,"desiredStatus":"RUNNING","createdAt":1763700001.0,"launchType":"EC2"}}"#)),
        ("tasks", id.to_owned(), format!(r#"{{"v":1,"id":"{id}","cluster":"default","containerInstance":"i1","taskDefinition":{{"family":"web","revision":2}},"generation":1,"desiredStatus":"RUNNING","lastStatus":"RUNNING","containers":[{{"id":"c1","name":"app","image":"web:2","lastStatus":"RUNNING","healthStatus":"UNKNOWN"}}],"version":4,"launchType":"EC2","createdAt":1763700001.0,"startedAt":1763700002.25}}"#)),
        ("accountSettings", format!("{root}|containerInsights"), format!(r#"{{"v":1,"principal":"{root}","name":"containerInsights","value":"enabled"}}"#)),
        ("clientTokens", "once".to_owned(), format!(r#"{{"v":1,"token":"once","used":{{"usedAt":1763700001.0,"request":"{{}}","tasks":["{id}"]}}}}"#)),
        ("changes", format!("{:020}", 1), r#"{"v":1,"table":"tasks","key":"0123456789abcdef0123456789abcdef"}"#.to_owned()),
    ];
    write_golden(2, &rows);
}

fn write_golden(schema: u64, rows: &[(&str, String, String)]) {
    let dir = tempfile::tempdir().unwrap();
    for (table, key, value) in rows {
        put_raw(dir.path(), table, key, value.as_bytes());
    }
    let env = raw(dir.path());
    fs::create_dir_all(golden(schema).parent().unwrap()).unwrap();
    env.copy_to_path(golden(schema), CompactionOption::Enabled).unwrap();
}
