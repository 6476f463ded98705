//! The commands of services against small worlds; what the planner makes of them is in `tests/plan_scenarios.rs`.

use super::*;
use crate::model::service::{ServiceDeploymentStatus, ServiceStatus};
use crate::model::{ClusterName, ServiceEvent, ServiceName, Timestamp};
use crate::plan::command::{Command, CreateCluster, Reply, apply};
use crate::plan::{Change, Ids};
use serde_json::json;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

/// A cluster and two revisions of `web`, which names its port 80 `http`; `awsvpc` is of that mode.
struct Small {
    world: World,
    ids: Ids,
}

fn key() -> ServiceKey {
    let cluster = ClusterName::default_cluster();
    ServiceKey { cluster, name: ServiceName::new("web").unwrap() }
}

fn wanted(family: &str, revision: Option<u32>) -> WantedDefinition {
    let family = Family::new(family).unwrap();
    WantedDefinition { family, revision: revision.map(Revision) }
}

fn web() -> CreateService {
    CreateService {
        key: key(),
        task_definition: wanted("web", None),
        scheduling_strategy: SchedulingStrategy::Replica,
        desired_count: Some(2),
        launch_type: None,
        capacity_provider_strategy: Vec::new(),
        platform_version: None,
        network: None,
        deployment_configuration: WantedDeploymentConfiguration::default(),
        placement_constraints: Vec::new(),
        placement_strategy: Vec::new(),
        health_check_grace_period_seconds: None,
        availability_zone_rebalancing: None,
        enable_ecs_managed_tags: false,
        propagate_tags: PropagateTags::None,
        enable_execute_command: false,
        role: None,
        service_registries: Vec::new(),
        service_connect_configuration: None,
        tags: Vec::new(),
        created_by: None,
        client_token: None,
    }
}

fn daemon() -> CreateService {
    let scheduling_strategy = SchedulingStrategy::Daemon;
    CreateService { scheduling_strategy, desired_count: None, ..web() }
}

fn percents(maximum: i64, minimum: i64) -> WantedDeploymentConfiguration {
    WantedDeploymentConfiguration {
        maximum_percent: Some(maximum),
        minimum_healthy_percent: Some(minimum),
        deployment_circuit_breaker: None,
    }
}

impl Small {
    fn new() -> Self {
        let mut small = Self { world: World::default(), ids: Ids::from_seed(7) };
        let cluster = CreateCluster {
            name: ClusterName::default_cluster(),
            tags: Vec::new(),
            settings: Vec::new(),
            configuration: None,
            capacity_providers: Vec::new(),
            default_capacity_provider_strategy: Vec::new(),
            service_connect_defaults: None,
        };
        small.submit(Command::CreateCluster(Box::new(cluster))).unwrap();
        for (family, mode) in [("web", "bridge"), ("web", "bridge"), ("private", "awsvpc")] {
            let content = json!({
                "family": family, "networkMode": mode,
                "containerDefinitions": [{
                    "name": "main", "image": "web", "memory": 64,
                    "portMappings": [{"name": "http", "containerPort": 80}],
                }],
            });
            let register = Command::RegisterTaskDefinition {
                content: Box::new(serde_json::from_value(content).unwrap()),
                tags: Vec::new(),
                registered_by: None,
            };
            small.submit(register).unwrap();
        }
        small
    }

    fn submit(&mut self, command: Command) -> Result<Reply, CommandError> {
        let outcome = apply(&mut self.world, command, NOW, &mut self.ids)?;
        outcome.changes.iter().for_each(|change| self.world.apply(change));
        Ok(outcome.reply)
    }

    fn create(&mut self, create: CreateService) -> Result<Reply, CommandError> {
        self.submit(Command::CreateService(Box::new(create)))
    }

    fn update(&mut self, update: UpdateService) -> Result<Reply, CommandError> {
        self.submit(Command::UpdateService(Box::new(update)))
    }

    fn delete(&mut self, force: bool) -> Result<Reply, CommandError> {
        self.submit(Command::DeleteService { service: key(), force })
    }

    fn stop(&mut self, stop_type: StopType) -> Result<Reply, CommandError> {
        let deployment = self.service().deployments[0].service_deployment.clone();
        self.submit(Command::StopServiceDeployment { service: key(), deployment, stop_type })
    }

    fn service(&self) -> &Service {
        &self.world.services[&key()]
    }

    /// The revisions of its deployments, PRIMARY first.
    fn runs(&self) -> Vec<String> {
        let revisions = self.service().deployments.iter();
        let definition = |id| self.world.service_revisions[id].task_definition.to_string();
        revisions.map(|deployment| definition(&deployment.service_revision)).collect()
    }

