//! What runs now is not named, and everything else is.

mod document;

use super::unsupported;
use crate::model::task_definition::TaskDefinitionContent;
use serde_json::{Value, json};

fn fields(document: Value) -> Vec<String> {
    let content: TaskDefinitionContent = serde_json::from_value(document).unwrap();
    let found = unsupported(&content);
    assert!(found.iter().all(|u| !u.remedy.is_empty()));
    found.into_iter().map(|u| u.field).collect()
}

#[test]
fn what_runs_now_is_not_named() {
    let document = r#"{
        "networkMode": "host", "pidMode": "task", "ipcMode": "none", "cpu": "256", "memory": "512", "taskRoleArn": "r", "executionRoleArn": "r",
        "runtimePlatform": {"operatingSystemFamily": "LINUX", "cpuArchitecture": "ARM64"},
        "placementConstraints": [{"type": "memberOf", "expression": "x"}],
        "volumes": [{"name": "a", "host": {"sourcePath": "/x"}}, {"name": "b", "host": {}},
            {"name": "c", "dockerVolumeConfiguration": {"scope": "shared", "autoprovision": true, "driver": "local",
                "driverOpts": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}, "labels": {"a": "b"}}},
            {"name": "d", "dockerVolumeConfiguration": {"scope": "task", "driver": "local"}}],
        "containerDefinitions": [{
            "name": "app", "image": "i", "cpu": 1, "memory": 64, "memoryReservation": 32,
            "entryPoint": ["a"], "command": ["b"], "environment": [{"name": "a", "value": "b"}],
            "mountPoints": [{"sourceVolume": "a", "containerPath": "/a", "readOnly": true}],
            "user": "0", "workingDirectory": "/", "ulimits": [{"name": "nofile", "softLimit": 1, "hardLimit": 1}],
            "readonlyRootFilesystem": true, "hostname": "h", "essential": true, "startTimeout": 1, "stopTimeout": 1,
            "dependsOn": [], "healthCheck": {"command": ["CMD", "true"]}, "dockerLabels": {"a": "b", "coracle.secret-file.B": "/run/b"},
            "versionConsistency": "disabled", "disableNetworking": true, "privileged": true,
            "linuxParameters": {
                "capabilities": {"add": ["SYS_TIME"], "drop": ["ALL"]}, "sharedMemorySize": 64,
                "tmpfs": [{"containerPath": "/t", "size": 1, "mountOptions": ["rw", "mode=700"]}], "devices": [{"hostPath": "/dev/x"}],
                "initProcessEnabled": true, "maxSwap": 0, "swappiness": 10},
            "systemControls": [{"namespace": "kernel.shmmax", "value": "1"}],
            "dockerSecurityOptions": ["no-new-privileges"],
            "portMappings": [{"containerPort": 80, "hostPort": 80, "protocol": "tcp"}, {"containerPortRange": "90-95"}],
            "dnsServers": ["1.1.1.1"], "dnsSearchDomains": ["local"], "extraHosts": [{"hostname": "h", "ipAddress": "1.1.1.1"}],
            "logConfiguration": {"logDriver": "awslogs", "options": {}},
            "restartPolicy": {"enabled": false}, "links": ["other"], "volumesFrom": [{"sourceContainer": "b"}],
            "secrets": [{"name": "A", "valueFrom": "a"}, {"name": "B", "valueFrom": "/b"}],
            "environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::b/k.env"}]
        }]
    }"#;
    assert_eq!(fields(serde_json::from_str(document).unwrap()), Vec::<String>::new());
}

#[test]
fn each_member_that_does_not_run_yet_is_named_by_its_path() {
    assert_eq!(
        fields(json!({
            "networkMode": "none", "enableFaultInjection": true,
            "proxyConfiguration": {}, "ephemeralStorage": {"sizeInGiB": 21},
            "runtimePlatform": {"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"},
            "trustedExecutionConfiguration": {"isolationMode": "ISOLATED_SANDBOX"},
            "volumes": [
                {"name": "a", "dockerVolumeConfiguration": {"driver": "rexray"}},
                {"name": "b", "efsVolumeConfiguration": {}},
                {"name": "c", "configuredAtLaunch": true},
                {"name": "d", "dockerVolumeConfiguration": {"driver": "local", "driverOpts": {"size": "1g"}}},
                {"name": "e", "s3filesVolumeConfiguration": {}},
                {"name": "f", "fsxWindowsFileServerVolumeConfiguration": {}}]
        })),
        [
            "proxyConfiguration",
            "ephemeralStorage",
            "enableFaultInjection",
            "runtimePlatform.operatingSystemFamily",
            "trustedExecutionConfiguration.isolationMode",
            "volumes[0].dockerVolumeConfiguration.driver",
            "volumes[1].efsVolumeConfiguration",
            "volumes[2].configuredAtLaunch",
            "volumes[3].dockerVolumeConfiguration.driverOpts.size",
            "volumes[4].s3filesVolumeConfiguration",
            "volumes[5].fsxWindowsFileServerVolumeConfiguration",
        ]
    );
    for (member, value) in [
        ("dockerLabels", json!({"coracle.secret-file.NOT_A_SECRET": "/x"})),
        ("dockerLabels", json!({"coracle.forward-logs": "yes"})),
        ("resourceRequirements", json!([{"type": "GPU", "value": "1"}])),
        ("firelensConfiguration", json!({"type": "fluentbit"})),
        ("credentialSpecs", json!(["credentialspec:x"])),
        ("dockerSecurityOptions", json!(["apparmor:x"])),
    ] {
        let container = json!({"name": "b", member: value});
        let document =
            json!({"networkMode": "host", "containerDefinitions": [{"name": "a"}, container]});
        assert_eq!(fields(document), [format!("containerDefinitions[1].{member}")]);
    }
    for (path, value) in [
        ("logConfiguration.logDriver", json!({"logConfiguration": {"logDriver": "splunk"}})),
        (
            "linuxParameters.tmpfs[0].mountOptions",
            json!({"linuxParameters": {"tmpfs": [{"containerPath": "/t", "size": 1, "mountOptions": ["remount"]}]}}),
        ),
    ] {
        let document = json!({"networkMode": "host", "containerDefinitions": [value]});
        assert_eq!(fields(document), [format!("containerDefinitions[0].{path}")]);
    }
}
