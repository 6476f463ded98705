//! What is pulled: tags, digests, platforms, compressions.

use crate::front::{Front, Reply};
use crate::images::{OCI_INDEX, gzip, layer, push, push_simple, zstd};
use crate::registry::Registry;
use coracle::image::manifest::Platform;
use coracle::image::{ImageStore, Options, Overall, Phase, Progress};
use serde_json::json;
use std::sync::{Arc, Mutex};

pub(crate) fn store(state: &tempfile::TempDir) -> ImageStore {
    ImageStore::open(state.path(), Options::default()).unwrap()
}

#[tokio::test]
async fn layers_of_every_compression_by_tag_and_digest() {
    let Some(registry) = Registry::start() else { return };
    let plain = [layer("a", b"one"), layer("b", b"two"), layer("c", b"three")];
    let (manifest, _) = push(
        &registry,
        "a/b",
        "1.0",
        &Platform::host(),
        &[
            ("application/vnd.oci.image.layer.v1.tar", plain[0].clone(), plain[0].clone()),
            (
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
                gzip(&plain[1]),
                plain[1].clone(),
            ),
            ("application/vnd.oci.image.layer.v1.tar+zstd", zstd(&plain[2]), plain[2].clone()),
        ],
    );
    let state = tempfile::tempdir().unwrap();
    let images = store(&state);
    let progress: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let seen = progress.clone();
    let name = format!("{}/a/b:1.0", registry.address);
    let digest = images.pull(&name, move |p| seen.lock().unwrap().push(p)).await.unwrap();
    assert_eq!(digest.as_str(), manifest.to_string());
    let mut overall = Overall::default();
    let progress = std::mem::take(&mut *progress.lock().unwrap());
    assert!(progress[..3].iter().all(|p| p.phase == Phase::Waiting && p.done == 0));
    for layer in progress {
        overall.take(layer);
    }
    assert_eq!((overall.percent(), overall.layers()), (100, (3, 3)));
    assert_eq!(images.resolve(&name), Some(digest.clone()));
    assert_eq!(images.names().get(&name), Some(&digest));

    let image = images.unpacked(&digest).await.unwrap();
    let contents: Vec<String> = ["c", "b", "a"]
        .iter()
        .zip(&image.layers)
        .map(|(name, layer)| std::fs::read_to_string(layer.join(name)).unwrap())
        .collect();
    assert_eq!(contents, ["three", "two", "one"]);
    assert_eq!(
        (image.config.cmd, image.config.env),
        (vec!["/run".to_owned()], vec!["A=b".to_owned()])
    );

    let pinned = format!("{}/a/b@{digest}", registry.address);
    assert_eq!(images.pull(&pinned, |_| {}).await.unwrap(), digest);
    // What a digest names is here for good; the registry is not needed any more.
    drop(registry);
    assert_eq!(images.pull(&pinned, |_| {}).await.unwrap(), digest);
    let error = images.pull(&name, |_| {}).await.unwrap_err().to_string();
    assert!(
        error.starts_with("CannotPullContainerError: ") && error.contains("dial 127.0.0.1:"),
        "{error}"
    );
}

#[tokio::test]
async fn the_platform_of_this_box_is_chosen() {
    let Some(registry) = Registry::start() else { return };
    let kind = "application/vnd.oci.image.layer.v1.tar";
    let other =
        Platform { os: "linux".to_owned(), architecture: "riscv64".to_owned(), variant: None };
    let (ours, foreign) = (layer("x", b"ours"), layer("x", b"foreign"));
    let (ours, ours_size) =
        push(&registry, "multi", "ours", &Platform::host(), &[(kind, ours.clone(), ours)]);
    let (foreign, foreign_size) =
        push(&registry, "multi", "foreign", &other, &[(kind, foreign.clone(), foreign)]);
    let entry = |digest: &dyn ToString, size: usize, platform: &Platform| json!({"mediaType": crate::images::OCI_MANIFEST, "digest": digest.to_string(), "size": size, "platform": platform});
    let foreign = entry(&foreign, foreign_size, &other);
    let index = |manifests: &[serde_json::Value]| {
        json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).to_string()
    };
    let both = index(&[foreign.clone(), entry(&ours, ours_size, &Platform::host())]);
    registry.push_manifest("multi", "both", OCI_INDEX, both.as_bytes());
    registry.push_manifest("multi", "none", OCI_INDEX, index(&[foreign]).as_bytes());

    let state = tempfile::tempdir().unwrap();
    let images = store(&state);
    let repository = format!("{}/multi", registry.address);
    let digest = images.pull(&format!("{repository}:both"), |_| {}).await.unwrap();
    assert_eq!(digest.as_str(), ours.to_string());
    // The index's digest names the same image.
    let by_index = format!("{repository}@{}", coracle::image::digest::Digest::of(both.as_bytes()));
    assert_eq!(images.resolve(&by_index), Some(digest));

    for (tag, expected) in [
        ("none", "in the manifest list entries; it has: linux/riscv64"),
        ("foreign", "the image is for linux/riscv64 and does not run on this box"),
    ] {
        let error =
            images.pull(&format!("{repository}:{tag}"), |_| {}).await.unwrap_err().to_string();
        assert!(error.starts_with("CannotPullContainerError: "), "{error}");
        assert!(error.contains(expected), "{error}");
        assert_eq!(images.resolve(&format!("{repository}:{tag}")), None);
    }
}

#[tokio::test]
async fn many_waiters_are_one_download() {
    let Some(registry) = Registry::start() else { return };
    let (manifest, blob) = push_simple(&registry, "shared", &crate::images::noise(1 << 20));
    let front = Front::start("127.0.0.1", &registry.address, |_, _| Reply::Same);
    let state = tempfile::tempdir().unwrap();
    let images = store(&state);
    let name = format!("{}/shared", front.address);
    let mut waiters = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (images, name) = (images.clone(), name.clone());
        waiters.spawn(async move { images.pull(&name, |_| {}).await.unwrap() });
    }
    for digest in waiters.join_all().await {
        assert_eq!(digest.as_str(), manifest.to_string());
    }
    assert_eq!(front.asked(&blob.to_string()).len(), 1);
}

#[tokio::test]
async fn what_the_disk_damaged_is_brought_again() {
    let Some(registry) = Registry::start() else { return };
    let (manifest, layer) = push_simple(&registry, "a", b"content");
    let state = tempfile::tempdir().unwrap();
    let images = store(&state);
    let pinned = format!("{}/a@{manifest}", registry.address);
    let digest = images.pull(&pinned, |_| {}).await.unwrap();
    let blobs = state.path().join("images/blobs/sha256");
    let damage = |name: &str| {
        let path = blobs.join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    };
    // A layer's damage shows when it is unpacked again; the next pull mends it.
    damage(&layer.hex());
    assert!(images.unpacked(&digest).await.is_ok());
    std::fs::remove_dir_all(&images.unpacked(&digest).await.unwrap().layers[0]).unwrap();
    let error = images.unpacked(&digest).await.unwrap_err().to_string();
    assert!(error.contains(&format!("digest mismatch: expected {layer}")), "{error}");
    assert_eq!(images.pull(&pinned, |_| {}).await.unwrap(), digest);
    assert!(images.unpacked(&digest).await.is_ok());
    // Manifest and configuration are read each time.
    for entry in std::fs::read_dir(&blobs).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name != layer.hex() {
            damage(&name);
            assert!(images.unpacked(&digest).await.is_err());
            assert_eq!(images.pull(&pinned, |_| {}).await.unwrap(), digest);
            assert!(images.unpacked(&digest).await.is_ok());
        }
    }
}
