//! The image store from outside: the built-in image, recipes, archives.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use coracle::image::digest::Digest;
use coracle::image::manifest::Platform;
use coracle::image::recipe::{self, RecipeError};
use coracle::image::{ImageError, ImageStore, Options};
use serde_json::json;
use std::path::Path;
use std::process::Command;

fn open(state: &Path) -> ImageStore {
    ImageStore::open(state, Options::default()).unwrap()
}

#[tokio::test]
async fn the_built_in_image_is_served_under_all_its_names() {
    let state = tempfile::tempdir().unwrap();
    let store = open(state.path());
    let digest = store.pull("coracle/hello", |_| {}).await.unwrap();
    for name in [
        "coracle/hello".to_owned(),
        "coracle/hello:latest".to_owned(),
        "docker.io/coracle/hello:latest".to_owned(),
        format!("coracle/hello@{digest}"),
    ] {
        assert_eq!(store.resolve(&name), Some(digest.clone()), "{name}");
        assert_eq!(store.names().get(&name), Some(&digest), "{name}");
    }
    assert_eq!(store.resolve("coracle/other"), None);
    let listed = store.list().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].name, "docker.io/coracle/hello:latest");

    let image = store.unpacked(&digest).await.unwrap();
    assert_eq!(image.config.entrypoint, ["/bin/hello"]);
    let program = image.layers[0].join("bin/hello");
    let output = Command::new(program).arg("you").env("EXIT_CODE", "42").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("Hello from Coracle!\nhostname: "), "{said}");
    assert!(said.ends_with("arguments: you\n"), "{said}");
    assert_eq!(output.status.code(), Some(42));
    // A second time finds the same directory.
    assert_eq!(store.unpacked(&digest).await.unwrap(), image);
}

#[tokio::test]
async fn an_unknown_image_is_absent() {
    let state = tempfile::tempdir().unwrap();
    let store = open(state.path());
    let digest = coracle::image::digest::Digest::of(b"nothing").into();
    assert!(matches!(store.unpacked(&digest).await, Err(ImageError::Absent(_))));
}

#[tokio::test]
async fn a_recipe_is_built_reproducibly_and_loaded() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("tiny");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("motd"), "welcome").unwrap();
    std::fs::write(
        folder.join("recipe.json"),
        r#"{"cmd": ["sh"], "user": "7", "files": [{"path": "/etc/motd", "source": "motd", "mode": "0640"}],
            "links": {"/etc/issue": "motd"}, "directories": [{"path": "/tmp", "mode": "1777"}]}"#,
    )
    .unwrap();
    let one = recipe::build(&folder, &work.path().join("one")).unwrap();
    let two = recipe::build(&folder, &work.path().join("two")).unwrap();
    assert_eq!(one, two);
    assert_eq!(one.name, "docker.io/coracle/tiny:latest");

    let state = tempfile::tempdir().unwrap();
    let store = open(state.path());
    let loaded = store.load(&work.path().join("one")).await.unwrap();
    assert_eq!(loaded.len(), 1);
    assert_eq!(loaded[0].0, one.name);
    // Another handle on the same directory sees it at once.
    let digest = open(state.path()).resolve("coracle/tiny").unwrap();
    let image = store.unpacked(&digest).await.unwrap();
    assert_eq!((image.config.cmd, image.config.user), (vec!["sh".to_owned()], "7".to_owned()));
    assert_eq!(std::fs::read_to_string(image.layers[0].join("etc/issue")).unwrap(), "welcome");

    // The same as a compressed tar file.
    let archive = work.path().join("tiny.tar");
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(work.path().join("two")).arg("-czf").arg(&archive).arg(".");
    assert!(tar.status().unwrap().success());
    let state = tempfile::tempdir().unwrap();
    let store = open(state.path());
    assert_eq!(store.load(&archive).await.unwrap(), vec![(one.name, digest.clone())]);
    assert!(store.unpacked(&digest).await.is_ok());
    assert_eq!(std::fs::read_dir(state.path().join("images/tmp")).unwrap().count(), 0);
}

/// A layer with one file, and the digest of it.
fn one_file(name: &str, content: &str) -> (Vec<u8>, Digest) {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    builder.append_data(&mut header, name, content.as_bytes()).unwrap();
    let layer = builder.into_inner().unwrap();
    let digest = Digest::of(&layer);
    (layer, digest)
}

