//! Random images of several layers: what overlayfs shows of them is held against a model that applies the layers one
//! after the other to a map.

use crate::archive::{Archive, Member, member};
use crate::target::Target;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// One member; paths are of few names, so that members meet.
#[derive(Debug, Clone)]
enum Step {
    File(&'static str, u8),
    Directory(&'static str, u32),
    Symlink(&'static str, &'static str),
    HardLink(&'static str, &'static str),
    /// A device that overlayfs takes for a whiteout.
    Nought(&'static str),
    Whiteout(&'static str),
    Opaque(&'static str),
}

/// What is at a path; `None` for the mode of a directory that no member lists.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    File(u8),
    Directory(Option<u32>),
    Symlink(&'static str),
}

type Tree = BTreeMap<String, Node>;

fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent)
}

fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(parent(path), |path| parent(path))
}

/// One layer over what the layers below show: the tree it brings and what it hides.
#[derive(Default)]
struct Layer {
    own: Tree,
    hidden: BTreeSet<String>,
    opaque: BTreeSet<String>,
}

impl Layer {
    /// Makes the parents; false when something else is in the way.
    fn reach(&mut self, path: &str) -> bool {
        let missing: Vec<String> = ancestors(path).map(str::to_owned).collect();
        if missing
            .iter()
            .any(|path| matches!(self.own.get(path), Some(Node::File(_) | Node::Symlink(_))))
        {
            return false;
        }
        for path in missing {
            self.own.entry(path).or_insert(Node::Directory(None));
        }
        true
    }

    fn take(&mut self, path: &str) {
        let below = format!("{path}/");
        self.own.retain(|known, _| known != path && !known.starts_with(&below));
    }

    /// Plays a step; false when it makes no sense here and is not to be in the archive.
    fn play(&mut self, step: &Step) -> bool {
        match step {
            Step::File(path, _) | Step::Symlink(path, _) => {
                let node = match step {
                    Step::File(_, content) => Node::File(*content),
                    Step::Symlink(_, text) => Node::Symlink(text),
                    _ => unreachable!(),
                };
                if !self.reach(path) {
                    return false;
                }
                self.take(path);
                self.hidden.insert((*path).to_owned());
                self.own.insert((*path).to_owned(), node);
            }
            Step::Directory(path, mode) => {
                if !self.reach(path) {
                    return false;
                }
                if !matches!(self.own.get(*path), Some(Node::Directory(_))) {
                    self.take(path);
                }
                self.own.insert((*path).to_owned(), Node::Directory(Some(*mode)));
            }
            Step::HardLink(path, target) => {
                let node = match self.own.get(*target) {
                    Some(node @ (Node::File(_) | Node::Symlink(_))) => node.clone(),
                    _ => return false,
                };
                // The link would be in its own way.
                if target.starts_with(&format!("{path}/")) || !self.reach(path) {
                    return false;
                }
                self.take(path);
                self.hidden.insert((*path).to_owned());
                self.own.insert((*path).to_owned(), node);
            }
            Step::Nought(path) => {
                if !self.reach(path) {
                    return false;
                }
                self.take(path);
                self.hidden.insert((*path).to_owned());
            }
            Step::Whiteout(path) => {
                if !self.reach(path) {
                    return false;
                }
                self.hidden.insert((*path).to_owned());
            }
            Step::Opaque(path) => {
                if !path.is_empty() && !self.reach(&format!("{path}/x")) {
                    return false;
                }
                self.opaque.insert((*path).to_owned());
            }
        }
        true
    }

    fn over(self, below: &Tree) -> Tree {
        let mut merged = Tree::new();
        for (path, node) in below {
            let gone = self.opaque.contains("")
                || self.hidden.contains(path)
                || ancestors(path).any(|path| {
                    self.hidden.contains(path)
                        || self.opaque.contains(path)
                        // Something else than a directory was there: this layer's directory is a new one.
                        || self.own.contains_key(path) && !matches!(below.get(path), Some(Node::Directory(_)))
                });
            if !gone {
                merged.insert(path.clone(), node.clone());
            }
        }
        for (path, node) in self.own {
            merged.insert(path, node);
        }
        merged
    }
}

fn write(archive: Archive, step: &Step) -> Archive {
    let marker = |path: &str, name: &str| match parent(path) {
        Some(parent) => format!("{parent}/{name}"),
        None => name.to_owned(),
    };
    match step {
        Step::File(path, content) => archive.file(path, &[*content]),
        Step::Directory(path, mode) => {
            let mode = format!("{mode:o}");
            archive.add(Member { mode: &mode, ..member(b'5', path) })
        }
        Step::Symlink(path, text) => archive.symlink(path, text),
        Step::HardLink(path, target) => archive.hard_link(path, target),
        Step::Nought(path) => archive.add(member(b'3', path)),
        Step::Whiteout(path) => {
            let name = format!(".wh.{}", path.rsplit('/').next().unwrap());
            archive.file(&marker(path, &name), b"")
        }
        Step::Opaque("") => archive.file(".wh..wh..opq", b""),
        Step::Opaque(path) => archive.file(&format!("{path}/.wh..wh..opq"), b""),
    }
}

fn seen(root: &Path) -> BTreeMap<String, (char, u32, Vec<u8>)> {
    let mut tree = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let found = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let content = if found.is_dir() {
                pending.push(path);
                ('d', found.permissions().mode() & 0o7777, Vec::new())
            } else if found.is_symlink() {
                ('l', 0, fs::read_link(&path).unwrap().to_str().unwrap().into())
            } else if found.is_file() {
                ('f', 0, fs::read(&path).unwrap())
            } else {
                ('?', found.mode(), Vec::new())
            };
            tree.insert(name, content);
        }
    }
    tree
}

