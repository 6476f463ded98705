//! Credentials and tokens: Docker's `config.json`, `WWW-Authenticate` challenges, bearer tokens.
//!
//! Credentials go to the registry they were stored for, and to a token server that belongs to it: the same host or the
//! same domain. Any other token server is asked without them, so that a registry cannot send a password elsewhere.

use super::address::Url;
use super::transfer::{Ask, Client, TransferError};
use crate::image::digest::Digest;
use crate::image::layout::{LayoutError, read_bounded};
use crate::image::reference::{DEFAULT_REGISTRY, Reference};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hyper::header::{HeaderMap, HeaderValue};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use zeroize::Zeroizing;

const CONFIG_LIMIT: u64 = 1 << 20;
const TOKEN_LIMIT: u64 = 1 << 20;

/// What a user proves who he is with. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    /// User name and password.
    Password {
        /// The user name.
        user: String,
        /// The password.
        password: String,
    },
    /// A refresh token of the token server.
    Identity(String),
    /// A bearer token to use as it is.
    Bearer(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password",
            Self::Identity(_) => "Identity",
            Self::Bearer(_) => "Bearer",
        })
    }
}

/// User name and password for a registry, given with a pull.
#[derive(Clone)]
pub struct Login {
    user: String,
    password: Zeroizing<String>,
}

impl Login {
    /// Takes both.
    #[must_use]
    pub fn new(user: String, password: String) -> Self {
        Self { user, password: Zeroizing::new(password) }
    }

    /// Tells logins apart.
    pub(super) fn digest(&self) -> Digest {
        let text = Zeroizing::new(format!("{}\0{}", self.user, *self.password));
        Digest::of(text.as_bytes())
    }

    pub(super) fn credentials(&self) -> Credentials {
        Credentials::Password { user: self.user.clone(), password: (*self.password).clone() }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login")
    }
}

