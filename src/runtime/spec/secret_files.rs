//! Secrets as files: on a tmpfs of the container's own, each bound to its path, read-only.
//!
//! The creator mounts the tmpfs in its private mount namespace, so nobody else sees it and it goes when the container
//! goes. The kernel is asked not to swap it; before Linux 6.3 it cannot be.

use super::{SpecError, User};
use crate::runtime::launch::SecretFile;
use rustix::mount::{MountFlags, mount};
use serde_json::{Value, json};
use std::ffi::CStr;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

/// Writes `files` on a tmpfs at `directory` and answers the mounts that show them to the container.
pub(super) fn mounts(
    files: &[SecretFile],
    directory: &Path,
    user: &User,
) -> Result<Vec<Value>, SpecError> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| SpecError::File { path, source }
    };
    mount_memory(directory).map_err(at(directory))?;
    let mut mounts = Vec::new();
    for (file, number) in files.iter().zip(0..) {
        let source = directory.join(format!("{number}"));
        write(&source, file, user).map_err(at(&file.path))?;
        mounts.push(json!({
            "type": "bind", "source": source, "destination": file.path,
            "options": ["bind", "rprivate", "ro", "nosuid", "nodev", "noexec"],
        }));
    }
    Ok(mounts)
}

fn mount_memory(directory: &Path) -> io::Result<()> {
    const OPTIONS: [&CStr; 2] = [c"mode=700,size=4m,noswap", c"mode=700,size=4m"];
    fs::create_dir_all(directory)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let mut last = Ok(());
    for options in OPTIONS {
        last = mount("tmpfs", directory, "tmpfs", flags, options);
        if last.is_ok() {
            break;
        }
    }
    Ok(last?)
}

fn write(path: &Path, file: &SecretFile, user: &User) -> io::Result<()> {
    let mut made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    made.write_all(file.content.as_bytes())?;
    let (uid, gid) = file.owner.unwrap_or((user.uid, user.gid));
    fchown(&made, Some(uid), Some(gid))?;
    made.set_permissions(Permissions::from_mode(file.mode))
}
