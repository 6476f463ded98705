use super::*;
use crate::model::{Cluster, ClusterName, Family, Revision, TaskId, Timestamp};
use crate::plan::world::ClientToken;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) fn cluster(name: &str) -> Change {
    Change::PutCluster(Cluster {
        name: ClusterName::new(name).unwrap(),
        active: true,
        created_at: Timestamp(1),
        settings: Vec::new(),
        configuration: None,
        capacity_providers: Vec::new(),
        default_capacity_provider_strategy: Vec::new(),
        service_connect_defaults: None,
        tags: Vec::new(),
    })
}

/// A cluster whose record has at least `size` bytes, so that it needs overflow pages.
pub(super) fn large_cluster(name: &str, size: usize) -> Change {
    let Change::PutCluster(mut large) = cluster(name) else { unreachable!() };
    large.configuration = Some(Value::String("x".repeat(size)));
    Change::PutCluster(large)
}

pub(super) fn store_with(dir: &Path, changes: &[Change]) -> Store {
    let store = Store::open(dir, Options::default()).unwrap();
    store.commit(changes).unwrap();
    store
}

fn setting(principal: &str, name: &str, value: &str) -> Change {
    Change::PutAccountSetting {
        principal: principal.to_owned(),
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

fn token(token: &str) -> Change {
    let used = ClientToken {
        used_at: Timestamp(5),
        request: "{}".to_owned(),
        tasks: vec![TaskId::new("t").unwrap()],
        service: None,
    };
    Change::PutClientToken(token.to_owned(), used)
}

#[test]
fn what_is_committed_is_loaded_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let changes = every_kind_of_put();
    {
        let store = Store::open(dir.path(), Options::default()).unwrap();
        assert_eq!(store.commit(&changes).unwrap(), changes.len() as u64);
    }
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let mut expected = World::default();
    for change in &changes {
        expected.apply(change);
    }
    assert_eq!(store.load().unwrap(), expected);
}

#[test]
fn what_is_deleted_is_gone_and_deleting_what_is_not_there_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_with(dir.path(), &every_kind_of_put());
    let world = store.load().unwrap();
    let deletes: Vec<_> = world
        .task_definitions
        .keys()
        .map(|key| Change::DeleteTaskDefinition(key.clone()))
        .chain(world.container_instances.keys().cloned().map(Change::DeleteContainerInstance))
        .chain(world.assignments.keys().cloned().map(Change::DeleteAssignment))
        .chain(world.tasks.keys().cloned().map(Change::DeleteTask))
        .chain(world.account_settings.keys().map(|(principal, name)| {
            Change::DeleteAccountSetting { principal: principal.clone(), name: name.clone() }
        }))
        .chain(world.client_tokens.keys().cloned().map(Change::DeleteClientToken))
        .chain(world.services.keys().cloned().map(Change::DeleteService))
        .chain(world.service_revisions.keys().cloned().map(Change::DeleteServiceRevision))
        .chain(world.service_deployments.keys().cloned().map(Change::DeleteServiceDeployment))
        .chain(world.service_events.iter().flat_map(|(service, events)| {
            events.keys().map(|slot| Change::DeleteServiceEvent(service.clone(), *slot))
        }))
        .collect();
    assert_eq!(deletes.len(), 15);
    for _ in 0..2 {
        store.commit(&deletes).unwrap();
        let mut expected = world.clone();
        for delete in &deletes {
            expected.apply(delete);
        }
        assert_eq!(store.load().unwrap(), expected);
        assert!(expected.tasks.is_empty() && expected.client_tokens.is_empty());
    }
}

