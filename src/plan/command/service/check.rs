//! What ECS refuses of a service, whether it is made or changed.

use super::super::{capacity_provider, registration, target};
use super::{WantedDeploymentConfiguration, invalid, names};
use crate::model::service::{DeploymentConfiguration, SchedulingStrategy};
use crate::model::task_definition::PlacementConstraint;
use crate::model::{Cluster, Service, ServiceRevision, TaskDefinition};
use crate::plan::command::CommandError;
use crate::plan::placement;

/// The most tasks that a service may want.
const TASKS_AT_MOST: i64 = 5000;
/// The largest `maximumPercent`.
const PERCENT_AT_MOST: i64 = 10_000;

/// The number of tasks that is asked for; a service of one task per box is not asked.
pub(super) fn desired_count(
    strategy: SchedulingStrategy,
    asked: Option<i64>,
) -> Result<Option<u32>, CommandError> {
    match (strategy, asked) {
        (_, None) => Ok(None),
        (SchedulingStrategy::Daemon, Some(_)) => invalid(
            "The daemon scheduling strategy does not support a desired count for services. Specify a null value for \
             desiredCount and try again.",
        ),
        (SchedulingStrategy::Replica, Some(count)) => {
            match u32::try_from(count).ok().filter(|_| count <= TASKS_AT_MOST) {
                Some(count) => Ok(Some(count)),
                None => {
                    invalid(format!("The desired count must be between 0 and {TASKS_AT_MOST}."))
                }
            }
        }
    }
}

/// What is asked for, over what was there before or the defaults.
pub(super) fn deployment_configuration(
    strategy: SchedulingStrategy,
    before: Option<&DeploymentConfiguration>,
    asked: &WantedDeploymentConfiguration,
) -> Result<DeploymentConfiguration, CommandError> {
    let daemon = strategy == SchedulingStrategy::Daemon;
    let (maximum, minimum) = match before {
        Some(before) => (before.maximum_percent, before.minimum_healthy_percent),
        None if daemon => (100, 0),
        None => (200, 100),
    };
    let maximum_percent = percent("maximumPercent", asked.maximum_percent, 100, PERCENT_AT_MOST)?;
    let minimum_percent = percent("minimumHealthyPercent", asked.minimum_healthy_percent, 0, 100)?;
    let (maximum, minimum) =
        (maximum_percent.unwrap_or(maximum), minimum_percent.unwrap_or(minimum));
    if daemon && maximum != 100 {
        return invalid(
            "The maximumPercent of a service with the DAEMON scheduling strategy must be 100.",
        );
    }
    if maximum == 100 && minimum == 100 {
        return invalid(
            "Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments.",
        );
    }
    let breaker = asked
        .deployment_circuit_breaker
        .or_else(|| before.map(|before| before.deployment_circuit_breaker))
        .unwrap_or_default();
    Ok(DeploymentConfiguration {
        maximum_percent: maximum,
        minimum_healthy_percent: minimum,
        deployment_circuit_breaker: breaker,
    })
}

fn percent(
    member: &str,
    asked: Option<i64>,
    least: i64,
    most: i64,
) -> Result<Option<u32>, CommandError> {
    let Some(asked) = asked else { return Ok(None) };
    match u32::try_from(asked).ok().filter(|_| (least..=most).contains(&asked)) {
        Some(percent) => Ok(Some(percent)),
        None => invalid(format!(
            "deploymentConfiguration.{member} must be between {least} and {most}, not {asked}."
        )),
    }
}

/// The grace period that is asked for.
pub(super) fn grace_period(asked: Option<i64>) -> Result<Option<u32>, CommandError> {
    let most = i64::from(i32::MAX);
    match asked {
        None => Ok(None),
        Some(seconds) => match u32::try_from(seconds).ok().filter(|_| seconds <= most) {
            Some(seconds) => Ok(Some(seconds)),
            None => invalid(format!(
                "healthCheckGracePeriodSeconds must be between 0 and {most}, not {seconds}."
            )),
        },
    }
}

/// What concerns the service itself, once it is as it would be.
pub(super) fn service(service: &Service, definition: &TaskDefinition) -> Result<(), CommandError> {
    check_placement(service, definition)?;
    let daemon = service.scheduling_strategy == SchedulingStrategy::Daemon;
    match service.availability_zone_rebalancing.as_deref() {
        Some("ENABLED") if daemon => invalid(
            "Availability Zone rebalancing is not supported for services with the DAEMON scheduling strategy.",
        ),
        Some("ENABLED") if service.deployment_configuration.maximum_percent == 100 => invalid(
            "Availability Zone rebalancing needs a deploymentConfiguration.maximumPercent above 100.",
        ),
        None | Some("DISABLED" | "ENABLED") => Ok(()),
        Some(other) => invalid(format!(
            "Invalid value {other:?} for availabilityZoneRebalancing: it is ENABLED or DISABLED."
        )),
    }
}

/// What concerns what the service runs, once it is as it would be.
pub(super) fn revision(
    cluster: &Cluster,
    revision: &ServiceRevision,
    definition: &TaskDefinition,
) -> Result<(), CommandError> {
    let launch_type = revision.launch_type.as_deref();
    if revision.capacity_provider_strategy.is_empty() {
        target::check_launch_type(launch_type, definition)?;
    } else {
        capacity_provider::check_usable(cluster, &revision.capacity_provider_strategy)?;
    }
    target::check_platform_version(launch_type, revision.platform_version.as_deref())?;
    registration::runnable(&definition.content)?;
    target::check_network(revision.network.as_ref(), &definition.content)?;
    names::registries(&revision.service_registries, &definition.content)?;
    match &revision.service_connect_configuration {
        Some(configuration) => names::service_connect(configuration, &definition.content),
        None => Ok(()),
    }
}

/// Constraints and rules that can be read, and that go with the scheduling strategy.
fn check_placement(service: &Service, definition: &TaskDefinition) -> Result<(), CommandError> {
    let of_definition = definition.content.placement_constraints.as_deref().unwrap_or_default();
    placement::Constraints::read(of_definition, &service.placement_constraints)
        .map_err(CommandError::InvalidParameter)?;
    placement::ranks(&service.placement_strategy).map_err(CommandError::InvalidParameter)?;
    if service.scheduling_strategy == SchedulingStrategy::Daemon {
        if !service.placement_strategy.is_empty() {
            return invalid(
                "Placement strategies are not supported for services with the DAEMON scheduling strategy.",
            );
        }
        let distinct = |c: &PlacementConstraint| c.r#type.as_deref() == Some("distinctInstance");
        if service.placement_constraints.iter().any(distinct) {
            return invalid(
                "The distinctInstance placement constraint is not supported for services with the DAEMON scheduling \
                 strategy: they have one task on each container instance.",
            );
        }
    }
    Ok(())
}
