//! Services, their deployments, revisions and events, as stored.
//!
//! ```text
//! Service ── deployments[]: PRIMARY, then those that are being replaced (ACTIVE)
//!    │            └─ ServiceRevision: what it runs, never changed once written
//!    ├── ServiceDeployment: the record of one roll-out, from revisions to a revision
//!    └── ServiceEvent: what happened, in words; a ring of [`EVENTS_KEPT`]
//! ```
//!
//! Members are named as in the ECS API. Counters that follow from tasks are computed when a service is described.

use super::ids::{
    ClusterName, ContainerInstanceId, ContainerName, DeploymentId, ImageDigest,
    ServiceDeploymentId, ServiceName, ServiceRevisionId, TaskDefinitionRef,
};
use super::network::AwsvpcConfiguration;
use super::placement::{CapacityProviderStrategyItem, PlacementStrategy};
use super::tag::Tag;
use super::task_definition::PlacementConstraint;
use super::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How many events of a service are kept.
pub const EVENTS_KEPT: u64 = 100;

/// Which service: names are unique within a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceKey {
    /// The cluster.
    pub cluster: ClusterName,
    /// The name.
    pub name: ServiceName,
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.name)
    }
}

/// `status` of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServiceStatus {
    /// Kept at its desired count.
    Active,
    /// Deleted, with tasks that still stop.
    Draining,
    /// Deleted; describable for a while.
    Inactive,
}

impl ServiceStatus {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Draining => "DRAINING",
            Self::Inactive => "INACTIVE",
        }
    }
}

/// `schedulingStrategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SchedulingStrategy {
    /// `desiredCount` tasks, wherever they fit.
    Replica,
    /// One task on each container instance that meets the constraints.
    Daemon,
}

impl SchedulingStrategy {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replica => "REPLICA",
            Self::Daemon => "DAEMON",
        }
    }
}

/// `propagateTags`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PropagateTags {
    /// Tasks get no tags.
    #[default]
    None,
    /// Tasks get those of the task definition.
    TaskDefinition,
    /// Tasks get those of the service.
    Service,
}

impl PropagateTags {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::TaskDefinition => "TASK_DEFINITION",
            Self::Service => "SERVICE",
        }
    }
}

/// `deploymentConfiguration` with its defaults filled in; the strategy is always `ROLLING`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentConfiguration {
    /// The most tasks during a roll-out, in percent of the desired count, rounded down.
    pub maximum_percent: u32,
    /// The least healthy tasks during a roll-out, in percent of the desired count, rounded up.
    pub minimum_healthy_percent: u32,
    /// When to give up.
    #[serde(default)]
    pub deployment_circuit_breaker: DeploymentCircuitBreaker,
}

/// `deploymentCircuitBreaker`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentCircuitBreaker {
    /// Whether a roll-out with failing tasks is given up.
    pub enable: bool,
    /// Whether the last good revision then comes back.
    pub rollback: bool,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Cluster and name.
    #[serde(flatten)]
    pub key: ServiceKey,
    /// Where it is in its life.
    pub status: ServiceStatus,
    /// One task per box, or a number of tasks.
    pub scheduling_strategy: SchedulingStrategy,
    /// As requested; for `DAEMON` the number of boxes that fit, kept by the planner.
    pub desired_count: u32,
    /// PRIMARY first, then those being replaced, newest first. Empty once the service is INACTIVE.
    pub deployments: Vec<Deployment>,
    /// How roll-outs go.
    pub deployment_configuration: DeploymentConfiguration,
    /// As requested.
    #[serde(default)]
    pub placement_constraints: Vec<PlacementConstraint>,
    /// As requested.
    #[serde(default)]
    pub placement_strategy: Vec<PlacementStrategy>,
    /// How long after its start an unhealthy task is left alone, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check_grace_period_seconds: Option<u32>,
    /// `availabilityZoneRebalancing` as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability_zone_rebalancing: Option<String>,
    /// Whether tasks carry `aws:ecs:clusterName` and `aws:ecs:serviceName`.
    #[serde(default)]
    pub enable_ecs_managed_tags: bool,
    /// Whose tags tasks get.
    #[serde(default)]
    pub propagate_tags: PropagateTags,
    /// As requested.
    #[serde(default)]
    pub enable_execute_command: bool,
    /// `role` as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The principal that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// When it became INACTIVE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// The number of its next event.
    #[serde(default)]
    pub next_event: u64,
    /// What its events said last, so that nothing is said again and again.
    #[serde(default)]
    pub said: Said,
}

impl Service {
    /// The deployment that the service is to be on.
    #[must_use]
    pub fn primary(&self) -> Option<&Deployment> {
        self.deployments.first()
    }

    /// The deployment of this id.
    #[must_use]
    pub fn deployment(&self, id: &DeploymentId) -> Option<&Deployment> {
        self.deployments.iter().find(|deployment| &deployment.id == id)
    }

    /// `group` of its tasks.
    #[must_use]
    pub fn group(&self) -> String {
        format!("service:{}", self.key.name)
    }
}

/// What the planner said of a service in its events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Said {
    /// That it is steady, and it still is.
    #[serde(default)]
    pub steady: bool,
    /// Why a task could not be placed, and when that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unplaced: Option<(Timestamp, String)>,
    /// That the tasks of these boxes, which are not connected, are replaced elsewhere.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub gone: BTreeSet<ContainerInstanceId>,
}

