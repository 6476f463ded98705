//! Amazon Resource Names of the ECS objects, in the long format.
//!
//! `arn:aws:ecs:REGION:ACCOUNT:cluster/NAME`, `…:task/CLUSTER/ID`, `…:container-instance/CLUSTER/ID`,
//! `…:task-definition/FAMILY:REVISION`, `…:container/CLUSTER/TASK/ID`, `…:service/CLUSTER/NAME`,
//! `…:service-deployment/CLUSTER/NAME/ID`, `…:service-revision/CLUSTER/NAME/ID`.

use super::ids::{
    ClusterName, ContainerInstanceId, Family, Revision, ServiceDeploymentId, ServiceName,
    ServiceRevisionId, TaskDefinitionRef, TaskId,
};
use super::service::ServiceKey;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The region and account that this installation's ARNs carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// For example `local`.
    pub region: String,
    /// Twelve digits.
    pub account: String,
}

impl Default for Scope {
    fn default() -> Self {
        Self { region: "local".to_owned(), account: "000000000000".to_owned() }
    }
}

impl Scope {
    /// The ARN of `resource`, which is the part after the account.
    #[must_use]
    pub fn arn(&self, resource: impl fmt::Display) -> String {
        format!("arn:aws:ecs:{}:{}:{resource}", self.region, self.account)
    }

    /// A cluster's ARN.
    #[must_use]
    pub fn cluster(&self, name: &ClusterName) -> String {
        self.arn(format_args!("cluster/{name}"))
    }

    /// A task's ARN.
    #[must_use]
    pub fn task(&self, cluster: &ClusterName, id: &TaskId) -> String {
        self.arn(format_args!("task/{cluster}/{id}"))
    }

    /// A container instance's ARN.
    #[must_use]
    pub fn container_instance(&self, cluster: &ClusterName, id: &ContainerInstanceId) -> String {
        self.arn(format_args!("container-instance/{cluster}/{id}"))
    }

    /// A task definition's ARN.
    #[must_use]
    pub fn task_definition(&self, definition: &TaskDefinitionRef) -> String {
        self.arn(format_args!("task-definition/{definition}"))
    }

    /// A service's ARN.
    #[must_use]
    pub fn service(&self, service: &ServiceKey) -> String {
        self.arn(format_args!("service/{service}"))
    }

    /// The ARN of a service deployment.
    #[must_use]
    pub fn service_deployment(&self, service: &ServiceKey, id: &ServiceDeploymentId) -> String {
        self.arn(format_args!("service-deployment/{service}/{id}"))
    }

    /// The ARN of a service revision.
    #[must_use]
    pub fn service_revision(&self, service: &ServiceKey, id: &ServiceRevisionId) -> String {
        self.arn(format_args!("service-revision/{service}/{id}"))
    }

    /// A container's ARN.
    #[must_use]
    pub fn container(&self, cluster: &ClusterName, task: &TaskId, id: &str) -> String {
        self.arn(format_args!("container/{cluster}/{task}/{id}"))
    }
}

/// Why a text is not the ARN that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArnError {
    /// Not `arn:partition:ecs:region:account:resource`.
    #[error("{0:?} is not an ECS ARN")]
    Malformed(String),
    /// Another kind of resource.
    #[error("{arn:?} is not the ARN of a {expected}")]
    OtherKind {
        /// What was given.
        arn: String,
        /// What was wanted.
        expected: &'static str,
    },
}

/// A parsed ECS ARN. Region and account are not compared with ours: a definition moved from elsewhere keeps working.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arn {
    /// `cluster/NAME`.
    Cluster(ClusterName),
    /// `task/CLUSTER/ID`, or the old `task/ID`.
    Task(Option<ClusterName>, TaskId),
    /// `container-instance/CLUSTER/ID`, or the old `container-instance/ID`.
    ContainerInstance(Option<ClusterName>, ContainerInstanceId),
    /// `task-definition/FAMILY:REVISION`, the revision may be absent.
    TaskDefinition(Family, Option<Revision>),
    /// `service/CLUSTER/NAME`, or the old `service/NAME`.
    Service(Option<ClusterName>, ServiceName),
    /// `service-deployment/CLUSTER/NAME/ID`.
    ServiceDeployment(ServiceKey, ServiceDeploymentId),
    /// `service-revision/CLUSTER/NAME/ID`.
    ServiceRevision(ServiceKey, ServiceRevisionId),
}

