//! The client of an agent: HTTP/1.1 over its unix socket, one connection per request.
//!
//! Two kinds of requests go over it: the ECS API, as any AWS SDK speaks it but without a signature (the agent looks at
//! the peer's user instead), and the few of `/coracle/v1`, for what the ECS API has no operation for: output of
//! containers, watching a task, images, the root key.
//!
//! There is no time limit on an answer: a load of a large image takes as long as it takes, and whoever waits can
//! interrupt. What is read is bounded: [`ANSWER_LIMIT`] for a whole answer, [`LINE_LIMIT`] for a line of a stream.

mod archives;
mod error;
mod lines;
mod registries;
mod services;
mod tasks;

pub(super) use error::Error;
pub(super) use lines::Lines;
pub(super) use tasks::{Container, Selection, Task};

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;

/// The longest answer that is read as a whole.
const ANSWER_LIMIT: usize = 16 << 20;
/// The longest line of a stream.
const LINE_LIMIT: usize = 4 << 20;

const TARGET_PREFIX: &str = "AmazonEC2ContainerServiceV20141113";

/// An agent, by its socket.
#[derive(Debug, Clone)]
pub(super) struct Client {
    socket: PathBuf,
}

/// The body of a request.
type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The connection of a session: frames in both directions.
pub(super) type SessionIo = TokioIo<hyper::upgrade::Upgraded>;

/// The root key and where the API answers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Credentials {
    pub(super) endpoint: String,
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
    pub(super) region: String,
}

/// A line of a container's output.
#[derive(Debug, Deserialize)]
pub(super) struct LogLine {
    #[serde(default)]
    pub(super) task: String,
    #[serde(default)]
    pub(super) container: String,
    #[serde(default)]
    pub(super) stream: String,
    #[serde(default)]
    pub(super) time: String,
    #[serde(default)]
    pub(super) log: String,
    /// No line, but something to know about them.
    #[serde(default)]
    pub(super) note: Option<String>,
}

/// What running containers use.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Stats {
    pub(super) containers: Vec<Value>,
    /// Boxes of a hub that cannot be asked.
    #[serde(default)]
    pub(super) unreachable: Vec<Unreachable>,
}

/// A box that cannot be asked, and why.
#[derive(Debug, Deserialize)]
pub(super) struct Unreachable {
    pub(super) error: String,
}

/// What to read of the output of a task, or of all tasks of a family.
#[derive(Debug, Clone, Default)]
pub(super) struct LogQuery {
    /// Instead of `task`.
    pub(super) family: Option<String>,
    pub(super) task: String,
    pub(super) container: Option<String>,
    pub(super) follow: bool,
    /// Of a hub: what it stores itself.
    pub(super) stored: bool,
    pub(super) tail: Option<u64>,
    /// RFC 3339.
    pub(super) since: Option<String>,
    /// RFC 3339.
    pub(super) until: Option<String>,
}

impl Client {
    /// The agent whose run directory is `run_dir`.
    pub(super) fn new(run_dir: &Path) -> Self {
        Self { socket: run_dir.join("api.sock") }
    }

    /// Calls an operation of the ECS API.
    pub(super) async fn ecs(&self, operation: &str, input: &Value) -> Result<Value, Error> {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/")
            .header(header::CONTENT_TYPE, "application/x-amz-json-1.1")
            .header("X-Amz-Target", format!("{TARGET_PREFIX}.{operation}"));
        let response = self.send(request, input.to_string()).await?;
        self.whole(response).await
    }

    /// Calls a paginated operation until its last page; the items of `member` of all pages.
    pub(super) async fn ecs_pages(
        &self,
        operation: &str,
        mut input: Value,
        member: &str,
    ) -> Result<Vec<Value>, Error> {
        let mut items = Vec::new();
        loop {
            let mut page = self.ecs(operation, &input).await?;
            if let Some(Value::Array(more)) = page.get_mut(member).map(Value::take) {
                items.extend(more);
            }
            match page.get_mut("nextToken").map(Value::take) {
                Some(Value::String(token)) => input["nextToken"] = token.into(),
                _ => return Ok(items),
            }
        }
    }

