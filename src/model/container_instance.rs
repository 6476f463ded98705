//! A container instance: one box that runs tasks.
//!
//! ```text
//! ACTIVE ⇄ DRAINING        UpdateContainerInstancesState
//!    └────────┴─► INACTIVE    DeregisterContainerInstance; a registration makes it ACTIVE again
//! ```

use super::capacity_provider;
use super::ids::{ClusterName, ContainerInstanceId};
use super::tag::Tag;
use super::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// An attribute of a box, `{name, value}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attribute {
    /// For example `ecs.cpu-architecture`.
    pub name: String,
    /// For example `arm64`; an attribute may have no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// The attribute of boxes whose policy allows privileged containers, as ECS names it.
pub const PRIVILEGED: &str = "com.amazonaws.ecs.capability.privileged-container";

impl Attribute {
    /// One without a value.
    #[must_use]
    pub fn flag(name: &str) -> Self {
        Self { name: name.to_owned(), value: None }
    }
}

/// What a box has to give.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    /// CPU units, 1024 a core.
    pub cpu: u32,
    /// Memory in MiB.
    pub memory: u32,
    /// TCP ports that tasks must not use.
    #[serde(default)]
    pub reserved_ports: Vec<u16>,
    /// UDP ports that tasks must not use.
    #[serde(default)]
    pub reserved_ports_udp: Vec<u16>,
    /// Ids of GPUs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<String>,
}

/// The `status` of a container instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceStatus {
    /// Takes tasks.
    Active,
    /// Takes no more tasks, and services move theirs away.
    Draining,
    /// Deregistered.
    Inactive,
}

impl InstanceStatus {
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

/// A container instance as it is stored; what remains of its capacity is computed when it is described.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerInstance {
    /// The id.
    pub id: ContainerInstanceId,
    /// The cluster it belongs to.
    pub cluster: ClusterName,
    /// It takes no more tasks. Also true of one that was deregistered.
    pub draining: bool,
    /// Since when it is `INACTIVE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deregistered_at: Option<Timestamp>,
    /// There is no box behind it: its tasks run in the planner's virtual world.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub simulated: bool,
    /// What it has.
    pub capacity: Capacity,
    /// Attributes, those that the box tells of itself and those put on it; each name once.
    #[serde(default)]
    pub attributes: Vec<Attribute>,
    /// The names of those that were put on it: the box changes nothing about these when it registers again.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub put_attributes: BTreeSet<String>,
    /// When it first registered.
    pub registered_at: Timestamp,
    /// Counts the changes of this record.
    pub version: u64,
    /// The agent's version.
    pub agent_version: String,
    /// `versionInfo.agentHash`, if it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_hash: Option<String>,
    /// `versionInfo.dockerVersion`, if it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docker_version: Option<String>,
    /// The name of the machine in its own world, if it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ec2_instance_id: Option<String>,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<Tag>,
}

impl ContainerInstance {
    /// Whether it takes tasks, drains, or is gone.
    #[must_use]
    pub fn status(&self) -> InstanceStatus {
        match (self.deregistered_at, self.draining) {
            (Some(_), _) => InstanceStatus::Inactive,
            (None, true) => InstanceStatus::Draining,
            (None, false) => InstanceStatus::Active,
        }
    }

    /// False once it was deregistered.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.deregistered_at.is_none()
    }

    /// The attribute called `name`.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    /// The pool that it belongs to.
    #[must_use]
    pub fn capacity_provider(&self) -> Option<&str> {
        self.attribute(capacity_provider::ATTRIBUTE)?.value.as_deref()
    }
}
