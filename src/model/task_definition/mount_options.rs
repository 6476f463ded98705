//! Options of mounts: those of `linuxParameters.tmpfs`, and `o` of the `local` volume driver.
//!
//! The words are those of mount(8). What a kernel takes as a flag is told apart from what it hands to the file system;
//! a word that would have no effect here is refused by name, never dropped.

use std::collections::BTreeSet;

/// A flag of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say what they are")]
pub enum MountFlag {
    ReadOnly,
    NoSetuid,
    NoDevices,
    NoExecute,
    Synchronous,
    SynchronousDirectories,
    NoAccessTimes,
    NoDirectoryAccessTimes,
    RelativeAccessTimes,
    StrictAccessTimes,
}

/// How mounts below spread to copies of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of mount(8)")]
pub enum Propagation {
    Private,
    Shared,
    Slave,
    Unbindable,
}

/// Parsed options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// Flags that are set.
    pub flags: BTreeSet<MountFlag>,
    /// `key` or `key=value`, for the file system.
    pub data: Vec<String>,
    /// If one was named.
    pub propagation: Option<Propagation>,
}

/// An option that is not honoured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownOption {
    /// As it was written.
    pub option: String,
    /// Why.
    pub reason: &'static str,
}

/// Options of a tmpfs that take a value.
const TMPFS_DATA: [&str; 6] = ["mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"];

impl MountOptions {
    /// What `linuxParameters.tmpfs[].mountOptions` says; without it a tmpfs is `nosuid,nodev,noexec`, as Docker's.
    ///
    /// # Errors
    /// The first option that is not honoured.
    pub fn of_tmpfs(options: &[String]) -> Result<Self, UnknownOption> {
        use MountFlag::{NoDevices, NoExecute, NoSetuid};
        let flags = BTreeSet::from([NoSetuid, NoDevices, NoExecute]);
        let mut parsed = Self { flags, ..Self::default() };
        for option in options {
            let refuse = |reason| UnknownOption { option: option.clone(), reason };
            if parsed.flag(option) || parsed.spread(option) {
                continue;
            }
            let Some((key, value)) = option.split_once('=') else {
                return Err(refuse(match option.as_str() {
                    "mand" => "Linux has no mandatory locks any more",
                    "remount" => "the mount is a new one",
                    "bind" | "rbind" => "use a volume with a host sourcePath",
                    key if TMPFS_DATA.contains(&key) => "it needs a value",
                    _ => "it is not an option of tmpfs",
                }));
            };
            if !TMPFS_DATA.contains(&key) {
                return Err(refuse("it is not an option of tmpfs"));
            }
            if !has_valid_value(key, value) {
                return Err(refuse("its value is not valid"));
            }
            parsed.data.push(option.clone());
        }
        Ok(parsed)
    }

    /// What a list separated by commas says; `accepts` knows what is for the file system.
    pub(super) fn of_list(
        list: &str,
        accepts: impl Fn(&str) -> bool,
    ) -> Result<Self, UnknownOption> {
        let mut parsed = Self::default();
        for option in list.split(',').map(str::trim).filter(|option| !option.is_empty()) {
            if parsed.flag(option) {
                continue;
            }
            if !accepts(option) {
                let reason = "it is not an option of this type of volume";
                return Err(UnknownOption { option: option.to_owned(), reason });
            }
            parsed.data.push(option.to_owned());
        }
        Ok(parsed)
    }

    /// The value of an option for the file system.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        self.data.iter().rev().find_map(|option| option.strip_prefix(key)?.strip_prefix('='))
    }

    /// Takes a word that sets or clears flags.
    fn flag(&mut self, option: &str) -> bool {
        use MountFlag as F;
        let (flag, on) = match option {
            // The usual ones, which are there already.
            "defaults" | "nomand" => return true,
            "ro" => (F::ReadOnly, true),
            "rw" => (F::ReadOnly, false),
            "nosuid" => (F::NoSetuid, true),
            "suid" => (F::NoSetuid, false),
            "nodev" => (F::NoDevices, true),
            "dev" => (F::NoDevices, false),
            "noexec" => (F::NoExecute, true),
            "exec" => (F::NoExecute, false),
            "sync" => (F::Synchronous, true),
            "async" => (F::Synchronous, false),
            "dirsync" => (F::SynchronousDirectories, true),
            "noatime" => (F::NoAccessTimes, true),
            "atime" => (F::NoAccessTimes, false),
            "nodiratime" => (F::NoDirectoryAccessTimes, true),
            "diratime" => (F::NoDirectoryAccessTimes, false),
            "relatime" => (F::RelativeAccessTimes, true),
            "norelatime" => (F::RelativeAccessTimes, false),
            "strictatime" => (F::StrictAccessTimes, true),
            "nostrictatime" => (F::StrictAccessTimes, false),
            _ => return false,
        };
        if on {
            if matches!(flag, F::NoAccessTimes | F::RelativeAccessTimes | F::StrictAccessTimes) {
                // One of them holds: the last one named.
                for other in [F::NoAccessTimes, F::RelativeAccessTimes, F::StrictAccessTimes] {
                    self.flags.remove(&other);
                }
            }
            self.flags.insert(flag);
        } else {
            self.flags.remove(&flag);
        }
        true
    }

    fn spread(&mut self, option: &str) -> bool {
        self.propagation = Some(match option {
            // Nothing is mounted below a new file system, so both forms mean the same.
            "private" | "rprivate" => Propagation::Private,
            "shared" | "rshared" => Propagation::Shared,
            "slave" | "rslave" => Propagation::Slave,
            "unbindable" | "runbindable" => Propagation::Unbindable,
            _ => return false,
        });
        true
    }
}

