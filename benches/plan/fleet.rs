//! A made-up fleet.

use coracle::model::container_instance::{Attribute, Capacity};
use coracle::model::placement::PlacementStrategy;
use coracle::model::task::TaskOverride;
use coracle::model::task_definition::PlacementConstraint;
use coracle::model::{ClusterName, Family, Timestamp};
use coracle::plan::command::{CreateCluster, RegisterContainerInstance, RunTask, apply};
use coracle::plan::{Command, Ids, Reply, World, simulate};
use serde_json::json;

/// What the fleet is filled with.
pub(crate) const FAMILIES: [&str; 10] =
    ["web", "api", "camera", "gauge", "mail", "store", "relay", "clock", "radio", "log"];

pub(crate) struct Fleet {
    pub(crate) world: World,
    pub(crate) ids: Ids,
    pub(crate) now: Timestamp,
}

impl Default for Fleet {
    fn default() -> Self {
        let mut world = World::default();
        world.settings.simulated = true;
        let mut fleet =
            Self { world, ids: Ids::from_seed(1), now: Timestamp::from_secs(1_800_000_000) };
        simulate::begin(&mut fleet.world, simulate::FaultPlan::default());
        let cluster = CreateCluster::named(ClusterName::default_cluster());
        fleet.submit(Command::CreateCluster(Box::new(cluster)));
        for (number, family) in FAMILIES.iter().enumerate() {
            fleet.define(family, 64 + 8 * number as u64);
        }
        fleet.define("probe", 4);
        fleet.define("huge", 1_000_000);
        fleet
    }
}

impl Fleet {
    fn define(&mut self, family: &str, memory: u64) {
        let content = serde_json::from_value(json!({
            "family": family,
            "containerDefinitions": [{
                "name": "app", "image": format!("{family}:1"), "memory": memory, "cpu": 1,
                "environment": [{"name": "SITE", "value": "harbour"}],
            }],
        }));
        self.submit(Command::RegisterTaskDefinition {
            content: Box::new(content.unwrap()),
            tags: Vec::new(),
            registered_by: None,
        });
    }

    /// One box more: 4 GiB to 7 GiB, in one of three zones and one of a hundred sites.
    pub(crate) fn register(&mut self, number: usize) {
        let attribute =
            |name: &str, value: String| Attribute { name: name.to_owned(), value: Some(value) };
        self.submit(Command::RegisterContainerInstance(Box::new(RegisterContainerInstance {
            cluster: ClusterName::default_cluster(),
            id: None,
            capacity: Capacity {
                cpu: 65_536,
                memory: 4096 + 1024 * (number as u32 % 4),
                ..Capacity::default()
            },
            attributes: vec![
                attribute("ecs.os-type", "linux".to_owned()),
                attribute("ecs.cpu-architecture", "arm64".to_owned()),
                attribute("zone", format!("zone-{}", number % 3)),
                attribute("site", format!("site-{}", number % 100)),
            ],
            agent_version: "1.0.0".to_owned(),
            agent_hash: None,
            docker_version: None,
            ec2_instance_id: None,
            tags: Vec::new(),
        })));
    }

    /// RunTask of `count` tasks.
    pub(crate) fn task(&self, family: &str, count: usize) -> RunTask {
        RunTask {
            cluster: ClusterName::default_cluster(),
            family: Family::new(family).unwrap(),
            revision: None,
            count: count.try_into().unwrap(),
            container_instances: None,
            overrides: TaskOverride::default(),
            placement_constraints: Vec::new(),
            placement_strategy: Vec::new(),
            capacity_provider_strategy: Vec::new(),
            group: None,
            started_by: None,
            launch_type: None,
            network: None,
            enable_execute_command: false,
            enable_ecs_managed_tags: false,
            propagate_tags_from_task_definition: false,
            tags: Vec::new(),
            client_token: None,
        }
    }

    /// Places tasks; all of them find a place.
    pub(crate) fn run(&mut self, run: RunTask) {
        let count = run.count as usize;
        let reply = self.submit(Command::RunTask(Box::new(run)));
        let Reply::Tasks { tasks, failures } = reply else { panic!("{reply:?}") };
        assert_eq!((tasks.len(), failures.len()), (count, 0));
    }

    /// How many failures one task of `family` is answered with.
    pub(crate) fn failures(&mut self, family: &str) -> usize {
        let reply = self.submit(Command::RunTask(Box::new(self.task(family, 1))));
        let Reply::Tasks { failures, .. } = reply else { panic!("{reply:?}") };
        failures.len()
    }

    /// Lets the boxes run what is assigned to them.
    pub(crate) fn settle(&mut self) {
        let plan = simulate::plan(&mut self.world, self.now, &mut self.ids);
        assert!(plan.actions.is_empty());
    }

    pub(crate) fn submit(&mut self, command: Command) -> Reply {
        let outcome = apply(&mut self.world, command, self.now, &mut self.ids).unwrap();
        outcome.changes.iter().for_each(|change| self.world.apply(change));
        outcome.reply
    }
}

/// A rule of a placement strategy.
pub(crate) fn rule(kind: &str, field: &str) -> PlacementStrategy {
    let field = Some(field.to_owned()).filter(|field| !field.is_empty());
    PlacementStrategy { kind: Some(kind.to_owned()), field }
}

pub(crate) fn member_of(expression: &str) -> PlacementConstraint {
    PlacementConstraint {
        r#type: Some("memberOf".to_owned()),
        expression: Some(expression.to_owned()),
    }
}

pub(crate) fn distinct() -> PlacementConstraint {
    PlacementConstraint { r#type: Some("distinctInstance".to_owned()), expression: None }
}
