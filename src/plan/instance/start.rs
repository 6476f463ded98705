//! Starting: images, `dependsOn`, the Start of every container.

use super::dependencies::{self, Order};
use super::{Round, life_cycle, restart};
use crate::model::task_definition::ContainerDefinition;
use crate::model::{ContainerStatus, StopCode, Task, TaskDefinition};
use crate::plan::action::ContainerRun;
use crate::plan::world::PullBehavior;
use crate::plan::{Action, ActionKey, Reason, StartContainer, connection, effective, simulate};

/// Gives up what can never be started: such a container ends, and the task with it.
pub(super) fn fail_unstartable(round: &mut Round, task: &mut Task, definition: &TaskDefinition) {
    forgive_clock(round, task, definition);
    for at in 0..task.containers.len() {
        let container = &task.containers[at];
        if container.last_status != ContainerStatus::Pending || container.runtime_id.is_some() {
            continue;
        }
        // One that has run before is started again whatever became of the others.
        if container.restart_count > 0 {
            continue;
        }
        if let Order::Failed(why) = dependencies::order(task, definition, container, round.now) {
            let reason = format!("CannotStartContainerError: container {} {why}", container.name);
            let container = &mut task.containers[at];
            container.last_status = ContainerStatus::Stopped;
            container.reason = Some(reason.clone());
            life_cycle::begin_stop(round, task, StopCode::TaskFailedToStart, reason);
            return;
        }
    }
}

/// Counts a `startTimeout` anew where the clock has been set to before its start.
fn forgive_clock(round: &Round, task: &mut Task, definition: &TaskDefinition) {
    for container in &mut task.containers {
        let counts = container.last_status == ContainerStatus::Running
            && definition
                .container(container.name.as_str())
                .is_some_and(|c| dependencies::start_timeout(c).is_some());
        if counts && container.runs_since().is_some_and(|since| since > round.now) {
            container.start_timeout_from = Some(round.now);
        }
    }
}

/// Asks for images and starts every container whose turn it is.
pub(super) fn start(round: &mut Round, task: &mut Task, definition: &TaskDefinition) {
    for at in 0..task.containers.len() {
        let container = &task.containers[at];
        if container.last_status != ContainerStatus::Pending {
            continue;
        }
        let Some(of) = definition.container(container.name.as_str()) else { continue };
        if container.runtime_id.is_none() {
            let waits = restart::waits_until(&mut task.containers[at], definition, round.now);
            if let Some(until) = waits {
                round.plan.wake(until);
                continue;
            }
            let container = &task.containers[at];
            match dependencies::order(task, definition, container, round.now) {
                // One that has run before is started again whatever became of the others.
                Order::Failed(_) if container.restart_count == 0 => continue,
                Order::Ready | Order::Failed(_) => {}
                Order::Waits { on, condition, until } => {
                    let (task, container) = (task.id.clone(), container.name.clone());
                    round.waits.push(Reason::ContainerWaits { task, container, on, condition });
                    if let Some(until) = until {
                        round.plan.wake(until);
                    }
                    continue;
                }
            }
            if container.image_digest.is_none() && !image(round, task, at, of) {
                continue;
            }
            let id = round.ids.runtime(&task.id);
            task.containers[at].runtime_id = Some(id);
        }
        start_container(round, task, definition, at, of);
    }
}

/// Asks for all images of a task that cannot begin yet.
pub(super) fn fetch_images(round: &mut Round, task: &mut Task, definition: &TaskDefinition) {
    for at in 0..task.containers.len() {
        let container = &task.containers[at];
        if container.last_status != ContainerStatus::Pending || container.image_digest.is_some() {
            continue;
        }
        if let Some(of) = definition.container(container.name.as_str()) {
            image(round, task, at, of);
        }
    }
}

/// Pins the image of a container to a digest if it is there, else asks for it; false when it must be waited for.
fn image(round: &mut Round, task: &mut Task, at: usize, of: &ContainerDefinition) -> bool {
    let image = task.containers[at].wanted_image();
    if round.world.settings.simulated
        && let Some(digest) = simulate::digest(&image)
    {
        return pin(round, task, at, &digest);
    }
    let local = round.world.observed.images.get(&image);
    let pulled = round.world.observed.pulled.contains(&image);
    let fall_back_to_cached = match (round.world.settings.pull_behavior, local) {
        (PullBehavior::PreferCached, Some(digest)) => {
            return pin(round, task, at, digest);
        }
        (PullBehavior::Once, Some(digest)) if pulled => {
            return pin(round, task, at, digest);
        }
        (PullBehavior::Always, _) => false,
        // It may have been brought here since somebody last looked.
        (PullBehavior::Default | PullBehavior::Once | PullBehavior::PreferCached, _) => true,
    };
    task.pull_started_at.get_or_insert(round.now);
    let credentials = of.registry_login().map(str::to_owned);
    let pull = Action::Pull { image, credentials, fall_back_to_cached };
    if !round.in_flight(&pull.key()) && round.pulls.insert(pull.key()) {
        round.plan.actions.push(pull);
    }
    false
}

fn pin(round: &Round, task: &mut Task, at: usize, digest: &crate::model::ImageDigest) -> bool {
    let container = &mut task.containers[at];
    container.image_digest = Some(digest.clone());
    if container.image_source.is_none() {
        container.image_source = round.world.observed.image_sources.get(digest).cloned();
    }
    task.pull_started_at.get_or_insert(round.now);
    task.pull_stopped_at = Some(round.now);
    true
}

fn start_container(
    round: &mut Round,
    task: &Task,
    definition: &TaskDefinition,
    at: usize,
    of: &ContainerDefinition,
) {
    let container = &task.containers[at];
    if round.in_flight(&ActionKey::Start(task.id.clone(), container.name.clone())) {
        return;
    }
    let (Some(runtime_id), Some(image_digest)) = (&container.runtime_id, &container.image_digest)
    else {
        return;
    };
    let content = &definition.content;
    let assignment = round.world.assignments.get(&task.assignment());
    let configuration = assignment.and_then(|assignment| assignment.network.as_ref());
    round.plan.actions.push(Action::Start(Box::new(StartContainer {
        run: ContainerRun {
            task: task.id.clone(),
            generation: task.generation,
            container: container.name.clone(),
            runtime_id: runtime_id.clone(),
        },
        cluster: task.cluster.clone(),
        long_name: task.long_name(container),
        image_digest: image_digest.clone(),
        definition: effective::with_log_mode(
            effective::container(of, &task.overrides),
            &round.world.account_settings,
        ),
        volumes: content.volumes.clone().unwrap_or_default(),
        inherited_mounts: effective::inherited_mounts(content, of),
        network_mode: content.network_mode.clone().unwrap_or_else(|| "bridge".to_owned()),
        connection: connection::of(content, of, task, configuration),
        task_role: effective::task_role(content, &task.overrides),
        launch_type: task.launch_type.clone(),
        pid_mode: content.pid_mode.clone(),
        ipc_mode: content.ipc_mode.clone(),
        task_cpu: effective::task_cpu(content, &task.overrides),
        task_memory: effective::task_memory(content, &task.overrides),
        task_cpu_shares: effective::task_cpu_shares(content, &task.overrides),
        restart: container.restart_count > 0,
    })));
}
