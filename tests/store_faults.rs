//! The store against a full disk, a read-only file system, `kill -9`, and readers that died.
//!
//! Tests that mount a file system need root and say so when they skip.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "the functions that tests share are tests as well"
)]

use coracle::model::{ClusterName, Timestamp};
use coracle::plan::world::ClientToken;
use coracle::plan::{Change, World};
use coracle::store::{Options, Store, StoreError};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn cluster(name: &str) -> Change {
    let json = serde_json::json!({"name": name, "active": true, "createdAt": 1});
    Change::PutCluster(serde_json::from_value(json).unwrap())
}

fn token(name: &str, size: usize) -> Change {
    let used = ClientToken {
        used_at: Timestamp(1),
        request: "x".repeat(size),
        tasks: Vec::new(),
        service: None,
    };
    Change::PutClientToken(name.to_owned(), used)
}

/// A file system of its own, gone when dropped.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn tmpfs(size: &str) -> Option<Self> {
        Self::mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
    }

    fn mount(arguments: &[&str]) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: mounting a file system needs root");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let status = Command::new("mount").args(arguments).arg(dir.path()).status().unwrap();
        assert!(status.success(), "mount {arguments:?}: {status}");
        Some(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(status.is_ok_and(|status| status.success()), "umount {}", self.0.path().display());
    }
}

/// Takes all the space that is left, and gives it back when asked to.
struct Filler(PathBuf);

impl Filler {
    fn fill(dir: &Path) -> Self {
        let path = dir.join("filler");
        let mut file = File::create(&path).unwrap();
        for block in [4096, 1] {
            while file.write_all(&vec![0; block]).is_ok() {}
        }
        Self(path)
    }

    fn give_back(self) {
        fs::remove_file(self.0).unwrap();
    }
}

#[test]
fn a_full_disk_fails_the_commit_whole_and_the_store_goes_on_when_there_is_space() {
    let Some(disk) = Mounted::tmpfs("1m") else { return };
    let dir = disk.path().join("store");
    let store = Store::open(&dir, Options::default()).unwrap();
    let mut acknowledged = World::default();
    let fill_up = |store: &Store, acknowledged: &mut World, prefix: &str| {
        (0..10_000)
            .find_map(|n| {
                let changes =
                    [token(&format!("{prefix}-{n}"), 10_000), cluster(&format!("{prefix}-{n}"))];
                match store.commit(&changes) {
                    Ok(_) => {
                        for change in &changes {
                            acknowledged.apply(change);
                        }
                        None
                    }
                    Err(error) => Some(error),
                }
            })
            .unwrap()
    };
    // A file that grows until nothing fits, several times over: LMDB's own state must stay sound as well.
    let refused = fill_up(&store, &mut acknowledged, "first");
    assert!(matches!(refused, StoreError::DiskFull { .. }), "{refused}");
    assert!(acknowledged.clusters.len() > 10);
    for round in 0..5 {
        assert_eq!(store.load().unwrap(), acknowledged, "round {round}");
        let big = token("big", 500_000);
        let refused = store.commit(std::slice::from_ref(&big)).unwrap_err();
        assert!(matches!(refused, StoreError::DiskFull { .. }), "{refused}");
    }

    let deleted = Change::DeleteClientToken("first-0".to_owned());
    let filler = Filler::fill(disk.path());
    drop(store);
    let store = Store::open(&dir, Options::default()).unwrap();
    assert_eq!(store.load().unwrap(), acknowledged, "opened on a full disk");
    filler.give_back();
    // With next to no space, deleting makes some.
    if store.commit(std::slice::from_ref(&deleted)).is_ok() {
        acknowledged.apply(&deleted);
    }
    assert_eq!(store.load().unwrap(), acknowledged);

    let status = Command::new("mount").args(["-o", "remount,size=2m"]).arg(disk.path()).status();
    assert!(status.unwrap().success());
    let refused = fill_up(&store, &mut acknowledged, "second");
    assert!(matches!(refused, StoreError::DiskFull { .. }), "{refused}");
    assert!(acknowledged.clusters.contains_key(&ClusterName::new("second-10").unwrap()));
    assert_eq!(store.load().unwrap(), acknowledged);
    drop(store);
    assert_eq!(Store::open(&dir, Options::default()).unwrap().load().unwrap(), acknowledged);
}

#[test]
fn a_new_store_on_a_full_disk_is_an_error_and_no_signal() {
    let Some(disk) = Mounted::tmpfs("512k") else { return };
    let dir = disk.path().join("store");
    fs::create_dir(&dir).unwrap();
    let filler = Filler::fill(disk.path());
    let refused = Store::open(&dir, Options::default()).unwrap_err();
    assert!(matches!(refused, StoreError::DiskFull { .. }), "{refused}");
    filler.give_back();
    Store::open(&dir, Options::default()).unwrap().commit(&[cluster("a")]).unwrap();
}

