//! Everything that anybody may ask for or report, and what it changes.
//!
//! [`apply`] is pure: it checks the command against the world and answers with changes and a reply, or an error
//! and no change. Names are resolved already: `api` and `cli` parse ARNs into ids.

pub(super) mod attribute;
pub mod capacity_provider;
mod cluster;
pub(super) mod instance;
mod observe;
mod place_tasks;
mod protection;
mod registration;
pub(crate) mod run_task;
mod scan;
pub mod service;
mod setting;
mod state_change;
mod stop_task;
mod tag;
mod target;
mod task_definition;

pub(crate) use protection::protectable;
pub use service::{CreateService, StopType, UpdateService};
pub use state_change::{ContainerStateChange, ReportedStatus, StateChange};

use super::change::Change;
use super::ids::Ids;
use super::observation::Observation;
use super::reason::Reason;
use super::world::World;
use crate::model::container_instance::{Attribute, Capacity};
use crate::model::network::AwsvpcConfiguration;
use crate::model::placement::PlacementStrategy;
use crate::model::task::TaskOverride;
use crate::model::task_definition::{PlacementConstraint, TaskDefinitionContent};
use crate::model::{
    CapacityProviderStrategyItem, ClusterName, ContainerInstanceId, Failure, Family, Revision,
    ServiceDeploymentId, ServiceKey, Tag, TaskDefinitionRef, TaskId, Timestamp,
};

/// What a request for the tags of a deleted cluster is told.
pub(crate) const INACTIVE_CLUSTER: &str =
    "The specified cluster is inactive. Specify an active cluster and try again.";

/// A wish or a fact.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "named and spelled as the operations of the ECS API")]
pub enum Command {
    CreateCluster(Box<CreateCluster>),
    /// `UpdateCluster` and `UpdateClusterSettings`.
    UpdateCluster(Box<UpdateCluster>),
    PutClusterCapacityProviders {
        cluster: ClusterName,
        capacity_providers: Vec<String>,
        strategy: Vec<CapacityProviderStrategyItem>,
    },
    DeleteCluster(ClusterName),
    PutAttributes {
        cluster: ClusterName,
        attributes: Vec<(ContainerInstanceId, Attribute)>,
    },
    DeleteAttributes {
        cluster: ClusterName,
        attributes: Vec<(ContainerInstanceId, Attribute)>,
    },
    /// An instance without a box.
    RegisterContainerInstance(Box<RegisterContainerInstance>),
    DeregisterContainerInstance {
        cluster: ClusterName,
        instance: ContainerInstanceId,
        force: bool,
    },
    UpdateContainerInstancesState {
        cluster: ClusterName,
        instances: Vec<ContainerInstanceId>,
        draining: bool,
    },
    RegisterTaskDefinition {
        content: Box<TaskDefinitionContent>,
        tags: Vec<Tag>,
        registered_by: Option<String>,
    },
    DeregisterTaskDefinition(TaskDefinitionRef),
    DeleteTaskDefinitions(Vec<TaskDefinitionRef>),
    RunTask(Box<RunTask>),
    StopTask {
        cluster: ClusterName,
        task: TaskId,
        reason: Option<String>,
    },
    CreateService(Box<CreateService>),
    UpdateService(Box<UpdateService>),
    DeleteService {
        service: ServiceKey,
        force: bool,
    },
    StopServiceDeployment {
        service: ServiceKey,
        deployment: ServiceDeploymentId,
        stop_type: StopType,
    },
    /// `SubmitTaskStateChange` and `SubmitContainerStateChange`.
    SubmitStateChange(Box<StateChange>),
    UpdateTaskProtection {
        /// All in this cluster.
        cluster: ClusterName,
        tasks: Vec<TaskId>,
        protected: bool,
        /// Two hours unless given.
        expires_in_minutes: Option<i64>,
        asked_by: ProtectionAsker,
    },
    TagResource {
        resource: Resource,
        tags: Vec<Tag>,
    },
    UntagResource {
        resource: Resource,
        keys: Vec<String>,
    },
    PutAccountSetting {
        principal: String,
        name: String,
        value: String,
    },
    DeleteAccountSetting {
        principal: String,
        name: String,
    },
    /// The agent of this box tells its capacity and attributes, at every start.
    RegisterThisInstance(Box<RegisterThisInstance>),
    /// What befalls tasks of a simulation that start from now on.
    SetFaults(Box<super::simulate::FaultPlan>),
    /// What hub and boxes of a fleet tell each other.
    Fleet(Box<super::fleet::FleetCommand>),
    Observe(Observation),
}