impl Arn {
    /// True when `text` claims to be an ARN at all.
    #[must_use]
    pub fn looks_like(text: &str) -> bool {
        text.starts_with("arn:")
    }

    /// Parses an ECS ARN of one of the known kinds.
    ///
    /// # Errors
    /// [`ArnError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, ArnError> {
        let malformed = || ArnError::Malformed(text.to_owned());
        let mut parts = text.splitn(6, ':');
        let ("arn", Some(_partition), "ecs", Some(_region), Some(_account), Some(resource)) = (
            parts.next().unwrap_or_default(),
            parts.next().filter(|p| !p.is_empty()),
            parts.next().unwrap_or_default(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) else {
            return Err(malformed());
        };
        let (kind, rest) = resource.split_once('/').ok_or_else(malformed)?;
        let scoped = |rest: &str| -> Result<(Option<ClusterName>, String), ArnError> {
            match rest.split_once('/') {
                None => Ok((None, rest.to_owned())),
                Some((cluster, id)) => {
                    Ok((Some(ClusterName::new(cluster).map_err(|_| malformed())?), id.to_owned()))
                }
            }
        };
        match kind {
            "cluster" => ClusterName::new(rest).map(Self::Cluster).map_err(|_| malformed()),
            "task" => {
                let (cluster, id) = scoped(rest)?;
                Ok(Self::Task(cluster, TaskId::new(id).map_err(|_| malformed())?))
            }
            "container-instance" => {
                let (cluster, id) = scoped(rest)?;
                Ok(Self::ContainerInstance(
                    cluster,
                    ContainerInstanceId::new(id).map_err(|_| malformed())?,
                ))
            }
            "task-definition" => {
                let (family, revision) = parse_family_revision(rest).ok_or_else(malformed)?;
                Ok(Self::TaskDefinition(family, revision))
            }
            "service" => {
                let (cluster, name) = scoped(rest)?;
                Ok(Self::Service(cluster, ServiceName::new(name).map_err(|_| malformed())?))
            }
            "service-deployment" => {
                let (service, id) = of_service(rest).ok_or_else(malformed)?;
                let id = ServiceDeploymentId::new(id).map_err(|_| malformed())?;
                Ok(Self::ServiceDeployment(service, id))
            }
            "service-revision" => {
                let (service, id) = of_service(rest).ok_or_else(malformed)?;
                let id = ServiceRevisionId::new(id).map_err(|_| malformed())?;
                Ok(Self::ServiceRevision(service, id))
            }
            _ => Err(malformed()),
        }
    }
}

/// `CLUSTER/SERVICE/ID`, the id as text.
fn of_service(text: &str) -> Option<(ServiceKey, &str)> {
    let (cluster, rest) = text.split_once('/')?;
    let (name, id) = rest.split_once('/')?;
    let cluster = ClusterName::new(cluster).ok()?;
    Some((ServiceKey { cluster, name: ServiceName::new(name).ok()? }, id))
}