fn has_valid_value(key: &str, value: &str) -> bool {
    let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    match key {
        "mode" => value.len() <= 5 && u32::from_str_radix(value, 8).is_ok_and(|m| m <= 0o7777),
        "uid" | "gid" => digits && value.parse::<u32>().is_ok(),
        "nr_inodes" | "nr_blocks" => {
            let number = value.strip_suffix(['k', 'K', 'm', 'M', 'g', 'G']).unwrap_or(value);
            !number.is_empty() && number.parse::<u64>().is_ok()
        }
        // Words and lists of nodes; the kernel knows which nodes there are.
        _ => {
            !value.is_empty()
                && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"=:,-".contains(&b))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MountFlag as F;

    fn tmpfs(options: &[&str]) -> Result<MountOptions, UnknownOption> {
        let options: Vec<String> = options.iter().map(|&o| o.to_owned()).collect();
        MountOptions::of_tmpfs(&options)
    }

    #[test]
    fn every_word_of_ecs_has_its_effect_or_is_refused() {
        let usual = BTreeSet::from([F::NoSetuid, F::NoDevices, F::NoExecute]);
        for none in ["defaults", "rw", "nosuid", "async", "nomand", "atime", "norelatime"] {
            assert_eq!(tmpfs(&[none]).unwrap().flags, usual, "{none}");
        }
        for (word, flag) in [
            ("ro", F::ReadOnly),
            ("sync", F::Synchronous),
            ("dirsync", F::SynchronousDirectories),
            ("noatime", F::NoAccessTimes),
            ("nodiratime", F::NoDirectoryAccessTimes),
            ("relatime", F::RelativeAccessTimes),
            ("strictatime", F::StrictAccessTimes),
        ] {
            assert!(tmpfs(&[word]).unwrap().flags.contains(&flag), "{word}");
        }
        for (word, flag) in [("suid", F::NoSetuid), ("dev", F::NoDevices), ("exec", F::NoExecute)] {
            assert!(!tmpfs(&[word]).unwrap().flags.contains(&flag), "{word}");
        }
        for (word, propagation) in [
            ("rprivate", Propagation::Private),
            ("shared", Propagation::Shared),
            ("rslave", Propagation::Slave),
            ("runbindable", Propagation::Unbindable),
        ] {
            assert_eq!(tmpfs(&[word]).unwrap().propagation, Some(propagation));
        }
        for data in ["mode=1777", "uid=7", "gid=8", "nr_inodes=2k", "nr_blocks=9", "mpol=local"] {
            assert_eq!(tmpfs(&[data]).unwrap().data, [data]);
        }
        for refused in ["mand", "remount", "bind", "rbind", "mode", "mode=9"] {
            assert_eq!(tmpfs(&["rw", refused]).unwrap_err().option, refused);
        }
        for refused in ["uid=", "uid=-1", "uid=99999999999", "nr_inodes=k", "mpol=a b", "size=1m"] {
            assert_eq!(tmpfs(&[refused]).unwrap_err().option, refused);
        }
    }

    #[test]
    fn the_last_word_wins() {
        assert!(!tmpfs(&["ro", "rw"]).unwrap().flags.contains(&F::ReadOnly));
        let times = tmpfs(&["noatime", "strictatime"]).unwrap().flags;
        assert!(times.contains(&F::StrictAccessTimes) && !times.contains(&F::NoAccessTimes));
        let both = tmpfs(&["mode=700", "mode=755"]).unwrap();
        assert_eq!((both.value("mode"), both.value("uid")), (Some("755"), None));
    }
}
