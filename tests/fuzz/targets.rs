//! The readers of what comes from outside with an image, each a function that panics when something is wrong. The
//! fuzzer and the tests that replay what it found share this file.

use coracle::image::archive;
use coracle::image::layout::Layout;
use coracle::image::manifest::{Configuration, Document, Platform};
use coracle::image::reference::Reference;
use coracle::image::registry::{
    Candidate, Challenge, ContentRange, Credentials, DockerConfig, Login, Logins, Url,
};
use coracle::image::unpack::{Limits, Members, clear, decompress, layer};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Reads one input.
pub(crate) type Target = fn(&[u8]);

/// All of them.
pub(crate) const TARGETS: [(&str, Target); 10] = [
    ("layer", unpacked),
    ("members", members),
    ("compressed", compressed),
    ("archive", loaded),
    ("documents", documents),
    ("reference", reference),
    ("url", url),
    ("challenge", challenge),
    ("logins", logins),
    ("range", range),
];

/// The target of this name.
pub(crate) fn find(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}

/// Room for what a target makes, in memory if there is any.
fn room() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let inside = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::tempdir_in(inside).unwrap()
}

/// Writes the checksums of a tar archive, which no mutation would ever get right.
fn seal(input: &[u8]) -> Vec<u8> {
    let mut sealed = input.to_vec();
    for header in sealed.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    sealed
}

/// Unpacks a layer over another one; nothing may happen beside it.
pub(crate) fn unpacked(input: &[u8]) {
    thread_local! {
        static ROOM: tempfile::TempDir = {
            let room = room();
            for directory in ["root", "trash", "below", "below/a", "canary", "canary/inner"] {
                fs::create_dir(room.path().join(directory)).unwrap();
            }
            fs::write(room.path().join("canary/secret"), "untouched").unwrap();
            for (link, text) in [("below/l", "../canary"), ("below/f", "a")] {
                std::os::unix::fs::symlink(text, room.path().join(link)).unwrap();
            }
            room
        };
    }
    ROOM.with(|room| {
        let path = |name: &str| room.path().join(name);
        let (root, trash) = (path("root"), path("trash"));
        let before = state(&path("canary"));
        let limits = Limits { entries: 200, bytes: 1 << 20 };
        let below: [PathBuf; 1] = [path("below")];
        let _ = layer(seal(input).as_slice(), &root, &trash, &below, limits);
        clear(&root).unwrap();
        clear(&trash).unwrap();
        assert_eq!(state(&path("canary")), before, "something outside changed");
        assert_eq!(fs::read_dir(room.path()).unwrap().count(), 4, "something outside is new");
        fs::remove_dir(&root).unwrap();
        fs::create_dir(&root).unwrap();
    });
}

/// What of a small tree could be changed.
fn state(tree: &Path) -> Vec<(PathBuf, u32, u64, u64, i64, i64)> {
    use std::os::unix::fs::MetadataExt;
    let mut found = Vec::new();
    let mut pending = vec![tree.to_owned()];
    while let Some(path) = pending.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let (time, part) = (meta.ctime(), meta.ctime_nsec());
        found.push((path, meta.mode(), meta.ino(), meta.size(), time, part));
    }
    found
}

/// Reads the members of an archive and their content.
pub(crate) fn members(input: &[u8]) {
    let sealed = seal(input);
    let mut members = Members::new(sealed.as_slice());
    while let Ok(Some(member)) = members.next_member() {
        let stored = io::copy(&mut members.data(), &mut io::sink()).unwrap_or_default();
        if let Some(pieces) = member.sparse {
            let sum: u64 = pieces.iter().map(|piece| piece.length).sum();
            assert!(stored <= sum && sum <= member.size, "pieces outside of the file");
        }
    }
}

/// Decompresses, up to a bound.
pub(crate) fn compressed(input: &[u8]) {
    if let Ok(plain) = decompress(input) {
        let _ = io::copy(&mut plain.take(4 << 20), &mut io::sink());
    }
}

/// Loads an archive of images.
pub(crate) fn loaded(input: &[u8]) {
    thread_local! {
        static ROOM: (tempfile::TempDir, Layout) = {
            let room = room();
            let layout = Layout::open(&room.path().join("store")).unwrap();
            (room, layout)
        };
    }
    ROOM.with(|(room, layout)| {
        let file = room.path().join("image.tar");
        fs::write(&file, seal(input)).unwrap();
        let _ = archive::load(layout, &file, &Platform::host());
        let left = fs::read_dir(room.path().join("store/tmp")).unwrap().count();
        assert_eq!(left, 0, "something stays in tmp");
        for blob in fs::read_dir(layout.blobs()).unwrap() {
            fs::remove_file(blob.unwrap().path()).unwrap();
        }
    });
}

/// Reads the documents that describe an image.
pub(crate) fn documents(input: &[u8]) {
    let (manifest, config) = match input.iter().position(|byte| *byte == 0) {
        Some(nul) => (&input[..nul], &input[nul + 1..]),
        None => (input, input),
    };
    if let Ok(Document::Manifest(manifest)) = Document::parse(manifest)
        && let Ok(config) = Configuration::parse(config, &manifest)
    {
        assert_eq!(config.chain_ids().len(), manifest.layers.len());
        let again = Configuration::parse(&coracle::image::recipe::json(&config), &manifest);
        assert!(again.is_ok(), "what was read is written so that it cannot be read: {again:?}");
    }
    if let Ok(Document::Index(index)) = Document::parse(input) {
        let _ = Platform::host().choose(&index.manifests);
        let text = coracle::image::recipe::json(&index);
        assert!(Document::parse(&text).is_ok());
    }
}

