//! Every operation of the model, and what answers it.

use super::error::{ApiError, Exception};
use super::shapes::Operation;
use super::{
    account_settings, attributes, capacity_providers, clusters, container_instances, discover,
    services, state_changes, tags, task_definitions, tasks, unavailable,
};
use crate::engine::Handle;
use serde_json::Value;
use std::net::SocketAddr;

/// Carries out `operation` with a validated `input`; `address` is where TCP is served. What it is refused with is in
/// the model of the operation.
pub(super) async fn call(
    engine: &Handle,
    address: Option<SocketAddr>,
    operation: &Operation,
    input: Value,
) -> Result<Value, ApiError> {
    dispatch(engine, address, operation, input).await.map_err(|mut error| {
        if !operation.may_answer(error.exception.name()) {
            error.exception = Exception::Client;
        }
        error
    })
}

async fn dispatch(
    engine: &Handle,
    address: Option<SocketAddr>,
    operation: &Operation,
    input: Value,
) -> Result<Value, ApiError> {
    match operation.name {
        "CreateCluster" => clusters::create(engine, input).await,
        "DescribeClusters" => clusters::describe(engine, input),
        "ListClusters" => clusters::list(engine, input),
        "UpdateCluster" | "UpdateClusterSettings" => clusters::update(engine, input).await,
        "DeleteCluster" => clusters::delete(engine, input).await,

        "RegisterTaskDefinition" => task_definitions::register(engine, input).await,
        "DescribeTaskDefinition" => task_definitions::describe(engine, input),
        "DeregisterTaskDefinition" => task_definitions::deregister(engine, input).await,
        "DeleteTaskDefinitions" => task_definitions::delete(engine, input).await,
        "ListTaskDefinitions" => task_definitions::list(engine, input),
        "ListTaskDefinitionFamilies" => task_definitions::list_families(engine, input),

        "RunTask" => tasks::run::run(engine, input).await,
        "StartTask" => tasks::run::start(engine, input).await,
        "StopTask" => tasks::stop(engine, input).await,
        "DescribeTasks" => tasks::describe(engine, input),
        "ListTasks" => tasks::list(engine, input),

        "CreateService" => services::create::create(engine, input).await,
        "UpdateService" => services::update::update(engine, input).await,
        "DeleteService" => services::delete::delete(engine, input).await,
        "DescribeServices" => services::describe::describe(engine, input),
        "ListServices" => services::list::list(engine, input),
        "ListServicesByNamespace" => services::namespace::list(engine, input),
        "ListServiceDeployments" => services::deployments::list(engine, input),
        "DescribeServiceDeployments" => services::deployments::describe(engine, input),
        "StopServiceDeployment" => services::deployments::stop(engine, input).await,
        "DescribeServiceRevisions" => services::revisions::describe(engine, input),

        "GetTaskProtection" => tasks::protection::get(engine, input),
        "UpdateTaskProtection" => tasks::protection::update(engine, input).await,

        "DescribeContainerInstances" => container_instances::describe(engine, input),
        "ListContainerInstances" => container_instances::list(engine, input),

        "RegisterContainerInstance" => container_instances::register(engine, input).await,
        "DeregisterContainerInstance" => container_instances::deregister(engine, input).await,
        "UpdateContainerInstancesState" => container_instances::update_state(engine, input).await,
        "UpdateContainerAgent" => container_instances::update_agent(engine, input),
        "DiscoverPollEndpoint" => discover::poll_endpoint(engine, address, &input),

        "SubmitTaskStateChange" => state_changes::task(engine, input).await,
        "SubmitContainerStateChange" => state_changes::container_of_task(engine, input).await,
        "SubmitAttachmentStateChanges" => state_changes::attachments(engine, input),

        "PutAttributes" => attributes::put(engine, input).await,
        "DeleteAttributes" => attributes::delete(engine, input).await,
        "ListAttributes" => attributes::list(engine, input),

        "DescribeCapacityProviders" => capacity_providers::describe(engine, input),
        "PutClusterCapacityProviders" => clusters::put_capacity_providers(engine, input).await,

        "TagResource" => tags::tag(engine, input).await,
        "UntagResource" => tags::untag(engine, input).await,
        "ListTagsForResource" => tags::list(engine, input),

        "ListAccountSettings" => account_settings::list(engine, input),
        "PutAccountSetting" => account_settings::put(engine, input).await,
        "PutAccountSettingDefault" => account_settings::put_default(engine, input).await,
        "DeleteAccountSetting" => account_settings::delete(engine, input).await,

        _ => unavailable::answer(engine, operation, &input),
    }
}

#[cfg(test)]
mod tests;
