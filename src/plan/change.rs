//! One change of one stored record.

use super::world::ClientToken;
use crate::model::fleet::{Device, Event, JoinToken, Membership};
use crate::model::{
    Assignment, AssignmentId, Cluster, ContainerInstance, ContainerInstanceId, Family, Revision,
    Service, ServiceDeployment, ServiceDeploymentId, ServiceEvent, ServiceKey, ServiceRevision,
    ServiceRevisionId, Task, TaskDefinition, TaskDefinitionRef, TaskId,
};

/// A record written whole or removed; each is one row of one table of the store.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names say which record")]
pub enum Change {
    PutCluster(Cluster),
    PutTaskDefinition(Box<TaskDefinition>),
    DeleteTaskDefinition(TaskDefinitionRef),
    PutRevision(Family, Revision),
    PutContainerInstance(Box<ContainerInstance>),
    DeleteContainerInstance(ContainerInstanceId),
    PutAssignment(Box<Assignment>),
    DeleteAssignment(AssignmentId),
    PutTask(Box<Task>),
    DeleteTask(TaskId),
    PutAccountSetting {
        principal: String,
        name: String,
        value: String,
    },
    DeleteAccountSetting {
        principal: String,
        name: String,
    },
    PutClientToken(String, ClientToken),
    DeleteClientToken(String),
    PutService(Box<Service>),
    DeleteService(ServiceKey),
    PutServiceRevision(Box<ServiceRevision>),
    DeleteServiceRevision(ServiceRevisionId),
    PutServiceDeployment(Box<ServiceDeployment>),
    DeleteServiceDeployment(ServiceDeploymentId),
    /// Takes the place of the one that was written a hundred events before.
    PutServiceEvent(ServiceEvent),
    /// By its place in the ring.
    DeleteServiceEvent(ServiceKey, u64),
    PutDevice(Box<Device>),
    DeleteDevice(ContainerInstanceId),
    PutJoinToken(Box<JoinToken>),
    DeleteJoinToken(String),
    /// There is one at most.
    PutMembership(Box<Membership>),
    DeleteMembership,
    /// Kept until the hub has it.
    PutEvent(Box<Event>),
    /// By its offset.
    DeleteEvent(u64),
}
