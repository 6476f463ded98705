//! `versionConsistency`: what an image's tag means is settled once for a deployment, and all its tasks run the same.
//!
//! ```text
//! first task pulls app:2 ──► sha256:… ──► Deployment.images ──► assignments written from then on ──► tasks pull app@sha256:…
//!                                └─ on the same box at once, from the task's own record
//! ```
//!
//! A container with `versionConsistency` disabled, an image named by digest and one that came from no registry (loaded,
//! built) are what their name says each time. Standalone tasks ask anew each.

use crate::model::task_definition::ContainerDefinition;
use crate::model::{
    Assignment, Container, ContainerName, ImageDigest, ServiceTasks, Task, TaskDefinition,
};
use crate::plan::World;

/// Whether the meaning of this container's image is settled for a deployment.
pub(crate) fn is_kept(container: &ContainerDefinition) -> bool {
    container.version_consistency.as_deref() != Some("disabled")
        && container.image.as_ref().is_some_and(|image| !image.contains('@'))
}

/// Settles the images of a new task as far as its deployment has.
pub(super) fn settle(
    world: &World,
    assignment: &Assignment,
    wanted: &ServiceTasks,
    definition: &TaskDefinition,
    task: &mut Task,
) {
    for container in &mut task.containers {
        if let Some(of) = definition.container(container.name.as_str()) {
            container.image_source = settled(world, assignment, wanted, of, &container.name);
        }
    }
}

/// The image that a new task of the deployment would ask for.
pub(super) fn wanted_image(
    world: &World,
    assignment: &Assignment,
    wanted: &ServiceTasks,
    of: &ContainerDefinition,
) -> String {
    let image = of.image.clone().unwrap_or_default();
    let name = of.name.as_deref().and_then(|name| ContainerName::new(name).ok());
    let settled = name.and_then(|name| settled(world, assignment, wanted, of, &name));
    settled.map_or(image.clone(), |digest| digest.pin(&image))
}

/// What the deployment says, or the oldest of its tasks on this box.
fn settled(
    world: &World,
    assignment: &Assignment,
    wanted: &ServiceTasks,
    of: &ContainerDefinition,
    name: &ContainerName,
) -> Option<ImageDigest> {
    if !is_kept(of) {
        return None;
    }
    wanted.images.get(name).cloned().or_else(|| first(world.live(&assignment.id), name))
}

/// What the image of a container meant to the oldest of the tasks that know.
pub(crate) fn first<'a>(
    tasks: impl Iterator<Item = &'a Task>,
    name: &ContainerName,
) -> Option<ImageDigest> {
    let known = |container: &Container| container.image_source.clone();
    tasks
        .filter_map(|task| Some((task.created_at, known(task.container(name)?)?)))
        .min_by_key(|(created_at, _)| *created_at)
        .map(|(_, digest)| digest)
}
