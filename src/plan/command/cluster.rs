//! `CreateCluster`, `UpdateCluster` and `DeleteCluster`.

use super::{
    CommandError, CreateCluster, Outcome, Reply, UpdateCluster, capacity_provider, setting, tag,
};
use crate::model::service::ServiceStatus;
use crate::model::{Cluster, ClusterName, Timestamp};
use crate::plan::{Change, World};

/// Makes the cluster; one that is there already is answered as it is, unless it was asked for differently.
pub(super) fn create(
    world: &World,
    create: CreateCluster,
    now: Timestamp,
) -> Result<Outcome, CommandError> {
    tag::check_tags(&create.tags)?;
    let reply = Reply::Cluster(create.name.clone());
    let there = world.clusters.get(&create.name).filter(|cluster| cluster.active);
    if let Some(cluster) = there {
        let strategy = &create.default_capacity_provider_strategy;
        let same = (create.settings.is_empty() || create.settings == cluster.settings)
            && (create.capacity_providers.is_empty()
                || create.capacity_providers == cluster.capacity_providers)
            && (strategy.is_empty() || *strategy == cluster.default_capacity_provider_strategy)
            && (create.configuration.is_none() || create.configuration == cluster.configuration)
            && (create.service_connect_defaults.is_none()
                || create.service_connect_defaults == cluster.service_connect_defaults);
        if same {
            return Ok(Outcome::with(Vec::new(), reply));
        }
        return Err(CommandError::InvalidParameter(
            "Arguments on this idempotent request are inconsistent with arguments used in previous request(s)."
                .to_owned(),
        ));
    }
    capacity_provider::check_known(world, &create.capacity_providers)?;
    capacity_provider::check_strategy(
        &create.capacity_providers,
        &create.default_capacity_provider_strategy,
    )?;
    let settings = if create.settings.is_empty() {
        setting::container_insights(world)
    } else {
        create.settings
    };
    let cluster = Cluster {
        settings,
        configuration: create.configuration,
        capacity_providers: create.capacity_providers,
        default_capacity_provider_strategy: create.default_capacity_provider_strategy,
        service_connect_defaults: create.service_connect_defaults,
        tags: create.tags,
        ..Cluster::new(create.name, now)
    };
    Ok(Outcome::with(vec![Change::PutCluster(cluster)], reply))
}

/// Replaces what is given; the rest stays.
pub(super) fn update(world: &World, update: UpdateCluster) -> Result<Outcome, CommandError> {
    let old = active(world, &update.name)?;
    let mut cluster = old.clone();
    cluster.settings = update.settings.unwrap_or(cluster.settings);
    cluster.configuration = update.configuration.or(cluster.configuration);
    cluster.service_connect_defaults =
        update.service_connect_defaults.or(cluster.service_connect_defaults);
    let changes = if cluster == *old { Vec::new() } else { vec![Change::PutCluster(cluster)] };
    Ok(Outcome::with(changes, Reply::Cluster(update.name)))
}

/// Makes the cluster `INACTIVE` once nothing is in it. Deleting it again changes nothing.
pub(super) fn delete(world: &World, name: &ClusterName) -> Result<Outcome, CommandError> {
    let cluster = world.clusters.get(name).ok_or(CommandError::ClusterNotFound)?;
    let reply = Reply::Cluster(name.clone());
    if !cluster.active {
        return Ok(Outcome::with(Vec::new(), reply));
    }
    let mut services = world.services.values();
    if services.any(|s| &s.key.cluster == name && s.status == ServiceStatus::Active) {
        return Err(CommandError::ClusterContainsServices);
    }
    if world.assignments.values().any(|assignment| &assignment.cluster == name) {
        return Err(CommandError::ClusterContainsTasks);
    }
    let mut instances = world.container_instances.values();
    if instances.any(|instance| &instance.cluster == name && instance.is_registered()) {
        return Err(CommandError::ClusterContainsContainerInstances);
    }
    let cluster = Cluster { active: false, ..cluster.clone() };
    Ok(Outcome::with(vec![Change::PutCluster(cluster)], reply))
}

/// The cluster, if it is there and `ACTIVE`.
pub(super) fn active<'a>(
    world: &'a World,
    name: &ClusterName,
) -> Result<&'a Cluster, CommandError> {
    world.clusters.get(name).filter(|cluster| cluster.active).ok_or(CommandError::ClusterNotFound)
}
