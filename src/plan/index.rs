//! What is found faster by an index than by looking at every record. [`World::apply`] keeps it in step;
//! [`check`](super::check) compares it with what the records say.

use super::placement::Rooms;
use super::world::{ClientToken, World};
use crate::model::task_definition::TaskDefinitionStatus;
use crate::model::{
    Assignment, AssignmentId, ContainerInstanceId, DeploymentId, ServiceDeployment,
    ServiceDeploymentId, ServiceKey, ServiceRevision, ServiceRevisionId, Task, TaskDefinition,
    TaskDefinitionRef, TaskId, TaskStatus, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// Derived from the records; not stored. Sets that would be empty are absent.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Index {
    /// Stopped tasks, the one that stopped first in front.
    pub stopped: BTreeSet<(Timestamp, TaskId)>,
    /// Tasks that have not stopped, by their assignment.
    pub live: BTreeMap<AssignmentId, BTreeSet<TaskId>>,
    /// Tasks of services, stopped ones too.
    pub tasks_of_service: BTreeMap<ServiceKey, BTreeSet<TaskId>>,
    /// How many tasks services have, by deployment. What would be all zero is absent.
    pub counts: BTreeMap<ServiceKey, BTreeMap<DeploymentId, Counts>>,
    /// Tasks that failed, by deployment.
    pub failed: BTreeMap<DeploymentId, BTreeSet<TaskId>>,
    /// Assignments by box.
    pub on_instance: BTreeMap<ContainerInstanceId, BTreeSet<AssignmentId>>,
    /// Assignments by service.
    pub of_service: BTreeMap<ServiceKey, BTreeSet<AssignmentId>>,
    /// Service revisions by service.
    pub revisions: BTreeMap<ServiceKey, BTreeSet<ServiceRevisionId>>,
    /// Service deployments by service.
    pub service_deployments: BTreeMap<ServiceKey, BTreeSet<ServiceDeploymentId>>,
    /// Task definitions that are to be removed.
    pub deleting: BTreeSet<TaskDefinitionRef>,
    /// Client tokens, the oldest in front.
    pub client_tokens: BTreeSet<(Timestamp, String)>,
    /// What is taken of each box, and boxes in order of what is free.
    pub(crate) rooms: Rooms,
}

/// How many tasks of a deployment there are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// What its assignments say.
    pub wanted: u32,
    /// RUNNING.
    pub running: u32,
    /// On their way there.
    pub pending: u32,
}

impl Counts {
    /// Where a task that does this is counted.
    fn of(&mut self, status: TaskStatus) -> Option<&mut u32> {
        match status {
            TaskStatus::Running => Some(&mut self.running),
            TaskStatus::Provisioning | TaskStatus::Pending | TaskStatus::Activating => {
                Some(&mut self.pending)
            }
            _ => None,
        }
    }
}

/// Adds `id` to the set at `key`, or takes it out; no set is left empty.
fn mark<K: Ord, V: Ord>(sets: &mut BTreeMap<K, BTreeSet<V>>, key: K, id: V, is_there: bool) {
    if is_there {
        sets.entry(key).or_default().insert(id);
    } else if let Some(set) = sets.get_mut(&key) {
        set.remove(&id);
        if set.is_empty() {
            sets.remove(&key);
        }
    }
}

impl Index {
    /// What the index of `world` must be.
    #[must_use]
    pub fn of(world: &World) -> Self {
        let mut index = Self::default();
        for instance in world.container_instances.values() {
            index.rooms.put_instance(None, instance);
        }
        for assignment in world.assignments.values() {
            index.assignment(assignment, true);
            let definition = world.task_definitions.get(&assignment.task_definition);
            index.rooms.put_assignment(assignment, definition);
        }
        for task in world.tasks.values() {
            index.task(task, true);
            index.rooms.task(None, Some(task), &world.task_definitions);
        }
        for revision in world.service_revisions.values() {
            index.revision(revision, true);
        }
        for deployment in world.service_deployments.values() {
            index.service_deployment(deployment, true);
        }
        for definition in world.task_definitions.values() {
            index.definition(definition, true);
        }
        for (token, used) in &world.client_tokens {
            index.client_token(token, used, true);
        }
        index
    }

