//! `driverOpts` of the `local` volume driver: `type`, `device` and `o`, as Docker's has them.
//!
//! | options | the volume is |
//! | --- | --- |
//! | none | a directory of its own |
//! | `type=tmpfs`, `o=size=…,mode=…,uid=…` | a file system in memory, one for all who use it at the same time |
//! | `type=nfs` or `nfs4`, `device=[HOST]:/PATH`, `o=addr=HOST,…` | a directory of a file server |
//! | `type=cifs` or `smb3`, `device=//HOST/SHARE`, `o=username=…,…` | a share |
//! | `type=none`, `o=bind`, `device=/PATH` | a directory of the box, which must be there |

use super::mount_options::{MountOptions, UnknownOption};
use std::collections::BTreeMap;

/// What a volume of the `local` driver is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalVolume {
    /// A directory of its own.
    Directory,
    /// A directory of the box.
    Bind {
        /// Absolute.
        device: String,
        /// With what is mounted below it.
        recursive: bool,
        /// Flags only.
        options: MountOptions,
    },
    /// A file system that is mounted when it is used.
    Mounted {
        /// As the kernel knows it: `tmpfs`, `nfs`, `nfs4`, `cifs`, `smb3`.
        file_system: String,
        /// What is mounted.
        device: String,
        /// The rest.
        options: MountOptions,
    },
}

/// An option that makes no volume.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("driverOpts {key}: {reason}")]
pub struct LocalVolumeError {
    /// The key in `driverOpts`.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
}

const TMPFS: [&str; 8] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge"];

/// Options with a value that the kernel's client of NFS takes; those for mount.nfs alone are not among them.
const NFS_VALUES: [&str; 32] = [
    "acdirmax",
    "acdirmin",
    "acregmax",
    "acregmin",
    "actimeo",
    "addr",
    "bsize",
    "clientaddr",
    "fsc",
    "local_lock",
    "lookupcache",
    "max_connect",
    "minorversion",
    "mountaddr",
    "mounthost",
    "mountport",
    "mountproto",
    "mountvers",
    "namlen",
    "nconnect",
    "nfsvers",
    "port",
    "proto",
    "retrans",
    "rsize",
    "sec",
    "timeo",
    "trunkdiscovery",
    "vers",
    "write",
    "wsize",
    "xprtsec",
];
const NFS_WORDS: [&str; 35] = [
    "ac",
    "noac",
    "acl",
    "noacl",
    "cto",
    "nocto",
    "fsc",
    "nofsc",
    "hard",
    "soft",
    "softerr",
    "softreval",
    "nosoftreval",
    "intr",
    "nointr",
    "lock",
    "nolock",
    "migration",
    "nomigration",
    "posix",
    "noposix",
    "rdirplus",
    "nordirplus",
    "rdma",
    "resvport",
    "noresvport",
    "sharecache",
    "nosharecache",
    "tcp",
    "udp",
    "v2",
    "v3",
    "v4",
    "v4.1",
    "v4.2",
];
const CIFS_VALUES: [&str; 36] = [
    "acdirmax",
    "acregmax",
    "actimeo",
    "addr",
    "backupgid",
    "backupuid",
    "cache",
    "closetimeo",
    "dir_mode",
    "dirmode",
    "dom",
    "domain",
    "echo_interval",
    "file_mode",
    "gid",
    "handletimeout",
    "iocharset",
    "ip",
    "max_channels",
    "max_credits",
    "min_enc_offload",
    "netbiosname",
    "pass",
    "password",
    "port",
    "reparse",
    "rsize",
    "sec",
    "servern",
    "snapshot",
    "srcaddr",
    "uid",
    "user",
    "username",
    "vers",
    "wsize",
];
const CIFS_WORDS: [&str; 44] = [
    "acl",
    "noacl",
    "cifsacl",
    "nocifsacl",
    "dfs",
    "nodfs",
    "domainauto",
    "dynperm",
    "nodynperm",
    "forcegid",
    "noforcegid",
    "forceuid",
    "noforceuid",
    "fsc",
    "guest",
    "handlecache",
    "nohandlecache",
    "hard",
    "nohard",
    "idsfromsid",
    "linux",
    "nolinux",
    "mapchars",
    "nomapchars",
    "mapposix",
    "mfsymlinks",
    "multichannel",
    "nobrl",
    "nolease",
    "noperm",
    "perm",
    "noserverino",
    "nosparse",
    "persistenthandles",
    "nopersistenthandles",
    "posix",
    "noposix",
    "rdma",
    "seal",
    "serverino",
    "sign",
    "soft",
    "unix",
    "nounix",
];

