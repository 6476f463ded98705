//! One request: may it be answered, and with what.

use super::caller::{Asker, Caller, Door};
use super::route::{self, Route, Version};
use super::{Metadata, describe, introspection, protection};
use crate::sys;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Duration;

/// The largest body that is looked at; a protection is some sixty bytes.
const BODY_LIMIT: usize = 4096;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// A whole answer.
pub(super) type Answer = Response<Full<Bytes>>;

/// An answer of JSON.
pub(super) fn json(status: StatusCode, content: &Value) -> Answer {
    whole(status, JSON, content.to_string())
}

fn text(status: StatusCode, content: &str) -> Answer {
    whole(status, TEXT, content.to_owned())
}

fn whole(status: StatusCode, content_type: HeaderValue, content: String) -> Answer {
    let mut answer = Response::new(Full::new(content.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// What ECS's agent says of a path that there is not.
fn no_such_page() -> Answer {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

impl Metadata {
    /// Answers one request; whatever happens becomes an answer.
    pub async fn answer(&self, caller: Caller, request: Request<Incoming>) -> Answer {
        if !is_for_us(&request) {
            let message = "This is no proxy: the Host must be an address, or localhost.\n";
            return text(StatusCode::BAD_REQUEST, message);
        }
        let (head, incoming) = request.into_parts();
        let Some(route) = route::parse(head.uri.path()) else { return no_such_page() };
        if caller.door == Door::Loopback && !caller.address.is_loopback() {
            let message = "This is answered on the loopback address only.\n";
            return text(StatusCode::FORBIDDEN, message);
        }
        match route {
            Route::Agent | Route::Tasks if caller.door != Door::Loopback => return no_such_page(),
            Route::Protection { .. } if head.method == Method::PUT => {}
            _ if matches!(head.method, Method::GET | Method::HEAD) => {}
            _ => {
                return text(StatusCode::METHOD_NOT_ALLOWED, "The method is not allowed here.\n");
            }
        }
        let asker = match route {
            Route::Container { id, .. }
            | Route::Task { id, .. }
            | Route::Stats { id }
            | Route::TaskStats { id }
            | Route::Protection { id } => self.asker(caller, id).await,
            Route::Credentials { .. } | Route::Agent | Route::Tasks => None,
        };
        if !self.may_ask(caller, asker.as_ref()) {
            return text(StatusCode::TOO_MANY_REQUESTS, "You have reached maximum request limit.");
        }
        let query = head.uri.query().unwrap_or_default();
        match (route, asker) {
            (Route::Container { version, .. }, Some(asker)) => self.container(&asker, version),
            (Route::Task { version, tags, .. }, Some(asker)) => self.task(&asker, version, tags),
            (Route::Stats { .. }, Some(asker)) => self.stats(&asker).await,
            (Route::TaskStats { .. }, Some(asker)) => self.task_stats(&asker.task).await,
            (Route::Credentials { id }, _) => self.credentials(caller, id).await,
            (Route::Protection { .. }, Some(asker)) => {
                let body = if head.method == Method::PUT {
                    match read(incoming).await {
                        Ok(bytes) => Some(bytes),
                        Err(status) => return text(status, "The body cannot be read.\n"),
                    }
                } else {
                    None
                };
                self.protection(&asker.task, body.as_deref()).await
            }
            (Route::Protection { .. }, None) => protection::unknown(),
            (Route::Agent, _) => self.engine.read(introspection::agent),
            (Route::Tasks, _) => self.engine.read(|w| introspection::tasks(w, query)),
            (Route::Container { id, .. }, None) => {
                let reason = "unable to get docker ID from v3 endpoint ID";
                missing("container metadata handler", "container ID", reason, id)
            }
            (Route::Stats { id }, None) => {
                let reason = "unable to get docker ID from v3 endpoint ID";
                missing("container stats handler", "container ID", reason, id)
            }
            (Route::Task { id, .. }, None) => {
                let reason = "unable to get task Arn from v3 endpoint ID";
                missing("task metadata handler", "task arn", reason, id)
            }
            (Route::TaskStats { id }, None) => {
                let reason = "unable to get task Arn from v3 endpoint ID";
                missing("task stats handler", "task arn", reason, id)
            }
        }
    }

    /// Takes one of the requests that whoever asks has. Who shows no good ID shares them with all others at his address.
    fn may_ask(&self, caller: Caller, asker: Option<&Asker>) -> bool {
        let key = match (asker, caller.door) {
            (Some(asker), _) => asker.task.to_string(),
            (None, Door::Bridge) => caller.address.to_string(),
            // Programs on the box may ask as they like.
            (None, Door::Loopback) => return true,
        };
        let mut rates = self.rates.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        rates.take(&key, sys::uptime())
    }

    fn container(&self, asker: &Asker, version: Version) -> Answer {
        let described = self.engine.read(|world| {
            let task = world.tasks.get(&asker.task)?;
            let container = task.container(&asker.container)?;
            Some(describe::container(world, task, container, version))
        });
        described.map_or_else(no_such_page, |container| json(StatusCode::OK, &container))
    }

    fn task(&self, asker: &Asker, version: Version, tags: bool) -> Answer {
        let described = self.engine.read(|world| {
            let task = world.tasks.get(&asker.task)?;
            Some(describe::task(world, task, version, tags))
        });
        described.map_or_else(no_such_page, |task| json(StatusCode::OK, &task))
    }
}

/// An ID that is none, in the words of ECS's agent.
fn missing(handler: &str, what: &str, reason: &str, id: &str) -> Answer {
    let id: String = id.chars().take(128).collect();
    let message = format!("V4 {handler}: unable to get {what} from request: {reason}: {id}");
    json(StatusCode::NOT_FOUND, &json!(message))
}

/// Whether a request is meant for an address of ours: what a browser was led to by a name of somebody else's is not,
/// nor what a client wants forwarded.
fn is_for_us(request: &Request<Incoming>) -> bool {
    let header = request.headers().get(HOST).map(|host| host.to_str().unwrap_or("?"));
    let named = request.uri().authority().map(hyper::http::uri::Authority::as_str);
    [header, named].into_iter().flatten().all(is_address)
}

/// An IP address or `localhost`, with or without a port.
fn is_address(authority: &str) -> bool {
    if authority.contains('@') {
        return false;
    }
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.is_empty() || host == "localhost" || bare.parse::<IpAddr>().is_ok()
}

/// Reads a small body.
async fn read(body: Incoming) -> Result<Vec<u8>, StatusCode> {
    let read = Limited::new(body, BODY_LIMIT).collect();
    match tokio::time::timeout(BODY_TIMEOUT, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes().to_vec()),
        Ok(Err(_)) => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_addresses() {
        for good in
            ["169.254.170.2", "127.0.0.1:51678", "localhost", "localhost:1", "[::1]:7", "[::1]", ""]
        {
            assert!(is_address(good), "{good}");
        }
        for bad in ["evil.example", "evil.example:80", "a@127.0.0.1", "127.0.0.1.evil", "::g", "?"]
        {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
