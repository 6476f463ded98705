use super::*;
use std::io::Write;
use tokio::task::spawn_blocking;

fn lead(downloads: &Downloads, digest: Digest) -> (Lead, Watch) {
    match downloads.join(digest) {
        Part::Lead(lead, watch) => (lead, watch),
        Part::Follow(_) => panic!("nobody downloads it"),
    }
}

#[tokio::test]
async fn a_reader_follows_the_writer_to_the_end() {
    let downloads = Downloads::default();
    let (lead, watch) = lead(&downloads, Digest::of(b"a"));
    assert!(Following::new(watch.clone(), 6).is_none());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("blob");
    let mut file = File::create(&path).unwrap();
    lead.says(|stand| stand.file = Some(Arc::new(File::open(&path).unwrap())));
    let (mut following, turn) = Following::new(watch, 6).unwrap();
    assert_eq!(turn, 0);
    let read = spawn_blocking(move || {
        let mut text = String::new();
        following.read_to_string(&mut text).map(|_| text)
    });
    for (written, piece) in [(2, b"ab"), (4, b"cd"), (6, b"ef")] {
        file.write_all(piece).unwrap();
        lead.says(|stand| stand.written = written);
        tokio::task::yield_now().await;
    }
    assert_eq!(read.await.unwrap().unwrap(), "abcdef");
    lead.ends(End::Whole);
    assert!(!downloads.runs(&Digest::of(b"a")));
}

#[tokio::test]
async fn a_reader_hears_of_restarts_and_ends() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("blob");
    std::fs::write(&path, b"ab").unwrap();
    let downloads = Downloads::default();
    let error = || Arc::new(PullError::Abandoned);
    for (expected, end) in [
        (
            "anew",
            Box::new(|lead: Lead| lead.says(|s| (s.turn, s.written) = (1, 0)))
                as Box<dyn FnOnce(Lead) + Send>,
        ),
        ("given up", Box::new(drop)),
        (
            "ended before",
            Box::new(move |lead: Lead| lead.ends(End::Failed { host: "h".into(), error: error() })),
        ),
    ] {
        let (lead, watch) = lead(&downloads, Digest::of(b"a"));
        lead.says(|stand| {
            stand.file = Some(Arc::new(File::open(&path).unwrap()));
            stand.written = 2;
        });
        let (mut following, _) = Following::new(watch, 6).unwrap();
        let read = spawn_blocking(move || {
            let mut all = Vec::new();
            following.read_to_end(&mut all).unwrap_err().to_string()
        });
        end(lead);
        let said = read.await.unwrap();
        assert!(said.contains(expected), "{said}");
    }
}

#[tokio::test]
async fn one_leads_and_the_next_takes_over() {
    let downloads = Downloads::default();
    let digest = Digest::of(b"a");
    let (first, _) = lead(&downloads, digest);
    let Part::Follow(mut watch) = downloads.join(digest) else { panic!("there is a lead") };
    drop(first);
    assert!(watch.wait_for(|stand| stand.end.is_some()).await.is_err());
    let (second, mut watch) = lead(&downloads, digest);
    second.ends(End::Whole);
    assert!(matches!(watch.wait_for(|s| s.end.is_some()).await.unwrap().end, Some(End::Whole)));
}
