//! `UpdateService`: what changes what a service runs makes a new deployment, the rest only changes the service.

use super::super::{Outcome, Reply, cluster, target};
use super::{UpdateService, check, known};
use crate::model::service::ServiceStatus;
use crate::model::{Cluster, Service, ServiceRevision, TaskDefinition, Timestamp};
use crate::plan::cluster::deployment;
use crate::plan::command::CommandError;
use crate::plan::{Change, Ids, World};

/// Changes the service; nothing is written when nothing changes.
pub(in super::super) fn update(
    world: &World,
    update: UpdateService,
    now: Timestamp,
    ids: &mut Ids,
) -> Result<Outcome, CommandError> {
    let before = known(world, &update.key)?;
    if before.status != ServiceStatus::Active {
        return Err(CommandError::ServiceNotActive);
    }
    let cluster = cluster::active(world, &update.key.cluster)?;
    let running = before
        .primary()
        .and_then(|primary| world.service_revisions.get(&primary.service_revision))
        .ok_or(CommandError::ServiceNotActive)?;
    let definition = definition(world, &update, running)?;
    let reply = Reply::Service(update.key.clone());
    let force = update.force_new_deployment;
    let mut service = changed(before, &update)?;
    check::service(&service, definition)?;
    let mut revision = revised(cluster, running, definition, update);
    if revision != *running || force {
        check::revision(cluster, &revision, definition)?;
        revision.id = ids.service_revision();
        revision.created_at = now;
        let mut changes = Vec::new();
        deployment::begin(world, &mut service, revision, now, ids, &mut changes);
        changes.push(Change::PutService(Box::new(service)));
        return Ok(Outcome::with(changes, reply));
    }
    let changes =
        if service == *before { Vec::new() } else { vec![Change::PutService(Box::new(service))] };
    Ok(Outcome::with(changes, reply))
}

/// The definition that is asked for, or the one that runs: it may have become inactive since.
fn definition<'a>(
    world: &'a World,
    update: &UpdateService,
    running: &ServiceRevision,
) -> Result<&'a TaskDefinition, CommandError> {
    match &update.task_definition {
        Some(asked) => target::definition(world, &asked.family, asked.revision),
        None => world
            .task_definitions
            .get(&running.task_definition)
            .ok_or_else(|| CommandError::Client("TaskDefinition not found.".to_owned())),
    }
}

/// The service with what is given.
fn changed(before: &Service, update: &UpdateService) -> Result<Service, CommandError> {
    let strategy = before.scheduling_strategy;
    let mut service = before.clone();
    if let Some(count) = check::desired_count(strategy, update.desired_count)? {
        service.desired_count = count;
    }
    service.deployment_configuration = check::deployment_configuration(
        strategy,
        Some(&before.deployment_configuration),
        &update.deployment_configuration,
    )?;
    if let Some(constraints) = &update.placement_constraints {
        service.placement_constraints.clone_from(constraints);
    }
    if let Some(rules) = &update.placement_strategy {
        service.placement_strategy.clone_from(rules);
    }
    if let Some(seconds) = check::grace_period(update.health_check_grace_period_seconds)? {
        service.health_check_grace_period_seconds = Some(seconds);
    }
    if let Some(rebalancing) = &update.availability_zone_rebalancing {
        service.availability_zone_rebalancing = Some(rebalancing.clone());
    }
    service.enable_ecs_managed_tags =
        update.enable_ecs_managed_tags.unwrap_or(service.enable_ecs_managed_tags);
    service.propagate_tags = update.propagate_tags.unwrap_or(service.propagate_tags);
    service.enable_execute_command =
        update.enable_execute_command.unwrap_or(service.enable_execute_command);
    Ok(service)
}

/// What the service is to run; the same as it runs when nothing of it is given.
fn revised(
    cluster: &Cluster,
    running: &ServiceRevision,
    definition: &TaskDefinition,
    update: UpdateService,
) -> ServiceRevision {
    let mut revision = running.clone();
    revision.task_definition = definition.reference();
    if let Some(pools) = update.capacity_provider_strategy {
        // An empty strategy goes back to that of the cluster, or to no pools at all.
        let default = &cluster.default_capacity_provider_strategy;
        revision.capacity_provider_strategy =
            if pools.is_empty() { default.clone() } else { pools };
        let without_pools = revision.capacity_provider_strategy.is_empty();
        let before = revision.launch_type.take();
        revision.launch_type = without_pools.then(|| before.unwrap_or_else(|| "EC2".to_owned()));
    }
    revision.platform_version = update.platform_version.or(revision.platform_version);
    let awsvpc = definition.content.network_mode.as_deref() == Some("awsvpc");
    // What was given for a definition of awsvpc mode is of no use to one of another mode.
    let kept = revision.network.filter(|_| awsvpc);
    revision.network = update.network.or(kept);
    revision.service_registries = update.service_registries.unwrap_or(revision.service_registries);
    revision.service_connect_configuration =
        update.service_connect_configuration.or(revision.service_connect_configuration);
    revision
}
