//! The life of a task: what its containers and its assignment make of it.

use super::{Round, health, restart, service, start, stop};
use crate::model::task_definition::ContainerDefinition;
use crate::model::{
    Assignment, Attachment, Container, ContainerName, ContainerStatus, DesiredStatus, Generation,
    HealthStatus, StopCode, StopRequest, Task, TaskDefinition, TaskId, TaskStatus,
};
use crate::plan::{Change, Ids, Reason, effective};

/// What ECS says of a task whose essential container ended.
const ESSENTIAL_EXITED: &str = "Essential container in task exited";

/// Where a task comes from, and why it is to stop if somebody wants that.
pub(super) struct Origin<'a> {
    pub(super) assignment: &'a Assignment,
    pub(super) stop: Option<&'a StopRequest>,
}

/// Brings a task as far as it can be brought in this round; answers it as it is then.
pub(super) fn advance(
    round: &mut Round,
    origin: &Origin,
    definition: &TaskDefinition,
    stored: &Task,
) -> Task {
    if is_settled(stored, origin, definition) {
        return stored.clone();
    }
    record(round, origin, definition, Some(stored), stored.clone())
}

/// Does the same for a task that no record knows yet.
pub(super) fn begin(
    round: &mut Round,
    origin: &Origin,
    definition: &TaskDefinition,
    task: Task,
) -> Task {
    record(round, origin, definition, None, task)
}

fn record(
    round: &mut Round,
    origin: &Origin,
    definition: &TaskDefinition,
    stored: Option<&Task>,
    mut task: Task,
) -> Task {
    round.waits.clear();
    if round.world.observed.scanned {
        step(round, &mut task, origin, definition);
    }
    if stored != Some(&task) {
        if stored.is_none_or(|old| old.last_status != task.last_status) {
            let (task, status) = (task.id.clone(), task.last_status);
            round.plan.reasons.push(Reason::TaskBecame { task, status });
        }
        round.plan.reasons.append(&mut round.waits);
        task.version += 1;
        round.plan.changes.push(Change::PutTask(Box::new(task.clone())));
    }
    task
}

/// Brings a standalone task on, and ends its assignment with it.
pub(super) fn advance_standalone(
    round: &mut Round,
    assignment: &Assignment,
    id: &TaskId,
    stop: Option<&StopRequest>,
    definition: &TaskDefinition,
) {
    let origin = Origin { assignment, stop };
    let task = if let Some(stored) = round.world.tasks.get(id) {
        advance(round, &origin, definition, stored)
    } else {
        let task = new_task(round.ids, id.clone(), assignment, definition);
        begin(round, &origin, definition, task)
    };
    if task.last_status == TaskStatus::Stopped {
        round.plan.changes.push(Change::DeleteAssignment(assignment.id.clone()));
    }
}

/// True for the task that there is nothing to do about until something is observed: most of them, most of the time.
fn is_settled(task: &Task, origin: &Origin, definition: &TaskDefinition) -> bool {
    task.last_status == TaskStatus::Running
        && task.desired_status == DesiredStatus::Running
        && origin.stop.is_none()
        && task.containers.iter().any(|c| c.last_status == ContainerStatus::Running)
        && task.containers.iter().all(|c| match c.last_status {
            ContainerStatus::Pending => false,
            ContainerStatus::Running => true,
            ContainerStatus::Stopped => !is_essential(c, definition),
        })
        && definition.containers().iter().all(|c| c.health_check.is_none())
}

fn is_essential(container: &Container, definition: &TaskDefinition) -> bool {
    definition.container(container.name.as_str()).is_none_or(ContainerDefinition::is_essential)
}

/// A task of `assignment` of which nothing has begun.
pub(crate) fn new_task(
    ids: &mut Ids,
    id: TaskId,
    assignment: &Assignment,
    definition: &TaskDefinition,
) -> Task {
    let content = &definition.content;
    let containers = definition
        .containers()
        .iter()
        .filter_map(|container| {
            Some(Container {
                id: ids.uuid(),
                name: ContainerName::new(container.name.clone()?).ok()?,
                image: container.image.clone().unwrap_or_default(),
                image_digest: None,
                image_source: None,
                runtime_id: None,
                last_status: ContainerStatus::Pending,
                exit_code: None,
                reason: None,
                health_status: HealthStatus::Unknown,
                network_bindings: Vec::new(),
                network_interfaces: Vec::new(),
                started_at: None,
                start_timeout_from: None,
                finished_at: None,
                stop_requested_at: None,
                restart_count: 0,
                early_exits: 0,
                restart_at: None,
            })
        })
        .collect();
    let attachments = assignment
        .network
        .iter()
        .map(|network| Attachment::network_interface(ids.uuid(), network))
        .collect();
    Task {
        id,
        cluster: assignment.cluster.clone(),
        container_instance: assignment.container_instance.clone(),
        task_definition: assignment.task_definition.clone(),
        generation: Generation(1),
        desired_status: DesiredStatus::Running,
        last_status: TaskStatus::Pending,
        containers,
        overrides: assignment.overrides.clone(),
        version: 0,
        group: assignment.group.clone(),
        started_by: assignment.started_by.clone(),
        launch_type: assignment.launch_type.clone(),
        capacity_provider_name: assignment.capacity_provider_name.clone(),
        service: None,
        cpu: effective::task_cpu(content, &assignment.overrides).map(|cpu| cpu.to_string()),
        memory: effective::task_memory(content, &assignment.overrides)
            .map(|memory| memory.to_string()),
        attachments,
        enable_execute_command: assignment.enable_execute_command,
        health_status: HealthStatus::Unknown,
        protected_until: None,
        created_at: assignment.created_at,
        pull_started_at: None,
        pull_stopped_at: None,
        started_at: None,
        stopping_at: None,
        execution_stopped_at: None,
        stopped_at: None,
        heard_at: None,
        stop_code: None,
        stopped_reason: None,
        tags: assignment.tags.clone(),
    }
}

