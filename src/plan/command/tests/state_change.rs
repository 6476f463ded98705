//! A tester plays the agent of an instance without a box.

use crate::model::container_instance::Capacity;
use crate::model::task::TaskOverride;
use crate::model::task_definition::TaskDefinitionContent;
use crate::model::{
    Assignment, AssignmentId, ClusterName, ContainerName, ContainerStatus, DesiredStatus,
    Generation, OneTask, StopCode, Task, TaskId, TaskStatus, Timestamp, Wanted,
};
use crate::plan::command::{
    Command, CommandError, ContainerStateChange, CreateCluster, RegisterContainerInstance,
    ReportedStatus, StateChange, apply,
};
use crate::plan::{Change, Ids, Reply, World, check, simulate};
use serde_json::json;

struct Stage {
    world: World,
    now: Timestamp,
    ids: Ids,
}

impl Stage {
    /// A simulation of one instance and a definition of two containers, of which one is essential.
    fn new(rules: &serde_json::Value) -> Self {
        let mut world = World::default();
        world.settings.simulated = true;
        let faults = serde_json::from_value(json!({ "rules": rules })).unwrap();
        simulate::begin(&mut world, faults);
        let now = Timestamp::from_secs(1_700_000_000);
        let mut stage = Self { world, now, ids: Ids::from_seed(3) };
        let cluster = ClusterName::default_cluster();
        stage.submit(Command::CreateCluster(Box::new(CreateCluster::named(cluster.clone()))));
        stage.submit(Command::RegisterContainerInstance(Box::new(RegisterContainerInstance {
            cluster,
            id: None,
            capacity: Capacity { cpu: 4096, memory: 8192, ..Capacity::default() },
            attributes: Vec::new(),
            agent_version: "1".to_owned(),
            agent_hash: None,
            docker_version: None,
            ec2_instance_id: None,
            tags: Vec::new(),
        })));
        let content: TaskDefinitionContent = serde_json::from_value(json!({
            "family": "web",
            "containerDefinitions": [
                { "name": "main", "image": "i", "memory": 16 },
                { "name": "side", "image": "i", "memory": 16, "essential": false },
            ],
        }))
        .unwrap();
        let content = Box::new(content);
        stage.submit(Command::RegisterTaskDefinition {
            content,
            tags: Vec::new(),
            registered_by: None,
        });
        stage
    }

    fn submit(&mut self, command: Command) -> Reply {
        self.try_submit(command).unwrap()
    }

    fn try_submit(&mut self, command: Command) -> Result<Reply, CommandError> {
        let outcome = apply(&mut self.world, command, self.now, &mut self.ids)?;
        outcome.changes.iter().for_each(|change| self.world.apply(change));
        let _ = simulate::plan(&mut self.world, self.now, &mut self.ids);
        assert_eq!(check::check(&self.world), Vec::<String>::new());
        Ok(outcome.reply)
    }

    /// What RunTask leaves.
    fn run(&mut self) -> TaskId {
        let id = self.ids.task();
        let instance = self.world.container_instances.keys().next().unwrap().clone();
        let wanted = OneTask { desired_status: DesiredStatus::Running, stop: None };
        self.world.apply(&Change::PutAssignment(Box::new(Assignment {
            id: AssignmentId::of_task(&id),
            cluster: ClusterName::default_cluster(),
            container_instance: instance,
            task_definition: self.world.task_definitions.keys().next().unwrap().clone(),
            generation: Generation(1),
            wanted: Wanted::Task(wanted),
            created_at: self.now,
            overrides: TaskOverride::default(),
            group: None,
            started_by: None,
            launch_type: "EC2".to_owned(),
            capacity_provider_name: None,
            network: None,
            enable_execute_command: false,
            tags: Vec::new(),
        })));
        let _ = simulate::plan(&mut self.world, self.now, &mut self.ids);
        id
    }

    fn report(&mut self, task: &TaskId, edit: impl FnOnce(&mut StateChange)) -> Task {
        let mut report = report(task);
        edit(&mut report);
        self.submit(Command::SubmitStateChange(Box::new(report)));
        self.world.tasks[task].clone()
    }
}

