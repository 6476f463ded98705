//! A task and its containers, as stored.
//!
//! Members named as in the ECS API are what `DescribeTasks` shows. The members under `control` are Coracle's own:
//! what the instance planner must remember to go on after a crash.

use super::ids::{
    AssignmentId, ClusterName, ContainerInstanceId, ContainerName, DeploymentId, Generation,
    ImageDigest, RuntimeId, ServiceName, TaskDefinitionRef, TaskId,
};
use super::network::{Attachment, NetworkBinding, NetworkInterface};
use super::shape::shape;
use super::status::{ContainerStatus, DesiredStatus, HealthStatus, StopCode, TaskStatus};
use super::tag::Tag;
use super::task_definition::{
    EnvironmentFile, EphemeralStorage, KeyValuePair, ResourceRequirement,
};
use super::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The longest that a task is protected from being scaled in.
pub const LONGEST_PROTECTION: Duration = Duration::from_hours(48);

/// A task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// The id, last part of the ARN.
    pub id: TaskId,
    /// Its cluster.
    pub cluster: ClusterName,
    /// The box it is placed on.
    pub container_instance: ContainerInstanceId,
    /// What it runs.
    pub task_definition: TaskDefinitionRef,
    /// Grows when the task must start over (a reboot of the box); the runtime refuses older ones.
    pub generation: Generation,
    /// What is wanted.
    pub desired_status: DesiredStatus,
    /// Where it is.
    pub last_status: TaskStatus,
    /// Its containers, in the order of the definition.
    pub containers: Vec<Container>,
    /// What the caller changed for this one task.
    #[serde(default)]
    pub overrides: TaskOverride,
    /// Counts changes of this record, from 1.
    pub version: u64,
    /// `family:NAME` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Who started it, free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_by: Option<String>,
    /// `launchType` of the request; `EC2` unless given.
    pub launch_type: String,
    /// The pool that its box was chosen from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_provider_name: Option<String>,
    /// Of which service it is; none for a standalone task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceMembership>,
    /// CPU units of the task, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// MiB of the task, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// The network interface of awsvpc mode.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// Whether exec was asked for.
    #[serde(default)]
    pub enable_execute_command: bool,
    /// Health over its essential containers.
    #[serde(default)]
    pub health_status: HealthStatus,
    /// Until when nothing may scale it in; past or absent when anything may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected_until: Option<Timestamp>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When the first image was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_started_at: Option<Timestamp>,
    /// When the last image was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_stopped_at: Option<Timestamp>,
    /// When it became RUNNING.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it was first to be stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopping_at: Option<Timestamp>,
    /// When its containers had stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_stopped_at: Option<Timestamp>,
    /// When it became STOPPED.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Timestamp>,
    /// When the hub heard of its end, by the hub's clock: from then on it is kept for a while, however long ago it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_at: Option<Timestamp>,
    /// Why, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_code: Option<StopCode>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_reason: Option<String>,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<Tag>,
}

impl Task {
    /// A name for one of its containers that is unique on the box, and telling: that which ECS's agent gives Docker.
    #[must_use]
    pub fn long_name(&self, container: &Container) -> String {
        let reference = &self.task_definition;
        let digits = |c: &char| c.is_ascii_hexdigit();
        let id: String = container.id.chars().filter(digits).take(20).collect();
        format!("ecs-{}-{}-{}-{id}", reference.family, reference.revision, container.name)
    }

    /// The container called `name`.
    #[must_use]
    pub fn container(&self, name: &ContainerName) -> Option<&Container> {
        self.containers.iter().find(|c| &c.name == name)
    }

    /// Until when it is protected, if at `now` it still is. A protection that has longer to go than any is given was given by a
    /// clock that was wrong.
    #[must_use]
    pub fn protection(&self, now: Timestamp) -> Option<Timestamp> {
        self.protected_until.filter(|until| *until > now && until.since(now) <= LONGEST_PROTECTION)
    }

    /// When it was started, by the clock as it was last set.
    #[must_use]
    pub fn runs_since(&self) -> Option<Timestamp> {
        let set_by = |c: &Container| Some(c.start_timeout_from?.millis() - c.started_at?.millis());
        let set_by = self.containers.iter().find_map(set_by).unwrap_or(0);
        self.started_at.map(|at| Timestamp(at.millis().saturating_add(set_by)))
    }

