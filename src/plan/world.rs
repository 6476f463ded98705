//! All that is known: the stored records, and what was observed since the program started.

use super::Plan;
use super::action::{Action, ActionKey};
use super::agenda::Agenda;
use super::change::Change;
use super::index::Index;
use crate::model::fleet::{Device, JoinToken, Membership};
use crate::model::service::{SchedulingStrategy, ServiceStatus};
use crate::model::{
    Assignment, AssignmentId, Cluster, ClusterName, ContainerInstance, ContainerInstanceId, Family,
    Generation, ImageDigest, Revision, RuntimeId, Scope, Service, ServiceDeployment,
    ServiceDeploymentId, ServiceEvent, ServiceKey, ServiceRevision, ServiceRevisionId, Task,
    TaskDefinition, TaskDefinitionRef, TaskId, TaskStatus, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

/// The world. Only [`World::apply`] changes the stored part, so the store and it cannot differ.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct World {
    /// Clusters, deleted ones as well (`INACTIVE`).
    pub clusters: BTreeMap<ClusterName, Cluster>,
    /// Task definitions of every status.
    pub task_definitions: BTreeMap<TaskDefinitionRef, TaskDefinition>,
    /// The highest revision ever used per family.
    pub revisions: BTreeMap<Family, Revision>,
    /// The boxes.
    pub container_instances: BTreeMap<ContainerInstanceId, ContainerInstance>,
    /// What boxes are to run.
    pub assignments: BTreeMap<AssignmentId, Assignment>,
    /// Tasks, stopped ones too for as long as they stay describable.
    pub tasks: BTreeMap<TaskId, Task>,
    /// Services of every status.
    pub services: BTreeMap<ServiceKey, Service>,
    /// What deployments run or ran.
    pub service_revisions: BTreeMap<ServiceRevisionId, ServiceRevision>,
    /// Roll-outs.
    pub service_deployments: BTreeMap<ServiceDeploymentId, ServiceDeployment>,
    /// Events of services, by their place in the ring.
    pub service_events: BTreeMap<ServiceKey, BTreeMap<u64, ServiceEvent>>,
    /// On a hub: the boxes of its fleet, those that are refused as well.
    pub devices: BTreeMap<ContainerInstanceId, Device>,
    /// On a hub: what boxes may join with, by id.
    pub join_tokens: BTreeMap<String, JoinToken>,
    /// On a box of a fleet: what it belongs to.
    pub membership: Option<Membership>,
    /// On a box of a fleet: the numbers of the events that are kept for the hub.
    pub events: Range<u64>,
    /// Account settings by (principal ARN, name).
    pub account_settings: BTreeMap<(String, String), String>,
    /// Requests already carried out, by client token.
    pub client_tokens: BTreeMap<String, ClientToken>,
    /// Settings of this installation; not stored.
    pub settings: Settings,
    /// What was observed; not stored.
    pub observed: Observed,
    /// Derived from the records; not stored.
    pub index: Index,
    /// What the planners have not looked at yet; not stored.
    pub agenda: Agenda,
}

/// A `clientToken` that was used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientToken {
    /// When.
    pub used_at: Timestamp,
    /// The request it came with, as text, to tell a repetition from a conflict.
    pub request: String,
    /// The tasks it made.
    #[serde(default)]
    pub tasks: Vec<TaskId>,
    /// The service it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceKey>,
}

/// Settings that the planners need; from the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Region and account of ARNs.
    pub scope: Scope,
    /// The box whose tasks are planned here; none on a hub.
    pub this_instance: Option<ContainerInstanceId>,
    /// Container instances may be registered that have no box behind them, and only such ones: what becomes of their
    /// tasks is made up as well ([`super::simulate`]).
    pub simulated: bool,
    /// On a hub: the epoch of the documents it makes; higher after each time it was restored.
    pub epoch: u64,
    /// When images are pulled (`ECS_IMAGE_PULL_BEHAVIOR`).
    pub pull_behavior: PullBehavior,
    /// `stopTimeout` of containers that set none (`ECS_CONTAINER_STOP_TIMEOUT`).
    pub stop_timeout: Duration,
    /// Whether `restartPolicy` also brings back containers that end before `restartAttemptPeriod`, backed off.
    pub restart_early_exits: bool,
    /// How long a task without a health check must run until it counts as serving.
    pub steady_after: Duration,
    /// How long stopped tasks stay describable; at least an hour.
    pub stopped_task_retention: Duration,
    /// How many stopped tasks are kept at most.
    pub stopped_tasks_kept: usize,
    /// Capacity providers that are there without any box.
    pub capacity_providers: BTreeSet<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            scope: Scope::default(),
            this_instance: None,
            simulated: false,
            epoch: 0,
            pull_behavior: PullBehavior::PreferCached,
            stop_timeout: Duration::from_secs(30),
            restart_early_exits: true,
            steady_after: Duration::from_secs(5),
            stopped_task_retention: Duration::from_hours(3),
            stopped_tasks_kept: 1000,
            capacity_providers: BTreeSet::new(),
        }
    }
}

