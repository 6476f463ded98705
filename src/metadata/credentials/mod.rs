//! Credentials of a task's role, from where the box's identity map says.
//!
//! A file is read at every request, so that what rotates it needs to tell nobody. What a program prints is kept until it
//! is about to expire; all who ask meanwhile share one run of it. Nothing of it is written anywhere or logged.

mod command;
mod shared_file;

use super::Metadata;
use super::answer::{self, Answer};
use super::caller::Caller;
use super::describe;
use crate::config::{RoleSource, role_source};
use crate::model::Timestamp;
use crate::plan::effective;
use crate::sys;
use hyper::StatusCode;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// How long credentials without an end are said to be good: clients come back for them after that.
const WITHOUT_END: Duration = Duration::from_hours(1);
/// Clients renew what ends within so long.
const RENEWED_BEFORE: Duration = Duration::from_mins(15);

/// Credentials as the sources give them.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
    pub(super) session_token: Option<String>,
    pub(super) expiration: Option<Timestamp>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("expiration", &self.expiration).finish_non_exhaustive()
    }
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// The map has no such role any more: the settings changed since the task was started.
    #[error("the role has no entry in [roles] of the agent's configuration")]
    NoEntry,
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file does not have what it should.
    #[error("{path}: {reason}")]
    Profile {
        /// Which.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// The program cannot be run.
    #[error("cannot run {program}: {source}")]
    Run {
        /// Which.
        program: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The program did not do what it should.
    #[error("{program} {reason}")]
    Program {
        /// Which.
        program: String,
        /// What it did.
        reason: String,
    },
    /// They ended already.
    #[error("the credentials have expired")]
    Expired,
}

/// What a command printed, and when.
#[derive(Debug, Clone)]
struct Printed {
    keys: Keys,
    at: Timestamp,
}

impl Printed {
    /// Whether it need not be renewed yet: not before a client would come for that, nor more often than twice in its
    /// life.
    fn is_fresh(&self, now: Timestamp) -> bool {
        let Some(end) = self.keys.expiration else { return false };
        let life = end.since(self.at);
        end.since(now) > (RENEWED_BEFORE + Duration::from_mins(1)).min(life / 2)
    }
}

/// What was printed last for one role; locked while the command runs.
type Slot = Arc<Mutex<Option<Printed>>>;

/// The identity map.
#[derive(Debug)]
pub(super) struct Credentials {
    roles: BTreeMap<String, RoleSource>,
    printed: std::sync::Mutex<BTreeMap<Vec<String>, Slot>>,
}

impl Credentials {
    pub(super) fn new(roles: BTreeMap<String, RoleSource>) -> Self {
        Self { roles, printed: std::sync::Mutex::default() }
    }

    /// The credentials of `role` as of now.
    pub(super) async fn of(&self, role: &str) -> Result<Keys, SourceError> {
        let keys = match role_source(&self.roles, role) {
            None => return Err(SourceError::NoEntry),
            Some(RoleSource::File { path, profile }) => {
                shared_file::read(path.clone(), profile.clone()).await?
            }
            Some(RoleSource::Command(command)) => self.printed(command).await?,
        };
        match keys.expiration {
            Some(end) if end <= sys::now() => Err(SourceError::Expired),
            _ => Ok(keys),
        }
    }

    async fn printed(&self, command: &[String]) -> Result<Keys, SourceError> {
        let slot = {
            let mut slots = self.printed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            Arc::clone(slots.entry(command.to_vec()).or_default())
        };
        let mut last = slot.lock().await;
        if let Some(printed) = last.as_ref().filter(|printed| printed.is_fresh(sys::now())) {
            return Ok(printed.keys.clone());
        }
        match command::run(command).await {
            Ok(keys) => {
                *last = Some(Printed { keys: keys.clone(), at: sys::now() });
                Ok(keys)
            }
            // Better the old ones, as long as they are good.
            Err(error) => match last.as_ref().and_then(|p| Some((p, p.keys.expiration?))) {
                Some((printed, end)) if end > sys::now() => {
                    tracing::warn!(%error, "credentials cannot be renewed; the old ones are given out");
                    Ok(printed.keys.clone())
                }
                _ => Err(error),
            },
        }
    }
}

impl Metadata {
    /// Credentials for the task that `id` names.
    pub(super) async fn credentials(&self, caller: Caller, id: &str) -> Answer {
        if id.is_empty() {
            let message = "No Credential ID in the request";
            return refused(StatusCode::BAD_REQUEST, "NoIdInRequest", message);
        }
        let invalid =
            || refused(StatusCode::BAD_REQUEST, "InvalidIdInRequest", "Credentials not found");
        let Some(task) = self.task_with_credentials(caller, id).await else { return invalid() };
        let role = self.engine.read(|world| {
            let task = world.tasks.get(&task)?;
            effective::task_role(&describe::definition(world, task)?.content, &task.overrides)
        });
        let Some(role) = role else { return invalid() };
        match self.credentials.of(&role).await {
            Ok(keys) => {
                let end = keys.expiration.unwrap_or_else(|| sys::now().plus(WITHOUT_END));
                let content = json!({
                    "RoleArn": role,
                    "AccessKeyId": keys.access_key_id,
                    "SecretAccessKey": keys.secret_access_key,
                    "Token": keys.session_token.unwrap_or_default(),
                    "Expiration": describe::time(end),
                });
                answer::json(StatusCode::OK, &content)
            }
            Err(error) => {
                tracing::warn!(%task, role, %error, "no credentials for the task's role");
                let message =
                    "The credentials of the task role cannot be had; the agent's log says why";
                refused(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", message)
            }
        }
    }
}

/// A refusal in the shape of ECS's agent.
fn refused(status: StatusCode, code: &str, message: &str) -> Answer {
    let content = json!({
        "code": code,
        "message": format!("CredentialsV2Request: {message}"),
        "HTTPErrorCode": status.as_u16(),
    });
    answer::json(status, &content)
}

#[cfg(test)]
mod tests;
