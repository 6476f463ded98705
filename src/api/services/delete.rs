//! `DeleteService`.

use crate::api::error::ApiError;
use crate::api::input;
use crate::engine::Handle;
use crate::model::service::ServiceStatus;
use crate::plan::Command;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct DeleteService {
    cluster: Option<String>,
    service: String,
    #[serde(default)]
    force: Option<bool>,
}

/// `DeleteService`: answers with a service that drains, which it does in its own time; ECS never answers with one that
/// is INACTIVE already, however little there was to stop.
pub(crate) async fn delete(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: DeleteService = input::read(input)?;
    let service = engine.read(|w| super::key(w, input.cluster.as_deref(), &input.service))?;
    let force = input.force.unwrap_or(false);
    let mut answer = super::submit(engine, Command::DeleteService { service, force }).await?;
    answer["service"]["status"] = json!(ServiceStatus::Draining.as_str());
    Ok(answer)
}
