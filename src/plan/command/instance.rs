//! The agent of this box tells what the box has, at every start.

use super::{CommandError, Outcome, RegisterThisInstance, Reply};
use crate::model::{Cluster, ContainerInstance, Timestamp};
use crate::plan::{Change, World};

/// Makes or renews the box's container instance; its cluster is made when it is not there.
pub(super) fn register(
    world: &World,
    this: RegisterThisInstance,
    now: Timestamp,
) -> Result<Outcome, CommandError> {
    let mut changes = Vec::new();
    let instance = if let Some(old) = world.container_instances.get(&this.id) {
        if old.cluster != this.cluster
            && world.assignments.values().any(|a| a.container_instance == this.id)
        {
            return Err(CommandError::InvalidParameter(format!(
                "The container instance has tasks in the cluster {}; stop them before it joins {}.",
                old.cluster, this.cluster
            )));
        }
        ContainerInstance {
            id: this.id,
            cluster: this.cluster.clone(),
            capacity: this.capacity,
            attributes: this.attributes,
            agent_version: this.agent_version,
            ..old.clone()
        }
    } else {
        ContainerInstance {
            id: this.id,
            cluster: this.cluster.clone(),
            draining: false,
            capacity: this.capacity,
            attributes: this.attributes,
            registered_at: now,
            version: 0,
            agent_version: this.agent_version,
            tags: Vec::new(),
        }
    };
    match world.clusters.get(&this.cluster) {
        Some(cluster) if cluster.active => {}
        Some(cluster) => {
            changes.push(Change::PutCluster(Cluster { active: true, ..cluster.clone() }));
        }
        None => changes.push(Change::PutCluster(Cluster {
            name: this.cluster,
            active: true,
            created_at: now,
            settings: Vec::new(),
            configuration: None,
            capacity_providers: Vec::new(),
            default_capacity_provider_strategy: Vec::new(),
            service_connect_defaults: None,
            tags: Vec::new(),
        })),
    }
    if world.container_instances.get(&instance.id) != Some(&instance) {
        let instance = ContainerInstance { version: instance.version + 1, ..instance };
        changes.push(Change::PutContainerInstance(Box::new(instance)));
    }
    Ok(Outcome::with(changes, Reply::Done))
}
