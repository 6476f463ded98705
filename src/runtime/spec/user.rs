//! `user`: names and numbers, looked up in the container's `/etc/passwd` and `/etc/group` as Docker does.

use super::rootfs::RootFs;
use std::io;

/// Who the process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups, the primary one among them.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// Why there is no such user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserError {
    #[error("unable to find user {0}: no matching entries in passwd file")]
    UnknownUser(String),
    #[error("unable to find group {0}: no matching entries in group file")]
    UnknownGroup(String),
    #[error("cannot read the container's /etc/passwd or /etc/group: {0}")]
    Read(#[from] io::Error),
}

impl User {
    pub(crate) fn find(rootfs: &RootFs, wanted: &str) -> Result<Self, UserError> {
        let passwd = rootfs.read("/etc/passwd")?.unwrap_or_default();
        let group = rootfs.read("/etc/group")?.unwrap_or_default();
        resolve(wanted, &passwd, &group)
    }
}

fn resolve(wanted: &str, passwd: &str, group: &str) -> Result<User, UserError> {
    let (user, group_wanted) = wanted.split_once(':').unwrap_or((wanted, ""));
    let user = if user.is_empty() { "0" } else { user };
    let number: Option<u32> = user.parse().ok().filter(|n| i32::try_from(*n).is_ok());
    // name:password:uid:gid:comment:home:shell
    let entries = passwd.lines().filter_map(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let uid: u32 = fields.get(2)?.parse().ok()?;
        let gid: u32 = fields.get(3)?.parse().ok()?;
        Some((*fields.first()?, uid, gid, *fields.get(5).unwrap_or(&"")))
    });
    let found = entries.into_iter().find(|(name, uid, ..)| *name == user || Some(*uid) == number);
    let (name, uid, mut gid, home) = match (found, number) {
        (Some((name, uid, gid, home)), _) => (Some(name), uid, gid, home),
        (None, Some(uid)) => (None, uid, 0, ""),
        (None, None) => return Err(UserError::UnknownUser(user.to_owned())),
    };
    // name:password:gid:members
    let groups_in_file = || {
        group.lines().filter_map(|line| {
            let fields: Vec<&str> = line.trim().split(':').collect();
            let gid: u32 = fields.get(2)?.parse().ok()?;
            Some((*fields.first()?, gid, fields.get(3).copied().unwrap_or("")))
        })
    };
    let mut supplementary = Vec::new();
    if group_wanted.is_empty() {
        if let Some(name) = name {
            supplementary.extend(
                groups_in_file()
                    .filter(|(_, _, members)| members.split(',').any(|m| m.trim() == name))
                    .map(|(_, gid, _)| gid),
            );
        }
    } else {
        let number: Option<u32> = group_wanted.parse().ok().filter(|n| i32::try_from(*n).is_ok());
        gid = groups_in_file()
            .find(|(name, gid, _)| *name == group_wanted || Some(*gid) == number)
            .map(|(_, gid, _)| gid)
            .or(number)
            .ok_or_else(|| UserError::UnknownGroup(group_wanted.to_owned()))?;
    }
    let mut groups = vec![gid];
    groups.extend(supplementary);
    groups.sort_unstable();
    groups.dedup();
    let home = if home.is_empty() { "/" } else { home };
    Ok(User { uid, gid, groups, home: home.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/srv/app:/bin/sh\n";
    const GROUP: &str = "root:x:0:\napp:x:1001:\naudio:x:29:app,other\nvideo:x:44:app\n";

    fn user(wanted: &str) -> User {
        resolve(wanted, PASSWD, GROUP).unwrap()
    }

    #[test]
    fn names_and_numbers_are_found() {
        let app =
            User { uid: 1000, gid: 1001, groups: vec![29, 44, 1001], home: "/srv/app".into() };
        assert_eq!(user("app"), app);
        assert_eq!(user("1000"), app);
        assert_eq!(user("").home, "/root");
    }

    #[test]
    fn an_explicit_group_brings_no_others() {
        let expected = User { uid: 1000, gid: 44, groups: vec![44], home: "/srv/app".into() };
        assert_eq!(user("app:video"), expected);
        assert_eq!(user("1000:44"), expected);
        assert_eq!(user("app:777").gid, 777);
    }

    #[test]
    fn unknown_numbers_are_taken_and_unknown_names_refused() {
        assert_eq!(user("4242"), User { uid: 4242, gid: 0, groups: vec![0], home: "/".into() });
        assert!(matches!(resolve("eve", PASSWD, GROUP), Err(UserError::UnknownUser(_))));
        assert!(matches!(resolve("app:eve", PASSWD, GROUP), Err(UserError::UnknownGroup(_))));
        assert!(matches!(resolve("-1", PASSWD, GROUP), Err(UserError::UnknownUser(_))));
    }
}