    /// The agent's version; the cheapest way to see that one answers.
    pub(super) async fn version(&self) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Answer {
            version: String,
        }
        Ok(self.get::<Answer>("/coracle/v1/version").await?.version)
    }

    /// The root key.
    pub(super) async fn credentials(&self) -> Result<Credentials, Error> {
        self.get("/coracle/v1/credentials").await
    }

    /// The images of the box, as the agent lists them; of a hub those of `instance`.
    pub(super) async fn images(&self, instance: Option<&str>) -> Result<Value, Error> {
        self.get(&of_instance("/coracle/v1/images", instance)).await
    }

    /// What an image, or all of them, say of themselves; of a hub those of `instance`.
    pub(super) async fn image(
        &self,
        what: &str,
        image: Option<&str>,
        instance: Option<&str>,
    ) -> Result<Value, Error> {
        let given = [("image", image), ("instance", instance)];
        let query: Vec<String> = given
            .iter()
            .filter_map(|(name, value)| Some(format!("{name}={}", escaped((*value)?))))
            .collect();
        self.get(&format!("/coracle/v1/images/{what}?{}", query.join("&"))).await
    }

    /// Has the agent remove images: `remove` or `prune`; of a hub those of `instance`.
    pub(super) async fn change_images(
        &self,
        what: &str,
        wanted: &Value,
        instance: Option<&str>,
    ) -> Result<Value, Error> {
        let path = of_instance(&format!("/coracle/v1/images/{what}"), instance);
        let request = local(Method::POST, &path);
        self.whole(self.send(request, wanted.to_string()).await?).await
    }

    /// Has the agent pull an image; a stream of its progress.
    pub(super) async fn pull_image(&self, image: &str) -> Result<Lines, Error> {
        let body = json!({ "image": image }).to_string();
        self.stream(local(Method::POST, "/coracle/v1/images/pull"), body).await
    }

    /// The secrets of the box, without their values.
    pub(super) async fn list_secrets(&self) -> Result<Value, Error> {
        self.get("/coracle/v1/secrets").await
    }

    /// Has the agent do `what` with its secrets.
    pub(super) async fn secrets(&self, what: &str, request: &Value) -> Result<Value, Error> {
        let path = format!("/coracle/v1/secrets/{what}");
        let response = self.send(local(Method::POST, &path), request.to_string()).await?;
        self.whole(response).await
    }

    /// Has the box join a fleet.
    pub(super) async fn join(&self, wish: &Value) -> Result<Value, Error> {
        let response = self.send(local(Method::POST, "/coracle/v1/join"), wish.to_string()).await?;
        self.whole(response).await
    }

    /// Has the box leave its fleet.
    pub(super) async fn leave(&self) -> Result<Value, Error> {
        let request = local(Method::POST, "/coracle/v1/leave");
        self.whole(self.send(request, String::new()).await?).await
    }

    /// Has a hub write a backup.
    pub(super) async fn back_up(&self, path: &Path) -> Result<Value, Error> {
        let body = json!({ "path": path }).to_string();
        let request = local(Method::POST, "/coracle/v1/backup");
        self.whole(self.send(request, body).await?).await
    }

    /// The keys that a hub signs with.
    pub(super) async fn hub_keys(&self) -> Result<Value, Error> {
        self.get("/coracle/v1/hub-key").await
    }

    /// Has a hub make a new key.
    pub(super) async fn rotate_hub_key(&self) -> Result<Value, Error> {
        let request = local(Method::POST, "/coracle/v1/hub-key/rotate");
        self.whole(self.send(request, String::new()).await?).await
    }

    /// The tokens of a hub.
    pub(super) async fn tokens(&self) -> Result<Value, Error> {
        self.get("/coracle/v1/tokens").await
    }

    /// Has a hub make a token.
    pub(super) async fn create_token(&self, wanted: &Value) -> Result<Value, Error> {
        let request = local(Method::POST, "/coracle/v1/tokens");
        self.whole(self.send(request, wanted.to_string()).await?).await
    }

    /// Has a hub remove a token.
    pub(super) async fn remove_token(&self, id: &str) -> Result<Value, Error> {
        let path = format!("/coracle/v1/tokens/{}", escaped(id));
        self.whole(self.send(local(Method::DELETE, &path), String::new()).await?).await
    }

    /// The shared volumes, as the agent lists them.
    pub(super) async fn volumes(&self, sized: bool) -> Result<Value, Error> {
        self.get(if sized { "/coracle/v1/volumes?size=true" } else { "/coracle/v1/volumes" }).await
    }

    /// All that the agent knows of a volume.
    pub(super) async fn volume(&self, name: &str) -> Result<Value, Error> {
        self.get(&format!("/coracle/v1/volumes/{}", escaped(name))).await
    }

    /// Has the agent make a volume.
    pub(super) async fn create_volume(&self, wanted: &Value) -> Result<Value, Error> {
        let request = local(Method::POST, "/coracle/v1/volumes");
        self.whole(self.send(request, wanted.to_string()).await?).await
    }

    /// Has the agent remove a volume.
    pub(super) async fn remove_volume(&self, name: &str) -> Result<Value, Error> {
        let path = format!("/coracle/v1/volumes/{}", escaped(name));
        self.whole(self.send(local(Method::DELETE, &path), String::new()).await?).await
    }

    /// Has the agent remove the volumes that nobody uses; their names.
    pub(super) async fn prune_volumes(&self) -> Result<Value, Error> {
        let request = local(Method::POST, "/coracle/v1/volumes/prune");
        self.whole(self.send(request, String::new()).await?).await
    }

    /// The output of a task's containers, a [`LogLine`] each.
    pub(super) async fn logs(&self, query: &LogQuery) -> Result<Lines, Error> {
        let mut path = match &query.family {
            Some(family) => format!("/coracle/v1/logs?family={}", escaped(family)),
            None => format!("/coracle/v1/logs?task={}", escaped(&query.task)),
        };
        let others =
            [("container", &query.container), ("since", &query.since), ("until", &query.until)];
        for (name, value) in others {
            if let Some(value) = value {
                let _ = write!(path, "&{name}={}", escaped(value));
            }
        }
        if query.follow {
            path.push_str("&follow=true");
        }
        if query.stored {
            path.push_str("&stored=true");
        }
        if let Some(tail) = query.tail {
            let _ = write!(path, "&tail={tail}");
        }
        self.stream(local(Method::GET, &path), String::new()).await
    }

    /// The task `id` as DescribeTasks shows it, now and after every change until it is STOPPED.
    pub(super) async fn watch(&self, id: &str) -> Result<Lines, Error> {
        let path = format!("/coracle/v1/tasks/{}/watch", escaped(id));
        self.stream(local(Method::GET, &path), String::new()).await
    }

    /// Begins a session in a container of the task that `task` means: `what` is `exec`, with the object of its request.
    pub(super) async fn session(
        &self,
        task: &str,
        what: &str,
        content: &Value,
    ) -> Result<SessionIo, Error> {
        let request = local(Method::POST, &format!("/coracle/v1/tasks/{}/{what}", escaped(task)))
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, "coracle-session");
        let response = self.send(request, content.to_string()).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return hyper::upgrade::on(response).await.map(TokioIo::new).map_err(Error::Http);
        }
        match self.whole(response).await {
            Err(error) => Err(error),
            Ok(_) => Err(Error::Protocol("it answered without a session".to_owned())),
        }
    }

    /// What running containers use, in the form of Docker's stats: those of one task, or all; of a hub perhaps only
    /// those of `instance`.
    pub(super) async fn stats(
        &self,
        task: Option<&str>,
        instance: Option<&str>,
    ) -> Result<Stats, Error> {
        let path = match task {
            Some(task) => format!("/coracle/v1/tasks/{}/stats", escaped(task)),
            None => of_instance("/coracle/v1/stats", instance),
        };
        self.get(&path).await
    }

    /// The processes in the containers of a task, or in one of them.
    pub(super) async fn top(&self, task: &str, container: Option<&str>) -> Result<Value, Error> {
        let mut path = format!("/coracle/v1/tasks/{}/top", escaped(task));
        if let Some(container) = container {
            path.push_str("?container=");
            path.push_str(&escaped(container));
        }
        self.get(&path).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let response = self.send(local(Method::GET, path), String::new()).await?;
        serde_json::from_value(self.whole(response).await?).map_err(Error::Shape)
    }

    async fn stream(
        &self,
        request: hyper::http::request::Builder,
        body: String,
    ) -> Result<Lines, Error> {
        let response = self.send(request, body).await?;
        if response.status() == StatusCode::OK {
            return Ok(Lines::new(response.into_body(), LINE_LIMIT));
        }
        match self.whole(response).await {
            Err(error) => Err(error),
            Ok(_) => Err(Error::Protocol("it answered without a stream".to_owned())),
        }
    }

    /// Connects and sends; the answer's body has not been read.
    async fn send(
        &self,
        request: hyper::http::request::Builder,
        body: String,
    ) -> Result<Response<Incoming>, Error> {
        let request = request.header(header::CONTENT_LENGTH, body.len());
        let body = Full::new(Bytes::from(body)).map_err(|never| match never {});
        self.send_body(request, body.boxed_unsync()).await
    }

    /// The same with a body that may be long.
    async fn send_body(
        &self,
        request: hyper::http::request::Builder,
        body: Body,
    ) -> Result<Response<Incoming>, Error> {
        let request = request
            .header(header::HOST, "coracle")
            .body(body)
            .map_err(|error| Error::Protocol(error.to_string()))?;
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| Error::connecting(&self.socket, source))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(Error::Http)?;
        // Ends by itself with the answer; what goes wrong in it shows in the answer.
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.map_err(Error::Http)
    }

    /// Reads the whole answer: its JSON, or the error that it holds.
    async fn whole(&self, response: Response<Incoming>) -> Result<Value, Error> {
        let (head, body) = response.into_parts();
        let bytes = Limited::new(body, ANSWER_LIMIT)
            .collect()
            .await
            .map_err(|error| Error::Protocol(error.to_string()))?
            .to_bytes();
        if head.status.is_success() {
            return serde_json::from_slice(&bytes).map_err(Error::Shape);
        }
        let kind = head.headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok());
        Err(Error::answered(head.status, kind, &bytes))
    }
}

fn local(method: Method, path: &str) -> hyper::http::request::Builder {
    Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json")
}

/// `path` of one box of a hub, if it is named.
fn of_instance(path: &str, instance: Option<&str>) -> String {
    instance.map_or_else(|| path.to_owned(), |id| format!("{path}?instance={}", escaped(id)))
}

/// `text` as a component of a URL.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
