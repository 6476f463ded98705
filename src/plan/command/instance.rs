//! Container instances come, drain and go.
//!
//! A box comes with [`register`], which its agent calls at every start. Where there are no boxes, an instance comes
//! with [`simulate`], as ECS's own agent would register.

use super::{
    CommandError, Outcome, RegisterContainerInstance, RegisterThisInstance, Reply, attribute, tag,
};
use crate::model::container_instance::{Attribute, Capacity};
use crate::model::{
    Assignment, Cluster, ClusterName, ContainerInstance, ContainerInstanceId, DesiredStatus,
    Failure, StopCode, StopRequest, Timestamp, Wanted,
};
use crate::plan::ids::Ids;
use crate::plan::{Change, World};
use std::collections::BTreeSet;
use std::time::Duration;

/// How many instances one request may name.
const IN_A_REQUEST: usize = 10;
/// How long a deregistered instance stays describable at least.
const KEPT: Duration = Duration::from_hours(1);
/// What the tasks of an instance that was deregistered by force are told.
const DEREGISTERED: &str = "Container instance deregistered forcibly by user";

/// Makes or renews the box's container instance; its cluster is made when it is not there.
pub(in crate::plan) fn register(
    world: &World,
    this: RegisterThisInstance,
    now: Timestamp,
) -> Result<Outcome, CommandError> {
    let mut changes = Vec::new();
    let old = world.container_instances.get(&this.id);
    if let Some(old) = old
        && old.cluster != this.cluster
        && world.assignments_on(&this.id).next().is_some()
    {
        return Err(CommandError::InvalidParameter(format!(
            "The container instance has tasks in the cluster {}; stop them before it joins {}.",
            old.cluster, this.cluster
        )));
    }
    let instance = ContainerInstance {
        cluster: this.cluster.clone(),
        capacity: this.capacity,
        attributes: merged(this.attributes, old),
        agent_version: this.agent_version,
        ..returned(old, this.id, &this.cluster, now)
    };
    match world.clusters.get(&this.cluster) {
        Some(cluster) if cluster.active => {}
        Some(cluster) => {
            changes.push(Change::PutCluster(Cluster { active: true, ..cluster.clone() }));
        }
        None => changes.push(Change::PutCluster(Cluster::new(this.cluster, now))),
    }
    changes.extend(renewed(world, instance));
    Ok(Outcome::with(changes, Reply::Done))
}

/// `RegisterContainerInstance`: an instance without a box, where the settings allow such.
pub(super) fn simulate(
    world: &World,
    register: RegisterContainerInstance,
    now: Timestamp,
    ids: &mut Ids,
) -> Result<Outcome, CommandError> {
    // As with ECS, the first instance brings the default cluster.
    let first = world.settings.simulated
        && register.cluster == ClusterName::default_cluster()
        && !world.clusters.contains_key(&register.cluster);
    let mut changes = Vec::new();
    if first {
        changes.push(Change::PutCluster(Cluster::new(register.cluster.clone(), now)));
    } else {
        super::cluster::active(world, &register.cluster)?;
    }
    if !world.settings.simulated {
        return Err(CommandError::Client(
            "A container instance is registered by the agent of its box when it starts (`coracle agent`), not by \
             RegisterContainerInstance; instances without a box are for `coracle hub --simulate`."
                .to_owned(),
        ));
    }
    tag::check_tags(&register.tags)?;
    register.attributes.iter().try_for_each(attribute::check)?;
    let old = match &register.id {
        None => None,
        Some(id) => {
            let known = world.container_instances.get(id);
            let same = known.filter(|old| old.is_registered() && old.cluster == register.cluster);
            Some(same.ok_or_else(|| {
                CommandError::Client("The referenced container instance was not found.".to_owned())
            })?)
        }
    };
    let id = match register.id {
        Some(id) => id,
        None => ids.container_instance(),
    };
    let returned = returned(old, id.clone(), &register.cluster, now);
    let instance = ContainerInstance {
        simulated: true,
        capacity: register.capacity,
        attributes: merged(register.attributes, old),
        agent_version: register.agent_version,
        agent_hash: register.agent_hash,
        docker_version: register.docker_version,
        ec2_instance_id: register.ec2_instance_id,
        tags: tag::merged(&returned.tags, register.tags),
        ..returned
    };
    let reply = Reply::ContainerInstances { instances: vec![id], failures: Vec::new() };
    changes.extend(renewed(world, instance));
    Ok(Outcome::with(changes, reply))
}

/// What a registration leaves as it is, of an instance that was there or a new one.
fn returned(
    old: Option<&ContainerInstance>,
    id: ContainerInstanceId,
    cluster: &ClusterName,
    now: Timestamp,
) -> ContainerInstance {
    match old {
        Some(old) if old.is_registered() => old.clone(),
        // It comes back: what it drained for is over.
        Some(old) => ContainerInstance { draining: false, deregistered_at: None, ..old.clone() },
        None => ContainerInstance {
            id,
            cluster: cluster.clone(),
            draining: false,
            deregistered_at: None,
            simulated: false,
            capacity: Capacity::default(),
            attributes: Vec::new(),
            put_attributes: BTreeSet::new(),
            registered_at: now,
            version: 0,
            agent_version: String::new(),
            agent_hash: None,
            docker_version: None,
            ec2_instance_id: None,
            tags: Vec::new(),
        },
    }
}

