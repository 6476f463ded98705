//! What others write and read.

use super::{layout, open, save};
use serde_json::Value;
use std::fs;
use std::process::Command;

/// Runs another tool; what it says.
fn tool(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {out}{err}");
    out.into_owned()
}

fn is_there(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success());
    if !there {
        println!("skipped: {program} is not installed");
    }
    there
}

#[tokio::test]
async fn skopeo_takes_what_is_saved_and_gives_what_is_loaded() {
    if !is_there("skopeo") {
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let store = open(&work.path().join("state"));
    for name in ["one", "two"] {
        store.load(&layout(work.path(), name, "content")).await.unwrap();
    }
    let archive = work.path().join("a.tar");
    fs::write(&archive, save(&store, &["example.org/one:1", "example.org/two:1"]).await).unwrap();
    let archive = archive.to_str().unwrap();
    let expected = store.resolve("example.org/one:1").unwrap();
    for transport in ["oci-archive", "docker-archive"] {
        let source = format!("{transport}:{archive}:example.org/one:1");
        let inspected: Value =
            serde_json::from_str(&tool("skopeo", &["inspect", &source])).unwrap();
        if transport == "oci-archive" {
            assert_eq!(inspected["Digest"], expected.to_string());
        }
        for target in ["oci-archive", "docker-archive"] {
            let out = work.path().join(format!("{transport}-{target}.tar"));
            let to = format!("{target}:{}:example.org/one:1", out.display());
            tool("skopeo", &["copy", "-q", "--insecure-policy", &source, &to]);
            let back = open(&work.path().join(format!("{transport}-{target}")));
            assert_eq!(back.load(&out).await.unwrap()[0].0, "example.org/one:1");
            let image = back.resolve("example.org/one:1").unwrap();
            let image = back.unpacked(&image).await.unwrap();
            assert_eq!(image.config.cmd, ["one"]);
            assert_eq!(fs::read_to_string(image.layers[0].join("f")).unwrap(), "content");
        }
    }
}

#[tokio::test]
async fn podman_takes_what_is_saved_and_gives_what_is_loaded() {
    if !is_there("podman") {
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let store = open(&work.path().join("state"));
    for name in ["one", "two"] {
        store.load(&layout(work.path(), name, "content")).await.unwrap();
    }
    let archive = work.path().join("a.tar");
    fs::write(&archive, save(&store, &["example.org/one:1", "example.org/two:1"]).await).unwrap();
    let (root, run) = (work.path().join("podman"), work.path().join("podman-run"));
    let podman = |arguments: &[&str]| {
        let own = ["--root", root.to_str().unwrap(), "--runroot", run.to_str().unwrap()];
        let all = [&own, &["--storage-driver", "vfs"][..], arguments].concat();
        tool("podman", &all)
    };
    podman(&["load", "-q", "-i", archive.to_str().unwrap()]);
    let images = podman(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    for name in ["example.org/one:1", "example.org/two:1"] {
        assert!(images.lines().any(|line| line == name), "{images}");
    }
    for format in ["oci-archive", "docker-archive"] {
        let out = work.path().join(format!("{format}.tar"));
        podman(&[
            "save",
            "-q",
            "--format",
            format,
            "-o",
            out.to_str().unwrap(),
            "example.org/one:1",
        ]);
        let back = open(&work.path().join(format));
        assert_eq!(back.load(&out).await.unwrap()[0].0, "example.org/one:1");
        let image = back.unpacked(&back.resolve("example.org/one:1").unwrap()).await.unwrap();
        assert_eq!(image.config.cmd, ["one"]);
        assert_eq!(fs::read_to_string(image.layers[0].join("f")).unwrap(), "content");
    }
}
