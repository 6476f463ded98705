//! `RunTask` and `StartTask`: which boxes, and assignments for them.

use super::place_tasks::{self, Placed};
use super::{CommandError, Outcome, Reply, RunTask, registration, target};
use crate::model::task::TaskOverride;
use crate::model::task_definition::TaskDefinitionContent;
use crate::model::{
    Assignment, AssignmentId, DesiredStatus, Generation, OneTask, Tag, TaskId, Timestamp, Wanted,
};
use crate::plan::world::ClientToken;
use crate::plan::{Change, Ids, World};
use std::time::Duration;

/// How many tasks one request may start, and how many boxes StartTask may name.
const TASKS_AT_MOST: u32 = 10;

/// How long a client token is remembered.
pub(crate) const CLIENT_TOKEN_KEPT: Duration = Duration::from_hours(24);

/// Places tasks; what has no room is told in `failures`.
pub(super) fn run(
    world: &World,
    mut run: RunTask,
    now: Timestamp,
    ids: &mut Ids,
) -> Result<Outcome, CommandError> {
    super::cluster::active(world, &run.cluster)?;
    check(&run)?;
    let token = run.client_token.take();
    let request = token.as_ref().map(|_| format!("{run:?}")).unwrap_or_default();
    if let Some(used) = token.as_ref().and_then(|token| world.client_tokens.get(token))
        && !expired(used, now)
    {
        return again(world, &run, used, &request);
    }
    let definition = target::definition(world, &run.family, run.revision)?;
    target::check_launch_type(run.launch_type.as_deref(), definition)?;
    registration::runnable(&definition.content)?;
    check_overrides(&run.overrides, &definition.content)?;
    target::check_network(run.network.as_ref(), &definition.content)?;
    let (placed, failures) = place_tasks::place(world, &run, definition, ids)?;
    let mut changes = Vec::new();
    let mut tasks = Vec::new();
    let mut tags = if run.propagate_tags_from_task_definition {
        super::tag::merged(&definition.tags, run.tags.clone())
    } else {
        run.tags.clone()
    };
    if run.enable_ecs_managed_tags {
        tags.push(Tag::of_cluster(&run.cluster));
    }
    for Placed { instance, pool } in placed {
        let task = ids.task();
        tasks.push(task.clone());
        changes.push(Change::PutAssignment(Box::new(Assignment {
            id: AssignmentId::of_task(&task),
            cluster: run.cluster.clone(),
            container_instance: instance,
            task_definition: definition.reference(),
            generation: Generation(1),
            wanted: Wanted::Task(OneTask { desired_status: DesiredStatus::Running, stop: None }),
            created_at: now,
            overrides: run.overrides.clone(),
            group: Some(run.group_or_family()),
            started_by: run.started_by.clone(),
            launch_type: run.launch_type.clone().unwrap_or_else(|| "EC2".to_owned()),
            capacity_provider_name: pool,
            network: run.network.clone(),
            enable_execute_command: run.enable_execute_command,
            tags: tags.clone(),
        })));
    }
    if let Some(token) = token.filter(|_| !tasks.is_empty()) {
        let used = ClientToken { used_at: now, request, tasks: tasks.clone(), service: None };
        changes.push(Change::PutClientToken(token, used));
    }
    Ok(Outcome::with(changes, Reply::Tasks { tasks, failures }))
}

/// What can be said of the request alone.
fn check(run: &RunTask) -> Result<(), CommandError> {
    let invalid = |text: &str| Err(CommandError::InvalidParameter(text.to_owned()));
    match &run.container_instances {
        None if !(1..=TASKS_AT_MOST).contains(&run.count) => {
            return invalid("count must be between 1 and 10.");
        }
        Some(named) if named.is_empty() => {
            return invalid("Container instances cannot be empty.");
        }
        Some(named) if named.len() > TASKS_AT_MOST as usize => {
            return invalid("At most 10 container instances can be given.");
        }
        _ => {}
    }
    let length = |text: &Option<String>| text.as_ref().map_or(0, |text| text.chars().count());
    if length(&run.client_token) > 64 {
        return invalid("clientToken can have at most 64 characters.");
    }
    if length(&run.started_by) > 128 {
        return invalid("startedBy can have at most 128 characters.");
    }
    if length(&run.group) > 255 {
        return invalid("group can have at most 255 characters.");
    }
    if run.group.as_ref().is_some_and(|group| group.starts_with("service:")) {
        return invalid("group cannot begin with service:, which services use.");
    }
    if run.launch_type.is_some() && !run.capacity_provider_strategy.is_empty() {
        return invalid(
            "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.",
        );
    }
    super::tag::check_tags(&run.tags)
}

