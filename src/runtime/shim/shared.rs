//! Namespaces that the containers of a task share for the task's life: `pidMode` and `ipcMode` `task`.
//!
//! A namespace lives as long as something holds it. The shim holds that of IPC by a descriptor, and another of a mount
//! namespace that has nothing but the task's `/dev/shm` as its root. A process namespace lives as long as its first
//! process, so a copy of the shim stays as that: the *anchor*. It only reaps. It has no capabilities, an empty root and
//! no descriptor but of `/dev/null`, so that a container of the task finds nothing in it, and it ends with the shim,
//! which ends all containers of the task.

use crate::runtime::process::default_signals;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use rustix::fs::{CWD, Mode, OFlags, open};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount,
    mount_change, mount_remount, move_mount, open_tree, unmount,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::DumpableBehavior;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What a task's containers share, as far as one of them has asked for it.
#[derive(Debug, Default)]
pub(super) struct Shared {
    anchor: Option<Pid>,
    ipc: Option<Ipc>,
}

#[derive(Debug)]
struct Ipc {
    namespace: OwnedFd,
    /// Of mounts.
    memory: OwnedFd,
}

/// Where a container finds the namespaces that it joins; good while the shim lives.
#[derive(Debug, Clone, Default)]
pub(crate) struct Joined {
    pub(crate) network: Option<PathBuf>,
    pub(crate) pid: Option<PathBuf>,
    pub(crate) ipc: Option<PathBuf>,
    /// The mount namespace with the task's `/dev/shm`.
    pub(super) memory: Option<PathBuf>,
}

const MEMORY_FLAGS: MountFlags =
    MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

impl Shared {
    /// Makes what is asked for, unless it is there. `directory` is any that exists.
    pub(super) fn provide(&mut self, pid: bool, ipc: bool, directory: &Path) -> io::Result<Joined> {
        let mut joined = Joined::default();
        if pid {
            let anchor = match self.anchor {
                Some(anchor) => anchor,
                None => *self.anchor.insert(start_anchor(directory)?),
            };
            joined.pid = Some(format!("/proc/{anchor}/ns/pid").into());
        }
        if ipc {
            let ipc = match &self.ipc {
                Some(ipc) => ipc,
                None => self.ipc.insert(make_ipc(directory)?),
            };
            let shim = std::process::id();
            let path = |fd: &OwnedFd| Some(format!("/proc/{shim}/fd/{}", fd.as_raw_fd()).into());
            joined.ipc = path(&ipc.namespace);
            joined.memory = path(&ipc.memory);
        }
        Ok(joined)
    }

    /// True when the process that ended was the anchor. The kernel has killed the containers with it.
    pub(super) fn ended(&mut self, pid: i32) -> bool {
        let own = self.anchor.is_some_and(|anchor| anchor.as_raw() == pid);
        if own {
            self.anchor = None;
        }
        own
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(anchor) = self.anchor.take() {
            let _ = nix::sys::signal::kill(anchor, Signal::SIGKILL);
            let _ = waitpid(anchor, None);
        }
    }
}

/// Mounts the task's `/dev/shm` at `target`, at least so large.
pub(super) fn mount_memory(namespace: &Path, mib: i64, target: &Path) -> io::Result<()> {
    let open_namespace = |path: &Path| open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let (own, other) =
        (open_namespace(Path::new("/proc/self/ns/mnt"))?, open_namespace(namespace)?);
    let mounts = Some(LinkNameSpaceType::Mount);
    move_into_link_name_space(other.as_fd(), mounts)?;
    // A mount of one namespace can be copied from inside of it only.
    let copied = grow(mib).and_then(|()| {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        Ok(open_tree(CWD, "/", flags)?)
    });
    move_into_link_name_space(own.as_fd(), mounts)?;
    rustix::process::chdir("/")?;
    fs::create_dir_all(target)?;
    move_mount(&copied?, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    Ok(())
}

/// Makes the file system at `/` as large as the largest that was asked for.
fn grow(mib: i64) -> io::Result<()> {
    let size = rustix::fs::statvfs("/")?;
    let wanted = u64::try_from(mib).unwrap_or(0).saturating_mul(1 << 20);
    if size.f_blocks.saturating_mul(size.f_frsize) < wanted {
        mount_remount("/", MEMORY_FLAGS, format!("size={}k", wanted >> 10).as_str())?;
    }
    Ok(())
}

/// A new IPC namespace, and a `/dev/shm` that goes with it.
fn make_ipc(directory: &Path) -> io::Result<Ipc> {
    let (mut ready, report) = channel()?;
    let (wait, go) = channel()?;
    let child = fork(|| {
        super::close_all_but(&mut [report.as_raw_fd(), wait.as_raw_fd()]);
        unshare(UnshareFlags::NEWIPC | UnshareFlags::NEWNS)?;
        become_root(directory, MEMORY_FLAGS, "mode=1777,size=64k")?;
        (&report).write_all(&[1])?;
        // Until the other side holds both; a shim that died does not wait for them.
        let _ = (&wait).read(&mut [0]);
        Ok(())
    })?;
    drop((report, wait));
    let held = ready.read_exact(&mut [0]).and_then(|()| {
        let hold = |kind: &str| {
            let path = format!("/proc/{child}/ns/{kind}");
            open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(io::Error::from)
        };
        Ok(Ipc { namespace: hold("ipc")?, memory: hold("mnt")? })
    });
    drop(go);
    let _ = waitpid(child, None);
    held
}

/// Forks the anchor and waits until it is nothing else any more.
fn start_anchor(directory: &Path) -> io::Result<Pid> {
    let own = open("/proc/self/ns/pid", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let (mut ready, report) = channel()?;
    // It takes hold in the next child, and only in that one.
    unshare(UnshareFlags::NEWPID)?;
    let forked = fork(|| {
        super::close_all_but(&mut [report.as_raw_fd()]);
        become_anchor(directory)?;
        (&report).write_all(&[1])?;
        super::close_all_but(&mut []);
        anchor()
    });
    move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::ProcessID))?;
    let child = forked?;
    drop(report);
    match ready.read_exact(&mut [0]) {
        Ok(()) => Ok(child),
        Err(error) => {
            let _ = waitpid(child, None);
            Err(error)
        }
    }
}

