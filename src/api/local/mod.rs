//! `/coracle/v1/…`, on the unix socket only: what our own command line needs and the ECS API has no operation for.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET version` | `{"version"}` |
//! | `GET credentials` | `{"endpoint","accessKeyId","secretAccessKey","region"}`; no endpoint when TCP is off |
//! | `GET logs?task=ID[&container=NAME][&follow=true][&tail=N][&since=TIME][&until=TIME]` | a line of output per line of JSON |
//! | `GET logs?family=NAME[:REVISION]…` | the same of all tasks of a family |
//! | `GET tasks/ID/watch` | the task as DescribeTasks shows it, now and after every change, until it is STOPPED |
//! | `POST tasks/ID/attach` `{"container","terminal"}` | the same with the container's own process |
//! | `POST tasks/ID/exec` `{"container","command","environment","workingDirectory","user","terminal","stdin"}` | the connection becomes a session, see `exec` |
//! | `GET stats`, `GET tasks/ID/stats` | `{"containers":[…]}`: what running containers use, in the form of Docker's stats |
//! | the same of a hub | of all boxes; `"unreachable"` lists those that did not answer, with the reason |
//! | `GET stats?instance=ID`, `GET images?instance=ID` of a hub | those of one box |
//! | `GET tasks/ID/top[?container=NAME]` | `{"containers":[{"name","processes":[{"pid","containerPid","uid","user","cpuMillis","residentBytes","command"}]}]}` |
//! | `GET images` | `{"images":[{"name","digest","size","platform","inUse","usedBy","lastUsed","origin"}]}` |
//! | `GET images/inspect?image=NAME` | `{"images":[…]}`: one, in the form of `docker image inspect` |
//! | `GET images/history?image=NAME` | `{"history":[{"created","createdBy","size","layer","comment"}]}`, the newest first |
//! | `GET images/space` | what images, layers and the rest take on the disk |
//! | the last three with `instance=ID` of a hub | of one box |
//! | `POST images/remove` `{"images","force"}` | `{"images":[{"digest","names"}],"blobs","layers","bytes"}`: what went |
//! | `POST images/prune` `{"all","olderThanSeconds","dryRun"}` | the same |
//! | these two with `?instance=ID` of a hub | of one box |
//! | `POST images/load` `{"path"[,"device","inode"]}` | `{"images":[NAME]}`; with `"elsewhere":true` when another file stands there |
//! | `POST images/load[?name=FILE]` with an archive as `application/x-tar` | `{"images":[NAME]}` |
//! | `POST images/save` `{"images":[NAME]}` | the images as one archive, `application/x-tar`; as long as its Content-Length |
//! | `POST images/pull` `{"image"}` | progress, then `{"image","digest"}` or `{"error"}` |
//! | `GET registries` | `{"registries":[{"registry","user"}]}`: the logins, never a password |
//! | `POST registries/login` `{"registry","user","password"}` | `{"registry","user"}`, once the registry has confirmed it |
//! | `POST registries/logout` `{"registry"}` | `{"registry","found"}` |
//! | `GET secrets` | `{"secrets":[{"name","kind","arn","createdDate","lastChangedDate","versions"}]}`, never a value |
//! | `POST secrets/set` `{"name","value"}` | `{"name","kind","versionId"}` |
//! | `POST secrets/remove` `{"name"}` | `{"name","kind"}` |
//! | `POST secrets/rotate-key` | `{"values"}`: how many were sealed anew |
//! | `GET volumes[?size=true]` | `{"volumes":[{"name","driver","driverOpts","labels","createdAt","tasks","mountpoint"}]}` |
//! | `POST volumes` `{"name","driverOpts","labels"}`, `GET volumes/NAME` | the volume |
//! | `DELETE volumes/NAME`, `POST volumes/prune` | `{"removed":[NAME]}` |
//! | `POST manifests` `{"sources":[{"name","text"}],"cluster","set","prune","dryRun"}` | `{"steps":[{"object","origin","action","differences","result"}],"warnings"}` |
//! | `GET nodes[?cluster=NAME]`, `GET nodes/ID` | container instances as DescribeContainerInstances shows them, with what is known of their connections and documents; the ID `this` is the box itself |
//! | `GET why?of=TASK\|SERVICE\|NODE[&cluster=NAME]` | `{"text","because":[…]}`: what is so, and why |
//! | `GET services/watch?service=NAME[&cluster=NAME]` | the service as DescribeServices shows it, now and after every change, until it is INACTIVE |
//! | `POST join` `{"url","token","attributes"}`, `POST leave` of a box | `{"device","cluster","hub"}`: it joins a fleet or leaves it |
//! | `POST backup` `{"path"}` of a hub | `{"file","files","epoch"}`: its store and keys are in that new file |
//! | `GET hub-key`, `POST hub-key/rotate` of a hub | `{"key","before":[{"key","tokens"}],"waiting","nodes"}`: the key that it signs with, those before it, and the boxes that trust one of these |
//! | `GET tokens`, `POST tokens` `{"cluster","uses","expiresAfter","attributes"}`, `DELETE tokens/ID` of a hub | `{"tokens":[…]}`; `{"token",…}`; `{"id"}` |
//! | `GET manifests/export?format=yaml\|json[&cluster=NAME]` | `{"text","warnings"}` |
//!
//! A hub has no containers, logs, images and volumes of its own. What asks for those of a task is passed on to its box
//! (`remote`), and a box answers its hub a few of these requests: what looks, `exec`, and the removal of images. Anything
//! else of a box is answered with a 404 that says so.
//!
//! Errors are `{"error": text}` with a status of 4xx or 5xx; one that comes up in the middle of lines is a last line
//! of that form. An ID is a task's id, its ARN, or the beginning of its id, 6 characters at least, if no other task's
//! begins so.

