//! `ListServicesByNamespace`: namespaces are those that Service Connect configurations and clusters name.

use super::list::PAGE_UNLESS_GIVEN;
use crate::api::error::{ApiError, Exception};
use crate::api::pagination::{Order, PAGE, PageRequest};
use crate::api::{input, render};
use crate::engine::Handle;
use crate::model::service::ServiceStatus;
use crate::model::{Service, ServiceKey};
use crate::plan::World;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct ListServicesByNamespace {
    namespace: String,
    #[serde(flatten)]
    page: PageRequest,
}

/// `ListServicesByNamespace`, over all clusters.
pub(crate) fn list(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let mut input: ListServicesByNamespace = input::read(input)?;
    input.page.max_results.get_or_insert(PAGE_UNLESS_GIVEN);
    let namespace = short(&input.namespace);
    if namespace.is_empty() {
        return Err(ApiError::invalid("namespace can not be blank."));
    }
    engine.read(|world| {
        let of_it = world.services.values().filter(|service| {
            service.status != ServiceStatus::Inactive
                && namespace_of(world, service).is_some_and(|name| short(name) == namespace)
        });
        let keys: Vec<ServiceKey> = of_it.map(|service| service.key.clone()).collect();
        let default = |value: &Value| value["namespace"].as_str().map(short) == Some(namespace);
        let mut defaults =
            world.clusters.values().filter_map(|c| c.service_connect_defaults.as_ref());
        if keys.is_empty() && !defaults.any(default) {
            return Err(ApiError::new(
                Exception::NamespaceNotFound,
                "The specified namespace wasn't found: no service and no cluster names it.",
            ));
        }
        let scope = ("ListServicesByNamespace", namespace);
        let page = input.page.page(&scope, keys, Order::Ascending, PAGE)?;
        let arns = page.keys.iter().map(|key| world.settings.scope.service(key));
        Ok(render::page("serviceArns", arns, page.next_token))
    })
}

/// The namespace of a service that uses Service Connect: its own, or that of its cluster.
fn namespace_of<'w>(world: &'w World, service: &Service) -> Option<&'w str> {
    let revision = render::service::revision(world, service)?;
    let configuration = revision.service_connect_configuration.as_ref()?;
    configuration["enabled"].as_bool().filter(|enabled| *enabled)?;
    configuration["namespace"].as_str().or_else(|| {
        let cluster = world.clusters.get(&service.key.cluster)?;
        cluster.service_connect_defaults.as_ref()?["namespace"].as_str()
    })
}

/// A namespace may be named by its name or by an ARN that ends in it.
fn short(namespace: &str) -> &str {
    namespace.rsplit('/').next().unwrap_or(namespace)
}
