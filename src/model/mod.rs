//! Plain data: the ECS nouns as serde types with the spelling of the ECS API (`camelCase` in JSON).
//!
//! Nothing here does I/O or knows a clock. Types that are stored and types that the API shows are the same;
//! members that only Coracle uses are grouped under a member of their own and never rendered by `api`.

pub mod arn;
pub mod assignment;
pub mod capacity_provider;
pub mod cluster;
pub mod container_instance;
pub mod failure;
pub mod ids;
pub mod network;
pub mod session;
pub(crate) mod shape;
pub mod status;
pub mod tag;
pub mod task;
pub mod task_definition;
pub mod time;

pub use arn::{Arn, ArnError, Scope};
pub use assignment::{Assignment, StopRequest};
pub use capacity_provider::CapacityProviderStrategyItem;
pub use cluster::Cluster;
pub use container_instance::{ContainerInstance, InstanceStatus};
pub use failure::Failure;
pub use ids::{
    ClusterName, ContainerInstanceId, ContainerName, Family, Generation, ImageDigest, Revision,
    RuntimeId, TaskDefinitionRef, TaskId,
};
pub use network::{Attachment, NetworkBinding, NetworkInterface};
pub use session::TerminalSize;
pub use status::{ContainerStatus, DesiredStatus, HealthStatus, StopCode, TaskStatus};
pub use tag::Tag;
pub use task::{Container, Task};
pub use task_definition::TaskDefinition;
pub use time::Timestamp;
