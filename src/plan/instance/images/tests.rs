use super::*;
use crate::model::task::TaskOverride;
use crate::model::{
    AssignmentId, Cluster, ClusterName, ContainerInstanceId, ContainerStatus, DesiredStatus,
    Family, Revision, ServiceName,
};
use crate::plan::command::{self, RegisterThisInstance, RunTask};
use crate::plan::{Change, Command, Ids, instance};
use serde_json::json;

const NOW: Timestamp = Timestamp(1_000_000);
const LATER: Timestamp = Timestamp(1_000_000 + 3_600_000);

fn digest(c: char) -> ImageDigest {
    ImageDigest::new(format!("sha256:{}", String::from(c).repeat(64))).unwrap()
}

fn id(revision: u32) -> AssignmentId {
    AssignmentId::new(format!("{revision}").repeat(32)).unwrap()
}

struct Box {
    world: World,
    ids: Ids,
}

impl Box {
    /// With the images `i:1` (a…) and `i:2` (b…), and definitions of both.
    fn new() -> Self {
        let (mut world, cluster) = (World::default(), ClusterName::default_cluster());
        let id = ContainerInstanceId::new("b0").unwrap();
        world.apply(&Change::PutCluster(Cluster::new(cluster.clone(), NOW)));
        world.observed.scanned = true;
        world.settings.this_instance = Some(id.clone());
        world.observed.images.insert("i:1".to_owned(), digest('a'));
        world.observed.images.insert("i:2".to_owned(), digest('b'));
        let mut this = Self { world, ids: Ids::from_seed(1) };
        this.submit(Command::RegisterThisInstance(std::boxed::Box::new(RegisterThisInstance {
            id,
            cluster,
            capacity: serde_json::from_value(json!({
                "cpu": 1024, "memory": 1024, "reservedPorts": [], "reservedPortsUdp": [], "gpus": [],
            }))
            .unwrap(),
            attributes: Vec::new(),
            agent_version: "1".to_owned(),
        })));
        for revision in [1, 2, 3] {
            this.submit(Command::RegisterTaskDefinition {
                content: serde_json::from_value(json!({
                    "family": "web", "networkMode": "host",
                    "containerDefinitions": [{
                        "name": "web", "image": format!("i:{revision}"), "memory": 64, "essential": true,
                    }],
                }))
                .unwrap(),
                tags: Vec::new(),
                registered_by: None,
            });
        }
        this
    }

    fn submit(&mut self, command: Command) {
        let outcome = command::apply(&mut self.world, command, NOW, &mut self.ids).unwrap();
        outcome.changes.iter().for_each(|change| self.world.apply(change));
    }

    fn plan(&mut self) {
        for _ in 0..10 {
            let plan = instance::plan(&self.world, NOW, &mut self.ids);
            self.world.apply_plan(&plan);
        }
    }

    fn definition(&self, revision: u32) -> crate::model::TaskDefinitionRef {
        self.world.task_definitions.keys().nth(revision as usize - 1).unwrap().clone()
    }

    /// The service `web` is to have so many tasks of the revision.
    fn assign(&mut self, revision: u32, count: u32) {
        let assignment = serde_json::from_value(json!({
            "id": id(revision), "cluster": "default", "containerInstance": "b0",
            "taskDefinition": self.definition(revision), "generation": 1, "service": "web",
            "deployment": format!("{revision:019}"), "count": count, "createdAt": NOW,
            "overrides": {}, "launchType": "EC2",
        }))
        .unwrap();
        self.world.apply(&Change::PutAssignment(std::boxed::Box::new(assignment)));
        self.plan();
    }

    /// Its task ran from `NOW` on for so long.
    fn ran(&mut self, revision: u32, seconds: i64, still: bool) {
        let mut task = self.world.live(&id(revision)).next().unwrap().clone();
        task.started_at = Some(NOW);
        task.last_status = TaskStatus::Running;
        task.containers[0].last_status = ContainerStatus::Running;
        if !still {
            task.stopping_at = Some(Timestamp(NOW.0 + seconds * 1000));
            task.desired_status = DesiredStatus::Stopped;
            task.last_status = TaskStatus::Stopped;
            task.stopped_at = task.stopping_at;
        }
        self.world.apply(&Change::PutTask(std::boxed::Box::new(task)));
    }

    fn wanted(&self) -> WantedImages {
        wanted(&self.world, LATER)
    }
}

fn web() -> ServiceKey {
    ServiceKey { cluster: ClusterName::default_cluster(), name: ServiceName::new("web").unwrap() }
}

#[test]
fn nothing_is_wanted_of_definitions_alone() {
    assert_eq!(Box::new().wanted(), WantedImages::default());
}

#[test]
fn a_task_wants_its_image_before_it_has_begun_and_until_it_has_stopped() {
    let mut this = Box::new();
    // One image is here, one is not.
    for revision in [1, 3] {
        this.submit(Command::RunTask(std::boxed::Box::new(RunTask {
            cluster: ClusterName::default_cluster(),
            family: Family::new("web").unwrap(),
            revision: Some(Revision(revision)),
            count: 1,
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
        })));
    }
    let before = this.wanted();
    assert_eq!(before.names.keys().collect::<Vec<_>>(), ["i:1", "i:3"]);
    this.plan();
    let begun = this.wanted();
    assert_eq!(begun.digests.keys().collect::<Vec<_>>(), [&digest('a')]);
    assert_eq!(begun.names.keys().collect::<Vec<_>>(), ["i:3"]);
    let ids: Vec<TaskId> = this.world.tasks.keys().cloned().collect();
    for id in ids {
        let mut task = this.world.tasks[&id].clone();
        task.last_status = TaskStatus::Stopped;
        task.desired_status = DesiredStatus::Stopped;
        this.world.apply(&Change::PutTask(std::boxed::Box::new(task)));
        this.world.apply(&Change::DeleteAssignment(AssignmentId::new(id.as_str()).unwrap()));
    }
    let after = this.wanted();
    assert!(after.digests.is_empty() && after.names.is_empty(), "{after:?}");
}

#[test]
fn a_service_wants_its_image_and_the_one_that_ran_well() {
    let mut this = Box::new();
    this.assign(1, 1);
    let service = BTreeSet::from([ImageUser::Service(web())]);
    assert_eq!(this.wanted().names["i:1"], service);
    assert!(this.wanted().good.is_empty(), "nothing ran yet");
    this.ran(1, 600, true);
    assert_eq!(this.wanted().good[&web()], BTreeSet::from([digest('a')]));
    // The next revision takes its place, and falls at once.
    this.ran(1, 600, false);
    this.world.apply(&Change::DeleteAssignment(id(1)));
    this.assign(2, 1);
    this.ran(2, 3, false);
    this.plan();
    let wanted = this.wanted();
    assert_eq!(wanted.names.keys().collect::<Vec<_>>(), ["i:2"]);
    assert_eq!(wanted.services, BTreeSet::from([web()]));
    assert_eq!(wanted.good[&web()], BTreeSet::from([digest('a')]));
}
