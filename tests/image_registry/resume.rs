//! Downloads that are cut: by the network, by the end of the process, by a full disk; and what goes on from there.

use crate::content::store;
use crate::faults::files;
use crate::front::{Front, Reply, Request};
use crate::images::{layer, noise, push, push_simple};
use crate::registry::Registry;
use coracle::image::digest::Digest;
use coracle::image::manifest::Platform;
use coracle::image::{ImageStore, Options, Phase, Progress};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const STATE: &str = "CORACLE_TEST_STATE";
const IMAGE: &str = "CORACLE_TEST_IMAGE";
const BANDWIDTH: &str = "CORACLE_TEST_BANDWIDTH";
const SIZE: usize = 2_000_000;

fn partial(state: &Path, blob: &Digest) -> PathBuf {
    state.join("images/partial").join(blob.hex())
}

fn gone() -> Reply {
    Reply::Own("404 Not Found", String::new(), Vec::new())
}

/// A front whose answers to requests for the blob are decided by how many came before.
fn front(
    registry: &Registry,
    blob: &Digest,
    decide: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
) -> Front {
    let blob = blob.to_string();
    Front::start("127.0.0.1", &registry.address, move |request, before| {
        if request.path.ends_with(&blob) { decide(request, before) } else { Reply::Same }
    })
}

/// The one file of the image, as it was unpacked.
async fn content(images: &ImageStore, name: &str) -> Vec<u8> {
    let digest = images.resolve(name).unwrap();
    let image = images.unpacked(&digest).await.unwrap();
    std::fs::read(image.layers[0].join("content")).unwrap()
}

#[expect(clippy::unnecessary_wraps, reason = "it is held against what was asked")]
fn range(from: usize) -> Option<String> {
    Some(format!("bytes={from}-"))
}

#[tokio::test]
async fn cut_again_and_again() {
    let Some(registry) = Registry::start() else { return };
    let (_, blob) = push_simple(&registry, "a", &noise(SIZE));
    let front = front(&registry, &blob, |_, _| Reply::Cut(150_000));
    let state = tempfile::tempdir().unwrap();
    let images = store(&state);
    let name = format!("{}/a", front.address);
    images.pull(&name, |_| {}).await.unwrap();
    assert_eq!(content(&images, &name).await, noise(SIZE));
    assert!(front.sent() <= SIZE * 105 / 100, "{}", front.sent());
    assert_eq!(front.ranges(&blob.to_string())[1..3], [range(150_000), range(300_000)]);
}

#[tokio::test]
async fn another_process_goes_on() {
    let Some(registry) = Registry::start() else { return };
    let (_, blob) = push_simple(&registry, "a", &noise(SIZE));
    let front = front(&registry, &blob, |_, before| match before {
        0 => Reply::Cut(700_000),
        1 => gone(),
        _ => Reply::Same,
    });
    let state = tempfile::tempdir().unwrap();
    let name = format!("{}/a", front.address);
    let images = store(&state);
    images.pull(&name, |_| {}).await.unwrap_err();
    drop(images);
    assert_eq!(std::fs::metadata(partial(state.path(), &blob)).unwrap().len(), 700_000);
    let images = store(&state);
    let progress: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let seen = progress.clone();
    images.pull(&name, move |p| seen.lock().unwrap().push(p)).await.unwrap();
    assert_eq!(content(&images, &name).await, noise(SIZE));
    assert_eq!(front.ranges(&blob.to_string())[2..], [range(700_000)]);
    let progress = progress.lock().unwrap();
    let first = &progress[0];
    assert_eq!((first.phase, first.done, first.resumed), (Phase::Waiting, 700_000, 700_000));
    assert_eq!(progress.last().unwrap().phase, Phase::Done);
    assert_eq!(files(&state.path().join("images/partial")), Vec::<String>::new());
}

#[tokio::test]
async fn a_torn_page_does_not_spoil_it() {
    let Some(registry) = Registry::start() else { return };
    let (_, blob) = push_simple(&registry, "a", &noise(SIZE));
    let front = front(&registry, &blob, |_, before| match before {
        0 => Reply::Cut(700_000),
        1 => gone(),
        _ => Reply::Same,
    });
    let state = tempfile::tempdir().unwrap();
    let name = format!("{}/a", front.address);
    let images = store(&state);
    images.pull(&name, |_| {}).await.unwrap_err();
    let file = std::fs::File::options().write(true).open(partial(state.path(), &blob)).unwrap();
    file.write_all_at(&[0; 4096], 300_000).unwrap();
    images.pull(&name, |_| {}).await.unwrap();
    assert_eq!(content(&images, &name).await, noise(SIZE));
    assert_eq!(front.ranges(&blob.to_string())[2..], [range(700_000), None]);
    // Nothing of the layer that was unpacked from the wrong bytes is left.
    assert_eq!(files(&state.path().join("layers")).len(), 2);
}