/// One record of each kind, and texts that are no good as keys.
fn every_kind_of_put() -> Vec<Change> {
    let scope = json!({"cluster": "default", "containerInstance": "i", "launchType": "EC2"});
    let with = |extra: Value| {
        let mut all = scope.as_object().unwrap().clone();
        all.extend(extra.as_object().unwrap().clone());
        Value::Object(all)
    };
    let reference = json!({"family": "web", "revision": 3});
    let task = with(json!({
        "id": "t", "taskDefinition": reference, "generation": 2, "desiredStatus": "RUNNING",
        "lastStatus": "PENDING", "version": 4, "createdAt": 1_763_700_000.125,
        "containers": [{"id": "c", "name": "app", "image": "web:1", "lastStatus": "PENDING"}],
        "tags": [{"key": "k", "value": "ü"}],
    }));
    let assignment = with(json!({
        "task": "t", "taskDefinition": reference, "generation": 2, "desiredStatus": "STOPPED",
        "stop": {"code": "UserInitiated", "reason": "enough"}, "createdAt": 1,
    }));
    let service = json!({"cluster": "default", "name": "web"});
    let of_service = |extra: Value| {
        let mut all = service.as_object().unwrap().clone();
        all.extend(extra.as_object().unwrap().clone());
        Value::Object(all)
    };
    let tasks = with(json!({
        "id": "7-i", "taskDefinition": reference, "generation": 2, "service": "web", "deployment": "7", "count": 2,
        "stops": {"t": {"code": "UserInitiated", "reason": "enough"}}, "createdAt": 1,
    }));
    let rules = json!({"maximumPercent": 200, "minimumHealthyPercent": 100});
    let record = of_service(json!({
        "status": "ACTIVE", "schedulingStrategy": "REPLICA", "desiredCount": 2, "createdAt": 1,
        "deploymentConfiguration": rules, "deployments": [{
            "id": "7", "serviceRevision": "8", "serviceDeployment": "d", "rolloutState": "IN_PROGRESS",
            "rolloutStateReason": "", "failedTasks": 0, "createdAt": 1, "updatedAt": 1,
        }],
    }));
    let revision = of_service(json!({"id": "8", "taskDefinition": reference, "createdAt": 1}));
    let deployment = of_service(json!({
        "id": "d", "status": "IN_PROGRESS", "targetServiceRevision": "8", "deploymentConfiguration": rules,
        "createdAt": 1, "updatedAt": 1,
    }));
    let event =
        of_service(json!({"number": 103, "id": "e", "createdAt": 1, "message": "(service web)"}));
    let definition = json!({
        "family": "web", "revision": 3, "status": "ACTIVE", "registeredAt": 7.5, "cpu": "256",
        "containerDefinitions": [{"name": "app", "image": "web:1", "memory": 64}],
    });
    let instance = json!({
        "id": "i", "cluster": "default", "draining": false, "registeredAt": 1, "version": 1,
        "capacity": {"cpu": 1024, "memory": 512, "reservedPorts": [22], "reservedPortsUdp": []},
        "attributes": [{"name": "ecs.os-type", "value": "linux"}, {"name": "ssd"}],
        "agentVersion": "0.1.0",
    });
    vec![
        cluster("default"),
        Change::PutTaskDefinition(Box::new(serde_json::from_value(definition).unwrap())),
        Change::PutRevision(Family::new("web").unwrap(), Revision(3)),
        Change::PutContainerInstance(Box::new(serde_json::from_value(instance).unwrap())),
        Change::PutAssignment(Box::new(serde_json::from_value(assignment).unwrap())),
        Change::PutTask(Box::new(serde_json::from_value(task).unwrap())),
        Change::PutAssignment(Box::new(serde_json::from_value(tasks).unwrap())),
        Change::PutService(Box::new(serde_json::from_value(record).unwrap())),
        Change::PutServiceRevision(Box::new(serde_json::from_value(revision).unwrap())),
        Change::PutServiceDeployment(Box::new(serde_json::from_value(deployment).unwrap())),
        Change::PutServiceEvent(serde_json::from_value(event).unwrap()),
        setting("arn:aws:iam::000000000000:root", "containerInsights", "enabled"),
        setting(&"p".repeat(2000), "containerInsights", "enabled"),
        token("a-b"),
        token(""),
        token(&"ü".repeat(1000)),
        token(&"ü".repeat(1001)),
    ]
}