fn step(round: &mut Round, task: &mut Task, origin: &Origin, definition: &TaskDefinition) {
    if task.last_status == TaskStatus::Stopped {
        return;
    }
    note_running(round, task);
    if task.desired_status == DesiredStatus::Running {
        if origin.stop.is_none() {
            restart::revive(round, task, definition);
        }
        if let Some(stop) = origin.stop {
            begin_stop(round, task, stop.code, stop.reason.clone());
        } else if let Some((code, reason)) = why_stop(task, definition) {
            begin_stop(round, task, code, reason);
            note_failure(task);
        } else if let Some(stop) = service::unhealthy(round, task, origin.assignment) {
            begin_stop(round, task, stop.code, stop.reason);
            note_failure(task);
        } else {
            start::fail_unstartable(round, task, definition);
            if task.desired_status == DesiredStatus::Stopped {
                note_failure(task);
            }
        }
    } else if task.last_status <= TaskStatus::Running && origin.stop.is_none() {
        // Its shim was lost: seen by the shell, and counted here.
        note_failure(task);
    }
    if task.desired_status == DesiredStatus::Running {
        if service::waits(round, task, definition) {
            return;
        }
        start::start(round, task, definition);
        health::probe(round, task, definition);
    } else {
        stop::stop(round, task, definition);
    }
    task.health_status = health::of_task(task, definition);
}

/// RUNNING once no container is still to be started.
fn note_running(round: &Round, task: &mut Task) {
    let begun = |c: &Container| c.last_status != ContainerStatus::Pending || c.restart_count > 0;
    if task.desired_status != DesiredStatus::Running || !task.containers.iter().all(begun) {
        return;
    }
    let ran = task.containers.iter().all(|c| c.started_at.is_some() || c.restart_count > 0);
    // All have begun, so what is PENDING waits for its restart.
    let runs = task.containers.iter().any(|c| c.last_status != ContainerStatus::Stopped);
    if runs {
        task.last_status = task.last_status.max(TaskStatus::Running);
    }
    if (runs || ran) && task.started_at.is_none() {
        task.started_at = Some(round.now);
    }
}

/// The service's replacement waits for it, and the circuit breaker counts it.
const fn note_failure(task: &mut Task) {
    if let Some(service) = &mut task.service {
        service.failed = true;
    }
}

/// Why a task that runs ends by itself, if it does.
fn why_stop(task: &Task, definition: &TaskDefinition) -> Option<(StopCode, String)> {
    let ended = |c: &&Container| c.last_status == ContainerStatus::Stopped;
    let essential = |c: &&Container| is_essential(c, definition);
    let first = task
        .containers
        .iter()
        .filter(ended)
        .filter(essential)
        .min_by_key(|container| container.finished_at);
    let all_ended = || task.containers.iter().filter(ended).count() == task.containers.len();
    match first {
        Some(container) if container.started_at.is_none() => {
            let reason = container.reason.clone().unwrap_or_else(|| "Task failed to start".into());
            Some((StopCode::TaskFailedToStart, reason))
        }
        Some(_) => Some((StopCode::EssentialContainerExited, ESSENTIAL_EXITED.to_owned())),
        None if all_ended() => {
            Some((StopCode::EssentialContainerExited, "All containers in task exited".to_owned()))
        }
        None => None,
    }
}

/// From now on the task is to stop.
pub(super) fn begin_stop(round: &mut Round, task: &mut Task, code: StopCode, reason: String) {
    task.desired_status = DesiredStatus::Stopped;
    task.stopping_at.get_or_insert(round.now);
    task.stop_code = Some(code);
    round.plan.reasons.push(Reason::TaskStops { task: task.id.clone(), why: reason.clone() });
    task.stopped_reason = Some(reason);
}
