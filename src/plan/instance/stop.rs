//! Stopping: the stop signal in the reverse order of `dependsOn`, SIGKILL after `stopTimeout`, then the release of
//! what the task has on the box.

use super::{Round, dependencies, run_of};
use crate::model::{
    Attachment, Container, ContainerStatus, DesiredStatus, Generation, Task, TaskDefinition,
    TaskStatus,
};
use crate::plan::{Action, ActionKey, Reason};
use std::time::Duration;

/// How long after SIGKILL it is sent once more, should the process still be there.
const KILL_AGAIN: Duration = Duration::from_secs(10);

/// Brings a task that is to stop one step on.
pub(super) fn stop(round: &mut Round, task: &mut Task, definition: &TaskDefinition) {
    debug_assert_eq!(task.desired_status, DesiredStatus::Stopped);
    for at in 0..task.containers.len() {
        let container = &task.containers[at];
        // What was not started and is not being started will never be.
        if container.last_status == ContainerStatus::Pending
            && !round.in_flight(&ActionKey::Start(task.id.clone(), container.name.clone()))
        {
            let container = &mut task.containers[at];
            container.last_status = ContainerStatus::Stopped;
            if container.restart_at.take().is_some() {
                container.reason = None;
            }
        }
    }
    for at in 0..task.containers.len() {
        let container = &task.containers[at];
        if container.last_status == ContainerStatus::Running
            && dependencies::may_stop(task, definition, container)
        {
            let timeout = stop_timeout(round, definition, container);
            stop_container(round, task, at, timeout);
        }
    }
    if task.containers.iter().any(|c| c.last_status != ContainerStatus::Stopped) {
        task.last_status = task.last_status.max(TaskStatus::Stopping);
        return;
    }
    task.execution_stopped_at.get_or_insert(round.now);
    let begun = task.generation > Generation(1)
        || task.containers.iter().any(|c| c.runtime_id.is_some() || c.restart_count > 0);
    if begun {
        task.last_status = task.last_status.max(TaskStatus::Deprovisioning);
        // A start that is not answered yet would find the shim gone, and make another that runs the program again.
        let starts = task.containers.iter().any(|container| {
            round.in_flight(&ActionKey::Start(task.id.clone(), container.name.clone()))
        });
        if !starts && !round.in_flight(&ActionKey::Release(task.id.clone())) {
            let (task, generation) = (task.id.clone(), task.generation);
            round.plan.actions.push(Action::Release { task, generation });
        }
    } else {
        task.last_status = TaskStatus::Stopped;
        task.stopped_at = Some(round.now);
        task.attachments.iter_mut().for_each(Attachment::delete);
    }
}

fn stop_timeout(round: &Round, definition: &TaskDefinition, container: &Container) -> Duration {
    definition
        .container(container.name.as_str())
        .and_then(|c| c.stop_timeout)
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map_or(round.world.settings.stop_timeout, Duration::from_secs)
}

/// The stop signal, and SIGKILL when it was in vain.
fn stop_container(round: &mut Round, task: &mut Task, at: usize, timeout: Duration) {
    let Some(run) = run_of(task, &task.containers[at]) else { return };
    let container = &mut task.containers[at];
    // A time in the future is of a clock that has been set back since: the wait begins anew.
    let requested = container.stop_requested_at.map_or(round.now, |at| at.min(round.now));
    container.stop_requested_at = Some(requested);
    let signals = round.world.observed.signals.get(&run.runtime_id).copied().unwrap_or_default();
    let deadline = requested.plus(timeout);
    if round.now < deadline {
        let key = ActionKey::Stop(run.task.clone(), run.container.clone());
        if signals.stopped_at.is_none() && !round.in_flight(&key) {
            round.plan.actions.push(Action::Stop(run));
        }
        round.plan.wake(deadline);
        return;
    }
    if round.in_flight(&ActionKey::Kill(run.task.clone(), run.container.clone())) {
        return;
    }
    let again = signals
        .killed_at
        .filter(|killed| *killed <= round.now)
        .map_or(round.now, |killed| killed.plus(KILL_AGAIN));
    if again > round.now {
        round.plan.wake(again);
        return;
    }
    if signals.killed_at.is_none() {
        let (task, container) = (run.task.clone(), run.container.clone());
        round.plan.reasons.push(Reason::StopTimedOut { task, container });
    }
    round.plan.actions.push(Action::Kill(run));
}
