//! `ListServiceDeployments`, `DescribeServiceDeployments` and `StopServiceDeployment`.

use crate::api::error::ApiError;
use crate::api::pagination::{Order, PAGE, PageRequest};
use crate::api::{identifiers, input, render};
use crate::engine::Handle;
use crate::model::{Arn, Failure, ServiceDeployment, ServiceDeploymentId, ServiceKey, Timestamp};
use crate::plan::command::StopType;
use crate::plan::{Command, World};
use serde::Deserialize;
use serde_json::{Value, json};

/// How many roll-outs one request may describe.
const DEPLOYMENTS_AT_MOST: usize = 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListServiceDeployments {
    cluster: Option<String>,
    service: String,
    #[serde(default)]
    status: Vec<String>,
    #[serde(default)]
    created_at: CreatedAt,
    #[serde(flatten)]
    page: PageRequest,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CreatedAt {
    before: Option<Timestamp>,
    after: Option<Timestamp>,
}

/// `ListServiceDeployments`: the newest first.
pub(crate) fn list(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: ListServiceDeployments = input::read(input)?;
    let CreatedAt { before, after } = input.created_at;
    engine.read(|world| {
        let key = super::key(world, input.cluster.as_deref(), &input.service)?;
        super::known(world, &key)?;
        let keys: Vec<(i64, ServiceDeploymentId)> = of_service(world, &key)
            .filter(|d| {
                input.status.is_empty() || input.status.iter().any(|s| s == d.status.as_str())
            })
            .filter(|d| before.is_none_or(|before| d.created_at <= before))
            .filter(|d| after.is_none_or(|after| d.created_at >= after))
            .map(|d| (d.created_at.millis(), d.id.clone()))
            .collect();
        let scope = ("ListServiceDeployments", &key, &input.status, before, after);
        let page = input.page.page(&scope, keys, Order::Descending, PAGE)?;
        let found = page.keys.iter().filter_map(|(_, id)| world.service_deployments.get(id));
        let brief = found.map(|d| render::service_deployment::brief(world, d));
        Ok(render::page("serviceDeployments", brief, page.next_token))
    })
}

fn of_service<'w>(
    world: &'w World,
    key: &ServiceKey,
) -> impl Iterator<Item = &'w ServiceDeployment> {
    let ids = world.index.service_deployments.get(key).into_iter().flatten();
    ids.filter_map(|id| world.service_deployments.get(id))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DescribeServiceDeployments {
    service_deployment_arns: Vec<String>,
}

/// `DescribeServiceDeployments`.
pub(crate) fn describe(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: DescribeServiceDeployments = input::read(input)?;
    if input.service_deployment_arns.len() > DEPLOYMENTS_AT_MOST {
        return Err(ApiError::invalid(format!(
            "serviceDeploymentArns cannot have more than {DEPLOYMENTS_AT_MOST} elements."
        )));
    }
    engine.read(|world| {
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for arn in &input.service_deployment_arns {
            let (service, id) = named(arn)?;
            let deployment = world.service_deployments.get(&id).filter(|d| d.service == service);
            match deployment {
                Some(deployment) => {
                    found.push(render::service_deployment::service_deployment(world, deployment));
                }
                None => failures
                    .push(Failure::missing(world.settings.scope.service_deployment(&service, &id))),
            }
        }
        Ok(json!({ "serviceDeployments": found, "failures": failures }))
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StopServiceDeployment {
    service_deployment_arn: String,
    stop_type: Option<String>,
}

/// `StopServiceDeployment`: rolls back unless it is to stay where it is.
pub(crate) async fn stop(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: StopServiceDeployment = input::read(input)?;
    let (service, deployment) = named(&input.service_deployment_arn)?;
    let stop_type = match input.stop_type.as_deref() {
        Some("ABORT") => StopType::Abort,
        _ => StopType::Rollback,
    };
    let arn = engine.settings().scope.service_deployment(&service, &deployment);
    engine.submit(Command::StopServiceDeployment { service, deployment, stop_type }).await?;
    Ok(json!({ "serviceDeploymentArn": arn }))
}

fn named(arn: &str) -> Result<(ServiceKey, ServiceDeploymentId), ApiError> {
    match Arn::parse(arn) {
        Ok(Arn::ServiceDeployment(service, id)) => Ok((service, id)),
        _ => Err(identifiers::invalid_arn(arn)),
    }
}