#[tokio::test]
async fn servers_that_cannot_go_on() {
    let Some(registry) = Registry::start() else { return };
    let (_, blob) = push_simple(&registry, "a", &noise(SIZE));
    let answers: [fn() -> Reply; 5] = [
        || Reply::Unranged,
        || Reply::Own("416 Range Not Satisfiable", "Content-Range: bytes */5\r\n".into(), vec![]),
        // Other content, by its name, its length and its place.
        || partial_content("700000-700009/2002432", "\"other\""),
        || partial_content("700000-700009/900000", "\"same\""),
        || partial_content("0-9/2002432", "\"same\""),
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        let front = front(&registry, &blob, move |_, before| match before {
            0 => Reply::Cut(700_000),
            1 => answer(),
            _ => Reply::Same,
        });
        let state = tempfile::tempdir().unwrap();
        let images = store(&state);
        let name = format!("{}/a", front.address);
        images.pull(&name, |_| {}).await.unwrap();
        assert_eq!(content(&images, &name).await, noise(SIZE), "{number}");
        let asked = front.ranges(&blob.to_string());
        assert_eq!(asked[..2], [None, range(700_000)], "{number}");
        // Without Range the second answer is all of it; else it is asked for all of it.
        assert_eq!(asked[2..], if number == 0 { vec![] } else { vec![None] }, "{number}");
    }
}

fn partial_content(range: &str, etag: &str) -> Reply {
    let fields = format!("Content-Range: bytes {range}\r\nETag: {etag}\r\n");
    Reply::Own("206 Partial Content", fields, vec![b'x'; 10])
}

#[tokio::test]
async fn a_page_of_somebody_in_between_costs_nothing() {
    let Some(registry) = Registry::start() else { return };
    let (_, blob) = push_simple(&registry, "a", &noise(SIZE));
    let front = front(&registry, &blob, |_, before| match before {
        0 => Reply::Cut(700_000),
        1 => Reply::Own("200 OK", String::new(), b"<html>Please log in".to_vec()),
        _ => Reply::Same,
    });
    let state = tempfile::tempdir().unwrap();
    let images = store(&state);
    let name = format!("{}/a", front.address);
    let error = images.pull(&name, |_| {}).await.unwrap_err().to_string();
    assert!(error.contains("size mismatch") && error.contains("there are 19"), "{error}");
    images.pull(&name, |_| {}).await.unwrap();
    assert_eq!(front.ranges(&blob.to_string())[2..], [range(700_000)]);
}

#[tokio::test]
async fn all_downloads_keep_to_the_limit() {
    let Some(registry) = Registry::start() else { return };
    push_simple(&registry, "a", &noise(SIZE));
    let state = tempfile::tempdir().unwrap();
    let options = Options { bandwidth: 1_000_000, ..Options::default() };
    let images = ImageStore::open(state.path(), options).unwrap();
    let begun = coracle::sys::uptime();
    images.pull(&format!("{}/a", registry.address), |_| {}).await.unwrap();
    let took = coracle::sys::uptime().saturating_sub(begun);
    assert!(took >= Duration::from_millis(1800), "{took:?}");
}

/// A pull in a process of its own; it says `done` and how much memory it had at most.
fn start(state: &Path, image: &str, bandwidth: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "resume::a_pull_in_a_process_of_its_own", "--nocapture", "--ignored"])
        .env(STATE, state)
        .env(IMAGE, image)
        .env(BANDWIDTH, bandwidth.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Its peak of memory in KiB.
fn finish(mut child: Child) -> usize {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success(), "{said:?}");
    let peak = said.iter().find_map(|line| line.split_once("done VmHWM:")).unwrap().1;
    peak.trim().strip_suffix("kB").unwrap().trim().parse().unwrap()
}

#[test]
#[ignore = "started by other tests"]
fn a_pull_in_a_process_of_its_own() {
    let Some(state) = std::env::var_os(STATE) else { return };
    let given = |name| std::env::var_os(name).unwrap().into_string().unwrap();
    let bandwidth = given(BANDWIDTH).parse().unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let options = Options { bandwidth, ..Options::default() };
        let images = ImageStore::open(Path::new(&state), options).unwrap();
        images.pull(&given(IMAGE), |_| {}).await.unwrap();
    });
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("done {}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap());
}