/// When images are pulled, in the words of `ECS_IMAGE_PULL_BEHAVIOR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PullBehavior {
    /// Pull; when that fails use what is there.
    Default,
    /// Pull; when that fails the task fails.
    Always,
    /// Pull unless this box pulled it before.
    Once,
    /// Pull unless it is there.
    PreferCached,
}

/// Facts that are found again after every start.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Observed {
    /// The images in the local store: name as given in definitions → digest.
    pub images: BTreeMap<String, ImageDigest>,
    /// Those of them that came from a registry: digest → what the registry calls it for all platforms, which is the index
    /// that it was chosen from, or itself.
    pub image_sources: BTreeMap<ImageDigest, ImageDigest>,
    /// Pulls that are under way, by the image as it was asked for: how far they are, in words.
    pub pulling: BTreeMap<String, String>,
    /// Actions handed to the shell whose outcome is not known yet. The engine adds them, observations remove them.
    pub in_flight: BTreeSet<ActionKey>,
    /// Runs that were reported to be running since the program started and have not ended.
    pub running: BTreeSet<RuntimeId>,
    /// Signals that were sent, by run.
    pub signals: BTreeMap<RuntimeId, Signals>,
    /// Health checks, by run.
    pub health: BTreeMap<RuntimeId, Health>,
    /// Images that were pulled since the program started.
    pub pulled: BTreeSet<String>,
    /// Tasks that have something on the box though no record knows them: to be released.
    pub orphans: BTreeMap<TaskId, Orphan>,
    /// When the wall clock was last set: what happened before looks older or younger than it is.
    pub clock_set_at: Option<Timestamp>,
    /// The agent ends and its tasks with it.
    pub stopping: bool,
    /// Set once the shell has looked for running shims and reported them; nothing is started or stopped before.
    pub scanned: bool,
    /// On a hub: when each box was last heard of.
    pub heard: BTreeMap<ContainerInstanceId, Timestamp>,
    /// On a hub: no box falls silent before that; none when nobody has looked.
    pub silent_at: Option<Timestamp>,
    /// On a hub: the connection and the number of each box's newest report, and the next event that it named.
    pub reports: BTreeMap<ContainerInstanceId, (String, u64, u64)>,
    /// On a hub: the current versions of its secrets, by name.
    pub secret_versions: BTreeMap<String, String>,
    /// What is made up of boxes that are none.
    pub simulation: super::simulate::Simulation,
}

/// When signals were sent to a run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Signals {
    /// The stop signal.
    pub stopped_at: Option<Timestamp>,
    /// SIGKILL, the last time.
    pub killed_at: Option<Timestamp>,
}

/// What is on the box for a task that no record knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Orphan {
    /// The generation that was found.
    pub generation: Generation,
    /// Its processes are gone; its files are next.
    pub released: bool,
}

/// Where the health check of a run is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// When the last check ended.
    pub last_at: Option<Timestamp>,
    /// Failures in a row that count.
    pub failures: u32,
}