#[test]
fn rows_are_readable_and_carry_their_format() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_with(dir.path(), &every_kind_of_put());
    for entry in store.changes_since(0, 100).unwrap().entries {
        let value = entry.value.unwrap();
        assert_eq!(value["v"], 1, "{}/{}", entry.table, entry.key);
        assert!(value.as_object().unwrap().len() > 1, "{}/{}", entry.table, entry.key);
    }
    let row =
        record::encode(&Change::PutRevision(Family::new("web").unwrap(), Revision(3))).unwrap();
    let text = String::from_utf8(row.value.unwrap()).unwrap();
    assert_eq!(
        (row.key.as_str(), text.as_str()),
        ("web", r#"{"v":1,"family":"web","revision":3}"#)
    );
}

#[test]
fn unknown_members_are_tolerated_and_a_newer_format_is_refused() {
    let read = |json: &str| record::decode(Table::Revisions, "web", json.as_bytes());
    assert!(read(r#"{"v":1,"family":"web","revision":3,"later":true}"#).is_ok());
    let newer = read(r#"{"v":2,"family":"web","revision":3}"#);
    assert!(matches!(newer, Err(StoreError::RecordVersion { found: 2, .. })), "{newer:?}");
    for broken in ["", "{", r#"{"v":1}"#, r#"{"family":"web","revision":3}"#, "[1]"] {
        assert!(matches!(read(broken), Err(StoreError::Record { .. })), "{broken}");
    }
}

#[test]
fn the_feed_tells_changes_in_order_with_the_present_value() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_with(dir.path(), &[cluster("a"), token("x")]);
    assert_eq!(store.commit(&[]).unwrap(), 2);
    assert_eq!(store.commit(&[Change::DeleteClientToken("x".to_owned())]).unwrap(), 3);

    let feed = store.changes_since(0, 10).unwrap();
    assert!(!feed.gap && !feed.more);
    assert_eq!(feed.next, 3);
    let seen: Vec<_> = feed
        .entries
        .iter()
        .map(|e| (e.sequence, e.table, e.key.as_str(), e.value.is_some()))
        .collect();
    assert_eq!(
        seen,
        [
            (1, Table::Clusters, "a", true),
            (2, Table::ClientTokens, "x", false),
            (3, Table::ClientTokens, "x", false)
        ]
    );

    let first = store.changes_since(0, 2).unwrap();
    assert!(first.more && first.next == 2 && first.entries.len() == 2);
    let rest = store.changes_since(first.next, 2).unwrap();
    assert!(!rest.more && rest.next == 3 && rest.entries.len() == 1);
    let nothing = store.changes_since(3, 10).unwrap();
    assert!(!nothing.gap && nothing.entries.is_empty() && nothing.next == 3);
}

#[test]
fn the_feed_is_bounded_and_says_when_entries_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { feed_capacity: 16, ..Options::default() };
    let store = Store::open(dir.path(), options).unwrap();
    for n in 0..100 {
        store.commit(&[cluster(&format!("c{n}"))]).unwrap();
    }
    let feed = store.changes_since(0, 1000).unwrap();
    assert!(feed.gap);
    assert!((16..=18).contains(&feed.entries.len()), "{}", feed.entries.len());
    assert_eq!(feed.entries.last().unwrap().sequence, 100);
    assert!(!store.changes_since(feed.entries[0].sequence - 1, 1).unwrap().gap);
    assert!(store.changes_since(feed.entries[0].sequence - 2, 1).unwrap().gap);
    // Numbers that were never given out belong to another life of the store.
    let ahead = store.changes_since(101, 1000).unwrap();
    assert!(ahead.gap && ahead.entries.len() == feed.entries.len());
}

#[test]
fn sequence_numbers_go_on_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    drop(store_with(dir.path(), &[cluster("a"), cluster("b")]));
    assert_eq!(store_with(dir.path(), &[cluster("c")]).commit(&[]).unwrap(), 3);
}