    /// Whether a service started it.
    #[must_use]
    pub fn is_of_service(&self) -> bool {
        self.service.is_some()
    }

    /// The assignment that it comes from.
    #[must_use]
    pub fn assignment(&self) -> AssignmentId {
        self.service
            .as_ref()
            .map_or_else(|| AssignmentId::of_task(&self.id), |service| service.assignment.clone())
    }
}

/// A task's place in a service, and what the instance planner must remember to replace it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceMembership {
    /// What it comes from.
    pub assignment: AssignmentId,
    /// The service, of the task's cluster.
    pub name: ServiceName,
    /// The deployment.
    pub deployment: DeploymentId,
    /// How many tasks before it ended early, one after the other.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures_before: u32,
    /// Not started before, because those before it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// It ended by itself, or was ended because it was unhealthy.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
}

/// A container of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// The id, last part of the container's ARN.
    pub id: String,
    /// Its name in the definition.
    pub name: ContainerName,
    /// The image as named.
    pub image: String,
    /// The image as resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<ImageDigest>,
    /// What its registry meant by the name: the digest of an index or a manifest, the same for every box. Known before
    /// the pull when the deployment has settled it (`versionConsistency`); the image is then pulled by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_source: Option<ImageDigest>,
    /// The id of its current run; minted when the start is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_id: Option<RuntimeId>,
    /// Where it is.
    pub last_status: ContainerStatus,
    /// How it ended; absent when it never ran or that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Why it ended or did not start, `ErrorName: text` as ECS words it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its health.
    #[serde(default)]
    pub health_status: HealthStatus,
    /// The ports of it that are published on the box.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub network_bindings: Vec<NetworkBinding>,
    /// Its addresses, unless it shares those of the box.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub network_interfaces: Vec<NetworkInterface>,
    /// When its process started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// From when its `startTimeout` counts, when that is not its start because the clock was set since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timeout_from: Option<Timestamp>,
    /// When its process ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// When it was first asked to stop; SIGKILL follows after its `stopTimeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_requested_at: Option<Timestamp>,
    /// How often its `restartPolicy` had it started again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restart_count: u32,
    /// How many of the last ends in a row came before `restartAttemptPeriod`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub early_exits: u32,
    /// From when it may be started again, while it waits for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_at: Option<Timestamp>,
}

impl Container {
    /// The image to ask for: by digest once its meaning is settled, else as named.
    #[must_use]
    pub fn wanted_image(&self) -> String {
        self.image_source.as_ref().map_or_else(|| self.image.clone(), |d| d.pin(&self.image))
    }

    /// Since when it runs, or ran, by the clock as it was last set.
    #[must_use]
    pub fn runs_since(&self) -> Option<Timestamp> {
        self.start_timeout_from.or(self.started_at)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

shape! {
    /// What RunTask and StartTask may change (ECS `TaskOverride`).
    pub struct TaskOverride {
        /// Per container.
        container_overrides: Vec<ContainerOverride>,
        /// CPU units of the task.
        cpu: String,
        /// MiB of the task.
        memory: String,
        /// Fargate's scratch disk.
        ephemeral_storage: EphemeralStorage,
        /// IAM role of the agent.
        execution_role_arn: String,
        /// IAM role of the task.
        task_role_arn: String,
        /// Elastic Inference.
        inference_accelerator_overrides: Vec<serde_json::Value>,
    }
}

shape! {
    /// What may be changed of one container (ECS `ContainerOverride`).
    pub struct ContainerOverride {
        /// Which.
        name: String,
        /// Instead of the definition's.
        command: Vec<String>,
        /// Added to the definition's, by name.
        environment: Vec<KeyValuePair>,
        /// Added to the definition's.
        environment_files: Vec<EnvironmentFile>,
        /// CPU shares.
        cpu: i64,
        /// MiB, hard.
        memory: i64,
        /// MiB, soft.
        memory_reservation: i64,
        /// GPUs.
        resource_requirements: Vec<ResourceRequirement>,
    }
}
