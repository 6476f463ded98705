//! `ListServices`.

use crate::api::error::ApiError;
use crate::api::pagination::{Order, PAGE, PageRequest};
use crate::api::{identifiers, input, render};
use crate::engine::Handle;
use crate::model::service::ServiceStatus;
use crate::model::{ClusterName, Service, ServiceName};
use crate::plan::World;
use serde::Deserialize;
use serde_json::Value;

/// How many a page has unless the request says.
pub(super) const PAGE_UNLESS_GIVEN: i64 = 10;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ListServices {
    cluster: Option<String>,
    launch_type: Option<String>,
    scheduling_strategy: Option<String>,
    resource_management_type: Option<String>,
    #[serde(flatten)]
    page: PageRequest,
}

/// `ListServices`: those that are not deleted.
pub(crate) fn list(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let mut input: ListServices = input::read(input)?;
    input.page.max_results.get_or_insert(PAGE_UNLESS_GIVEN);
    let (launch_type, strategy) = (&input.launch_type, &input.scheduling_strategy);
    // Gateways of AWS make services of their own; here people do.
    let managed = input.resource_management_type.as_deref() == Some("ECS");
    engine.read(|world| {
        let cluster = identifiers::active_cluster(world, input.cluster.as_deref())?;
        let names: Vec<ServiceName> = of_cluster(world, &cluster)
            .filter(|_| !managed)
            .filter(|service| service.status != ServiceStatus::Inactive)
            .filter(|service| {
                strategy.as_ref().is_none_or(|s| s == service.scheduling_strategy.as_str())
            })
            .filter(|service| {
                let revision = render::service::revision(world, service);
                let runs_on = revision.and_then(|revision| revision.launch_type.as_ref());
                launch_type.is_none() || launch_type.as_ref() == runs_on
            })
            .map(|service| service.key.name.clone())
            .collect();
        let scope = ("ListServices", &cluster, launch_type, strategy, managed);
        let page = input.page.page(&scope, names, Order::Ascending, PAGE)?;
        let scope = &world.settings.scope;
        let arns = page.keys.iter().map(|name| scope.arn(format_args!("service/{cluster}/{name}")));
        Ok(render::page("serviceArns", arns, page.next_token))
    })
}

/// The services of a cluster, deleted ones that are still known as well.
fn of_cluster<'w>(world: &'w World, cluster: &'w ClusterName) -> impl Iterator<Item = &'w Service> {
    world.services.values().filter(move |service| &service.key.cluster == cluster)
}
