//! The task definition, member by member as the ECS API has it (API version 2014-11-13).
//!
//! Every member is optional here, as in the API's model; [`TaskDefinition`] values in the store have passed
//! registration, so defaults are filled in. Enumerations are kept as text and checked at registration, so that a
//! definition written by a newer version still loads.

mod attributes;
mod container;
pub mod forward_logs;
mod launch_type;
pub mod lenient;
mod linux;
mod local_volume;
pub mod logging;
mod mount_options;
mod normalise;
mod registration;
pub mod secret_file;
pub mod support;
mod units;
mod validate;
mod volume;

pub use attributes::requires_attributes;
pub use container::*;
pub use launch_type::compatibilities;
pub use linux::*;
pub use local_volume::{LocalVolume, LocalVolumeError, host_of_share};
pub use mount_options::{MountFlag, MountOptions, Propagation, UnknownOption};
pub use registration::{Registration, RegistrationError, register};
pub use validate::check_environment;
pub use volume::*;

use super::ids::{Family, Revision, TaskDefinitionRef};
use super::shape::shape;
use super::tag::Tag;
use super::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A registered revision of a task definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskDefinition {
    /// The family.
    pub family: Family,
    /// The revision.
    pub revision: Revision,
    /// Where it is in its life.
    pub status: TaskDefinitionStatus,
    /// What was registered, normalised. `family` in it is unset.
    #[serde(flatten)]
    pub content: TaskDefinitionContent,
    /// `requiresAttributes`: attribute names derived from the content.
    #[serde(default)]
    pub requires_attributes: Vec<super::container_instance::Attribute>,
    /// `compatibilities`: the launch types that would accept it.
    #[serde(default)]
    pub compatibilities: Vec<String>,
    /// When it was registered.
    pub registered_at: Timestamp,
    /// Who registered it, as an ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered_by: Option<String>,
    /// When it was deregistered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deregistered_at: Option<Timestamp>,
    /// When it was asked to be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_requested_at: Option<Timestamp>,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<Tag>,
}

impl TaskDefinition {
    /// `family:revision`.
    #[must_use]
    pub fn reference(&self) -> TaskDefinitionRef {
        TaskDefinitionRef { family: self.family.clone(), revision: self.revision }
    }

    /// The container definitions.
    #[must_use]
    pub fn containers(&self) -> &[ContainerDefinition] {
        self.content.container_definitions.as_deref().unwrap_or_default()
    }

    /// The definition of the container called `name`.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<&ContainerDefinition> {
        self.containers().iter().find(|c| c.name.as_deref() == Some(name))
    }
}

/// `status` of a task definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskDefinitionStatus {
    /// Tasks can be started from it.
    Active,
    /// Deregistered: running tasks go on, no new ones.
    Inactive,
    /// Will be removed once nothing refers to it.
    DeleteInProgress,
}

impl TaskDefinitionStatus {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Inactive => "INACTIVE",
            Self::DeleteInProgress => "DELETE_IN_PROGRESS",
        }
    }
}

shape! {
    /// What is registered: the members of `RegisterTaskDefinition` but `tags`.
    pub struct TaskDefinitionContent {
        /// 1 to 255 of `[A-Za-z0-9_-]`.
        family: String,
        /// IAM role of the task.
        task_role_arn: String,
        /// IAM role of the agent.
        execution_role_arn: String,
        /// `bridge`, `host`, `awsvpc`, `none`.
        network_mode: String,
        /// The containers.
        container_definitions: Vec<ContainerDefinition>,
        /// The volumes that `mountPoints` name.
        volumes: Vec<Volume>,
        /// `memberOf` expressions.
        placement_constraints: Vec<PlacementConstraint>,
        /// `EC2`, `FARGATE`, `EXTERNAL`, `MANAGED_INSTANCES`.
        requires_compatibilities: Vec<String>,
        /// CPU units of the whole task, as text.
        cpu: String,
        /// MiB of the whole task, as text.
        memory: String,
        /// `host` or `task`.
        pid_mode: String,
        /// `host`, `task` or `none`.
        ipc_mode: String,
        /// App Mesh.
        proxy_configuration: ProxyConfiguration,
        /// Elastic Inference.
        inference_accelerators: Vec<InferenceAccelerator>,
        /// Fargate's scratch disk.
        ephemeral_storage: EphemeralStorage,
        /// CPU architecture and operating system.
        runtime_platform: RuntimePlatform,
        /// The fault injection endpoints.
        enable_fault_injection: bool,
        /// Isolation of the task.
        trusted_execution_configuration: TrustedExecutionConfiguration,
    }
}