    /// A task is there, as it now is, or no longer is.
    pub(super) fn task(&mut self, task: &Task, is_there: bool) {
        if task.last_status == TaskStatus::Stopped {
            let at = task.heard_at.or(task.stopped_at).unwrap_or(task.created_at);
            let key = (at, task.id.clone());
            if is_there {
                self.stopped.insert(key);
            } else {
                self.stopped.remove(&key);
            }
        } else {
            mark(&mut self.live, task.assignment(), task.id.clone(), is_there);
        }
        if let Some(service) = &task.service {
            let key = ServiceKey { cluster: task.cluster.clone(), name: service.name.clone() };
            self.count(&key, &service.deployment, |counts| {
                if let Some(count) = counts.of(task.last_status) {
                    *count = if is_there { *count + 1 } else { count.saturating_sub(1) };
                }
            });
            mark(&mut self.tasks_of_service, key, task.id.clone(), is_there);
            if service.failed {
                let deployment = service.deployment.clone();
                mark(&mut self.failed, deployment, task.id.clone(), is_there);
            }
        }
    }

    /// An assignment is there or no longer is.
    pub(super) fn assignment(&mut self, assignment: &Assignment, is_there: bool) {
        let (id, instance) = (assignment.id.clone(), assignment.container_instance.clone());
        mark(&mut self.on_instance, instance, id, is_there);
        if let (Some(key), Some(wanted)) = (assignment.service_key(), assignment.service()) {
            self.count(&key, &wanted.deployment, |Counts { wanted: all, .. }| {
                let count = wanted.count;
                *all = if is_there { all.saturating_add(count) } else { all.saturating_sub(count) };
            });
            mark(&mut self.of_service, key, assignment.id.clone(), is_there);
        }
    }

    fn count(
        &mut self,
        service: &ServiceKey,
        deployment: &DeploymentId,
        change: impl FnOnce(&mut Counts),
    ) {
        let deployments = self.counts.entry(service.clone()).or_default();
        let counts = deployments.entry(deployment.clone()).or_default();
        change(counts);
        if *counts == Counts::default() {
            deployments.remove(deployment);
        }
        if deployments.is_empty() {
            self.counts.remove(service);
        }
    }

    pub(super) fn revision(&mut self, revision: &ServiceRevision, is_there: bool) {
        mark(&mut self.revisions, revision.service.clone(), revision.id.clone(), is_there);
    }

    pub(super) fn service_deployment(&mut self, deployment: &ServiceDeployment, is_there: bool) {
        let (service, id) = (deployment.service.clone(), deployment.id.clone());
        mark(&mut self.service_deployments, service, id, is_there);
    }

    pub(super) fn definition(&mut self, definition: &TaskDefinition, is_there: bool) {
        let reference = definition.reference();
        if is_there && definition.status == TaskDefinitionStatus::DeleteInProgress {
            self.deleting.insert(reference);
        } else {
            self.deleting.remove(&reference);
        }
    }

    pub(super) fn client_token(&mut self, token: &str, used: &ClientToken, is_there: bool) {
        let key = (used.used_at, token.to_owned());
        if is_there {
            self.client_tokens.insert(key);
        } else {
            self.client_tokens.remove(&key);
        }
    }
}

impl World {
    /// The tasks of an assignment that have not stopped.
    pub fn live(&self, assignment: &AssignmentId) -> impl Iterator<Item = &Task> {
        let ids = self.index.live.get(assignment).into_iter().flatten();
        ids.filter_map(|id| self.tasks.get(id))
    }

    /// All tasks that have not stopped.
    pub fn live_tasks(&self) -> impl Iterator<Item = &Task> {
        self.index.live.values().flatten().filter_map(|id| self.tasks.get(id))
    }

    /// The assignments of a service.
    pub fn assignments_of(&self, service: &ServiceKey) -> impl Iterator<Item = &Assignment> {
        let ids = self.index.of_service.get(service).into_iter().flatten();
        ids.filter_map(|id| self.assignments.get(id))
    }

    /// The assignments of a box.
    pub fn assignments_on(
        &self,
        instance: &ContainerInstanceId,
    ) -> impl Iterator<Item = &Assignment> {
        let ids = self.index.on_instance.get(instance).into_iter().flatten();
        ids.filter_map(|id| self.assignments.get(id))
    }
}
