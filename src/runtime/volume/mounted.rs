//! Volumes that are file systems: tmpfs, NFS, CIFS.
//!
//! One is mounted over the volume's directory in the mount namespace of the shim, which is not the host's then. Every
//! task that uses it has it there: the first mounts it, the others take a clone of its mount from the namespace of a
//! shim that has it, so all see the same file system, and it ends with the last of them. Nothing has to be unmounted:
//! a namespace takes its mounts along, however its shim dies.

use super::error::VolumeError;
use super::holder::Holder;
use crate::model::task_definition::{MountFlag, MountOptions, host_of_share};
use nix::sched::{CloneFlags, setns};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, mount, move_mount, open_tree};
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The options of a mount as the kernel takes them.
pub(super) fn kernel_flags(options: &MountOptions) -> MountFlags {
    let mut flags = MountFlags::empty();
    for flag in &options.flags {
        flags |= match flag {
            MountFlag::ReadOnly => MountFlags::RDONLY,
            MountFlag::NoSetuid => MountFlags::NOSUID,
            MountFlag::NoDevices => MountFlags::NODEV,
            MountFlag::NoExecute => MountFlags::NOEXEC,
            MountFlag::Synchronous => MountFlags::SYNCHRONOUS,
            MountFlag::SynchronousDirectories => MountFlags::DIRSYNC,
            MountFlag::NoAccessTimes => MountFlags::NOATIME,
            MountFlag::NoDirectoryAccessTimes => MountFlags::NODIRATIME,
            MountFlag::RelativeAccessTimes => MountFlags::RELATIME,
            MountFlag::StrictAccessTimes => MountFlags::STRICTATIME,
        };
    }
    flags
}

/// True when something is mounted at `directory` in this namespace.
pub(super) fn is_mounted(directory: &Path) -> io::Result<bool> {
    let parent = directory.parent().unwrap_or(directory);
    Ok(fs::symlink_metadata(directory)?.dev() != fs::symlink_metadata(parent)?.dev())
}

/// Clones what a living shim has mounted at `directory` to the same place here; false when none of them has.
pub(super) fn take_from(
    holders: impl Iterator<Item = Holder>,
    directory: &Path,
) -> io::Result<bool> {
    let own = File::open("/proc/self/ns/mnt")?;
    for holder in holders {
        let Ok(theirs) = File::open(format!("/proc/{}/ns/mnt", holder.pid)) else { continue };
        // Its number may have gone to another process since it was read.
        if !holder.lives() {
            continue;
        }
        setns(&theirs, CloneFlags::CLONE_NEWNS)?;
        let clone = clone_of(directory);
        setns(&own, CloneFlags::CLONE_NEWNS)?;
        if let Ok(Some(clone)) = clone {
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            move_mount(&clone, "", CWD, directory, flags)?;
            return Ok(true);
        }
    }
    Ok(false)
}