fn become_anchor(directory: &Path) -> io::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rename_process()?;
    // Even what `/proc/1/net` and its like show is not the box's.
    unshare(
        UnshareFlags::NEWNS
            | UnshareFlags::NEWIPC
            | UnshareFlags::NEWNET
            | UnshareFlags::NEWUTS
            | UnshareFlags::NEWCGROUP,
    )?;
    become_root(directory, MEMORY_FLAGS | MountFlags::RDONLY, "mode=755,size=4k")?;
    let none = caps::CapsHashSet::new();
    crate::runtime::capability::bound(&none).map_err(io::Error::other)?;
    crate::runtime::capability::keep_only(&none, false).map_err(io::Error::other)?;
    rustix::thread::set_no_new_privs(true)?;
    // Last, since it does not outlive all of the above. A shim that is gone already takes no report.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    Ok(())
}

/// Reaps what the containers leave, for ever. Whoever sends signals from inside sends them to nobody: the kernel keeps
/// them from a first process that has no handler.
fn anchor() -> io::Result<()> {
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    children.thread_block()?;
    loop {
        while let Ok(status) = waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
            if status == WaitStatus::StillAlive {
                break;
            }
        }
        children.wait()?;
    }
}

/// Makes an empty file system in memory this process's root, and the only mount it has.
fn become_root(directory: &Path, flags: MountFlags, options: &str) -> io::Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    mount("tmpfs", directory, "tmpfs", flags, Some(&*std::ffi::CString::new(options)?))?;
    rustix::process::chdir(directory)?;
    // The old root is mounted over the new one, and taken off.
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    Ok(())
}

/// What `ps` in a container shows of the anchor is not the box's paths.
#[expect(unsafe_code, reason = "arguments are changed where they lie in memory")]
fn rename_process() -> io::Result<()> {
    rustix::thread::set_name(c"pause")?;
    let text = fs::read_to_string("/proc/self/stat")?;
    // From the third field on: the second, the name, may hold anything.
    let fields: Vec<&str> =
        text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let number = |at: usize| fields.get(at - 3).and_then(|field| field.parse::<usize>().ok());
    let (Some(start), Some(end)) = (number(48), number(49)) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let name = b"pause\0";
    if start == 0 || end <= start {
        return Ok(());
    }
    // SAFETY: the kernel says that the arguments lie there; nobody in this copy reads them again.
    unsafe {
        std::ptr::write_bytes(start as *mut u8, 0, end - start);
        std::ptr::copy_nonoverlapping(name.as_ptr(), start as *mut u8, name.len().min(end - start));
    }
    Ok(())
}

fn channel() -> io::Result<(File, File)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((read.into(), write.into()))
}

fn unshare(flags: UnshareFlags) -> io::Result<()> {
    #[expect(unsafe_code, reason = "unsharing is only defined for one thread")]
    // SAFETY: the shim and its copies have one thread, and file descriptors are not unshared.
    unsafe { rustix::thread::unshare_unsafe(flags) }?;
    Ok(())
}

/// Forks; the child does `work` and ends.
#[expect(unsafe_code, reason = "namespaces are made in a copy of the shim")]
fn fork(work: impl FnOnce() -> io::Result<()>) -> io::Result<Pid> {
    // SAFETY: the shim has one thread, so the copy may do whatever the original could.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            default_signals();
            let code = i32::from(work().is_err());
            // SAFETY: ends this copy without running what the shim registered for its own end.
            unsafe { libc::_exit(code) }
        }
    }
}
