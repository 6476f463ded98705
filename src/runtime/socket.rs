//! Unix sockets at paths of any length.
//!
//! A socket's address holds 107 bytes of path; a state directory may be deeper. So the directory is opened and the
//! socket named through `/proc/self/fd`.

use rustix::fs::{Mode, OFlags, open};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

fn short(directory: &Path, name: &str) -> io::Result<(OwnedFd, PathBuf)> {
    let fd = open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", fd.as_raw_fd()));
    Ok((fd, path))
}

/// Listens at `directory/name`, in place of whatever was there.
pub(super) fn listen(directory: &Path, name: &str) -> io::Result<UnixListener> {
    let (_fd, path) = short(directory, name)?;
    super::layout::remove_file(&path)?;
    UnixListener::bind(path)
}

/// Connects to `directory/name`; none when nobody listens there.
pub(super) fn connect(directory: &Path, name: &str) -> io::Result<Option<UnixStream>> {
    let nobody = |error: &io::Error| {
        matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
    };
    let found = short(directory, name).and_then(|(_fd, path)| UnixStream::connect(path));
    match found {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if nobody(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_paths_work_and_a_closed_listener_is_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("x".repeat(120));
        assert!(connect(&deep, "shim.sock").unwrap().is_none());
        std::fs::create_dir(&deep).unwrap();
        assert!(connect(&deep, "shim.sock").unwrap().is_none());
        let listener = listen(&deep, "shim.sock").unwrap();
        assert!(connect(&deep, "shim.sock").unwrap().is_some());
        drop(listener);
        assert!(connect(&deep, "shim.sock").unwrap().is_none());
        listen(&deep, "shim.sock").unwrap();
    }
}
