//! Looking at and adding to a container's root file system without following its links out of it.

use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, mkdirat, open, openat2, readlinkat};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// The mounted root file system, before the container runs.
#[derive(Debug)]
pub(crate) struct RootFs {
    root: OwnedFd,
}

/// `/etc/passwd` and `/etc/group` are read up to this size.
const MAX_FILE: u64 = 1 << 20;
/// As many links as the kernel follows.
const MOST_LINKS: u32 = 40;

impl RootFs {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let root = open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { root })
    }

    fn open_in(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new("/") } else { path };
        openat2(
            &self.root,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
    }

    /// A directory as the container will see it, if it is one.
    pub(crate) fn directory(&self, path: &Path) -> Option<OwnedFd> {
        self.open_in(path, OFlags::RDONLY | OFlags::DIRECTORY).ok()
    }

    /// The permissions of a directory, if it is one.
    pub(crate) fn mode_of_directory(&self, path: &Path) -> Option<u32> {
        let directory = self.open_in(path, OFlags::PATH | OFlags::DIRECTORY).ok()?;
        fstat(directory).ok().map(|stat| stat.st_mode & 0o7777)
    }

    /// The text of a regular file; none when there is no such file.
    pub(crate) fn read(&self, path: &str) -> io::Result<Option<String>> {
        // NONBLOCK: an image may put a FIFO there.
        let fd = match self.open_in(Path::new(path), OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let file = File::from(fd);
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut bytes)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// False for a link as well, wherever it leads.
    pub(crate) fn is_directory_or_absent(&self, path: &str) -> io::Result<bool> {
        let name = path.trim_start_matches('/');
        match rustix::fs::statat(&self.root, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir()),
            Err(Errno::NOENT) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a directory and those above it, as far as they are missing.
    pub(crate) fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        if self.open_in(path, OFlags::PATH | OFlags::DIRECTORY).is_ok() {
            return Ok(());
        }
        let mut parent = PathBuf::from("/");
        let mut left: VecDeque<OsString> = names(path).map(OsString::from).collect();
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(Errno::INVAL.into());
        }
        let mut links = 0;
        while let Some(name) = left.pop_front() {
            let directory = self.open_in(&parent, OFlags::PATH | OFlags::DIRECTORY)?;
            match mkdirat(&directory, &name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let inner = parent.join(&name);
            if self.open_in(&inner, OFlags::PATH | OFlags::DIRECTORY).is_err()
                && let Ok(target) = readlinkat(&directory, &name, Vec::new())
            {
                // A link that leads nowhere yet: where it leads, inside, is made.
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::LOOP.into());
                }
                let target = Path::new(OsStr::from_bytes(target.as_bytes())).to_owned();
                if target.is_absolute() {
                    parent = PathBuf::from("/");
                }
                for part in names(&target).collect::<Vec<_>>().into_iter().rev() {
                    left.push_front(part.to_owned());
                }
            } else {
                parent = inner;
            }
        }
        self.open_in(path, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok(())
    }
}

/// The names that a path consists of, with `..` among them.
fn names(path: &Path) -> impl Iterator<Item = &OsStr> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name),
        Component::ParentDir => Some(OsStr::new("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("passwd"), "secret").unwrap();
        symlink(&outside, root.join("link")).unwrap();
        symlink("../../outside/passwd", root.join("etc/passwd")).unwrap();
        let rootfs = RootFs::open(&root).unwrap();
        assert_eq!(rootfs.read("/etc/passwd").unwrap(), None);
        // A link that leads nowhere inside: what it names is made, inside.
        rootfs.create_dir_all(Path::new("/link/made")).unwrap();
        assert!(!outside.join("made").exists());
        assert!(root.join(outside.strip_prefix("/").unwrap()).join("made").is_dir());
        symlink("../../../run/lock", root.join("etc/lock")).unwrap();
        rootfs.create_dir_all(Path::new("/etc/lock/deep")).unwrap();
        assert!(root.join("run/lock/deep").is_dir());
        symlink("loop", root.join("loop")).unwrap();
        rootfs.create_dir_all(Path::new("/loop/x")).unwrap_err();
        fs::write(root.join("file"), "").unwrap();
        rootfs.create_dir_all(Path::new("/file/x")).unwrap_err();
        rootfs.create_dir_all(Path::new("/srv/app/data")).unwrap();
        assert!(root.join("srv/app/data").is_dir());
    }
}
