//! `DeleteService`.

use crate::api::error::ApiError;
use crate::api::input;
use crate::engine::Handle;
use crate::model::service::ServiceStatus;
use crate::plan::Command;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct DeleteService {
    cluster: Option<String>,
    service: String,
    #[serde(default)]
    force: Option<bool>,
}

/// `DeleteService`: the service drains in its own time.
pub(crate) async fn delete(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: DeleteService = input::read(input)?;
    let service = engine.read(|w| super::key(w, input.cluster.as_deref(), &input.service))?;
    let force = input.force.unwrap_or(false);
    let mut answer = super::submit(engine, Command::DeleteService { service, force }).await?;
    // Without tasks it is over before it is answered; ECS answers how it began.
    answer["service"]["status"] = ServiceStatus::Draining.as_str().into();
    Ok(answer)
}
