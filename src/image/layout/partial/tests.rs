use super::*;
use std::fs::FileTimes;
use std::time::UNIX_EPOCH;

fn layout() -> (tempfile::TempDir, Layout) {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::open(directory.path()).unwrap();
    (directory, layout)
}

#[test]
fn it_goes_on_after_the_file_was_closed() {
    let (_directory, layout) = layout();
    let content = [7; 1000];
    let digest = Digest::of(&content);
    let mut first = layout.partial(digest, 1000).unwrap();
    first.write(&content[..600]).unwrap();
    // Who has it open has it alone.
    let mut other = layout.partial(digest, 1000).unwrap();
    assert_eq!((other.resumed(), other.private), (0, true));
    other.write(&content).unwrap();
    assert_eq!(layout.drop_unfinished(true).unwrap(), 0);
    drop((first, other));
    let mut second = layout.partial(digest, 1000).unwrap();
    assert_eq!((second.resumed(), second.written()), (600, 600));
    assert!(matches!(second.commit(&layout), Err(LayoutError::Size { actual: 600, .. })));
    second.write(&content[600..]).unwrap();
    assert!(matches!(second.write(b"x"), Err(LayoutError::Size { actual: 1001, .. })));
    second.commit(&layout).unwrap();
    assert_eq!(fs::read(layout.path(&digest)).unwrap(), content);
    assert_eq!(layout.unfinished().unwrap(), []);
    assert_eq!(fs::read_dir(layout.root.join("tmp")).unwrap().count(), 0);
}

#[test]
fn what_is_damaged_is_told_and_begun_anew() {
    let (_directory, layout) = layout();
    let content = [7; 1000];
    let digest = Digest::of(&content);
    fs::write(layout.partials().join(digest.hex()), [8; 1000]).unwrap();
    let mut partial = layout.partial(digest, 1000).unwrap();
    assert_eq!(partial.resumed(), 1000);
    assert!(matches!(partial.commit(&layout), Err(LayoutError::Digest { .. })));
    partial.restart().unwrap();
    partial.write(&content).unwrap();
    partial.commit(&layout).unwrap();
    // More than there can be.
    let digest = Digest::of(b"ab");
    fs::write(layout.partials().join(digest.hex()), b"abc").unwrap();
    assert_eq!(layout.partial(digest, 2).unwrap().resumed(), 0);
}

#[test]
fn what_nobody_asks_for_goes_after_a_week_but_not_by_a_clock_that_is_wrong() {
    let (_directory, layout) = layout();
    let path = |name: &str| layout.partials().join(Digest::of(name.as_bytes()).hex());
    let now = UNIX_EPOCH + Duration::from_millis(u64::try_from(sys::now().millis()).unwrap());
    for (name, at) in [
        ("old", now - Duration::from_hours(8 * 24)),
        ("new", now - Duration::from_hours(6 * 24)),
        ("unset", UNIX_EPOCH + Duration::from_hours(1)),
        ("ahead", now + Duration::from_hours(8 * 24)),
    ] {
        let times = FileTimes::new().set_modified(at);
        let mut file = File::create(path(name)).unwrap();
        file.write_all(b"abc").unwrap();
        file.set_times(times).unwrap();
    }
    assert_eq!(layout.drop_unfinished(false).unwrap(), 3);
    let there = ["old", "new", "unset", "ahead"].map(|name| path(name).exists());
    assert_eq!(there, [false, true, true, true]);
    let unset = layout.unfinished().unwrap();
    let unset = unset.iter().find(|u| u.digest == Digest::of(b"unset")).unwrap();
    assert!(unset.age.is_some_and(|age| age < Duration::from_hours(1)));
    assert_eq!(layout.drop_unfinished(true).unwrap(), 9);
}
