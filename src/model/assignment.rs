//! An assignment: what one container instance is to run. The cluster planner writes it, the instance planner obeys.
//!
//! On a box that stands alone it passes through memory and the store; in a fleet it is what MQTT carries down.
//! There are two kinds: one standalone task, whose id is the assignment's, and a number of tasks of one deployment of a
//! service, whose ids the instance planner mints and which it replaces by itself.

use super::ids::{
    AssignmentId, ClusterName, ContainerInstanceId, ContainerName, DeploymentId, Generation,
    ImageDigest, ServiceName, TaskDefinitionRef, TaskId,
};
use super::network::AwsvpcConfiguration;
use super::service::ServiceKey;
use super::status::{DesiredStatus, StopCode};
use super::tag::Tag;
use super::task::TaskOverride;
use super::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What one box is to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// Which; minted with it.
    #[serde(alias = "task")]
    pub id: AssignmentId,
    /// Its cluster.
    pub cluster: ClusterName,
    /// The box.
    pub container_instance: ContainerInstanceId,
    /// What to run.
    pub task_definition: TaskDefinitionRef,
    /// Grows with every change of this record.
    pub generation: Generation,
    /// One task or several.
    #[serde(flatten)]
    pub wanted: Wanted,
    /// When it was made.
    pub created_at: Timestamp,
    /// Changes for this one task.
    #[serde(default)]
    pub overrides: TaskOverride,
    /// As requested, or `family:NAME`, or `service:NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// As requested, or `ecs-svc/ID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_by: Option<String>,
    /// As requested, `EC2` by default.
    pub launch_type: String,
    /// The pool that the box was chosen from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_provider_name: Option<String>,
    /// As requested, for tasks of awsvpc mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<AwsvpcConfiguration>,
    /// As requested.
    #[serde(default)]
    pub enable_execute_command: bool,
    /// Tags of the tasks.
    #[serde(default)]
    pub tags: Vec<Tag>,
}

/// The two kinds of assignment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Wanted {
    /// Tasks of a service.
    Service(ServiceTasks),
    /// One standalone task.
    Task(OneTask),
}

/// One standalone task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OneTask {
    /// Run or stop.
    pub desired_status: DesiredStatus,
    /// Why it is to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopRequest>,
}

/// Tasks of one deployment of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceTasks {
    /// The service, of the assignment's cluster.
    pub service: ServiceName,
    /// The deployment.
    pub deployment: DeploymentId,
    /// How many tasks are to run.
    pub count: u32,
    /// Tasks that are to stop whatever the count; gone from here once they have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stops: BTreeMap<TaskId, StopRequest>,
    /// How long after its start an unhealthy task is left alone, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check_grace_period_seconds: Option<u32>,
    /// What the deployment's images mean, as far as that was known when this was last written.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<ContainerName, ImageDigest>,
}

/// Why a task is to stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StopRequest {
    /// For programs.
    pub code: StopCode,
    /// For people.
    pub reason: String,
}

impl Assignment {
    /// The service and what is wanted of it, unless it is a standalone task.
    #[must_use]
    pub fn service(&self) -> Option<&ServiceTasks> {
        match &self.wanted {
            Wanted::Service(tasks) => Some(tasks),
            Wanted::Task(_) => None,
        }
    }

    /// Whose tasks these are, unless it is a standalone task.
    #[must_use]
    pub fn service_key(&self) -> Option<ServiceKey> {
        let tasks = self.service()?;
        Some(ServiceKey { cluster: self.cluster.clone(), name: tasks.service.clone() })
    }

    /// How many tasks are to run.
    #[must_use]
    pub fn count(&self) -> u32 {
        match &self.wanted {
            Wanted::Service(tasks) => tasks.count,
            Wanted::Task(task) => u32::from(task.desired_status == DesiredStatus::Running),
        }
    }

    /// Why `task` is to stop, if somebody wants that.
    #[must_use]
    pub fn stop_request(&self, task: &TaskId) -> Option<&StopRequest> {
        match &self.wanted {
            Wanted::Service(tasks) => tasks.stops.get(task),
            Wanted::Task(one) => one.stop.as_ref(),
        }
    }
}
