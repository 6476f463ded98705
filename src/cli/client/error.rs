//! Why a request to the agent failed, in words that say what to do.

use hyper::StatusCode;
use serde::Deserialize;
use std::io;
use std::path::{Path, PathBuf};

/// A request to the agent failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum Error {
    /// Nobody listens on the socket.
    #[error(
        "no agent answers on {}: start one with `coracle agent`, or name its run directory with --run-dir",
        socket.display()
    )]
    NoAgent { socket: PathBuf },
    /// The socket is not for us.
    #[error(
        "{} may not be used by this user: run the command as root, or be one of the group that socket_group in agent.toml names",
        socket.display()
    )]
    Forbidden { socket: PathBuf },
    /// The socket cannot be reached for another reason.
    #[error("{} cannot be connected to", socket.display())]
    Connect { socket: PathBuf, source: io::Error },
    /// The connection broke.
    #[error("the connection to the agent broke")]
    Http(#[source] hyper::Error),
    /// The answer cannot be read.
    #[error("the agent's answer cannot be read: {0}")]
    Protocol(String),
    /// The answer is not the JSON that was expected.
    #[error("the agent's answer cannot be read")]
    Shape(#[source] serde_json::Error),
    /// An exception of the ECS API.
    #[error("{kind}: {message}")]
    Exception { kind: String, message: String },
    /// A command cannot be executed in a container.
    #[error("{message}")]
    Command { exit_code: u8, message: String },
    /// An error among the lines of a stream; more may follow.
    #[error("{0}")]
    Told(String),
    /// The agent said no in its own words.
    #[error("{0}")]
    Refused(String),
}

impl Error {
    /// What a failed connect means.
    pub(super) fn connecting(socket: &Path, source: io::Error) -> Self {
        let socket = socket.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Self::NoAgent { socket },
            io::ErrorKind::PermissionDenied => Self::Forbidden { socket },
            _ => Self::Connect { socket, source },
        }
    }

    /// The error that an answer other than 2xx holds.
    pub(super) fn answered(status: StatusCode, kind: Option<&str>, body: &[u8]) -> Self {
        /// ECS: `__type` and `message` (some services: `Message`); `/coracle/v1`: `error`.
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Body {
            __type: Option<String>,
            #[serde(alias = "Message")]
            message: Option<String>,
            error: Option<String>,
            #[serde(rename = "exitCode")]
            exit_code: Option<u8>,
        }
        let body: Body = serde_json::from_slice(body).unwrap_or_default();
        if let Some(error) = body.error {
            if let Some(exit_code) = body.exit_code {
                return Self::Command { exit_code, message: error };
            }
            return Self::Refused(error);
        }
        match body.__type.as_deref().or(kind) {
            Some(kind) => Self::Exception {
                // `com.amazonaws.ecs#ClientException`, `ClientException:http://…`: the name is between.
                kind: kind
                    .rsplit('#')
                    .next()
                    .and_then(|kind| kind.split(':').next())
                    .unwrap_or(kind)
                    .to_owned(),
                message: body.message.unwrap_or_default(),
            },
            None => Self::Refused(format!("the agent answers {status}")),
        }
    }

    /// True when it is the ECS exception `name`.
    pub(in crate::cli) fn is_exception(&self, name: &str) -> bool {
        matches!(self, Self::Exception { kind, .. } if kind == name)
    }
}
