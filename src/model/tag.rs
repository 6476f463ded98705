//! Tags, as `{key, value}` pairs.

use super::ids::{ClusterName, ServiceName};
use super::shape::{Member, Shape, Shaped};
use serde::{Deserialize, Serialize};

/// One tag. The key is 1 to 128 characters, the value 0 to 256.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tag {
    /// The key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
    /// The value.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub value: Option<String>,
}

impl Tag {
    /// The managed tag that tells a task's cluster.
    #[must_use]
    pub fn of_cluster(cluster: &ClusterName) -> Self {
        Self::managed("aws:ecs:clusterName", cluster.as_str())
    }

    /// The managed tag that tells a task's service.
    #[must_use]
    pub fn of_service(service: &ServiceName) -> Self {
        Self::managed("aws:ecs:serviceName", service.as_str())
    }

    fn managed(key: &str, value: &str) -> Self {
        Self { key: Some(key.to_owned()), value: Some(value.to_owned()) }
    }
}

impl Shaped for Tag {
    fn shape() -> Shape {
        Shape::Structure(&[
            Member { field: "key", shape: String::shape },
            Member { field: "value", shape: String::shape },
        ])
    }
}
