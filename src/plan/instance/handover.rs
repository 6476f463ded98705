//! Pull before switch: a deployment that takes the place of another on this box takes it once its images are here.
//!
//! ```text
//! old 1 → 0, new 0 → 1:   the new task waits for room, and its images are pulled meanwhile ── here? ──► the old one stops
//! ```
//!
//! Until then the tasks that the new ones replace go on, so a box that has lost its network, or a registry that is down,
//! does not end what runs well. They count as wanted: nothing is ever started for this that would not be otherwise.

use super::{Round, consistency, start};
use crate::model::{Assignment, DesiredStatus, ServiceTasks, Task, TaskDefinition, TaskStatus};
use crate::plan::World;
use crate::plan::world::PullBehavior;

/// How many tasks of `assignment`, though there are too many of them, are kept for those of other deployments of its
/// service that lack their images.
pub(super) fn kept(world: &World, assignment: &Assignment, wanted: &ServiceTasks) -> usize {
    let lacking =
        others(world, assignment, wanted).map(|(other, tasks)| lacking(world, other, tasks));
    usize::try_from(lacking.sum::<u32>()).unwrap_or(usize::MAX)
}

/// Asks for the images of a task that waits for its room, if it is to take the place of another deployment's.
pub(super) fn fetch_ahead(round: &mut Round, task: &mut Task, definition: &TaskDefinition) {
    let Some(assignment) = round.world.assignments.get(&task.assignment()) else { return };
    let Some(wanted) = assignment.service() else { return };
    let replaces = others(round.world, assignment, wanted).any(|(other, tasks)| {
        let running = round.world.live(&other.id).filter(|task| is_wanted(task)).count();
        running > usize::try_from(tasks.count).unwrap_or(usize::MAX)
    });
    if replaces {
        start::fetch_images(round, task, definition);
    }
}

/// The assignments of other deployments of the same service on this box.
fn others<'a>(
    world: &'a World,
    assignment: &'a Assignment,
    wanted: &'a ServiceTasks,
) -> impl Iterator<Item = (&'a Assignment, &'a ServiceTasks)> {
    // Whoever plans for boxes elsewhere knows nothing of their images.
    let this = world.settings.this_instance.as_ref().filter(|_| !world.settings.simulated);
    let here = this.filter(|this| **this == assignment.container_instance);
    let all = here.into_iter().flat_map(|this| world.assignments_on(this));
    all.filter(|other| other.cluster == assignment.cluster).filter_map(|other| {
        let tasks = other.service()?;
        let replaces = tasks.service == wanted.service && tasks.deployment != wanted.deployment;
        replaces.then_some((other, tasks))
    })
}

/// How many of the tasks that are wanted cannot begin for want of an image.
fn lacking(world: &World, assignment: &Assignment, wanted: &ServiceTasks) -> u32 {
    let Some(definition) = world.task_definitions.get(&assignment.task_definition) else {
        return 0;
    };
    if definition
        .containers()
        .iter()
        .all(|c| is_here(world, &consistency::wanted_image(world, assignment, wanted, c)))
    {
        return 0;
    }
    let begins = |task: &&Task| {
        is_wanted(task)
            && (task.last_status > TaskStatus::Pending
                || task.containers.iter().any(|container| container.runtime_id.is_some())
                || task.containers.iter().all(|container| container.image_digest.is_some()))
    };
    let ready = world.live(&assignment.id).filter(begins).count();
    wanted.count.saturating_sub(u32::try_from(ready).unwrap_or(u32::MAX))
}

/// Whether a task may begin with the image as it is here.
fn is_here(world: &World, image: &str) -> bool {
    let here = world.observed.images.contains_key(image);
    match world.settings.pull_behavior {
        PullBehavior::PreferCached => here,
        PullBehavior::Once => here && world.observed.pulled.contains(image),
        PullBehavior::Always | PullBehavior::Default => false,
    }
}

fn is_wanted(task: &Task) -> bool {
    task.desired_status == DesiredStatus::Running
}

#[cfg(test)]
mod tests;
