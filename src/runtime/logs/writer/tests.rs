use super::*;

const SIMPLE: LogOptions = LogOptions { max_size: 0, max_file: 1, max_age: 0 };
/// Some day in 2026, in milliseconds.
const DAY_0: i64 = 1_780_000_000_000;

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|l| serde_json::from_str::<LogLine>(l).unwrap().log).collect()
}

fn open(path: &Path, options: LogOptions) -> LogWriter {
    LogWriter::open(path.to_owned(), options, BTreeMap::new()).unwrap()
}

fn put(log: &mut LogWriter, text: &str, at: Timestamp) {
    log.line(&Piece { stream: Stream::Stdout, text: text.as_bytes(), number: 0, last: true }, at);
    log.flush();
}

#[test]
fn attributes_go_with_every_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t/web.log");
    let attrs = BTreeMap::from([("tier".to_owned(), "front".to_owned())]);
    let mut log = LogWriter::open(path.clone(), SIMPLE, attrs).unwrap();
    put(&mut log, "a\u{1b}[2J\n", Timestamp(0));
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(
        text,
        "{\"log\":\"a\\u001b[2J\\n\",\"stream\":\"stdout\",\"attrs\":{\"tier\":\"front\"},\"time\":\"1970-01-01T00:00:00Z\"}\n"
    );
}

#[test]
fn a_full_disk_loses_lines_but_spoils_none() {
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
    if !rustix::process::geteuid().is_root() {
        println!("skipped: must run as root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), c"size=64k").unwrap();
    let path = dir.path().join("web.log");
    let mut log = open(&path, SIMPLE);
    for _ in 0..20 {
        put(&mut log, &format!("{}\n", "x".repeat(5000)), Timestamp(0));
    }
    let written = lines(&path).len();
    // Room again.
    let text = fs::read_to_string(&path).unwrap();
    let kept = text.lines().take(5).map(|l| l.len() as u64 + 1).sum();
    log.file.set_len(kept).unwrap();
    log.size = kept;
    put(&mut log, "after\n", Timestamp(0));
    let found = lines(&path);
    unmount(dir.path(), UnmountFlags::DETACH).unwrap();
    assert_eq!(found.len(), 7);
    assert!(found[..5].iter().all(|l| l.len() == 5001));
    assert!(found[5].contains(&format!("{} lines were lost", 20 - written)), "{}", found[5]);
    assert_eq!(found[6], "after\n");
}

#[test]
fn files_rotate_and_the_oldest_goes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.log");
    let mut log = open(&path, LogOptions { max_size: 200, max_file: 3, max_age: 0 });
    for number in 0..20 {
        put(&mut log, &format!("line {number:02}\n"), Timestamp(0));
    }
    for number in 0..3 {
        assert!(fs::metadata(numbered(&path, number)).unwrap().len() <= 200);
    }
    assert!(!numbered(&path, 3).exists());
    let kept: Vec<String> =
        (0..3).rev().flat_map(|number| lines(&numbered(&path, number))).collect();
    let expected: Vec<String> = (20 - kept.len()..20).map(|n| format!("line {n:02}\n")).collect();
    assert_eq!(kept, expected);
    drop(log);
    open(&path, LogOptions { max_size: 200, max_file: 2, max_age: 0 });
    assert!(numbered(&path, 1).exists() && !numbered(&path, 2).exists());
}

#[test]
fn old_files_rotate_and_go_with_their_age() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.log");
    let options = LogOptions { max_size: 0, max_file: 2, max_age: 200 };
    let at = |seconds: i64| Timestamp(DAY_0 + seconds * 1000);
    let mut log = open(&path, options);
    put(&mut log, "one\n", at(0));
    put(&mut log, "two\n", at(90));
    drop(log);
    // Known from the file.
    let mut log = open(&path, options);
    put(&mut log, "three\n", at(101));
    assert_eq!(lines(&numbered(&path, 1)), ["one\n", "two\n"]);
    assert_eq!(lines(&path), ["three\n"]);

    let age = |path: &Path, at: Timestamp| {
        let modified = UNIX_EPOCH + Duration::from_millis(u64::try_from(at.millis()).unwrap());
        File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
    };
    let old = numbered(&path, 1);
    age(&old, at(90));
    expire(&path, Duration::from_secs(200), at(280));
    assert!(old.exists());
    // Written while the clock was not set yet: nobody knows how old it is.
    age(&old, Timestamp(5_000));
    expire(&path, Duration::from_secs(200), at(300));
    assert!(old.exists());
    age(&old, at(90));
    expire(&path, Duration::from_secs(200), at(300));
    assert!(!old.exists() && path.exists());
}
