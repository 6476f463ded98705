//! Unix sockets at paths of any length.
//!
//! A socket's address holds 107 bytes of path; a state directory may be deeper. So the directory is opened and the
//! socket named through `/proc/self/fd`. Descriptors travel over them beside bytes.

use rustix::fs::{Mode, OFlags, open};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// As many descriptors come with one message at most.
const PASSED_AT_ONCE: usize = 3;

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

/// Sends descriptors with the beginning of `bytes`; how many bytes went.
pub(crate) fn send_with(
    socket: impl AsFd,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PASSED_AT_ONCE))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = SendFlags::NOSIGNAL;
    Ok(rustix::io::retry_on_intr(|| {
        sendmsg(&socket, &[IoSlice::new(bytes)], &mut ancillary, flags)
    })?)
}

/// Reads bytes and the descriptors that came with them.
pub(crate) fn receive_with(
    socket: impl AsFd,
    bytes: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PASSED_AT_ONCE))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut ancillary, flags)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            fds.extend(passed);
        }
    }
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};

    #[test]
    fn long_paths_work_and_a_closed_listener_is_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("x".repeat(120));
        assert!(connect(&deep, "shim.sock").unwrap().is_none());
        std::fs::create_dir(&deep).unwrap();
        assert!(connect(&deep, "shim.sock").unwrap().is_none());
        let listener = listen(&deep, "shim.sock").unwrap();
        assert!(connect(&deep, "shim.sock").unwrap().is_some());
        // A program that another test starts may hold a copy until it is executed.
        rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
        assert!(connect(&deep, "shim.sock").unwrap().is_none());
        listen(&deep, "shim.sock").unwrap();
    }

    #[test]
    fn descriptors_travel_with_bytes() {
        let (one, other) = UnixStream::pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        assert_eq!(send_with(&one, b"hello", &[writer.as_fd()]).unwrap(), 5);
        drop(writer);
        let (mut buffer, mut fds) = ([0; 16], Vec::new());
        assert_eq!(receive_with(&other, &mut buffer, &mut fds).unwrap(), 5);
        assert_eq!(&buffer[..5], b"hello");
        File::from(fds.pop().unwrap()).write_all(b"through").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }
}
