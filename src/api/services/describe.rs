//! `DescribeServices`.

use crate::api::error::ApiError;
use crate::api::{identifiers, input, render};
use crate::engine::Handle;
use crate::model::{Arn, Failure};
use serde::Deserialize;
use serde_json::{Value, json};

/// How many services one request may name.
const SERVICES_AT_MOST: usize = 10;

#[derive(Deserialize)]
struct DescribeServices {
    cluster: Option<String>,
    services: Vec<String>,
    #[serde(default)]
    include: Vec<String>,
}

/// `DescribeServices`: deleted ones too, for as long as they are known. What is not there is a failure, which waiters
/// rely on.
pub(crate) fn describe(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: DescribeServices = input::read(input)?;
    if input.services.len() > SERVICES_AT_MOST {
        return Err(ApiError::invalid(format!(
            "Services cannot have more than {SERVICES_AT_MOST} elements."
        )));
    }
    let with_tags = input.include.iter().any(|i| i == "TAGS");
    engine.read(|world| {
        let cluster = identifiers::active_cluster(world, input.cluster.as_deref())?;
        let (mut services, mut failures) = (Vec::new(), Vec::new());
        for text in &input.services {
            let key = super::in_cluster(cluster.clone(), text);
            let key = if Arn::looks_like(text) { Some(key?) } else { key.ok() };
            if let Some(service) = key.as_ref().and_then(|key| world.services.get(key)) {
                services.push(render::service::service(world, service, with_tags));
                continue;
            }
            let scope = &world.settings.scope;
            let arn = key.map_or_else(
                || scope.arn(format_args!("service/{cluster}/{}", identifiers::shorten(text))),
                |key| scope.service(&key),
            );
            failures.push(Failure::missing(arn));
        }
        Ok(json!({ "services": services, "failures": failures }))
    })
}
