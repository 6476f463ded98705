#![allow(clippy::needless_pass_by_value, reason = "what `json!` makes is handed over")]
use super::*;
use crate::model::{Service, ServiceRevision, TaskDefinition};
use crate::plan::Change;
use serde_json::{Value, json};

fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A world of records, as they would be stored.
#[derive(Default)]
struct Records(World);

impl Records {
    fn new() -> Self {
        let mut records = Self::default();
        records.cluster("default", json!(null));
        records
    }

    fn cluster(&mut self, name: &str, connect: Value) {
        self.0.apply(&Change::PutCluster(of(json!({
            "name": name, "active": true, "createdAt": 0, "serviceConnectDefaults": connect,
        }))));
    }

    fn definition(&mut self, family: &str, mode: &str, containers: Value) {
        let content = json!({
            "family": family, "networkMode": mode, "containerDefinitions": containers,
        });
        let content: crate::model::task_definition::TaskDefinitionContent = of(content);
        let mut definition = TaskDefinition {
            family: Family::new(family).unwrap(),
            revision: crate::model::Revision(1),
            content,
            ..template()
        };
        definition.content.network_mode = Some(mode.to_owned());
        self.0.apply(&Change::PutTaskDefinition(Box::new(definition)));
    }

    fn service(&mut self, name: &str, status: &str, revision: Value) {
        let key = json!({"cluster": "default", "name": name});
        let mut record = json!({
            "id": format!("rev-{name}"), "taskDefinition": {"family": "web", "revision": 1}, "createdAt": 0,
        });
        merge(&mut record, &key);
        merge(&mut record, &revision);
        self.0.apply(&Change::PutServiceRevision(Box::new(of::<ServiceRevision>(record))));
        let deployment = json!({
            "id": format!("dep-{name}"), "serviceRevision": format!("rev-{name}"),
            "serviceDeployment": "sd", "rolloutState": "COMPLETED", "rolloutStateReason": "",
            "failedTasks": 0, "createdAt": 0, "updatedAt": 0,
        });
        let mut service = json!({
            "status": status, "schedulingStrategy": "REPLICA", "desiredCount": 1,
            "deployments": [deployment], "createdAt": 0,
            "deploymentConfiguration": {"maximumPercent": 200, "minimumHealthyPercent": 100},
        });
        merge(&mut service, &key);
        self.0.apply(&Change::PutService(Box::new(of::<Service>(service))));
    }

    /// A running task whose containers have these addresses; `changes` replace members of the record.
    fn task(&mut self, id: &str, family: &str, addresses: &[(&str, &str)], changes: Value) {
        let containers: Vec<Value> = addresses
            .iter()
            .map(|(name, address)| {
                let interface = json!({"privateIpv4Address": address, "ipv6Address": "fd00::5"});
                json!({
                    "id": name, "name": name, "image": "i", "lastStatus": "RUNNING",
                    "networkInterfaces": if address.is_empty() { json!([]) } else { json!([interface]) },
                })
            })
            .collect();
        let mut task = json!({
            "id": id, "cluster": "default", "containerInstance": "box",
            "taskDefinition": {"family": family, "revision": 1}, "generation": 1, "desiredStatus": "RUNNING",
            "lastStatus": "RUNNING", "containers": containers, "version": 1, "launchType": "EC2",
            "createdAt": 0,
        });
        merge(&mut task, &changes);
        self.0.apply(&Change::PutTask(Box::new(of::<Task>(task))));
    }

    fn find(&self, name: &str) -> Found {
        find(&self.0, "internal", name)
    }

    /// Hosts of a known name, each with its ports.
    fn hosts(&self, name: &str) -> Vec<(String, Vec<u16>)> {
        match self.find(name) {
            Found::Known { targets, .. } => targets
                .into_iter()
                .map(|target| (target.host, target.ports.iter().map(|p| p.number).collect()))
                .collect(),
            other => panic!("{name}: {other:?}"),
        }
    }
}

fn template() -> TaskDefinition {
    of(json!({
        "family": "x", "revision": 1, "status": "ACTIVE", "registeredAt": 0,
        "content": {"family": "x"},
    }))
}

fn merge(to: &mut Value, from: &Value) {
    to.as_object_mut().unwrap().extend(from.as_object().unwrap().clone());
}

fn member(service: &str) -> Value {
    json!({"service": {"assignment": "a", "name": service, "deployment": "d"}})
}

fn nobody(zone: &str) -> Found {
    Found::Nobody { zone: zone.to_owned() }
}

