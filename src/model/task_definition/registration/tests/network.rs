//! Ports, names and order.

use super::{accepted, container, merged, refused, task};
use serde_json::{Value, json};

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
    let both = json!({"containerDefinitions": [
        {"name": "app", "image": "i", "memory": 4, "links": ["side"]},
        {"name": "side", "image": "i", "memory": 4, "dependsOn": [{"containerName": "app", "condition": "START"}]}]});
    task(&both, "Container links and dependencies should not have a cycle");
}

#[test]
fn addresses_are_addresses() {
    let named = |address: &str| json!({"extraHosts": [{"hostname": "h", "ipAddress": address}]});
    container(&named("printer.lan"), "printer.lan is not an IP address.");
    accepted(&json!({}), &named("fd00::1"));
    accepted(&json!({}), &named("host-gateway"));
    refused(&json!({"networkMode": "none"}), &named("host-gateway"), "is not an IP address.");
    container(&json!({"dnsServers": ["dns.lan"]}), "dns.lan is not an IP address.");
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
    task(
        &two(on("side", "HEALTHY"), json!({"healthCheck": {"command": ["NONE"]}})),
        "must have a health check: 'side' has none.",
    );
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
