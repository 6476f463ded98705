//! Whether a box is what a definition asks for, and what constraints can know of it.

use super::claims::Claim;
use super::expression::Facts;
use super::lack::Missing;
use super::room::Room;
use crate::model::container_instance::{Attribute, PRIVILEGED};
use crate::model::task_definition::TaskDefinitionContent;
use crate::model::{ContainerInstance, TaskDefinition, Timestamp};
use crate::plan::World;

/// A box with what is on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct BoxFacts<'a> {
    pub(super) world: &'a World,
    /// The box.
    pub(super) instance: &'a ContainerInstance,
    /// What is on it, when anything is known to be.
    pub(super) room: Option<&'a Room>,
    /// What the plan at hand puts on it.
    pub(super) claim: Option<&'a Claim>,
}

impl Facts for BoxFacts<'_> {
    fn attributes(&self) -> impl Iterator<Item = &Attribute> {
        self.instance.attributes.iter()
    }
    fn groups(&self) -> impl Iterator<Item = &str> {
        let there = self.room.into_iter().flat_map(Room::groups);
        there.chain(self.claim.into_iter().flat_map(Claim::groups))
    }
    fn agent_connected(&self) -> bool {
        is_connected(self.world, self.instance)
    }
    fn agent_version(&self) -> &str {
        &self.instance.agent_version
    }
    fn ec2_instance_id(&self) -> Option<&str> {
        self.instance.ec2_instance_id.as_deref()
    }
    fn registered_at(&self) -> Timestamp {
        self.instance.registered_at
    }
    fn running_tasks(&self) -> u64 {
        self.room.map_or(0, Room::running)
    }
}

/// The value of an attribute; empty for one without.
pub(super) fn value_of<'a>(instance: &'a ContainerInstance, name: &str) -> Option<&'a str> {
    Some(instance.attribute(name)?.value.as_deref().unwrap_or_default())
}

/// Whether tasks reach the box: it is this one, a simulated one, or one of the fleet that is connected.
pub(crate) fn is_connected(world: &World, instance: &ContainerInstance) -> bool {
    let is_here = || world.settings.this_instance.as_ref() == Some(&instance.id);
    let device = world.devices.get(&instance.id);
    instance.is_registered()
        && device.map_or_else(|| instance.simulated || is_here(), |device| device.connected)
}

/// Whether the box is one that the definition can run on, whatever is free; if not, why not. Unless a task is to
/// run `at_once`, boxes of a fleet that are not connected count too: they will hear of it.
pub(super) fn suits(
    world: &World,
    instance: &ContainerInstance,
    definition: &TaskDefinition,
    at_once: bool,
) -> Result<(), Missing> {
    if instance.draining {
        return Err(Missing::Draining);
    }
    let waits = !at_once && world.devices.contains_key(&instance.id);
    if !waits && !is_connected(world, instance) {
        return Err(Missing::Agent);
    }
    let content = &definition.content;
    platform_fits(instance, content).map_err(Missing::Attribute)?;
    capabilities_fit(instance, definition).map_err(Missing::Attribute)?;
    policy_allows(instance, content).map_err(Missing::Attribute)
}

/// What attributes of capabilities begin with.
const CAPABILITY: &str = "com.amazonaws.ecs.capability.";

/// Whether the box can what the definition requires. All that can be registered here a real box can; a simulated one
/// that tells what it can is taken at its word.
fn capabilities_fit(
    instance: &ContainerInstance,
    definition: &TaskDefinition,
) -> Result<(), String> {
    if !instance.simulated || !instance.attributes.iter().any(|a| a.name.starts_with(CAPABILITY)) {
        return Ok(());
    }
    let lacks = |wanted: &&Attribute| instance.attribute(&wanted.name).is_none();
    match definition.requires_attributes.iter().find(lacks) {
        Some(wanted) => Err(format!("the attribute {} is required", wanted.name)),
        None => Ok(()),
    }
}

/// Whether the box is of the platform that the definition asks for; if not, why not.
fn platform_fits(
    instance: &ContainerInstance,
    content: &TaskDefinitionContent,
) -> Result<(), String> {
    let Some(platform) = &content.runtime_platform else { return Ok(()) };
    if let Some(system) = platform.operating_system_family.as_deref()
        && system != "LINUX"
    {
        return Err(format!("operatingSystemFamily {system} is wanted, the box runs LINUX"));
    }
    let Some(wanted) = platform.cpu_architecture.as_deref() else { return Ok(()) };
    let told = value_of(instance, "ecs.cpu-architecture");
    if instance.simulated && told.is_none() {
        // It tells nothing of what it is, so it is what is wanted.
        return Ok(());
    }
    let has = told.unwrap_or("unknown");
    if has.eq_ignore_ascii_case(wanted) {
        Ok(())
    } else {
        Err(format!("cpuArchitecture {wanted} is wanted, the box is {has}"))
    }
}

/// Whether the policy of the box allows what the definition asks for; if not, why not.
fn policy_allows(
    instance: &ContainerInstance,
    content: &TaskDefinitionContent,
) -> Result<(), String> {
    let containers = content.container_definitions.iter().flatten().enumerate();
    let Some((index, container)) = containers.into_iter().find(|(_, c)| c.privileged == Some(true))
    else {
        return Ok(());
    };
    // A simulated box has no policy.
    if instance.simulated || value_of(instance, PRIVILEGED).is_some() {
        return Ok(());
    }
    Err(format!(
        "containerDefinitions[{index}].privileged: container {} asks for it, and the box does not allow it (it lacks \
         the attribute {PRIVILEGED}); set allow_privileged = true in the configuration of its agent, or use \
         linuxParameters.capabilities and devices",
        container.name.as_deref().unwrap_or_default()
    ))
}
