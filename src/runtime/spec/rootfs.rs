//! Looking at and adding to a container's root file system without following its links out of it.

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, open, openat2};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

/// The mounted root file system, before the container runs.
#[derive(Debug)]
pub(crate) struct RootFs {
    root: OwnedFd,
}

/// `/etc/passwd` and `/etc/group` are read up to this size.
const MAX_FILE: u64 = 1 << 20;

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
        for part in path.components() {
            let Component::Normal(name) = part else {
                if part == Component::ParentDir {
                    return Err(Errno::INVAL.into());
                }
                continue;
            };
            let directory = self.open_in(&parent, OFlags::PATH | OFlags::DIRECTORY)?;
            match mkdirat(&directory, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            parent.push(name);
        }
        self.open_in(path, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok(())
    }
}

/// Makes `path` on the host and those above it.
pub(crate) fn create_host_dir(path: &Path) -> io::Result<()> {
    match rustix::fs::accessat(CWD, path, rustix::fs::Access::EXISTS, rustix::fs::AtFlags::empty())
    {
        Ok(()) => Ok(()),
        Err(_) => std::fs::create_dir_all(path),
    }
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
        rootfs.create_dir_all(Path::new("/link/made")).unwrap_err();
        assert!(!outside.join("made").exists());
        rootfs.create_dir_all(Path::new("/srv/app/data")).unwrap();
        assert!(root.join("srv/app/data").is_dir());
    }
}
