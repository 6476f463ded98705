//! Task definitions in short, one line for each container.

use super::number;
use coracle::model::task_definition::{
    ContainerDefinition, ContainerDependency, HealthCheck, PortMapping, RestartPolicy,
    RuntimePlatform, TaskDefinitionContent, VolumeFrom,
};

/// `container NAME image=IMAGE [key=value …]`, and `task key=value …`.
pub(crate) fn parse(family: &str, lines: &[&str]) -> Result<TaskDefinitionContent, String> {
    let mut content = TaskDefinitionContent {
        family: Some(family.to_owned()),
        network_mode: Some("host".to_owned()),
        container_definitions: Some(Vec::new()),
        ..TaskDefinitionContent::default()
    };
    for line in lines {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("container") => {
                let name = words.next().ok_or("a container without a name")?;
                let mut container = ContainerDefinition {
                    name: Some(name.to_owned()),
                    memory: Some(64),
                    ..ContainerDefinition::default()
                };
                for word in words {
                    let (key, value) = word.split_once('=').ok_or(format!("{word:?}"))?;
                    option(&mut container, key, value)?;
                }
                content.container_definitions.get_or_insert_default().push(container);
            }
            Some("task") => {
                for word in words {
                    let (key, value) = word.split_once('=').ok_or(format!("{word:?}"))?;
                    let value = value.to_owned();
                    match key {
                        "network" => content.network_mode = Some(value),
                        "cpu" => content.cpu = Some(value),
                        "memory" => content.memory = Some(value),
                        "architecture" => {
                            content.runtime_platform = Some(RuntimePlatform {
                                cpu_architecture: Some(value),
                                operating_system_family: None,
                            });
                        }
                        _ => return Err(format!("{key:?} of a task is not understood")),
                    }
                }
            }
            _ => return Err(format!("{line:?} is not understood")),
        }
    }
    Ok(content)
}

fn option(container: &mut ContainerDefinition, key: &str, value: &str) -> Result<(), String> {
    match key {
        "image" => container.image = Some(value.to_owned()),
        "cpu" => container.cpu = Some(number(value)?),
        "memory" => container.memory = Some(number(value)?),
        "reserved" => container.memory_reservation = Some(number(value)?),
        "essential" => container.essential = Some(value == "true"),
        "start-timeout" => container.start_timeout = Some(number(value)?),
        "stop-timeout" => container.stop_timeout = Some(number(value)?),
        "port" => {
            container.port_mappings.get_or_insert_default().push(PortMapping {
                container_port: Some(number(value)?),
                host_port: Some(number(value)?),
                ..PortMapping::default()
            });
        }
        "links" => container.links = Some(value.split(',').map(str::to_owned).collect()),
        "after" => {
            for need in value.split(',') {
                let (name, condition) = need.split_once(':').ok_or("after=NAME:CONDITION")?;
                container.depends_on.get_or_insert_default().push(ContainerDependency {
                    container_name: Some(name.to_owned()),
                    condition: Some(condition.to_owned()),
                });
            }
        }
        "volumes-from" => {
            container
                .volumes_from
                .get_or_insert_default()
                .push(VolumeFrom { source_container: Some(value.to_owned()), read_only: None });
        }
        "restart" => {
            // PERIOD, then the codes that are ignored.
            let mut numbers = value.split(',').map(number);
            container.restart_policy = Some(RestartPolicy {
                enabled: Some(true),
                restart_attempt_period: numbers.next().transpose()?,
                ignored_exit_codes: Some(numbers.collect::<Result<_, _>>()?),
            });
        }
        "health" => {
            let mut numbers = value.split(',').map(number);
            let mut next = || numbers.next().transpose();
            container.health_check = Some(HealthCheck {
                command: Some(vec!["CMD-SHELL".to_owned(), "check".to_owned()]),
                interval: next()?,
                timeout: Some(2),
                retries: next()?,
                start_period: next()?,
            });
        }
        _ => return Err(format!("{key:?} of a container is not understood")),
    }
    Ok(())
}