/// A token counts for a day; one from the future is left over from a clock that was wrong.
pub(crate) fn expired(used: &ClientToken, now: Timestamp) -> bool {
    now.since(used.used_at) > CLIENT_TOKEN_KEPT || used.used_at.since(now) > CLIENT_TOKEN_KEPT
}

/// The answer to a request that came before with the same token.
fn again(
    world: &World,
    run: &RunTask,
    used: &ClientToken,
    request: &str,
) -> Result<Outcome, CommandError> {
    if used.request != request {
        return Err(CommandError::Conflict {
            message: "The client token was used with a different request.".to_owned(),
            resource_ids: used
                .tasks
                .iter()
                .map(|task| world.settings.scope.task(&run.cluster, task))
                .collect(),
        });
    }
    let known = |task: &&TaskId| {
        world.tasks.contains_key(*task)
            || world.assignments.contains_key(&AssignmentId::of_task(task))
    };
    let tasks = used.tasks.iter().filter(known).cloned().collect();
    Ok(Outcome::with(Vec::new(), Reply::Tasks { tasks, failures: Vec::new() }))
}

/// Overrides may only name what the definition has, with values that registration would take.
fn check_overrides(
    overrides: &TaskOverride,
    content: &TaskDefinitionContent,
) -> Result<(), CommandError> {
    let invalid = |text: String| Err(CommandError::InvalidParameter(text));
    let definitions = content.container_definitions.as_deref().unwrap_or_default();
    let mut seen = std::collections::BTreeSet::new();
    for change in overrides.container_overrides.as_deref().unwrap_or_default() {
        let name = change.name.as_deref().unwrap_or_default();
        let Some(definition) = definitions.iter().find(|c| c.name.as_deref() == Some(name)) else {
            return invalid(format!(
                "Override for container named {name} is not a container in the TaskDefinition."
            ));
        };
        if !seen.insert(name) {
            return invalid(format!("There are two overrides for the container named {name}."));
        }
        for (what, value, least) in [
            ("cpu", change.cpu, 0),
            ("memory", change.memory, 4),
            ("memoryReservation", change.memory_reservation, 4),
        ] {
            if value.is_some_and(|value| value < least) {
                return invalid(format!(
                    "The override of {what} for container {name} must be at least {least}."
                ));
            }
        }
        let memory = change.memory.or(definition.memory);
        let reserved = change.memory_reservation.or(definition.memory_reservation);
        if let (Some(memory), Some(reserved)) = (memory, reserved)
            && reserved > memory
        {
            return invalid(format!(
                "The memoryReservation of container {name} would be above its memory."
            ));
        }
        let nameless = |pair: &crate::model::task_definition::KeyValuePair| {
            pair.name.as_deref().unwrap_or_default().is_empty()
        };
        if change.environment.as_deref().unwrap_or_default().iter().any(nameless) {
            return invalid(format!("An environment variable of container {name} has no name."));
        }
        registration::overridable(definition, change)?;
        if change.resource_requirements.as_ref().is_some_and(|needs| !needs.is_empty()) {
            return Err(CommandError::Client(format!(
                "overrides.containerOverrides[{name}].resourceRequirements is not supported here yet; leave it out."
            )));
        }
    }
    for (what, value) in [("cpu", &overrides.cpu), ("memory", &overrides.memory)] {
        if value.is_some() && crate::plan::effective::stated(value.as_deref()).is_none() {
            return invalid(format!("The override of {what} must be a number above 0."));
        }
    }
    if overrides.inference_accelerator_overrides.as_ref().is_some_and(|list| !list.is_empty()) {
        return Err(CommandError::Client(
            "overrides.inferenceAcceleratorOverrides is not supported: there are no such devices; leave it out.".to_owned(),
        ));
    }
    Ok(())
}
