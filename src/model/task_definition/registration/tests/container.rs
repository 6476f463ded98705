//! What a container is and runs.

use super::{accepted, container, merged, refused, task};
use serde_json::{Value, json};

#[test]
fn containers_are_counted_and_named() {
    task(&json!({"containerDefinitions": []}), "Container list cannot be empty.");
    task(&json!({"containerDefinitions": null}), "Container list cannot be empty.");
    let many: Vec<Value> =
        (0..11).map(|n| json!({"name": format!("c{n}"), "image": "i", "memory": 4})).collect();
    task(&json!({"containerDefinitions": many}), "Too many containers.");
    accepted(&json!({"containerDefinitions": many[..10]}), &json!({}));
    let twice = [&many[0], &many[0]];
    task(
        &json!({"containerDefinitions": twice}),
        "Container names must be unique within a Task Definition.",
    );
    container(&json!({"name": null}), "Container.name should not be null or empty.");
    container(&json!({"name": "a.b"}), "Container.name contains invalid characters.");
    container(
        &json!({"essential": false}),
        "Task definition doesn't have any essential container.",
    );
}

#[test]
fn images_are_checked() {
    container(&json!({"image": null}), "Container.image should not be null or empty.");
    container(&json!({"image": ""}), "Container.image should not be null or empty.");
    for bad in ["a b", "<IMAGE>", "a@sha256:12", "a@md5:x", "@sha256:"] {
        container(&json!({"image": bad}), "Container.image contains invalid characters.");
    }
    container(&json!({"image": "a".repeat(256)}), "Container.image repository too long.");
    let digest = format!("registry:5000/a/b_c@sha256:{}", "aF".repeat(32));
    accepted(&json!({}), &json!({"image": digest}));
    container(
        &json!({"versionConsistency": "maybe"}),
        "Version consistency should be one of [enabled,disabled]",
    );
}

#[test]
fn sizes_of_containers_and_task_fit() {
    const NONE: &str = "Invalid setting for container 'app'. At least one of 'memory' or 'memoryReservation' must be specified.";
    container(&json!({"memory": null}), NONE);
    container(&json!({"memory": 0}), NONE);
    accepted(&json!({"memory": "64"}), &json!({"memory": null}));
    accepted(&json!({}), &json!({"memory": null, "memoryReservation": 4}));
    container(&json!({"memory": 3}), "The minimum value for 'memory' is 4.");
    container(
        &json!({"memoryReservation": 65}),
        "'memory' must be greater than or equal to 'memoryReservation'.",
    );
    accepted(&json!({}), &json!({"memoryReservation": 64}));
    container(&json!({"cpu": -1}), "'cpu' must not be negative.");
    task(
        &json!({"memory": "63"}),
        "The 'memory' setting for container 'app' is greater than for the task.",
    );
    task(&json!({"cpu": "127"}), "Invalid 'cpu' setting for task.");
    task(&json!({"cpu": "much"}), "Invalid 'cpu' setting for task.");
    task(&json!({"memory": "much"}), "Invalid 'memory' setting for task.");
    refused(
        &json!({"cpu": "256"}),
        &json!({"cpu": 257}),
        "The sum of all container 'cpu' values cannot be greater",
    );
    refused(
        &json!({"memory": "100", "containerDefinitions": [
            {"name": "a", "image": "i", "memory": 64}, {"name": "b", "image": "i", "memoryReservation": 64}]}),
        &json!({}),
        "The sum of all container 'memoryReservation' values cannot be greater than the value of the task 'memory'.",
    );
    let registration = accepted(&json!({"cpu": ".25 vcpu", "memory": "1GB"}), &json!({}));
    assert_eq!(registration.content.cpu.as_deref(), Some("256"));
    assert_eq!(registration.content.memory.as_deref(), Some("1024"));
}