/// What the box tells, and what was put on it: that wins. Of a name that is told twice the last one counts.
fn merged(told: Vec<Attribute>, old: Option<&ContainerInstance>) -> Vec<Attribute> {
    let put = |attribute: &&Attribute| {
        old.is_some_and(|old| old.put_attributes.contains(&attribute.name))
    };
    let mut attributes: Vec<Attribute> = Vec::new();
    let kept = old.into_iter().flat_map(|old| &old.attributes).filter(put).cloned();
    for attribute in told.into_iter().chain(kept) {
        match attributes.iter_mut().find(|there| there.name == attribute.name) {
            Some(there) => *there = attribute,
            None => attributes.push(attribute),
        }
    }
    attributes
}

/// Puts `instance` if that changes anything.
fn renewed(world: &World, instance: ContainerInstance) -> Option<Change> {
    if world.container_instances.get(&instance.id) == Some(&instance) {
        return None;
    }
    let instance = ContainerInstance { version: instance.version + 1, ..instance };
    Some(Change::PutContainerInstance(Box::new(instance)))
}

/// `DeregisterContainerInstance`: it takes no more tasks and is `INACTIVE`. With `force` its tasks are stopped.
pub(in crate::plan) fn deregister(
    world: &World,
    cluster: &ClusterName,
    id: &ContainerInstanceId,
    force: bool,
    now: Timestamp,
) -> Result<Outcome, CommandError> {
    super::cluster::active(world, cluster)?;
    let known = world.container_instances.get(id).filter(|i| &i.cluster == cluster);
    let Some(instance) = known else {
        return Err(CommandError::InvalidParameter(
            "The referenced container instance was not found.".to_owned(),
        ));
    };
    let reply = Reply::ContainerInstances { instances: vec![id.clone()], failures: Vec::new() };
    if !instance.is_registered() {
        return Ok(Outcome::with(Vec::new(), reply));
    }
    if !force && world.assignments_on(id).next().is_some() {
        return Err(CommandError::InvalidParameter(
            "Found running tasks on the instance.".to_owned(),
        ));
    }
    let mut changes = forgotten(world, now);
    changes.extend(world.assignments_on(id).filter_map(|a| stopped(world, a)));
    changes.extend(renewed(
        world,
        ContainerInstance { draining: true, deregistered_at: Some(now), ..instance.clone() },
    ));
    Ok(Outcome::with(changes, reply))
}

/// Wants all tasks of the assignment stopped, protected ones too, unless they are already.
fn stopped(world: &World, assignment: &Assignment) -> Option<Change> {
    let stop =
        || StopRequest { code: StopCode::TerminationNotice, reason: DEREGISTERED.to_owned() };
    let mut after = assignment.clone();
    match &mut after.wanted {
        Wanted::Task(task) if task.desired_status == DesiredStatus::Running => {
            task.desired_status = DesiredStatus::Stopped;
            task.stop = Some(stop());
        }
        Wanted::Task(_) => {}
        Wanted::Service(tasks) => {
            tasks.count = 0;
            for task in world.live(&assignment.id) {
                if task.desired_status == DesiredStatus::Running {
                    tasks.stops.entry(task.id.clone()).or_insert_with(stop);
                }
            }
        }
    }
    if after == *assignment {
        return None;
    }
    after.generation = after.generation.next();
    Some(Change::PutAssignment(Box::new(after)))
}

/// Deletes the instances that are gone for long enough and that no task refers to, so that they do not pile up.
fn forgotten(world: &World, now: Timestamp) -> Vec<Change> {
    let this = world.settings.this_instance.as_ref();
    let over = |instance: &&ContainerInstance| {
        Some(&instance.id) != this
            && instance.deregistered_at.is_some_and(|at| now.since(at) > KEPT)
            && world.assignments_on(&instance.id).next().is_none()
    };
    let mut gone: BTreeSet<&ContainerInstanceId> =
        world.container_instances.values().filter(over).map(|instance| &instance.id).collect();
    if !gone.is_empty() {
        for task in world.tasks.values() {
            gone.remove(&task.container_instance);
        }
    }
    gone.into_iter().map(|id| Change::DeleteContainerInstance(id.clone())).collect()
}

/// `UpdateContainerInstancesState`: `ACTIVE` or `DRAINING`.
pub(super) fn update_state(
    world: &World,
    cluster: &ClusterName,
    ids: Vec<ContainerInstanceId>,
    draining: bool,
) -> Result<Outcome, CommandError> {
    super::cluster::active(world, cluster)?;
    if ids.len() > IN_A_REQUEST {
        return Err(CommandError::InvalidParameter(format!(
            "Container instances cannot have more than {IN_A_REQUEST} elements."
        )));
    }
    let (mut changes, mut instances, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for id in ids {
        let arn = world.settings.scope.container_instance(cluster, &id);
        match world.container_instances.get(&id).filter(|i| &i.cluster == cluster) {
            None => failures.push(Failure::missing(arn)),
            Some(instance) if !instance.is_registered() => failures.push(Failure {
                arn: Some(arn),
                reason: Some("INACTIVE".to_owned()),
                detail: None,
            }),
            Some(_) if instances.contains(&id) => {}
            Some(instance) => {
                changes.extend(renewed(world, ContainerInstance { draining, ..instance.clone() }));
                instances.push(id);
            }
        }
    }
    Ok(Outcome::with(changes, Reply::ContainerInstances { instances, failures }))
}
