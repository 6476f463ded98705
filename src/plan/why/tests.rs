//! Whole explanations of services; those of tasks are in `tests/scenarios/why_task.txt`.

use super::{FindError, Subject, explain, find};
use crate::model::container_instance::Capacity;
use crate::model::fleet::{ContentHash, Device, Phase, Position, Progress};
use crate::model::service::{PropagateTags, SchedulingStrategy};
use crate::model::{
    ClusterName, ContainerInstanceId, ContainerStatus, DesiredStatus, Family, ServiceKey,
    ServiceName, StopCode, Task, TaskStatus, Timestamp,
};
use crate::plan::command::service::{WantedDefinition, WantedDeploymentConfiguration};
use crate::plan::command::{Command, CreateCluster, CreateService, RegisterThisInstance, apply};
use crate::plan::{Change, Ids, World, cluster, instance};
use serde_json::json;
use std::time::Duration;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

/// A box with 4096 CPU units and 1000 MiB, on which nothing is ever carried out.
struct Paper {
    world: World,
    ids: Ids,
}

fn key(name: &str) -> ServiceKey {
    let cluster = ClusterName::default_cluster();
    ServiceKey { cluster, name: ServiceName::new(name).unwrap() }
}

impl Paper {
    fn new() -> Self {
        let this = ContainerInstanceId::new("0123456789abcdef0123456789abcdef").unwrap();
        let mut paper = Self { world: World::default(), ids: Ids::from_seed(3) };
        paper.world.settings.this_instance = Some(this.clone());
        paper.submit(Command::CreateCluster(Box::new(CreateCluster {
            name: ClusterName::default_cluster(),
            tags: Vec::new(),
            settings: Vec::new(),
            configuration: None,
            capacity_providers: Vec::new(),
            default_capacity_provider_strategy: Vec::new(),
            service_connect_defaults: None,
        })));
        paper.submit(Command::RegisterThisInstance(Box::new(RegisterThisInstance {
            id: this,
            cluster: ClusterName::default_cluster(),
            capacity: Capacity { cpu: 4096, memory: 1000, ..Capacity::default() },
            attributes: Vec::new(),
            agent_version: "1".to_owned(),
        })));
        paper.world.observed.scanned = true;
        paper
    }

    fn submit(&mut self, command: Command) {
        let outcome = apply(&mut self.world, command, NOW, &mut self.ids).unwrap();
        outcome.changes.iter().for_each(|change| self.world.apply(change));
    }

    /// A service of `count` tasks of `memory` MiB each, planned as far as it goes without anybody acting.
    fn serve(&mut self, name: &str, memory: u32, count: i64) {
        let content = json!({
            "family": name,
            "containerDefinitions": [{"name": "main", "image": "web", "memory": memory}],
        });
        self.submit(Command::RegisterTaskDefinition {
            content: Box::new(serde_json::from_value(content).unwrap()),
            tags: Vec::new(),
            registered_by: None,
        });
        self.submit(Command::CreateService(Box::new(CreateService {
            key: key(name),
            task_definition: WantedDefinition {
                family: Family::new(name).unwrap(),
                revision: None,
            },
            scheduling_strategy: SchedulingStrategy::Replica,
            desired_count: Some(count),
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
        })));
        for _ in 0..4 {
            let plan = cluster::plan(&self.world, NOW, &mut self.ids);
            self.world.apply_plan(&plan);
            let plan = instance::plan(&self.world, NOW, &mut self.ids);
            self.world.apply_plan(&plan);
        }
    }

    /// Changes the `n`th task.
    fn task(&mut self, n: usize, change: impl FnOnce(&mut Task)) {
        let mut task = self.world.tasks.values().nth(n).unwrap().clone();
        change(&mut task);
        self.world.apply(&Change::PutTask(Box::new(task)));
    }

    /// The explanation, with tasks and deployments by names that do not change.
    fn why(&self, name: &str) -> String {
        let now = NOW.plus(Duration::from_secs(30));
        let found = explain(&self.world, now, &Subject::Service(key(name))).unwrap();
        let mut text = found.lines().join("\n");
        for (n, id) in self.world.tasks.keys().enumerate() {
            text = text.replace(id.as_str(), &format!("#{n}"));
        }
        for service in self.world.services.values() {
            for deployment in &service.deployments {
                text = text.replace(deployment.id.as_str(), "ID");
            }
        }
        text
    }
}

#[test]
fn what_finds_no_box_is_told_with_what_it_lacks() {
    let mut paper = Paper::new();
    paper.serve("big", 400, 3);
    let text = paper.why("big");
    let expected = "\
service default/big is not as it is to be yet: 0 of 3 tasks run
  its desiredCount is 3
  deployment ecs-svc/ID runs big:1: IN_PROGRESS
    1 task has no box yet
      this box: needs 400 MiB of memory, 200 are left
    this box is to run 2 tasks, and 0 run
      task #0 of big:1 is PENDING and is to run
        container main is not started yet
          its image web is not there yet: it was asked for 30 s ago
      task #1 of big:1 is PENDING and is to run
        container main is not started yet
          its image web is not there yet: it was asked for 30 s ago
  its last complaint, 30 s ago: ";
    assert!(text.starts_with(expected), "{text}");
    assert!(text.contains("insufficient memory"), "{text}");
}