mod archives;
mod exec;
mod gate;
mod images;
mod lines;
mod logs;
mod manifest;
mod nodes;
mod query;
mod registries;
mod remote;
mod secrets;
mod services;
mod session;
mod stats;
mod volumes;
mod watch;
mod why;

use super::body::{self, AnswerBody};
use super::gate::GateRequest;
use super::{Api, http};
use crate::engine::NoBox;
use crate::model::{Arn, Task, TaskId};
use crate::plan::World;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Method, Request, Response, StatusCode};
use query::Query;
use serde_json::{Value, json};
use std::sync::Arc;

/// What every path of this module begins with.
pub(super) const PREFIX: &str = "/coracle/v1/";
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// The shortest beginning of an id that is looked for.
const SHORTEST_PREFIX: usize = 6;

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LocalError {
    status: StatusCode,
    message: String,
    /// What a shell would say of a command that cannot be executed.
    exit_code: Option<u8>,
}

impl LocalError {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), exit_code: None }
    }

    fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    fn missing(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }
}

impl From<NoBox> for LocalError {
    fn from(why: NoBox) -> Self {
        Self::missing(why.to_string())
    }
}

pub(super) use gate::{answer_box, is_of_box};

type Answer = Result<Response<AnswerBody>, LocalError>;

/// Answers one request under [`PREFIX`].
pub(super) async fn answer(api: Arc<Api>, request: Request<Incoming>) -> Response<AnswerBody> {
    route(api, request).await.unwrap_or_else(|error| {
        let mut content = json!({ "error": error.message });
        if let Some(code) = error.exit_code {
            content["exitCode"] = code.into();
        }
        http::plain(error.status, JSON, content.to_string())
    })
}

/// Answers one request of the hub that this box belongs to.
pub(super) async fn answer_hub(api: Arc<Api>, request: Request<Incoming>) -> Response<AnswerBody> {
    if remote::is_for_hubs(request.method(), request.uri().path()) {
        return answer(api, request).await;
    }
    let path = shorten(request.uri().path());
    let text = format!("a box does not let its hub {} {path}", request.method());
    http::plain(StatusCode::FORBIDDEN, JSON, json!({ "error": text }).to_string())
}

