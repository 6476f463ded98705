//! The image store from outside: the built-in image, recipes, archives.

use coracle::image::{ImageError, ImageStore, Options, recipe};
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