#[test]
fn meta_values_are_kept_and_the_schema_is_not_theirs_to_set() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_with(dir.path(), &[]);
    assert_eq!(store.get_meta("agent").unwrap(), None);
    store.put_meta("agent", &json!({"a": [1]})).unwrap();
    assert_eq!(store.get_meta("agent").unwrap(), Some(json!({"a": [1]})));
    assert!(matches!(store.put_meta("schema", &json!(9)), Err(StoreError::ReservedKey(_))));
    assert_eq!(store.get_meta("schema").unwrap(), Some(json!(schema::CURRENT)));
    drop(store);
    let store = store_with(dir.path(), &[]);
    assert_eq!(store.get_meta("agent").unwrap(), Some(json!({"a": [1]})));
}

#[test]
fn the_directory_is_its_owners_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state/store");
    fs::create_dir_all(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let _store = store_with(&path, &[cluster("a")]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for entry in fs::read_dir(&path).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

#[test]
fn a_second_agent_on_the_directory_is_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_with(dir.path(), &[]);
    let refused = Store::open(dir.path(), Options::default()).unwrap_err();
    let us = std::process::id();
    assert!(
        matches!(refused, StoreError::InUse { holder: Some(pid), .. } if pid == us),
        "{refused}"
    );
    assert!(refused.to_string().contains(&us.to_string()));
    drop(store);
    Store::open(dir.path(), Options::default()).unwrap();
}

#[test]
fn the_map_grows_by_itself_up_to_its_limit_and_deleting_still_works_there() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        Options { map_size: 256 * 1024, map_limit: 2 * MIB, feed_capacity: 16, flushes: true };
    let store = Store::open(dir.path(), options.clone()).unwrap();
    let mut expected = World::default();
    let refused = (0..)
        .find_map(|n| {
            let change = token_of_size(&format!("token-{n}"), 30_000);
            match store.commit(std::slice::from_ref(&change)) {
                Ok(_) => {
                    expected.apply(&change);
                    None
                }
                Err(error) => Some(error),
            }
        })
        .unwrap();
    assert!(
        matches!(refused, StoreError::MapFull { limit, .. } if limit == options.map_limit),
        "{refused}"
    );
    assert!(expected.client_tokens.len() > 40, "{}", expected.client_tokens.len());
    assert_eq!(store.load().unwrap(), expected);

    // Pages that a transaction freed are used again by the one after the next.
    for n in 0..20 {
        let delete = Change::DeleteClientToken(format!("token-{n}"));
        store.commit(std::slice::from_ref(&delete)).unwrap();
        expected.apply(&delete);
    }
    let change = token_of_size("again", 30_000);
    store.commit(std::slice::from_ref(&change)).unwrap();
    expected.apply(&change);
    drop(store);
    assert_eq!(Store::open(dir.path(), options).unwrap().load().unwrap(), expected);
}

fn token_of_size(name: &str, size: usize) -> Change {
    let used = ClientToken {
        used_at: Timestamp(1),
        request: "x".repeat(size),
        tasks: Vec::new(),
        service: None,
    };
    Change::PutClientToken(name.to_owned(), used)
}

#[test]
fn a_copy_holds_everything_and_is_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_with(dir.path(), &every_kind_of_put());
    let elsewhere = dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    store.copy_to(&elsewhere.join("data.mdb")).unwrap();
    assert!(matches!(store.copy_to(&elsewhere.join("data.mdb")), Err(StoreError::Io { .. })));
    let copy = Store::open(&elsewhere, Options::default()).unwrap();
    assert_eq!(copy.load().unwrap(), store.load().unwrap());
}