/// `rolloutState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RolloutState {
    /// On its way.
    InProgress,
    /// It was once whole and healthy.
    Completed,
    /// The circuit breaker tripped.
    Failed,
}

impl RolloutState {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "IN_PROGRESS",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
        }
    }
}

/// One entry of `deployments[]`; the first is PRIMARY, the others are ACTIVE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    /// Nineteen digits; shown as `ecs-svc/ID`, which is also `startedBy` of its tasks.
    pub id: DeploymentId,
    /// What it runs.
    pub service_revision: ServiceRevisionId,
    /// The roll-out that it belongs to.
    pub service_deployment: ServiceDeploymentId,
    /// Where it is.
    pub rollout_state: RolloutState,
    /// In words.
    pub rollout_state_reason: String,
    /// Tasks that failed while it was rolled out.
    pub failed_tasks: u32,
    /// What the images of its containers meant when the first of its tasks asked; later tasks get the same, wherever
    /// their tags have moved since (`versionConsistency`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<ContainerName, ImageDigest>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Deployment {
    /// `id` on the wire.
    #[must_use]
    pub fn wire_id(&self) -> String {
        format!("ecs-svc/{}", self.id)
    }
}

/// What a deployment runs: never changed once written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRevision {
    /// Nineteen digits, last part of the ARN.
    pub id: ServiceRevisionId,
    /// Whose it is.
    #[serde(flatten)]
    pub service: ServiceKey,
    /// What to run.
    pub task_definition: TaskDefinitionRef,
    /// As requested; absent when a capacity provider strategy goes before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_type: Option<String>,
    /// As requested, or the cluster's default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capacity_provider_strategy: Vec<CapacityProviderStrategyItem>,
    /// As requested, for `FARGATE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_version: Option<String>,
    /// As requested, for tasks of awsvpc mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<AwsvpcConfiguration>,
    /// `serviceRegistries` as given: names in the box's DNS.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_registries: Vec<Value>,
    /// `serviceConnectConfiguration` as given: names in the box's DNS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_connect_configuration: Option<Value>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// `status` of a service deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "named as in the ECS API")]
pub enum ServiceDeploymentStatus {
    Pending,
    InProgress,
    Successful,
    StopRequested,
    Stopped,
    RollbackRequested,
    RollbackInProgress,
    RollbackSuccessful,
    RollbackFailed,
}

impl ServiceDeploymentStatus {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::InProgress => "IN_PROGRESS",
            Self::Successful => "SUCCESSFUL",
            Self::StopRequested => "STOP_REQUESTED",
            Self::Stopped => "STOPPED",
            Self::RollbackRequested => "ROLLBACK_REQUESTED",
            Self::RollbackInProgress => "ROLLBACK_IN_PROGRESS",
            Self::RollbackSuccessful => "ROLLBACK_SUCCESSFUL",
            Self::RollbackFailed => "ROLLBACK_FAILED",
        }
    }

    /// Whether nothing more will come of it.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(
            self,
            Self::Successful | Self::Stopped | Self::RollbackSuccessful | Self::RollbackFailed
        )
    }
}

/// The record of one roll-out (ECS `ServiceDeployment`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceDeployment {
    /// Twenty-one letters and digits, last part of the ARN.
    pub id: ServiceDeploymentId,
    /// Whose it is.
    #[serde(flatten)]
    pub service: ServiceKey,
    /// Where it is.
    pub status: ServiceDeploymentStatus,
    /// In words, when there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// The revisions that ran when it began.
    #[serde(default)]
    pub source_service_revisions: Vec<ServiceRevisionId>,
    /// The revision it is about.
    pub target_service_revision: ServiceRevisionId,
    /// As it was when it began.
    pub deployment_configuration: DeploymentConfiguration,
    /// Tasks that failed, and how many are too many; absent while the circuit breaker is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_circuit_breaker: Option<CircuitBreakerRecord>,
    /// The way back, once it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Rollback>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When its first task was assigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// When it was stopped, by a caller or by a newer one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What the circuit breaker saw (ECS `ServiceDeploymentCircuitBreaker`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreakerRecord {
    /// Whether it gave up.
    pub triggered: bool,
    /// Tasks that failed.
    pub failure_count: u32,
    /// How many are too many.
    pub threshold: u32,
}

/// A way back (ECS `Rollback`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollback {
    /// Why.
    pub reason: String,
    /// When it began.
    pub started_at: Timestamp,
    /// To which revision.
    pub service_revision: ServiceRevisionId,
}

/// One event; its number modulo [`EVENTS_KEPT`] is its place in the ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceEvent {
    /// Whose it is.
    #[serde(flatten)]
    pub service: ServiceKey,
    /// Counts from 0.
    pub number: u64,
    /// A UUID.
    pub id: String,
    /// When.
    pub created_at: Timestamp,
    /// In words, beginning with `(service NAME)`.
    pub message: String,
}

impl ServiceEvent {
    /// Its place in the ring.
    #[must_use]
    pub const fn slot(&self) -> u64 {
        self.number % EVENTS_KEPT
    }
}
