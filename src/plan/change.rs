//! One change of one stored record.

use super::world::ClientToken;
use crate::model::assignment::Assignment;
use crate::model::{
    Cluster, ContainerInstance, ContainerInstanceId, Family, Revision, Task, TaskDefinition,
    TaskDefinitionRef, TaskId,
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
    DeleteAssignment(TaskId),
    PutTask(Box<Task>),
    DeleteTask(TaskId),
    PutAccountSetting { principal: String, name: String, value: String },
    DeleteAccountSetting { principal: String, name: String },
    PutClientToken(String, ClientToken),
    DeleteClientToken(String),
}
