use super::*;
use std::fs;
use std::time::UNIX_EPOCH;

#[test]
fn the_oldest_logs_of_what_is_over_go_first() {
    let dir = tempfile::tempdir().unwrap();
    let logs = LogDirectory::new(dir.path());
    for (age, task) in [(1, "new"), (3, "old"), (2, "middle"), (9, "running")] {
        let directory = dir.path().join("logs").join(task);
        fs::create_dir_all(&directory).unwrap();
        for name in ["a.log", "a.log.1"] {
            let path = directory.join(name);
            fs::write(&path, vec![b'x'; 500]).unwrap();
            let at = UNIX_EPOCH + Duration::from_secs(1_780_000_000 - age);
            File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
        }
    }
    let left = |limit| {
        logs.bound(limit, |task| task.as_str() != "running").unwrap();
        let mut names: Vec<String> = fs::read_dir(dir.path().join("logs"))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(left(0).len(), 4);
    assert_eq!(left(3000).len(), 4);
    assert_eq!(left(2999), ["middle", "new", "running"]);
    assert_eq!(left(1), ["running"]);
}

#[test]
fn old_files_of_quiet_containers_go() {
    let dir = tempfile::tempdir().unwrap();
    let logs = LogDirectory::new(dir.path());
    logs.expire(Duration::from_hours(1), Timestamp::from_secs(1_780_000_000)).unwrap();
    let directory = dir.path().join("logs/task");
    fs::create_dir_all(&directory).unwrap();
    let at = UNIX_EPOCH + Duration::from_secs(1_780_000_000 - 7200);
    for name in ["a.log", "a.log.1", "b.log"] {
        let file = File::create(directory.join(name)).unwrap();
        file.set_modified(at).unwrap();
    }
    logs.expire(Duration::from_hours(1), Timestamp::from_secs(1_780_000_000)).unwrap();
    // What is still written to is the shim's.
    assert!(directory.join("a.log").exists() && directory.join("b.log").exists());
    assert!(!directory.join("a.log.1").exists());
}
