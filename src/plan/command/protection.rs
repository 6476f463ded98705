//! `UpdateTaskProtection`: tasks that nothing may scale in for a while.
//!
//! The record only says until when; whoever scales in looks at it.

use super::{CommandError, Outcome, ProtectionAsker, Reply};
use crate::model::task::LONGEST_PROTECTION;
use crate::model::{ClusterName, DesiredStatus, Failure, Task, TaskId, Timestamp};
use crate::plan::{Change, World};
use std::time::Duration;

/// The longest protection.
const MINUTES_AT_MOST: u64 = LONGEST_PROTECTION.as_secs() / 60;
/// The protection of those who name no time.
const MINUTES_UNLESS_GIVEN: u64 = 120;
/// How many tasks one request may name.
const TASKS_AT_MOST: usize = 10;

/// What is asked for.
pub(super) struct Wish {
    pub(super) protected: bool,
    pub(super) expires_in_minutes: Option<i64>,
    pub(super) asked_by: ProtectionAsker,
}

/// Protects tasks, or ends their protection.
pub(super) fn update(
    world: &World,
    cluster: &ClusterName,
    tasks: &[TaskId],
    wish: &Wish,
    now: Timestamp,
) -> Result<Outcome, CommandError> {
    super::cluster::active(world, cluster)?;
    if !(1..=TASKS_AT_MOST).contains(&tasks.len()) {
        return Err(CommandError::InvalidParameter(format!(
            "Tasks must have 1 to {TASKS_AT_MOST} elements."
        )));
    }
    let until = until(wish, now)?;
    let (mut changes, mut updated, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for id in tasks {
        match protectable(world, cluster, id, wish.asked_by) {
            Err(failure) => failures.push(failure),
            Ok(_) if updated.contains(id) => {}
            Ok(task) => {
                updated.push(id.clone());
                if task.protected_until != until {
                    let version = task.version + 1;
                    let task = Task { protected_until: until, version, ..task.clone() };
                    changes.push(Change::PutTask(Box::new(task)));
                }
            }
        }
    }
    Ok(Outcome::with(changes, Reply::Protection { tasks: updated, failures }))
}

fn until(wish: &Wish, now: Timestamp) -> Result<Option<Timestamp>, CommandError> {
    let minutes = match wish.expires_in_minutes {
        None => MINUTES_UNLESS_GIVEN,
        Some(given) => u64::try_from(given)
            .ok()
            .filter(|minutes| (1..=MINUTES_AT_MOST).contains(minutes))
            .ok_or_else(|| {
                CommandError::InvalidParameter(format!(
                    "expiresInMinutes must be between 1 and {MINUTES_AT_MOST}."
                ))
            })?,
    };
    Ok(wish.protected.then(|| now.plus(Duration::from_secs(minutes * 60))))
}

/// The task, if it can be protected.
pub(crate) fn protectable<'a>(
    world: &'a World,
    cluster: &ClusterName,
    id: &TaskId,
    asked_by: ProtectionAsker,
) -> Result<&'a Task, Failure> {
    let arn = world.settings.scope.task(cluster, id);
    let task = world.tasks.get(id).filter(|task| task.cluster == *cluster);
    let Some(task) = task.filter(|task| task.desired_status == DesiredStatus::Running) else {
        return Err(Failure::missing(arn));
    };
    if asked_by == ProtectionAsker::Task || task.is_of_service() {
        return Ok(task);
    }
    Err(Failure {
        arn: Some(arn),
        reason: Some("TASK_NOT_VALID".to_owned()),
        detail: Some("The specified task is not part of an Amazon ECS service.".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Ids;
    use crate::plan::command::{Command, apply};

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn task(id: &str, service: Option<&str>) -> Task {
        let service = service.map(
            |name| serde_json::json!({"assignment": "1-box", "name": name, "deployment": "1"}),
        );
        serde_json::from_value(serde_json::json!({
            "id": id, "service": service, "cluster": "default", "containerInstance": "box",
            "taskDefinition": {"family": "web", "revision": 1}, "generation": 1,
            "desiredStatus": "RUNNING", "lastStatus": "RUNNING", "containers": [],
            "version": 3, "launchType": "EC2", "createdAt": 1,
        }))
        .unwrap()
    }

    fn world() -> World {
        let mut world = World::default();
        let create = crate::plan::command::CreateCluster {
            name: ClusterName::default_cluster(),
            tags: Vec::new(),
            settings: Vec::new(),
            configuration: None,
            capacity_providers: Vec::new(),
            default_capacity_provider_strategy: Vec::new(),
            service_connect_defaults: None,
        };
        submit(&mut world, Command::CreateCluster(Box::new(create))).unwrap();
        for task in [task("of-service", Some("web")), task("alone", None)] {
            world.apply(&Change::PutTask(Box::new(task)));
        }
        world
    }

    fn submit(world: &mut World, command: Command) -> Result<Reply, CommandError> {
        let outcome = apply(world, command, NOW, &mut Ids::from_seed(1))?;
        outcome.changes.iter().for_each(|change| world.apply(change));
        Ok(outcome.reply)
    }

    fn ask(
        world: &mut World,
        task: &str,
        protected: bool,
        minutes: Option<i64>,
        asked_by: ProtectionAsker,
    ) -> Result<Reply, CommandError> {
        let update = Command::UpdateTaskProtection {
            cluster: ClusterName::default_cluster(),
            tasks: vec![TaskId::new(task).unwrap()],
            protected,
            expires_in_minutes: minutes,
            asked_by,
        };
        submit(world, update)
    }

    fn until(world: &World, task: &str) -> Option<Timestamp> {
        world.tasks[&TaskId::new(task).unwrap()].protection(NOW)
    }

    #[test]
    fn a_task_is_protected_for_two_hours_or_as_long_as_asked_for() {
        let mut world = world();
        let by = ProtectionAsker::Task;
        ask(&mut world, "alone", true, None, by).unwrap();
        let two_hours = NOW.plus(Duration::from_hours(2));
        assert_eq!(until(&world, "alone"), Some(two_hours));
        assert_eq!(world.tasks[&TaskId::new("alone").unwrap()].version, 4);
        assert_eq!(world.tasks[&TaskId::new("alone").unwrap()].protection(two_hours), None);
        ask(&mut world, "alone", true, Some(1), by).unwrap();
        assert_eq!(until(&world, "alone"), Some(NOW.plus(Duration::from_mins(1))));
        ask(&mut world, "alone", false, Some(5), by).unwrap();
        assert_eq!(until(&world, "alone"), None);
        for minutes in [0, 2881, -1, i64::MAX] {
            let refused = ask(&mut world, "alone", true, Some(minutes), by);
            assert!(matches!(refused, Err(CommandError::InvalidParameter(_))), "{minutes}");
        }
        assert_eq!(until(&world, "alone"), None);
    }

    #[test]
    fn callers_protect_tasks_of_services_only() {
        let mut world = world();
        let by = ProtectionAsker::Caller;
        let reasons = |reply: Reply| match reply {
            Reply::Protection { tasks, failures } => {
                (tasks.len(), failures.into_iter().filter_map(|f| f.reason).collect::<Vec<_>>())
            }
            other => panic!("{other:?}"),
        };
        let asked = ask(&mut world, "of-service", true, None, by).unwrap();
        assert_eq!(reasons(asked), (1, Vec::new()));
        let asked = ask(&mut world, "alone", true, None, by).unwrap();
        assert_eq!(reasons(asked), (0, vec!["TASK_NOT_VALID".to_owned()]));
        let asked = ask(&mut world, "nobody", true, None, by).unwrap();
        assert_eq!(reasons(asked), (0, vec!["MISSING".to_owned()]));
        assert_eq!(until(&world, "alone"), None);
    }
}