/// `CreateCluster`.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "as in the ECS API")]
pub struct CreateCluster {
    pub name: ClusterName,
    pub tags: Vec<Tag>,
    pub settings: Vec<serde_json::Value>,
    pub configuration: Option<serde_json::Value>,
    pub capacity_providers: Vec<String>,
    pub default_capacity_provider_strategy: Vec<CapacityProviderStrategyItem>,
    pub service_connect_defaults: Option<serde_json::Value>,
}

impl CreateCluster {
    /// A cluster of this name, with nothing set.
    #[must_use]
    pub const fn named(name: ClusterName) -> Self {
        Self {
            name,
            tags: Vec::new(),
            settings: Vec::new(),
            configuration: None,
            capacity_providers: Vec::new(),
            default_capacity_provider_strategy: Vec::new(),
            service_connect_defaults: None,
        }
    }
}

/// `UpdateCluster`: what is none stays.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "as in the ECS API")]
pub struct UpdateCluster {
    pub name: ClusterName,
    pub settings: Option<Vec<serde_json::Value>>,
    pub configuration: Option<serde_json::Value>,
    pub service_connect_defaults: Option<serde_json::Value>,
}

/// `RegisterContainerInstance`.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "as in the ECS API")]
pub struct RegisterContainerInstance {
    pub cluster: ClusterName,
    /// Renews this one.
    pub id: Option<ContainerInstanceId>,
    pub capacity: Capacity,
    pub attributes: Vec<Attribute>,
    pub agent_version: String,
    pub agent_hash: Option<String>,
    pub docker_version: Option<String>,
    pub ec2_instance_id: Option<String>,
    pub tags: Vec<Tag>,
}

/// `RunTask`, or `StartTask` when `container_instances` is given.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "as in the ECS API")]
pub struct RunTask {
    pub cluster: ClusterName,
    /// Without a revision: the newest active one.
    pub family: Family,
    pub revision: Option<Revision>,
    /// 1 to 10; ignored for StartTask.
    pub count: u32,
    /// StartTask: exactly these, by id (an unknown id becomes a failure).
    pub container_instances: Option<Vec<String>>,
    pub overrides: TaskOverride,
    pub placement_constraints: Vec<PlacementConstraint>,
    pub placement_strategy: Vec<PlacementStrategy>,
    /// Instead of a launch type.
    pub capacity_provider_strategy: Vec<CapacityProviderStrategyItem>,
    pub group: Option<String>,
    pub started_by: Option<String>,
    pub launch_type: Option<String>,
    /// `networkConfiguration`.
    pub network: Option<AwsvpcConfiguration>,
    pub enable_execute_command: bool,
    /// Adds the tag that tells the cluster.
    pub enable_ecs_managed_tags: bool,
    pub propagate_tags_from_task_definition: bool,
    pub tags: Vec<Tag>,
    pub client_token: Option<String>,
}

/// What the agent of this box tells about it.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "as in the container instance")]
pub struct RegisterThisInstance {
    pub id: ContainerInstanceId,
    pub cluster: ClusterName,
    pub capacity: Capacity,
    pub attributes: Vec<Attribute>,
    pub agent_version: String,
}

/// Who wants a task protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtectionAsker {
    /// A caller of the API: tasks of services only, as in ECS.
    Caller,
    /// The task itself, over its endpoint: whatever started it.
    Task,
}