fn step() -> impl Strategy<Value = Step> {
    let path = || {
        proptest::sample::select(vec![
            "a", "b", "c", "a/b", "a/c", "b/a", "b/c", "a/b/c", "a/b/a", "c/a/b",
        ])
    };
    prop_oneof![
        4 => (path(), any::<u8>()).prop_map(|(path, content)| Step::File(path, content)),
        4 => (path(), proptest::sample::select(vec![0o755, 0o700, 0o1777])).prop_map(|(path, mode)| Step::Directory(path, mode)),
        1 => (path(), path()).prop_map(|(path, text)| Step::Symlink(path, text)),
        1 => (path(), path()).prop_map(|(path, target)| Step::HardLink(path, target)),
        1 => path().prop_map(Step::Nought),
        3 => path().prop_map(Step::Whiteout),
        1 => prop_oneof![4 => path(), 1 => Just("")].prop_map(Step::Opaque),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn overlayfs_shows_what_applying_one_after_the_other_makes(
        image in proptest::collection::vec(proptest::collection::vec(step(), 1..10), 2..4),
    ) {
        let mut expected = Tree::new();
        let mut layers: Vec<Target> = Vec::new();
        for steps in &image {
            let mut model = Layer::default();
            let mut archive = Archive::default();
            for step in steps {
                if model.play(step) {
                    archive = write(archive, step);
                }
            }
            expected = model.over(&expected);
            let below: Vec<PathBuf> = layers.iter().rev().map(Target::root).collect();
            let target = Target::new();
            target.unpack_over(&archive.finish(), &below).unwrap();
            layers.push(target);
        }
        let merged = tempfile::tempdir().unwrap();
        let lower: Vec<String> = layers.iter().rev().map(|layer| layer.root().display().to_string()).collect();
        let mounted = Command::new("mount")
            .args(["-t", "overlay", "overlay", "-o", &format!("lowerdir={}", lower.join(":"))])
            .arg(merged.path())
            .status()
            .unwrap();
        assert!(mounted.success());
        let found = std::panic::catch_unwind(|| seen(merged.path()));
        assert!(Command::new("umount").arg(merged.path()).status().unwrap().success());
        let mut found = found.unwrap();
        let expected: BTreeMap<String, (char, u32, Vec<u8>)> = expected
            .into_iter()
            .map(|(path, node)| {
                let line = match node {
                    Node::File(content) => ('f', 0, vec![content]),
                    Node::Symlink(text) => ('l', 0, text.into()),
                    Node::Directory(Some(mode)) => ('d', mode, Vec::new()),
                    Node::Directory(None) => {
                        // Its mode is that of the layer below, if that has it when the first file in it is made.
                        if let Some(found) = found.get_mut(&path) {
                            found.1 = 0;
                        }
                        ('d', 0, Vec::new())
                    }
                };
                (path, line)
            })
            .collect();
        prop_assert_eq!(found, expected);
    }
}

/// As many as take seconds.
fn cases() -> u32 {
    150
}
