#![allow(
    clippy::cast_possible_truncation,
    clippy::naive_bytecount,
    clippy::similar_names,
    reason = "small numbers of a test"
)]

use super::super::{LogOptions, LogWriter, Piece, Stream};
use super::*;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;

const TASK: &str = "t";

fn names() -> (TaskId, ContainerName) {
    (TaskId::new(TASK).unwrap(), ContainerName::new("web").unwrap())
}

fn writer(dir: &Path, max_file: u32) -> LogWriter {
    let options = LogOptions { max_size: 400, max_file, max_age: 0 };
    let path = dir.join("logs").join(TASK).join("web.log");
    LogWriter::open(path, options, BTreeMap::new()).unwrap()
}

fn put(log: &mut LogWriter, text: &str) {
    let text = format!("{text}\n");
    let piece = Piece { stream: Stream::Stdout, text: text.as_bytes(), number: 0, last: true };
    log.line(&piece, Timestamp(0));
    log.flush();
}

/// All there is from a place on, in stretches of `at_most`, and where they began.
fn all(dir: &Path, mut from: u64, at_most: usize) -> (u64, Vec<u8>, u64) {
    let (task, container) = names();
    let (mut began, mut bytes) = (None, Vec::new());
    loop {
        let it = LogDirectory::new(dir).stretch(&task, &container, from, at_most).unwrap();
        began.get_or_insert(it.from);
        if it.bytes.is_empty() {
            return (began.unwrap(), bytes, it.end);
        }
        assert!(it.from == from || bytes.is_empty(), "no hole in between");
        assert!(it.bytes.len() <= at_most.max(200) && it.bytes.ends_with(b"\n"));
        from = it.to();
        bytes.extend(it.bytes);
    }
}

#[test]
fn a_place_means_the_same_however_often_files_rotate() {
    for max_file in [1, 2, 4] {
        let dir = tempfile::tempdir().unwrap();
        let mut written: Vec<u8> = Vec::new();
        let mut log = writer(dir.path(), max_file);
        let mut rotations = 0;
        for number in 0..60 {
            if number % 13 == 5 {
                // The container was restarted.
                drop(log);
                log = writer(dir.path(), max_file);
            }
            put(&mut log, &format!("line {number:02}"));
            let (began, kept, end) = all(dir.path(), 0, 150);
            if kept.len() as u64 + began > written.len() as u64 && began as usize <= written.len() {
                written.extend_from_slice(&kept[written.len() - began as usize..]);
            }
            assert_eq!(end as usize, written.len(), "after line {number}");
            assert_eq!(kept, written[began as usize..]);
            rotations += u32::from(began > 0);
        }
        assert!(rotations > 0);
        let lines = written.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        let texts: Vec<String> =
            lines.map(|line| serde_json::from_slice::<LogLine>(line).unwrap().log).collect();
        let expected: Vec<String> = (0..60).map(|number| format!("line {number:02}\n")).collect();
        assert_eq!(texts, expected);
    }
}

#[test]
fn a_place_beyond_the_end_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    put(&mut writer(dir.path(), 2), "one");
    let (task, container) = names();
    let logs = LogDirectory::new(dir.path());
    let it = logs.stretch(&task, &container, 10_000, 100).unwrap();
    assert!(it.end > 0 && it.from == it.end && it.bytes.is_empty(), "{it:?}");
    let other = ContainerName::new("other").unwrap();
    assert_eq!(logs.stretch(&task, &other, 7, 100).unwrap(), Stretch::default());
}

#[test]
fn what_a_power_cut_left_of_a_line_spoils_no_other() {
    let dir = tempfile::tempdir().unwrap();
    put(&mut writer(dir.path(), 2), "one");
    let path = dir.path().join("logs").join(TASK).join("web.log");
    fs::File::options().append(true).open(&path).unwrap().write_all(b"{\"log\":\"tw").unwrap();
    let (_, whole, end) = all(dir.path(), 0, 1000);
    assert_eq!(whole.len() as u64, end - 10, "half a line is not given out while it may grow");
    put(&mut writer(dir.path(), 2), "three");
    let (task, container) = names();
    let reader = LogDirectory::new(dir.path());
    let texts: Vec<String> = reader
        .open(&task, &container, super::super::Beginning::Start)
        .unwrap()
        .map(|line| line.unwrap().log)
        .collect();
    assert_eq!(texts, ["one\n", "three\n"]);
}

#[test]
fn a_long_line_goes_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = writer(dir.path(), 3);
    let long = "x".repeat(5000);
    for text in ["a", &long, "b"] {
        put(&mut log, text);
    }
    let (task, container) = names();
    let logs = LogDirectory::new(dir.path());
    let first = logs.stretch(&task, &container, 0, 200).unwrap();
    assert!(first.bytes.len() < 200);
    let second = logs.stretch(&task, &container, first.to(), 200).unwrap();
    assert!(second.bytes.len() > 5000 && second.bytes.iter().filter(|b| **b == b'\n').count() == 1);
}