/// Something that carries tags.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Resource {
    Cluster(ClusterName),
    Task(TaskId),
    TaskDefinition(TaskDefinitionRef),
    ContainerInstance(ContainerInstanceId),
    Service(ServiceKey),
}

/// What a command answers, beside its changes; records are then read from the world.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Nothing to say.
    Done,
    /// The cluster that now is.
    Cluster(ClusterName),
    /// The revision registered or deregistered.
    TaskDefinition(TaskDefinitionRef),
    /// Revisions that are being deleted (their records as they were left), and those that cannot be.
    TaskDefinitions {
        /// Being deleted, as the caller should see them.
        deleted: Vec<crate::model::TaskDefinition>,
        /// Refused, by ARN.
        failures: Vec<Failure>,
    },
    /// Instances as they now are, and those of which nothing was changed.
    ContainerInstances {
        /// As asked for.
        instances: Vec<ContainerInstanceId>,
        /// ECS's `failures[]`.
        failures: Vec<Failure>,
    },
    /// The service made, changed or deleted.
    Service(ServiceKey),
    /// Tasks whose protection was changed, and those that have none to change.
    Protection {
        /// As asked for.
        tasks: Vec<TaskId>,
        /// ECS's `failures[]`.
        failures: Vec<Failure>,
    },
    /// What became of a desired document.
    Document(super::fleet::Acceptance),
    /// What the hub makes of a box's report.
    Report(super::fleet::Answer),
    /// Tasks started, and where there was no room.
    Tasks {
        /// New tasks, or those of an earlier request with the same client token.
        tasks: Vec<TaskId>,
        /// ECS's `failures[]`.
        failures: Vec<Failure>,
    },
}

/// Why a command was refused; a closed set that `api` maps to ECS exceptions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// `ClusterNotFoundException`.
    #[error("Cluster not found.")]
    ClusterNotFound,
    /// `ClusterContainsServicesException`.
    #[error("The Cluster cannot be deleted while Services are active.")]
    ClusterContainsServices,
    /// `ClusterContainsTasksException`.
    #[error("The Cluster cannot be deleted while Tasks are active.")]
    ClusterContainsTasks,
    /// `ClusterContainsContainerInstancesException`.
    #[error("The Cluster cannot be deleted while Container Instances are active or draining.")]
    ClusterContainsContainerInstances,
    /// `ServiceNotFoundException`.
    #[error("Service not found.")]
    ServiceNotFound,
    /// `ServiceNotActiveException`.
    #[error("Service was not ACTIVE.")]
    ServiceNotActive,
    /// `ServiceDeploymentNotFoundException`.
    #[error("Service deployment not found.")]
    ServiceDeploymentNotFound,
    /// `TargetNotFoundException`.
    #[error(
        "The specified target wasn't found. You can view your available container instances with ListContainerInstances."
    )]
    TargetNotFound,
    /// `AttributeLimitExceededException`.
    #[error(
        "You can apply up to 10 custom attributes for each resource. You can view the attributes of a resource with \
         ListAttributes and remove existing ones with DeleteAttributes."
    )]
    AttributeLimitExceeded,
    /// `ResourceInUseException`.
    #[error("{0}")]
    ResourceInUse(String),
    /// `ClientException`.
    #[error("{0}")]
    Client(String),
    /// `InvalidParameterException`.
    #[error("{0}")]
    InvalidParameter(String),
    /// `ResourceNotFoundException`.
    #[error("{0}")]
    ResourceNotFound(String),
    /// `ConflictException`, with the ids of the tasks in its way.
    #[error("{message}")]
    Conflict {
        /// The text.
        message: String,
        /// `resourceIds`.
        resource_ids: Vec<String>,
    },
    /// `LimitExceededException`.
    #[error("{0}")]
    LimitExceeded(String),
    /// `UnsupportedFeatureException`.
    #[error("{0}")]
    UnsupportedFeature(String),
    /// `PlatformUnknownException`.
    #[error("{0}")]
    PlatformUnknown(String),
}

/// Changes and answer of an accepted command.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// To commit.
    pub changes: Vec<Change>,
    /// To answer.
    pub reply: Reply,
    /// Why tasks went on differently than was wanted.
    pub reasons: Vec<Reason>,
}

