//! The logins of this box: a file of its own in the format of Docker's `config.json`, written by `coracle login`.

use super::docker::{CONFIG_LIMIT, DockerAuth, key_of, server_of};
use super::{AuthError, Credentials, Login};
use crate::image::layout::{LayoutError, random_name, read_bounded, sync_directory};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use zeroize::Zeroizing;

/// The file's name, as Docker's client has it: with `DOCKER_CONFIG` set to its directory other programs use it as well.
const FILE: &str = "config.json";

/// The file of logins.
#[derive(Debug)]
pub struct Logins {
    directory: PathBuf,
    /// One change at a time.
    turn: Mutex<()>,
}

/// A login without its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginSummary {
    /// The registry as images name it.
    pub registry: String,
    /// The user, where the file says it.
    pub user: Option<String>,
}

impl Logins {
    /// In this directory, which need not be there yet.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, turn: Mutex::default() }
    }

    /// The file; it need not be there.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    /// Every login, by registry. Blocking.
    pub fn list(&self) -> Result<Vec<LoginSummary>, AuthError> {
        let document = self.read()?;
        let auths = document.get("auths").and_then(Value::as_object);
        let mut list: Vec<LoginSummary> = auths
            .into_iter()
            .flatten()
            .filter(|(_, auth)| !auth.is_null())
            .map(|(key, auth)| {
                let auth = DockerAuth::deserialize(auth).unwrap_or_default();
                let user = match auth.credentials() {
                    Ok(Some(Credentials::Password { user, .. })) => Some(user),
                    _ => None,
                };
                LoginSummary { registry: server_of(key), user }
            })
            .collect();
        list.sort_by(|a, b| a.registry.cmp(&b.registry));
        Ok(list)
    }

    /// Keeps a login, in place of one for the same registry. Blocking.
    pub fn keep(&self, registry: &str, login: &Login) -> Result<(), AuthError> {
        self.change(|auths| {
            auths.retain(|key, _| server_of(key) != registry);
            let text = Zeroizing::new(format!("{}:{}", login.user, *login.password));
            auths.insert(key_of(registry).to_owned(), json!({ "auth": STANDARD.encode(&*text) }));
        })
    }

    /// Forgets the logins for a registry; true when there was one. Blocking.
    pub fn forget(&self, registry: &str) -> Result<bool, AuthError> {
        let mut found = false;
        self.change(|auths| {
            let before = auths.len();
            auths.retain(|key, _| server_of(key) != registry);
            found = auths.len() < before;
        })?;
        Ok(found)
    }

    /// Changes `auths`; what else is in the file stays.
    fn change(&self, work: impl FnOnce(&mut Map<String, Value>)) -> Result<(), AuthError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut document = self.read()?;
        let before = document.clone();
        let auths = document.entry("auths").or_insert_with(|| json!({}));
        if auths.is_null() {
            *auths = json!({});
        }
        let auths = auths.as_object_mut().ok_or_else(|| self.wrong("auths is not an object"))?;
        work(auths);
        if document == before {
            return Ok(());
        }
        let text = Zeroizing::new(
            serde_json::to_vec_pretty(&document).map_err(|error| self.wrong(error.to_string()))?,
        );
        if text.len() as u64 > CONFIG_LIMIT {
            return Err(self.wrong(format!("it would be larger than {CONFIG_LIMIT} bytes")));
        }
        self.write(&text)?;
        Ok(())
    }

    fn wrong(&self, reason: impl Into<String>) -> AuthError {
        AuthError::Config { path: self.path(), reason: reason.into() }
    }

    fn read(&self) -> Result<Map<String, Value>, AuthError> {
        let bytes = match read_bounded(&self.path(), CONFIG_LIMIT) {
            Err(LayoutError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(Map::new());
            }
            other => Zeroizing::new(other?),
        };
        serde_json::from_slice(&bytes).map_err(|error| {
            self.wrong(format!("line {}, column {}", error.line(), error.column()))
        })
    }

    /// Replaces the file so that a crash leaves the old or the new one, for root's eyes only.
    fn write(&self, bytes: &[u8]) -> Result<(), LayoutError> {
        let directory = &self.directory;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|e| LayoutError::io("create", directory, e))?;
        // What a crash left behind holds secrets: it goes with the next change.
        for entry in fs::read_dir(directory).map_err(|e| LayoutError::io("read", directory, e))? {
            let path = entry.map_err(|e| LayoutError::io("read", directory, e))?.path();
            if path.extension().is_some_and(|extension| extension == "new") {
                fs::remove_file(&path).map_err(|e| LayoutError::io("remove", &path, e))?;
            }
        }
        let temporary = directory.join(format!("{}.new", random_name()));
        let written =
            File::options().write(true).create_new(true).mode(0o600).open(&temporary).and_then(
                |mut file| {
                    file.write_all(bytes)?;
                    file.sync_all()
                },
            );
        written.map_err(|e| {
            // It is of no use to anybody; what stays goes with the next change.
            let _ = fs::remove_file(&temporary);
            LayoutError::io("write", &temporary, e)
        })?;
        let path = self.path();
        fs::rename(&temporary, &path).map_err(|e| LayoutError::io("rename to", &path, e))?;
        sync_directory(directory)?;
        // The directory's own name as well, the first time.
        sync_directory(directory.parent().unwrap_or(Path::new("/")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn logins_are_kept_replaced_listed_and_forgotten() {
        let state = tempfile::tempdir().unwrap();
        let logins = Logins::new(state.path().join("registries"));
        assert_eq!(logins.list().unwrap(), []);
        assert!(!logins.forget("docker.io").unwrap());
        let login = |user: &str| Login::new(user.to_owned(), "p:w".to_owned());
        logins.keep("docker.io", &login("ada")).unwrap();
        logins.keep("reg.example:5000", &login("eve")).unwrap();
        logins.keep("docker.io", &login("bob")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&logins.path()), mode(&logins.directory)), (0o600, 0o700));
        let summary = |registry: &str, user: &str| LoginSummary {
            registry: registry.to_owned(),
            user: Some(user.to_owned()),
        };
        assert_eq!(
            logins.list().unwrap(),
            [summary("docker.io", "bob"), summary("reg.example:5000", "eve")]
        );
        assert!(fs::read_to_string(logins.path()).unwrap().contains("https://index.docker.io/v1/"));
        assert!(logins.forget("docker.io").unwrap());
        assert!(!logins.forget("docker.io").unwrap());
        assert_eq!(logins.list().unwrap(), [summary("reg.example:5000", "eve")]);
    }

    #[test]
    fn what_else_is_in_the_file_stays_and_rubbish_is_refused() {
        let state = tempfile::tempdir().unwrap();
        let logins = Logins::new(state.path().to_owned());
        fs::write(logins.path(), r#"{"credHelpers": {"a.example": "pass"}}"#).unwrap();
        fs::write(state.path().join("x.new"), "left by a crash").unwrap();
        let login = Login::new("u".to_owned(), "p".to_owned());
        logins.keep("b.example", &login).unwrap();
        let text = fs::read_to_string(logins.path()).unwrap();
        assert!(text.contains("credHelpers") && text.contains("b.example"), "{text}");
        assert!(!state.path().join("x.new").exists());
        fs::write(logins.path(), "rubbish").unwrap();
        assert!(matches!(logins.keep("b.example", &login), Err(AuthError::Config { .. })));
        assert_eq!(fs::read_to_string(logins.path()).unwrap(), "rubbish");
    }
}