async fn route(api: Arc<Api>, request: Request<Incoming>) -> Answer {
    let (head, incoming) = request.into_parts();
    // Read whatever is asked for: a client must not be cut off while it still sends.
    let path = head.uri.path().strip_prefix(PREFIX).unwrap_or_default().to_owned();
    if archives::is_upload(&head.method, &path, &head.headers) {
        let query = Query::parse(head.uri.query().unwrap_or_default())?;
        return archives::upload(&api, &query, incoming).await;
    }
    let limit = if path == "manifests" { manifest::LIMIT } else { body::BODY_LIMIT };
    let bytes = body::read_up_to(incoming, limit)
        .await
        .map_err(|e| LocalError::new(e.exception.status(), e.message))?;
    let parts: Vec<&str> = path.split('/').collect();
    let query = Query::parse(head.uri.query().unwrap_or_default())?;
    if matches!(
        parts.as_slice(),
        ["logs" | "stats" | "images" | "volumes", ..]
            | ["tasks", _, "stats" | "top" | "exec" | "attach"]
    ) {
        match (api.engine.on_box(), &api.boxes) {
            (Ok(()), _) => {}
            (Err(_), Some(_)) => return remote::answer(&api, head, &parts, &query, bytes).await,
            (Err(why), None) => return Err(why.into()),
        }
    }
    match (&head.method, parts.as_slice()) {
        (&Method::GET, ["version"]) => {
            query.only(&[])?;
            Ok(whole(&json!({ "version": env!("CARGO_PKG_VERSION") })))
        }
        (&Method::GET, ["credentials"]) => {
            query.only(&[])?;
            Ok(credentials(&api))
        }
        (&Method::GET, ["logs"]) => logs::answer(&api, &query),
        (&Method::GET, ["tasks", id, "watch"]) => {
            query.only(&[])?;
            watch::answer(&api, &query::decode(id)?)
        }
        (&Method::GET, ["stats"]) => {
            query.only(&[])?;
            stats::stats(&api, None).await
        }
        (&Method::GET, ["tasks", id, "stats"]) => {
            query.only(&[])?;
            stats::stats(&api, Some(&query::decode(id)?)).await
        }
        (&Method::GET, ["tasks", id, "top"]) => {
            query.only(&["container"])?;
            stats::top(&api, &query::decode(id)?, query.get("container")).await
        }
        (&Method::POST, ["tasks", id, "attach"]) => {
            query.only(&[])?;
            let id = query::decode(id)?;
            exec::attach(&api, &id, head, &bytes).await
        }
        (&Method::POST, ["tasks", id, "exec"]) => {
            query.only(&[])?;
            let id = query::decode(id)?;
            exec::exec(&api, &id, head, &bytes).await
        }
        (&Method::GET, ["images"]) => {
            query.only(&[])?;
            images::list(&api).await
        }
        (&Method::GET, ["images", "inspect"]) => images::inspect(&api, &query).await,
        (&Method::GET, ["images", "history"]) => images::history(&api, &query).await,
        (&Method::GET, ["images", "space"]) => {
            query.only(&[])?;
            images::space(&api).await
        }
        (&Method::POST, ["images", what @ ("remove" | "prune")]) => {
            query.only(&[])?;
            let content = content(&bytes)?;
            match *what {
                "remove" => images::remove(&api, content).await,
                _ => images::prune(&api, content).await,
            }
        }
        (&Method::POST, ["images", "load"]) => archives::load(&api, &content(&bytes)?).await,
        (&Method::POST, ["images", "save"]) => archives::save(&api, &content(&bytes)?).await,
        (&Method::POST, ["images", "pull"]) => images::pull(&api, &content(&bytes)?),
        (&Method::GET, ["registries"]) => {
            query.only(&[])?;
            registries::list(&api).await
        }
        (&Method::POST, ["registries", "login"]) => registries::log_in(&api, bytes).await,
        (&Method::POST, ["registries", "logout"]) => {
            registries::log_out(&api, &content(&bytes)?).await
        }
        (&Method::GET, ["secrets"]) => {
            query.only(&[])?;
            secrets::list(&api).await
        }
        (&Method::POST, ["secrets", "set"]) => secrets::set(&api, bytes).await,
        (&Method::POST, ["secrets", "remove"]) => secrets::remove(&api, content(&bytes)?).await,
        (&Method::POST, ["secrets", "rotate-key"]) => secrets::rotate_key(&api).await,
        (&Method::POST, ["manifests"]) => manifest::apply(&api, content(&bytes)?).await,
        (&Method::GET, ["nodes"]) => nodes::list(&api, &query),
        (&Method::GET, ["nodes", id]) => {
            query.only(&[])?;
            nodes::show(&api, &query::decode(id)?)
        }
        (&Method::GET, ["why"]) => why::answer(&api, &query).await,
        (&Method::GET, ["services", "watch"]) => services::watch(&api, &query).await,
        (&Method::GET, ["manifests", "export"]) => manifest::export(&api, &query).await,
        (&Method::POST, ["join"]) => gate::ask(&api, GateRequest::Join(content(&bytes)?)).await,
        (&Method::POST, ["leave"]) => gate::ask(&api, GateRequest::Leave).await,
        (&Method::POST, ["backup"]) => {
            let content = content(&bytes)?;
            gate::ask(&api, GateRequest::Backup(text(&content, "path")?.into())).await
        }
        (&Method::GET, ["hub-key"]) => gate::ask(&api, GateRequest::HubKeys).await,
        (&Method::POST, ["hub-key", "rotate"]) => gate::ask(&api, GateRequest::RotateHubKey).await,
        (&Method::GET, ["tokens"]) => gate::ask(&api, GateRequest::Tokens).await,
        (&Method::POST, ["tokens"]) => {
            gate::ask(&api, GateRequest::CreateToken(content(&bytes)?)).await
        }
        (&Method::DELETE, ["tokens", id]) => {
            gate::ask(&api, GateRequest::RemoveToken(query::decode(id)?)).await
        }
        (&Method::GET, ["volumes"]) => volumes::list(&api, &query).await,
        (&Method::POST, ["volumes"]) => volumes::create(&api, content(&bytes)?).await,
        (&Method::POST, ["volumes", "prune"]) => volumes::prune(&api).await,
        (&Method::GET, ["volumes", name]) => volumes::inspect(&api, query::decode(name)?).await,
        (&Method::DELETE, ["volumes", name]) => volumes::remove(&api, query::decode(name)?).await,
        (method, _) => Err(LocalError::missing(format!("there is no {method} {}", shorten(&path)))),
    }
}