#[test]
fn what_runs_is_counted_and_what_fails_is_told() {
    let mut paper = Paper::new();
    paper.serve("web", 100, 3);
    for n in 0..3 {
        paper.task(n, |task| {
            task.last_status = TaskStatus::Running;
            task.started_at = Some(NOW);
            task.containers[0].last_status = ContainerStatus::Running;
            task.containers[0].started_at = Some(NOW);
        });
    }
    let later = NOW.plus(Duration::from_secs(20));
    let plan = cluster::plan(&paper.world, later, &mut paper.ids);
    paper.world.apply_plan(&plan);
    assert_eq!(
        paper.why("web"),
        "\
service default/web is as it is to be: 3 of 3 run
  its desiredCount is 3
  deployment ecs-svc/ID runs web:1: COMPLETED
    this box is to run 3 tasks, and 3 run"
    );

    paper.task(1, |task| {
        task.desired_status = DesiredStatus::Stopped;
        task.last_status = TaskStatus::Stopped;
        task.stopped_at = Some(NOW.plus(Duration::from_secs(10)));
        task.stopping_at = task.stopped_at;
        task.stop_code = Some(StopCode::EssentialContainerExited);
        task.stopped_reason = Some("Essential container in task exited".to_owned());
        task.containers[0].last_status = ContainerStatus::Stopped;
        task.containers[0].exit_code = Some(7);
        task.containers[0].finished_at = task.stopped_at;
        task.service.as_mut().unwrap().failed = true;
    });
    let plan = instance::plan(&paper.world, later, &mut paper.ids);
    paper.world.apply_plan(&plan);
    let protected = NOW.plus(Duration::from_hours(1));
    paper.task(0, |task| task.protected_until = Some(protected));
    let text = paper.why("web");
    for part in [
        "service default/web is not as it is to be yet: 2 of 3 tasks run\n",
        "    the last that failed: task #1 of web:1 is STOPPED for 20 s\n      \
         EssentialContainerExited: Essential container in task exited\n      \
         container main exited with code 7 20 s ago\n",
        "    this box is to run 3 tasks, and 1 run\n",
        "it is protected from scale-in for 59 min\n",
    ] {
        assert!(text.contains(part), "{part}\n---\n{text}");
    }
}

#[test]
fn a_text_means_a_service_or_a_task() {
    let mut paper = Paper::new();
    paper.serve("web", 100, 1);
    let world = &paper.world;
    let task = world.tasks.keys().next().unwrap();
    let web = Subject::Service(key("web"));
    let scope = &world.settings.scope;
    for text in ["web".to_owned(), "default/web".to_owned(), scope.service(&key("web"))] {
        assert_eq!(find(world, &text, None), Ok(web.clone()), "{text}");
    }
    let arn = scope.task(&ClusterName::default_cluster(), task);
    for text in [task.as_str(), &task.as_str()[..6], &arn] {
        assert_eq!(find(world, text, None), Ok(Subject::Task(task.clone())), "{text}");
    }
    let other = ClusterName::new("other").unwrap();
    assert!(matches!(find(world, "web", Some(&other)), Err(FindError::Missing(_))));
    for text in ["", "nobody", "other/web", "a/b/c", &task.as_str()[..5]] {
        assert!(matches!(find(world, text, None), Err(FindError::Missing(_))), "{text}");
    }
}

#[test]
fn a_box_of_a_fleet_is_told_with_its_connection_and_its_documents() {
    let mut paper = Paper::new();
    paper.serve("web", 100, 2);
    let id = paper.world.settings.this_instance.take().unwrap();
    let mut device = Device {
        id: id.clone(),
        cluster: ClusterName::default_cluster(),
        position: Position { epoch: 1, generation: 7 },
        hash: Some(ContentHash::of(b"wanted")),
        prev_hash: None,
        reported: Progress {
            position: Position { epoch: 1, generation: 7 },
            hash: Some(ContentHash::of(b"wanted")),
            phase: Phase::Failed,
            reason: Some("service web: 3 tasks ended early: exit code 1".to_owned()),
            applied: None,
        },
        session: Some("s".to_owned()),
        connected: true,
        connected_changed_at: NOW,
        events: None,
        certificate: None,
        sealing_key: None,
        hub_key: None,
        revoked_at: None,
        returns: 0,
    };
    let node = |paper: &Paper| {
        let now = NOW.plus(Duration::from_secs(30));
        let subject = find(&paper.world, "0123456789ab", None).unwrap();
        assert_eq!(subject, Subject::Instance(id.clone()));
        explain(&paper.world, now, &subject).unwrap().lines().join("\n")
    };
    paper.world.apply(&Change::PutDevice(Box::new(device.clone())));
    let told = node(&paper);
    for part in [
        "container instance 0123456789abcdef0123456789abcdef of the cluster default is ACTIVE",
        "it has been connected for 30 s",
        "document 1.7 does not come about; it goes on trying\n    service web: 3 tasks ended early: exit code 1",
        "it has 2 tasks",
    ] {
        assert!(told.contains(part), "{told}");
    }

    device.position.generation = 8;
    (device.connected, device.session) = (false, None);
    paper.world.apply(&Change::PutDevice(Box::new(device)));
    let told = node(&paper);
    assert!(told.contains("it has not been connected for 30 s; what runs there goes on"), "{told}");
    assert!(told.contains("document 1.8 was sent to it; it has 1.7 so far"), "{told}");
    let service = paper.why("web");
    assert!(service.contains("as it last told: it has not been connected for 30 s"), "{service}");
}