fn report(task: &TaskId) -> StateChange {
    StateChange {
        cluster: ClusterName::default_cluster(),
        task: task.clone(),
        status: None,
        reason: None,
        containers: Vec::new(),
        pull_started_at: None,
        pull_stopped_at: None,
        execution_stopped_at: None,
    }
}

fn container(name: &str, status: ReportedStatus, exit_code: Option<i32>) -> ContainerStateChange {
    ContainerStateChange {
        name: ContainerName::new(name).unwrap(),
        status: Some(status),
        exit_code,
        reason: None,
        network_bindings: Vec::new(),
    }
}

#[test]
fn a_container_that_is_said_to_have_ended_has() {
    let mut stage = Stage::new(&json!([]));
    let id = stage.run();
    assert_eq!(stage.world.tasks[&id].last_status, TaskStatus::Running);
    let task = stage.report(&id, |report| {
        report.containers = vec![container("side", ReportedStatus::Stopped, Some(3))];
    });
    assert_eq!(task.last_status, TaskStatus::Running, "the other one is the essential one");
    assert_eq!(task.containers[1].exit_code, Some(3));
    let task = stage.report(&id, |report| {
        report.containers = vec![container("main", ReportedStatus::Stopped, Some(1))];
    });
    assert_eq!(task.last_status, TaskStatus::Stopped);
    assert_eq!(task.stop_code, Some(StopCode::EssentialContainerExited));
    assert_eq!(task.containers[0].exit_code, Some(1));
    assert!(stage.world.assignments.is_empty());
    let again = stage.report(&id, |report| report.status = Some(ReportedStatus::Running));
    assert_eq!(again, task, "a task that is over stays so");
}

#[test]
fn a_task_that_is_said_to_have_ended_has() {
    let mut stage = Stage::new(&json!([]));
    let id = stage.run();
    let same = stage.report(&id, |report| report.status = Some(ReportedStatus::Running));
    assert_eq!(same.last_status, TaskStatus::Running);
    let task = stage.report(&id, |report| {
        report.status = Some(ReportedStatus::Stopped);
        report.reason = Some("the lights went out".to_owned());
    });
    assert_eq!(task.last_status, TaskStatus::Stopped);
    assert_eq!(task.stopped_reason.as_deref(), Some("the lights went out"));
    assert!(task.containers.iter().all(|c| c.last_status == ContainerStatus::Stopped));
}

#[test]
fn a_start_that_takes_its_time_may_be_reported_early() {
    let mut stage = Stage::new(&json!([{ "family": "web", "start_after": "1h" }]));
    let id = stage.run();
    assert_eq!(stage.world.tasks[&id].last_status, TaskStatus::Pending);
    let task = stage.report(&id, |report| report.status = Some(ReportedStatus::Running));
    assert_eq!(task.last_status, TaskStatus::Running);
    let other = stage.run();
    let task = stage.report(&other, |report| {
        let mut main = container("main", ReportedStatus::Stopped, None);
        main.reason = Some("CannotPullContainerError: no".to_owned());
        report.containers = vec![main];
    });
    assert_eq!(task.last_status, TaskStatus::Stopped);
    assert_eq!(task.stop_code, Some(StopCode::TaskFailedToStart));
}

#[test]
fn reports_of_what_is_not_there_are_refused() {
    let mut stage = Stage::new(&json!([]));
    let id = stage.run();
    let mut elsewhere = report(&id);
    elsewhere.cluster = ClusterName::new("nowhere").unwrap();
    let mut nobody = report(&TaskId::new("nothing").unwrap());
    nobody.status = Some(ReportedStatus::Running);
    let mut other = report(&id);
    other.containers = vec![container("other", ReportedStatus::Stopped, None)];
    for (report, client) in [(elsewhere, false), (nobody, true), (other, true)] {
        let refused = stage.try_submit(Command::SubmitStateChange(Box::new(report)));
        let invalid = matches!(refused, Err(CommandError::InvalidParameter(_)));
        assert!(if client { invalid } else { refused == Err(CommandError::ClusterNotFound) });
    }
}
