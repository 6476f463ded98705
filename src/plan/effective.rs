//! A definition with the overrides of one task merged in.

use crate::model::task::{ContainerOverride, TaskOverride};
use crate::model::task_definition::{
    ContainerDefinition, KeyValuePair, MountPoint, TaskDefinitionContent,
};
use std::collections::{BTreeMap, BTreeSet};

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

/// The mount points that a container has by `volumesFrom`: those of the containers named there, with what they have from
/// others in turn. For one path its own mount counts, then that of the container named last.
pub(crate) fn inherited_mounts(
    content: &TaskDefinitionContent,
    container: &ContainerDefinition,
) -> Vec<MountPoint> {
    let mut mounts = Vec::new();
    // Registration refuses cycles; one that came by another way must not hang anything.
    let mut seen = BTreeSet::from([container.name.as_deref().unwrap_or_default()]);
    inherit(content, container, false, &mut seen, &mut mounts);
    let own: BTreeSet<_> =
        container.mount_points.iter().flatten().map(|m| m.container_path.as_deref()).collect();
    mounts.retain(|mount| !own.contains(&mount.container_path.as_deref()));
    mounts
}

fn inherit<'a>(
    content: &'a TaskDefinitionContent,
    container: &'a ContainerDefinition,
    read_only: bool,
    above: &mut BTreeSet<&'a str>,
    mounts: &mut Vec<MountPoint>,
) {
    for from in container.volumes_from.iter().flatten() {
        let name = from.source_container.as_deref().unwrap_or_default();
        let mut all = content.container_definitions.iter().flatten();
        let Some(source) = all.find(|c| c.name.as_deref() == Some(name)) else { continue };
        if !above.insert(name) {
            continue;
        }
        let read_only = read_only || from.read_only == Some(true);
        inherit(content, source, read_only, above, mounts);
        for point in source.mount_points.iter().flatten() {
            mounts.retain(|known| known.container_path != point.container_path);
            let mut point = point.clone();
            if read_only {
                point.read_only = Some(true);
            }
            mounts.push(point);
        }
        above.remove(name);
    }
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
    fn mounts_of_other_containers_are_inherited() {
        let mount = |path: &str, volume: &str, read_only| MountPoint {
            container_path: Some(path.to_owned()),
            source_volume: Some(volume.to_owned()),
            read_only: Some(read_only),
        };
        let from = |name: &str, read_only| crate::model::task_definition::VolumeFrom {
            source_container: Some(name.to_owned()),
            read_only: Some(read_only),
        };
        let container = |name: &str, mounts: Vec<MountPoint>, sources| ContainerDefinition {
            name: Some(name.to_owned()),
            mount_points: Some(mounts),
            volumes_from: Some(sources),
            ..ContainerDefinition::default()
        };
        let first =
            container("a", vec![mount("/a", "va", false), mount("/x", "vx", false)], vec![]);
        let second = container("b", vec![mount("/b", "vb", true)], vec![from("a", false)]);
        let third = container("c", vec![mount("/x", "own", false)], vec![from("b", true)]);
        let other = container("d", vec![mount("/a", "later", false)], vec![]);
        let both = container("e", vec![], vec![from("a", false), from("d", false)]);
        // No registration lets this one pass.
        let itself = container("f", vec![mount("/f", "vf", false)], vec![from("f", false)]);
        let content = TaskDefinitionContent {
            container_definitions: Some(vec![
                first,
                second.clone(),
                third.clone(),
                other,
                both.clone(),
                itself.clone(),
            ]),
            ..TaskDefinitionContent::default()
        };
        assert_eq!(
            inherited_mounts(&content, &second),
            [mount("/a", "va", false), mount("/x", "vx", false)]
        );
        assert_eq!(
            inherited_mounts(&content, &third),
            [mount("/a", "va", true), mount("/b", "vb", true)]
        );
        assert_eq!(
            inherited_mounts(&content, &both),
            [mount("/x", "vx", false), mount("/a", "later", false)]
        );
        assert_eq!(inherited_mounts(&content, &itself), []);
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