#[tokio::test]
async fn killed_again_and_again() {
    const LAYERS: usize = 3;
    const EACH: usize = 32 << 20;
    const KILLS: usize = 3;
    let Some(registry) = Registry::start() else { return };
    let noise = noise(LAYERS * EACH);
    let kind = "application/vnd.oci.image.layer.v1.tar";
    let layers: Vec<_> = noise
        .chunks(EACH)
        .enumerate()
        .map(|(number, noise)| {
            let layer = layer(&format!("content{number}"), noise);
            (kind, layer.clone(), layer)
        })
        .collect();
    push(&registry, "a", "latest", &Platform::host(), &layers);
    let front = Front::start("127.0.0.1", &registry.address, |_, _| Reply::Same);
    let state = tempfile::tempdir().unwrap();
    let name = format!("{}/a", front.address);
    for kill in 1..=KILLS {
        let mut child = start(state.path(), &name, 32 << 20);
        front.wait_sent(LAYERS * EACH * kill / (KILLS + 1));
        child.kill().unwrap();
        child.wait().unwrap();
        // A process that was killed named nothing that is not whole.
        for blob in files(&state.path().join("images/blobs/sha256")) {
            let bytes =
                std::fs::read(state.path().join("images/blobs/sha256").join(&blob)).unwrap();
            assert_eq!(Digest::of(&bytes).hex(), blob);
        }
    }
    finish(start(state.path(), &name, 0));
    let images = store(&state);
    let digest = images.resolve(&name).unwrap();
    let image = images.unpacked(&digest).await.unwrap();
    for (number, expected) in noise.chunks(EACH).enumerate() {
        let path = image.layers[LAYERS - 1 - number].join(format!("content{number}"));
        assert!(std::fs::read(path).unwrap() == expected);
    }
    // Lost is only what was on its way in the sockets of three connections.
    assert!(front.sent() <= LAYERS * EACH * 11 / 10, "{}", front.sent());
    let left: Vec<_> = files(&state.path().join("layers"));
    assert_eq!(left.iter().filter(|name| name.starts_with('.')).count(), 0, "{left:?}");
    assert_eq!(files(&state.path().join("images/partial")), Vec::<String>::new());
}

#[test]
fn memory_does_not_grow_with_the_layer() {
    let Some(registry) = Registry::start() else { return };
    push_simple(&registry, "a", &noise(64 << 20));
    let state = tempfile::tempdir().unwrap();
    let peak = finish(start(state.path(), &format!("{}/a", registry.address), 0));
    println!("peak {peak} KiB");
    assert!(peak < 20 << 10, "{peak} KiB");
}

/// A file system of a size, unmounted when dropped.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(mebibytes: u32) -> Option<Self> {
        let small = Self(tempfile::tempdir().unwrap());
        small.set(&format!("size={mebibytes}m")).then_some(small)
    }

    fn set(&self, options: &str) -> bool {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(self.0.path())
            .status()
            .unwrap()
            .success();
        if !mounted {
            println!("skipped: no file system can be mounted here");
        }
        mounted
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_keeps_what_resumes() {
    let Some(registry) = Registry::start() else { return };
    let Some(small) = Small::mount(5) else { return };
    let (_, fits) = push_simple(&registry, "fits", &noise(3 << 20));
    let (_, large) = push_simple(&registry, "large", &noise(8 << 20));
    let front = Front::start("127.0.0.1", &registry.address, |_, _| Reply::Same);
    let state = small.0.path();
    let images = ImageStore::open(state, Options::default()).unwrap();

    // The blob alone is too large: nobody need be asked for it.
    let name = format!("{}/large", front.address);
    let error = images.pull(&name, |_| {}).await.unwrap_err().to_string();
    let expected = "CannotPullContainerError: failed to register layer: no space left on device: ";
    assert!(error.starts_with(expected) && error.contains("bytes are needed"), "{error}");
    assert_eq!(front.asked(&large.to_string()).len(), 0);

    // The blob has room, what is in it has not.
    let name = format!("{}/fits", front.address);
    let error = images.pull(&name, |_| {}).await.unwrap_err().to_string();
    assert!(error.starts_with(expected), "{error}");
    assert_eq!(images.resolve(&name), None);
    assert_eq!(files(&state.join("layers")), ["store.lock"]);
    // How far the download comes before it hears of the failure is not decided here: what it had written by now is not
    // asked for again.
    let kept = std::fs::metadata(partial(state, &fits)).map_or(0, |found| found.len());
    assert!(small.set("remount,size=32m"));
    images.pull(&name, |_| {}).await.unwrap();
    assert_eq!(content(&images, &name).await, noise(3 << 20));
    match &front.ranges(&fits.to_string())[..] {
        [None] => {}
        [None, None] if kept == 0 => {}
        [None, Some(range)] => {
            let from: u64 =
                range.strip_prefix("bytes=").unwrap().trim_end_matches('-').parse().unwrap();
            assert!(from >= kept.max(1), "{kept} were there, and from {from} it went on");
        }
        others => panic!("{others:?}"),
    }
}

#[tokio::test]
async fn a_registry_that_goes_away_is_given_up_and_what_came_is_kept() {
    let Some(registry) = Registry::start() else { return };
    let (manifest, blob) = push_simple(&registry, "a", &noise(SIZE));
    let away = Arc::new(AtomicBool::new(true));
    let is_away = away.clone();
    let front = front(&registry, &blob, move |_, before| match before {
        0 => Reply::Cut(700_000),
        _ if is_away.load(Ordering::SeqCst) => {
            Reply::Own("503 Service Unavailable", "Retry-After: 0\r\n".into(), vec![])
        }
        _ => Reply::Same,
    });
    let state = tempfile::tempdir().unwrap();
    let images = store(&state);
    let name = format!("{}/a", front.address);
    let error = images.pull(&name, |_| {}).await.unwrap_err().to_string();
    assert!(error.contains("answers 503"), "{error}");
    away.store(false, Ordering::SeqCst);
    assert_eq!(images.pull(&name, |_| {}).await.unwrap().as_str(), manifest.to_string());
    assert_eq!(front.ranges(&blob.to_string()).last(), Some(&range(700_000)));
}
