//! A directory to unpack into, and beside it a canary tree that must stay as it is.

use coracle::image::digest::Digest;
use coracle::image::unpack::{Limits, UnpackError, clear, layer};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Small enough for a test to reach.
pub(crate) const LIMITS: Limits = Limits { entries: 5000, bytes: 1 << 20 };

pub(crate) struct Target {
    work: tempfile::TempDir,
    canary: BTreeMap<PathBuf, String>,
}

impl Target {
    pub(crate) fn new() -> Self {
        Self::inside(tempfile::tempdir().unwrap())
    }

    /// In memory, where thousands of files cost little.
    pub(crate) fn light() -> Self {
        let memory = Path::new("/dev/shm");
        let inside = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        Self::inside(tempfile::tempdir_in(inside).unwrap())
    }

    fn inside(work: tempfile::TempDir) -> Self {
        for directory in ["root", "trash", "canary", "canary/inner"] {
            fs::create_dir(work.path().join(directory)).unwrap();
        }
        fs::write(work.path().join("canary/secret"), "untouched").unwrap();
        fs::write(work.path().join("canary/inner/more"), "untouched as well").unwrap();
        std::os::unix::fs::symlink("secret", work.path().join("canary/link")).unwrap();
        let canary = snapshot(&work.path().join("canary"));
        Self { work, canary }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.work.path().join("root")
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    pub(crate) fn canary(&self) -> String {
        self.work.path().join("canary").to_str().unwrap().to_owned()
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    pub(crate) fn unpack(&self, archive: &[u8]) -> Result<Digest, UnpackError> {
        self.unpack_over(archive, &[])
    }

    /// Unpacks and then holds the canary against what it was.
    pub(crate) fn unpack_over(
        &self,
        archive: &[u8],
        below: &[PathBuf],
    ) -> Result<Digest, UnpackError> {
        self.unpack_stream(archive, below, LIMITS)
    }

    pub(crate) fn unpack_stream(
        &self,
        archive: impl Read + Send,
        below: &[PathBuf],
        limits: Limits,
    ) -> Result<Digest, UnpackError> {
        let trash = self.work.path().join("trash");
        let result = layer(archive, &self.root(), &trash, below, limits);
        clear(&trash).unwrap();
        assert_eq!(snapshot(&self.work.path().join("canary")), self.canary);
        let beside: Vec<_> = fs::read_dir(self.work.path()).unwrap().map(Result::unwrap).collect();
        assert_eq!(beside.len(), 3, "{beside:?}");
        result
    }
}

/// Everything about a tree that could be changed.
pub(crate) fn snapshot(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut tree = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let found = fs::symlink_metadata(&path).unwrap();
        let content = if found.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            String::new()
        } else if found.is_symlink() {
            fs::read_link(&path).unwrap().display().to_string()
        } else if found.is_file() {
            Digest::of(&fs::read(&path).unwrap()).to_string()
        } else {
            format!("device {}", found.rdev())
        };
        let mut names = [0_u8; 1024];
        let count = rustix::fs::llistxattr(&path, &mut names).unwrap();
        let line = format!(
            "{:o} {}:{} links {} mtime {}.{} ino {} xattr {:?} {content}",
            found.mode(),
            found.uid(),
            found.gid(),
            found.nlink(),
            found.mtime(),
            found.mtime_nsec(),
            found.ino(),
            String::from_utf8_lossy(&names[..count]),
        );
        tree.insert(path.strip_prefix(root).unwrap().to_owned(), line);
    }
    tree
}
