//! Services: made, changed and deleted, and their roll-outs stopped. The records say what is wanted; the cluster
//! planner does the rest.

mod check;
mod create;
mod delete;
mod names;
mod stop_deployment;
mod update;

#[cfg(test)]
mod tests;

pub(super) use create::create;
pub(super) use delete::delete;
pub(super) use stop_deployment::stop_deployment;
pub(super) use update::update;

use super::CommandError;
use crate::model::network::AwsvpcConfiguration;
use crate::model::placement::{CapacityProviderStrategyItem, PlacementStrategy};
use crate::model::service::{DeploymentCircuitBreaker, PropagateTags, SchedulingStrategy};
use crate::model::task_definition::PlacementConstraint;
use crate::model::{Family, Revision, Service, ServiceKey, Tag};
use crate::plan::World;
use serde_json::Value;

/// `CreateService`.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "as in the ECS API")]
pub struct CreateService {
    pub key: ServiceKey,
    pub task_definition: WantedDefinition,
    pub scheduling_strategy: SchedulingStrategy,
    /// For `REPLICA`, and only for it.
    pub desired_count: Option<i64>,
    pub launch_type: Option<String>,
    pub capacity_provider_strategy: Vec<CapacityProviderStrategyItem>,
    pub platform_version: Option<String>,
    /// `networkConfiguration`.
    pub network: Option<AwsvpcConfiguration>,
    pub deployment_configuration: WantedDeploymentConfiguration,
    pub placement_constraints: Vec<PlacementConstraint>,
    pub placement_strategy: Vec<PlacementStrategy>,
    pub health_check_grace_period_seconds: Option<i64>,
    pub availability_zone_rebalancing: Option<String>,
    pub enable_ecs_managed_tags: bool,
    pub propagate_tags: PropagateTags,
    pub enable_execute_command: bool,
    pub role: Option<String>,
    pub service_registries: Vec<Value>,
    pub service_connect_configuration: Option<Value>,
    pub tags: Vec<Tag>,
    /// The principal that asks.
    pub created_by: Option<String>,
    pub client_token: Option<String>,
}

/// `UpdateService`: what is absent stays as it is.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "as in the ECS API")]
pub struct UpdateService {
    pub key: ServiceKey,
    pub task_definition: Option<WantedDefinition>,
    pub force_new_deployment: bool,
    pub desired_count: Option<i64>,
    pub capacity_provider_strategy: Option<Vec<CapacityProviderStrategyItem>>,
    pub platform_version: Option<String>,
    pub network: Option<AwsvpcConfiguration>,
    pub deployment_configuration: WantedDeploymentConfiguration,
    pub placement_constraints: Option<Vec<PlacementConstraint>>,
    pub placement_strategy: Option<Vec<PlacementStrategy>>,
    pub health_check_grace_period_seconds: Option<i64>,
    pub availability_zone_rebalancing: Option<String>,
    pub enable_ecs_managed_tags: Option<bool>,
    pub propagate_tags: Option<PropagateTags>,
    pub enable_execute_command: Option<bool>,
    pub service_registries: Option<Vec<Value>>,
    pub service_connect_configuration: Option<Value>,
}

impl UpdateService {
    /// Changes nothing yet.
    #[must_use]
    pub fn of(key: ServiceKey) -> Self {
        Self {
            key,
            task_definition: None,
            force_new_deployment: false,
            desired_count: None,
            capacity_provider_strategy: None,
            platform_version: None,
            network: None,
            deployment_configuration: WantedDeploymentConfiguration::default(),
            placement_constraints: None,
            placement_strategy: None,
            health_check_grace_period_seconds: None,
            availability_zone_rebalancing: None,
            enable_ecs_managed_tags: None,
            propagate_tags: None,
            enable_execute_command: None,
            service_registries: None,
            service_connect_configuration: None,
        }
    }
}

/// `taskDefinition`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedDefinition {
    /// The family.
    pub family: Family,
    /// The newest active one unless given.
    pub revision: Option<Revision>,
}

/// `deploymentConfiguration` as far as it is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in the ECS API")]
pub struct WantedDeploymentConfiguration {
    pub maximum_percent: Option<i64>,
    pub minimum_healthy_percent: Option<i64>,
    pub deployment_circuit_breaker: Option<DeploymentCircuitBreaker>,
}

/// `stopType` of `StopServiceDeployment`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopType {
    /// Stay where the roll-out is.
    Abort,
    /// Go back to what ran before.
    Rollback,
}

/// The service of this name, whatever its status.
fn known<'a>(world: &'a World, key: &ServiceKey) -> Result<&'a Service, CommandError> {
    super::cluster::active(world, &key.cluster)?;
    world.services.get(key).ok_or(CommandError::ServiceNotFound)
}

fn invalid<T>(text: impl Into<String>) -> Result<T, CommandError> {
    Err(CommandError::InvalidParameter(text.into()))
}
