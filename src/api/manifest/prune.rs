//! Services that an earlier apply of the same set of files made and that are declared no more.

use super::call::{call, pages};
use super::object::{Content, ManifestError, Object};
use super::step::{Action, Step};
use super::tags::APPLIED;
use crate::api::error::ApiError;
use crate::engine::Handle;
use serde_json::{Value, json};

/// As many as DescribeServices takes.
const DESCRIBE_LIMIT: usize = 10;

/// Deletes the services of `set` that are not among `objects`.
pub(super) async fn carry_out(
    engine: &Handle,
    set: &str,
    objects: &[Object],
) -> Result<Vec<Step>, ManifestError> {
    let failed = |error: ApiError| ManifestError::Failed(format!("--prune: {}", error.message));
    let mut steps = Vec::new();
    for service in of_set(engine, set).await.map_err(failed)? {
        let cluster = last(&service["clusterArn"]);
        let name = service["serviceName"].as_str().unwrap_or_default();
        let declared = objects.iter().any(|object| match &object.content {
            Content::Service { cluster: c, name: n, .. } => c.as_str() == cluster && n == name,
            _ => false,
        });
        if declared {
            continue;
        }
        let input = json!({ "cluster": cluster, "service": name, "force": true });
        call(engine, "DeleteService", input).await.map_err(failed)?;
        steps.push(Step {
            object: format!("service {cluster}/{name}"),
            origin: None,
            action: Action::Delete,
            differences: Vec::new(),
            result: json!({ "serviceArn": service["serviceArn"] }),
        });
    }
    Ok(steps)
}

/// The active services of all clusters that carry the tag of `set`.
async fn of_set(engine: &Handle, set: &str) -> Result<Vec<Value>, ApiError> {
    let mut found = Vec::new();
    for service in all(engine, None).await? {
        let tag = |tag: &Value| tag["key"] == APPLIED && tag["value"] == set;
        if service["tags"].as_array().is_some_and(|tags| tags.iter().any(tag)) {
            found.push(service);
        }
    }
    Ok(found)
}

/// The active services as DescribeServices shows them: of one cluster, or of all.
pub(super) async fn all(engine: &Handle, cluster: Option<&str>) -> Result<Vec<Value>, ApiError> {
    let clusters = match cluster {
        Some(cluster) => vec![json!(cluster)],
        None => pages(engine, "ListClusters", json!({}), "clusterArns").await?,
    };
    let mut services = Vec::new();
    for cluster in clusters {
        let input = json!({ "cluster": cluster, "maxResults": 100 });
        let arns = pages(engine, "ListServices", input, "serviceArns").await?;
        for some in arns.chunks(DESCRIBE_LIMIT) {
            let input = json!({ "cluster": cluster, "services": some, "include": ["TAGS"] });
            let mut answer = call(engine, "DescribeServices", input).await?;
            if let Value::Array(described) = answer["services"].take() {
                services.extend(described.into_iter().filter(|s| s["status"] == "ACTIVE"));
            }
        }
    }
    Ok(services)
}

/// The name at the end of an ARN.
pub(super) fn last(arn: &Value) -> &str {
    let arn = arn.as_str().unwrap_or_default();
    arn.rsplit('/').next().unwrap_or(arn)
}