/// Parses `FAMILY` or `FAMILY:REVISION`.
#[must_use]
pub fn parse_family_revision(text: &str) -> Option<(Family, Option<Revision>)> {
    match text.split_once(':') {
        None => Some((Family::new(text).ok()?, None)),
        Some((family, revision)) => {
            // `parse` alone would take a sign.
            let digits = revision.bytes().all(|b| b.is_ascii_digit());
            let revision = revision.parse().ok().filter(|_| digits)?;
            Some((Family::new(family).ok()?, Some(Revision(revision))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_scope_writes_parses_back() {
        let scope = Scope::default();
        let cluster = ClusterName::default_cluster();
        let task = TaskId::new("0123456789abcdef0123456789abcdef").unwrap();
        assert_eq!(
            Arn::parse(&scope.task(&cluster, &task)).unwrap(),
            Arn::Task(Some(cluster.clone()), task)
        );
        let definition =
            TaskDefinitionRef { family: Family::new("web").unwrap(), revision: Revision(3) };
        assert_eq!(
            Arn::parse(&scope.task_definition(&definition)).unwrap(),
            Arn::TaskDefinition(Family::new("web").unwrap(), Some(Revision(3)))
        );
        assert_eq!(Arn::parse(&scope.cluster(&cluster)).unwrap(), Arn::Cluster(cluster));
    }

    #[test]
    fn foreign_and_broken_arns_are_refused() {
        for bad in [
            "",
            "web:3",
            "arn:aws:ecs",
            "arn:aws:s3:::bucket",
            "arn::ecs:r:1:cluster/a",
            "arn:aws:ecs:r:1:cluster",
            "arn:aws:ecs:r:1:cluster/",
            "arn:aws:ecs:r:1:cluster/a b",
            "arn:aws:ecs:r:1:cluster/a/b",
            "arn:aws:ecs:r:1:task/a/b/c",
            "arn:aws:ecs:r:1:service/a/",
            "arn:aws:ecs:r:1:task-definition/web:x",
            "arn:aws:ecs:r:1:task-definition/web:3:4",
            "arn:aws:ecs:r:1:thing/a",
        ] {
            assert!(Arn::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn old_arns_have_no_cluster() {
        let task = TaskId::new("0123").unwrap();
        assert_eq!(Arn::parse("arn:aws:ecs:r:1:task/0123").unwrap(), Arn::Task(None, task));
        assert_eq!(
            Arn::parse("arn:aws-cn:ecs:r:1:service/c/web").unwrap(),
            Arn::Service(Some(ClusterName::new("c").unwrap()), ServiceName::new("web").unwrap())
        );
    }

    #[test]
    fn family_and_revision() {
        let parsed = |text: &str| {
            parse_family_revision(text).map(|(family, revision)| (String::from(family), revision))
        };
        assert_eq!(parsed("web"), Some(("web".to_owned(), None)));
        assert_eq!(parsed("web:12"), Some(("web".to_owned(), Some(Revision(12)))));
        for bad in ["", ":", ":1", "web:", "web:+1", "web:-1", "web:1.0", "web:4294967296", "a b:1"]
        {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn whatever_scope_writes_parses_back(
            cluster in "[A-Za-z0-9_-]{1,40}", id in "[A-Za-z0-9_-]{1,40}", revision in any::<u32>(), region in "[a-z0-9-]{0,9}",
        ) {
            let scope = Scope { region, account: "000000000000".to_owned() };
            let cluster = ClusterName::new(cluster).unwrap();
            let task = TaskId::new(id.clone()).unwrap();
            let instance = ContainerInstanceId::new(id.clone()).unwrap();
            let definition = TaskDefinitionRef { family: Family::new(id).unwrap(), revision: Revision(revision) };
            prop_assert_eq!(Arn::parse(&scope.cluster(&cluster)), Ok(Arn::Cluster(cluster.clone())));
            prop_assert_eq!(Arn::parse(&scope.task(&cluster, &task)), Ok(Arn::Task(Some(cluster.clone()), task)));
            prop_assert_eq!(
                Arn::parse(&scope.container_instance(&cluster, &instance)),
                Ok(Arn::ContainerInstance(Some(cluster), instance))
            );
            prop_assert_eq!(
                Arn::parse(&scope.task_definition(&definition)),
                Ok(Arn::TaskDefinition(definition.family, Some(definition.revision)))
            );
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "(arn:)?[a-z:/0-9 é-]{0,60}") {
            // An ARN that parses begins like one.
            prop_assert!(Arn::parse(&text).is_err() || Arn::looks_like(&text));
        }
    }
}