fn web() -> Value {
    json!([{"name": "web", "portMappings": [
        {"containerPort": 80, "name": "http"}, {"containerPort": 9000, "name": "admin"},
        {"containerPort": 9000, "protocol": "udp", "name": "beacon"},
        {"containerPortRange": "7000-7010"}]}])
}

#[test]
fn a_service_is_where_its_serving_tasks_are() {
    let mut records = Records::new();
    records.definition("web", "awsvpc", web());
    records.service("Web", "ACTIVE", json!({}));
    assert_eq!(records.hosts("web.default.internal"), []);
    records.task("a1", "web", &[("web", "10.9.0.5")], member("Web"));
    for (id, changes) in [
        ("b1", json!({"lastStatus": "PENDING"})),
        ("b2", json!({"lastStatus": "STOPPED"})),
        ("b3", json!({"desiredStatus": "STOPPED"})),
        ("b4", json!({"healthStatus": "UNHEALTHY"})),
    ] {
        let mut changes = changes;
        merge(&mut changes, &member("Web"));
        records.task(id, "web", &[("web", "10.9.0.6")], changes);
    }
    let all = vec![("a1.default.internal".to_owned(), vec![80, 9000, 9000])];
    for name in ["web.default.internal", "WEB.Default.INTERNAL", "Web.default.internal"] {
        assert_eq!(records.hosts(name), all, "{name}");
    }
    let Found::Known { zone, targets, ports_only } = records.find("web.default.internal") else {
        panic!("it is known");
    };
    assert_eq!((zone.as_str(), ports_only), ("default.internal", false));
    let place = Place::Own { ipv4: Some(Ipv4Addr::new(10, 9, 0, 5)), ipv6: "fd00::5".parse().ok() };
    assert_eq!(targets[0].place, place);

    // Deleted, and gone.
    records.service("Web", "DRAINING", json!({}));
    assert_eq!(records.hosts("web.default.internal").len(), 1);
    records.service("Web", "INACTIVE", json!({}));
    assert_eq!(records.find("web.default.internal"), nobody("default.internal"));
}

#[test]
fn a_task_whose_health_is_checked_is_found_once_it_is_healthy() {
    let mut records = Records::new();
    let check = |command: Value| json!([{"name": "web", "healthCheck": {"command": command}}]);
    records.definition("web", "awsvpc", check(json!(["CMD", "true"])));
    records.definition("free", "awsvpc", check(json!(["NONE"])));
    records.service("web", "ACTIVE", json!({}));
    records.service("free", "ACTIVE", json!({}));
    records.task("a1", "web", &[("web", "10.9.0.5")], member("web"));
    records.task("a2", "free", &[("web", "10.9.0.6")], member("free"));
    assert_eq!(records.hosts("web.default.internal"), []);
    assert_eq!(records.hosts("a1.default.internal").len(), 1, "its own name has it all the same");
    assert_eq!(records.hosts("free.default.internal").len(), 1);
    let mut healthy = member("web");
    merge(&mut healthy, &json!({"healthStatus": "HEALTHY"}));
    records.task("a1", "web", &[("web", "10.9.0.5")], healthy);
    assert_eq!(records.hosts("web.default.internal").len(), 1);
}

#[test]
fn what_is_in_no_cluster_is_elsewhere() {
    let mut records = Records::new();
    for name in [
        "",
        "internal",
        ".internal",
        "example.com",
        "metadata.google.internal",
        "other.internal",
        "defaultinternal",
        "xdefault.internal",
        "default.internal.example",
        "\\195.internal",
        "ip-10-9-0-5.internal",
        "5.0.9.10.in-addr.arpa",
    ] {
        assert_eq!(records.find(name), Found::Elsewhere, "{name}");
    }
    for name in ["web.default.internal", "a.b.c.default.internal", "..default.internal"] {
        assert_eq!(records.find(name), nobody("default.internal"), "{name}");
    }
    assert_eq!(records.hosts("default.internal"), []);
    records.0.clusters.values_mut().for_each(|cluster| cluster.active = false);
    assert_eq!(records.find("web.default.internal"), Found::Elsewhere);
}

