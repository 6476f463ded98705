use super::super::Beginning;
use super::*;

fn names() -> (TaskId, ContainerName) {
    (TaskId::new("t").unwrap(), ContainerName::new("web").unwrap())
}

fn options() -> LogDefaults {
    LogDefaults { max_size: 2000, max_file: 3, max_age: 0, max_total: 0 }
}

fn open(dir: &Path) -> StoredLog {
    let (task, container) = names();
    StoredLog::open(&LogDirectory::new(dir), &task, &container, options()).unwrap()
}

fn texts(dir: &Path) -> Vec<String> {
    let (task, container) = names();
    let reader = LogDirectory::new(dir).open(&task, &container, Beginning::Start).unwrap();
    reader.map(|line| line.unwrap().log).collect()
}

/// Lines as a box writes them.
fn lines(numbers: std::ops::Range<i64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in numbers {
        let line =
            LogLine::new(Stream::Stdout, format!("line {number:02}\n"), Timestamp(number * 1000));
        serde_json::to_writer(&mut bytes, &line).unwrap();
        bytes.push(b'\n');
    }
    bytes
}

fn arrival(from: usize, bytes: &[u8]) -> Arrival<'_> {
    Arrival { epoch: 0, from: from as u64, hole: None, bytes }
}

#[test]
fn what_comes_twice_is_left_out_and_what_is_missing_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let all = lines(0..6);
    let size = all.len() / 6;
    let mut log = open(dir.path());
    log.add(&arrival(0, &all[..2 * size])).unwrap();
    log.add(&arrival(0, &all[..3 * size])).unwrap();
    assert_eq!(log.told().to, 3 * size as u64);
    log.add(&arrival(4 * size, &all[4 * size..])).unwrap();
    assert_eq!(log.told().to, 3 * size as u64, "nobody said that something is gone");
    // A hub that starts anew knows where it was, though a crash left half a line.
    drop(log);
    let path = dir.path().join("logs/t/web.log");
    File::options().append(true).open(path).unwrap().write_all(b"{\"log\":\"half").unwrap();
    let mut log = open(dir.path());
    assert_eq!(log.told().to, 3 * size as u64);
    log.add(&arrival(2 * size, &all[2 * size..])).unwrap();
    let expected: Vec<String> = (0..6).map(|number| format!("line {number:02}\n")).collect();
    assert_eq!(texts(dir.path()), expected);
}

#[test]
fn a_hole_is_told_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    let all = lines(0..3);
    log.add(&arrival(0, &all)).unwrap();
    let at = all.len() as u64;
    // The box thinks that less arrived: what counts is what is here.
    let hole = Hole { from: 10, until: None };
    let later = lines(50..51);
    log.add(&Arrival { hole: Some(&hole), ..arrival(all.len() + 1_234_567, &later) }).unwrap();
    // At the end of a log there is no line to tell when.
    let end = at + 1_234_567 + later.len() as u64;
    let hole = Hole { from: end, until: Some(Timestamp(99_000)) };
    log.add(&Arrival { epoch: 0, from: end + 5, hole: Some(&hole), bytes: b"" }).unwrap();
    assert_eq!(log.told().to, end + 5);
    let found = texts(dir.path());
    assert_eq!(
        found[3],
        "--- 1.2 MB (1234567 bytes) lost between 1970-01-01T00:00:02Z and 1970-01-01T00:00:50Z (rotated away on the box before it could be forwarded) ---\n"
    );
    assert_eq!(found[4], "line 50\n");
    assert!(
        found[5].contains("5 bytes lost between 1970-01-01T00:00:50Z and 1970-01-01T00:01:39Z")
    );
    // One that begins after what is here hides more than it says.
    let hole = Hole { from: end + 6, until: None };
    log.add(&Arrival { hole: Some(&hole), ..arrival(999_999_999, &later) }).unwrap();
    assert_eq!(log.told().to, end + 5);
    drop(log);
    assert_eq!(open(dir.path()).told().to, end + 5);
}

#[test]
fn a_log_that_was_set_back_begins_again_visibly() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    let all = lines(0..3);
    log.add(&arrival(0, &all)).unwrap();
    let size = all.len() / 3;
    log.add(&Arrival { epoch: 1, ..arrival(size, &lines(7..8)) }).unwrap();
    log.add(&arrival(3 * size, &lines(9..10))).unwrap();
    assert_eq!(log.told(), Told { epoch: 1, to: 2 * size as u64 });
    let found = texts(dir.path());
    assert!(found[3].contains("lines may be missing between"), "{found:?}");
    assert_eq!(found[4..], ["line 07\n"]);
    drop(log);
    assert_eq!(open(dir.path()).told(), Told { epoch: 1, to: 2 * size as u64 });
}

#[test]
fn rubbish_is_counted_and_lies_about_places_have_no_effect() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    let lie =
        br#"{"log":"x\n","stream":"stdout","time":"t","from":7,"told":{"epoch":9,"to":99999}}"#;
    let mut bytes = b"no line\n".to_vec();
    bytes.extend_from_slice(lie);
    bytes.push(b'\n');
    log.add(&arrival(0, &bytes)).unwrap();
    assert_eq!(log.told(), Told { epoch: 0, to: bytes.len() as u64 });
    assert_eq!(texts(dir.path()), ["--- 8 bytes that are no line of a log ---\n", "x\n"]);
    drop(log);
    assert_eq!(open(dir.path()).told().to, bytes.len() as u64);
}

#[test]
fn files_rotate_and_the_place_outlives_that() {
    let dir = tempfile::tempdir().unwrap();
    let all = lines(0..100);
    let size = all.len() / 100;
    for at in 0..20 {
        let mut log = open(dir.path());
        assert_eq!(log.told().to, (at * 5 * size) as u64);
        log.add(&arrival(at * 5 * size, &all[at * 5 * size..(at + 1) * 5 * size])).unwrap();
    }
    let found = texts(dir.path());
    let expected: Vec<String> = (0..100).map(|number| format!("line {number:02}\n")).collect();
    assert_eq!(found, expected[100 - found.len()..]);
    assert!(found.len() < 100);
    for entry in fs::read_dir(dir.path().join("logs/t")).unwrap() {
        assert!(entry.unwrap().metadata().unwrap().len() <= 2000);
    }
}