impl World {
    /// Carries out one change on the stored part, and puts what it concerns on the agenda.
    pub fn apply(&mut self, change: &Change) {
        match change.clone() {
            Change::PutCluster(cluster) => {
                self.clusters.insert(cluster.name.clone(), cluster);
            }
            Change::PutTaskDefinition(definition) => {
                self.index.definition(&definition, true);
                self.task_definitions.insert(definition.reference(), *definition);
            }
            Change::DeleteTaskDefinition(reference) => {
                if let Some(old) = self.task_definitions.remove(&reference) {
                    self.index.definition(&old, false);
                }
            }
            Change::PutRevision(family, revision) => {
                self.revisions.insert(family, revision);
            }
            Change::PutContainerInstance(instance) => {
                let (id, cluster) = (instance.id.clone(), instance.cluster.clone());
                self.index.rooms.put_instance(self.container_instances.get(&id), &instance);
                let old = self.container_instances.insert(id.clone(), *instance);
                if let Some(left) = old.map(|old| old.cluster).filter(|c| *c != cluster) {
                    self.touch_instance(&id, &left);
                }
                self.touch_instance(&id, &cluster);
            }
            Change::DeleteContainerInstance(id) => {
                if let Some(old) = self.container_instances.remove(&id) {
                    self.index.rooms.delete_instance(&old);
                    self.touch_instance(&id, &old.cluster);
                }
            }
            Change::PutAssignment(assignment) => self.put_assignment(*assignment),
            Change::DeleteAssignment(id) => {
                if let Some(old) = self.assignments.remove(&id) {
                    self.index.assignment(&old, false);
                    self.index.rooms.delete_assignment(&old);
                    self.touch_assignment(&old);
                    self.agenda.settle_assignment(&id);
                    self.agenda.touch_waiting(&old.cluster);
                }
            }
            Change::PutTask(task) => self.put_task(*task),
            Change::DeleteTask(id) => {
                if let Some(old) = self.tasks.remove(&id) {
                    self.index.task(&old, false);
                    self.index.rooms.task(Some(&old), None, &self.task_definitions);
                    self.touch_task(&old);
                }
            }
            Change::PutAccountSetting { principal, name, value } => {
                self.account_settings.insert((principal, name), value);
            }
            Change::DeleteAccountSetting { principal, name } => {
                self.account_settings.remove(&(principal, name));
            }
            Change::PutClientToken(token, used) => {
                self.forget_token(&token);
                self.index.client_token(&token, &used, true);
                self.client_tokens.insert(token, used);
            }
            Change::DeleteClientToken(token) => self.forget_token(&token),
            change => self.apply_of_service(change),
        }
    }

    /// [`World::apply`] for the records of services.
    fn apply_of_service(&mut self, change: Change) {
        match change {
            Change::PutService(service) => {
                self.agenda.touch(&service.key);
                self.services.insert(service.key.clone(), *service);
            }
            Change::DeleteService(key) => {
                self.agenda.forget(&key);
                self.services.remove(&key);
            }
            Change::PutServiceRevision(revision) => {
                self.index.revision(&revision, true);
                self.service_revisions.insert(revision.id.clone(), *revision);
            }
            Change::DeleteServiceRevision(id) => {
                if let Some(old) = self.service_revisions.remove(&id) {
                    self.index.revision(&old, false);
                }
            }
            Change::PutServiceDeployment(deployment) => {
                self.index.service_deployment(&deployment, true);
                self.agenda.touch(&deployment.service);
                self.service_deployments.insert(deployment.id.clone(), *deployment);
            }
            Change::DeleteServiceDeployment(id) => {
                if let Some(old) = self.service_deployments.remove(&id) {
                    self.index.service_deployment(&old, false);
                }
            }
            Change::PutServiceEvent(event) => {
                let events = self.service_events.entry(event.service.clone()).or_default();
                events.insert(event.slot(), event);
            }
            Change::DeleteServiceEvent(service, slot) => {
                if let Some(events) = self.service_events.get_mut(&service) {
                    events.remove(&slot);
                    if events.is_empty() {
                        self.service_events.remove(&service);
                    }
                }
            }
            change => self.apply_of_fleet(change),
        }
    }

    /// [`World::apply`] for the records of fleets.
    fn apply_of_fleet(&mut self, change: Change) {
        match change {
            Change::PutDevice(device) => {
                let id = device.id.clone();
                self.agenda.touch_device(&id);
                let (cluster, connected) = (device.cluster.clone(), device.connected);
                let old = self.devices.insert(id.clone(), *device);
                if old.is_none_or(|old| old.connected != connected) {
                    self.touch_instance(&id, &cluster);
                }
            }
            Change::DeleteDevice(id) => {
                self.devices.remove(&id);
                self.observed.heard.remove(&id);
                self.observed.reports.remove(&id);
            }
            Change::PutJoinToken(token) => {
                self.join_tokens.insert(token.id.clone(), *token);
            }
            Change::DeleteJoinToken(id) => {
                self.join_tokens.remove(&id);
            }
            Change::PutMembership(membership) => self.membership = Some(*membership),
            Change::DeleteMembership => {
                self.membership = None;
                // Another membership begins another numbering.
                self.events = 0..0;
            }
            Change::PutEvent(event) => {
                if self.events.is_empty() {
                    self.events.start = event.offset;
                }
                self.events.end = event.offset + 1;
            }
            Change::DeleteEvent(offset) => {
                self.events.start = self.events.start.max(offset + 1).min(self.events.end);
            }
            _ => {}
        }
    }