    fn set(&mut self, change: impl FnOnce(&mut Service)) {
        let mut service = self.service().clone();
        change(&mut service);
        self.world.apply(&Change::PutService(Box::new(service)));
    }
}

/// The text of an InvalidParameterException.
fn invalid_text(result: Result<Reply, CommandError>) -> String {
    match result {
        Err(CommandError::InvalidParameter(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_service_begins_with_one_deployment_and_the_defaults() {
    let mut small = Small::new();
    assert_eq!(small.create(web()), Ok(Reply::Service(key())));
    let service = small.service();
    assert_eq!((service.status, service.desired_count), (ServiceStatus::Active, 2));
    let configuration = &service.deployment_configuration;
    assert_eq!((configuration.maximum_percent, configuration.minimum_healthy_percent), (200, 100));
    assert_eq!(small.runs(), ["web:2"], "the newest active revision");
    let revision = &small.world.service_revisions[&service.deployments[0].service_revision];
    assert_eq!(revision.launch_type.as_deref(), Some("EC2"));
    let record = &small.world.service_deployments[&service.deployments[0].service_deployment];
    assert_eq!(record.status, ServiceDeploymentStatus::Pending);

    let mut small = Small::new();
    small.create(daemon()).unwrap();
    let configuration = &small.service().deployment_configuration;
    assert_eq!((configuration.maximum_percent, configuration.minimum_healthy_percent), (100, 0));
}

#[test]
fn a_name_is_taken_once() {
    let mut small = Small::new();
    small.create(web()).unwrap();
    let before = small.world.clone();
    assert_eq!(small.create(web()), Ok(Reply::Service(key())), "the same asked again");
    let other = CreateService { desired_count: Some(3), ..web() };
    assert_eq!(invalid_text(small.create(other)), "Creation of service was not idempotent.");
    assert_eq!(small.world, before);

    small.delete(true).unwrap();
    assert_eq!(
        invalid_text(small.create(web())),
        "Unable to Start a service that is still Draining."
    );
    let event = ServiceEvent {
        service: key(),
        number: 0,
        id: "e".to_owned(),
        created_at: NOW,
        message: "(service web)".to_owned(),
    };
    small.world.apply(&Change::PutServiceEvent(event));
    small.set(|service| {
        service.status = ServiceStatus::Inactive;
        service.deployments.clear();
    });
    small.create(web()).unwrap();
    assert_eq!(small.service().status, ServiceStatus::Active);
    assert!(small.world.service_events.is_empty(), "those of the service before");
    assert_eq!(small.world.service_revisions.len(), 1);
    assert_eq!(small.world.service_deployments.len(), 1);
}

#[test]
fn a_client_token_is_good_for_one_request() {
    let mut small = Small::new();
    let with_token = |token: &str| CreateService { client_token: Some(token.to_owned()), ..web() };
    small.create(with_token("one")).unwrap();
    small.set(|service| service.desired_count = 5);
    assert_eq!(small.create(with_token("one")), Ok(Reply::Service(key())), "whatever it is now");
    let differs = CreateService { desired_count: Some(9), ..with_token("one") };
    for refused in [differs, with_token("two")] {
        assert_eq!(invalid_text(small.create(refused)), "Creation of service was not idempotent.");
    }
    for bad in ["a b", &"x".repeat(37)] {
        assert!(invalid_text(small.create(with_token(bad))).contains("clientToken"));
    }
    small.set(|service| {
        service.status = ServiceStatus::Inactive;
        service.deployments.clear();
    });
    small.create(with_token("one")).unwrap();
    assert_eq!(small.service().desired_count, 2, "made anew");
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let mut small = Small::new();
    let mut text = |create: CreateService| invalid_text(small.create(create));
    assert!(text(CreateService { desired_count: None, ..web() }).contains("desired count"));
    for count in [-1, 5001] {
        let of_count = CreateService { desired_count: Some(count), ..web() };
        assert_eq!(text(of_count), "The desired count must be between 0 and 5000.");
    }
    assert!(
        text(CreateService { desired_count: Some(1), ..daemon() })
            .starts_with("The daemon scheduling strategy does not support a desired count")
    );
    for (create, member) in [
        (CreateService { deployment_configuration: percents(99, 0), ..web() }, "maximumPercent"),
        (CreateService { deployment_configuration: percents(200, 101), ..web() }, "minimumHealthy"),
        (CreateService { deployment_configuration: percents(100, 100), ..web() }, "Both maximum"),
        (CreateService { deployment_configuration: percents(200, 0), ..daemon() }, "DAEMON"),
        (
            CreateService { health_check_grace_period_seconds: Some(-1), ..web() },
            "healthCheckGracePeriodSeconds",
        ),
        (
            CreateService { availability_zone_rebalancing: Some("ENABLED".to_owned()), ..daemon() },
            "Availability Zone",
        ),
        (CreateService { platform_version: Some("1.4.0".to_owned()), ..web() }, "platform version"),
        (CreateService { task_definition: wanted("private", None), ..web() }, "awsvpc"),
        (CreateService { network: Some(AwsvpcConfiguration::default()), ..web() }, "Network"),
    ] {
        let text = text(create);
        assert!(text.contains(member), "{member}: {text}");
    }
    let unknown = CreateService { task_definition: wanted("nothing", None), ..web() };
    assert_eq!(
        small.create(unknown),
        Err(CommandError::Client("TaskDefinition not found.".to_owned()))
    );
    assert!(small.world.services.is_empty());
}

#[test]
fn placement_that_does_not_go_with_daemons_or_cannot_be_read_is_refused() {
    let mut small = Small::new();
    let constraint = |kind: &str, expression: Option<&str>| PlacementConstraint {
        r#type: Some(kind.to_owned()),
        expression: expression.map(str::to_owned),
    };
    let rule = |kind: &str, field: &str| PlacementStrategy {
        kind: Some(kind.to_owned()),
        field: Some(field.to_owned()),
    };
    for refused in [
        CreateService { placement_strategy: vec![rule("spread", "host")], ..daemon() },
        CreateService {
            placement_constraints: vec![constraint("distinctInstance", None)],
            ..daemon()
        },
        CreateService { placement_strategy: vec![rule("spread", "host"); 6], ..web() },
        CreateService { placement_strategy: vec![rule("binpack", "disks")], ..web() },
        CreateService {
            placement_constraints: vec![constraint("memberOf", Some("a =="))],
            ..web()
        },
        CreateService {
            placement_constraints: vec![constraint("memberOf", Some("attribute:a exists")); 11],
            ..web()
        },
    ] {
        let shown = format!("{refused:?}");
        assert!(matches!(small.create(refused), Err(CommandError::InvalidParameter(_))), "{shown}");
    }
    let fine = CreateService {
        placement_constraints: vec![constraint("memberOf", Some("attribute:a exists"))],
        ..daemon()
    };
    small.create(fine).unwrap();
}

#[test]
fn names_lead_to_ports_that_are_there() {
    let mut small = Small::new();
    let connect = |services: Value| CreateService {
        service_connect_configuration: Some(
            json!({"enabled": true, "namespace": "dock", "services": services}),
        ),
        ..web()
    };
    let registry = |registry: Value| CreateService { service_registries: vec![registry], ..web() };
    let arn = "arn:aws:servicediscovery:r:1:service/srv-web";
    for (refused, why) in [
        (connect(json!([{"portName": "grpc"}])), "does not refer to any named PortMapping"),
        (connect(json!([{"portName": "http"}, {"portName": "http"}])), "more than once"),
        (connect(json!([{"portName": "http", "discoveryName": "Web"}])), "discoveryName"),
        (
            connect(json!([{"portName": "http", "clientAliases": [{"port": 8080}]}])),
            "container port",
        ),
        (
            connect(
                json!([{"portName": "http", "clientAliases": [{"port": 80, "dnsName": "a b"}]}]),
            ),
            "dnsName",
        ),
        (registry(json!({"registryArn": "srv-web"})), "registryArn"),
        (registry(json!({"registryArn": arn, "containerName": "main"})), "containerPort"),
        (
            registry(json!({"registryArn": arn, "containerName": "main", "containerPort": 81})),
            "did not have a container port 81",
        ),
        (
            registry(json!({"registryArn": arn, "containerName": "side", "containerPort": 80})),
            "does not exist",
        ),
    ] {
        let text = invalid_text(small.create(refused));
        assert!(text.contains(why), "{why}: {text}");
    }
    let proxied = connect(json!([{"portName": "http", "timeout": {"idleTimeoutSeconds": 1}}]));
    match small.create(proxied) {
        Err(CommandError::UnsupportedFeature(text)) => assert!(text.contains("services.timeout")),
        other => panic!("{other:?}"),
    }
    let fine = CreateService {
        service_registries: vec![
            json!({"registryArn": arn, "containerName": "main", "containerPort": 80}),
        ],
        ..connect(json!([
            {"portName": "http", "discoveryName": "web", "clientAliases": [{"port": 80, "dnsName": "web.dock"}]}
        ]))
    };
    small.create(fine).unwrap();
}

#[test]
fn only_what_changes_what_runs_makes_a_deployment() {
    let mut small = Small::new();
    small.create(CreateService { task_definition: wanted("web", Some(1)), ..web() }).unwrap();
    let before = small.world.clone();
    small.update(UpdateService::of(key())).unwrap();
    let same =
        UpdateService { task_definition: Some(wanted("web", Some(1))), ..UpdateService::of(key()) };
    small.update(same).unwrap();
    assert_eq!(small.world, before, "nothing new");

    let scaled = UpdateService {
        desired_count: Some(7),
        deployment_configuration: WantedDeploymentConfiguration {
            minimum_healthy_percent: Some(50),
            ..WantedDeploymentConfiguration::default()
        },
        health_check_grace_period_seconds: Some(9),
        enable_execute_command: Some(true),
        propagate_tags: Some(PropagateTags::Service),
        ..UpdateService::of(key())
    };
    small.update(scaled).unwrap();
    let service = small.service();
    assert_eq!((service.desired_count, service.deployments.len()), (7, 1));
    let configuration = &service.deployment_configuration;
    assert_eq!((configuration.maximum_percent, configuration.minimum_healthy_percent), (200, 50));

    let family =
        UpdateService { task_definition: Some(wanted("web", None)), ..UpdateService::of(key()) };
    small.update(family).unwrap();
    assert_eq!(small.runs(), ["web:2", "web:1"]);
    small.update(UpdateService { force_new_deployment: true, ..UpdateService::of(key()) }).unwrap();
    assert_eq!(small.runs(), ["web:2", "web:2", "web:1"]);
    let records = small.world.service_deployments.values();
    let stopped = records.filter(|r| r.status == ServiceDeploymentStatus::Stopped).count();
    assert_eq!(stopped, 2, "those that were superseded");
}

#[test]
fn another_network_mode_takes_its_configuration_along() {
    let mut small = Small::new();
    small.create(web()).unwrap();
    let private = |network| UpdateService {
        task_definition: Some(wanted("private", None)),
        network,
        ..UpdateService::of(key())
    };
    assert!(invalid_text(small.update(private(None))).contains("awsvpc"));
    let subnets = Some(vec!["subnet-1".to_owned()]);
    let network = AwsvpcConfiguration { subnets, ..AwsvpcConfiguration::default() };
    small.update(private(Some(network))).unwrap();
    let back =
        UpdateService { task_definition: Some(wanted("web", None)), ..UpdateService::of(key()) };
    small.update(back).unwrap();
    assert_eq!(small.runs(), ["web:2", "private:1", "web:2"]);
}

#[test]
fn a_service_is_scaled_down_before_it_is_deleted_or_forced() {
    let mut small = Small::new();
    assert_eq!(small.delete(true), Err(CommandError::ServiceNotFound));
    assert_eq!(small.update(UpdateService::of(key())), Err(CommandError::ServiceNotFound));
    small.create(web()).unwrap();
    assert_eq!(
        invalid_text(small.delete(false)),
        "The service cannot be stopped while it is scaled above 0."
    );
    small.delete(true).unwrap();
    assert_eq!(
        (small.service().status, small.service().desired_count),
        (ServiceStatus::Draining, 0)
    );
    assert_eq!(small.delete(false), Ok(Reply::Service(key())), "it drains already");
    assert_eq!(small.update(UpdateService::of(key())), Err(CommandError::ServiceNotActive));
    small.set(|service| service.status = ServiceStatus::Inactive);
    assert_eq!(small.delete(true), Err(CommandError::ServiceNotFound));

    let mut small = Small::new();
    small.create(daemon()).unwrap();
    small.set(|service| service.desired_count = 3);
    small.delete(false).unwrap();
    assert_eq!(small.service().status, ServiceStatus::Draining);
}

#[test]
fn a_roll_out_is_stopped_once() {
    for (how, status) in [
        (StopType::Abort, ServiceDeploymentStatus::StopRequested),
        (StopType::Rollback, ServiceDeploymentStatus::RollbackRequested),
    ] {
        let mut small = Small::new();
        small.create(web()).unwrap();
        small.stop(how).unwrap();
        let records: Vec<_> = small.world.service_deployments.values().map(|r| r.status).collect();
        assert_eq!(records, [status]);
        assert!(matches!(small.stop(how), Err(CommandError::Conflict { .. })));
    }
    let mut small = Small::new();
    small.create(web()).unwrap();
    let unknown = Command::StopServiceDeployment {
        service: key(),
        deployment: small.ids.service_deployment(),
        stop_type: StopType::Abort,
    };
    assert_eq!(small.submit(unknown), Err(CommandError::ServiceDeploymentNotFound));
}

#[test]
fn an_agent_that_ends_with_its_tasks_places_no_others() {
    use crate::plan::{Observation, cluster};
    let mut small = Small::new();
    small.create(web()).unwrap();
    let planned = |small: &mut Small| cluster::plan(&small.world, NOW, &mut small.ids).changes;
    assert!(!planned(&mut small).is_empty(), "it says at least that there is no box");
    small.submit(Command::Observe(Observation::Stopping)).unwrap();
    assert_eq!(planned(&mut small), []);
}