impl LocalVolume {
    /// Reads `driverOpts`.
    ///
    /// # Errors
    /// The first key that cannot be honoured.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self, LocalVolumeError> {
        let refuse =
            |key: &str, reason: String| Err(LocalVolumeError { key: key.to_owned(), reason });
        if let Some(key) = options.keys().find(|k| !matches!(k.as_str(), "type" | "device" | "o")) {
            return refuse(key, "the driver local knows type, device and o only".to_owned());
        }
        let of = |key: &str| options.get(key).map_or("", |value| value.trim());
        let (kind, device, list) = (of("type"), of("device"), of("o"));
        if options.values().all(|value| value.trim().is_empty()) {
            return Ok(Self::Directory);
        }
        if device.contains('\0') || list.contains('\0') {
            return refuse("o", "it holds a NUL".to_owned());
        }
        let bound = list.split(',').map(str::trim).any(|word| matches!(word, "bind" | "rbind"));
        if bound || kind == "none" {
            if !bound {
                return refuse("o", "type none needs o=bind".to_owned());
            }
            if !matches!(kind, "none" | "") {
                return refuse("type", format!("{kind} cannot be bound: set it to none"));
            }
            return Self::bind(device, list);
        }
        let (values, words): (&[&str], &[&str]) = match kind {
            "tmpfs" => (&TMPFS, &[]),
            "nfs" | "nfs4" => (&NFS_VALUES, &NFS_WORDS),
            "cifs" | "smb3" => (&CIFS_VALUES, &CIFS_WORDS),
            "" => return refuse("type", "it is missing: none, tmpfs, nfs or cifs".to_owned()),
            other => {
                let known = "none, tmpfs, nfs, nfs4, cifs and smb3 are supported on this box";
                return refuse("type", format!("{other} is not supported: {known}"));
            }
        };
        let options = MountOptions::of_list(list, |option| match option.split_once('=') {
            Some((key, value)) => values.contains(&key) && !value.is_empty(),
            None => words.contains(&option),
        })
        .map_err(|UnknownOption { option, reason }| LocalVolumeError {
            key: "o".to_owned(),
            reason: format!("{}: {reason}", without_value(&option)),
        })?;
        match kind {
            "nfs" | "nfs4" => match device.split_once(":/") {
                Some((host, _)) if !host.is_empty() || options.value("addr").is_some() => {}
                Some(_) => return refuse("o", "addr is missing: the file server".to_owned()),
                None => return refuse("device", "it must be :/PATH or HOST:/PATH".to_owned()),
            },
            "cifs" | "smb3" if host_of_share(device).is_none() => {
                return refuse("device", "it must be //HOST/SHARE".to_owned());
            }
            _ => {}
        }
        let device = if device.is_empty() { kind } else { device };
        Ok(Self::Mounted { file_system: kind.to_owned(), device: device.to_owned(), options })
    }

    fn bind(device: &str, list: &str) -> Result<Self, LocalVolumeError> {
        if !device.starts_with('/') {
            let reason = "it must be the absolute path of a directory of the box".to_owned();
            return Err(LocalVolumeError { key: "device".to_owned(), reason });
        }
        let mut options = MountOptions::of_list(list, |word| matches!(word, "bind" | "rbind"))
            .map_err(|UnknownOption { option, reason }| LocalVolumeError {
                key: "o".to_owned(),
                reason: format!("{}: {reason}", without_value(&option)),
            })?;
        let recursive = options.data.iter().any(|word| word == "rbind");
        options.data.clear();
        Ok(Self::Bind { device: device.to_owned(), recursive, options })
    }
}

