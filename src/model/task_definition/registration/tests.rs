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
fn ports_follow_the_network_mode() {
    let port = |port: Value| json!({"portMappings": [port]});
    container(&port(json!({})), "Invalid 'containerPort' setting for container 'app'.");
    container(
        &port(json!({"containerPort": 65_536})),
        "Invalid 'containerPort' setting for container 'app'.",
    );
    container(
        &port(json!({"containerPort": 1, "hostPort": -1})),
        "Invalid 'hostPort' setting for container 'app'.",
    );
    container(
        &port(json!({"containerPort": 1, "protocol": "sctp"})),
        "Protocol should be one of [tcp,udp]",
    );
    container(
        &port(json!({"containerPort": 1, "appProtocol": "ftp"})),
        "AppProtocol should be one of",
    );
    container(&port(json!({"containerPort": 1, "name": "-a"})), "Invalid port mapping name '-a'.");
    let differ = port(json!({"containerPort": 80, "hostPort": 81}));
    for mode in ["awsvpc", "host"] {
        refused(
            &json!({"networkMode": mode}),
            &differ,
            &format!(
                "When networkMode={mode}, the host ports and container ports in port mappings must match."
            ),
        );
        let same = accepted(
            &json!({"networkMode": mode}),
            &port(json!({"containerPort": 80, "hostPort": 0})),
        );
        assert_eq!(
            same.content.container_definitions.unwrap()[0].port_mappings.as_ref().unwrap()[0]
                .host_port,
            Some(80)
        );
    }
    accepted(&json!({"networkMode": "bridge"}), &differ);
    refused(
        &json!({"networkMode": "none"}),
        &differ,
        "Port mappings are not supported when networkMode=none.",
    );
    for bad in ["1", "2-1", "0-5", "1-65536", "a-b", "1-1", "+1-2"] {
        container(&port(json!({"containerPortRange": bad})), "Invalid containerPortRange");
    }
    container(
        &port(json!({"containerPortRange": "1-2", "containerPort": 1})),
        "cannot be used together",
    );
    refused(
        &json!({"networkMode": "host"}),
        &port(json!({"containerPortRange": "1-2"})),
        "only supported when networkMode is bridge or awsvpc",
    );
    container(
        &json!({"portMappings": [{"containerPortRange": "1-5"}, {"containerPortRange": "5-6"}]}),
        "must not overlap",
    );
    container(
        &json!({"portMappings": [{"containerPortRange": "1-5"}, {"containerPort": 3}]}),
        "must not overlap",
    );
    accepted(
        &json!({}),
        &json!({"portMappings": [{"containerPortRange": "1-5"}, {"containerPortRange": "5-6", "protocol": "udp"}]}),
    );
}

#[test]
fn names_belong_to_network_modes_with_a_namespace() {
    let awsvpc = json!({"networkMode": "awsvpc"});
    refused(
        &awsvpc,
        &json!({"links": ["app"]}),
        "Links are not supported when networkMode=awsvpc.",
    );
    refused(
        &json!({"networkMode": "host"}),
        &json!({"links": ["app"]}),
        "Links are not supported when networkMode=host.",
    );
    refused(
        &awsvpc,
        &json!({"hostname": "h"}),
        "hostname is not supported on container when networkMode=awsvpc.",
    );
    let hosts = json!({"extraHosts": [{"hostname": "h", "ipAddress": "10.0.0.1"}]});
    refused(&awsvpc, &hosts, "extraHosts is not supported on container when networkMode=awsvpc.");
    refused(
        &awsvpc,
        &json!({"dnsServers": ["1.1.1.1"]}),
        "dnsServers is not supported on container",
    );
    accepted(&json!({}), &hosts);
    container(&json!({"extraHosts": [{"hostname": "h"}]}), "should not be null or empty");
    container(&json!({"links": ["db:d"]}), "Invalid 'links' setting. Unknown container: 'db'.");
    container(&json!({"links": ["app"]}), "Container links should not have a cycle");
}

#[test]
fn dependencies_are_checked() {
    let two = |app: Value, side: Value| {
        let side = merged(json!({"name": "side", "image": "i", "memory": 4}), &side);
        let app = merged(json!({"name": "app", "image": "i", "memory": 4}), &app);
        json!({"containerDefinitions": [app, side]})
    };
    let on = |name: &str, condition: &str| json!({"dependsOn": [{"containerName": name, "condition": condition}]});
    task(
        &two(on("db", "START"), json!({})),
        "Cannot depend on container + 'db' because it does not exist",
    );
    task(
        &two(on("side", "RUNNING"), json!({})),
        "ContainerCondition should be one of [START,COMPLETE,SUCCESS,HEALTHY]",
    );
    for condition in ["COMPLETE", "SUCCESS"] {
        task(
            &two(on("side", condition), json!({})),
            "A dependency container with SUCCESS or COMPLETE condition cannot be an essential container",
        );
        accepted(&two(on("side", condition), json!({"essential": false})), &json!({}));
    }
    task(&two(on("side", "HEALTHY"), json!({})), "must have a health check: 'side' has none.");
    accepted(
        &two(on("side", "HEALTHY"), json!({"healthCheck": {"command": ["CMD", "true"]}})),
        &json!({}),
    );
    task(
        &two(on("side", "START"), on("app", "START")),
        "Container dependencies should not have a cycle",
    );
    task(&two(on("app", "START"), json!({})), "Container dependencies should not have a cycle");
    task(
        &two(json!({"dependsOn": [{"condition": "START"}]}), json!({})),
        "containerName should not be null",
    );
    task(
        &two(json!({"dependsOn": [{"containerName": "side"}]}), json!({})),
        "condition should not be null",
    );
}

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
    task(
        &volume(json!({"name": "v", "dockerVolumeConfiguration": {}})),
        "volume.dockerVolumeConfiguration.driver should not be null or empty.",
    );
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
fn numbers_have_32_bits() {
    container(&json!({"memory": i64::MAX}), "memory should be a whole number of 32 bits.");
    container(
        &json!({"portMappings": [{"containerPort": 1_i64 << 40}]}),
        "containerPort should be a whole number of 32 bits.",
    );
}

#[test]
fn the_whole_is_bounded() {
    let value = "v".repeat(70_000);
    container(
        &json!({"environment": [{"name": "N", "value": value}]}),
        "Max allowed length is '65536' bytes.",
    );
}