#[test]
fn a_copy_on_a_full_disk_fails_and_leaves_no_half_copy() {
    let Some(disk) = Mounted::tmpfs("512k") else { return };
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    store.commit(&[token("big", 600_000)]).unwrap();
    let path = disk.path().join("copy.mdb");
    let refused = store.copy_to(&path).unwrap_err();
    assert!(matches!(refused, StoreError::DiskFull { .. }), "{refused}");
    assert!(!path.exists());
}

#[test]
fn a_read_only_file_system_is_named() {
    let dir = tempfile::tempdir().unwrap();
    Store::open(dir.path(), Options::default()).unwrap().commit(&[cluster("a")]).unwrap();
    let source = dir.path().to_str().unwrap();
    let Some(mounted) = Mounted::mount(&["--bind", "-o", "ro", source]) else { return };
    let refused = Store::open(mounted.path(), Options::default()).unwrap_err();
    assert!(matches!(refused, StoreError::ReadOnly { .. }), "{refused}");
    assert!(refused.to_string().contains("read-only"), "{refused}");
}

const CHILD_DIR: &str = "STORE_TEST_CHILD_DIR";

fn child(test: &str, dir: &Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The other side of the test below: commits numbered transactions, and says so after each.
#[test]
#[ignore = "a child of the test that kills it"]
fn child_that_commits_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    // Small enough that the map grows under way.
    let options = Options { map_size: 128 * 1024, feed_capacity: 64, ..Options::default() };
    let store = Store::open(Path::new(&dir), options).unwrap();
    let first = store.load().unwrap().clusters.len();
    let reader = store.clone();
    std::thread::spawn(move || while reader.load().is_ok() {});
    for n in first.. {
        let mut changes =
            vec![cluster(&format!("c{n:06}")), token(&format!("t{n:06}"), 100 + n * 977 % 9000)];
        if n >= 50 {
            changes.push(Change::DeleteClientToken(format!("t{:06}", n - 50)));
        }
        store.commit(&changes).unwrap();
        println!("committed {n}");
    }
}

#[test]
fn everything_reported_as_committed_survives_forty_kills_and_nothing_is_half_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut committed = 0;
    for kill in 0..40 {
        let mut child = child("child_that_commits_until_it_is_killed", dir.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut wanted = 1 + coracle::sys::seed() % 40;
        let mut last = None;
        let mut killed = false;
        // What it said before it died is still in the pipe.
        while let Some(Ok(line)) = lines.next() {
            if let Some(n) = line.strip_prefix("committed ") {
                last = Some(n.parse::<usize>().unwrap());
                wanted = wanted.saturating_sub(1);
            }
            if wanted == 0 && !killed {
                child.kill().unwrap();
                killed = true;
            }
        }
        assert!(killed, "kill {kill}: the child ended by itself");
        child.wait().unwrap();

        let store = Store::open(dir.path(), Options::default()).unwrap();
        let world = store.load().unwrap();
        let here = world.clusters.len();
        let said = last.unwrap() + 1;
        assert!(here == said || here == said + 1, "kill {kill}: {said} reported, {here} there");
        assert!(here > committed, "kill {kill}: no progress");
        committed = here;
        for n in 0..here {
            assert!(world.clusters.contains_key(&ClusterName::new(format!("c{n:06}")).unwrap()));
        }
        // The other parts of each transaction are there just as well.
        let tokens: Vec<_> = world.client_tokens.keys().cloned().collect();
        let expected: Vec<_> =
            (here.saturating_sub(50)..here).map(|n| format!("t{n:06}")).collect();
        assert_eq!(tokens, expected, "kill {kill}");
        let last_change =
            usize::try_from(store.changes_since(0, usize::MAX).unwrap().next).unwrap();
        assert_eq!(last_change, 2 * here + here.saturating_sub(50), "kill {kill}");
    }
}

/// The other side of the test below: fills LMDB's table of readers.
#[test]
#[ignore = "a child of the test that kills it"]
#[expect(unsafe_code, reason = "LMDB is opened without the store, to misbehave")]
fn child_that_holds_every_reader_slot() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let mut options = heed::EnvOpenOptions::new().read_txn_without_tls();
    options.max_readers(1024);
    // SAFETY: nobody else has the file open.
    let env = unsafe { options.open(&dir) }.unwrap();
    let mut readers = Vec::new();
    let full = loop {
        match env.read_txn() {
            Ok(reader) => readers.push(reader),
            Err(error) => break error,
        }
    };
    println!("\nholding {} readers: {full}", readers.len());
    loop {
        std::thread::park();
    }
}

#[test]
fn readers_of_a_killed_process_neither_block_nor_bloat_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    store.commit(&[token("a", 20_000)]).unwrap();
    drop(store);

    let mut child = child("child_that_holds_every_reader_slot", dir.path());
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let held = lines.map_while(Result::ok).find(|line| line.starts_with("holding ")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(held.contains("MDB_READERS_FULL"), "{held}");

    let store = Store::open(dir.path(), Options::default()).unwrap();
    for _ in 0..100 {
        store.commit(&[token("a", 20_000)]).unwrap();
        store.load().unwrap();
    }
    // Dead readers would have kept all hundred versions.
    let size = fs::metadata(dir.path().join("data.mdb")).unwrap().len();
    assert!(size < 400_000, "{size}");
}
