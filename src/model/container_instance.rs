//! A container instance: one box that runs tasks.

use super::ids::{ClusterName, ContainerInstanceId};
use super::tag::Tag;
use super::time::Timestamp;
use serde::{Deserialize, Serialize};

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
}

/// A container instance as it is stored; what remains of its capacity is computed when it is described.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerInstance {
    /// The id.
    pub id: ContainerInstanceId,
    /// The cluster it belongs to.
    pub cluster: ClusterName,
    /// `ACTIVE` or `DRAINING`.
    pub draining: bool,
    /// What it has.
    pub capacity: Capacity,
    /// Attributes, the box's own and those put on it.
    #[serde(default)]
    pub attributes: Vec<Attribute>,
    /// When it first registered.
    pub registered_at: Timestamp,
    /// Counts the changes of this record.
    pub version: u64,
    /// The agent's version.
    pub agent_version: String,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<Tag>,
}
