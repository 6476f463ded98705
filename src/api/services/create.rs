//! `CreateService`.

use super::input::{
    DeploymentConfiguration, NetworkConfiguration, OfAws, definition, propagate_tags,
};
use crate::api::error::ApiError;
use crate::api::{identifiers, input, render};
use crate::engine::Handle;
use crate::model::placement::{CapacityProviderStrategyItem, PlacementStrategy};
use crate::model::service::SchedulingStrategy;
use crate::model::task_definition::PlacementConstraint;
use crate::model::{ServiceKey, ServiceName, Tag};
use crate::plan::Command;
use crate::plan::command::CreateService as Create;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateService {
    cluster: Option<String>,
    service_name: String,
    task_definition: Option<String>,
    scheduling_strategy: Option<String>,
    desired_count: Option<i64>,
    launch_type: Option<String>,
    #[serde(default)]
    capacity_provider_strategy: Vec<CapacityProviderStrategyItem>,
    platform_version: Option<String>,
    network_configuration: Option<NetworkConfiguration>,
    #[serde(default)]
    deployment_configuration: DeploymentConfiguration,
    #[serde(default)]
    placement_constraints: Vec<PlacementConstraint>,
    #[serde(default)]
    placement_strategy: Vec<PlacementStrategy>,
    health_check_grace_period_seconds: Option<i64>,
    availability_zone_rebalancing: Option<String>,
    #[serde(default, rename = "enableECSManagedTags")]
    enable_ecs_managed_tags: bool,
    propagate_tags: Option<String>,
    #[serde(default)]
    enable_execute_command: bool,
    role: Option<String>,
    #[serde(default)]
    service_registries: Vec<Value>,
    service_connect_configuration: Option<Value>,
    #[serde(default)]
    tags: Vec<Tag>,
    client_token: Option<String>,
    #[serde(flatten)]
    of_aws: OfAws,
}

/// `CreateService`.
pub(crate) async fn create(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: CreateService = input::read(input)?;
    let cluster = engine.read(|w| identifiers::active_cluster(w, input.cluster.as_deref()))?;
    if input.service_name.is_empty() {
        return Err(ApiError::invalid("Service name can not be blank."));
    }
    let name =
        ServiceName::new(input.service_name).map_err(|e| ApiError::invalid(e.to_string()))?;
    input.of_aws.refuse()?;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let Some(wanted) = given(input.task_definition) else {
        return Err(ApiError::invalid("TaskDefinition can not be blank."));
    };
    let command = Create {
        key: ServiceKey { cluster, name },
        task_definition: definition(&wanted)?,
        scheduling_strategy: match input.scheduling_strategy.as_deref() {
            Some("DAEMON") => SchedulingStrategy::Daemon,
            _ => SchedulingStrategy::Replica,
        },
        desired_count: input.desired_count,
        launch_type: input.launch_type,
        capacity_provider_strategy: input.capacity_provider_strategy,
        platform_version: given(input.platform_version),
        network: input.network_configuration.and_then(|n| n.awsvpc_configuration),
        deployment_configuration: input.deployment_configuration.wanted()?,
        placement_constraints: input.placement_constraints,
        placement_strategy: input.placement_strategy,
        health_check_grace_period_seconds: input.health_check_grace_period_seconds,
        availability_zone_rebalancing: input.availability_zone_rebalancing,
        enable_ecs_managed_tags: input.enable_ecs_managed_tags,
        propagate_tags: propagate_tags(input.propagate_tags.as_deref().unwrap_or_default()),
        enable_execute_command: input.enable_execute_command,
        role: given(input.role),
        service_registries: input.service_registries,
        service_connect_configuration: input.service_connect_configuration,
        tags: input.tags,
        created_by: Some(render::root_arn(&engine.settings().scope)),
        client_token: given(input.client_token),
    };
    super::submit(engine, Command::CreateService(Box::new(command))).await
}