#[test]
fn a_damaged_store_names_its_remedy_and_the_last_good_copy_brings_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_with(dir.path(), &[cluster("kept")]);
    let kept = store.load().unwrap();
    let data = dir.path().join("data.mdb");
    let damage = || {
        let file = fs::OpenOptions::new().write(true).open(&data).unwrap();
        file.set_len(9000).unwrap();
    };
    drop(store);
    let sound = fs::read(&data).unwrap();

    damage();
    let refused = Store::open(dir.path(), Options::default()).unwrap_err();
    let StoreError::Corrupt { path, remedy, .. } = &refused else { panic!("{refused}") };
    assert_eq!(path, &data);
    assert!(remedy.contains("no good copy"), "{remedy}");
    assert!(matches!(restore(dir.path()), Err(StoreError::NoCopy(_))));

    fs::write(&data, sound).unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    assert!(store.keep_copy().unwrap());
    assert!(!store.keep_copy().unwrap(), "nothing changed");
    let behind = store.commit(&[cluster("lost")]).unwrap();
    assert!(matches!(restore(dir.path()), Err(StoreError::InUse { .. })));
    drop(store);

    damage();
    let refused = Store::open(dir.path(), Options::default()).unwrap_err().to_string();
    assert!(refused.contains("last-good.mdb"), "{refused}");
    let restored = restore(dir.path()).unwrap();
    assert_eq!(fs::metadata(restored.damaged.unwrap()).unwrap().len(), 9000);
    let store = Store::open(dir.path(), Options::default()).unwrap();
    assert_eq!(store.load().unwrap(), kept);
    // Whoever follows the feed must notice that the store went back.
    let feed = store.changes_since(behind, 10).unwrap();
    assert!(feed.gap && feed.entries.is_empty());
    let next = store.commit(&[cluster("after")]).unwrap();
    assert!(next > behind);
    let feed = store.changes_since(feed.next, 10).unwrap();
    assert!(!feed.gap && feed.entries.len() == 1 && feed.next == next);
}

#[test]
fn an_interrupted_first_start_leaves_nothing_that_hinders_the_next() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("new")).unwrap();
    fs::write(dir.path().join("new/data.mdb"), "half of").unwrap();
    store_with(dir.path(), &[cluster("a")]);
    assert!(!dir.path().join("new").exists());
}

#[test]
fn an_empty_data_file_is_damage_and_never_an_empty_store() {
    let dir = tempfile::tempdir().unwrap();
    drop(store_with(dir.path(), &[cluster("a")]));
    fs::write(dir.path().join("data.mdb"), "").unwrap();
    let refused = Store::open(dir.path(), Options::default()).unwrap_err();
    assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused}");
}

#[test]
fn readers_see_whole_commits_while_the_store_is_written_and_grows() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        Options { map_size: 128 * 1024, map_limit: 64 * MIB, feed_capacity: 16, flushes: true };
    let store = Store::open(dir.path(), options).unwrap();
    let written = AtomicBool::new(false);
    let written = &written;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let committed = (0..60).try_for_each(|n| {
                let pair = ["a", "b"].map(|kind| token_of_size(&format!("{kind}{n}"), 9000));
                store.commit(&pair).map(drop)
            });
            // Whatever came of it, the readers must end.
            written.store(true, Ordering::Release);
            committed.unwrap();
        });
        for _ in 0..2 {
            let store = store.clone();
            scope.spawn(move || {
                while !written.load(Ordering::Acquire) {
                    let world = store.load().unwrap();
                    let count =
                        |kind| world.client_tokens.keys().filter(|k| k.starts_with(kind)).count();
                    assert_eq!(count('a'), count('b'));
                }
            });
        }
    });
    assert_eq!(store.load().unwrap().client_tokens.len(), 120);
}

#[test]
fn an_executed_program_inherits_nothing_of_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_with(dir.path(), &[cluster("a")]);
    store.keep_copy().unwrap();
    let listing = std::process::Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap();
    let listing = String::from_utf8(listing.stdout).unwrap();
    assert!(listing.contains("->"), "{listing}");
    let name = dir.path().file_name().unwrap().to_str().unwrap();
    assert!(!listing.contains(name), "{listing}");
}
