//! Commands in running containers.
//!
//! `POST tasks/ID/exec` with a JSON object and `Upgrade: coracle-session`. What is wrong is answered as usual; once the
//! command runs the answer is 101, and the connection carries [`crate::model::session`] frames. A refusal of the command
//! itself holds `exitCode` as a shell would have it: 127 when there is no such program, 126 when it cannot be executed.

use super::{Answer, Api, LocalError, find_task, session};
use crate::api::body::{self, AnswerBody};
use crate::engine;
use crate::model::session::TerminalSize;
use crate::model::{ContainerName, TaskId};
use crate::plan::World;
use crate::plan::action::ContainerRun;
use crate::runtime::{ExecCommand, Session, SessionError};
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// What the connection becomes.
pub(super) const PROTOCOL: HeaderValue = HeaderValue::from_static("coracle-session");

/// The object of the request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Content {
    /// Needed when the task has several.
    container: Option<String>,
    command: Vec<String>,
    /// `NAME=VALUE`.
    #[serde(default)]
    environment: Vec<String>,
    working_directory: Option<String>,
    user: Option<String>,
    terminal: Option<TerminalSize>,
    #[serde(default)]
    stdin: bool,
}

/// `POST tasks/ID/exec`.
pub(super) async fn exec(api: &Arc<Api>, id: &str, head: Parts, bytes: &[u8]) -> Answer {
    let content: Content = read(&head, bytes)?;
    check(&content)?;
    let run = api.engine.read(|world| {
        let task = find_task(world, id)?;
        let container = choose(world, &task, content.container.as_deref())?;
        running(world, &task, &container)
    })?;
    let room = room(api)?;
    let command = ExecCommand {
        command: content.command,
        environment: content.environment,
        working_directory: content.working_directory,
        user: content.user,
        terminal: content.terminal,
        stdin: content.stdin,
    };
    tracing::info!(task = %run.task, container = %run.container, "a command is executed in the container");
    let started = api.engine.exec(&run, command).await.map_err(|error| refusal(&error))?;
    Ok(upgraded(api, head, room, started))
}

/// The object of a request to attach.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Attach {
    container: Option<String>,
    /// The size of the client's terminal.
    terminal: Option<TerminalSize>,
}

/// `POST tasks/ID/attach`: the session is that of the container's own process.
pub(super) async fn attach(api: &Arc<Api>, id: &str, head: Parts, bytes: &[u8]) -> Answer {
    let content: Attach = read(&head, bytes)?;
    let run = api.engine.read(|world| {
        let task = find_task(world, id)?;
        let container = choose(world, &task, content.container.as_deref())?;
        running(world, &task, &container)
    })?;
    let room = room(api)?;
    let attached = api.engine.attach(&run).await.map_err(|error| refusal(&error))?;
    if let (Some(size), Some(terminal)) = (content.terminal, &attached.input) {
        terminal.resize(size);
    }
    Ok(upgraded(api, head, room, attached))
}

fn read<T: DeserializeOwned>(head: &Parts, bytes: &[u8]) -> Result<T, LocalError> {
    if head.headers.get(UPGRADE) != Some(&PROTOCOL) {
        return Err(LocalError::bad("the request must have the header Upgrade: coracle-session"));
    }
    serde_json::from_slice(bytes)
        .map_err(|e| LocalError::bad(format!("the request cannot be read: {e}")))
}

/// A permit for one more session.
pub(super) fn room(api: &Api) -> Result<OwnedSemaphorePermit, LocalError> {
    Arc::clone(&api.sessions).try_acquire_owned().map_err(|_| {
        let message = "there are as many sessions as the agent serves at once; end one";
        LocalError::new(StatusCode::SERVICE_UNAVAILABLE, message)
    })
}

/// The answer after which the connection is the session's.
fn upgraded(
    api: &Api,
    head: Parts,
    room: OwnedSemaphorePermit,
    started: Session,
) -> Response<AnswerBody> {
    let upgrade = hyper::upgrade::on(Request::from_parts(head, ()));
    let stopping = crate::api::server::told_to_stop(api.stopping.clone());
    tokio::spawn(async move {
        let _room = room;
        // A client that went away meanwhile leaves a command behind, which ends with `started`.
        if let Ok(stream) = upgrade.await {
            session::serve(stream, started, stopping).await;
        }
    });
    switching()
}

/// The answer whose connection becomes a session.
pub(super) fn switching() -> Response<AnswerBody> {
    let mut response = Response::new(body::whole(Vec::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, PROTOCOL);
    response
}

fn check(content: &Content) -> Result<(), LocalError> {
    if content.command.first().is_none_or(String::is_empty) {
        return Err(LocalError::bad("the command is missing"));
    }
    if let Some(directory) = content.working_directory.as_deref().filter(|d| !d.starts_with('/')) {
        return Err(LocalError::bad(format!(
            "the working directory {directory:?} is not absolute"
        )));
    }
    let wrong = |v: &&String| v.find('=').is_none_or(|at| at == 0);
    if let Some(variable) = content.environment.iter().find(wrong) {
        return Err(LocalError::bad(format!("the variable {variable:?} is not NAME=VALUE")));
    }
    Ok(())
}

/// The container that is meant: the task's only one, or the one that is named.
pub(super) fn choose(
    world: &World,
    task: &TaskId,
    wanted: Option<&str>,
) -> Result<ContainerName, LocalError> {
    let containers = world.tasks.get(task).map(|t| t.containers.as_slice()).unwrap_or_default();
    let names = || containers.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ");
    match (wanted, containers) {
        (None, [only]) => Ok(only.name.clone()),
        (None, _) => Err(LocalError::bad(format!(
            "the task has several containers: name one of {} with --container",
            names()
        ))),
        (Some(wanted), _) => {
            let found = containers.iter().find(|c| c.name.as_str() == wanted);
            found.map(|c| c.name.clone()).ok_or_else(|| {
                LocalError::missing(format!(
                    "the task has no container {wanted:?}; it has {}",
                    names()
                ))
            })
        }
    }
}

/// Its run, which must be going on.
pub(super) fn running(
    world: &World,
    task: &TaskId,
    container: &ContainerName,
) -> Result<ContainerRun, LocalError> {
    engine::running(world, task, container).ok_or_else(|| not_running(container.as_str()))
}

fn not_running(container: &str) -> LocalError {
    LocalError::new(StatusCode::CONFLICT, format!("the container {container} does not run"))
}

fn refusal(error: &SessionError) -> LocalError {
    let (status, exit_code) = match error {
        SessionError::NotRunning => (StatusCode::CONFLICT, None),
        SessionError::NoProgram(_) => (StatusCode::UNPROCESSABLE_ENTITY, Some(127)),
        SessionError::CannotStart(_) => (StatusCode::UNPROCESSABLE_ENTITY, Some(126)),
        SessionError::Resources(_) | SessionError::Runtime(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, None)
        }
    };
    LocalError { exit_code, ..LocalError::new(status, error.to_string()) }
}
