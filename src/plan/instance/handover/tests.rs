use crate::model::{
    AssignmentId, Cluster, ClusterName, ContainerInstanceId, ContainerStatus, ImageDigest, Task,
    TaskStatus, Timestamp,
};
use crate::plan::command::{self, RegisterThisInstance};
use crate::plan::world::PullBehavior;
use crate::plan::{Action, Change, Command, Ids, Observation, World, instance};
use serde_json::json;

const NOW: Timestamp = Timestamp(1_000_000);

/// A box on which revision 1 of a service runs, with a port of its own, and revision 2 is to take its place.
struct Box {
    world: World,
    ids: Ids,
    actions: Vec<Action>,
}

fn digest() -> ImageDigest {
    ImageDigest::new(format!("sha256:{}", "a".repeat(64))).unwrap()
}

impl Box {
    fn new(pull_behavior: PullBehavior) -> Self {
        let mut world = World::default();
        let cluster = ClusterName::default_cluster();
        let id = ContainerInstanceId::new("b0").unwrap();
        world.apply(&Change::PutCluster(Cluster::new(cluster.clone(), NOW)));
        world.observed.scanned = true;
        world.settings.this_instance = Some(id.clone());
        world.settings.pull_behavior = pull_behavior;
        world.observed.images.insert("i:1".to_owned(), digest());
        let mut this = Self { world, ids: Ids::from_seed(1), actions: Vec::new() };
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
        for revision in [1, 2] {
            this.submit(Command::RegisterTaskDefinition {
                content: serde_json::from_value(json!({
                    "family": "web", "networkMode": "host",
                    "containerDefinitions": [{
                        "name": "web", "image": format!("i:{revision}"), "memory": 64, "essential": true,
                        "portMappings": [{"containerPort": 80, "hostPort": 80}],
                    }],
                }))
                .unwrap(),
                tags: Vec::new(),
                registered_by: None,
            });
        }
        this.assign(1, 1);
        let first = this.tasks(1).remove(0);
        if first.containers[0].runtime_id.is_none() {
            this.observe(Observation::ImageReady {
                image: "i:1".to_owned(),
                credentials: None,
                digest: digest(),
                source: None,
            });
        }
        let mut first = this.tasks(1).remove(0);
        first.last_status = TaskStatus::Running;
        first.started_at = Some(NOW);
        first.containers[0].last_status = ContainerStatus::Running;
        first.containers[0].started_at = Some(NOW);
        this.world.apply(&Change::PutTask(std::boxed::Box::new(first)));
        this.plan();
        this
    }

    /// As a document does: both counts at once.
    fn hand_over(&mut self) {
        self.put(1, 0);
        self.assign(2, 1);
    }

    fn assign(&mut self, revision: u32, count: u32) {
        self.put(revision, count);
        self.plan();
    }

    fn put(&mut self, revision: u32, count: u32) {
        let id = format!("{revision}").repeat(32);
        let assignment = serde_json::from_value(json!({
            "id": id, "cluster": "default", "containerInstance": "b0",
            "taskDefinition": self.world.task_definitions.keys().nth(revision as usize - 1).unwrap(),
            "generation": 1, "service": "web", "deployment": format!("{revision:019}"),
            "count": count, "createdAt": NOW, "overrides": {}, "launchType": "EC2",
        }))
        .unwrap();
        self.world.apply(&Change::PutAssignment(std::boxed::Box::new(assignment)));
    }

    fn submit(&mut self, command: Command) {
        let outcome = command::apply(&mut self.world, command, NOW, &mut self.ids).unwrap();
        outcome.changes.iter().for_each(|change| self.world.apply(change));
    }

    fn observe(&mut self, observation: Observation) {
        self.submit(Command::Observe(observation));
        self.plan();
    }

    fn plan(&mut self) {
        for _ in 0..8 {
            let plan = instance::plan(&self.world, NOW, &mut self.ids);
            self.world.apply_plan(&plan);
            self.actions.extend(plan.actions);
        }
    }

    fn tasks(&self, revision: u32) -> Vec<Task> {
        let id = AssignmentId::new(format!("{revision}").repeat(32)).unwrap();
        self.world.live(&id).cloned().collect()
    }

    fn pulls(&self) -> usize {
        let second = |a: &&Action| matches!(a, Action::Pull { image, .. } if image == "i:2");
        self.actions.iter().filter(second).count()
    }

    fn old_is_stopping(&self) -> bool {
        self.actions.iter().any(|action| matches!(action, Action::Stop(_)))
    }

    fn fail_pull(&mut self) {
        self.observe(Observation::ImageFailed {
            image: "i:2".to_owned(),
            credentials: None,
            reason: "CannotPullContainerError: no route to host".to_owned(),
        });
    }
}

#[test]
fn the_old_task_goes_on_until_the_image_of_the_new_one_is_here() {
    for behavior in [PullBehavior::PreferCached, PullBehavior::Always] {
        let mut this = Box::new(behavior);
        this.hand_over();
        assert_eq!(this.pulls(), 1, "asked for while its room is taken");
        assert!(!this.old_is_stopping());
        let image = "i:2".to_owned();
        this.observe(Observation::ImageReady {
            image,
            credentials: None,
            digest: digest(),
            source: None,
        });
        assert!(this.old_is_stopping());
    }
}

#[test]
fn without_a_network_what_runs_goes_on_for_good() {
    let mut this = Box::new(PullBehavior::PreferCached);
    this.hand_over();
    for _ in 0..5 {
        this.fail_pull();
        assert!(!this.old_is_stopping());
        assert_eq!(this.tasks(1)[0].last_status, TaskStatus::Running);
    }
    // The deployment is taken back: nothing was ever touched.
    let before = this.tasks(1);
    this.put(2, 0);
    this.assign(1, 1);
    assert_eq!(this.tasks(1), before);
    assert!(!this.old_is_stopping());
}

#[test]
fn a_service_that_ends_does_not_wait_and_one_with_its_image_neither() {
    let mut this = Box::new(PullBehavior::PreferCached);
    this.assign(1, 0);
    assert!(this.old_is_stopping());
    let mut this = Box::new(PullBehavior::PreferCached);
    this.world.observed.images.insert("i:2".to_owned(), digest());
    this.hand_over();
    assert!(this.old_is_stopping());
    // What is planned for boxes elsewhere does not look at the images of this one.
    let mut this = Box::new(PullBehavior::PreferCached);
    this.hand_over();
    this.fail_pull();
    assert_eq!(this.pulls(), 1);
    this.assign(2, 0);
    assert!(this.old_is_stopping());
}
