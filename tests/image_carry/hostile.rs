//! Archives that lie, climb, or do not fit.

use super::open;
use coracle::image::digest::Digest;
use coracle::image::manifest::Platform;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A member of a tar file that a test makes: name, content; a link when it begins with `->`.
type Made = (String, Vec<u8>);

fn tar_of(members: &[Made]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        // Straight into the field: the library refuses names that climb.
        let bytes = name.as_bytes();
        assert!(bytes.len() <= 100);
        header.as_old_mut().name[..bytes.len()].copy_from_slice(bytes);
        if let Some(target) = content.strip_prefix(b"->") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.as_old_mut().linkname[..target.len()].copy_from_slice(target);
            header.set_size(0);
            header.set_cksum();
            builder.append(&header, std::io::empty()).unwrap();
        } else {
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, content.as_slice()).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

/// The parts of a good archive, to be spoilt.
struct Parts {
    layer: Vec<u8>,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

impl Parts {
    fn new() -> Self {
        let layer = tar_of(&[("f".to_owned(), b"content".to_vec())]);
        let config = json!({"os": "linux", "architecture": Platform::host().architecture,
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer)]}});
        let config = config.to_string().into_bytes();
        let manifest = Self::manifest_of(&config, &layer, 0).to_string().into_bytes();
        Self { layer, config, manifest }
    }

    fn manifest_of(config: &[u8], layer: &[u8], too_much: u64) -> Value {
        json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": Digest::of(config), "size": config.len()},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": Digest::of(layer), "size": layer.len() as u64 + too_much}]})
    }

    fn index_of(manifest: &[u8], name: &str) -> Value {
        json!({"schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": Digest::of(manifest), "size": manifest.len(),
            "annotations": {"org.opencontainers.image.ref.name": name}}]})
    }

    fn members(&self) -> Vec<Made> {
        let index = Self::index_of(&self.manifest, "example.org/x:1").to_string();
        vec![
            blob(&self.layer),
            blob(&self.config),
            blob(&self.manifest),
            ("index.json".to_owned(), index.into_bytes()),
        ]
    }

    /// The members with one replaced, by name, or added.
    fn with(&self, name: &str, content: impl Into<Vec<u8>>) -> Vec<u8> {
        let mut members = self.members();
        members.retain(|(known, _)| known != name);
        members.push((name.to_owned(), content.into()));
        tar_of(&members)
    }
}

fn blob(content: &[u8]) -> Made {
    (blob_name(content), content.to_vec())
}

fn blob_name(content: &[u8]) -> String {
    format!("blobs/sha256/{}", Digest::of(content).hex())
}

