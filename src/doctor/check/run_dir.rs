//! The run directory and the socket in it, which is the way to do everything with the box.

use super::Check;
use crate::doctor::finding::Finding;
use crate::doctor::mount::{mounts, of};
use crate::doctor::subject::Subject;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

pub(super) const CHECK: Check = Check::new(
    "run-dir",
    "The run directory is on a tmpfs, and only those who may do everything on this box get at the socket in it: root, and the group that it belongs to.",
    "`socket_group` in `/etc/coracle/agent.toml`; `usermod -aG coracle USER` for who may use it; `chmod 0660` of the socket.",
    look,
);

fn look(subject: &Subject) -> Finding {
    let dir = subject.run_dir();
    let socket = crate::config::socket(dir);
    let shown = socket.display().to_string();
    let groups = subject.text("/etc/group").unwrap_or_default();
    let wanted = subject.config().and_then(|config| config.socket_group.as_deref());
    if let Some(group) = wanted.filter(|group| !is_known(&groups, group)) {
        let what = format!(
            "there is no group {group}, which socket_group names: the agent does not start"
        );
        return Finding::error(what, format!("sudo groupadd --system {group}"));
    }
    let metadata = match std::fs::metadata(&socket) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Finding::ok(format!("{shown} is not there: no {} runs", subject.who()));
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Finding::skipped(format!("{shown} may not be looked at by this user"));
        }
        Err(error) => {
            let what = format!("{shown} cannot be looked at: {error}");
            return Finding::error(what, format!("sudo systemctl restart {}", subject.unit()));
        }
    };
    if !metadata.file_type().is_socket() {
        let remedy = format!("sudo rm {shown} && sudo systemctl restart {}", subject.unit());
        return Finding::error(format!("{shown} is no socket"), remedy);
    }
    let mounts = mounts(subject);
    let kind = of(&mounts, dir).map(|mount| mount.kind.clone());
    let group = name(&groups, metadata.gid());
    judge(&shown, metadata.mode() & 0o777, &group, wanted, kind.as_deref())
}

/// The groups in a text of the form of `/etc/group`: name and number.
fn all(groups: &str) -> impl Iterator<Item = (&str, &str)> {
    groups.lines().filter_map(|line| {
        let mut fields = line.split(':');
        Some((fields.next()?, fields.nth(1)?))
    })
}

/// The agent takes a number as it is.
fn is_known(groups: &str, group: &str) -> bool {
    group.parse::<u32>().is_ok() || all(groups).any(|(name, _)| name == group)
}

fn name(groups: &str, gid: u32) -> String {
    let found = all(groups).find(|(_, number)| number.parse() == Ok(gid));
    found.map_or_else(|| gid.to_string(), |(name, _)| name.to_owned())
}

fn judge(
    socket: &str,
    mode: u32,
    group: &str,
    wanted: Option<&str>,
    kind: Option<&str>,
) -> Finding {
    let mut wrong = Vec::new();
    let shared = mode & 0o070 != 0;
    if mode & 0o007 != 0 {
        wrong.push(Finding::error(
            format!("{socket} has mode {mode:04o}: every user of this box can do what root can"),
            format!("sudo chmod {:04o} {socket}", mode & 0o770),
        ));
    }
    if shared && matches!(group, "users" | "nogroup" | "nobody") {
        let what = format!("the group {group} may use {socket}, and so may do what root can");
        wrong.push(Finding::error(
            what,
            "set socket_group = \"coracle\" in /etc/coracle/agent.toml, and restart",
        ));
    } else if let Some(wanted) =
        wanted.filter(|w| !shared || (*w != group && w.parse::<u32>().is_err()))
    {
        let whose = if shared { group } else { "root alone" };
        let what = format!("{socket} is for {whose}, and socket_group is {wanted}");
        wrong.push(Finding::warning(what, "sudo systemctl restart coracle"));
    }
    if let Some(kind) = kind.filter(|kind| !matches!(*kind, "tmpfs" | "ramfs" | "rootfs")) {
        wrong.push(Finding::warning(
            format!("the run directory is on {kind}: what is in it is old after a reboot, and wears the disk"),
            "set run_dir to a directory below /run",
        ));
    }
    Finding::all(wrong, || {
        let whom =
            if shared { format!("root and the group {group}") } else { "root alone".to_owned() };
        Finding::ok(format!("{socket} is for {whom}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;
    use crate::doctor::subject::a_box;

    #[test]
    fn who_may_use_the_socket() {
        let status = |mode, group, kind| judge("s", mode, group, None, Some(kind)).status;
        assert_eq!(status(0o600, "root", "tmpfs"), Status::Ok);
        assert!(judge("s", 0o660, "coracle", None, None).found.contains("the group coracle"));
        assert_eq!(status(0o666, "coracle", "tmpfs"), Status::Error);
        assert_eq!(status(0o660, "users", "tmpfs"), Status::Error);
        assert_eq!(status(0o660, "coracle", "ext4"), Status::Warning);
        let wanted = |mode, group| judge("s", mode, group, Some("coracle"), None).status;
        assert_eq!(wanted(0o660, "coracle"), Status::Ok);
        assert_eq!(wanted(0o660, "adm"), Status::Warning);
        assert_eq!(wanted(0o600, "root"), Status::Warning);
        assert_eq!(name("root:x:0:\nadm:x:4:ada\n", 4), "adm");
        assert_eq!(name("", 4), "4");
    }

    #[test]
    fn a_file_in_its_place_and_a_group_that_is_not_there() {
        let (dir, subject) = a_box(&[("/etc/group", "root:x:0:\n")]);
        assert_eq!(look(&subject).status, Status::Ok);
        let run = dir.path().join("run/coracle");
        std::fs::create_dir_all(&run).unwrap();
        std::fs::write(run.join("api.sock"), "").unwrap();
        assert!(look(&subject).found.contains("no socket"));
        let subject = subject.configured(|config| config.socket_group = Some("crew".to_owned()));
        let missing = look(&subject);
        assert_eq!(missing.remedy.as_deref(), Some("sudo groupadd --system crew"));
        assert_eq!(missing.status, Status::Error);
    }
}
