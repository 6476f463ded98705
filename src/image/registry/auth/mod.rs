//! Credentials and tokens: Docker's `config.json`, credential helpers, `WWW-Authenticate` challenges, bearer tokens.
//!
//! Credentials go to the registry they were stored for, and to a token server that belongs to it: the same host or the
//! same domain. Any other token server is asked without them, so that a registry cannot send a password elsewhere.

mod challenge;
mod docker;
mod helper;
mod logins;
mod token;

pub use challenge::Challenge;
pub use docker::{Candidate, DockerConfig};
pub use logins::{LoginSummary, Logins};

use super::address::Url;
use super::error::TransferError;
use super::transfer::Client;
use crate::image::digest::Digest;
use crate::image::layout::LayoutError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// What a user proves who he is with. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
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

    /// Whether the password is of 1 to `limit` bytes, and could be typed.
    #[must_use]
    pub fn is_within(&self, limit: usize) -> bool {
        let password = &*self.password;
        (1..=limit).contains(&password.len()) && !password.chars().any(char::is_control)
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
    /// The credential helper is of no help.
    #[error("the credential helper docker-credential-{helper}: {reason}")]
    Helper {
        /// Its name in the file.
        helper: String,
        /// What is wrong.
        reason: String,
        /// Whether it may go better later.
        transient: bool,
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

/// Finds the credentials for `repository` of `registry` in the files, asking the helpers that they name.
pub(super) async fn find(
    files: Vec<PathBuf>,
    search_path: &OsStr,
    registry: &str,
    repository: &str,
) -> Result<Option<Credentials>, AuthError> {
    let (named, full) = (registry.to_owned(), format!("{registry}/{repository}"));
    let looked = move || docker::candidates(&files, &named, &full);
    let candidates = match tokio::task::spawn_blocking(looked).await {
        Ok(candidates) => candidates?,
        Err(_) => return Err(TransferError::Ending.into()),
    };
    for candidate in candidates {
        match candidate {
            docker::Candidate::Stored(credentials) => return Ok(Some(credentials)),
            docker::Candidate::Helper { helper, server } => {
                if let Some(credentials) = helper::get(&helper, &server, search_path).await? {
                    return Ok(Some(credentials));
                }
            }
        }
    }
    Ok(None)
}

/// The `Authorization` for `registry` that answers its challenge, if there is one; `default_scope` is asked for where the
/// challenge names none.
pub(super) async fn answer(
    client: &Client,
    challenge: &Challenge,
    registry: &Url,
    credentials: Option<&Credentials>,
    default_scope: Option<&str>,
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
            let scope = scope.as_deref().or(default_scope);
            let service = service.as_deref();
            let token = token::token(client, server, registry, service, scope, credentials).await?;
            Ok(secret(&format!("Bearer {token}")))
        }
    }
}

fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    secret(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