#[test]
fn processes_are_checked() {
    container(
        &json!({"environment": [{"value": "v"}]}),
        "Environment variable name should not be null or empty.",
    );
    accepted(&json!({}), &json!({"environment": [{"name": "N", "value": ""}, {"name": "M"}]}));
    let file = |value: &str| json!({"environmentFiles": [{"type": "s3", "value": value}]});
    accepted(&json!({}), &file("arn:aws:s3:::bucket/x.env"));
    container(&file("arn:aws:s3:::bucket/x.txt"), "Invalid environment file");
    container(&file("/etc/x.env"), "Invalid environment file");
    let secret = json!({"secrets": [{"name": "S", "valueFrom": "/s"}], "environment": [{"name": "E", "value": "v"}]});
    container(&secret, "you must also specify a value for 'executionRoleArn'.");
    let role = json!({"executionRoleArn": "r"});
    accepted(&role, &secret);
    let twice = json!({"secrets": [{"name": "E", "valueFrom": "/s"}], "environment": [{"name": "E", "value": "v"}]});
    refused(
        &role,
        &twice,
        "The secret name must be unique and not shared with any new or existing environment variables set on the container, such as 'E'.",
    );
    refused(&role, &json!({"secrets": [{"name": "S"}]}), "Secret.name and Secret.valueFrom");
    container(&json!({"user": "a b"}), "'user' is not valid.");
    container(&json!({"user": "-1:0"}), "'user' is not valid.");
    for user in ["root", "0", "0:0", "app:app", "1000:app"] {
        accepted(&json!({}), &json!({"user": user}));
    }
    container(&json!({"stopTimeout": -1}), "'stopTimeout' must not be negative.");
    container(&json!({"credentialSpecs": ["x"]}), "CredentialSpecs must start with");
    container(&json!({"repositoryCredentials": {}}), "credentialsParameter should not be null");
}

#[test]
fn health_checks_and_restarts_have_ranges() {
    let check = |member: &str, value: i64| json!({"healthCheck": {"command": ["CMD", "true"], member: value}});
    for (member, low, high) in
        [("interval", 5, 300), ("timeout", 2, 60), ("retries", 1, 10), ("startPeriod", 0, 300)]
    {
        for outside in [low - 1, high + 1] {
            container(
                &check(member, outside),
                &format!(
                    "Invalid 'healthCheck.{member}' setting for container 'app'. The value must be between {low} and {high}."
                ),
            );
        }
        accepted(&json!({}), &check(member, low));
        accepted(&json!({}), &check(member, high));
    }
    container(&json!({"healthCheck": {}}), "HealthCheck.command should not be null or empty.");
    container(
        &json!({"healthCheck": {"command": ["CMD-SHELL"]}}),
        "needs a command after CMD-SHELL",
    );
    container(&json!({"restartPolicy": {}}), "RestartPolicy.enabled should not be null.");
    for period in [59, 1801] {
        container(
            &json!({"restartPolicy": {"enabled": true, "restartAttemptPeriod": period}}),
            "The value must be between 60 and 1800.",
        );
    }
    let codes: Vec<i64> = (0..51).collect();
    container(
        &json!({"restartPolicy": {"enabled": true, "ignoredExitCodes": codes}}),
        "at most 50 exit codes",
    );
}

#[test]
fn logging_is_checked() {
    let log = |driver: &str, options: Value| json!({"logConfiguration": {"logDriver": driver, "options": options}});
    container(&json!({"logConfiguration": {}}), "logDriver should not be null");
    container(&log("loki", json!({})), "Log driver should be one of [json-file,");
    container(
        &log("awslogs", json!({})),
        "Log driver awslogs requires options: awslogs-region, awslogs-group",
    );
    let full = json!({"awslogs-region": "r", "awslogs-group": "g"});
    accepted(&json!({}), &log("awslogs", full.clone()));
    container(
        &log("awslogs", merged(full.clone(), &json!({"log_key": "x"}))),
        "Log driver awslogs disallows options: log_key",
    );
    container(
        &log("awslogs", merged(full, &json!({"mode": "maybe"}))),
        "Log option mode should be one of",
    );
    container(
        &log("splunk", json!({"splunk-url": "u"})),
        "Log driver splunk requires options: splunk-token",
    );
    container(
        &log("awsfirelens", json!({})),
        "a firelens configuration object must be configured in one of the containers.",
    );
    container(
        &json!({"firelensConfiguration": {"type": "fluentbit"}}),
        "at least one container has to be configured with the awsfirelens log driver.",
    );
    let router = |options: Value| {
        merged(
            log("awsfirelens", json!({})),
            &json!({"firelensConfiguration": {"type": "fluentbit", "options": options}}),
        )
    };
    accepted(&json!({}), &router(json!({"config-file-type": "file", "config-file-value": "/x"})));
    container(
        &router(json!({"config-file-type": "s3", "config-file-value": "s3://x"})),
        "Invalid arn syntax.",
    );
    container(&router(json!({"config-file-type": "file"})), "requires option config-file-value");
}

#[test]
fn numbers_have_32_bits() {
    container(&json!({"memory": i64::MAX}), "memory should be a whole number of 32 bits.");
    container(
        &json!({"portMappings": [{"containerPort": 1_i64 << 40}]}),
        "containerPort should be a whole number of 32 bits.",
    );
}
