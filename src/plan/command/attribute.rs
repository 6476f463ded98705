//! `PutAttributes` and `DeleteAttributes`: attributes that callers put on container instances.
//!
//! They stay until they are deleted: a box that registers again changes nothing about them. What a box tells of
//! itself may be overwritten and deleted too, until it registers again; the names of ECS itself may not.

use super::{CommandError, Outcome, Reply};
use crate::model::container_instance::Attribute;
use crate::model::{ClusterName, ContainerInstance, ContainerInstanceId};
use crate::plan::{Change, World};
use std::collections::BTreeMap;

/// How many a request may name.
const IN_A_REQUEST: usize = 10;
/// How many a container instance may have that were put on it.
const ON_AN_INSTANCE: usize = 10;

/// The box and the attribute.
pub(crate) type Target = (ContainerInstanceId, Attribute);

/// Adds attributes, or changes the values of those that are there.
pub(super) fn put(
    world: &World,
    cluster: &ClusterName,
    targets: Vec<Target>,
) -> Result<Outcome, CommandError> {
    edit(world, cluster, targets, |instance, attribute| {
        check(&attribute)?;
        own(&attribute.name)?;
        instance.put_attributes.insert(attribute.name.clone());
        if instance.put_attributes.len() > ON_AN_INSTANCE {
            return Err(CommandError::AttributeLimitExceeded);
        }
        match instance.attributes.iter_mut().find(|there| there.name == attribute.name) {
            Some(there) => *there = attribute,
            None => instance.attributes.push(attribute),
        }
        Ok(())
    })
}

/// Takes attributes away: by name, and by value where the request has one. What is not there is no error.
pub(super) fn delete(
    world: &World,
    cluster: &ClusterName,
    targets: Vec<Target>,
) -> Result<Outcome, CommandError> {
    edit(world, cluster, targets, |instance, attribute| {
        own(&attribute.name)?;
        let meant = |there: &Attribute| {
            there.name == attribute.name
                && (attribute.value.is_none() || there.value == attribute.value)
        };
        if instance.attributes.iter().any(&meant) {
            instance.put_attributes.remove(&attribute.name);
            instance.attributes.retain(|there| !meant(there));
        }
        Ok(())
    })
}

fn edit(
    world: &World,
    cluster: &ClusterName,
    targets: Vec<Target>,
    mut edit: impl FnMut(&mut ContainerInstance, Attribute) -> Result<(), CommandError>,
) -> Result<Outcome, CommandError> {
    super::cluster::active(world, cluster)?;
    if targets.len() > IN_A_REQUEST {
        return Err(CommandError::InvalidParameter(format!(
            "Attributes cannot have more than {IN_A_REQUEST} elements."
        )));
    }
    let mut edited: BTreeMap<ContainerInstanceId, ContainerInstance> = BTreeMap::new();
    for (id, attribute) in targets {
        let there = world.container_instances.get(&id);
        let there = there
            .filter(|instance| &instance.cluster == cluster && instance.is_registered())
            .ok_or(CommandError::TargetNotFound)?;
        edit(edited.entry(id).or_insert_with(|| there.clone()), attribute)?;
    }
    let changes = edited
        .into_iter()
        .filter(|(id, instance)| world.container_instances.get(id) != Some(instance))
        .map(|(_, mut instance)| {
            instance.version += 1;
            Change::PutContainerInstance(Box::new(instance))
        });
    Ok(Outcome::with(changes.collect(), Reply::Done))
}

/// Refuses names and values that ECS refuses.
pub(in crate::plan) fn check(attribute: &Attribute) -> Result<(), CommandError> {
    let name = &attribute.name;
    let in_name = |c: char| c.is_ascii_alphanumeric() || "-_./\\".contains(c);
    if !(1..=128).contains(&name.len()) || !name.chars().all(in_name) {
        let name: String = name.chars().take(256).collect();
        return invalid(format!(
            "Invalid attribute name {name:?}: 1 to 128 letters, numbers and - _ . / \\ are allowed."
        ));
    }
    let Some(value) = &attribute.value else { return Ok(()) };
    let in_value = |c: char| c.is_ascii_alphanumeric() || "-_.@/\\: ".contains(c);
    let trimmed = !value.starts_with(' ') && !value.ends_with(' ');
    if !(1..=128).contains(&value.len()) || !trimmed || !value.chars().all(in_value) {
        return invalid(format!(
            "Invalid value of the attribute {name}: 1 to 128 letters, numbers, spaces and - _ . @ / \\ : are allowed, \
             and no space at either end."
        ));
    }
    Ok(())
}

/// Refuses the names that ECS and the box's agent use.
fn own(name: &str) -> Result<(), CommandError> {
    if name.starts_with("ecs.") || name.starts_with("com.amazonaws.ecs.") {
        return invalid(format!(
            "The attribute {name} is built in and cannot be changed: names that begin with ecs. or com.amazonaws.ecs. \
             are told by the container instance itself."
        ));
    }
    Ok(())
}

fn invalid<T>(text: String) -> Result<T, CommandError> {
    Err(CommandError::InvalidParameter(text))
}
