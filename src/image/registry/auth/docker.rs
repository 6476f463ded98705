//! Docker's `config.json`: credentials, and the helpers that know others.

use super::{AuthError, Credentials};
use crate::image::layout::{LayoutError, read_bounded};
use crate::image::reference::DEFAULT_REGISTRY;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;

pub(super) const CONFIG_LIMIT: u64 = 1 << 20;
/// Most characters of a key that an error quotes.
const QUOTED: usize = 200;
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// The file, as far as it is about credentials. What is null is not there, as for docker's client.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DockerConfig {
    auths: Option<BTreeMap<String, Option<DockerAuth>>>,
    cred_helpers: Option<BTreeMap<String, String>>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct DockerAuth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

/// Something that may know the credentials.
#[derive(Debug, PartialEq, Eq)]
pub enum Candidate {
    /// They stand in the file.
    Stored(Credentials),
    /// A program is to be asked.
    Helper {
        /// What its name ends with.
        helper: String,
        /// What it is asked for.
        server: String,
    },
}

/// Who may know the credentials for `full`, a registry and a repository in it: file by file, in each the registry's
/// helper, what is stored, the helper for all. Blocking.
pub(super) fn candidates(
    files: &[PathBuf],
    registry: &str,
    full: &str,
) -> Result<Vec<Candidate>, AuthError> {
    let mut candidates = Vec::new();
    for path in files {
        let bytes = match read_bounded(path, CONFIG_LIMIT) {
            Err(LayoutError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                continue;
            }
            other => other?,
        };
        let wrong = |reason: String| AuthError::Config { path: path.clone(), reason };
        let config = DockerConfig::parse(&bytes).map_err(wrong)?;
        candidates.extend(config.candidates(registry, full).map_err(wrong)?);
    }
    Ok(candidates)
}

impl DockerConfig {
    /// Reads the file's content; an error tells where it stops to make sense.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        // The parser's words may quote what is secret: only where it stopped is told.
        serde_json::from_slice(bytes)
            .map_err(|error| format!("line {}, column {}", error.line(), error.column()))
    }

    /// Who may know the credentials for `full`, a registry and a repository in it: the registry's helper, what is stored,
    /// the helper for all.
    pub fn candidates(self, registry: &str, full: &str) -> Result<Vec<Candidate>, String> {
        let mut helpers = self.cred_helpers.into_iter().flatten();
        let helper = helpers.find(|(key, _)| server_of(key) == registry);
        let helper = helper.map(|(server, helper)| Candidate::Helper { helper, server });
        let mut candidates: Vec<Candidate> = helper.into_iter().collect();
        // A longer key is for a part of the registry.
        let best = self
            .auths
            .iter()
            .flatten()
            .filter_map(|(key, auth)| Some((server_of(key), auth.as_ref()?)))
            .filter(|(key, _)| {
                full.strip_prefix(key.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
            .max_by_key(|(key, _)| key.len());
        if let Some((key, auth)) = best {
            let key = || key.chars().take(QUOTED).collect::<String>();
            let stored = auth.credentials().map_err(|why| format!("{}: {why}", key()))?;
            candidates.extend(stored.map(Candidate::Stored));
        }
        if let Some(helper) = self.creds_store.filter(|helper| !helper.is_empty()) {
            candidates.push(Candidate::Helper { helper, server: key_of(registry).to_owned() });
        }
        Ok(candidates)
    }
}

impl fmt::Debug for DockerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DockerConfig")
    }
}

/// How Docker's client names a registry in its files and to helpers.
pub(super) fn key_of(registry: &str) -> &str {
    if registry == DEFAULT_REGISTRY { HUB_KEY } else { registry }
}

/// The registry (and path) that a key of `auths` means: keys may be URLs of the old API.
pub(super) fn server_of(key: &str) -> String {
    let key =
        key.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let key = key.strip_suffix("/v1").or(key.strip_suffix("/v2")).unwrap_or(key);
    match key {
        "index.docker.io" | "registry-1.docker.io" => DEFAULT_REGISTRY.to_owned(),
        other => other.to_owned(),
    }
}