/// The host of `//HOST/SHARE`.
#[must_use]
pub fn host_of_share(device: &str) -> Option<&str> {
    let (host, share) = device.strip_prefix("//")?.split_once('/')?;
    (!host.is_empty() && !share.is_empty()).then_some(host)
}

/// Values may be passwords.
fn without_value(option: &str) -> &str {
    option.split_once('=').map_or(option, |(key, _)| key)
}

#[cfg(test)]
mod tests {
    use super::super::mount_options::MountFlag;
    use super::*;

    fn parse(options: &[(&str, &str)]) -> Result<LocalVolume, LocalVolumeError> {
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        LocalVolume::parse(&options.iter().map(pair).collect())
    }

    fn mounted(options: &[(&str, &str)]) -> (String, String, MountOptions) {
        match parse(options).unwrap() {
            LocalVolume::Mounted { file_system, device, options } => (file_system, device, options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn volumes_are_read_as_dockers() {
        assert_eq!(parse(&[]).unwrap(), LocalVolume::Directory);
        let (kind, device, options) =
            mounted(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=100m,uid=1000,noexec")]);
        assert_eq!((kind.as_str(), device.as_str()), ("tmpfs", "tmpfs"));
        assert_eq!(options.data, ["size=100m", "uid=1000"]);
        assert!(options.flags.contains(&MountFlag::NoExecute));

        let (kind, device, options) = mounted(&[
            ("type", "nfs"),
            ("device", ":/srv/data"),
            ("o", "addr=192.0.2.1,rw,nfsvers=4,soft, timeo=30"),
        ]);
        assert_eq!((kind.as_str(), device.as_str()), ("nfs", ":/srv/data"));
        assert_eq!(options.data, ["addr=192.0.2.1", "nfsvers=4", "soft", "timeo=30"]);

        let (kind, _, options) = mounted(&[
            ("type", "cifs"),
            ("device", "//nas/share"),
            ("o", "username=u,password=p=q,vers=3.0,file_mode=0777"),
        ]);
        assert_eq!((kind.as_str(), options.value("password")), ("cifs", Some("p=q")));

        let bind = parse(&[("type", "none"), ("o", "bind,ro"), ("device", "/srv")]).unwrap();
        let LocalVolume::Bind { device, recursive: false, options } = bind else {
            panic!("{bind:?}")
        };
        assert_eq!(device, "/srv");
        assert!(options.flags.contains(&MountFlag::ReadOnly) && options.data.is_empty());
    }

    #[test]
    fn what_is_not_honoured_is_named() {
        let cases: [(&[(&str, &str)], &str); 12] = [
            (&[("size", "1g")], "driverOpts size"),
            (&[("type", "zfs"), ("device", "x")], "driverOpts type: zfs"),
            (&[("device", "/dev/sda1")], "driverOpts type: it is missing"),
            (&[("type", "tmpfs"), ("o", "size=1m,colour=red")], "driverOpts o: colour"),
            (&[("type", "nfs"), ("device", ":/x")], "driverOpts o: addr is missing"),
            (&[("type", "nfs"), ("device", "srv")], "driverOpts device"),
            (&[("type", "nfs"), ("device", "h:/x"), ("o", "_netdev")], "driverOpts o: _netdev"),
            (&[("type", "cifs"), ("device", "//nas")], "driverOpts device"),
            (
                &[("type", "cifs"), ("device", "//nas/s"), ("o", "credentials=/etc/c")],
                "driverOpts o: credentials:",
            ),
            (&[("type", "none"), ("device", "/x")], "driverOpts o: type none needs"),
            (&[("type", "none"), ("o", "bind"), ("device", "x")], "driverOpts device"),
            (&[("type", "ext4"), ("o", "bind"), ("device", "/x")], "driverOpts type: ext4"),
        ];
        for (options, expected) in cases {
            let error = parse(options).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{options:?}: {error}");
        }
    }
}
