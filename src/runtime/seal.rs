//! The program that shims are executed from, sealed.
//!
//! A process in a container can reach the file that its runtime was executed from through `/proc/<pid>/exe`, and
//! overwrite the host's binary (CVE-2019-5736). So shims are not executed from the file but through a detached
//! read-only overlay mount of its directory, which shares its pages and cannot be written to; where the kernel has
//! none of that, from a sealed copy in memory.

use rustix::fs::{
    MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, memfd_create, open, openat,
};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen,
};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A handle on a program that nobody can write to through it.
#[derive(Debug)]
pub(super) struct SealedProgram {
    program: OwnedFd,
    /// The detached mount lives as long as this.
    _mount: Option<OwnedFd>,
}

impl SealedProgram {
    /// Seals the program at `path`; `empty` is a directory with nothing in it.
    pub(super) fn new(path: &Path, empty: &Path) -> io::Result<Self> {
        overlay(path, empty).or_else(|_| in_memory(path))
    }

    /// What to execute, as seen from this process.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.program.as_raw_fd()))
    }
}

fn overlay(path: &Path, empty: &Path) -> io::Result<SealedProgram> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    // Without a writable layer the kernel wants at least two.
    if super::kernel::takes_layers_one_by_one() {
        fsconfig_set_string(&fs, "lowerdir+", directory)?;
        fsconfig_set_string(&fs, "lowerdir+", empty)?;
    } else {
        let separators =
            |p: &Path| p.as_os_str().as_encoded_bytes().iter().any(|b| b":,\\".contains(b));
        if separators(directory) || separators(empty) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let both = format!("{}:{}", directory.display(), empty.display());
        fsconfig_set_string(&fs, "lowerdir", both.as_str())?;
    }
    fsconfig_create(&fs)?;
    let flags = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOSUID;
    let mount = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, flags)?;
    let program = openat(&mount, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    Ok(SealedProgram { program, _mount: Some(mount) })
}

fn in_memory(path: &Path) -> io::Result<SealedProgram> {
    let copy = memfd_create("coracle", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut copy = File::from(copy);
    io::copy(&mut File::open(path)?, &mut copy)?;
    fcntl_add_seals(
        &copy,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    // Opened again for reading: a file open for writing cannot be executed.
    let program = open(
        format!("/proc/self/fd/{}", copy.as_raw_fd()),
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    Ok(SealedProgram { program, _mount: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    fn check(seal: fn(&Path, &Path) -> io::Result<SealedProgram>) {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        // Beside each other: layers must not lie in one another.
        let (empty, program) = (dir.path().join("empty"), dir.path().join("bin/program"));
        fs::create_dir(&empty).unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        fs::copy("/bin/true", &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let before = fs::read(&program).unwrap();
        let sealed = seal(&program, &empty).unwrap();
        assert!(Command::new(sealed.path()).status().unwrap().success());
        let written = fs::OpenOptions::new()
            .write(true)
            .open(sealed.path())
            .and_then(|mut file| file.write_all(b"overwritten"));
        assert!(written.is_err());
        // Replacing the file, as an upgrade does, changes nothing for the handle.
        fs::remove_file(&program).unwrap();
        assert!(Command::new(sealed.path()).status().unwrap().success());
        assert_eq!(fs::read(sealed.path()).unwrap(), before);
    }

    #[test]
    fn the_overlay_handle_runs_and_cannot_be_written() {
        check(overlay);
    }

    #[test]
    fn the_copy_in_memory_runs_and_cannot_be_written() {
        check(|program, _| in_memory(program));
    }
}
