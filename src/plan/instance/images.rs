//! Which images this box cannot do without, and for whom.
//!
//! * of every task that has not stopped: what it runs, and what it is still to run;
//! * of every assignment: what its next task would run;
//! * of every service that stands alone here: what its deployments, and the last one that succeeded, run;
//! * of every service: what its newest task that ran well ran (`good`), for as long as the service is here. It is not
//!   in the records for ever, so whoever collects images remembers it.

use super::consistency;
use super::service::RAN_WELL;
use crate::model::service::ServiceDeploymentStatus;
use crate::model::{
    Assignment, ContainerName, ImageDigest, ServiceKey, ServiceRevision, Task, TaskDefinition,
    TaskId, TaskStatus, Timestamp,
};
use crate::plan::World;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Who wants an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ImageUser {
    /// A task that has not stopped.
    Task(TaskId),
    /// A service on this box.
    Service(ServiceKey),
}

impl fmt::Display for ImageUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(task) => write!(f, "task {task}"),
            Self::Service(service) => write!(f, "service {service}"),
        }
    }
}

/// The images that this box cannot do without.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantedImages {
    /// Images that containers are pinned to.
    pub digests: BTreeMap<ImageDigest, BTreeSet<ImageUser>>,
    /// Images by the names that would be asked for.
    pub names: BTreeMap<String, BTreeSet<ImageUser>>,
    /// The services that are here.
    pub services: BTreeSet<ServiceKey>,
    /// What the newest task of a service that ran well ran.
    pub good: BTreeMap<ServiceKey, BTreeSet<ImageDigest>>,
}

/// What this box cannot do without.
#[must_use]
pub fn wanted(world: &World, now: Timestamp) -> WantedImages {
    let mut wanted = WantedImages::default();
    let Some(this) = &world.settings.this_instance else { return wanted };
    for task in world.live_tasks().filter(|task| &task.container_instance == this) {
        wanted.add_task(task);
    }
    for assignment in world.assignments_on(this) {
        if let Some(definition) = world.task_definitions.get(&assignment.task_definition) {
            wanted.add_assignment(world, assignment, definition);
        }
    }
    // A box of a fleet has no records of services; one that stands alone has those of all of them.
    for service in world.services.values().filter(|service| !service.deployments.is_empty()) {
        wanted.services.insert(service.key.clone());
        for deployment in &service.deployments {
            let revision = world.service_revisions.get(&deployment.service_revision);
            wanted.add_revision(world, revision, &deployment.images);
        }
        let succeeded = world
            .service_deployments
            .values()
            .filter(|d| d.service == service.key && d.status == ServiceDeploymentStatus::Successful)
            .max_by_key(|d| d.created_at);
        let revision =
            succeeded.and_then(|d| world.service_revisions.get(&d.target_service_revision));
        wanted.add_revision(world, revision, &BTreeMap::new());
    }
    wanted.good = good(world, now);
    wanted
}

impl WantedImages {
    fn add_name(&mut self, name: String, user: &ImageUser) {
        self.names.entry(name).or_default().insert(user.clone());
    }

    fn add_task(&mut self, task: &Task) {
        let user = ImageUser::Task(task.id.clone());
        for container in &task.containers {
            match &container.image_digest {
                Some(digest) => {
                    self.digests.entry(digest.clone()).or_default().insert(user.clone());
                }
                None => self.add_name(container.wanted_image(), &user),
            }
        }
    }

    fn add_assignment(
        &mut self,
        world: &World,
        assignment: &Assignment,
        definition: &TaskDefinition,
    ) {
        let (Some(tasks), Some(key)) = (assignment.service(), assignment.service_key()) else {
            // What a task that is there is to run, it says itself.
            if let Ok(task) = TaskId::new(assignment.id.as_str())
                && !world.tasks.contains_key(&task)
            {
                for container in definition.containers() {
                    let user = ImageUser::Task(task.clone());
                    self.add_name(container.image.clone().unwrap_or_default(), &user);
                }
            }
            return;
        };
        self.services.insert(key.clone());
        let user = ImageUser::Service(key);
        for container in definition.containers() {
            let image = consistency::wanted_image(world, assignment, tasks, container);
            self.add_name(image, &user);
        }
    }

    fn add_revision(
        &mut self,
        world: &World,
        revision: Option<&ServiceRevision>,
        settled: &BTreeMap<ContainerName, ImageDigest>,
    ) {
        let Some(revision) = revision else { return };
        let Some(definition) = world.task_definitions.get(&revision.task_definition) else {
            return;
        };
        let user = ImageUser::Service(revision.service.clone());
        for container in definition.containers() {
            let image = container.image.clone().unwrap_or_default();
            let name = container.name.as_deref().and_then(|name| ContainerName::new(name).ok());
            let digest = name
                .and_then(|name| settled.get(&name))
                .filter(|_| consistency::is_kept(container));
            self.add_name(digest.map_or(image.clone(), |digest| digest.pin(&image)), &user);
        }
    }
}

/// The images of the newest task of each service on this box that ran well, as far as there are records of it.
fn good(world: &World, now: Timestamp) -> BTreeMap<ServiceKey, BTreeSet<ImageDigest>> {
    let mut newest: BTreeMap<ServiceKey, &Task> = BTreeMap::new();
    let this = world.settings.this_instance.as_ref();
    for task in world.tasks.values().filter(|task| this == Some(&task.container_instance)) {
        let Some(service) = task.service.as_ref().filter(|_| ran_well(task, now)) else { continue };
        let key = ServiceKey { cluster: task.cluster.clone(), name: service.name.clone() };
        match newest.get(&key) {
            Some(other) if other.started_at >= task.started_at => {}
            _ => {
                newest.insert(key, task);
            }
        }
    }
    let images =
        |task: &Task| task.containers.iter().filter_map(|c| c.image_digest.clone()).collect();
    newest.into_iter().map(|(key, task)| (key, images(task))).collect()
}

fn ran_well(task: &Task, now: Timestamp) -> bool {
    let running = task.last_status == TaskStatus::Running;
    let ended = task.stopping_at.or_else(|| running.then_some(now));
    task.runs_since().zip(ended).is_some_and(|(started, ended)| ended.since(started) >= RAN_WELL)
}

#[cfg(test)]
mod tests;