/// Everything that a hostile archive might be, and what is said of it.
fn hostile() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let parts = Parts::new();
    let docker = |config: &str, layer: &str, tag: &str| {
        let list = json!([{"Config": config, "RepoTags": [tag], "Layers": [layer]}]);
        let mut members = vec![
            ("c.json".to_owned(), parts.config.clone()),
            ("l.tar".to_owned(), parts.layer.clone()),
        ];
        members.push(("manifest.json".to_owned(), list.to_string().into_bytes()));
        tar_of(&members)
    };
    let index = |manifest: &[u8], name: &str| Parts::index_of(manifest, name).to_string();
    let mut good = tar_of(&parts.members());
    let mut cases = Vec::new();

    let wrong_size = Parts::manifest_of(&parts.config, &parts.layer, 1).to_string().into_bytes();
    let mut members = parts.members();
    members.push(blob(&wrong_size));
    members[3].1 = index(&wrong_size, "x").into_bytes();
    cases.push(("a size that is wrong", tar_of(&members), "size mismatch"));

    let layer = blob_name(&parts.layer);
    cases.push(("a blob that is another", parts.with(&layer, "evil"), "digest mismatch"));
    let mut members = parts.members();
    members.retain(|(name, _)| *name != layer);
    cases.push(("a layer that is missing", tar_of(&members), "missing from the archive"));
    for target in ["->/etc/passwd", "->../../../../../../etc/passwd", "->blobs/sha256/../x"] {
        cases.push(("a blob that is a link", parts.with(&layer, target), "missing"));
    }
    let twice = parts.members().into_iter().chain([("index.json".into(), b"{}".to_vec())]);
    cases.push(("two lists", tar_of(&twice.collect::<Vec<_>>()), "twice"));
    cases.push(("a list that is none", parts.with("index.json", "[1"), "index.json"));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_index = format!(r#"{{"schemaVersion":2,"x":{deep},"manifests":[]}}"#);
    // What nobody looks at is passed over without going into it.
    cases.push(("a deep list", parts.with("index.json", deep_index), "it has: nothing"));
    let deep_list = format!(r#"{{"schemaVersion":2,"manifests":{deep}}}"#);
    cases.push(("a deep list of images", parts.with("index.json", deep_list), "index.json"));
    let giant = format!(r#"{{"schemaVersion":2,"x":"{}"}}"#, " ".repeat(3 << 20));
    cases.push(("a giant list", parts.with("index.json", giant), "more than 2097152 bytes"));
    let entry = json!({"digest": Digest::of(&parts.manifest), "size": 1});
    let many = json!({"schemaVersion": 2, "manifests": vec![entry; 2_000]}).to_string();
    cases.push(("many images", parts.with("index.json", many), "more than 1000 images"));
    let pinned = index(&parts.manifest, &format!("example.org/x@{}", Digest::of(b"other")));
    cases.push(("the name of another digest", parts.with("index.json", pinned), "is the name of"));
    let mut nested = parts.manifest.clone();
    let mut members = parts.members();
    for _ in 0..5 {
        nested = index(&nested, "x").into_bytes();
        members.push(blob(&nested));
    }
    members[3].1 = index(&nested, "x").into_bytes();
    cases.push(("indexes in indexes", tar_of(&members), "nested"));
    let manifest =
        json!({"schemaVersion": 2, "config": {"digest": Digest::of(b""), "size": 1_u64 << 40},
        "layers": []})
        .to_string()
        .into_bytes();
    let mut members = parts.members();
    members.push(blob(&manifest));
    members[3].1 = index(&manifest, "x").into_bytes();
    cases.push(("a giant configuration", tar_of(&members), "bytes"));

    for outside in ["/etc/passwd", "../../../../etc/passwd", "..", ""] {
        cases.push(("docker: a layer outside", docker("c.json", outside, "x:1"), "missing"));
        cases.push(("docker: a configuration outside", docker(outside, "l.tar", "x:1"), "missing"));
    }
    cases.push((
        "docker: a name that is none",
        docker("c.json", "l.tar", "../x"),
        "invalid reference",
    ));
    let pinned = format!("x@{}", Digest::of(b"other"));
    cases.push(("docker: another's digest", docker("c.json", "l.tar", &pinned), "is the name of"));
    let layers = json!([{"Config": "c.json", "Layers": vec!["l.tar"; 200]}]).to_string();
    let list = vec![
        ("c.json".to_owned(), parts.config.clone()),
        ("l.tar".to_owned(), parts.layer.clone()),
        ("manifest.json".to_owned(), layers.into_bytes()),
    ];
    cases.push(("docker: too many layers", tar_of(&list), "200 layers"));

    cases.push(("nothing", Vec::new(), "neither"));
    cases.push(("no archive", vec![b'x'; 5_000], "damaged"));
    let outside = [("../../../../tmp/coracle-evil".to_owned(), b"x".to_vec())];
    cases.push(("names that climb", tar_of(&outside), "neither"));
    for program in ["gzip", "zstd"] {
        let mut packed = pack(program, &good);
        packed.truncate(packed.len() / 2);
        cases.push(("a cut stream", packed, ""));
    }
    good.truncate(700);
    cases.push(("a cut archive", good, ""));
    let tiny = vec![("d".to_owned(), Vec::new()); 30_000];
    cases.push(("a million files", tar_of(&tiny), "more than 20000 files"));
    cases
}

fn pack(program: &str, content: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .arg("-c")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let content = content.to_vec();
    let feed = std::thread::spawn(move || std::io::Write::write_all(&mut input, &content));
    let mut packed = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut packed).unwrap();
    feed.join().unwrap().unwrap();
    assert!(child.wait().unwrap().success());
    packed
}

#[tokio::test]
async fn hostile_archives_change_nothing() {
    let work = tempfile::tempdir().unwrap();
    let state = work.path().join("state");
    let store = open(&state);
    // A good one is loaded: the cases below fail for their own reason.
    let good = open(&work.path().join("good"));
    let archive = tar_of(&Parts::new().members());
    assert_eq!(
        good.load_stream("a".into(), std::io::Cursor::new(archive)).await.unwrap()[0].0,
        "example.org/x:1"
    );
    let before = tree(work.path());
    for (what, archive, expected) in hostile() {
        let file = work.path().join("evil.tar");
        fs::write(&file, &archive).unwrap();
        let from_file = store.load(&file).await;
        let from_stream = store.load_stream("evil".into(), std::io::Cursor::new(archive)).await;
        fs::remove_file(&file).unwrap();
        for result in [from_file, from_stream] {
            let error = match result {
                Ok(loaded) => panic!("{what}: {loaded:?}"),
                Err(error) => error.to_string(),
            };
            assert!(error.contains(expected), "{what}: {error}");
            assert!(error.len() < 1_000, "{what}: {error}");
        }
        assert_eq!(tree(work.path()), before, "{what}");
    }
    assert!(!Path::new("/tmp/coracle-evil").exists());
}

#[tokio::test]
async fn hostile_folders_change_nothing() {
    let work = tempfile::tempdir().unwrap();
    let store = open(&work.path().join("state"));
    let parts = Parts::new();
    let layer = blob_name(&parts.layer);
    let secret = work.path().join("secret");
    fs::write(&secret, &parts.layer).unwrap();
    for (what, spoil) in [
        (
            "a link to outside",
            Box::new(|path: &Path| {
                std::os::unix::fs::symlink(&secret, path).unwrap();
            }) as Box<dyn Fn(&Path)>,
        ),
        (
            "a named pipe",
            Box::new(|path: &Path| {
                assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
            }),
        ),
        ("a directory", Box::new(|path: &Path| fs::create_dir(path).unwrap())),
        ("another content", Box::new(|path: &Path| fs::write(path, "evil").unwrap())),
    ] {
        let folder = work.path().join("folder");
        fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        for (name, content) in parts.members() {
            if name == layer {
                spoil(&folder.join(name));
            } else {
                fs::write(folder.join(name), content).unwrap();
            }
        }
        let before = tree(work.path());
        let error = store.load(&folder).await.unwrap_err().to_string();
        let expected = if what == "another content" { "mismatch" } else { "missing" };
        assert!(error.contains(expected), "{what}: {error}");
        assert_eq!(tree(work.path()), before, "{what}");
        fs::remove_dir_all(&folder).unwrap();
    }
}

/// Every file below a directory, with its size and its time of change.
fn tree(root: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                left.push(entry.path());
            }
            found.insert(entry.path(), metadata.len());
        }
    }
    found
}

