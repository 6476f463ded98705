//! `/_simulate/…`: what a simulation has beside the ECS API. Nothing of it is there on a real box.
//!
//! | request | answer |
//! | --- | --- |
//! | `POST /_simulate/reset` | everything is gone, clusters too, as before the first request; `{"reset":true}` once that is durable |
//! | `POST /_simulate/faults` with a fault plan, as JSON or TOML | the plan as JSON; it goes for tasks that start from now on |

use super::body;
use super::error::{ApiError, Exception};
use crate::config::parse_faults;
use crate::engine::Handle;
use crate::plan::Command;
use hyper::body::Incoming;
use hyper::{Method, Request};
use serde_json::{Value, json};

/// What every path of this module begins with.
pub(super) const PREFIX: &str = "/_simulate/";

/// Answers one request under [`PREFIX`].
pub(super) async fn answer(engine: &Handle, request: Request<Incoming>) -> Result<Value, ApiError> {
    let (head, incoming) = request.into_parts();
    let bytes = body::read(incoming).await?;
    match (&head.method, head.uri.path().strip_prefix(PREFIX).unwrap_or_default()) {
        (&Method::POST, "reset") => {
            engine.reset().await?;
            Ok(json!({ "reset": true }))
        }
        (&Method::POST, "faults") => {
            let text = std::str::from_utf8(&bytes)
                .map_err(|_| ApiError::invalid("The fault plan is not UTF-8."))?;
            let plan = parse_faults(text).map_err(|e| ApiError::invalid(e.to_string()))?;
            let shown = serde_json::to_value(&plan)
                .map_err(|e| ApiError::new(Exception::Server, e.to_string()))?;
            engine.submit(Command::SetFaults(Box::new(plan))).await?;
            Ok(shown)
        }
        (method, path) => {
            let path: String = path.chars().take(128).collect();
            let message = format!(
                "{method} {PREFIX}{path} is not there; a simulation has POST {PREFIX}reset and POST {PREFIX}faults."
            );
            Err(ApiError::new(Exception::UnknownPath, message))
        }
    }
}
