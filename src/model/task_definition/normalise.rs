//! Blanks made absent, and the defaults that ECS fills in. Both change nothing when done again.

use super::units::{cpu_units, memory_mib};
use super::{
    ContainerDefinition, HealthCheck, HostVolumeProperties, TaskDefinitionContent, Volume,
};
use crate::model::shape::{Shape, Shaped};
use serde_json::Value;

/// `content` without its empty strings: forms and old consoles write `""` for what is not set.
///
/// Values of `{name, value}` pairs and of maps keep them, there an empty string means one.
pub(super) fn without_blanks(content: TaskDefinitionContent) -> TaskDefinitionContent {
    let Ok(mut value) = serde_json::to_value(&content) else { return content };
    remove_blanks(&mut value, TaskDefinitionContent::shape());
    serde_json::from_value(value).unwrap_or(content)
}

fn remove_blanks(value: &mut Value, shape: Shape) {
    match (value, shape) {
        (Value::Array(items), Shape::List(inner)) => {
            for item in items {
                remove_blanks(item, inner());
            }
        }
        (Value::Object(object), Shape::Structure(members)) => {
            let is_pair = members.len() == 2
                && members.iter().any(|m| m.field == "name")
                && members.iter().any(|m| m.field == "value");
            for member in members {
                let name = member.name();
                let blank = object.get(&name).and_then(Value::as_str) == Some("");
                if blank && !(is_pair && member.field == "value") {
                    object.remove(&name);
                } else if let Some(inner) = object.get_mut(&name) {
                    remove_blanks(inner, (member.shape)());
                }
            }
        }
        _ => {}
    }
}

/// Fills in the defaults of an accepted definition, as a describe of it shows them.
pub(super) fn with_defaults(content: &mut TaskDefinitionContent) {
    // The sizes were parsed when they were validated.
    if let Some(units) = content.cpu.as_deref().and_then(cpu_units) {
        content.cpu = Some(units.to_string());
    }
    if let Some(mib) = content.memory.as_deref().and_then(memory_mib) {
        content.memory = Some(mib.to_string());
    }
    for volume in content.volumes.get_or_insert_default() {
        volume_defaults(volume);
    }
    content.placement_constraints.get_or_insert_default();
    let host_port_is_container_port =
        matches!(content.network_mode.as_deref(), Some("awsvpc" | "host"));
    for container in content.container_definitions.iter_mut().flatten() {
        container_defaults(container, host_port_is_container_port);
    }
}

fn container_defaults(container: &mut ContainerDefinition, host_port_is_container_port: bool) {
    container.cpu.get_or_insert(0);
    container.essential.get_or_insert(true);
    container.environment.get_or_insert_default();
    container.mount_points.get_or_insert_default();
    container.volumes_from.get_or_insert_default();
    container.system_controls.get_or_insert_default();
    for port in container.port_mappings.get_or_insert_default() {
        port.protocol.get_or_insert_with(|| "tcp".to_owned());
        if port.container_port_range.is_none() {
            let default = if host_port_is_container_port { port.container_port } else { None };
            // In host mode 0 stands for "the same".
            if host_port_is_container_port && port.host_port == Some(0) {
                port.host_port = default;
            }
            port.host_port.get_or_insert(default.unwrap_or(0));
        }
    }
    if let Some(HealthCheck { interval, timeout, retries, .. }) = &mut container.health_check {
        interval.get_or_insert(30);
        timeout.get_or_insert(5);
        retries.get_or_insert(3);
    }
}

fn volume_defaults(volume: &mut Volume) {
    if let Some(efs) = &mut volume.efs_volume_configuration {
        efs.root_directory.get_or_insert_with(|| "/".to_owned());
    }
    if let Some(docker) = &mut volume.docker_volume_configuration {
        docker.scope.get_or_insert_with(|| "task".to_owned());
    }
    let kinds = volume.kinds();
    if kinds == 0 {
        volume.host.get_or_insert_with(HostVolumeProperties::default);
    } else if volume.host.as_ref().is_some_and(|host| host.source_path.is_none()) {
        // An empty `host` beside another kind is how describe output and templates write "none".
        volume.host = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn blanks_go_but_empty_values_stay() {
        let content = serde_json::from_value(json!({
            "family": "f", "pidMode": "", "cpu": "",
            "containerDefinitions": [{
                "name": "a", "user": "",
                "environment": [{"name": "EMPTY", "value": ""}],
                "dockerLabels": {"empty": ""},
                "portMappings": [{"containerPort": 80, "appProtocol": ""}],
                "command": [""]
            }]
        }))
        .unwrap();
        let cleaned = serde_json::to_value(without_blanks(content)).unwrap();
        assert_eq!(
            cleaned,
            json!({
                "family": "f",
                "containerDefinitions": [{
                    "name": "a",
                    "environment": [{"name": "EMPTY", "value": ""}],
                    "dockerLabels": {"empty": ""},
                    "portMappings": [{"containerPort": 80}],
                    "command": [""]
                }]
            })
        );
    }

    #[test]
    fn defaults_are_those_of_describe_output() {
        let mut content: TaskDefinitionContent = serde_json::from_value(json!({
            "cpu": "1 vCPU", "memory": "2 GB", "volumes": [{"name": "scratch"}],
            "containerDefinitions": [{
                "name": "a", "image": "i", "healthCheck": {"command": ["CMD", "true"]},
                "portMappings": [{"containerPort": 80}, {"containerPortRange": "90-95"}]
            }]
        }))
        .unwrap();
        with_defaults(&mut content);
        assert_eq!(
            serde_json::to_value(&content).unwrap(),
            json!({
                "cpu": "1024", "memory": "2048", "placementConstraints": [],
                "volumes": [{"name": "scratch", "host": {}}],
                "containerDefinitions": [{
                    "name": "a", "image": "i", "cpu": 0, "essential": true,
                    "portMappings": [
                        {"containerPort": 80, "hostPort": 0, "protocol": "tcp"},
                        {"containerPortRange": "90-95", "protocol": "tcp"}
                    ],
                    "environment": [], "mountPoints": [], "volumesFrom": [], "systemControls": [],
                    "healthCheck": {"command": ["CMD", "true"], "interval": 30, "timeout": 5, "retries": 3}
                }]
            })
        );
        content.network_mode = Some("awsvpc".to_owned());
        content.container_definitions.as_mut().unwrap()[0].port_mappings.as_mut().unwrap()[0]
            .host_port = None;
        with_defaults(&mut content);
        let port = &content.container_definitions.unwrap()[0].port_mappings.clone().unwrap()[0];
        assert_eq!(port.host_port, Some(80));
    }
}