#[test]
fn containers_of_bridge_mode_are_in_places_of_their_own() {
    let mut records = Records::new();
    let containers = json!([
        {"name": "web", "portMappings": [{"containerPort": 80}]},
        {"name": "sidecar", "essential": false},
        {"name": "cut-off", "disableNetworking": true}]);
    records.definition("pod", "bridge", containers);
    let addresses = [("web", "10.9.0.5"), ("sidecar", "10.9.0.6"), ("cut-off", "")];
    records.task("ab12", "pod", &addresses, json!({}));
    let web = ("web.ab12.default.internal".to_owned(), vec![80]);
    assert_eq!(records.hosts("ab12.default.internal"), std::slice::from_ref(&web));
    assert_eq!(records.hosts("AB12.default.internal"), std::slice::from_ref(&web));
    assert_eq!(records.hosts("web.ab12.default.internal"), [web]);
    let sidecar = ("sidecar.ab12.default.internal".to_owned(), vec![]);
    assert_eq!(records.hosts("sidecar.ab12.default.internal"), [sidecar]);
    for name in ["cut-off.ab12", "none.ab12", "web.none", "x.web.ab12"] {
        let name = format!("{name}.default.internal");
        assert_eq!(records.find(&name), nobody("default.internal"), "{name}");
    }
    let address = "10.9.0.6".parse().unwrap();
    let name = of_address(&records.0, "internal", address).unwrap();
    assert_eq!(name, "sidecar.ab12.default.internal");
    assert_eq!(of_address(&records.0, "internal", "10.9.0.7".parse().unwrap()), None);

    // Without any port the essential ones are meant.
    records.definition(
        "quiet",
        "bridge",
        json!([{"name": "a"}, {"name": "b", "essential": false}]),
    );
    records.task("cd34", "quiet", &[("a", "10.9.0.8"), ("b", "10.9.0.9")], json!({}));
    assert_eq!(
        records.hosts("cd34.default.internal"),
        [("a.cd34.default.internal".to_owned(), vec![])]
    );
}

#[test]
fn a_task_in_host_mode_is_where_the_box_is() {
    let mut records = Records::new();
    records.definition("web", "host", web());
    records.definition("none", "none", web());
    records.task("ab12", "web", &[("web", "")], json!({}));
    records.task("cd34", "none", &[("web", "")], json!({}));
    let Found::Known { targets, .. } = records.find("ab12.default.internal") else {
        panic!("it is known");
    };
    assert_eq!((targets.len(), targets[0].place), (1, Place::Box));
    assert_eq!(targets[0].host, "ab12.default.internal");
    assert_eq!(records.hosts("cd34.default.internal"), [], "it has no network");
    // What another box runs is not to be reached here.
    records.0.settings.this_instance = crate::model::ContainerInstanceId::new("other").ok();
    assert_eq!(records.hosts("ab12.default.internal"), []);
}

#[test]
fn a_family_is_where_its_standalone_tasks_are_unless_a_service_has_the_name() {
    let mut records = Records::new();
    records.definition("web", "awsvpc", web());
    assert_eq!(records.find("web.default.internal"), nobody("default.internal"));
    records.task("a1", "web", &[("web", "10.9.0.5")], json!({}));
    records.task("a2", "web", &[("web", "10.9.0.6")], json!({"lastStatus": "PENDING"}));
    records.task("a3", "web", &[("web", "10.9.0.7")], member("other"));
    assert_eq!(records.hosts("WEB.default.internal").len(), 1);
    records.service("web", "ACTIVE", json!({}));
    assert_eq!(records.hosts("web.default.internal"), []);
}

#[test]
fn ports_have_names() {
    let mut records = Records::new();
    records.definition("web", "awsvpc", web());
    records.service("web", "ACTIVE", json!({}));
    records.task("a1", "web", &[("web", "10.9.0.5")], member("web"));
    let ports = |name: &str| {
        let hosts = records.hosts(&format!("{name}.web.default.internal"));
        hosts.into_iter().flat_map(|(_, ports)| ports).collect::<Vec<_>>()
    };
    assert_eq!(ports("_http._tcp"), [80]);
    assert_eq!(ports("_HTTP._TCP"), [80]);
    assert_eq!(ports("_beacon._udp"), [9000]);
    assert_eq!(ports("_beacon._tcp"), [0_u16; 0]);
    let found = records.find("_http._tcp.web.default.internal");
    assert!(matches!(found, Found::Known { ports_only: true, .. }));
    assert_eq!(records.find("_http._sctp.web.default.internal"), nobody("default.internal"));
    assert_eq!(records.find("_http._tcp.none.default.internal"), nobody("default.internal"));
}

