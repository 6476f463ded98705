//! Services, their roll-outs and revisions.
//!
//! One file per operation, or per two that belong together; `input` has what CreateService and UpdateService have in
//! common, and what they refuse by name.

pub(super) mod create;
pub(super) mod delete;
pub(super) mod deployments;
pub(super) mod describe;
mod input;
pub(super) mod list;
pub(super) mod namespace;
pub(super) mod revisions;
pub(super) mod update;

use super::error::{ApiError, Exception};
use super::{identifiers, render};
use crate::engine::Handle;
use crate::model::{ClusterName, Service, ServiceKey};
use crate::plan::{Command, Reply, World};
use serde_json::{Value, json};

/// The service that a request names by name or ARN, in the cluster that it names.
fn key(world: &World, cluster: Option<&str>, service: &str) -> Result<ServiceKey, ApiError> {
    let cluster = identifiers::active_cluster(world, cluster)?;
    in_cluster(cluster, service)
}

/// The same, when the cluster is known.
fn in_cluster(cluster: ClusterName, service: &str) -> Result<ServiceKey, ApiError> {
    let (named, name) = identifiers::service(service)?;
    match named {
        Some(other) if other != cluster => {
            Err(ApiError::invalid(format!("Identifier is for {other}. Your cluster is {cluster}")))
        }
        _ => Ok(ServiceKey { cluster, name }),
    }
}

/// The service of this key, deleted ones that are still known as well.
fn known<'w>(world: &'w World, key: &ServiceKey) -> Result<&'w Service, ApiError> {
    world.services.get(key).ok_or_else(not_found)
}

/// The key of a service that is there, by name or ARN.
pub(super) fn known_in(
    world: &World,
    cluster: &ClusterName,
    service: &str,
) -> Result<ServiceKey, ApiError> {
    let key = in_cluster(cluster.clone(), service)?;
    known(world, &key)?;
    Ok(key)
}

/// `ServiceNotFoundException`.
fn not_found() -> ApiError {
    ApiError::new(Exception::ServiceNotFound, "Service not found.")
}

/// Submits a command that concerns one service, and answers with the service as it then is.
async fn submit(engine: &Handle, command: Command) -> Result<Value, ApiError> {
    let Reply::Service(key) = engine.submit(command).await? else {
        return Err(render::unexpected_reply());
    };
    engine.read(|world| {
        let service = known(world, &key)?;
        Ok(json!({ "service": render::service::service(world, service, true) }))
    })
}
