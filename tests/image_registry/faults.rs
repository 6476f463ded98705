//! Registries and networks that misbehave.

use crate::content::store;
use crate::front::{Front, Reply};
use crate::images::{noise, push_simple};
use crate::registry::Registry;
use coracle::image::{ImageStore, Options};
use std::path::Path;

pub(crate) fn files(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

async fn refusal(images: &ImageStore, name: &str) -> String {
    let error = images.pull(name, |_| {}).await.unwrap_err().to_string();
    assert!(error.starts_with("CannotPullContainerError: "), "{error}");
    assert_eq!(images.resolve(name), None);
    error
}

#[tokio::test]
async fn what_does_not_exist() {
    let Some(registry) = Registry::start() else { return };
    push_simple(&registry, "a", b"x");
    let state = tempfile::tempdir().unwrap();
    let images = store(&state);
    for name in ["a:2", "b"] {
        let name = format!("{}/{name}", registry.address);
        let error = refusal(&images, &name).await;
        assert!(error.contains("not found: manifest unknown"), "{error}");
    }
    let error = refusal(&images, "registry.invalid/a").await;
    assert!(error.contains("lookup registry.invalid: no such host"), "{error}");
    assert!(
        images
            .pull("Not A Name", |_| {})
            .await
            .unwrap_err()
            .to_string()
            .contains("invalid reference format")
    );
}

#[tokio::test]
async fn a_corrupted_blob_is_refused() {
    let Some(registry) = Registry::start() else { return };
    let (_, blob) = push_simple(&registry, "a", &noise(300_000));
    let layer = blob.to_string();
    let front = Front::start("127.0.0.1", &registry.address, move |request, _| {
        if request.path.ends_with(&layer) {
            return Reply::Changed(|body| body[150_000] ^= 1);
        }
        Reply::Same
    });
    let state = tempfile::tempdir().unwrap();
    let images = store(&state);
    let error = refusal(&images, &format!("{}/a", front.address)).await;
    assert!(error.contains(&format!("digest mismatch: expected {blob}")), "{error}");
    assert!(!files(&state.path().join("images/blobs/sha256")).contains(&blob.hex()));
    for left in ["images/tmp", "images/partial"] {
        assert_eq!(files(&state.path().join(left)), Vec::<String>::new());
    }
    assert_eq!(files(&state.path().join("layers")), ["store.lock"]);
}

#[tokio::test]
async fn a_corrupted_manifest_is_refused() {
    let Some(registry) = Registry::start() else { return };
    let (manifest, _) = push_simple(&registry, "a", b"x");
    let front = Front::start("127.0.0.1", &registry.address, |request, _| {
        if request.path.contains("/manifests/") {
            return Reply::Changed(|body| {
                let at = body.iter().position(|b| *b == b',').unwrap();
                body.splice(at..=at, *b" ");
                body.insert(at, b',');
                body.pop();
            });
        }
        Reply::Same
    });
    let state = tempfile::tempdir().unwrap();
    let images = store(&state);
    for name in [format!("{}/a", front.address), format!("{}/a@{manifest}", front.address)] {
        let error = refusal(&images, &name).await;
        assert!(error.contains(&format!("digest mismatch: expected {manifest}")), "{error}");
    }
}

#[tokio::test]
async fn a_cut_download_goes_on_where_it_was() {
    let Some(registry) = Registry::start() else { return };
    let (manifest, blob) = push_simple(&registry, "a", &noise(2_000_000));
    let layer = blob.to_string();
    let front = Front::start("127.0.0.1", &registry.address, move |request, before| match before {
        0 | 1 if request.path.ends_with(&layer) => Reply::Cut(700_000),
        _ => Reply::Same,
    });
    let state = tempfile::tempdir().unwrap();
    let digest = store(&state).pull(&format!("{}/a", front.address), |_| {}).await.unwrap();
    assert_eq!(digest.as_str(), manifest.to_string());
    let ranges: Vec<_> = front.asked(&blob.to_string()).iter().map(|r| r.header("range")).collect();
    assert_eq!(ranges.len(), 3);
    assert_eq!(ranges[0], None);
    assert_eq!(ranges[1..], [Some("bytes=700000-".to_owned()), Some("bytes=1400000-".to_owned())]);
}

#[tokio::test]
async fn a_busy_registry_is_asked_again() {
    let Some(registry) = Registry::start() else { return };
    let (manifest, _) = push_simple(&registry, "a", b"x");
    let front = Front::start("127.0.0.1", &registry.address, |_, before| match before {
        0 => Reply::Own("503 Service Unavailable", "Retry-After: 0\r\n".to_owned(), Vec::new()),
        _ => Reply::Same,
    });
    let state = tempfile::tempdir().unwrap();
    let digest = store(&state).pull(&format!("{}/a", front.address), |_| {}).await.unwrap();
    assert_eq!(digest.as_str(), manifest.to_string());
}

#[tokio::test]
async fn documents_that_are_too_large_or_of_another_kind() {
    let large = Front::start("127.0.0.1", "", |request, _| match request.path.rsplit('/').next() {
        Some("large") => Reply::Own("200 OK", String::new(), vec![b' '; 5 << 20]),
        Some("old") => Reply::Own("200 OK", String::new(), br#"{"schemaVersion": 1}"#.to_vec()),
        Some("page") => Reply::Own("200 OK", String::new(), b"<html>".to_vec()),
        Some("loop") => {
            Reply::Own("302 Found", format!("Location: {}\r\n", request.path), Vec::new())
        }
        _ => Reply::Own(
            "418 Teapot",
            String::new(),
            br#"{"errors":[{"code":"X","message":"no\u001bcoffee"}]}"#.to_vec(),
        ),
    });
    let state = tempfile::tempdir().unwrap();
    let images = store(&state);
    for (tag, expected) in [
        ("large", "sends more than 4194304 bytes"),
        ("old", "retired schema version 1"),
        ("page", "not an image manifest"),
        ("loop", "redirects too often"),
        ("other", "answers 418: nocoffee"),
    ] {
        let error = refusal(&images, &format!("{}/a:{tag}", large.address)).await;
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_dead_mirror_is_passed_over() {
    let Some(registry) = Registry::start() else { return };
    let (manifest, _) = push_simple(&registry, "a", b"x");
    let state = tempfile::tempdir().unwrap();
    let mirror = Front::start("127.0.0.1", "", |_, _| {
        Reply::Own("404 Not Found", String::new(), Vec::new())
    });
    let mirrors = [(registry.address.clone(), vec![mirror.address.clone()])].into();
    let options = Options { mirrors, ..Options::default() };
    let images = ImageStore::open(state.path(), options).unwrap();
    let name = format!("{}/a", registry.address);
    assert_eq!(images.pull(&name, |_| {}).await.unwrap().as_str(), manifest.to_string());
    assert_eq!(mirror.asked("/v2/a/manifests/latest").len(), 1);
    assert!(images.resolve(&name).is_some());
}
