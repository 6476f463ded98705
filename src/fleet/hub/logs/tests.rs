use super::*;
use crate::fleet::log_batch::Head;
use crate::model::fleet::VERSION;
use std::fmt::Write;
use std::path::Path;

fn logs(dir: &Path, of_box: u64) -> Logs {
    let bounds = LogDefaults { max_size: 4000, max_file: 2, max_age: 3600, max_total: 20_000 };
    Logs::new(LogSettings { state_dir: dir.to_owned(), bounds, of_box })
}

fn device(number: u8) -> ContainerInstanceId {
    ContainerInstanceId::new(format!("{number:032x}")).unwrap()
}

/// So many lines of about a hundred bytes.
fn batch(task: &str, container: &str, from: u64, lines: usize) -> LogBatch {
    let mut text = String::new();
    for number in 0..lines {
        let _ = writeln!(
            text,
            "{{\"log\":\"{number:040}\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:00Z\"}}"
        );
    }
    let head = Head {
        v: VERSION,
        task: TaskId::new(task).unwrap(),
        container: ContainerName::new(container).unwrap(),
        epoch: 0,
        from,
        hole: None,
    };
    LogBatch { head, lines: text.into_bytes() }
}

#[expect(clippy::needless_pass_by_value, reason = "it is mapped with")]
fn up_to(stored: Stored) -> Option<u64> {
    match stored {
        Stored::UpTo(told) => Some(told.to),
        Stored::TooMany => None,
    }
}

#[test]
fn a_box_that_floods_loses_its_own_oldest_logs_and_nobody_elses() {
    let dir = tempfile::tempdir().unwrap();
    let logs = logs(dir.path(), 10_000);
    let (one, other) = (device(1), device(2));
    let small = batch("small", "x", 0, 3);
    assert_eq!(up_to(logs.store(&other, &small).unwrap()), Some(small.lines.len() as u64));
    for number in 0..12 {
        let all = batch(&format!("task{number}"), "x", 0, 30);
        assert_eq!(up_to(logs.store(&one, &all).unwrap()), Some(all.lines.len() as u64));
    }
    let size = |device| -> u64 {
        let directory = dir.path().join("logs").join(ContainerInstanceId::as_str(device));
        let tasks = std::fs::read_dir(directory).unwrap();
        let files = tasks.flat_map(|task| std::fs::read_dir(task.unwrap().path()).unwrap());
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
    };
    assert!(size(&one) < 10_000 + 8_000, "{}", size(&one));
    assert!(logs.of_box(&one).tasks().unwrap() < 12);
    // Whose files are gone is written to anew, and says so.
    let more = batch("task0", "x", 3000, 1);
    assert_eq!(up_to(logs.store(&one, &more).unwrap()), Some(0));
    assert_eq!(up_to(logs.store(&other, &small).unwrap()), Some(small.lines.len() as u64));
}

#[test]
fn a_box_that_invents_containers_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let logs = logs(dir.path(), 0);
    let invented = |number: usize| batch("task", &format!("c{number}"), 0, 1);
    for number in 0..CONTAINERS {
        assert!(up_to(logs.store(&device(1), &invented(number)).unwrap()).is_some());
    }
    assert_eq!(up_to(logs.store(&device(1), &invented(CONTAINERS)).unwrap()), None);
    let known = logs.store(&device(1), &invented(0)).unwrap();
    assert_eq!(up_to(known), Some(invented(0).lines.len() as u64));
}

#[test]
fn what_is_old_or_too_much_goes_at_the_next_tidying() {
    let dir = tempfile::tempdir().unwrap();
    let logs = logs(dir.path(), 0);
    for number in 0..10 {
        logs.store(&device(number), &batch("task", "x", 0, 25)).unwrap();
    }
    logs.tidy(sys::now()).unwrap();
    let left = (0..10).filter(|number| logs.of_box(&device(*number)).tasks().unwrap() > 0).count();
    assert!((4..10).contains(&left), "{left}");
    logs.tidy(sys::now().plus(Duration::from_hours(2))).unwrap();
    assert!((0..10).all(|number| logs.of_box(&device(number)).tasks().unwrap() == 0));
}
