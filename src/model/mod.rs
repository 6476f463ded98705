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
pub mod fleet;
pub mod ids;
pub mod network;
pub mod placement;
pub mod service;
pub mod session;
pub(crate) mod shape;
pub mod status;
pub mod tag;
pub mod task;
pub mod task_definition;
pub mod time;

pub use arn::{Arn, ArnError, Scope};
pub use assignment::{Assignment, OneTask, ServiceTasks, StopRequest, Wanted};
pub use cluster::Cluster;
pub use container_instance::{ContainerInstance, InstanceStatus};
pub use failure::Failure;
pub use ids::{
    AssignmentId, ClusterName, ContainerInstanceId, ContainerName, DeploymentId, Family,
    Generation, ImageDigest, Revision, RuntimeId, ServiceDeploymentId, ServiceName,
    ServiceRevisionId, TaskDefinitionRef, TaskId,
};
pub use network::{Attachment, NetworkBinding, NetworkInterface};
pub use placement::{CapacityProviderStrategyItem, PlacementStrategy};
pub use service::{
    Deployment, Service, ServiceDeployment, ServiceEvent, ServiceKey, ServiceRevision,
};
pub use session::TerminalSize;
pub use status::{ContainerStatus, DesiredStatus, HealthStatus, StopCode, TaskStatus};
pub use tag::Tag;
pub use task::{Container, ServiceMembership, Task};
pub use task_definition::TaskDefinition;
pub use time::Timestamp;
