//! One request: who asks, what for, and the answer as AWS JSON 1.1 writes it.

use super::body::{self, AnswerBody};
use super::error::{ApiError, Exception};
use super::shapes::{self, Operation};
use super::{Api, documents, local, operations, simulate};
use crate::auth::sigv4::{self, SignedRequest};
use crate::metadata;
use crate::plan::Ids;
use crate::sys;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;

/// What `X-Amz-Target` begins with.
const TARGET_PREFIX: &str = "AmazonEC2ContainerServiceV20141113.";
/// The largest head of a request, twice what AWS takes.
pub(super) const HEAD_LIMIT: usize = 64 * 1024;
const AMZ_JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.1");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// TCP, from this address: every request of the ECS API must be signed.
    Network(IpAddr),
    /// The unix socket, and a user who may use it.
    Local,
    /// The hub that this box belongs to.
    Hub,
    /// The unix socket, and somebody else.
    Stranger,
}

/// Answers one request. Whatever happens becomes an answer.
pub(super) async fn answer(
    api: Arc<Api>,
    peer: Peer,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    let id = Ids::from_seed(sys::seed()).uuid();
    let method = request.method().clone();
    let mut response = match (&method, request.uri().path()) {
        _ if peer == Peer::Stranger => failure(&ApiError::new(
            Exception::AccessDenied,
            "Only root and the agent's own user may use this socket.",
        )),
        _ if head_size(&request) > HEAD_LIMIT => failure(&ApiError::new(
            Exception::RequestHeaderFieldsTooLarge,
            format!("The head of the request is larger than {HEAD_LIMIT} bytes."),
        )),
        (_, path) if peer == Peer::Local && path.starts_with(local::PREFIX) => {
            local::answer(api, request).await
        }
        _ if peer == Peer::Hub => local::answer_hub(api, request).await,
        (method, path) if matches!(peer, Peer::Network(_)) && local::is_of_box(method, path) => {
            local::answer_box(&api, request).await
        }
        (&Method::GET, path) if path.starts_with(documents::PREFIX) => {
            let sha256 = path.strip_prefix(documents::PREFIX).unwrap_or_default();
            let answered = documents::answer(api.documents.as_ref(), sha256);
            answered.unwrap_or_else(|error| failure(&error))
        }
        (_, path) if api.engine.is_simulation() && path.starts_with(simulate::PREFIX) => {
            match simulate::answer(&api.engine, request).await {
                Ok(output) => json_answer(StatusCode::OK, &output),
                Err(error) => failure(&error),
            }
        }
        (_, path) if metadata::is_served(path) && matches!(peer, Peer::Network(_)) => {
            endpoint(&api, peer, request).await
        }
        (&Method::GET | &Method::HEAD, "/") => greeting(&api),
        _ => match ecs(&api, peer, request).await {
            Ok(output) => json_answer(StatusCode::OK, &output),
            Err(error) => failure(&error),
        },
    };
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    tracing::debug!(request = %id, status = response.status().as_u16(), "answered");
    response
}

/// An endpoint of containers in host mode, or of programs on the box.
async fn endpoint(api: &Api, peer: Peer, request: Request<Incoming>) -> Response<AnswerBody> {
    let Peer::Network(address) = peer else {
        return failure(&ApiError::new(Exception::UnknownPath, "This is served over TCP."));
    };
    let caller = metadata::Caller { door: metadata::Door::Loopback, address };
    let Some(metadata) = &api.metadata else {
        let message = "This is a hub: no containers run here.";
        return failure(&ApiError::new(Exception::UnknownPath, message));
    };
    metadata.answer(caller, request).await.map(BodyExt::boxed_unsync)
}

/// The size of a request's head, near enough.
fn head_size(request: &Request<Incoming>) -> usize {
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len());
    request.uri().path().len() + request.uri().query().map_or(0, str::len) + headers.sum::<usize>()
}

/// An operation of the ECS API.
async fn ecs(api: &Api, peer: Peer, request: Request<Incoming>) -> Result<Value, ApiError> {
    let (head, incoming) = request.into_parts();
    let bytes = body::read(incoming).await?;
    if matches!(peer, Peer::Network(_)) && !api.engine.is_simulation() {
        let signed = SignedRequest {
            method: head.method.as_str(),
            path: head.uri.path(),
            query: head.uri.query().unwrap_or_default(),
            headers: &head.headers,
            body: &bytes,
        };
        sigv4::verify(&signed, &api.keys, sys::now())?;
    }
    if head.method != Method::POST || head.uri.path() != "/" {
        let path: String = head.uri.path().chars().take(128).collect();
        let message = format!("{} {path} is not there; the ECS API is POST /.", head.method);
        return Err(ApiError::new(Exception::UnknownPath, message));
    }
    let target = head.headers.get("x-amz-target").and_then(|t| t.to_str().ok());
    let operation = target
        .and_then(|t| t.strip_prefix(TARGET_PREFIX))
        .and_then(Operation::find)
        .ok_or_else(|| unknown_operation(target))?;
    let mut input: Value = if bytes.iter().all(u8::is_ascii_whitespace) {
        json!({})
    } else {
        serde_json::from_slice(&bytes).map_err(|e| {
            ApiError::new(Exception::Serialization, format!("The body is not JSON: {e}"))
        })?
    };
    shapes::check(operation, &mut input)?;
    operations::call(&api.engine, api.address, operation, input).await
}

fn unknown_operation(target: Option<&str>) -> ApiError {
    let message = match target {
        None => "The header X-Amz-Target is missing; this is an endpoint of the Amazon ECS API."
            .to_owned(),
        Some(target) => {
            let target: String = target.chars().take(128).collect();
            format!("The Amazon ECS API has no operation {target:?}.")
        }
    };
    ApiError::new(Exception::UnknownOperation, message)
}

fn greeting(api: &Api) -> Response<AnswerBody> {
    let address = api.address.map(|a| format!("http://{a}")).unwrap_or_default();
    let text = format!(
        "This is Coracle {}, an endpoint of the Amazon ECS API (AWS JSON 1.1, POST /).\n\
         To use it, on this box as root: eval \"$(coracle env)\"; aws ecs list-clusters\n\
         AWS_ENDPOINT_URL_ECS={address}\n",
        env!("CARGO_PKG_VERSION")
    );
    plain(StatusCode::OK, TEXT, text)
}

/// An exception: its name in the body for botocore and in a header for other SDKs.
fn failure(error: &ApiError) -> Response<AnswerBody> {
    let name = error.exception.name();
    let mut content = json!({ "__type": name, "message": error.message });
    if error.exception == Exception::Conflict {
        content["resourceIds"] = json!(error.resource_ids);
    }
    let mut response = json_answer(error.exception.status(), &content);
    response.headers_mut().insert(ERROR_TYPE, HeaderValue::from_static(name));
    response
}

fn json_answer(status: StatusCode, content: &Value) -> Response<AnswerBody> {
    plain(status, AMZ_JSON, content.to_string())
}

/// A whole answer of one content type.
pub(super) fn plain(
    status: StatusCode,
    content_type: HeaderValue,
    text: String,
) -> Response<AnswerBody> {
    let mut response = Response::new(body::whole(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
