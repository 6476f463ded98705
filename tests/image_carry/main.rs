//! Images without a registry: saved, loaded, refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

#[path = "../agent/mod.rs"]
mod agent;
mod box_with_agent;
mod directory;
mod hostile;
#[path = "../netbox/mod.rs"]
mod netbox;
mod recipes;
mod tools;

use coracle::image::digest::Digest;
use coracle::image::recipe;
use coracle::image::{ImageStore, Options};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

fn open(state: &Path) -> ImageStore {
    ImageStore::open(state, Options::default()).unwrap()
}

/// Builds an image with one layer that holds `content`, as a layout in `work/NAME`.
fn layout(work: &Path, name: &str, content: &str) -> PathBuf {
    let folder = work.join(format!("{name}.recipe"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("f"), content).unwrap();
    let recipe = json!({"name": format!("example.org/{name}:1"), "cmd": [name],
        "files": [{"path": "/f", "source": "f", "mode": "0644"}]});
    fs::write(folder.join("recipe.json"), recipe.to_string()).unwrap();
    let out = work.join(name);
    recipe::build(&folder, &out).unwrap();
    out
}

async fn save(store: &ImageStore, names: &[&str]) -> Vec<u8> {
    let saved = store.save(names.iter().map(|name| (*name).to_owned()).collect()).await.unwrap();
    let mut archive = Vec::new();
    saved.write(&mut archive).unwrap();
    assert_eq!(archive.len() as u64, saved.size());
    archive
}

/// The members of an archive, which must be plain files.
fn members(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut members = BTreeMap::new();
    for member in tar::Archive::new(archive).entries().unwrap() {
        let mut member = member.unwrap();
        assert_eq!(member.header().entry_type(), tar::EntryType::Regular);
        let name = member.path().unwrap().to_string_lossy().into_owned();
        let mut content = Vec::new();
        member.read_to_end(&mut content).unwrap();
        assert!(members.insert(name, content).is_none(), "a name twice");
    }
    members
}

/// What is in a store, without what changes from one to the next.
fn blobs(state: &Path) -> BTreeMap<String, Vec<u8>> {
    let found = fs::read_dir(state.join("images/blobs/sha256")).unwrap();
    found
        .map(|entry| entry.unwrap())
        .map(|e| (e.file_name().to_string_lossy().into_owned(), fs::read(e.path()).unwrap()))
        .collect()
}

#[tokio::test]
async fn what_is_saved_is_loaded_as_it_was() {
    let work = tempfile::tempdir().unwrap();
    let (here, there) = (work.path().join("here"), work.path().join("there"));
    let store = open(&here);
    // Two images share their layer.
    for (name, content) in [("one", "shared"), ("two", "shared"), ("three", "other")] {
        store.load(&layout(work.path(), name, content)).await.unwrap();
    }
    let names = ["example.org/two:1", "coracle/hello", "example.org/one:1", "example.org/two:1"];
    let archive = save(&store, &names).await;
    // The order of the names does not matter, nor does the store.
    assert_eq!(save(&store, &[names[2], names[1], names[0]]).await, archive);

    let members = members(&archive);
    let index: Value = serde_json::from_slice(&members["index.json"]).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 3);
    let docker: Value = serde_json::from_slice(&members["manifest.json"]).unwrap();
    let tags: Vec<&str> =
        docker.as_array().unwrap().iter().map(|i| i["RepoTags"][0].as_str().unwrap()).collect();
    assert!(tags.contains(&"docker.io/coracle/hello:latest"), "{tags:?}");
    // Three manifests, three configurations, two layers.
    assert_eq!(members.keys().filter(|name| name.starts_with("blobs/sha256/")).count(), 8);
    for (name, content) in &members {
        if let Some(hex) = name.strip_prefix("blobs/sha256/") {
            assert_eq!(Digest::of(content).hex(), hex);
        }
    }

    // From a file, from a stream, compressed.
    let file = work.path().join("a.tar");
    fs::write(&file, &archive).unwrap();
    let other = open(&there);
    let mut loaded = other.load(&file).await.unwrap();
    loaded.sort();
    let listed: Vec<String> = other.list().unwrap().into_iter().map(|i| i.name).collect();
    assert_eq!(loaded.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), listed);
    assert_eq!(save(&other, &names).await, archive);
    let kept = blobs(&there);
    let image = other.unpacked(&other.resolve("example.org/one:1").unwrap()).await.unwrap();
    assert_eq!(fs::read_to_string(image.layers[0].join("f")).unwrap(), "shared");
    for (program, ending) in [("gzip", "gz"), ("zstd", "zst")] {
        let state = work.path().join(program);
        assert!(Command::new(program).args(["-q", "-k"]).arg(&file).status().unwrap().success());
        let packed = fs::File::open(file.with_extension(format!("tar.{ending}"))).unwrap();
        let store = open(&state);
        store.load_stream("a".into(), packed).await.unwrap();
        assert_eq!(blobs(&state), kept, "{program}");
        assert_eq!(fs::read_dir(state.join("images/tmp")).unwrap().count(), 0);
    }

    // What is here already is not written again.
    let before = fs::metadata(there.join("images/blobs/sha256")).unwrap().modified().unwrap();
    other.load(&file).await.unwrap();
    let after = fs::metadata(there.join("images/blobs/sha256")).unwrap().modified().unwrap();
    assert_eq!(before, after);
}

#[tokio::test]
async fn what_is_not_here_or_damaged_is_not_saved() {
    let work = tempfile::tempdir().unwrap();
    let store = open(&work.path().join("state"));
    let absent = store.save(vec!["example.org/one:1".to_owned()]).await.unwrap_err().to_string();
    assert!(absent.contains("example.org/one:1 is not in the local store"), "{absent}");
    assert!(store.save(Vec::new()).await.unwrap_err().to_string().contains("no image is named"));
    store.load(&layout(work.path(), "one", "content")).await.unwrap();
    let saved = store.save(vec!["example.org/one:1".to_owned()]).await.unwrap();
    // The largest blob is the layer; a bit of it flips.
    let blobs = work.path().join("state/images/blobs/sha256");
    let layer = fs::read_dir(blobs).unwrap().map(|e| e.unwrap().path());
    let layer = layer.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut content = fs::read(&layer).unwrap();
    content[100] ^= 1;
    fs::write(&layer, content).unwrap();
    let mut archive = Vec::new();
    let error = saved.write(&mut archive).unwrap_err().to_string();
    assert!(error.contains("digest mismatch"), "{error}");
    assert!((archive.len() as u64) < saved.size());
    fs::remove_file(&layer).unwrap();
    let error = store.save(vec!["example.org/one:1".to_owned()]).await.unwrap_err().to_string();
    assert!(error.contains("cannot open"), "{error}");
}