#[test]
fn service_connect_gives_names_to_ports() {
    let mut records = Records::new();
    records.definition("web", "awsvpc", web());
    let connect = json!({"enabled": true, "namespace": "arn:aws:x:y:z:namespace/shop", "services": [
        {"portName": "http", "discoveryName": "front",
         "clientAliases": [{"port": 80, "dnsName": "shop-front"}, {"port": 80}, {"port": 80, "dnsName": "www.shop.example"}]},
        {"portName": "admin"}, {"discoveryName": "nothing"}]});
    records.service("web", "ACTIVE", json!({"serviceConnectConfiguration": connect}));
    let port = |port| vec![("a1.default.internal".to_owned(), vec![port])];
    assert_eq!(records.hosts("front.shop"), []);
    records.task("a1", "web", &[("web", "10.9.0.5")], member("web"));
    for name in [
        "front.shop",
        "FRONT.Shop",
        "shop-front",
        "shop-front.shop",
        "www.shop.example",
        "front.default.internal",
        "shop-front.default.internal",
    ] {
        assert_eq!(records.hosts(name), port(80), "{name}");
    }
    assert_eq!(records.hosts("admin.shop"), port(9000));
    for name in ["front", "other.shop", "http.shop", "shop", "www.shop.example.org"] {
        assert_eq!(records.find(name), Found::Elsewhere, "{name}");
    }

    // The namespace of the cluster, and a configuration that is switched off.
    records.cluster("default", json!({"namespace": "shop"}));
    let connect = |enabled: bool| {
        let services = json!([{"portName": "http"}]);
        json!({"serviceConnectConfiguration": {"enabled": enabled, "services": services}})
    };
    records.service("web", "ACTIVE", connect(true));
    assert_eq!(records.hosts("http.shop"), port(80));
    records.service("web", "ACTIVE", connect(false));
    assert_eq!(records.find("http.shop"), Found::Elsewhere);
}

#[test]
fn a_service_registry_gives_a_name_to_a_container() {
    let mut records = Records::new();
    let containers = json!([
        {"name": "web", "portMappings": [{"containerPort": 80}]}, {"name": "metrics", "portMappings": [{"containerPort": 9100}]}]);
    records.definition("web", "bridge", containers);
    let registry = |members: Value| {
        let mut registry = json!({"registryArn": "arn:aws:servicediscovery:l:0:service/srv-shop"});
        merge(&mut registry, &members);
        json!({"serviceRegistries": [registry]})
    };
    let addresses = [("web", "10.9.0.5"), ("metrics", "10.9.0.6")];
    records.task("ab12", "web", &addresses, member("web"));
    let name = "srv-shop.default.internal";
    records.service("web", "ACTIVE", registry(json!({})));
    let hosts: Vec<_> = records.hosts(name).into_iter().map(|(host, _)| host).collect();
    assert_eq!(hosts, ["web.ab12.default.internal", "metrics.ab12.default.internal"]);
    let metrics = json!({"containerName": "metrics", "containerPort": 9100});
    records.service("web", "ACTIVE", registry(metrics));
    assert_eq!(records.hosts(name), [("metrics.ab12.default.internal".to_owned(), vec![9100])]);
    // Two services may have the same registry.
    records.service(
        "more",
        "ACTIVE",
        registry(json!({"containerName": "web", "containerPort": 80})),
    );
    records.task("cd34", "web", &[("web", "10.9.0.7"), ("metrics", "10.9.0.8")], member("more"));
    let hosts: Vec<_> = records.hosts(name).into_iter().map(|(host, _)| host).collect();
    assert_eq!(hosts, ["web.cd34.default.internal", "metrics.ab12.default.internal"]);

    // A port that the definition no longer has.
    records.service("more", "INACTIVE", json!({}));
    let gone = json!({"containerName": "metrics", "containerPort": 9200});
    records.service("web", "ACTIVE", registry(gone));
    assert_eq!(records.hosts(name), []);
    records.definition(
        "web",
        "awsvpc",
        json!([{"name": "web", "portMappings": [{"containerPort": 80}]}]),
    );
    records.service(
        "web",
        "ACTIVE",
        registry(json!({"containerName": "web", "containerPort": 80})),
    );
    assert_eq!(records.hosts(name), [("ab12.default.internal".to_owned(), vec![80])]);
}

#[test]
fn the_private_name_of_an_address_is_known_to_others_as_well() {
    let mut records = Records::new();
    records.definition("web", "awsvpc", web());
    records.task("a1", "web", &[("web", "10.9.0.5")], json!({}));
    assert_eq!(records.hosts("ip-10-9-0-5.internal").len(), 1);
    for name in
        ["ip-10-9-0-6.internal", "ip-10-9-0-05.internal", "ip-10-9-0.internal", "ip-.internal"]
    {
        assert_eq!(records.find(name), Found::Elsewhere, "{name}");
    }
}
