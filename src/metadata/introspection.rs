//! The agent and its tasks, for programs on the box: what ECS's agent answers on port 51678.

use super::answer::{self, Answer};
use super::describe::{definition, docker_name, networks, ports, put, time, volumes};
use super::route::Version;
use crate::model::{Container, DesiredStatus, Task, TaskStatus};
use crate::plan::{World, effective};
use hyper::StatusCode;
use serde_json::{Map, Value, json};

/// Up to this length an id is the beginning of one.
const SHORT_ID: usize = 12;

/// `/v1/metadata`.
pub(super) fn agent(world: &World) -> Answer {
    let this = world.settings.this_instance.as_ref();
    let instance = this.and_then(|id| world.container_instances.get(id));
    let arn = instance
        .map(|instance| world.settings.scope.container_instance(&instance.cluster, &instance.id));
    let content = json!({
        "Cluster": instance.map(|instance| instance.cluster.to_string()).unwrap_or_default(),
        "ContainerInstanceArn": arn,
        "Version": format!("Coracle - v{}", env!("CARGO_PKG_VERSION")),
    });
    answer::json(StatusCode::OK, &content)
}

/// `/v1/tasks`: all of this box, or the one that `taskarn` or `dockerid` names.
pub(super) fn tasks(world: &World, query: &str) -> Answer {
    let value = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| decode(value)).next()
    };
    let here =
        |task: &&Task| Some(&task.container_instance) == world.settings.this_instance.as_ref();
    let mut all = world.tasks.values().filter(here);
    match (value("taskarn"), value("dockerid")) {
        (None, None) => {
            let tasks: Vec<Value> = all.map(|task| one(world, task)).collect();
            answer::json(StatusCode::OK, &json!({ "Tasks": tasks }))
        }
        (Some(arn), None) => {
            let scope = &world.settings.scope;
            found(world, all.find(|task| scope.task(&task.cluster, &task.id) == arn))
        }
        (None, Some(id)) => {
            let is = |container: &Container| {
                let runtime_id = container.runtime_id.as_ref().map_or("", |id| id.as_str());
                !id.is_empty()
                    && (runtime_id == id
                        || (id.len() <= SHORT_ID && runtime_id.starts_with(id.as_str())))
            };
            let mut matching = all.filter(|task| task.containers.iter().any(is));
            match (matching.next(), matching.next()) {
                (Some(_), Some(_)) => nothing(StatusCode::BAD_REQUEST),
                (task, _) => found(world, task),
            }
        }
        (Some(_), Some(_)) => nothing(StatusCode::BAD_REQUEST),
    }
}

fn found(world: &World, task: Option<&Task>) -> Answer {
    match task {
        Some(task) => answer::json(StatusCode::OK, &one(world, task)),
        None => nothing(StatusCode::NOT_FOUND),
    }
}

/// ECS's agent answers an empty task when there is none.
fn nothing(status: StatusCode) -> Answer {
    let empty =
        json!({ "Arn": "", "KnownStatus": "", "Family": "", "Version": "", "Containers": null });
    answer::json(status, &empty)
}

fn one(world: &World, task: &Task) -> Value {
    let containers: Vec<Value> =
        task.containers.iter().map(|container| container_of(world, task, container)).collect();
    let known = match task.last_status {
        TaskStatus::Stopped => "STOPPED",
        status if status >= TaskStatus::Running => "RUNNING",
        _ => "PENDING",
    };
    let mut object = Map::new();
    object.insert("Arn".into(), json!(world.settings.scope.task(&task.cluster, &task.id)));
    // What has ended by itself is not said to be wanted.
    let contradicts = known == "STOPPED" && task.desired_status != DesiredStatus::Stopped;
    put(&mut object, "DesiredStatus", (!contradicts).then_some(task.desired_status.as_str()));
    object.insert("KnownStatus".into(), json!(known));
    object.insert("Family".into(), json!(task.task_definition.family));
    object.insert("Version".into(), json!(task.task_definition.revision.to_string()));
    object.insert("Containers".into(), json!(containers));
    Value::Object(object)
}

fn container_of(world: &World, task: &Task, container: &Container) -> Value {
    let record = definition(world, task);
    let content = record.map(|record| &record.content);
    let of = record
        .and_then(|record| record.container(container.name.as_str()))
        .map(|of| effective::container(of, &task.overrides))
        .unwrap_or_default();
    let mode = content.and_then(|content| content.network_mode.as_deref()).unwrap_or("bridge");
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();

    let mut object = Map::new();
    let id = container.runtime_id.as_ref().map(crate::model::RuntimeId::as_str);
    object.insert("DockerId".into(), json!(text(id)));
    object.insert("DockerName".into(), json!(docker_name(task, container)));
    object.insert("Name".into(), json!(container.name));
    object.insert("Image".into(), json!(container.image));
    let digest = container.image_digest.as_ref().map(crate::model::ImageDigest::as_str);
    object.insert("ImageID".into(), json!(text(digest)));
    put(&mut object, "CreatedAt", container.started_at.map(time));
    put(&mut object, "StartedAt", container.started_at.map(time));
    let ports = ports(container, mode, &of, Version::Three);
    put(&mut object, "Ports", Some(ports).filter(|ports| !ports.is_empty()));
    if mode == "awsvpc" {
        let networks = networks(task, container, mode, Version::Three);
        object.insert("Networks".into(), json!(networks));
    }
    let volumes = volumes(content, &of);
    put(&mut object, "Volumes", Some(volumes).filter(|volumes| !volumes.is_empty()));
    if of.restart_policy.as_ref().is_some_and(|policy| policy.enabled == Some(true)) {
        object.insert("RestartCount".into(), json!(container.restart_count));
    }
    Value::Object(object)
}

/// `%` and two hexadecimal digits are a byte.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        assert_eq!(decode("arn%3Aaws%3Aecs"), "arn:aws:ecs");
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%zz%4"), "%zz%4");
        assert_eq!(decode("%ff"), "\u{fffd}");
    }
}
