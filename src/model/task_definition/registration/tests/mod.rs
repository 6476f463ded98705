//! Each rule by a definition that breaks it, and by one that just does not.

mod container;
mod launch_types;
mod network;
mod resources;

use super::{Registration, RegistrationError, register};
use crate::model::tag::Tag;
use serde_json::{Value, json};

/// `base` with the members of `change`; `null` takes a member away.
fn merged(mut base: Value, change: &Value) -> Value {
    for (key, value) in change.as_object().unwrap() {
        if value.is_null() {
            base.as_object_mut().unwrap().remove(key);
        } else {
            base[key] = value.clone();
        }
    }
    base
}

/// A definition that registers, changed; its only container is changed too.
fn definition(task: &Value, container: &Value) -> Value {
    let base = json!({"name": "app", "image": "busybox:1", "memory": 64});
    merged(json!({"family": "f", "containerDefinitions": [merged(base, container)]}), task)
}

fn outcome(document: Value) -> Result<Registration, RegistrationError> {
    register(serde_json::from_value(document).unwrap(), &[])
}

/// Refused with a text that holds `expected`.
fn refused(task: &Value, container: &Value, expected: &str) {
    match outcome(definition(task, container)) {
        Err(error) => {
            assert!(error.to_string().contains(expected), "{error} instead of {expected}");
        }
        Ok(_) => panic!("accepted, but expected: {expected}\n{task}\n{container}"),
    }
}

fn accepted(task: &Value, container: &Value) -> Registration {
    outcome(definition(task, container))
        .unwrap_or_else(|error| panic!("{error}\n{task}\n{container}"))
}

fn task(change: &Value, expected: &str) {
    refused(change, &json!({}), expected);
}

fn container(change: &Value, expected: &str) {
    refused(&json!({}), change, expected);
}

#[test]
fn the_smallest_definition_registers_with_defaults() {
    let registration = accepted(&json!({}), &json!({}));
    assert_eq!(registration.family.as_str(), "f");
    assert_eq!(registration.compatibilities, ["EXTERNAL", "EC2"]);
    assert_eq!(registration.requires_attributes, []);
    assert_eq!(
        serde_json::to_value(&registration.content).unwrap(),
        json!({
            "containerDefinitions": [{
                "name": "app", "image": "busybox:1", "memory": 64, "cpu": 0, "essential": true,
                "portMappings": [], "environment": [], "mountPoints": [], "volumesFrom": [], "systemControls": []
            }],
            "volumes": [], "placementConstraints": []
        })
    );
}

#[test]
fn families_are_checked() {
    task(&json!({"family": null}), "Family should not be null or empty.");
    task(&json!({"family": ""}), "Family should not be null or empty.");
    task(&json!({"family": "a b"}), "Family contains invalid characters.");
    task(&json!({"family": "a".repeat(256)}), "Family too long.");
    accepted(&json!({"family": "a".repeat(255)}), &json!({}));
}

#[test]
fn enumerations_of_the_task_are_checked() {
    task(
        &json!({"networkMode": "default"}),
        "NetworkMode should be one of [bridge,host,awsvpc,none]",
    );
    task(&json!({"pidMode": "all"}), "PidMode should be one of [host,task]");
    task(&json!({"ipcMode": "all"}), "IpcMode should be one of [host,task,none]");
    task(&json!({"requiresCompatibilities": ["LAMBDA"]}), "Compatibility should be one of");
    task(
        &json!({"runtimePlatform": {"cpuArchitecture": "RISCV"}}),
        "CPUArchitecture should be one of",
    );
    task(
        &json!({"runtimePlatform": {"operatingSystemFamily": "PLAN9"}}),
        "OSFamily should be one of",
    );
    assert!(matches!(
        outcome(definition(&json!({"networkMode": "x"}), &json!({}))),
        Err(RegistrationError::InvalidParameter(_))
    ));
    // Blanks are absent.
    accepted(
        &json!({"networkMode": "", "pidMode": "", "ipcMode": "", "cpu": "", "taskRoleArn": ""}),
        &json!({}),
    );
}

#[test]
fn roles_placement_and_proxy_are_checked() {
    for role in
        ["arn:aws:iam::1:role/x", "arn:aws:s3:::b", "a b", "arn:aws:iam::111122223333:user/x"]
    {
        task(&json!({"taskRoleArn": role}), "Role is not valid");
    }
    accepted(&json!({"executionRoleArn": "arn:aws-cn:iam::111122223333:role/path/x"}), &json!({}));
    accepted(&json!({"executionRoleArn": "ecsTaskExecutionRole"}), &json!({}));
    task(
        &json!({"placementConstraints": [{"type": "distinctInstance"}]}),
        "Placement constraint type",
    );
    task(&json!({"placementConstraints": [{"type": "memberOf"}]}), "expression should not be null");
    let constraint = json!({"type": "memberOf", "expression": "attribute:x == y"});
    task(
        &json!({"placementConstraints": vec![constraint.clone(); 11]}),
        "at most 10 placement constraints",
    );
    accepted(&json!({"placementConstraints": [constraint]}), &json!({}));
    task(
        &json!({"proxyConfiguration": {"containerName": "app"}}),
        "only supported when networkMode=awsvpc",
    );
    task(
        &json!({"inferenceAccelerators": [{"deviceName": "d", "deviceType": "t"}]}),
        "no longer available",
    );
    task(&json!({"ephemeralStorage": {"sizeInGiB": 20}}), "between 21 and 200");
}

#[test]
fn tags_are_checked() {
    let tag =
        |key: &str, value: &str| Tag { key: Some(key.to_owned()), value: Some(value.to_owned()) };
    let with = |tags: &[Tag]| {
        register(serde_json::from_value(definition(&json!({}), &json!({}))).unwrap(), tags)
            .map_err(|error| error.to_string())
    };
    assert!(with(&[tag("team", ""), tag("größe", "a b_.:/=+-@")]).is_ok());
    for (tags, expected) in [
        (vec![tag("", "v")], "between 1 and 128"),
        (vec![tag(&"k".repeat(129), "v")], "between 1 and 128"),
        (vec![tag("k", &"v".repeat(257))], "at most 256"),
        (vec![tag("k!", "v")], "can only contain"),
        (vec![tag("AWS:k", "v")], "reserved for system use"),
        (vec![tag("k", "v"), tag("k", "w")], "Duplicate tag keys found: k."),
        ((0..51).map(|n| tag(&n.to_string(), "v")).collect(), "maximum number of tags"),
    ] {
        let error = with(&tags).unwrap_err();
        assert!(error.contains(expected), "{error} instead of {expected}");
    }
}

#[test]
fn the_whole_is_bounded() {
    let value = "v".repeat(70_000);
    container(
        &json!({"environment": [{"name": "N", "value": value}]}),
        "Max allowed length is '65536' bytes.",
    );
}