impl DockerAuth {
    pub(super) fn credentials(&self) -> Result<Option<Credentials>, &'static str> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = given(&self.registrytoken) {
            return Ok(Some(Credentials::Bearer(token)));
        }
        if let Some(token) = given(&self.identitytoken) {
            return Ok(Some(Credentials::Identity(token)));
        }
        if let Some(auth) = given(&self.auth) {
            let text = auth.trim_end_matches('=');
            let bytes = STANDARD_NO_PAD.decode(text).map_err(|_| "auth is not base64")?;
            let text = String::from_utf8(bytes).map_err(|_| "auth is not text")?;
            let text = text.trim_end_matches('\0');
            let (user, password) = text.split_once(':').ok_or("auth is not user:password")?;
            return Ok(Some(Credentials::Password {
                user: user.into(),
                password: password.into(),
            }));
        }
        Ok(given(&self.username)
            .zip(given(&self.password))
            .map(|(user, password)| Credentials::Password { user, password }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::reference::Reference;

    #[test]
    fn stored_credentials_are_found_by_registry() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        let config = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "dTpwOnE="},
            "reg.example": {"username": "a", "password": "b"},
            "reg.example/team": {"identitytoken": "t"},
            "empty.example": {}}}"#;
        std::fs::write(&path, config).unwrap();
        let files = [directory.path().join("absent"), path.clone()];
        let find = |name: &str| {
            let image: Reference = name.parse().unwrap();
            let full = format!("{}/{}", image.registry(), image.repository());
            let found = candidates(&files, image.registry(), &full).unwrap();
            found.into_iter().next()
        };
        let password = |user: &str, password: &str| {
            Some(Candidate::Stored(Credentials::Password {
                user: user.to_owned(),
                password: password.to_owned(),
            }))
        };
        assert_eq!(find("busybox"), password("u", "p:q"));
        assert_eq!(find("reg.example/x"), password("a", "b"));
        assert_eq!(
            find("reg.example/team/x"),
            Some(Candidate::Stored(Credentials::Identity("t".to_owned())))
        );
        assert_eq!(find("reg.example/teammate/x"), password("a", "b"));
        assert_eq!(find("reg.example.evil.com/x"), None);
        assert_eq!(find("empty.example/x"), None);
        for none in [r#"{"auths": null, "credHelpers": null}"#, r#"{"auths": {"h.example": null}}"#]
        {
            std::fs::write(&path, none).unwrap();
            assert_eq!(candidates(&files, "h.example", "h.example/x").unwrap(), [], "{none}");
        }
        std::fs::write(&path, r#"{"auths": {"h.example": {"auth": "!"}}}"#).unwrap();
        let error = candidates(&files, "h.example", "h.example/x").unwrap_err();
        assert!(matches!(error, AuthError::Config { .. }));
        std::fs::write(&path, r#"{"auths": {"h.example": {"auth": 5, "password": "s3cret"}}}"#)
            .unwrap();
        let error = candidates(&files, "h.example", "h.example/x").unwrap_err().to_string();
        assert!(error.contains("line 1") && !error.contains("s3cret"), "{error}");
    }

    #[test]
    fn helpers_are_asked_in_their_turn() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        let config = r#"{"credHelpers": {"reg.example": "pass"}, "credsStore": "desktop",
            "auths": {"reg.example": {"username": "a", "password": "b"}}}"#;
        std::fs::write(&path, config).unwrap();
        let helper = |helper: &str, server: &str| Candidate::Helper {
            helper: helper.to_owned(),
            server: server.to_owned(),
        };
        let found =
            candidates(std::slice::from_ref(&path), "reg.example", "reg.example/x").unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!(found[0], helper("pass", "reg.example"));
        assert!(matches!(found[1], Candidate::Stored(_)));
        assert_eq!(found[2], helper("desktop", "reg.example"));
        let found = candidates(&[path], "docker.io", "docker.io/library/x").unwrap();
        assert_eq!(found, [helper("desktop", "https://index.docker.io/v1/")]);
    }
}
