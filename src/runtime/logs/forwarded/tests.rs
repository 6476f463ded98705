use super::*;
use std::time::Duration;

fn task(name: &str) -> TaskId {
    TaskId::new(name).unwrap()
}

fn told(up_to: u64) -> BTreeMap<ContainerName, Forwarded> {
    let it = Forwarded { epoch: 0, up_to, removed: None };
    BTreeMap::from([(ContainerName::new("web").unwrap(), it)])
}

/// A log of 24 bytes.
fn log(dir: &Path, name: &str) -> std::path::PathBuf {
    let directory = dir.join("logs").join(name);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("web.log"), b"{\"log\":\"x\",\"nothing\":1}\n").unwrap();
    directory
}

#[test]
fn what_waits_to_be_forwarded_outlives_its_task() {
    let dir = tempfile::tempdir().unwrap();
    let logs = LogDirectory::new(dir.path());
    let (kept, done, plain) =
        (log(dir.path(), "kept"), log(dir.path(), "done"), log(dir.path(), "plain"));
    logs.keep_forwarded(&task("kept"), &told(10)).unwrap();
    logs.keep_forwarded(&task("done"), &told(24)).unwrap();
    for name in ["kept", "done", "plain"] {
        logs.forget(&task(name)).unwrap();
    }
    assert!(kept.join("web.log").exists() && !done.exists() && !plain.exists());
    assert_eq!(logs.forwarded().unwrap()[&task("kept")], told(10));
    logs.keep_forwarded(&task("kept"), &told(24)).unwrap();
    assert!(!kept.exists(), "it goes when the hub has it");
    logs.keep_forwarded(&task("kept"), &told(24)).unwrap();
    assert!(!kept.exists());
}

#[test]
fn what_is_removed_leaves_where_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let logs = LogDirectory::new(dir.path());
    let directory = log(dir.path(), "old");
    logs.keep_forwarded(&task("old"), &told(10)).unwrap();
    for _ in 0..2 {
        logs.bound(1, |_| true).unwrap();
        assert!(directory.exists() && !directory.join("web.log").exists());
    }
    let web = ContainerName::new("web").unwrap();
    let hole = logs.stretch(&task("old"), &web, 10, 100).unwrap();
    assert_eq!((hole.from, hole.end, hole.bytes.len()), (24, 24, 0));
    assert!(hole.removed_at.is_some());
    // What is told meanwhile does not hide it.
    logs.keep_forwarded(&task("old"), &told(12)).unwrap();
    assert_eq!(logs.stretch(&task("old"), &web, 12, 100).unwrap().end, 24);
    logs.keep_forwarded(&task("old"), &told(24)).unwrap();
    assert!(!directory.exists());
}

#[test]
fn nothing_waits_longer_than_logs_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let logs = LogDirectory::new(dir.path());
    let directory = log(dir.path(), "old");
    logs.keep_forwarded(&task("old"), &told(0)).unwrap();
    logs.forget(&task("old")).unwrap();
    let (hour, now) = (Duration::from_hours(1), crate::sys::now());
    logs.expire(hour, now).unwrap();
    assert!(directory.join("web.log").exists());
    logs.expire(hour, now.plus(2 * hour)).unwrap();
    assert!(!directory.join("web.log").exists() && directory.exists());
}

#[test]
fn a_box_that_leaves_keeps_nothing_for_its_hub() {
    let dir = tempfile::tempdir().unwrap();
    let logs = LogDirectory::new(dir.path());
    let (live, over) = (log(dir.path(), "live"), log(dir.path(), "over"));
    for name in ["live", "over"] {
        logs.keep_forwarded(&task(name), &told(1)).unwrap();
    }
    logs.forget(&task("over")).unwrap();
    // It joined another fleet while no agent ran.
    assert!(logs.begin_forwarding("one").unwrap().is_empty());
    assert!(live.join("web.log").exists() && !over.exists());
    logs.keep_forwarded(&task("live"), &told(1)).unwrap();
    logs.bound(1, |task| task.as_str() != "live").unwrap();
    logs.expire(Duration::from_hours(1), crate::sys::now()).unwrap();
    assert_eq!(logs.begin_forwarding("one").unwrap().len(), 1);
    assert!(logs.begin_forwarding("other").unwrap().is_empty());
}
