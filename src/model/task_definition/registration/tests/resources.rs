//! Volumes and Linux.

use super::{accepted, container, refused, task};
use serde_json::{Value, json};

#[test]
fn volumes_and_mounts_are_checked() {
    let volume = |volume: Value| json!({"volumes": [volume]});
    task(&volume(json!({})), "volume.name should not be null or empty.");
    task(&volume(json!({"name": "a/b"})), "volume.name contains invalid characters.");
    task(&json!({"volumes": [{"name": "v"}, {"name": "v"}]}), "Volume names should be unique.");
    task(
        &volume(json!({"name": "v", "host": {"sourcePath": "relative"}})),
        "must be an absolute path",
    );
    task(
        &volume(
            json!({"name": "v", "host": {"sourcePath": "/x"}, "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}),
        ),
        "must have only one kind of volume configuration",
    );
    accepted(&volume(json!({"name": "v", "dockerVolumeConfiguration": {}})), &json!({}));
    task(
        &volume(
            json!({"name": "v", "dockerVolumeConfiguration": {"driver": "local", "autoprovision": true}}),
        ),
        "can only have autoprovision when its scope is shared",
    );
    task(
        &volume(json!({"name": "v", "efsVolumeConfiguration": {}})),
        "fileSystemId should not be null",
    );
    let efs = |root: &str, encryption: &str| {
        volume(
            json!({"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1", "rootDirectory": root,
            "transitEncryption": encryption, "authorizationConfig": {"accessPointId": "fsap-1"}}}),
        )
    };
    task(&efs("/x", "ENABLED"), "the root directory must either be set to \"/\" or be omitted");
    task(&efs("/", "DISABLED"), "EFS transit encryption must be enabled");
    accepted(&efs("/", "ENABLED"), &json!({}));
    let launch = |name: &str| json!({"name": name, "configuredAtLaunch": true});
    task(
        &json!({"volumes": [launch("a"), launch("b")]}),
        "Only one volume can be configured at launch.",
    );
    let mount = |mount: Value| json!({"mountPoints": [mount]});
    container(&mount(json!({"sourceVolume": "v", "containerPath": "/v"})), "Unknown volume 'v'.");
    container(&mount(json!({"containerPath": "/v"})), "Unknown volume 'null'.");
    let v = volume(json!({"name": "v"}));
    refused(&v, &mount(json!({"sourceVolume": "v"})), "containerPath should not be null");
    refused(&v, &mount(json!({"sourceVolume": "v", "containerPath": "v"})), "must be absolute");
    accepted(&v, &mount(json!({"sourceVolume": "v", "containerPath": "/v"})));
    container(
        &json!({"volumesFrom": [{"sourceContainer": "x"}]}),
        "Invalid 'volumesFrom' setting. Unknown container: 'x'.",
    );
    container(&json!({"volumesFrom": [{"sourceContainer": "app"}]}), "should not have a cycle");
}

#[test]
fn linux_parameters_are_checked() {
    let linux = |linux: Value| json!({"linuxParameters": linux});
    container(
        &linux(json!({"capabilities": {"add": ["CAP_SYS_ADMIN"]}})),
        "Invalid kernel capability 'CAP_SYS_ADMIN'.",
    );
    accepted(&json!({}), &linux(json!({"capabilities": {"add": ["SYS_ADMIN"], "drop": ["ALL"]}})));
    container(&linux(json!({"devices": [{}]})), "Device.hostPath should not be null");
    container(
        &linux(json!({"devices": [{"hostPath": "/dev/x", "permissions": ["rw"]}]})),
        "DeviceCgroupPermission should be one of",
    );
    container(
        &linux(json!({"tmpfs": [{"containerPath": "/t"}]})),
        "Tmpfs.size should be a positive number",
    );
    container(
        &linux(json!({"tmpfs": [{"containerPath": "t", "size": 1}]})),
        "Tmpfs.containerPath should be an absolute path",
    );
    container(
        &linux(json!({"tmpfs": [{"containerPath": "/t", "size": 1, "mountOptions": ["fast"]}]})),
        "Invalid tmpfs mount option 'fast'.",
    );
    accepted(
        &json!({}),
        &linux(
            json!({"tmpfs": [{"containerPath": "/t", "size": 1, "mountOptions": ["noexec", "mode=700"]}]}),
        ),
    );
    container(&linux(json!({"swappiness": 101})), "The value must be between 0 and 100.");
    refused(
        &json!({"memory": "64"}),
        &json!({"memory": null, "linuxParameters": {"maxSwap": 1}}),
        "'maxSwap' requires 'memory'",
    );
    let ulimit = |name: &str, soft: i64, hard: i64| json!({"ulimits": [{"name": name, "softLimit": soft, "hardLimit": hard}]});
    container(&ulimit("files", 1, 1), "UlimitName should be one of [core,cpu,");
    container(&ulimit("nofile", 2, 1), "must not be greater than its hardLimit");
    container(&ulimit("nofile", -1, 1), "must not be greater than its hardLimit");
    container(&ulimit("nofile", -2, -1), "must not be negative");
    accepted(&json!({}), &ulimit("memlock", -1, -1));
    accepted(&json!({}), &ulimit("memlock", 5, -1));
    container(&json!({"ulimits": [{"name": "nofile"}]}), "should not be null or empty");
    container(
        &json!({"dockerSecurityOptions": ["seccomp=off"]}),
        "Invalid docker security option 'seccomp=off'.",
    );
    let control =
        |namespace: &str| json!({"systemControls": [{"namespace": namespace, "value": "1"}]});
    container(&control("vm.swappiness"), "Invalid namespace for systemControls: 'vm.swappiness'.");
    for good in ["net.core.somaxconn", "kernel.shmmax", "fs.mqueue.msg_max"] {
        accepted(&json!({}), &control(good));
    }
    refused(
        &json!({"networkMode": "host"}),
        &control("net.core.somaxconn"),
        "is not supported when networkMode=host.",
    );
    refused(
        &json!({"ipcMode": "host"}),
        &control("kernel.shmmax"),
        "is not supported when ipcMode=host.",
    );
    let need = |requirement: Value| json!({"resourceRequirements": [requirement]});
    container(&need(json!({"type": "TPU", "value": "1"})), "ResourceType should be one of");
    container(&need(json!({"type": "GPU", "value": "some"})), "must be a positive whole number");
    container(&need(json!({"type": "GPU"})), "ResourceRequirement.value should not be null");
    container(
        &need(json!({"type": "GPU", "sharingStrategy": {"nvidiaMps": {"memory": 0}}})),
        "nvidiaMps.memory",
    );
}
