//! The one layer of a built image: a tree of files, and the same archive of it each time.

use super::{RecipeError, failed};
use crate::image::digest::{Digest, Hashed};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

/// What Debian keeps in `/usr` and programs look for beside it.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// A file of the layer.
pub(super) enum Node {
    Directory { mode: u32 },
    Bytes { mode: u32, content: Vec<u8> },
    File { mode: u32, source: PathBuf },
    Link { target: PathBuf },
}

/// What goes into the layer, by path relative to its root.
pub(super) type Tree = BTreeMap<PathBuf, Node>;

pub(super) fn octal(mode: &str) -> Result<u32, RecipeError> {
    u32::from_str_radix(mode, 8)
        .ok()
        .filter(|bits| *bits <= 0o7777)
        .ok_or_else(|| RecipeError::Mode(mode.to_owned()))
}

pub(super) fn relative(path: &str) -> Result<PathBuf, RecipeError> {
    let refuse = || RecipeError::Path(path.to_owned());
    let rest = Path::new(path).strip_prefix("/").map_err(|_| refuse())?;
    if rest.components().all(|c| matches!(c, Component::Normal(_))) && !rest.as_os_str().is_empty()
    {
        Ok(rest.to_owned())
    } else {
        Err(refuse())
    }
}

/// Adds a node and the directories above it.
pub(super) fn insert(tree: &mut Tree, path: PathBuf, node: Node) {
    for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
        tree.entry(parent.to_owned()).or_insert(Node::Directory { mode: 0o755 });
    }
    tree.insert(path, node);
}

/// Adds what lies in a folder on disk.
pub(super) fn walk(root: &Path, path: &Path, tree: &mut Tree) -> Result<(), RecipeError> {
    let directory = root.join(path);
    for entry in fs::read_dir(&directory).map_err(failed("read", &directory))? {
        let entry = entry.map_err(failed("read", &directory))?;
        let (source, path) = (entry.path(), path.join(entry.file_name()));
        let metadata = entry.metadata().map_err(failed("read", &source))?;
        let mode = metadata.permissions().mode() & 0o7777;
        let node = if metadata.is_symlink() {
            Node::Link { target: fs::read_link(&source).map_err(failed("read", &source))? }
        } else if metadata.is_dir() {
            walk(root, &path, tree)?;
            Node::Directory { mode }
        } else {
            Node::File { mode, source }
        };
        tree.insert(path, node);
    }
    Ok(())
}

/// Takes out what lies at or below `paths`.
pub(super) fn without(tree: &mut Tree, paths: &[String]) -> Result<(), RecipeError> {
    for path in paths {
        let path = relative(path)?;
        tree.retain(|known, _| !known.starts_with(&path));
    }
    Ok(())
}

/// `/lib` and its like for packages that have theirs in `/usr`: the link is made by a package that has no place in an image.
pub(super) fn merge_usr(tree: &mut Tree) {
    for name in MERGED {
        let target = Path::new("usr").join(name);
        if tree.contains_key(&target) {
            tree.entry(name.into()).or_insert(Node::Link { target });
        }
    }
}

/// Writes the tree as a tar archive; returns the writer, the digest and the size.
pub(super) fn write_layer<W: Write>(
    tree: Tree,
    writer: W,
) -> Result<(W, Digest, u64), RecipeError> {
    let mut builder = tar::Builder::new(Hashed::new(writer));
    for (path, node) in tree {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        let written = match node {
            Node::Directory { mode } => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(mode);
                builder.append_data(&mut header, &path, io::empty())
            }
            Node::Link { target } => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                builder.append_link(&mut header, &path, &target)
            }
            Node::Bytes { mode, content } => {
                header.set_mode(mode);
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, &path, content.as_slice())
            }
            Node::File { mode, source } => {
                let file = File::open(&source).map_err(failed("open", &source))?;
                header.set_mode(mode);
                header.set_size(file.metadata().map_err(failed("read", &source))?.len());
                builder.append_data(&mut header, &path, file)
            }
        };
        written.map_err(failed("pack", &path))?;
    }
    let hashed = builder.into_inner().map_err(failed("pack", Path::new("/")))?;
    Ok(hashed.finish())
}
