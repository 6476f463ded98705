//! Several boxes: where tasks go.

use super::number;
use crate::node::Node;
use coracle::model::container_instance::{Attribute, Capacity};
use coracle::model::placement::{CapacityProviderStrategyItem, PlacementStrategy};
use coracle::model::{
    AssignmentId, ClusterName, ContainerInstance, ContainerInstanceId, capacity_provider,
};
use coracle::plan::{Change, CommandError, Reply};
use std::collections::BTreeSet;

/// `instance NAME cpu=C memory=M pool=P ATTRIBUTE=VALUE …`: one more box of the cluster, which only gets assignments.
pub(crate) fn add(node: &mut Node, name: &str, options: &[&str]) -> Result<(), String> {
    let mut instance = ContainerInstance {
        id: id(name)?,
        cluster: ClusterName::default_cluster(),
        draining: false,
        deregistered_at: None,
        simulated: true,
        capacity: Capacity { cpu: 2048, memory: 1024, ..Capacity::default() },
        attributes: Vec::new(),
        put_attributes: BTreeSet::new(),
        registered_at: node.now(),
        version: 1,
        agent_version: "1.0.0".to_owned(),
        agent_hash: None,
        docker_version: None,
        ec2_instance_id: None,
        tags: Vec::new(),
    };
    for option in options {
        let (key, value) = option.split_once('=').ok_or(format!("{option:?} has no value"))?;
        let name = match key {
            "cpu" => {
                instance.capacity.cpu = number(value)?;
                continue;
            }
            "memory" => {
                instance.capacity.memory = number(value)?;
                continue;
            }
            "pool" => capacity_provider::ATTRIBUTE,
            name => name,
        };
        let value = Some(value.to_owned());
        instance.attributes.push(Attribute { name: name.to_owned(), value });
        if key == "pool" {
            associate(node, option.split_once('=').map_or("", |(_, pool)| pool));
        }
    }
    node.world.apply(&Change::PutContainerInstance(Box::new(instance)));
    Ok(())
}

/// The cluster may use the pool.
fn associate(node: &mut Node, pool: &str) {
    let Some(mut cluster) = node.world.clusters.get(&ClusterName::default_cluster()).cloned()
    else {
        return;
    };
    if !cluster.capacity_providers.iter().any(|name| name == pool) {
        cluster.capacity_providers.push(pool.to_owned());
        node.world.apply(&Change::PutCluster(cluster));
    }
}

/// `drain NAME`: the box gets no more tasks.
pub(crate) fn drain(node: &mut Node, name: &str) -> Result<(), String> {
    let id = if name == "this-box" { crate::node::this_instance() } else { id(name)? };
    let instance = node.world.container_instances.get(&id).ok_or(format!("no box {name}"))?;
    let drained = ContainerInstance { draining: true, ..instance.clone() };
    node.world.apply(&Change::PutContainerInstance(Box::new(drained)));
    Ok(())
}

/// Says where tasks went, when there is more than one box.
pub(crate) fn tell_places(node: &mut Node, reply: &Result<Reply, CommandError>) {
    let Ok(Reply::Tasks { tasks, .. }) = reply else { return };
    if node.world.container_instances.len() < 2 {
        return;
    }
    for task in tasks {
        let Some(assignment) = node.world.assignments.get(&AssignmentId::of_task(task)) else {
            continue;
        };
        let name = assignment.container_instance.to_string();
        let pool = assignment.capacity_provider_name.as_ref();
        let pool = pool.map(|pool| format!(" of the pool {pool}")).unwrap_or_default();
        let task = node.names.task(task);
        let text = node.names.rename(&format!("  {task} goes to {name}{pool}"));
        node.say(&text);
    }
}

/// `spread:zone,binpack:memory,random`.
pub(crate) fn strategy(text: &str) -> Vec<PlacementStrategy> {
    let rule = |rule: &str| {
        let (kind, field) = rule.split_once(':').map_or((rule, None), |(k, f)| (k, Some(f)));
        let field = field.map(|field| match field {
            "instanceId" | "memory" | "cpu" => field.to_owned(),
            attribute => format!("attribute:{attribute}"),
        });
        PlacementStrategy { kind: Some(kind.to_owned()), field }
    };
    text.split(',').map(rule).collect()
}

/// `NAME:BASE:WEIGHT,…`.
pub(crate) fn pools(text: &str) -> Result<Vec<CapacityProviderStrategyItem>, String> {
    let item = |item: &str| {
        let mut parts = item.split(':');
        Ok(CapacityProviderStrategyItem {
            capacity_provider: parts.next().unwrap_or_default().to_owned(),
            base: number(parts.next().unwrap_or("0"))?,
            weight: number(parts.next().unwrap_or("0"))?,
        })
    };
    text.split(',').map(item).collect()
}

fn id(name: &str) -> Result<ContainerInstanceId, String> {
    ContainerInstanceId::new(name).map_err(|error| error.to_string())
}
