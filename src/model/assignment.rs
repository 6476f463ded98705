//! An assignment: what one container instance is to run. The cluster planner writes it, the instance planner obeys.
//!
//! On a box that stands alone it passes through memory and the store; in a fleet it is what MQTT carries down.
//! Today there is one kind, the standalone task; the id of such an assignment is the task's id.

use super::ids::{ClusterName, ContainerInstanceId, Generation, TaskDefinitionRef, TaskId};
use super::network::AwsvpcConfiguration;
use super::status::{DesiredStatus, StopCode};
use super::tag::Tag;
use super::task::TaskOverride;
use super::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One standalone task on one box.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// The task's id, minted with the assignment.
    pub task: TaskId,
    /// Its cluster.
    pub cluster: ClusterName,
    /// The box.
    pub container_instance: ContainerInstanceId,
    /// What to run.
    pub task_definition: TaskDefinitionRef,
    /// Grows with every change of this record.
    pub generation: Generation,
    /// Run or stop.
    pub desired_status: DesiredStatus,
    /// Why it is to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopRequest>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Changes for this one task.
    #[serde(default)]
    pub overrides: TaskOverride,
    /// As requested, or `family:NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// As requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_by: Option<String>,
    /// As requested, `EC2` by default.
    pub launch_type: String,
    /// As requested, for tasks of awsvpc mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<AwsvpcConfiguration>,
    /// As requested.
    #[serde(default)]
    pub enable_execute_command: bool,
    /// Tags of the task.
    #[serde(default)]
    pub tags: Vec<Tag>,
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
