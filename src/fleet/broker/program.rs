//! Which mosquitto, which version of it, and the user it runs as.

use super::BrokerError;
use nix::unistd::{Gid, Uid, User};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// Where daemons are that are not on every user's `$PATH`.
const MORE: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];
/// Users without privileges, the better first.
const USERS: [&str; 2] = ["mosquitto", "nobody"];
/// The oldest major version that has what the configuration uses.
const OLDEST: u32 = 2;
/// For its version.
const PATIENCE: Duration = Duration::from_secs(20);

/// The program, fit for use.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    /// None: as whoever the hub is.
    pub(super) user: Option<Account>,
}

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: Uid,
    pub(super) gid: Gid,
}

impl Program {
    /// Looks for it and asks for its version.
    pub(super) async fn find(search_path: Option<&OsStr>) -> Result<Self, BrokerError> {
        let path = locate(search_path).ok_or(BrokerError::NotInstalled)?;
        let run = Command::new(&path).arg("-h").stdin(Stdio::null()).kill_on_drop(true).output();
        let output = tokio::time::timeout(PATIENCE, run)
            .await
            .map_err(|_| BrokerError::Late("tell its version"))?
            .map_err(|source| BrokerError::NotRunnable { program: path.clone(), source })?;
        // It ends with an error after its help, in every version.
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = version(&text).unwrap_or("unknown");
        if major(version).is_none_or(|major| major < OLDEST) {
            return Err(BrokerError::TooOld { program: path, version: version.to_owned() });
        }
        tracing::debug!(program = %path.display(), version, "found mosquitto");
        Ok(Self { path, user: unprivileged() })
    }
}

fn locate(search_path: Option<&OsStr>) -> Option<PathBuf> {
    let listed = search_path.map(std::env::split_paths).into_iter().flatten();
    let more = MORE.iter().map(PathBuf::from).filter(|_| search_path.is_some());
    listed.chain(more).map(|dir| dir.join("mosquitto")).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.is_absolute()
        && path
            .metadata()
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// `2.0.11` of the line `mosquitto version 2.0.11`.
fn version(help: &str) -> Option<&str> {
    let line = help.lines().find_map(|line| line.strip_prefix("mosquitto version "))?;
    line.split_whitespace().next()
}

fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

/// Root has no need to run a broker as root.
fn unprivileged() -> Option<Account> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let found = USERS.iter().find_map(|name| User::from_name(name).ok().flatten());
    if found.is_none() {
        tracing::warn!("there is no user {}: mosquitto runs as root", USERS.join(" or "));
    }
    found.map(|user| Account { name: user.name, uid: user.uid, gid: user.gid })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_version_is_in_the_first_line_of_the_help() {
        let help = "mosquitto version 2.0.11\n\nmosquitto is an MQTT broker.\n";
        assert_eq!(version(help), Some("2.0.11"));
        assert_eq!(major("2.0.11"), Some(2));
        assert_eq!(major("1.6.9"), Some(1));
        assert_eq!(version("bash: no such thing"), None);
        assert_eq!(major("unknown"), None);
    }

    #[tokio::test]
    async fn an_old_one_and_none_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let empty = std::env::join_paths([dir.path()]).unwrap();
        assert!(locate(Some(&empty)).is_none_or(|found| !found.starts_with(dir.path())));
        assert!(matches!(Program::find(None).await, Err(BrokerError::NotInstalled)));
        let old = dir.path().join("mosquitto");
        std::fs::write(&old, "#!/bin/sh\necho mosquitto version 1.5.7\nexit 3\n").unwrap();
        std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o755)).unwrap();
        let error = Program::find(Some(&empty)).await.unwrap_err().to_string();
        assert!(error.contains("1.5.7") && error.contains("--broker"), "{error}");
    }
}