fn clone_of(directory: &Path) -> io::Result<Option<OwnedFd>> {
    if !is_mounted(directory)? {
        return Ok(None);
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(Some(open_tree(CWD, directory, flags)?))
}

/// Mounts a new file system at `directory`. Waits for its server; whoever calls this may be killed meanwhile.
pub(super) fn mount_at(
    volume: &str,
    file_system: &str,
    device: &str,
    options: &MountOptions,
    directory: &Path,
) -> Result<(), VolumeError> {
    let data = data(file_system, device, options, |host| resolve(volume, host))?;
    let failed = |source: io::Error| VolumeError::Mount {
        volume: volume.to_owned(),
        device: format!("{file_system} {device}"),
        source,
    };
    let data = CString::new(data).map_err(|e| failed(e.into()))?;
    match mount(device, directory, file_system, kernel_flags(options), Some(data.as_c_str())) {
        Ok(()) => Ok(()),
        Err(Errno::NODEV) => Err(VolumeError::NoFileSystem {
            volume: volume.to_owned(),
            file_system: file_system.to_owned(),
        }),
        Err(error) => Err(failed(error.into())),
    }
}

/// What the file system is told: the options, with the address of the server, which a kernel cannot look up.
fn data(
    file_system: &str,
    device: &str,
    options: &MountOptions,
    resolve: impl Fn(&str) -> Result<IpAddr, VolumeError>,
) -> Result<String, VolumeError> {
    let (key, of_device) = match file_system {
        "nfs" | "nfs4" => ("addr", device.split_once(":/").map(|(host, _)| host)),
        "cifs" | "smb3" => ("ip", host_of_share(device)),
        _ => return Ok(options.data.join(",")),
    };
    let is_address = |option: &&String| matches!(option.split_once('='), Some((name, _)) if name == "addr" || name == key);
    let named = options.data.iter().rev().find(is_address).and_then(|o| o.split_once('='));
    let host = named.map(|(_, host)| host).or(of_device).unwrap_or_default();
    // Brackets hold an IPv6 address in a device.
    let address = resolve(host.trim_start_matches('[').trim_end_matches(']'))?;
    let mut all: Vec<String> =
        options.data.iter().filter(|option| !is_address(option)).cloned().collect();
    all.push(format!("{key}={address}"));
    Ok(all.join(","))
}

fn resolve(volume: &str, host: &str) -> Result<IpAddr, VolumeError> {
    let failed =
        |source| VolumeError::Address { volume: volume.to_owned(), host: host.to_owned(), source };
    let mut found = (host, 0).to_socket_addrs().map_err(failed)?;
    found.next().map(|address| address.ip()).ok_or_else(|| failed(io::Error::other("it has none")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::task_definition::LocalVolume;
    use std::collections::BTreeMap;

    fn told(options: &[(&str, &str)]) -> (String, MountFlags) {
        let pair = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
        let options: BTreeMap<String, String> = options.iter().map(pair).collect();
        let LocalVolume::Mounted { file_system, device, options } =
            LocalVolume::parse(&options).unwrap()
        else {
            panic!("not a file system")
        };
        let resolve = |host: &str| {
            Ok(host.parse().unwrap_or_else(|_| {
                assert_eq!(host, "nas");
                IpAddr::from([192, 0, 2, 7])
            }))
        };
        (data(&file_system, &device, &options, resolve).unwrap(), kernel_flags(&options))
    }

    #[test]
    fn the_kernel_is_told_the_address_of_a_server() {
        let (data, flags) = told(&[
            ("type", "nfs"),
            ("device", ":/srv"),
            ("o", "addr=nas,ro,noatime,nfsvers=4,soft"),
        ]);
        assert_eq!(data, "nfsvers=4,soft,addr=192.0.2.7");
        assert_eq!(flags, MountFlags::RDONLY | MountFlags::NOATIME);
        let (data, _) = told(&[("type", "nfs4"), ("device", "nas:/srv"), ("o", "")]);
        assert_eq!(data, "addr=192.0.2.7");
        let (data, _) = told(&[("type", "nfs"), ("device", "[2001:db8::1]:/srv"), ("o", "v3")]);
        assert_eq!(data, "v3,addr=2001:db8::1");
        let (data, _) = told(&[
            ("type", "cifs"),
            ("device", "//nas/share"),
            ("o", "username=u,password=p,uid=1000"),
        ]);
        assert_eq!(data, "username=u,password=p,uid=1000,ip=192.0.2.7");
        let (data, _) =
            told(&[("type", "cifs"), ("device", "//files/share"), ("o", "addr=192.0.2.9,guest")]);
        assert_eq!(data, "guest,ip=192.0.2.9");
        let (data, _) = told(&[("type", "tmpfs"), ("o", "size=1m,mode=700")]);
        assert_eq!(data, "size=1m,mode=700");
    }

    #[test]
    fn a_server_that_has_no_address_is_named() {
        let error = resolve("data", "no.such.host.invalid").unwrap_err().to_string();
        assert!(error.starts_with("volume data: cannot find the address of no.such"), "{error}");
    }
}
