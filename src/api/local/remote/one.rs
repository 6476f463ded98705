//! A request that one box answers.

use super::{Passed, name, stream};
use crate::api::local::{Answer, LocalError, exec, lines, whole};
use crate::api::server::told_to_stop;
use crate::api::{Api, Boxes};
use crate::model::ContainerInstanceId;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, UPGRADE};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// The largest answer that is passed back in one piece.
const WHOLE_LIMIT: usize = 4 << 20;

/// Passes a request on; its answer is whole, or comes line by line.
pub(super) async fn pass(api: &Arc<Api>, boxes: &Arc<dyn Boxes>, passed: Passed) -> Answer {
    let to = passed.to.clone();
    let response = begin(boxes, passed, false).await?;
    if stream::is_lines(&response) {
        let (sender, answer) = lines::answer();
        let stopping = told_to_stop(api.stopping.clone());
        tokio::spawn(async move {
            let mut lines = stream::Lines::new(&to, response.into_body());
            let gone = sender.clone();
            let relay = async {
                while let Some(line) = lines.next().await {
                    if sender.pass(line).await.is_err() {
                        return;
                    }
                }
            };
            tokio::select! {
                () = relay => {}
                () = gone.gone() => {}
                () = stopping => {}
            }
        });
        return Ok(answer);
    }
    Ok(whole(&content(&to, response).await?))
}

/// Passes on a request whose connection becomes a session.
pub(super) async fn session(
    api: &Arc<Api>,
    boxes: &Arc<dyn Boxes>,
    head: Parts,
    passed: Passed,
) -> Answer {
    if head.headers.get(UPGRADE) != Some(&exec::PROTOCOL) {
        return Err(LocalError::bad("the request must have the header Upgrade: coracle-session"));
    }
    let room = exec::room(api)?;
    let to = passed.to.clone();
    let response = begin(boxes, passed, true).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(LocalError::new(
            StatusCode::BAD_GATEWAY,
            format!("{} answered {} without a session", name(&to), response.status()),
        ));
    }
    let of_box = hyper::upgrade::on(response);
    let of_client = hyper::upgrade::on(Request::from_parts(head, ()));
    let stopping = told_to_stop(api.stopping.clone());
    tokio::spawn(async move {
        let _room = room;
        // Whoever went away meanwhile leaves the other to its end.
        let Ok(of_box) = of_box.await else { return };
        let Ok(of_client) = of_client.await else { return };
        stream::session(&to, of_client, of_box, stopping).await;
    });
    Ok(exec::switching())
}

/// The JSON of a GET, for whoever looks into it.
pub(super) async fn get(boxes: &Arc<dyn Boxes>, passed: Passed) -> Result<Value, LocalError> {
    let to = passed.to.clone();
    let response = begin(boxes, passed, false).await?;
    content(&to, response).await
}

/// Sends the request; the answer's head says yes.
pub(super) async fn begin(
    boxes: &Arc<dyn Boxes>,
    passed: Passed,
    upgrade: bool,
) -> Result<Response<Incoming>, LocalError> {
    let Passed { to, method, path, body, patience } = passed;
    let broken = |what: &str, error: &(dyn std::error::Error + 'static)| {
        let text = format!("{}: {what}: {}", name(&to), stream::root_cause(error));
        LocalError::new(StatusCode::BAD_GATEWAY, text)
    };
    let connection = boxes
        .connect(&to)
        .await
        .map_err(|error| LocalError::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
    let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(connection))
        .await
        .map_err(|e| broken("the connection broke", &e))?;
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "box")
        .header(CONTENT_TYPE, "application/json")
        .header(CONTENT_LENGTH, body.len());
    if upgrade {
        request = request.header(CONNECTION, "upgrade").header(UPGRADE, exec::PROTOCOL);
    }
    let request = request.body(Full::new(body)).map_err(|e| broken("the request is wrong", &e))?;
    // Ends by itself with the answer; what goes wrong in it shows in the answer.
    tokio::spawn(driver.with_upgrades());
    let response = tokio::time::timeout(patience, sender.send_request(request))
        .await
        .map_err(|_| {
            let text = format!("{} took longer than {patience:?} to answer", name(&to));
            LocalError::new(StatusCode::GATEWAY_TIMEOUT, text)
        })?
        .map_err(|e| broken("the connection broke", &e))?;
    let status = response.status();
    if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(response);
    }
    Err(refusal(&to, status, read(&to, response).await?.as_ref()))
}

/// What the box says no with, and which box it is.
fn refusal(to: &ContainerInstanceId, status: StatusCode, body: &[u8]) -> LocalError {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Refusal {
        error: Option<String>,
        #[serde(rename = "exitCode")]
        exit_code: Option<u8>,
    }
    let Refusal { error, exit_code } = serde_json::from_slice(body).unwrap_or_default();
    let text = error.unwrap_or_else(|| format!("it answered {status}"));
    LocalError { exit_code, ..LocalError::new(status, format!("{}: {text}", name(to))) }
}

async fn read(to: &ContainerInstanceId, response: Response<Incoming>) -> Result<Bytes, LocalError> {
    let body = Limited::new(response.into_body(), WHOLE_LIMIT).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|error| {
        let text = format!("{}: the answer broke off: {}", name(to), stream::root_cause(&*error));
        LocalError::new(StatusCode::BAD_GATEWAY, text)
    })
}

async fn content(
    to: &ContainerInstanceId,
    response: Response<Incoming>,
) -> Result<Value, LocalError> {
    let bytes = read(to, response).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let text = format!("{}: the answer is not JSON: {error}", name(to));
        LocalError::new(StatusCode::BAD_GATEWAY, text)
    })
}
