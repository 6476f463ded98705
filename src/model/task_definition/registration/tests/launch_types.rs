//! Launch types, and what is derived.

use super::{Registration, accepted, merged, refused, task};
use serde_json::{Value, json};

#[test]
fn fargate_has_rules_of_its_own() {
    let fargate = json!({"requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": "256", "memory": "512"});
    let with = |change: Value| merged(fargate.clone(), &change);
    assert_eq!(
        accepted(&fargate, &json!({})).compatibilities,
        ["EC2", "MANAGED_INSTANCES", "FARGATE"]
    );
    task(&with(json!({"networkMode": "bridge"})), "Fargate only supports network mode ‘awsvpc’.");
    task(&with(json!({"cpu": null})), "Fargate requires that 'cpu' be defined at the task level.");
    task(
        &with(json!({"memory": null})),
        "Fargate requires that 'memory' be defined at the task level.",
    );
    for (cpu, memory) in
        [("256", "3072"), ("128", "512"), ("512", "512"), ("8192", "17408"), ("16384", "33792")]
    {
        task(
            &with(json!({"cpu": cpu, "memory": memory})),
            &format!(
                "No Fargate configuration exists for given values: {cpu} CPU, {memory} memory."
            ),
        );
    }
    for (cpu, memory) in [
        ("1 vCPU", "2 GB"),
        ("4096", "30720"),
        ("8192", "20480"),
        ("16384", "122880"),
        (".25 vcpu", ".5 gb"),
    ] {
        accepted(&with(json!({"cpu": cpu, "memory": memory})), &json!({}));
    }
    task(
        &with(json!({"ipcMode": "task"})),
        "Tasks using the Fargate launch type do not support ipcMode.",
    );
    task(
        &with(json!({"volumes": [{"name": "v", "host": {"sourcePath": "/x"}}]})),
        "Fargate compatible task definitions do not support sourcePath",
    );
    for (member, value) in [
        ("privileged", json!({"privileged": true})),
        ("devices", json!({"linuxParameters": {"devices": [{"hostPath": "/dev/x"}]}})),
        ("sharedMemorySize", json!({"linuxParameters": {"sharedMemorySize": 64}})),
        ("dockerSecurityOptions", json!({"dockerSecurityOptions": ["no-new-privileges"]})),
        ("log driver syslog", json!({"logConfiguration": {"logDriver": "syslog"}})),
    ] {
        refused(
            &fargate,
            &value,
            &format!("Fargate compatible task definitions do not support {member}"),
        );
    }
    refused(
        &fargate,
        &json!({"stopTimeout": 121}),
        "Invalid 'stopTimeout' setting for container 'app'.",
    );
    accepted(&json!({}), &json!({"stopTimeout": 121}));
    let image = "111122223333.dkr.ecr.us-east-1.amazonaws.com/app:1";
    refused(
        &fargate,
        &json!({"image": image}),
        "Fargate requires task definition to have execution role ARN to support ECR images.",
    );
    let log = json!({"logConfiguration": {"logDriver": "awslogs", "options": {
        "awslogs-region": "r", "awslogs-group": "g", "awslogs-stream-prefix": "p"}}});
    refused(
        &fargate,
        &log,
        "Fargate requires task definition to have execution role ARN to support log driver awslogs.",
    );
    accepted(&with(json!({"executionRoleArn": "r"})), &log);
}

#[test]
fn external_and_managed_instances_have_rules_of_their_own() {
    let external =
        |change: Value| merged(json!({"requiresCompatibilities": ["EXTERNAL"]}), &change);
    accepted(&external(json!({})), &json!({}));
    task(
        &external(json!({"networkMode": "awsvpc"})),
        "not supported when requiresCompatibilities contains EXTERNAL",
    );
    task(
        &external(
            json!({"volumes": [{"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}]}),
        ),
        "EFSVolumeConfiguration is not supported",
    );
    task(&external(json!({"enableFaultInjection": true})), "enableFaultInjection is not supported");
    task(
        &json!({"requiresCompatibilities": ["MANAGED_INSTANCES"]}),
        "Managed Instances only support network modes",
    );
    let awsvpc = accepted(&json!({"networkMode": "awsvpc"}), &json!({}));
    assert_eq!(awsvpc.compatibilities, ["EC2", "MANAGED_INSTANCES"]);
}

#[test]
fn attributes_are_those_of_published_describe_output() {
    let names = |registration: Registration| -> Vec<String> {
        registration.requires_attributes.into_iter().map(|a| a.name).collect()
    };
    let registration = accepted(
        &json!({"networkMode": "host", "ipcMode": "host", "taskRoleArn": "t", "executionRoleArn": "e"}),
        &json!({
            "image": "111122223333.dkr.ecr.cn-northwest-1.amazonaws.com.cn/app:latest", "privileged": true,
            "linuxParameters": {"devices": [{"hostPath": "/dev/x"}], "sharedMemorySize": 16384},
            "ulimits": [{"name": "memlock", "softLimit": -1, "hardLimit": -1}],
            "logConfiguration": {"logDriver": "awslogs", "options": {
                "awslogs-group": "g", "awslogs-region": "r", "mode": "non-blocking", "awslogs-create-group": "true"}},
        }),
    );
    assert_eq!(
        names(registration),
        [
            "com.amazonaws.ecs.capability.docker-remote-api.1.17",
            "com.amazonaws.ecs.capability.docker-remote-api.1.18",
            "com.amazonaws.ecs.capability.docker-remote-api.1.19",
            "com.amazonaws.ecs.capability.docker-remote-api.1.22",
            "com.amazonaws.ecs.capability.docker-remote-api.1.28",
            "com.amazonaws.ecs.capability.docker-remote-api.1.29",
            "com.amazonaws.ecs.capability.ecr-auth",
            "com.amazonaws.ecs.capability.logging-driver.awslogs",
            "com.amazonaws.ecs.capability.privileged-container",
            "com.amazonaws.ecs.capability.task-iam-role",
            "com.amazonaws.ecs.capability.task-iam-role-network-host",
            "ecs.capability.execution-role-awslogs",
            "ecs.capability.execution-role-ecr-pull",
            "ecs.capability.pid-ipc-namespace-sharing",
        ]
    );
    let registration = accepted(
        &json!({"networkMode": "awsvpc", "executionRoleArn": "e"}),
        &json!({
            "healthCheck": {"command": ["CMD", "true"]}, "stopTimeout": 5, "memoryReservation": 32,
            "secrets": [
                {"name": "A", "valueFrom": "/parameter"},
                {"name": "B", "valueFrom": "arn:aws:secretsmanager:r:111122223333:secret:x"}],
        }),
    );
    assert_eq!(
        names(registration),
        [
            "com.amazonaws.ecs.capability.docker-remote-api.1.18",
            "com.amazonaws.ecs.capability.docker-remote-api.1.21",
            "com.amazonaws.ecs.capability.docker-remote-api.1.24",
            "ecs.capability.container-health-check",
            "ecs.capability.container-ordering",
            "ecs.capability.secrets.asm.environment-variables",
            "ecs.capability.secrets.ssm.environment-variables",
            "ecs.capability.task-eni",
        ]
    );
}
