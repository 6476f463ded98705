//! Every operation of the model, and what answers it.

use super::error::ApiError;
use super::shapes::Operation;
use super::{
    account_settings, clusters, container_instances, tags, task_definitions, tasks, unavailable,
};
use crate::engine::Handle;
use serde_json::Value;

/// Carries out `operation` with a validated `input`.
pub(super) async fn call(
    engine: &Handle,
    operation: &Operation,
    input: Value,
) -> Result<Value, ApiError> {
    match operation.name {
        "CreateCluster" => clusters::create(engine, input).await,
        "DescribeClusters" => clusters::describe(engine, input),
        "ListClusters" => clusters::list(engine, input),
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

        "GetTaskProtection" => tasks::protection::get(engine, input),
        "UpdateTaskProtection" => tasks::protection::update(engine, input).await,

        "DescribeContainerInstances" => container_instances::describe(engine, input),
        "ListContainerInstances" => container_instances::list(engine, input),

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
