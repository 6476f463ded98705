//! `CreateService`.

use super::super::{Outcome, Reply, cluster, run_task, tag, target};
use super::{CreateService, check, invalid};
use crate::model::service::{SchedulingStrategy, ServiceStatus};
use crate::model::{Service, ServiceKey, ServiceRevision, Timestamp};
use crate::plan::cluster::{deployment, retention};
use crate::plan::command::CommandError;
use crate::plan::world::ClientToken;
use crate::plan::{Change, Ids, World};

/// How many characters a client token may have.
const TOKEN_AT_MOST: usize = 36;

const NOT_IDEMPOTENT: &str = "Creation of service was not idempotent.";

/// Makes the service and its first deployment. A request that came before is answered with the service that it made.
pub(in super::super) fn create(
    world: &World,
    mut create: CreateService,
    now: Timestamp,
    ids: &mut Ids,
) -> Result<Outcome, CommandError> {
    cluster::active(world, &create.key.cluster)?;
    let key = create.key.clone();
    let token = match create.client_token.take() {
        Some(token) => Some(token_key(&key, &token)?),
        None => None,
    };
    let request = format!("{create:?}");
    let there =
        world.services.get(&key).filter(|service| service.status != ServiceStatus::Inactive);
    if let Some(used) = token.as_ref().and_then(|token| world.client_tokens.get(token))
        && !run_task::expired(used, now)
        && let Some(made) = used.service.as_ref().and_then(|made| world.services.get(made))
        && made.status == ServiceStatus::Active
    {
        return if used.request == request {
            Ok(Outcome::with(Vec::new(), Reply::Service(made.key.clone())))
        } else {
            invalid(NOT_IDEMPOTENT)
        };
    }
    if there.is_some_and(|service| service.status == ServiceStatus::Draining) {
        return invalid("Unable to Start a service that is still Draining.");
    }
    let (mut service, revision) = wanted(world, create, now, ids)?;
    if let Some(there) = there {
        // Without a token it is the same request when it asks for what is there.
        return if token.is_none() && same(world, there, &service, &revision) {
            Ok(Outcome::with(Vec::new(), Reply::Service(key)))
        } else {
            invalid(NOT_IDEMPOTENT)
        };
    }
    // What is left of a deleted service of this name goes.
    let mut changes = retention::forget(world, &key);
    deployment::begin(world, &mut service, revision, now, ids, &mut changes);
    changes.push(Change::PutService(Box::new(service)));
    if let Some(token) = token {
        let used =
            ClientToken { used_at: now, request, tasks: Vec::new(), service: Some(key.clone()) };
        changes.push(Change::PutClientToken(token, used));
    }
    Ok(Outcome::with(changes, Reply::Service(key)))
}

/// What a token of this operation is kept under: another operation may have used the same one.
fn token_key(key: &ServiceKey, token: &str) -> Result<String, CommandError> {
    if !token.bytes().all(|b| b.is_ascii_graphic()) || token.len() > TOKEN_AT_MOST {
        return invalid(format!(
            "The clientToken must have at most {TOKEN_AT_MOST} characters in the range of 33 to 126."
        ));
    }
    Ok(format!("CreateService {} {token}", key.cluster))
}

/// The service and what it runs, as asked for and with ECS's defaults.
fn wanted(
    world: &World,
    create: CreateService,
    now: Timestamp,
    ids: &mut Ids,
) -> Result<(Service, ServiceRevision), CommandError> {
    let cluster = cluster::active(world, &create.key.cluster)?;
    tag::check_tags(&create.tags)?;
    let strategy = create.scheduling_strategy;
    let desired_count = check::desired_count(strategy, create.desired_count)?;
    if desired_count.is_none() && strategy == SchedulingStrategy::Replica {
        return invalid(
            "The replica scheduling strategy needs a desired count for services. Specify a desiredCount and try again.",
        );
    }
    let asked = &create.task_definition;
    let definition = target::definition(world, &asked.family, asked.revision)?;
    if create.launch_type.is_some() && !create.capacity_provider_strategy.is_empty() {
        return invalid(
            "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.",
        );
    }
    let pools = if create.launch_type.is_none() && create.capacity_provider_strategy.is_empty() {
        cluster.default_capacity_provider_strategy.clone()
    } else {
        create.capacity_provider_strategy
    };
    let launch_type =
        pools.is_empty().then(|| create.launch_type.unwrap_or_else(|| "EC2".to_owned()));
    let revision = ServiceRevision {
        id: ids.service_revision(),
        service: create.key.clone(),
        task_definition: definition.reference(),
        launch_type,
        capacity_provider_strategy: pools,
        platform_version: create.platform_version,
        network: create.network,
        service_registries: create.service_registries,
        service_connect_configuration: create.service_connect_configuration,
        created_at: now,
    };
    let service = Service {
        key: create.key,
        status: ServiceStatus::Active,
        scheduling_strategy: strategy,
        desired_count: desired_count.unwrap_or(0),
        deployments: Vec::new(),
        deployment_configuration: check::deployment_configuration(
            strategy,
            None,
            &create.deployment_configuration,
        )?,
        placement_constraints: create.placement_constraints,
        placement_strategy: create.placement_strategy,
        health_check_grace_period_seconds: check::grace_period(
            create.health_check_grace_period_seconds,
        )?,
        availability_zone_rebalancing: create.availability_zone_rebalancing,
        enable_ecs_managed_tags: create.enable_ecs_managed_tags,
        propagate_tags: create.propagate_tags,
        enable_execute_command: create.enable_execute_command,
        role_arn: create.role,
        created_at: now,
        created_by: create.created_by,
        deleted_at: None,
        tags: create.tags,
        next_event: 0,
        said: crate::model::service::Said::default(),
    };
    check::service(&service, definition)?;
    check::revision(cluster, &revision, definition)?;
    Ok((service, revision))
}

/// Whether `service` running `revision` is what is there already.
fn same(world: &World, there: &Service, service: &Service, revision: &ServiceRevision) -> bool {
    let runs = there.primary().and_then(|d| world.service_revisions.get(&d.service_revision));
    let daemon = there.scheduling_strategy == SchedulingStrategy::Daemon;
    let as_asked = Service {
        desired_count: if daemon { service.desired_count } else { there.desired_count },
        deployments: Vec::new(),
        created_at: service.created_at,
        created_by: service.created_by.clone(),
        next_event: service.next_event,
        said: service.said.clone(),
        ..there.clone()
    };
    as_asked == *service
        && runs.is_some_and(|runs| {
            let same = ServiceRevision {
                id: revision.id.clone(),
                created_at: revision.created_at,
                ..runs.clone()
            };
            same == *revision
        })
}
