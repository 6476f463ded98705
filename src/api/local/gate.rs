//! Joining and leaving a fleet, and the tokens for it.
//!
//! `POST /coracle/v1/join`, `renew` and `leave` over TCP are of boxes to their hub: they prove themselves in the body, and
//! are bounded. On the unix socket `join` and `leave` are of a box's operator.

use super::{Answer, Api, JSON, LocalError, whole};
use crate::api::body::{self, AnswerBody};
use crate::api::gate::GateRequest;
use crate::api::http;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;

/// The largest request of a box that joins.
const LARGEST: usize = 64 * 1024;

/// Whether a request over TCP is one of a box to its hub.
pub(in crate::api) fn is_of_box(method: &Method, path: &str) -> bool {
    method == Method::POST
        && matches!(path, "/coracle/v1/join" | "/coracle/v1/renew" | "/coracle/v1/leave")
}

/// Answers a box.
pub(in crate::api) async fn answer_box(
    api: &Api,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    let path = request.uri().path().to_owned();
    let answered = match body::read_up_to(request.into_body(), LARGEST).await {
        Ok(bytes) => {
            let request = match path.as_str() {
                "/coracle/v1/join" => GateRequest::Enrol(bytes),
                "/coracle/v1/renew" => GateRequest::Renew(bytes),
                _ => GateRequest::Left(bytes),
            };
            ask(api, request).await
        }
        Err(error) => Err(LocalError::new(error.exception.status(), error.message)),
    };
    answered.unwrap_or_else(|error| {
        http::plain(error.status, JSON, json!({ "error": error.message }).to_string())
    })
}

/// Passes a request on.
pub(super) async fn ask(api: &Api, request: GateRequest) -> Answer {
    let Some(gate) = &api.gate else {
        return Err(LocalError::missing(
            "this is no part of a fleet: boxes join `coracle hub`, and a box is `coracle agent`",
        ));
    };
    match gate.ask(request).await {
        Ok(answer) => Ok(whole(&answer)),
        Err(refusal) => {
            let status =
                StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Err(LocalError::new(status, refusal.message))
        }
    }
}