/// An archive as older `docker save` writes it: two tags, equal layers linked.
fn docker_archive(path: &Path, architecture: &str, diff_ids: &[Digest], layer: &[u8]) {
    let mut builder = tar::Builder::new(std::fs::File::create(path).unwrap());
    let mut add = |name: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, content).unwrap();
    };
    let config = json!({"os": "linux", "architecture": architecture, "config": {"Cmd": ["x"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let manifest = json!([{"Config": "c.json", "RepoTags": ["team/app:1", "host.example:5000/app:2"],
        "Layers": ["one/layer.tar", "two/layer.tar"]}]);
    add("one/layer.tar", layer);
    add("c.json", config.to_string().as_bytes());
    add("manifest.json", manifest.to_string().as_bytes());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "two/layer.tar", "../one/layer.tar").unwrap();
    builder.finish().unwrap();
}

#[tokio::test]
async fn docker_archives_are_loaded() {
    let work = tempfile::tempdir().unwrap();
    let archive = work.path().join("app.tar");
    let host = Platform::host().architecture;
    let (layer, digest) = one_file("f", "content");
    docker_archive(&archive, &host, &[digest, digest], &layer);
    let store = open(work.path());
    let loaded = store.load(&archive).await.unwrap();
    let names: Vec<&str> = loaded.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["docker.io/team/app:1", "host.example:5000/app:2"]);
    let image = store.unpacked(&store.resolve("team/app:1").unwrap()).await.unwrap();
    assert_eq!(image.layers.len(), 2);
    assert_eq!(std::fs::read_to_string(image.layers[0].join("f")).unwrap(), "content");

    // A damaged image is left out of the list; the others stay.
    assert_eq!(store.list().unwrap().len(), 3);
    let blob = work.path().join("images/blobs/sha256").join(loaded[0].1.hex());
    let manifest = std::fs::read(&blob).unwrap();
    std::fs::write(&blob, "damaged").unwrap();
    assert_eq!(store.list().unwrap().len(), 1);
    assert!(
        store.unpacked(&loaded[0].1).await.unwrap_err().to_string().contains("digest mismatch")
    );
    std::fs::write(&blob, manifest).unwrap();

    // The same name again, for another image: the name moves on.
    let (layer, digest) = one_file("f", "newer");
    docker_archive(&archive, &host, &[digest, digest], &layer);
    store.load(&archive).await.unwrap();
    let image = store.unpacked(&store.resolve("team/app:1").unwrap()).await.unwrap();
    assert_eq!(std::fs::read_to_string(image.layers[0].join("f")).unwrap(), "newer");
}

#[tokio::test]
async fn archives_that_lie_are_refused() {
    let work = tempfile::tempdir().unwrap();
    let archive = work.path().join("app.tar");
    let host = Platform::host().architecture;
    let store = open(work.path());
    let (layer, digest) = one_file("f", "content");

    docker_archive(&archive, "riscv64", &[digest, digest], &layer);
    let error = store.load(&archive).await.unwrap_err().to_string();
    assert!(error.contains("is for linux/riscv64 and does not run on this box"), "{error}");
    docker_archive(&archive, &host, &[digest], &layer);
    let error = store.load(&archive).await.unwrap_err().to_string();
    assert!(error.contains("lists 1 layers, its manifest 2"), "{error}");
    std::fs::write(&archive, b"not an archive").unwrap();
    assert!(store.load(&archive).await.is_err());
    assert!(store.load(&work.path().join("absent")).await.is_err());
    std::fs::create_dir(work.path().join("empty")).unwrap();
    let error = store.load(&work.path().join("empty")).await.unwrap_err().to_string();
    assert!(error.contains("neither an OCI layout nor a docker archive"), "{error}");

    // Docker archives name layers by content that only unpacking can check.
    docker_archive(&archive, &host, &[Digest::of(b"other"), digest], &layer);
    let (_, image) = store.load(&archive).await.unwrap().remove(0);
    let error = store.unpacked(&image).await.unwrap_err().to_string();
    assert!(error.contains("digest mismatch"), "{error}");
    // Nothing half-done stays behind.
    for directory in ["images/tmp", "layers"] {
        let entries = std::fs::read_dir(work.path().join(directory)).unwrap();
        let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| name == "store.lock"), "{names:?}");
    }
}

#[tokio::test]
async fn an_archive_without_names_is_known_by_its_digest() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("tiny");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("recipe.json"), r#"{"cmd": ["sh"]}"#).unwrap();
    let out = work.path().join("out");
    let built = recipe::build(&folder, &out).unwrap();
    let index = out.join("index.json");
    let text = std::fs::read_to_string(&index).unwrap();
    for (annotation, name) in [
        (r#""org.opencontainers.image.ref.name":"2.0""#, "docker.io/library/out:2.0"),
        (r#""other":"x""#, &built.manifest.to_string()),
    ] {
        let mine = r#""org.opencontainers.image.ref.name":"docker.io/coracle/tiny:latest""#;
        std::fs::write(&index, text.replace(mine, annotation)).unwrap();
        let state = tempfile::tempdir().unwrap();
        let store = open(state.path());
        let loaded = store.load(&out).await.unwrap();
        assert_eq!(loaded, [(name.to_owned(), built.manifest.into())]);
        if name.starts_with("sha256:") {
            assert_eq!(store.pull(name, |_| {}).await.unwrap(), built.manifest.into());
        }
        assert_eq!(store.resolve(name), Some(built.manifest.into()));
        assert!(store.names().contains_key(name));
    }
}

#[test]
fn what_a_crash_left_is_removed_by_the_only_user() {
    let state = tempfile::tempdir().unwrap();
    drop(open(state.path()));
    let leftovers =
        [state.path().join("images/tmp/half"), state.path().join("layers/.new-half/root/deep")];
    let make = || {
        std::fs::write(&leftovers[0], "half").unwrap();
        std::fs::create_dir_all(&leftovers[1]).unwrap();
    };
    make();
    let first = open(state.path());
    assert!(leftovers.iter().all(|path| !path.exists()));
    // With another user of the store it may be work in progress.
    make();
    let second = open(state.path());
    assert!(leftovers.iter().all(|path| path.exists()));
    drop((first, second));
}

#[tokio::test]
async fn the_busybox_recipe() {
    let work = tempfile::tempdir().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("images/busybox");
    let out = work.path().join("busybox");
    match recipe::build(&folder, &out) {
        Ok(_) => {}
        Err(RecipeError::Command { command, reason }) => {
            println!("skipped: {command} cannot fetch Debian packages here: {reason}");
            return;
        }
        Err(error) => panic!("{error}"),
    }
    let store = open(work.path());
    let (_, digest) = store.load(&out).await.unwrap().remove(0);
    let image = store.unpacked(&digest).await.unwrap();
    let script = "chroot \"$1\" /bin/sh -c 'echo $(id -un) $(ls /usr/bin/env) | tr a-z A-Z'";
    let output =
        Command::new("sh").args(["-c", script, "sh"]).arg(&image.layers[0]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ROOT /USR/BIN/ENV\n", "{output:?}");
}
