//! The images directory, without an agent.

use super::{layout, open, save};
use coracle::image::ImageStore;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tokio::task::JoinHandle;

/// A box with an images directory; its images' registry is nowhere.
struct Box {
    work: tempfile::TempDir,
}

impl Box {
    fn new() -> Self {
        let work = tempfile::tempdir().unwrap();
        fs::create_dir(work.path().join("images.d")).unwrap();
        Self { work }
    }

    fn directory(&self) -> PathBuf {
        self.work.path().join("images.d")
    }

    fn state(&self) -> PathBuf {
        self.work.path().join("state")
    }

    /// A life of the agent's store; it keeps the directory until the task is aborted.
    fn live(&self) -> (ImageStore, JoinHandle<()>) {
        let store = open(&self.state());
        store.use_directory(self.directory());
        let kept = store.clone();
        (store, tokio::spawn(async move { kept.keep_directory().await }))
    }

    fn record(&self) -> Value {
        let record = fs::read(self.state().join("images/directory.json")).unwrap();
        serde_json::from_slice(&record).unwrap()
    }

    /// An archive with the image `example.org/NAME:1`.
    async fn archive(&self, name: &str) -> Vec<u8> {
        let store = open(&self.work.path().join(format!("{name}.store")));
        store.load(&layout(self.work.path(), name, name)).await.unwrap();
        save(&store, &[&format!("example.org/{name}:1")]).await
    }
}

async fn end((store, kept): (ImageStore, JoinHandle<()>)) {
    kept.abort();
    let _ = kept.await;
    drop(store);
}

/// Writes over a file so that it looks as it did.
fn overwrite(path: &Path, content: &[u8]) {
    let before = fs::metadata(path).unwrap().modified().unwrap();
    fs::write(path, content).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_modified(before).unwrap();
}

#[tokio::test]
async fn archives_and_layouts_are_loaded_once() {
    let host = Box::new();
    let directory = host.directory();
    let plain = host.archive("plain").await;
    fs::write(directory.join("a.tar"), &plain).unwrap();
    for (name, program, ending) in [("gz", "gzip", "gz"), ("zst", "zstd", "zst")] {
        let file = directory.join(format!("{name}.tar"));
        fs::write(&file, host.archive(name).await).unwrap();
        assert!(Command::new(program).args(["-q"]).arg(&file).status().unwrap().success());
        // Some leave the file that they pack.
        let _ = fs::remove_file(&file);
        assert!(directory.join(format!("{name}.tar.{ending}")).exists());
    }
    layout(host.work.path(), "folder", "folder");
    fs::rename(host.work.path().join("folder"), directory.join("folder")).unwrap();
    fs::write(directory.join("README"), "not an archive").unwrap();
    fs::write(directory.join("bad.tar"), &plain[..3_000]).unwrap();
    // Kept from an earlier life, of which a crash left the half.
    drop(open(&host.state()));
    fs::create_dir(host.state().join("images/tmp/half")).unwrap();

    let life = host.live();
    for name in ["plain", "gz", "zst", "folder"] {
        let name = format!("example.org/{name}:1");
        let digest = life.0.pull(&name, |_| {}).await.unwrap();
        assert_eq!(life.0.resolve(&name), Some(digest));
    }
    // The damaged one stands between `a.tar` and the others, so it is settled by now.
    let record = host.record();
    assert!(record["bad.tar"]["refused"].is_string(), "{record}");
    assert_eq!(record["a.tar"]["images"][0], "example.org/plain:1");
    assert!(record.get("README").is_none());
    assert_eq!(fs::read_dir(host.state().join("images/tmp")).unwrap().count(), 0);
    end(life).await;

    // What has not changed is not read: here it would be refused.
    overwrite(&directory.join("a.tar"), &vec![b'x'; plain.len()]);
    let life = host.live();
    assert!(life.0.pull("example.org/plain:1", |_| {}).await.is_ok());
    assert!(life.0.pull("example.org/folder:1", |_| {}).await.is_ok());
    assert_eq!(host.record(), record);
    end(life).await;

    // An image that was removed since is loaded again.
    overwrite(&directory.join("a.tar"), &plain);
    fs::remove_file(host.state().join("images/index.json")).unwrap();
    let life = host.live();
    assert_eq!(life.0.resolve("example.org/plain:1"), None);
    assert!(life.0.pull("example.org/plain:1", |_| {}).await.is_ok());

    // What comes later is seen at the next look, and what is mended.
    fs::write(directory.join("late.tar"), host.archive("late").await).unwrap();
    fs::write(directory.join("bad.tar"), host.archive("mended").await).unwrap();
    fs::remove_file(directory.join("a.tar")).unwrap();
    life.0.look_into_directory();
    assert!(life.0.pull("example.org/late:1", |_| {}).await.is_ok());
    assert!(life.0.pull("example.org/mended:1", |_| {}).await.is_ok());
    // An image stays when its archive goes.
    assert!(life.0.resolve("example.org/plain:1").is_some());
    assert!(host.record().get("a.tar").is_none());
    end(life).await;
}

#[tokio::test]
async fn a_pull_waits_for_the_archive_and_for_no_other() {
    let host = Box::new();
    fs::write(host.directory().join("a.tar"), host.archive("a").await).unwrap();
    let store = open(&host.state());
    store.use_directory(host.directory());
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { store.pull("example.org/a:1", |_| {}).await })
    };
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    let kept = store.clone();
    let kept = tokio::spawn(async move { kept.keep_directory().await });
    let digest = waiting.await.unwrap().unwrap();
    // By its digest as well; and what no archive has is asked of its registry.
    let pinned = format!("example.org/a@{digest}");
    assert_eq!(store.pull(&pinned, |_| {}).await.unwrap(), digest);
    let elsewhere = store.pull("127.0.0.1:1/none", |_| {}).await.unwrap_err().to_string();
    assert!(elsewhere.contains("127.0.0.1:1"), "{elsewhere}");
    end((store, kept)).await;
}