impl Outcome {
    /// Nothing changes, nothing to say.
    pub(super) const fn nothing() -> Self {
        Self { changes: Vec::new(), reply: Reply::Done, reasons: Vec::new() }
    }

    /// These changes, answered with `reply`.
    pub(super) const fn with(changes: Vec<Change>, reply: Reply) -> Self {
        Self { changes, reply, reasons: Vec::new() }
    }
}

/// Checks `command` against `world`. On an error nothing is to change.
///
/// Observations also touch `world.observed` (in-flight actions, local images, the scan): that part is not stored,
/// which is why the world is taken mutably; its stored part is never touched here.
///
/// # Errors
/// [`CommandError`], worded as ECS words it.
pub fn apply(
    world: &mut World,
    command: Command,
    now: Timestamp,
    ids: &mut Ids,
) -> Result<Outcome, CommandError> {
    super::fleet::allowed(world, &command)?;
    match command {
        Command::CreateCluster(create) => cluster::create(world, *create, now),
        Command::UpdateCluster(update) => cluster::update(world, *update),
        Command::PutClusterCapacityProviders { cluster, capacity_providers, strategy } => {
            capacity_provider::put(world, &cluster, capacity_providers, strategy)
        }
        Command::PutAttributes { cluster, attributes } => {
            attribute::put(world, &cluster, attributes)
        }
        Command::DeleteAttributes { cluster, attributes } => {
            attribute::delete(world, &cluster, attributes)
        }
        Command::RegisterContainerInstance(register) => {
            instance::simulate(world, *register, now, ids)
        }
        Command::DeregisterContainerInstance { cluster, instance, force } => {
            instance::deregister(world, &cluster, &instance, force, now)
        }
        Command::UpdateContainerInstancesState { cluster, instances, draining } => {
            instance::update_state(world, &cluster, instances, draining)
        }
        Command::DeleteCluster(name) => cluster::delete(world, &name),
        Command::RegisterTaskDefinition { content, tags, registered_by } => {
            task_definition::register(world, *content, tags, registered_by, now)
        }
        Command::DeregisterTaskDefinition(definition) => {
            task_definition::deregister(world, &definition, now)
        }
        Command::DeleteTaskDefinitions(definitions) => {
            task_definition::delete(world, &definitions, now)
        }
        Command::RunTask(run) => run_task::run(world, *run, now, ids),
        Command::StopTask { cluster, task, reason } => {
            stop_task::stop(world, &cluster, &task, reason)
        }
        Command::CreateService(create) => service::create(world, *create, now, ids),
        Command::UpdateService(update) => service::update(world, *update, now, ids),
        Command::DeleteService { service, force } => service::delete(world, &service, force),
        Command::StopServiceDeployment { service, deployment, stop_type } => {
            service::stop_deployment(world, &service, &deployment, stop_type, now)
        }
        Command::UpdateTaskProtection {
            cluster,
            tasks,
            protected,
            expires_in_minutes,
            asked_by,
        } => {
            let wish = protection::Wish { protected, expires_in_minutes, asked_by };
            protection::update(world, &cluster, &tasks, &wish, now)
        }
        Command::SubmitStateChange(report) => state_change::submit(world, &report, now),
        Command::TagResource { resource, tags } => tag::tag(world, &resource, tags),
        Command::UntagResource { resource, keys } => tag::untag(world, &resource, &keys),
        Command::PutAccountSetting { principal, name, value } => {
            setting::put(principal, name, value)
        }
        Command::DeleteAccountSetting { principal, name } => {
            setting::delete(world, principal, name)
        }
        Command::RegisterThisInstance(this) => instance::register(world, *this, now),
        Command::SetFaults(faults) => super::simulate::set_faults(world, *faults),
        Command::Fleet(command) => super::fleet::apply(world, *command, now),
        Command::Observe(observation) => Ok(observe::observe(world, observation, now)),
    }
}

#[cfg(test)]
mod tests;
