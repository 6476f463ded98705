//! A pseudo terminal of a container: the process's side in it, the other side out of it.
//!
//! The pair is made inside, from the container's own instance of devpts, by a process that is about to become the
//! container's; the master goes out over a socket. What the image has put at `/dev/ptmx`, `/dev/pts` or `/dev/console`
//! is never trusted: the opened file must be the kernel's (the class of CVE-2025-52565), and the slave comes from the
//! master, not from a path.

use super::socket;
use crate::model::TerminalSize;
use rustix::fs::{FileType, Mode, OFlags, fchown, fstat, fstatfs, open};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::process::Uid;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// `DEVPTS_SUPER_MAGIC`.
const DEVPTS: u64 = 0x1cd1;
/// `/dev/ptmx` is 5:2 everywhere.
const PTMX: (u32, u32) = (5, 2);
/// The inode of `ptmx` in every instance of devpts.
const PTMX_INODE: u64 = 2;

/// Both ends.
#[derive(Debug)]
pub(crate) struct Terminal {
    master: OwnedFd,
    slave: OwnedFd,
}

impl Terminal {
    /// Makes a pair in the container whose mount namespace this process is in.
    pub(crate) fn open() -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let master = open("/dev/pts/ptmx", flags | OFlags::CLOEXEC, Mode::empty())?;
        let stat = fstat(&master)?;
        let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        #[expect(clippy::cast_sign_loss, reason = "the type differs between architectures")]
        let magic = fstatfs(&master)?.f_type as u64;
        let real = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
        if !real || device != PTMX || stat.st_ino != PTMX_INODE || magic != DEVPTS {
            return Err(io::Error::other("/dev/pts/ptmx in the container is not the kernel's"));
        }
        unlockpt(&master)?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        Ok(Self { master, slave })
    }

    /// Shows the slave at `/dev/console`.
    pub(crate) fn bind_console(&self) -> io::Result<()> {
        let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        match open("/dev/console", create | OFlags::CLOEXEC, Mode::from_raw_mode(0o600)) {
            Ok(_) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let look = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = open("/dev/console", look, Mode::empty())?;
        if FileType::from_raw_mode(fstat(&target)?.st_mode) == FileType::Symlink {
            return Err(io::Error::other("/dev/console in the container is a symbolic link"));
        }
        let clone = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        let tree = open_tree(&self.slave, c"", clone)?;
        let by_descriptor =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(&tree, c"", &target, c"", by_descriptor)?;
        Ok(())
    }

    pub(crate) fn resize(&self, size: TerminalSize) -> io::Result<()> {
        resize(&self.master, size)
    }

    /// Sends the master away over `socket`, and makes the slave this process's controlling terminal and standard streams,
    /// owned by `uid`. The process must lead a session without a terminal.
    pub(crate) fn take(self, socket: impl AsFd, uid: u32) -> io::Result<()> {
        socket::send_with(socket, b"T", &[self.master.as_fd()])?;
        drop(self.master);
        fchown(&self.slave, Some(Uid::from_raw(uid)), None)?;
        rustix::process::ioctl_tiocsctty(&self.slave)?;
        rustix::stdio::dup2_stdin(&self.slave)?;
        rustix::stdio::dup2_stdout(&self.slave)?;
        rustix::stdio::dup2_stderr(&self.slave)?;
        Ok(())
    }
}

/// Sets what programs on a terminal take for its size; they get SIGWINCH when it changes.
pub(crate) fn resize(terminal: impl AsFd, size: TerminalSize) -> io::Result<()> {
    let TerminalSize { rows, columns } = size;
    tcsetwinsize(terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
    Ok(())
}