fn credentials(api: &Api) -> Response<AnswerBody> {
    let key = api.keys.root();
    let mut content = json!({
        "accessKeyId": key.access_key_id,
        "secretAccessKey": key.secret_access_key,
        "region": api.engine.settings().scope.region,
    });
    if let Some(address) = api.address {
        // A socket that listens on every address is reached on the loopback.
        let reachable = if address.ip().is_unspecified() {
            format!("localhost:{}", address.port())
        } else {
            address.to_string()
        };
        content["endpoint"] = Value::String(format!("http://{reachable}"));
    }
    whole(&content)
}

/// The JSON object that a request came with.
fn content(bytes: &[u8]) -> Result<Value, LocalError> {
    serde_json::from_slice(bytes)
        .map_err(|e| LocalError::bad(format!("the body of the request is not JSON: {e}")))
}

/// A text member of a request's object.
fn text<'a>(content: &'a Value, member: &str) -> Result<&'a str, LocalError> {
    content[member]
        .as_str()
        .filter(|text| !text.is_empty())
        .ok_or_else(|| LocalError::bad(format!("{member:?} is missing: it must be a text")))
}

fn whole(content: &Value) -> Response<AnswerBody> {
    http::plain(StatusCode::OK, JSON, content.to_string())
}

/// The task that `text` means.
fn find_task(world: &World, text: &str) -> Result<TaskId, LocalError> {
    let missing = || LocalError::missing(format!("there is no task {}", shorten(text)));
    let wanted = match Arn::parse(text) {
        Ok(Arn::Task(_, id)) => id.to_string(),
        Ok(_) => {
            return Err(LocalError::bad(format!("{} is not the ARN of a task", shorten(text))));
        }
        Err(_) => text.to_owned(),
    };
    let first = TaskId::new(&wanted).map_err(|_| missing())?;
    if world.tasks.contains_key(&first) {
        return Ok(first);
    }
    if wanted.len() < SHORTEST_PREFIX {
        return Err(LocalError::bad(format!(
            "{wanted} is too short: give {SHORTEST_PREFIX} characters of the task's id at least"
        )));
    }
    // Ids that begin with the text follow it in order.
    let mut found = world
        .tasks
        .range(first..)
        .map(|(id, _)| id)
        .take_while(|id| id.as_str().starts_with(&wanted));
    match (found.next(), found.next()) {
        (None, _) => Err(missing()),
        (Some(id), None) => Ok(id.clone()),
        (Some(_), Some(_)) => Err(LocalError::bad(format!(
            "more than one task begins with {wanted}: give more of the id"
        ))),
    }
}

/// True when nothing more will come of a task.
fn is_over(task: Option<&Task>) -> bool {
    task.is_none_or(|task| task.last_status == crate::model::TaskStatus::Stopped)
}

/// What is quoted back is bounded.
fn shorten(text: &str) -> String {
    text.chars().take(128).collect()
}
