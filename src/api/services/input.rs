//! What CreateService and UpdateService have in common.

use crate::api::error::{ApiError, Exception};
use crate::api::identifiers;
use crate::model::network::AwsvpcConfiguration;
use crate::model::service::{DeploymentCircuitBreaker, PropagateTags};
use crate::plan::command::service::{WantedDefinition, WantedDeploymentConfiguration};
use serde::Deserialize;
use serde_json::Value;

/// `networkConfiguration`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NetworkConfiguration {
    pub(super) awsvpc_configuration: Option<AwsvpcConfiguration>,
}

/// Members that need what a box has not; refused unless they are empty.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct OfAws {
    load_balancers: Vec<Value>,
    vpc_lattice_configurations: Vec<Value>,
    volume_configurations: Vec<Value>,
    gateway_connectors: Vec<Value>,
    monitoring: Option<Value>,
    deployment_controller: Option<DeploymentController>,
}

#[derive(Deserialize)]
struct DeploymentController {
    r#type: String,
}

impl OfAws {
    /// Refuses the first member that is given.
    pub(super) fn refuse(&self) -> Result<(), ApiError> {
        if !self.load_balancers.is_empty() {
            return Err(ApiError::invalid(
                "loadBalancers is not supported: there is no load balancer here; use host ports, or the names of the \
                 box's DNS.",
            ));
        }
        if !self.vpc_lattice_configurations.is_empty() {
            return Err(ApiError::invalid(
                "vpcLatticeConfigurations is not supported: there is no VPC Lattice here; leave it out.",
            ));
        }
        if !self.volume_configurations.is_empty() {
            return Err(unsupported(
                "volumeConfigurations",
                "there are no EBS volumes here; name a host volume in the task definition",
            ));
        }
        if !self.gateway_connectors.is_empty() {
            return Err(unsupported("gatewayConnectors", "gateways are part of AWS; leave it out"));
        }
        let metrics = self.monitoring.as_ref().map(|m| &m["metricConfigurations"]);
        if metrics.and_then(Value::as_array).is_some_and(|metrics| !metrics.is_empty()) {
            return Err(unsupported(
                "monitoring.metricConfigurations",
                "CloudWatch is part of AWS; leave it out",
            ));
        }
        match &self.deployment_controller {
            Some(controller) if controller.r#type != "ECS" => Err(unsupported(
                &format!("deploymentController.type {}", controller.r#type),
                "roll-outs are of type ECS",
            )),
            _ => Ok(()),
        }
    }
}

/// `deploymentConfiguration`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DeploymentConfiguration {
    maximum_percent: Option<i64>,
    minimum_healthy_percent: Option<i64>,
    deployment_circuit_breaker: Option<CircuitBreaker>,
    alarms: Option<Switch>,
    strategy: Option<String>,
    bake_time_in_minutes: Option<i64>,
    lifecycle_hooks: Vec<Value>,
    linear_configuration: Option<Value>,
    canary_configuration: Option<Value>,
    early_success_criteria: Option<Switch>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CircuitBreaker {
    enable: bool,
    rollback: bool,
    reset_on_healthy_task: Option<bool>,
    threshold_configuration: Option<Value>,
}

#[derive(Deserialize)]
struct Switch {
    enable: bool,
}

impl DeploymentConfiguration {
    /// What of it is honoured; the rest is refused by name.
    pub(super) fn wanted(&self) -> Result<WantedDeploymentConfiguration, ApiError> {
        let on = |switch: &Option<Switch>| switch.as_ref().is_some_and(|switch| switch.enable);
        let rolling = "roll-outs are ROLLING; leave it out";
        if self.strategy.as_deref().is_some_and(|strategy| strategy != "ROLLING") {
            let strategy = self.strategy.as_deref().unwrap_or_default();
            return Err(of_deployment(&format!("strategy {strategy}"), "use ROLLING"));
        }
        if on(&self.alarms) {
            return Err(of_deployment(
                "alarms",
                "there are no CloudWatch alarms here; use deploymentCircuitBreaker",
            ));
        }
        if self.bake_time_in_minutes.is_some_and(|minutes| minutes != 0) {
            return Err(of_deployment("bakeTimeInMinutes", rolling));
        }
        if !self.lifecycle_hooks.is_empty() {
            return Err(of_deployment("lifecycleHooks", rolling));
        }
        if self.linear_configuration.is_some() {
            return Err(of_deployment("linearConfiguration", rolling));
        }
        if self.canary_configuration.is_some() {
            return Err(of_deployment("canaryConfiguration", rolling));
        }
        if on(&self.early_success_criteria) {
            return Err(of_deployment(
                "earlySuccessCriteria",
                "a roll-out is over when it is whole; leave it out",
            ));
        }
        let breaker = self.deployment_circuit_breaker.as_ref();
        if breaker.is_some_and(|breaker| breaker.reset_on_healthy_task == Some(true)) {
            return Err(of_deployment(
                "deploymentCircuitBreaker.resetOnHealthyTask",
                "failed tasks count until the roll-out is over; leave it out",
            ));
        }
        if breaker.is_some_and(|breaker| breaker.threshold_configuration.is_some()) {
            return Err(of_deployment(
                "deploymentCircuitBreaker.thresholdConfiguration",
                "the threshold is half of the desired count, 3 to 200; leave it out",
            ));
        }
        Ok(WantedDeploymentConfiguration {
            maximum_percent: self.maximum_percent,
            minimum_healthy_percent: self.minimum_healthy_percent,
            deployment_circuit_breaker: breaker.map(|breaker| DeploymentCircuitBreaker {
                enable: breaker.enable,
                rollback: breaker.rollback,
            }),
        })
    }
}

fn of_deployment(member: &str, remedy: &str) -> ApiError {
    unsupported(&format!("deploymentConfiguration.{member}"), remedy)
}

/// A member, or its value, that there is no use for here.
pub(super) fn unsupported(member: &str, remedy: &str) -> ApiError {
    ApiError::new(
        Exception::UnsupportedFeature,
        format!("{member} is not supported by Coracle: {remedy}."),
    )
}

/// `taskDefinition`.
pub(super) fn definition(text: &str) -> Result<WantedDefinition, ApiError> {
    let (family, revision) = identifiers::task_definition(text)
        .ok_or_else(|| ApiError::client("TaskDefinition not found."))?;
    Ok(WantedDefinition { family, revision })
}

/// `propagateTags`; the model has no other values.
pub(super) fn propagate_tags(text: &str) -> PropagateTags {
    match text {
        "TASK_DEFINITION" => PropagateTags::TaskDefinition,
        "SERVICE" => PropagateTags::Service,
        _ => PropagateTags::None,
    }
}
