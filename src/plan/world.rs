//! All that is known: the stored records, and what was observed since the program started.

use super::action::ActionKey;
use super::change::Change;
use crate::model::assignment::Assignment;
use crate::model::task_definition::TaskDefinitionStatus;
use crate::model::{
    Cluster, ClusterName, ContainerInstance, ContainerInstanceId, Family, Generation, ImageDigest,
    Revision, RuntimeId, Scope, Task, TaskDefinition, TaskDefinitionRef, TaskId, TaskStatus,
    Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
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
    pub assignments: BTreeMap<TaskId, Assignment>,
    /// Tasks, stopped ones too for as long as they stay describable.
    pub tasks: BTreeMap<TaskId, Task>,
    /// Account settings by (principal ARN, name).
    pub account_settings: BTreeMap<(String, String), String>,
    /// Requests already carried out, by client token.
    pub client_tokens: BTreeMap<String, ClientToken>,
    /// Settings of this installation; not stored.
    pub settings: Settings,
    /// What was observed; not stored.
    pub observed: Observed,
    /// Derived from `tasks`; not stored.
    pub index: Index,
}

/// Found faster than by looking at every record. [`World::apply`] keeps it.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Index {
    /// Stopped tasks, the one that stopped first in front.
    pub stopped: BTreeSet<(Timestamp, TaskId)>,
    /// Task definitions that are to be removed.
    pub deleting: BTreeSet<TaskDefinitionRef>,
    /// Client tokens, the oldest in front.
    pub client_tokens: BTreeSet<(Timestamp, String)>,
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
    pub tasks: Vec<TaskId>,
}

/// Settings that the planners need; from the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Region and account of ARNs.
    pub scope: Scope,
    /// The box whose tasks are planned here; none on a hub.
    pub this_instance: Option<ContainerInstanceId>,
    /// When images are pulled (`ECS_IMAGE_PULL_BEHAVIOR`).
    pub pull_behavior: PullBehavior,
    /// `stopTimeout` of containers that set none (`ECS_CONTAINER_STOP_TIMEOUT`).
    pub stop_timeout: Duration,
    /// Whether `restartPolicy` also brings back containers that end before `restartAttemptPeriod`, backed off.
    pub restart_early_exits: bool,
    /// How long stopped tasks stay describable; at least an hour.
    pub stopped_task_retention: Duration,
    /// How many stopped tasks are kept at most.
    pub stopped_tasks_kept: usize,
    /// Container instances may be registered that have no box behind them, and only such ones.
    pub simulated: bool,
    /// Capacity providers that are there without any box.
    pub capacity_providers: BTreeSet<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            scope: Scope::default(),
            this_instance: None,
            pull_behavior: PullBehavior::PreferCached,
            stop_timeout: Duration::from_secs(30),
            restart_early_exits: true,
            stopped_task_retention: Duration::from_hours(3),
            stopped_tasks_kept: 1000,
            simulated: false,
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
    /// Set once the shell has looked for running shims and reported them; nothing is started or stopped before.
    pub scanned: bool,
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

impl Index {
    /// What the index of `world` must be.
    #[must_use]
    pub fn of(world: &World) -> Self {
        let deleting = |definition: &&TaskDefinition| {
            definition.status == TaskDefinitionStatus::DeleteInProgress
        };
        Self {
            stopped: world.tasks.values().filter_map(stopped_key).collect(),
            deleting: world
                .task_definitions
                .values()
                .filter(deleting)
                .map(TaskDefinition::reference)
                .collect(),
            client_tokens: world
                .client_tokens
                .iter()
                .map(|(token, used)| (used.used_at, token.clone()))
                .collect(),
        }
    }
}

impl World {
    /// Carries out one change on the stored part.
    pub fn apply(&mut self, change: &Change) {
        match change.clone() {
            Change::PutCluster(cluster) => {
                self.clusters.insert(cluster.name.clone(), cluster);
            }
            Change::PutTaskDefinition(definition) => {
                let reference = definition.reference();
                if definition.status == TaskDefinitionStatus::DeleteInProgress {
                    self.index.deleting.insert(reference.clone());
                } else {
                    self.index.deleting.remove(&reference);
                }
                self.task_definitions.insert(reference, *definition);
            }
            Change::DeleteTaskDefinition(reference) => {
                self.index.deleting.remove(&reference);
                self.task_definitions.remove(&reference);
            }
            Change::PutRevision(family, revision) => {
                self.revisions.insert(family, revision);
            }
            Change::PutContainerInstance(instance) => {
                self.container_instances.insert(instance.id.clone(), *instance);
            }
            Change::DeleteContainerInstance(id) => {
                self.container_instances.remove(&id);
            }
            Change::PutAssignment(assignment) => {
                self.assignments.insert(assignment.task.clone(), *assignment);
            }
            Change::DeleteAssignment(task) => {
                self.assignments.remove(&task);
            }
            Change::PutTask(task) => {
                let key = stopped_key(&task);
                let old = self.tasks.insert(task.id.clone(), *task);
                self.unindex(old.as_ref());
                self.index.stopped.extend(key);
            }
            Change::DeleteTask(id) => {
                let old = self.tasks.remove(&id);
                self.unindex(old.as_ref());
            }
            Change::PutAccountSetting { principal, name, value } => {
                self.account_settings.insert((principal, name), value);
            }
            Change::DeleteAccountSetting { principal, name } => {
                self.account_settings.remove(&(principal, name));
            }
            Change::PutClientToken(token, used) => {
                self.forget_token(&token);
                self.index.client_tokens.insert((used.used_at, token.clone()));
                self.client_tokens.insert(token, used);
            }
            Change::DeleteClientToken(token) => {
                self.forget_token(&token);
            }
        }
    }

    fn forget_token(&mut self, token: &str) {
        if let Some(old) = self.client_tokens.remove(token) {
            self.index.client_tokens.remove(&(old.used_at, token.to_owned()));
        }
    }

    fn unindex(&mut self, task: Option<&Task>) {
        if let Some(key) = task.and_then(stopped_key) {
            self.index.stopped.remove(&key);
        }
    }
}

/// The key of a stopped task in [`Index::stopped`].
fn stopped_key(task: &Task) -> Option<(Timestamp, TaskId)> {
    (task.last_status == TaskStatus::Stopped)
        .then(|| (task.stopped_at.unwrap_or(task.created_at), task.id.clone()))
}