/// Why there are no credentials or no token.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] LayoutError),
    /// The file is not Docker's `config.json`.
    #[error("{} is not a docker config.json: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The challenge makes no sense.
    #[error("the registry asks for authentication that is not understood: {0:?}")]
    Challenge(String),
    /// The token server cannot be reached.
    #[error("the token server: {0}")]
    Transfer(#[from] TransferError),
    /// The token server said no.
    #[error("the token server {server} answers {status}{hint}")]
    Refused {
        /// Who.
        server: Url,
        /// Its status.
        status: u16,
        /// What may help.
        hint: &'static str,
    },
    /// The token server gave no token.
    #[error("the token server {0} sends no usable token")]
    NoToken(Url),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, DockerAuth>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DockerAuth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

/// Finds the credentials for an image of `registry` in the files; the first file that knows it counts. Blocking.
pub(super) fn stored(
    files: &[PathBuf],
    registry: &str,
    image: &Reference,
) -> Result<Option<Credentials>, AuthError> {
    for path in files {
        let bytes = match read_bounded(path, CONFIG_LIMIT) {
            Err(LayoutError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                continue;
            }
            other => other?,
        };
        let wrong = |reason: String| AuthError::Config { path: path.clone(), reason };
        let config: DockerConfig =
            serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        let full = format!("{registry}/{}", image.repository());
        // A longer key is for a part of the registry.
        let best = config
            .auths
            .iter()
            .map(|(key, auth)| (server_of(key), auth))
            .filter(|(key, _)| {
                full.strip_prefix(key.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
            .max_by_key(|(key, _)| key.len());
        if let Some((key, auth)) = best
            && let Some(credentials) =
                auth.credentials().map_err(|why| wrong(format!("{key}: {why}")))?
        {
            return Ok(Some(credentials));
        }
        let helper = config.cred_helpers.iter().find(|(key, _)| server_of(key) == registry);
        if let Some(helper) = helper.map(|(_, helper)| helper).or(config.creds_store.as_ref()) {
            tracing::warn!(file = %path.display(), %helper, %registry, "credential helpers are not supported yet");
        }
    }
    Ok(None)
}

/// The registry (and path) that a key of `auths` means: keys may be URLs of the old API.
fn server_of(key: &str) -> String {
    let key =
        key.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let key = key.strip_suffix("/v1").or(key.strip_suffix("/v2")).unwrap_or(key);
    match key {
        "index.docker.io" | "registry-1.docker.io" => DEFAULT_REGISTRY.to_owned(),
        other => other.to_owned(),
    }
}

impl DockerAuth {
    fn credentials(&self) -> Result<Option<Credentials>, &'static str> {
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

/// How a registry wants to be authenticated to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User name and password with each request.
    Basic,
    /// A token from a server.
    Bearer {
        /// The server.
        realm: String,
        /// Whom the token is for.
        service: Option<String>,
        /// What the token allows.
        scope: Option<String>,
    },
}

impl Challenge {
    /// Chooses from the `WWW-Authenticate` fields: bearer before basic.
    pub(super) fn parse(headers: &HeaderMap) -> Result<Self, AuthError> {
        let fields: Vec<&str> = headers
            .get_all("www-authenticate")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        let mut basic = false;
        for field in &fields {
            let (scheme, rest) = field.trim().split_once(' ').unwrap_or((field.trim(), ""));
            if scheme.eq_ignore_ascii_case("bearer") {
                let mut parameters = parameters(rest);
                if let Some(realm) = parameters.remove("realm") {
                    return Ok(Self::Bearer {
                        realm,
                        service: parameters.remove("service"),
                        scope: parameters.remove("scope"),
                    });
                }
            }
            basic |= scheme.eq_ignore_ascii_case("basic");
        }
        if basic {
            return Ok(Self::Basic);
        }
        Err(AuthError::Challenge(fields.join(", ").chars().take(200).collect()))
    }
}

/// `name=value` and `name="value"`, separated by commas; names in lower case.
fn parameters(text: &str) -> BTreeMap<String, String> {
    let mut parameters = BTreeMap::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ',', '\t']).to_ascii_lowercase();
        let mut value = String::new();
        if let Some(quoted) = after.strip_prefix('"') {
            let mut characters = quoted.char_indices();
            let mut end = quoted.len();
            while let Some((at, character)) = characters.next() {
                match character {
                    '"' => {
                        end = at + 1;
                        break;
                    }
                    '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
                    other => value.push(other),
                }
            }
            rest = &quoted[end..];
        } else {
            let end = after.find(',').unwrap_or(after.len());
            after[..end].trim().clone_into(&mut value);
            rest = &after[end..];
        }
        parameters.insert(name, value);
    }
    parameters
}

/// The `Authorization` for `registry` that answers its challenge, if there is one.
pub(super) async fn answer(
    client: &Client,
    challenge: &Challenge,
    registry: &Url,
    credentials: Option<&Credentials>,
    image: &Reference,
) -> Result<Option<HeaderValue>, AuthError> {
    match (challenge, credentials) {
        (_, Some(Credentials::Bearer(token))) => Ok(secret(&format!("Bearer {token}"))),
        (Challenge::Basic, Some(Credentials::Password { user, password })) => {
            Ok(basic(user, password))
        }
        (Challenge::Basic, _) => Ok(None),
        (Challenge::Bearer { realm, service, scope }, credentials) => {
            let server = Url::parse(realm)
                .map_err(|_| AuthError::Challenge(realm.chars().take(200).collect()))?;
            let default = format!("repository:{}:pull", image.repository());
            let scope = scope.as_deref().unwrap_or(&default);
            let token =
                token(client, server, registry, service.as_deref(), scope, credentials).await?;
            Ok(secret(&format!("Bearer {token}")))
        }
    }
}

async fn token(
    client: &Client,
    server: Url,
    registry: &Url,
    service: Option<&str>,
    scope: &str,
    credentials: Option<&Credentials>,
) -> Result<String, AuthError> {
    #[derive(Deserialize)]
    struct Token {
        token: Option<String>,
        access_token: Option<String>,
    }
    // A registry spoken to with TLS does not get to send passwords over a plain connection either.
    let trusted = server.is_akin(registry) && (server.secure || !registry.secure);
    let withheld = credentials.is_some() && !trusted;
    let credentials = credentials.filter(|_| trusted);
    let mut query = format!("scope={}", encoded(scope));
    if let Some(service) = service {
        query = format!("service={}&{query}", encoded(service));
    }
    let mut ask =
        Ask { url: server.clone(), headers: HeaderMap::new(), authorization: None, form: None };
    if let Some(Credentials::Identity(identity)) = credentials {
        let identity = encoded(identity);
        ask.form = Some(format!(
            "grant_type=refresh_token&client_id=coracle&{query}&refresh_token={identity}"
        ));
    } else {
        let separator = if server.path.contains('?') { '&' } else { '?' };
        ask.url.path = format!("{}{separator}{query}", server.path);
        if let Some(Credentials::Password { user, password }) = credentials {
            ask.authorization = basic(user, password);
        }
    }
    let answered = client.ask(ask).await?;
    if !answered.status.is_success() {
        let hint = if withheld {
            "; the stored credentials were not sent to it, because it does not belong to the registry's domain"
        } else {
            ""
        };
        return Err(AuthError::Refused { server, status: answered.status.as_u16(), hint });
    }
    let body = client.body(answered, TOKEN_LIMIT).await?;
    let token: Token =
        serde_json::from_slice(&body).map_err(|_| AuthError::NoToken(server.clone()))?;
    token
        .token
        .or(token.access_token)
        .filter(|token| !token.is_empty())
        .ok_or(AuthError::NoToken(server))
}

fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    secret(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Percent-encoding for a query or a form.
fn encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(fields: &[&'static str]) -> Result<Challenge, AuthError> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append("www-authenticate", HeaderValue::from_static(field));
        }
        Challenge::parse(&headers)
    }

    #[test]
    fn challenges() {
        let bearer = r#"Bearer realm="https://auth.example/token",service="reg, \"x\"",scope="repository:a/b:pull,push""#;
        assert_eq!(
            challenge(&["Basic realm=x", bearer]).unwrap(),
            Challenge::Bearer {
                realm: "https://auth.example/token".to_owned(),
                service: Some("reg, \"x\"".to_owned()),
                scope: Some("repository:a/b:pull,push".to_owned()),
            }
        );
        assert_eq!(challenge(&["basic realm=\"r\""]).unwrap(), Challenge::Basic);
        for fields in [&[][..], &["Negotiate"], &["Bearer service=x"], &["Bearer realm"]] {
            assert!(challenge(fields).is_err(), "{fields:?}");
        }
        // Damaged fields end, whatever they hold.
        for text in ["=", "==\"", "a=\"\\", "a=\"b", ",,,=,", "realm=\"é"] {
            parameters(text);
        }
    }

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
            stored(&files, image.registry(), &image).unwrap()
        };
        let password = |user: &str, password: &str| {
            Some(Credentials::Password { user: user.to_owned(), password: password.to_owned() })
        };
        assert_eq!(find("busybox"), password("u", "p:q"));
        assert_eq!(find("reg.example/x"), password("a", "b"));
        assert_eq!(find("reg.example/team/x"), Some(Credentials::Identity("t".to_owned())));
        assert_eq!(find("reg.example/teammate/x"), password("a", "b"));
        assert_eq!(find("reg.example.evil.com/x"), None);
        assert_eq!(find("empty.example/x"), None);
        std::fs::write(&path, r#"{"auths": {"h.example": {"auth": "!"}}}"#).unwrap();
        let image = "h.example/x".parse().unwrap();
        assert!(matches!(stored(&files, "h.example", &image), Err(AuthError::Config { .. })));
    }
}