shape! {
    /// A constraint on the box.
    pub struct PlacementConstraint {
        /// `memberOf`.
        r#type: String,
        /// Cluster query language.
        expression: String,
    }
}

shape! {
    /// App Mesh's proxy.
    pub struct ProxyConfiguration {
        /// `APPMESH`.
        r#type: String,
        /// The proxy container.
        container_name: String,
        /// Its settings.
        properties: Vec<KeyValuePair>,
    }
}

shape! {
    /// Elastic Inference.
    pub struct InferenceAccelerator {
        /// The name containers refer to.
        device_name: String,
        /// The type.
        device_type: String,
    }
}

shape! {
    /// Fargate's scratch disk.
    pub struct EphemeralStorage {
        /// 21 to 200.
        size_in_gi_b: i64,
    }
}

shape! {
    /// The platform the task needs.
    pub struct RuntimePlatform {
        /// `X86_64`, `ARM64`.
        cpu_architecture: String,
        /// `LINUX`, or a Windows version.
        operating_system_family: String,
    }
}

shape! {
    /// Isolation of the task.
    pub struct TrustedExecutionConfiguration {
        /// `SHARED`, `ISOLATED_SANDBOX`, `CONFIDENTIAL_SANDBOX`.
        isolation_mode: String,
        /// Opaque to us.
        attestation_policy: serde_json::Value,
    }
}

shape! {
    /// `{name, value}`.
    pub struct KeyValuePair {
        /// The name.
        name: String,
        /// The value.
        value: String,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_stored_revision_survives_its_json_and_has_one_family() {
        let content = serde_json::from_value(json!({
            "family": "web", "cpu": "256",
            "containerDefinitions": [{"name": "a", "image": "i", "memory": 64, "healthCheck": {"command": ["CMD", "x"]}}],
            "volumes": [{"name": "v"}], "ephemeralStorage": {"sizeInGiB": 30}
        }))
        .unwrap();
        let registration = register(content, &[]).unwrap();
        let stored = TaskDefinition {
            family: registration.family,
            revision: Revision(7),
            status: TaskDefinitionStatus::Active,
            content: registration.content,
            requires_attributes: registration.requires_attributes,
            compatibilities: registration.compatibilities,
            registered_at: Timestamp(1_763_700_000_123),
            registered_by: Some("arn:aws:iam::000000000000:root".to_owned()),
            deregistered_at: None,
            delete_requested_at: None,
            tags: vec![Tag { key: Some("k".to_owned()), value: None }],
        };
        let json = serde_json::to_string(&stored).unwrap();
        assert_eq!(json.matches("\"family\"").count(), 1);
        assert_eq!(serde_json::from_str::<TaskDefinition>(&json).unwrap(), stored);
        assert_eq!(stored.reference().to_string(), "web:7");
        assert!(stored.container("a").is_some_and(ContainerDefinition::is_essential));
    }

    #[test]
    fn records_of_other_versions_load() {
        // Without what came later, and with what this version does not know.
        let stored: TaskDefinition = serde_json::from_value(json!({
            "family": "web", "revision": 1, "status": "INACTIVE", "registeredAt": 5, "later": {"x": 1},
            "containerDefinitions": [{"name": "a", "laterStill": true}]
        }))
        .unwrap();
        assert_eq!(stored.containers().len(), 1);
        assert!(stored.tags.is_empty() && stored.compatibilities.is_empty());
    }
}
