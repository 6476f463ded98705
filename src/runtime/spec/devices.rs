//! Devices of a container: Docker's defaults, those of the definition, or all for a privileged one.

use crate::model::task_definition::Device;
use crate::runtime::cgroup::{Access, DeviceRule, Kind};
use serde_json::{Value, json};
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Nodes to make and rules to enforce.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Devices {
    /// `linux.devices` of the OCI specification.
    pub(crate) nodes: Vec<Value>,
    pub(crate) rules: Vec<DeviceRule>,
}

/// (major, minor) of what every container may use: null, zero, full, random, urandom, tty, console, ptmx.
const DEFAULT: [(u32, u32); 8] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)];
/// Pseudo-terminals.
const PTS: u32 = 136;
/// A directory of devices is not followed deeper.
const MAX_DEPTH: usize = 8;

impl Devices {
    /// # Errors
    /// What is wrong, when a device of the definition is not there or is none.
    pub(crate) fn of(wanted: Option<&Vec<Device>>, privileged: bool) -> Result<Self, String> {
        let mut devices = Self::default();
        if privileged {
            devices.rules.push(DeviceRule::allow(Kind::All, None, None, Access::ALL));
            devices.add_tree(Path::new("/dev"), Path::new("/dev"), Access::ALL, 0);
        } else {
            devices.rules = default_rules();
        }
        for device in wanted.into_iter().flatten() {
            devices.add(device)?;
        }
        Ok(devices)
    }

    fn add(&mut self, device: &Device) -> Result<(), String> {
        let host = PathBuf::from(device.host_path.as_deref().unwrap_or_default());
        let inside = device
            .container_path
            .as_deref()
            .filter(|p| !p.is_empty())
            .map_or_else(|| host.clone(), PathBuf::from);
        let access = access(device.permissions.as_ref())?;
        let metadata = fs::metadata(&host).map_err(|e| {
            format!("error gathering device information of {}: {e}", host.display())
        })?;
        if metadata.is_dir() {
            self.add_tree(&host, &inside, access, 0);
            return Ok(());
        }
        if self.add_node(&metadata, &inside, access) {
            Ok(())
        } else {
            Err(format!("{} is not a device", host.display()))
        }
    }

    /// All devices below a directory, without following links.
    fn add_tree(&mut self, host: &Path, inside: &Path, access: Access, depth: usize) {
        for entry in fs::read_dir(host).into_iter().flatten().filter_map(Result::ok) {
            let (path, to) = (entry.path(), inside.join(entry.file_name()));
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if metadata.is_dir() {
                // What the container mounts itself.
                let own = ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/fd"];
                if depth < MAX_DEPTH && !own.iter().any(|p| path == Path::new(p)) {
                    self.add_tree(&path, &to, access, depth + 1);
                }
            } else if path != Path::new("/dev/console") {
                self.add_node(&metadata, &to, access);
            }
        }
    }

    fn add_node(&mut self, metadata: &Metadata, inside: &Path, access: Access) -> bool {
        let kind = metadata.file_type();
        let (letter, rule_kind) = if kind.is_char_device() {
            ("c", Kind::Char)
        } else if kind.is_block_device() {
            ("b", Kind::Block)
        } else {
            return false;
        };
        let (major, minor) =
            (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
        self.nodes.push(json!({
            "path": inside, "type": letter, "major": major, "minor": minor,
            "fileMode": metadata.mode() & 0o777, "uid": metadata.uid(), "gid": metadata.gid(),
        }));
        self.rules.push(DeviceRule::allow(rule_kind, Some(major), Some(minor), access));
        true
    }
}

fn default_rules() -> Vec<DeviceRule> {
    let mut rules = vec![
        DeviceRule::allow(Kind::Char, None, None, Access::MKNOD),
        DeviceRule::allow(Kind::Block, None, None, Access::MKNOD),
        DeviceRule::allow(Kind::Char, Some(PTS), None, Access::ALL),
    ];
    rules.extend(DEFAULT.map(|(major, minor)| {
        DeviceRule::allow(Kind::Char, Some(major), Some(minor), Access::ALL)
    }));
    rules
}

fn access(permissions: Option<&Vec<String>>) -> Result<Access, String> {
    let Some(permissions) = permissions.filter(|p| !p.is_empty()) else {
        return Ok(Access::ALL);
    };
    let mut access = Access { read: false, write: false, mknod: false };
    for permission in permissions {
        match permission.as_str() {
            "read" => access.read = true,
            "write" => access.write = true,
            "mknod" => access.mknod = true,
            other => return Err(format!("unknown device permission {other:?}")),
        }
    }
    Ok(access)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_brings_a_node_and_a_rule() {
        let device = Device {
            host_path: Some("/dev/zero".into()),
            container_path: Some("/dev/nothing".into()),
            permissions: Some(vec!["read".into()]),
        };
        let devices = Devices::of(Some(&vec![device]), false).unwrap();
        assert_eq!(devices.nodes.len(), 1);
        assert_eq!(devices.nodes[0]["path"], "/dev/nothing");
        assert_eq!(devices.rules.last().unwrap().to_string(), "c 1:5 r");
    }

    #[test]
    fn what_is_no_device_is_refused() {
        let device = Device { host_path: Some("/etc/passwd".into()), ..Device::default() };
        assert!(Devices::of(Some(&vec![device]), false).unwrap_err().contains("not a device"));
    }
}
