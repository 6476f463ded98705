//! `CreateCluster` and `DeleteCluster`.

use super::{CommandError, CreateCluster, Outcome, Reply};
use crate::model::{Cluster, ClusterName, Timestamp};
use crate::plan::{Change, World};

/// Makes the cluster; one that is there already is answered as it is.
pub(super) fn create(world: &World, create: CreateCluster, now: Timestamp) -> Outcome {
    let reply = Reply::Cluster(create.name.clone());
    if world.clusters.get(&create.name).is_some_and(|cluster| cluster.active) {
        return Outcome::with(Vec::new(), reply);
    }
    let cluster = Cluster {
        name: create.name,
        active: true,
        created_at: now,
        settings: create.settings,
        configuration: create.configuration,
        capacity_providers: create.capacity_providers,
        default_capacity_provider_strategy: create.default_capacity_provider_strategy,
        service_connect_defaults: create.service_connect_defaults,
        tags: create.tags,
    };
    Outcome::with(vec![Change::PutCluster(cluster)], reply)
}

/// Makes the cluster `INACTIVE` once nothing is in it. Deleting it again changes nothing.
pub(super) fn delete(world: &World, name: &ClusterName) -> Result<Outcome, CommandError> {
    let cluster = world.clusters.get(name).ok_or(CommandError::ClusterNotFound)?;
    let reply = Reply::Cluster(name.clone());
    if !cluster.active {
        return Ok(Outcome::with(Vec::new(), reply));
    }
    if world.assignments.values().any(|assignment| &assignment.cluster == name) {
        return Err(CommandError::ClusterContainsTasks);
    }
    if world.container_instances.values().any(|instance| &instance.cluster == name) {
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