/// Reads a name and writes it again.
pub(crate) fn reference(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(reference) = text.parse::<Reference>() {
        let full = reference.to_string();
        assert_eq!(full.parse::<Reference>().as_ref(), Ok(&reference), "{full}");
        for spelling in reference.spellings() {
            let again = spelling.parse::<Reference>();
            assert_eq!(again.map(|again| again.to_string()), Ok(full.clone()), "{spelling}");
        }
        for part in [reference.registry(), reference.repository()] {
            assert!(!part.contains("..") && !part.starts_with('/'), "{full}");
        }
    }
}

/// Reads an address and what it redirects to.
pub(crate) fn url(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (base, location) = text.split_once('\n').unwrap_or((text, text));
    if let Ok(url) = Url::parse(base) {
        let shown = url.to_string();
        assert!(!shown.contains(['\r', '\n', ' ']), "{shown:?}");
        let again = Url::parse(&shown).map(|again| again.to_string());
        assert_eq!(again.ok().as_ref(), Some(&shown));
        if let Ok(joined) = url.join(location) {
            assert!(!joined.to_string().contains(['\r', '\n', ' ']), "{joined}");
        }
    }
}

/// Reads the lines as the `WWW-Authenticate` fields of an answer.
pub(crate) fn challenge(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match Challenge::of(&text.lines().collect::<Vec<_>>()) {
        Ok(found @ Challenge::Basic) => {
            assert_eq!(Challenge::of(&["Basic realm=\"\""]).ok(), Some(found));
        }
        Ok(found @ Challenge::Bearer { .. }) => {
            let Challenge::Bearer { realm, service, scope } = &found else { unreachable!() };
            let parts =
                [("realm", Some(realm)), ("service", service.as_ref()), ("scope", scope.as_ref())];
            let quoted = |text: &str| text.replace('\\', r"\\").replace('"', "\\\"");
            let written: Vec<String> = parts
                .iter()
                .filter_map(|(name, value)| Some(format!("{name}=\"{}\"", quoted((*value)?))))
                .collect();
            let written = format!("Bearer {}", written.join(","));
            assert_eq!(Challenge::of(&[&written]).ok().as_ref(), Some(&found), "{written}");
            assert!(text.contains(char::is_whitespace), "a realm from nowhere");
        }
        Err(error) => assert!(error.to_string().len() < 4_000, "an error without end"),
    }
}

/// Reads Docker's `config.json`, looks for logins in it, and keeps and forgets one in it.
pub(crate) fn logins(input: &[u8]) {
    const REGISTRY: &str = "reg.example:5000";
    thread_local! {
        static ROOM: (tempfile::TempDir, Logins) = {
            let room = room();
            let logins = Logins::new(room.path().to_owned());
            (room, logins)
        };
    }
    let found = |bytes: &[u8], registry: &str, full: &str| {
        DockerConfig::parse(bytes).and_then(|config| config.candidates(registry, full))
    };
    for (registry, full) in
        [(REGISTRY, "reg.example:5000/team/app"), ("docker.io", "docker.io/library/busybox")]
    {
        match found(input, registry, full) {
            Ok(candidates) => assert!(candidates.len() <= 3, "{}", candidates.len()),
            Err(why) => assert!(why.len() < 2_000, "an error without end"),
        }
    }
    let was_sound = found(input, REGISTRY, REGISTRY).is_ok();
    ROOM.with(|(_, logins)| {
        fs::write(logins.path(), input).unwrap();
        let login = Login::new("ada".to_owned(), "p:w".to_owned());
        if logins.keep(REGISTRY, &login).is_err() {
            assert_eq!(fs::read(logins.path()).unwrap(), input, "refused, and changed");
            return;
        }
        assert!(logins.list().unwrap().iter().any(|login| login.registry == REGISTRY));
        let kept = Candidate::Stored(Credentials::Password {
            user: "ada".to_owned(),
            password: "p:w".to_owned(),
        });
        let now = found(&fs::read(logins.path()).unwrap(), REGISTRY, REGISTRY);
        if was_sound {
            assert!(now.as_ref().is_ok_and(|now| now.contains(&kept)), "{now:?}");
        }
        assert!(logins.forget(REGISTRY).unwrap());
        assert!(!logins.forget(REGISTRY).unwrap());
    });
}

/// Reads a `Content-Range`.
pub(crate) fn range(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(range) = text.parse::<ContentRange>() else { return };
    assert_eq!(range.to_string().parse(), Ok(range));
    assert!(range.first <= range.last && range.whole.is_none_or(|whole| range.last < whole));
    let size = range.whole.unwrap_or(range.last.saturating_add(1));
    assert_eq!(range.is_from(range.first, size), range.last < u64::MAX, "{range}");
    assert!(!range.is_from(range.first ^ 1, size) && !range.is_from(range.first, range.last));
}
