//! The operations that are not there yet: each says so by name, with an exception of the model.
//!
//! Where nothing of a kind can exist, an empty list or a `MISSING` is the truth and is answered instead.

use super::error::{ApiError, Exception};
use super::shapes::Operation;
use super::{clusters, identifiers};
use crate::engine::Handle;
use crate::model::Failure;
use serde_json::{Value, json};

/// Answers an operation that no other module does.
pub(super) fn answer(
    engine: &Handle,
    operation: &Operation,
    input: &Value,
) -> Result<Value, ApiError> {
    let cluster = input["cluster"].as_str();
    let list = match operation.name {
        "ListServices" => "serviceArns",
        "ListGateways" => "gateways",
        "ListGatewayRoutes" => "gatewayRoutes",
        "ListGatewayClusterAssociations" => "gatewayClusterAssociations",
        "ListDaemons" => "daemonSummariesList",
        "ListDaemonTaskDefinitions" => "daemonTaskDefinitions",
        "DescribeServices" => return missing_services(engine, cluster, input),
        "UpdateService" | "DeleteService" => {
            engine.read(|w| identifiers::active_cluster(w, cluster))?;
            return Err(clusters::service_not_found());
        }
        "DescribeGateway" | "DeleteGateway" | "DescribeGatewayResources" | "UpdateGateway" => {
            return Err(ApiError::new(Exception::GatewayNotFound, "Gateway not found."));
        }
        "ListServicesByNamespace" => {
            return Err(ApiError::new(Exception::NamespaceNotFound, "Namespace not found."));
        }
        name => return Err(not_there(operation, name)),
    };
    if let Some(cluster) = cluster {
        engine.read(|w| identifiers::active_cluster(w, Some(cluster)))?;
    }
    if input["nextToken"].as_str().is_some_and(|t| !t.is_empty()) {
        return Err(ApiError::invalid("Invalid token"));
    }
    Ok(json!({ list: [] }))
}

fn not_there(operation: &Operation, name: &str) -> ApiError {
    let exception = if operation.may_answer(Exception::UnsupportedFeature.name()) {
        Exception::UnsupportedFeature
    } else {
        Exception::Client
    };
    // Where the box has another way to do it.
    let instead = match name {
        "ExecuteCommand" => " On the box itself use `coracle exec`.",
        _ => "",
    };
    ApiError::new(
        exception,
        format!("{name} is not there yet in this version of Coracle.{instead}"),
    )
}

/// No service exists, so every one that is asked for is missing; waiters rely on that being no exception.
fn missing_services(
    engine: &Handle,
    cluster: Option<&str>,
    input: &Value,
) -> Result<Value, ApiError> {
    engine.read(|world| {
        let cluster = identifiers::active_cluster(world, cluster)?;
        let named = input["services"].as_array().map(Vec::as_slice).unwrap_or_default();
        if named.len() > 10 {
            return Err(ApiError::invalid("Services cannot have more than 10 elements."));
        }
        let failures: Vec<Failure> = named
            .iter()
            .filter_map(Value::as_str)
            .map(|name| {
                Failure::missing(if name.starts_with("arn:") {
                    identifiers::shorten(name)
                } else {
                    let name = identifiers::shorten(name);
                    world.settings.scope.arn(format_args!("service/{cluster}/{name}"))
                })
            })
            .collect();
        Ok(json!({ "services": [], "failures": failures }))
    })
}
