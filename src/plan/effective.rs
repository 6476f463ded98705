//! A definition with the overrides of one task merged in.

use crate::model::task::TaskOverride;
use crate::model::task_definition::{ContainerDefinition, KeyValuePair, TaskDefinitionContent};

/// The container as this task runs it.
pub(crate) fn container(
    definition: &ContainerDefinition,
    overrides: &TaskOverride,
) -> ContainerDefinition {
    let mut effective = definition.clone();
    let Some(change) = overrides
        .container_overrides
        .as_deref()
        .unwrap_or_default()
        .iter()
        .find(|change| change.name == definition.name)
    else {
        return effective;
    };
    let environment = change.environment.as_deref().unwrap_or_default();
    if !environment.is_empty() {
        let variables = effective.environment.get_or_insert_default();
        for variable in environment {
            put(variables, variable);
        }
    }
    if let Some(files) = change.environment_files.as_ref().filter(|files| !files.is_empty()) {
        effective.environment_files.get_or_insert_default().extend(files.iter().cloned());
    }
    if let Some(command) = &change.command {
        effective.command = Some(command.clone());
    }
    effective.cpu = change.cpu.or(effective.cpu);
    effective.memory = change.memory.or(effective.memory);
    effective.memory_reservation = change.memory_reservation.or(effective.memory_reservation);
    if let Some(resources) = &change.resource_requirements {
        effective.resource_requirements = Some(resources.clone());
    }
    effective
}

/// Replaces the variable of that name, or adds it.
fn put(variables: &mut Vec<KeyValuePair>, variable: &KeyValuePair) {
    match variables.iter_mut().find(|old| old.name == variable.name) {
        Some(old) => old.value.clone_from(&variable.value),
        None => variables.push(variable.clone()),
    }
}

/// CPU units of the whole task, when it states them.
pub(crate) fn task_cpu(content: &TaskDefinitionContent, overrides: &TaskOverride) -> Option<u32> {
    stated(overrides.cpu.as_deref()).or_else(|| stated(content.cpu.as_deref()))
}

/// MiB of the whole task, when it states them.
pub(crate) fn task_memory(
    content: &TaskDefinitionContent,
    overrides: &TaskOverride,
) -> Option<u32> {
    stated(overrides.memory.as_deref()).or_else(|| stated(content.memory.as_deref()))
}

/// A number above 0; registration has turned units into plain numbers.
pub(crate) fn stated(text: Option<&str>) -> Option<u32> {
    text?.trim().parse().ok().filter(|number| *number > 0)
}

/// CPU shares of all containers together: what the task states, else the sum, each at least 2.
pub(crate) fn task_cpu_shares(content: &TaskDefinitionContent, overrides: &TaskOverride) -> u32 {
    if let Some(cpu) = task_cpu(content, overrides) {
        return cpu.max(2);
    }
    let definitions = content.container_definitions.as_deref().unwrap_or_default();
    definitions
        .iter()
        .map(|definition| container(definition, overrides).cpu.unwrap_or(0))
        .map(|cpu| u32::try_from(cpu).unwrap_or(0).clamp(2, 262_144))
        .fold(0_u32, u32::saturating_add)
        .max(2)
}
