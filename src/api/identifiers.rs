//! Names, ids and ARNs in requests.
//!
//! Region and account of an ARN are not compared with ours: a script written for AWS keeps working.

use super::error::ApiError;
use crate::model::arn::parse_family_revision;
use crate::model::{
    Arn, ClusterName, ContainerInstanceId, Family, Revision, ServiceName, TaskDefinitionRef, TaskId,
};
use crate::plan::World;

/// The cluster that a request means; `default` when it names none.
pub(super) fn cluster(text: Option<&str>) -> Result<ClusterName, ApiError> {
    let Some(text) = text.filter(|t| !t.is_empty()) else {
        return Ok(ClusterName::default_cluster());
    };
    if Arn::looks_like(text) {
        return match Arn::parse(text) {
            Ok(Arn::Cluster(name)) => Ok(name),
            _ => Err(invalid_arn(text)),
        };
    }
    ClusterName::new(text).map_err(|_| {
        let text = shorten(text);
        ApiError::invalid(format!("Cluster must match ^[a-zA-Z0-9\\-_]{{1,255}}$, but was {text}"))
    })
}

/// The same, when that cluster must exist and be active.
pub(super) fn active_cluster(world: &World, text: Option<&str>) -> Result<ClusterName, ApiError> {
    let name = cluster(text)?;
    match world.clusters.get(&name) {
        Some(cluster) if cluster.active => Ok(name),
        _ => Err(ApiError::cluster_not_found()),
    }
}

/// A task's id, and its cluster when an ARN tells it.
pub(super) fn task(text: &str) -> Result<(Option<ClusterName>, TaskId), ApiError> {
    if Arn::looks_like(text) {
        return match Arn::parse(text) {
            Ok(Arn::Task(cluster, id)) => Ok((cluster, id)),
            _ => Err(invalid_arn(text)),
        };
    }
    let id = id_of_length(text, "taskId")?;
    TaskId::new(id).map(|id| (None, id)).map_err(|e| ApiError::invalid(e.to_string()))
}

/// A container instance's id, and its cluster when an ARN tells it.
pub(super) fn container_instance(
    text: &str,
) -> Result<(Option<ClusterName>, ContainerInstanceId), ApiError> {
    if Arn::looks_like(text) {
        return match Arn::parse(text) {
            Ok(Arn::ContainerInstance(cluster, id)) => Ok((cluster, id)),
            _ => Err(invalid_arn(text)),
        };
    }
    let id = id_of_length(text, "containerInstance")?;
    ContainerInstanceId::new(id).map(|id| (None, id)).map_err(|e| ApiError::invalid(e.to_string()))
}

/// A service's name, and its cluster when an ARN tells it.
pub(super) fn service(text: &str) -> Result<(Option<ClusterName>, ServiceName), ApiError> {
    if Arn::looks_like(text) {
        return match Arn::parse(text) {
            Ok(Arn::Service(cluster, name)) => Ok((cluster, name)),
            _ => Err(invalid_arn(text)),
        };
    }
    ServiceName::new(text).map(|name| (None, name)).map_err(|e| ApiError::invalid(e.to_string()))
}

/// `family`, `family:revision` or an ARN of these; none when it is nothing of the kind.
pub(super) fn task_definition(text: &str) -> Option<(Family, Option<Revision>)> {
    if Arn::looks_like(text) {
        return match Arn::parse(text) {
            Ok(Arn::TaskDefinition(family, revision)) => Some((family, revision)),
            _ => None,
        };
    }
    parse_family_revision(text)
}

/// `family:revision` or an ARN of it, where the revision is needed.
pub(super) fn task_definition_revision(text: &str) -> Result<TaskDefinitionRef, ApiError> {
    match task_definition(text) {
        Some((family, Some(revision))) => Ok(TaskDefinitionRef { family, revision }),
        Some((_, None)) => Err(ApiError::client("Revision is missing.")),
        None => Err(match text.rsplit_once(':') {
            Some((_, revision)) if !Arn::looks_like(text) => {
                ApiError::invalid(format!("Invalid revision number. Number: {}", shorten(revision)))
            }
            _ => ApiError::invalid(format!(
                "{:?} is not a task definition: give family:revision or its ARN.",
                shorten(text)
            )),
        }),
    }
}

/// Ids have 32 characters, or 36 with the hyphens of a UUID.
fn id_of_length<'a>(text: &'a str, what: &str) -> Result<&'a str, ApiError> {
    if matches!(text.len(), 32 | 36) {
        Ok(text)
    } else {
        Err(ApiError::invalid(format!("{what} length should be one of [32,36]")))
    }
}

/// Text that claims to be an ARN, but not of the kind that is wanted.
pub(super) fn invalid_arn(text: &str) -> ApiError {
    ApiError::invalid(format!("Invalid arn syntax: {:?}", shorten(text)))
}

/// What is quoted back is bounded.
pub(super) fn shorten(text: &str) -> String {
    text.chars().take(256).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn foreign_regions_and_accounts_are_fine() {
        let arn = "arn:aws:ecs:eu-west-1:123456789012:";
        let name = |text: &str| ClusterName::new(text).unwrap();
        assert_eq!(cluster(Some(&format!("{arn}cluster/edge"))), Ok(name("edge")));
        assert_eq!(cluster(None), Ok(name("default")));
        assert_eq!(cluster(Some("")), Ok(name("default")));
        let (in_cluster, id) = task(&format!("{arn}task/edge/{ID}")).unwrap();
        assert_eq!((in_cluster, id.as_str()), (Some(name("edge")), ID));
        let (in_cluster, id) =
            container_instance(&format!("{arn}container-instance/{ID}")).unwrap();
        assert_eq!((in_cluster, id.as_str()), (None, ID));
        let (family, revision) = task_definition(&format!("{arn}task-definition/web:7")).unwrap();
        assert_eq!((family.as_str(), revision), ("web", Some(Revision(7))));
    }

    #[test]
    fn other_kinds_and_lengths_are_refused() {
        let arn = "arn:aws:ecs:r:1:";
        assert!(cluster(Some(&format!("{arn}task/{ID}"))).is_err());
        let told = cluster(Some("a b")).unwrap_err().message;
        assert_eq!(told, "Cluster must match ^[a-zA-Z0-9\\-_]{1,255}$, but was a b");
        assert!(task(&format!("{arn}cluster/x")).is_err());
        assert_eq!(task("short").unwrap_err().message, "taskId length should be one of [32,36]");
        assert!(container_instance("short").is_err());
        assert!(task_definition("web:x").is_none());
        assert!(task_definition_revision("web").is_err());
    }
}