/// A small file system of its own, gone with the test.
struct Disk(PathBuf);

impl Disk {
    fn new(path: &Path, size: &str) -> Option<Self> {
        fs::create_dir(path).unwrap();
        let options = format!("size={size}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).status();
        if mounted.unwrap().success() {
            return Some(Self(path.to_owned()));
        }
        println!("skipped: a file system cannot be mounted here");
        None
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn an_archive_that_does_not_fit_is_refused_before_it_is_written() {
    let work = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::new(&work.path().join("disk"), "48m") else { return };
    let store = open(&disk.0);
    // 40 MiB that compress to nothing; 16 MiB are left to others.
    let big = tar_of(&[("f".to_owned(), vec![0; 40 << 20])]);
    let members = [blob(&big), ("index.json".to_owned(), b"{}".to_vec())];
    let plain = tar_of(&members);
    let file = work.path().join("big.tar");
    let before = tree(&disk.0);
    for content in [plain.clone(), pack("gzip", &plain)] {
        fs::write(&file, &content).unwrap();
        let error = store.load(&file).await.unwrap_err().to_string();
        assert!(error.contains("big.tar needs 4") && error.contains("bytes are free"), "{error}");
        let error = store.load_stream("s".into(), std::io::Cursor::new(content)).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("s needs 4") && error.contains("bytes are free"), "{error}");
        assert_eq!(tree(&disk.0), before);
    }
}
