//! A definition with the overrides of one task merged in.

use crate::model::task::{ContainerOverride, TaskOverride};
use crate::model::task_definition::{ContainerDefinition, KeyValuePair, TaskDefinitionContent};
use std::collections::BTreeMap;

/// The override of a container, if it has one.
fn change_of<'a>(
    definition: &ContainerDefinition,
    overrides: &'a TaskOverride,
) -> Option<&'a ContainerOverride> {
    let changes = overrides.container_overrides.as_deref().unwrap_or_default();
    changes.iter().find(|change| change.name == definition.name)
}

/// CPU units of the container.
pub(crate) fn cpu(definition: &ContainerDefinition, overrides: &TaskOverride) -> Option<i64> {
    change_of(definition, overrides).and_then(|change| change.cpu).or(definition.cpu)
}

/// MiB that are kept free for the container: its soft limit, else its hard one.
pub(crate) fn reserved_memory(
    definition: &ContainerDefinition,
    overrides: &TaskOverride,
) -> Option<i64> {
    let change = change_of(definition, overrides);
    let soft = change.and_then(|change| change.memory_reservation);
    let hard = change.and_then(|change| change.memory);
    soft.or(definition.memory_reservation).or(hard).or(definition.memory)
}

/// The container as this task runs it.
pub(crate) fn container(
    definition: &ContainerDefinition,
    overrides: &TaskOverride,
) -> ContainerDefinition {
    let mut effective = definition.clone();
    let Some(change) = change_of(definition, overrides) else { return effective };
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

/// A log configuration without a mode gets that of the account setting `defaultLogDriverMode`.
pub(crate) fn with_log_mode(
    mut definition: ContainerDefinition,
    settings: &BTreeMap<(String, String), String>,
) -> ContainerDefinition {
    // What root sets is the default for all others, and tasks do not know who ran them.
    let set = |((owner, name), _): &(&(String, String), &String)| {
        name == "defaultLogDriverMode" && owner.ends_with(":root")
    };
    if let (Some((_, mode)), Some(log)) =
        (settings.iter().find(set), &mut definition.log_configuration)
    {
        log.options.get_or_insert_default().entry("mode".into()).or_insert_with(|| mode.clone());
    }
    definition
}

/// Replaces the variable of that name, or adds it.
fn put(variables: &mut Vec<KeyValuePair>, variable: &KeyValuePair) {
    match variables.iter_mut().find(|old| old.name == variable.name) {
        Some(old) => old.value.clone_from(&variable.value),
        None => variables.push(variable.clone()),
    }
}

/// The IAM role of the task.
pub(crate) fn task_role(
    content: &TaskDefinitionContent,
    overrides: &TaskOverride,
) -> Option<String> {
    let given = |role: &Option<String>| role.clone().filter(|role| !role.is_empty());
    given(&overrides.task_role_arn).or_else(|| given(&content.task_role_arn))
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
        .map(|definition| cpu(definition, overrides).unwrap_or(0))
        .map(|cpu| u32::try_from(cpu).unwrap_or(0).clamp(2, 262_144))
        .fold(0_u32, u32::saturating_add)
        .max(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> KeyValuePair {
        KeyValuePair { name: Some(name.to_owned()), value: Some(value.to_owned()) }
    }

    #[test]
    fn the_account_says_how_logs_are_delivered_where_a_definition_does_not() {
        use crate::model::task_definition::LogConfiguration;
        let definition = |options: &[(&str, &str)]| ContainerDefinition {
            log_configuration: Some(LogConfiguration {
                log_driver: Some("syslog".into()),
                options: Some(options.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()),
                ..LogConfiguration::default()
            }),
            ..ContainerDefinition::default()
        };
        let key = |owner: &str| (owner.to_owned(), "defaultLogDriverMode".to_owned());
        let settings = BTreeMap::from([
            (key("arn:aws:iam::000000000000:root"), "blocking".to_owned()),
            (key("arn:aws:iam::000000000000:user/x"), "non-blocking".to_owned()),
        ]);
        let mode = |definition, settings: &BTreeMap<_, _>| {
            let effective = with_log_mode(definition, settings);
            effective.log_configuration?.options?.get("mode").cloned()
        };
        assert_eq!(mode(definition(&[]), &settings).as_deref(), Some("blocking"));
        let own = definition(&[("mode", "non-blocking")]);
        assert_eq!(mode(own, &settings).as_deref(), Some("non-blocking"));
        assert_eq!(mode(definition(&[]), &BTreeMap::new()), None);
        assert_eq!(mode(ContainerDefinition::default(), &settings), None);
    }

    #[test]
    fn an_override_changes_its_container_and_no_other() {
        let definition = ContainerDefinition {
            name: Some("app".to_owned()),
            cpu: Some(10),
            memory: Some(64),
            command: Some(vec!["serve".to_owned()]),
            environment: Some(vec![pair("A", "1"), pair("B", "2")]),
            ..ContainerDefinition::default()
        };
        let change = ContainerOverride {
            name: Some("app".to_owned()),
            memory: Some(128),
            command: Some(vec!["check".to_owned()]),
            environment: Some(vec![pair("B", "3"), pair("C", "4")]),
            ..ContainerOverride::default()
        };
        let overrides =
            TaskOverride { container_overrides: Some(vec![change]), ..TaskOverride::default() };

        let effective = container(&definition, &overrides);
        assert_eq!(
            effective.environment,
            Some(vec![pair("A", "1"), pair("B", "3"), pair("C", "4")])
        );
        assert_eq!(effective.command, Some(vec!["check".to_owned()]));
        assert_eq!((effective.cpu, effective.memory), (Some(10), Some(128)));
        assert_eq!(cpu(&definition, &overrides), effective.cpu);
        assert_eq!(reserved_memory(&definition, &overrides), Some(128));

        let other = ContainerDefinition { name: Some("other".to_owned()), ..definition.clone() };
        assert_eq!(container(&other, &overrides), other);
    }

    #[test]
    fn shares_are_those_of_the_task_or_the_sum_of_its_containers() {
        let container = |cpu| ContainerDefinition { cpu, ..ContainerDefinition::default() };
        let mut content = TaskDefinitionContent {
            container_definitions: Some(vec![container(Some(100)), container(None)]),
            ..TaskDefinitionContent::default()
        };
        let none = TaskOverride::default();
        assert_eq!(task_cpu_shares(&content, &none), 102);
        content.cpu = Some("512".to_owned());
        assert_eq!(task_cpu_shares(&content, &none), 512);
        let more = TaskOverride { cpu: Some("1024".to_owned()), ..TaskOverride::default() };
        assert_eq!(
            (task_cpu(&content, &more), task_cpu_shares(&content, &more)),
            (Some(1024), 1024)
        );
    }
}
