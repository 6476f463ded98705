//! `UpdateService`.

use super::input::{
    DeploymentConfiguration, NetworkConfiguration, OfAws, definition, propagate_tags,
};
use crate::api::error::ApiError;
use crate::api::input;
use crate::engine::Handle;
use crate::model::placement::{CapacityProviderStrategyItem, PlacementStrategy};
use crate::model::task_definition::PlacementConstraint;
use crate::plan::Command;
use crate::plan::command::UpdateService as Update;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateService {
    cluster: Option<String>,
    service: String,
    task_definition: Option<String>,
    #[serde(default)]
    force_new_deployment: bool,
    desired_count: Option<i64>,
    capacity_provider_strategy: Option<Vec<CapacityProviderStrategyItem>>,
    platform_version: Option<String>,
    network_configuration: Option<NetworkConfiguration>,
    #[serde(default)]
    deployment_configuration: DeploymentConfiguration,
    placement_constraints: Option<Vec<PlacementConstraint>>,
    placement_strategy: Option<Vec<PlacementStrategy>>,
    health_check_grace_period_seconds: Option<i64>,
    availability_zone_rebalancing: Option<String>,
    #[serde(rename = "enableECSManagedTags")]
    enable_ecs_managed_tags: Option<bool>,
    propagate_tags: Option<String>,
    enable_execute_command: Option<bool>,
    service_registries: Option<Vec<Value>>,
    service_connect_configuration: Option<Value>,
    #[serde(flatten)]
    of_aws: OfAws,
}

/// `UpdateService`.
pub(crate) async fn update(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: UpdateService = input::read(input)?;
    let key = engine.read(|w| super::key(w, input.cluster.as_deref(), &input.service))?;
    input.of_aws.refuse()?;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let task_definition = match given(input.task_definition) {
        Some(text) => Some(definition(&text)?),
        None => None,
    };
    let command = Update {
        key,
        task_definition,
        force_new_deployment: input.force_new_deployment,
        desired_count: input.desired_count,
        capacity_provider_strategy: input.capacity_provider_strategy,
        platform_version: given(input.platform_version),
        network: input.network_configuration.and_then(|n| n.awsvpc_configuration),
        deployment_configuration: input.deployment_configuration.wanted()?,
        placement_constraints: input.placement_constraints,
        placement_strategy: input.placement_strategy,
        health_check_grace_period_seconds: input.health_check_grace_period_seconds,
        availability_zone_rebalancing: input.availability_zone_rebalancing,
        enable_ecs_managed_tags: input.enable_ecs_managed_tags,
        propagate_tags: input.propagate_tags.as_deref().map(propagate_tags),
        enable_execute_command: input.enable_execute_command,
        service_registries: input.service_registries,
        service_connect_configuration: input.service_connect_configuration,
    };
    super::submit(engine, Command::UpdateService(Box::new(command))).await
}
