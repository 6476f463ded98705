//! Tasks: running, stopping, describing and listing them.

pub(super) mod protection;
pub(super) mod run;

use super::error::ApiError;
use super::pagination::{PAGE, PageRequest};
use super::{identifiers, input, render, services};
use crate::engine::Handle;
use crate::model::{ContainerInstanceId, Failure, ServiceKey, Task, TaskId};
use crate::plan::{Command, World};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::ops::Bound;

#[derive(Deserialize)]
struct StopTask {
    cluster: Option<String>,
    task: String,
    reason: Option<String>,
}

/// ECS takes this many characters of a stop reason.
const REASON_LIMIT: usize = 1024;

/// `StopTask`: answers with the task as it is now; it stops in its own time.
pub(super) async fn stop(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: StopTask = input::read(input)?;
    if input.reason.as_ref().is_some_and(|r| r.chars().count() > REASON_LIMIT) {
        return Err(ApiError::invalid(format!(
            "The reason cannot have more than {REASON_LIMIT} characters."
        )));
    }
    let cluster = engine.read(|w| identifiers::active_cluster(w, input.cluster.as_deref()))?;
    let (in_cluster, task) = identifiers::task(&input.task)?;
    if in_cluster.is_some_and(|c| c != cluster) {
        return Err(not_found());
    }
    let command = Command::StopTask { cluster, task: task.clone(), reason: input.reason };
    engine.submit(command).await?;
    engine.read(|world| {
        let task = world.tasks.get(&task).ok_or_else(not_found)?;
        Ok(json!({ "task": render::task::task(world, task, true) }))
    })
}

fn not_found() -> ApiError {
    ApiError::invalid("The referenced task was not found.")
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DescribeTasks {
    cluster: Option<String>,
    tasks: Vec<String>,
    include: Vec<String>,
}

/// `DescribeTasks`.
pub(super) fn describe(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: DescribeTasks = input::read(input)?;
    if input.tasks.len() > PAGE {
        return Err(ApiError::invalid("Tasks cannot have more than 100 elements."));
    }
    let with_tags = input.include.iter().any(|i| i == "TAGS");
    engine.read(|world| {
        let cluster = identifiers::active_cluster(world, input.cluster.as_deref())?;
        let (mut tasks, mut failures) = (Vec::new(), Vec::new());
        for text in &input.tasks {
            let (in_cluster, id) = identifiers::task(text)?;
            let task = world.tasks.get(&id).filter(|task| task.cluster == cluster);
            let place = in_cluster.as_ref().unwrap_or(&cluster);
            match task.filter(|_| *place == cluster) {
                Some(task) => tasks.push(render::task::task(world, task, with_tags)),
                None => failures.push(Failure::missing(world.settings.scope.task(place, &id))),
            }
        }
        Ok(json!({ "tasks": tasks, "failures": failures }))
    })
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ListTasks {
    cluster: Option<String>,
    container_instance: Option<String>,
    family: Option<String>,
    started_by: Option<String>,
    service_name: Option<String>,
    daemon_name: Option<String>,
    desired_status: Option<String>,
    launch_type: Option<String>,
    #[serde(flatten)]
    page: PageRequest,
}

/// `ListTasks`: those that should run, unless `desiredStatus` says otherwise.
pub(super) fn list(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: ListTasks = input::read(input)?;
    let given = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
    let desired = input.desired_status.as_deref().unwrap_or("RUNNING");
    let instance = match given(&input.container_instance) {
        None => None,
        Some(text) => Some(identifiers::container_instance(&text)?.1),
    };
    let (family, started_by) = (given(&input.family), given(&input.started_by));
    let (service, launch_type) = (given(&input.service_name), given(&input.launch_type));
    engine.read(|world| {
        let cluster = identifiers::active_cluster(world, input.cluster.as_deref())?;
        if given(&input.daemon_name).is_some() {
            return Err(ApiError::invalid("The referenced daemon was not found."));
        }
        let service = match &service {
            None => None,
            Some(service) => Some(services::known_in(world, &cluster, service)?),
        };
        let fits = |task: &Task| {
            task.cluster == cluster
                && task.desired_status.as_str() == desired
                && instance.as_ref().is_none_or(|i| task.container_instance == *i)
                && family.as_ref().is_none_or(|f| task.task_definition.family.as_str() == f)
                && started_by.as_ref().is_none_or(|s| task.started_by.as_ref() == Some(s))
                && launch_type.as_ref().is_none_or(|l| task.launch_type == *l)
        };
        let fits = |id: &&TaskId| world.tasks.get(*id).is_some_and(fits);
        let filters = (instance.as_ref(), &family, &started_by, desired, &launch_type, &service);
        let scope = ("ListTasks", &cluster, filters);
        let page = input.page.scan(&scope, PAGE, |after| {
            let after = after.map_or(Bound::Unbounded, Bound::Excluded);
            candidates(world, service.as_ref(), instance.as_ref(), after).filter(fits).cloned()
        })?;
        let arns = page.keys.iter().map(|id| world.settings.scope.task(&cluster, id));
        Ok(render::page("taskArns", arns, page.next_token))
    })
}

/// The fewest tasks that an index gives and the filters leave, in the order of their ids.
fn candidates<'w>(
    world: &'w World,
    service: Option<&ServiceKey>,
    instance: Option<&ContainerInstanceId>,
    after: Bound<&TaskId>,
) -> Box<dyn Iterator<Item = &'w TaskId> + 'w> {
    let range = (after.cloned(), Bound::Unbounded);
    if let Some(service) = service {
        let tasks = world.index.tasks_of_service.get(service);
        return Box::new(tasks.into_iter().flat_map(move |tasks| tasks.range(range.clone())));
    }
    if let Some(instance) = instance {
        let live = world.assignments_on(instance).flat_map(|a| world.live(&a.id)).map(|t| &t.id);
        let stopped = world.index.stopped.iter().map(|(_, id)| id);
        let ids: BTreeSet<&TaskId> = live.chain(stopped).collect();
        let follows = move |id: &&TaskId| match &range.0 {
            Bound::Excluded(after) => *id > after,
            _ => true,
        };
        return Box::new(ids.into_iter().filter(follows));
    }
    Box::new(world.tasks.range(range).map(|(id, _)| id))
}