    /// Takes note of what a planner decided: its changes, its actions, what it has looked at.
    pub fn apply_plan(&mut self, plan: &Plan) {
        for settled in &plan.settled {
            if self.services.contains_key(&settled.service) {
                self.agenda.settle(settled);
            } else {
                self.agenda.forget(&settled.service);
            }
        }
        for id in &plan.settled_assignments {
            self.agenda.settle_assignment(id);
        }
        plan.changes.iter().for_each(|change| self.apply(change));
        self.observed.in_flight.extend(plan.actions.iter().map(Action::key));
    }

    fn put_assignment(&mut self, assignment: Assignment) {
        if let Some(old) = self.assignments.get(&assignment.id) {
            self.index.assignment(old, false);
        }
        self.index.assignment(&assignment, true);
        let definition = self.task_definitions.get(&assignment.task_definition);
        self.index.rooms.put_assignment(&assignment, definition);
        self.touch_assignment(&assignment);
        let (cluster, count) = (assignment.cluster.clone(), assignment.count());
        let old = self.assignments.insert(assignment.id.clone(), assignment);
        if old.is_some_and(|old| old.count() > count) {
            self.agenda.touch_waiting(&cluster);
        }
    }

    fn put_task(&mut self, task: Task) {
        self.touch_task(&task);
        let stopped = task.last_status == TaskStatus::Stopped;
        let cluster = task.cluster.clone();
        if let Some(old) = self.tasks.get(&task.id) {
            self.index.task(old, false);
            if stopped && old.last_status != TaskStatus::Stopped {
                self.agenda.touch_waiting(&cluster);
            }
        }
        self.index.task(&task, true);
        let old = self.tasks.get(&task.id);
        if old.and_then(|old| old.protected_until) != task.protected_until
            && self.devices.contains_key(&task.container_instance)
        {
            self.agenda.touch_device(&task.container_instance);
        }
        self.index.rooms.task(old, Some(&task), &self.task_definitions);
        self.tasks.insert(task.id.clone(), task);
    }

    /// Everything is due: the clock was set, so what waits for a time may have it.
    pub(super) fn touch_all(&mut self) {
        self.services.keys().for_each(|service| self.agenda.touch(service));
        self.assignments.keys().for_each(|assignment| self.agenda.touch_assignment(assignment));
    }

    fn touch_task(&mut self, task: &Task) {
        if let Some(service) = &task.service {
            let (cluster, name) = (task.cluster.clone(), service.name.clone());
            self.touch_gently(&ServiceKey { cluster, name });
        }
        let assignment = task.assignment();
        if self.assignments.contains_key(&assignment) {
            self.agenda.touch_assignment(&assignment);
        }
    }

    /// The service is due, if there is one.
    fn touch(&mut self, service: &ServiceKey) {
        if self.services.contains_key(service) {
            self.agenda.touch(service);
        }
    }

    /// The same, for what its tasks and boxes do.
    fn touch_gently(&mut self, service: &ServiceKey) {
        if self.services.contains_key(service) {
            self.agenda.touch_gently(service);
        }
    }

    fn touch_assignment(&mut self, assignment: &Assignment) {
        self.agenda.touch_assignment(&assignment.id);
        if self.devices.contains_key(&assignment.container_instance) {
            self.agenda.touch_device(&assignment.container_instance);
        }
        if let Some(service) = assignment.service_key() {
            self.touch(&service);
        }
    }

    /// A box came, changed or went: what is on it, what wants to be on every box, and what waits for room, there or at all.
    fn touch_instance(&mut self, id: &ContainerInstanceId, cluster: &ClusterName) {
        if self.devices.contains_key(id) {
            self.agenda.touch_device(id);
        }
        let assignments = self.index.on_instance.get(id).into_iter().flatten();
        assignments.for_each(|assignment| self.agenda.touch_assignment(assignment));
        let on_it: Vec<_> = self.assignments_on(id).filter_map(Assignment::service_key).collect();
        let daemons = self.services.values().filter(|service| {
            &service.key.cluster == cluster
                && service.scheduling_strategy == SchedulingStrategy::Daemon
                && service.status == ServiceStatus::Active
        });
        let touched: Vec<_> = daemons.map(|service| service.key.clone()).chain(on_it).collect();
        for service in &touched {
            self.touch_gently(service);
        }
        self.agenda.touch_waiting(cluster);
    }

    fn forget_token(&mut self, token: &str) {
        if let Some(old) = self.client_tokens.remove(token) {
            self.index.client_token(token, &old, false);
        }
    }
}
